"""The small pair of a model of this project: linear heads that bring its own two towers to one space, for scores.

The towers are trained, but nothing in a model compares a picture with a sentence. What does is learned here in a
minute, from rendered scenes and their edits, and kept in the user's cache under the fingerprint of the towers: which
change a sentence asks for, which picture a caption tells of, and whether a picture is spoiled.
Shapes: N samples, T image tokens, W vision width, D text width, P = WIDTH.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ....comfyui_pixwizard.files.components import find_folder, load_surroundings
from ....comfyui_pixwizard.files.digests import model_fingerprint
from ....comfyui_pixwizard.files.safe_files import read_tensors, replaced
from ....comfyui_pixwizard.pictures.images import image_to_unit, to_tensor
from ....runtime.machine import cache_folder
from ...degradations import DEGRADATIONS
from ...degradations.jpeg import jpeg
from ...loop.seeding import seeded
from .judged import Judged

FORMAT = 1  # of the heads: raised whenever they are learned in another way
WIDTH, STEPS, RATE, DECAY, DROPPED = 64, 200, 3e-3, 3.0, 0.5
SHARPNESS = 12.0
SIDE = 128  # pixels of the pictures that heads are learned on
SCENES, SEED = 100, 41
CHUNK = 64
TOWERS = ("task_encoder", "image_encoder")
# The towers that the bundled model's training begins with: they learned alone to match captions and pictures.
BEGUN = "begun"
BLOCK = 8  # side of JPEG's blocks in pixels


def worsened(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [N,3,H,W] in [0,1] as no one wants them: blurred, noisy or squeezed into few bytes, each in one way."""
    kind = torch.randint(3, (len(pictures),), generator=generator)
    size = tuple(pictures.shape[-2:])
    coarse = F.interpolate(pictures, scale_factor=1 / 6, mode="area", recompute_scale_factor=True)
    ways = (
        F.interpolate(coarse, size, mode="bilinear", align_corners=False),
        DEGRADATIONS["denoise"](pictures, generator, sigma=0.25),
        jpeg(pictures, 3.0),
    )
    return torch.stack([ways[way][row] for row, way in enumerate(kind.tolist())]).clamp(0, 1)


def pooled(tokens: Tensor) -> Tensor:
    """What a picture's tokens [N,T,W] are on the whole: mean and spread [N,2W]."""
    return torch.cat((tokens.mean(1), tokens.std(1)), 1)


def changed(before: Tensor, after: Tensor) -> Tensor:
    """What changed from tokens to tokens [N,T,W]: what was and is where most changed, and by how much [N,4W]."""
    change = after - before
    weight = change.norm(dim=-1, keepdim=True)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
    return torch.cat(((before * weight).sum(1), (after * weight).sum(1), change.mean(1), change.abs().mean(1)), 1)


def looks(pictures: Tensor) -> Tensor:
    """What blur, noise and blocks leave in pictures [N,3,H,W] in [0,1]: [N,8], of logs and their squares.

    The mean slope of the brightness; how much slopes change from pixel to pixel beside it; slopes at the borders of
    JPEG's blocks beside the others; the share of pixels without any.
    """
    gray = pictures.mean(1)
    found = []
    for axis in (-1, -2):
        slope = gray.diff(dim=axis).abs()
        number = torch.arange(slope.shape[axis], device=gray.device)
        border = slope.index_select(axis, number[number % BLOCK == BLOCK - 1]).mean((1, 2))
        inside = slope.index_select(axis, number[number % BLOCK != BLOCK - 1]).mean((1, 2))
        bend = gray.diff(n=2, dim=axis).abs().mean((1, 2))
        flat = (slope < 1 / 255).float().mean((1, 2))
        mean = slope.mean((1, 2))
        ratios = ((part + 1e-4) / (whole + 1e-4) for part, whole in ((bend, mean), (border, inside)))
        found.append(torch.stack(((mean + 1e-4).log(), *(ratio.log() for ratio in ratios), flat), 1))
    values = (found[0] + found[1]) / 2
    return torch.cat((values, values.square()), 1)


class SmallPair:
    """Normalised vectors [P] of pictures and words, by a model's own towers.

    Args:
        model: a folder of a pipeline, "nano", or BEGUN.
        scenes: how many are rendered where the heads are still to be learned.

    Raises:
        ValueError: no model there.
    """

    features = WIDTH

    def __init__(self, model: str, scenes: int = SCENES):
        folder = _folder(model)
        self.task, self.vision = load_surroundings(folder, TOWERS).values()
        marks = [model_fingerprint(folder / part)[:16] for part in TOWERS]
        file = cache_folder() / "pairs" / f"v{FORMAT}-{'-'.join(marks)}-{scenes}.safetensors"
        if not file.is_file():
            from safetensors.torch import save

            learned = save(self._learned(scenes))
            file.parent.mkdir(parents=True, exist_ok=True)
            with replaced(file) as out:
                out.write(learned)
        self.heads = read_tensors(file)

    # Several scores of a recipe use the same one.
    shared = staticmethod(lru_cache(maxsize=2)(lambda model: SmallPair(model)))

    @torch.no_grad()
    def tokens(self, pictures: Tensor) -> Tensor:
        """Of pictures [N,3,H,W] in [-1,1]: [N,T,W]."""
        return torch.cat([self.vision.encode(part).float() for part in pictures.split(CHUNK)])

    def _seen(self, picture: Image.Image) -> Tensor:
        """Tokens [1,T,W] of a picture at the size at which heads were learned: the tower's own resizing is none for
        large pictures.
        """
        return self.tokens(to_tensor(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Of sentences: [N,D], normed."""
        vectors = [self.task.encode(list(texts[at : at + CHUNK])).float() for at in range(0, len(texts), CHUNK)]
        return F.layer_norm(torch.cat(vectors), vectors[0].shape[-1:])

    def _at(self, head: str, features: Tensor) -> Tensor:
        return F.linear(features, self.heads[f"{head}.weight"], self.heads[f"{head}.bias"])

    def picture(self, picture: Image.Image) -> Tensor:
        """Of an RGB picture of any size."""
        return F.normalize(self._at("picture", pooled(self._seen(picture)))[0], dim=0)

    def text(self, words: str) -> Tensor:
        """Of a caption."""
        return F.normalize(self._at("caption", self.sentences([words]))[0], dim=0)

    def quality(self, picture: Image.Image) -> float:
        """Log odds that an RGB picture is none of `worsened`."""
        return float(self._at("quality", looks(image_to_unit(picture)[None]))[0, 0])

    def direction(self, judged: Judged) -> float | None:
        """Cosine of the picture's change and the one that the instruction asks for; None where there is none."""
        if judged.source is None or not judged.instructions:
            return None
        before, after = self._seen(judged.source), self._seen(judged.target)
        asked = self._at("asked", self.sentences(judged.instructions)).mean(0, keepdim=True)
        return float(F.cosine_similarity(self._at("change", changed(before, after)), asked)[0])

    def _learned(self, scenes: int) -> dict[str, Tensor]:
        """The heads, from so many rendered scenes and an edit of each kind in each of them."""
        from ...evaluate.scene_samples import EDIT_TASKS, PICTURE_EDITS, SceneSet

        shown = SceneSet(scenes, SIDE, SEED, "train")
        tasks = tqdm([*EDIT_TASKS, *PICTURE_EDITS], "small pair", unit="task", leave=False)
        found = [shown.samples(task) for task in tasks]
        told = shown.samples("text_to_image")
        source, target = (torch.cat([getattr(each, name) for each in found]) for name in ("source", "truth"))
        before, after = self.tokens(source * 2 - 1), self.tokens(target * 2 - 1)
        asked = self.sentences([sentence for each in found for sentence in each.instructions])
        generator = seeded("small pair", SEED)
        heads = contrasted(("change", changed(before, after)), ("asked", asked), generator)
        whole = pooled(self.tokens(told.truth * 2 - 1))
        captions = self.sentences([words["caption"] for words in told.words])
        heads |= contrasted(("picture", whole), ("caption", captions), generator)
        return heads | told_apart("quality", looks(target), looks(worsened(target, generator)), generator)


def _folder(model: str) -> Path:
    if model == BEGUN:
        from ...recipes import nano

        return nano.BEGUN
    return find_folder(model)


def contrasted(one: tuple[str, Tensor], other: tuple[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Heads by name under which row i of one side is nearest to row i of the other (CLIP's loss, both ways)."""
    sides = [_Side(name, features, WIDTH, generator) for name, features in (one, other)]
    own = torch.arange(len(one[1]))

    def loss() -> Tensor:
        first, second = (F.normalize(side(generator), dim=1) for side in sides)
        likeness = first @ second.T * SHARPNESS
        return F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)

    return _minimised(sides, loss)


def told_apart(name: str, good: Tensor, bad: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """A head by name whose value [N,1] is the log odds of the good ones."""
    side = _Side(name, torch.cat((good, bad)), 1, generator, dropped=0.0)
    wanted = torch.cat((torch.ones(len(good)), torch.zeros(len(bad))))
    return _minimised([side], lambda: F.binary_cross_entropy_with_logits(side(generator)[:, 0], wanted), 30, 0.0)


class _Side:
    """A linear head on features [N,F], which are standardised and partly hidden while it learns."""

    def __init__(self, name: str, features: Tensor, width: int, generator: torch.Generator, dropped: float = DROPPED):
        self.name, self.dropped = name, dropped
        self.mean, self.spread = features.mean(0), features.std(0).clamp_min(1e-3)
        self.known = (features - self.mean) / self.spread
        weight = torch.randn(width, features.shape[1], generator=generator) / features.shape[1] ** 0.5
        self.weight, self.bias = weight.requires_grad_(), torch.zeros(width, requires_grad=True)

    def __call__(self, generator: torch.Generator) -> Tensor:
        kept = torch.rand(self.known.shape, generator=generator) >= self.dropped
        return F.linear(self.known * kept / (1 - self.dropped), self.weight, self.bias)

    def head(self) -> dict[str, Tensor]:
        """Weights for features as they are."""
        weight = self.weight.detach() / self.spread
        bias = self.bias.detach() - weight @ self.mean
        return {f"{self.name}.weight": weight.contiguous(), f"{self.name}.bias": bias}


def _minimised(
    sides: Sequence[_Side], loss: Callable[[], Tensor], faster: float = 1.0, decay: float = DECAY
) -> dict[str, Tensor]:
    parameters, rate = [p for side in sides for p in (side.weight, side.bias)], RATE * faster
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    with torch.enable_grad():
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / STEPS)
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    return {name: tensor for side in sides for name, tensor in side.head().items()}
