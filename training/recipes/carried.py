"""A network carried to another autoencoder and other encoders, so that what it has learned need not be learned again.

A network meets them in few places, and in each of them linearly: patches of latents come in and go out, text features
become keys and values, and the conditioning vector becomes modulations. Each of these maps is fitted anew, by least
squares over rendered pictures and the sentences of all tasks, seen through the old parts and through the new ones. The
blocks between, which hold nearly all weights, stay as they are. The conditioning itself begins anew (`initialization`).
Shapes: S samples, n and m features, C latent channels, p patch size, F text features, D conditioning width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from ...comfyui_pixwizard.encoders.gemma import GemmaTextEncoder
from ...comfyui_pixwizard.files.components import find_folder, load_surroundings
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ..data.rendered.facts import sentences
from .initialization import scatter_embeddings
from .nano import BEGUN, NanoRecipe
from .towers import fresh_network

# What of a block stays: it sees tokens only.
KEPT = ("attention.wq.", "attention.wk.", "attention.wv.", "attention.wo.", "attention.q_norm.", "attention.k_norm.",
        "attention_norm", "ffn_norm", "feed_forward.")  # fmt: skip
# Below this share of the largest singular value a direction of the old latents has no counterpart in the new ones.
LEAST_SINGULAR = 0.05
# A picture's tokens take part with a little of what they say, through gates that are open.
PICTURE_GATE, PICTURE_VALUES = 0.3, 0.1
PICTURES_EACH, SENTENCES_EACH, MOMENTS, READ = 150, 60, 30000, 1800


@dataclass(frozen=True)
class Fit:
    """An affine map found by least squares.

    Attributes:
        weight: [m, n].   offset: [m].
        explained: share of the variance of what is fitted (R squared).
    """

    weight: Tensor
    offset: Tensor
    explained: float


def fitted(inputs: Tensor, outputs: Tensor, ridge: float = 1e-4, offset: bool = True) -> Fit:
    """The map from inputs [S, n] to outputs [S, m], in float64; ridge is relative to S and spares the offset."""
    x, y = inputs.double(), outputs.double()
    if offset:
        x = torch.cat((x, x.new_ones(len(x), 1)), dim=1)
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    if offset:
        penalty[-1, -1] = 0
    solved = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    left = (y - x @ solved).square().sum() / (y - y.mean(0)).square().sum()
    weight = solved[:-1] if offset else solved
    return Fit(weight.T, solved[-1] if offset else solved.new_zeros(y.shape[1]), 1 - float(left))


@dataclass(frozen=True)
class Parts:
    """What is around a network: encoders and autoencoder of a model."""

    autoencoder: Any
    text_encoder: GemmaTextEncoder
    task_encoder: ClipTextEncoder
    image_encoder: ClipVisionEncoder


@torch.inference_mode()
def carry(
    network: PixWizardTransformer,
    fresh: PixWizardTransformer,
    old: Parts,
    new: Parts,
    pictures: Tensor,
    said: Sequence[str],
    generator: torch.Generator,
    moments: int = MOMENTS,
) -> dict[str, float]:
    """Fill a fresh network with what another one knows.

    Args:
        network: as it was trained among the old parts.
        fresh: of the same configuration, for the new parts.
        pictures: [S, 3, H, W] in [0, 1].   said: sentences of all tasks.
        generator: of times and pairs.   moments: how many conditioning vectors are fitted.

    Returns:
        The share of variance that each fitted map explains, by name.
    """
    state = fresh.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith("layers.") and any(f".{kept}" in name for kept in KEPT):
            state[name].copy_(value)
    patch = network.config.patch_size
    found = _carry_patches(network, fresh, *(_tokens(part.autoencoder, pictures, patch) for part in (old, new)))
    found |= _carry_conditioning(network, fresh, old, new, pictures, said, generator, moments)
    return found | _carry_text(network, fresh, old, new, said[:: max(len(said) // READ, 1)])


def _in_parts(run: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    return torch.cat([run(part * 2 - 1) for part in pictures.split(50)])


def _tokens(autoencoder: Any, pictures: Tensor, p: int) -> Tensor:
    """Patches of latents as the network takes them, [S, C p p]."""
    return rearrange(_in_parts(autoencoder.encode, pictures), "b c (h p) (w q) -> (b h w) (c p q)", p=p, q=p)


def _carry_patches(
    network: PixWizardTransformer, fresh: PixWizardTransformer, before: Tensor, after: Tensor
) -> dict[str, float]:
    """The embedding of patches and the projection to them, given latents through both autoencoders."""
    there = fitted(after, before)
    half = before.shape[1]
    noisy, source = network.x_embedder.weight.double().split(half, dim=1)
    fresh.x_embedder.weight.copy_(torch.cat((noisy @ there.weight, source @ there.weight), dim=1))
    # The noisy latent is the picture by half on average.
    fresh.x_embedder.bias.copy_(network.x_embedder.bias + (noisy / 2 + source) @ there.offset)
    # The exact way back: what comes in as noise has to leave as the same noise.
    back = torch.linalg.pinv(there.weight, rtol=LEAST_SINGULAR)
    old, out = network.final_layer.linear, fresh.final_layer.linear
    layout = dict(p=network.config.patch_size, q=network.config.patch_size)
    rows = torch.cat((old.weight, old.bias[:, None]), dim=1).double()
    rows = rearrange(rows, "(p q c) d -> (c p q) d", **layout)
    rows = torch.cat((back @ rows[:half], torch.zeros_like(rows[half:])))
    rows = rearrange(rows, "(c p q) d -> (p q c) d", **layout)
    out.weight.copy_(rows[:, :-1])
    out.bias.copy_(rows[:, -1])
    return {"latents": there.explained}


def _carry_conditioning(
    network: PixWizardTransformer, fresh: PixWizardTransformer, old: Parts, new: Parts, pictures: Tensor,
    said: Sequence[str], generator: torch.Generator, moments: int,
) -> dict[str, float]:  # fmt: skip
    """Modulations of the old conditioning vector, by a new one whose parts begin anew."""
    scatter_embeddings(fresh, generator)
    row, seen = (torch.randint(n, (moments,), generator=generator) for n in (len(said), len(pictures)))
    t = torch.rand(moments, generator=generator)

    def vector(model: PixWizardTransformer, parts: Parts) -> Tensor:
        task = torch.cat([parts.task_encoder.encode(list(said[i : i + 100])) for i in range(0, len(said), 100)])
        mean = _in_parts(parts.image_encoder.encode, pictures).mean(1)
        fixed = model.task_embedder(task)[row] + model.global_semantic_embedder(mean)[seen]
        return model.t_embedder(t) + fixed

    wanted = torch.cat(network.modulations(vector(network, old)), dim=1)
    fit = fitted(F.silu(vector(fresh, new)), wanted, ridge=1e-5)
    layers = [*(block.adaLN_modulation[1] for block in fresh.blocks), fresh.final_layer.adaLN_modulation[1]]
    biases = [layer.get_parameter("bias") for layer in layers]
    sizes = [len(bias) for bias in biases]
    for layer, weight in zip(layers, fit.weight.split(sizes), strict=True):
        layer.get_parameter("weight").copy_(weight)
    for bias, offset in zip(biases, fit.offset.split(sizes), strict=True):
        bias.copy_(offset)
    return {"modulations": fit.explained}


def _carry_text(
    network: PixWizardTransformer, fresh: PixWizardTransformer, old: Parts, new: Parts, said: Sequence[str]
) -> dict[str, float]:
    """Keys and values of words, by the features of pieces that cover the same characters."""
    inputs, outputs = [], []
    for start in range(0, len(said), 100):
        texts = list(said[start : start + 100])
        (after, _), (before, _) = new.text_encoder.encode(texts), old.text_encoder.encode(texts)
        for i, (ours, theirs) in enumerate(zip(_spans(new, texts), _spans(old, texts), strict=True)):
            inputs.append(after[i, : len(ours)])
            outputs.append(before[i, [_covering(span, theirs) for span in ours]])
    features, meant, found = torch.cat(inputs), torch.cat(outputs), {}
    for number, (block, other) in enumerate(zip(fresh.blocks, network.blocks, strict=True)):
        theirs = other.attention_y_norm(meant)
        wanted = torch.cat((other.attention.wk_y(theirs), other.attention.wv_y(theirs)), dim=1)
        fit = fitted(block.attention_y_norm(features), wanted, ridge=1e-3, offset=False)
        keys, values = fit.weight.chunk(2)
        block.attention.wk_y.weight.copy_(keys)
        block.attention.wv_y.weight.copy_(values)
        block.attention.ky_norm.load_state_dict(other.attention.ky_norm.state_dict())
        block.attention.gate.copy_(other.attention.gate)
        block.attention.gate_for_ii.fill_(PICTURE_GATE)
        block.attention.wv_ii.weight.mul_(PICTURE_VALUES)
        found[f"words of layer {number}"] = fit.explained
    return found


def _spans(parts: Parts, texts: list[str]) -> list[list[tuple[int, int]]]:
    return parts.text_encoder.tokenizer(texts, return_offsets_mapping=True)["offset_mapping"]


def _covering(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> int:
    """Number of the piece that shares most characters with a span, the later one of equals; 0 for the first, BOS."""
    if span[0] == span[1]:
        return 0
    overlaps = [min(span[1], end) - max(span[0], start) for start, end in others]
    return max(range(len(others)), key=lambda i: (overlaps[i], i))


@dataclass
class CarryRecipe:
    """Carry the bundled network to another autoencoder and other encoders, and write a model to train on from.

    `pixwizard train nano --start OUT` then goes on with it.
    """

    model: str = "nano"
    """The model whose network is carried: nano, or the folder of one of its kind."""
    to: Path = BEGUN
    """A folder with the new autoencoder and encoders, by default those that the next bundled model began with."""
    out: Path = Path("runs/carried")
    """The folder to write."""
    folder: Path = Path("runs/nano")
    """Whose pools of rendered pictures are used, and rendered where they are missing."""
    scenes: int = 1000
    """Rendered scenes at 128 px."""
    seed: int = 0
    """Of pictures, sentences and times."""

    def run(self) -> bool:
        """Fit and write.

        Raises:
            ValueError: no such model, parts that are missing or of another shape, a place that cannot be written.
        """
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        network = pipeline.transformer.float()
        if network.config != PixWizardConfig.preset("nano"):
            raise ValueError(f"carry takes networks of nano's shape, found another in {self.model}: name such a folder")
        # What is given is read before minutes of rendering.
        folder = find_folder(str(self.to))
        parts = load_surroundings(folder)
        fresh = fresh_network(folder, parts["image_encoder"].tokens, self.seed)
        rendered = NanoRecipe(folder=self.folder, scenes=self.scenes, seed=self.seed)
        rendered.prepare()
        generator = torch.Generator().manual_seed(self.seed)
        draws = rendered.leaves.draw, rendered.small.scenes.draw, rendered.small.scenes.draw_labels, rendered.marked
        pictures = torch.cat([draw(PICTURES_EACH, 128, generator) for draw in draws])
        said, _ = sentences([task for task in TASKS for _ in range(SENTENCES_EACH)], rendered.small, generator)
        old = Parts(*(getattr(pipeline, name).float() for name in Parts.__dataclass_fields__))
        new = Parts(*(parts[name] for name in Parts.__dataclass_fields__))
        for name, share in carry(network, fresh, old, new, pictures, said, generator).items():
            print(f"{name}: {share:.3f} of the variance explained")
        PixWizardPipeline(
            transformer=fresh, **vars(new), declared=pipeline.declared,
            provenance={"recipe": "pixwizard train carry", "network": self.model, "seed": self.seed},
        ).save_pretrained(self.out, torch.float32)  # fmt: skip
        print(f"wrote {self.out}")
        return True
