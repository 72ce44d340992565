"""A small judge of generated scenes: which (colour, shape) pairs a picture shows. Trained on rendered scenes only.

Every cell of a coarse grid is given a shape (or nothing) and a colour; a pair is present as far as the cells that look
most like it do. The weights beside this file come from `python -m pixwizard.training.evaluate.object_judge`.
Shape legend: N pictures, H, W pixels, S side of the judge's input, G = S/4 cells a side, P pairs, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from ...comfyui_pixwizard.files.safe_files import replaced
from ..render.scenes import COLOR_NAMES, SHAPES, Scenes, render, sample_scenes
from .metrics_sparse import average_precision

PAIRS = tuple((color, shape) for color in COLOR_NAMES for shape in SHAPES)
WEIGHTS = Path(__file__).with_name("object_judge.safetensors")
SIDE, STRIDE = 96, 4
# The smallest solids that a scene shows cover about 1 % of it: 6 of 576 cells.
TOP_CELLS = 5
# Standard deviation within every channel up to which a picture is an empty canvas.
EVEN = 0.02
BATCH = 16
CHUNK = 64
# Noise costs as much as a layer: so many pictures of a batch share one, each at its own strength.
NOISES = 6
# What a cell of a solid weighs beside one of the background, which is four in five.
SOLID_WEIGHT = 3.0


class ObjectJudge(nn.Module):
    """Shape and colour of every cell: pictures [N,3,S,S] in [0,1] -> [N,5,G,G] and [N,11,G,G] logits.

    Attributes:
        threshold: presence above which a pair counts as shown; chosen on scenes that training did not use.
    """

    threshold: Tensor

    def __init__(self, width: int = 64):
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 20, 2), _conv(20, 40, 2))
        self.deep = nn.Sequential(_conv(40, width, 2), *(_Residual(width) for _ in range(3)))
        self.lift, self.side = nn.Conv2d(width, 48, 1), nn.Conv2d(40, 48, 1)
        self.mix = _conv(48, 48)
        self.head = nn.Conv2d(48, 1 + len(SHAPES) + len(COLOR_NAMES), 1)
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(pictures * 2 - 1)
        coarse = F.interpolate(self.lift(self.deep(fine)), scale_factor=2.0, mode="bilinear", align_corners=False)
        shape, color = self.head(self.mix(coarse + self.side(fine))).split((1 + len(SHAPES), len(COLOR_NAMES)), 1)
        return shape, color

    def presence(self, pictures: Tensor) -> Tensor:
        """How surely each pair is shown: pictures [N,3,H,W] in [0,1] of any size -> [N,P] in [0,1].

        An even canvas, of which scenes teach nothing, shows none.
        """
        pictures = _fitted(pictures)
        uneven = pictures.flatten(2).std(-1).amax(1) > EVEN
        return self.cells(pictures).flatten(2).topk(TOP_CELLS, dim=-1).values.mean(-1) * uneven[:, None]

    def cells(self, pictures: Tensor) -> Tensor:
        """How much each cell looks like each pair: pictures [N,3,H,W] in [0,1] of any size -> [N,P,G,G] in [0,1]."""
        shape, color = self(_fitted(pictures))
        return (color.softmax(1)[:, :, None] * shape.softmax(1)[:, None, 1:]).flatten(1, 2)


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _fitted(pictures: Tensor) -> Tensor:
    if pictures.shape[-2:] == (SIDE, SIDE):
        return pictures
    fitted = F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    return fitted.clamp(0, 1)


@cache
def judge() -> ObjectJudge:
    """The bundled judge, ready for use."""
    return read(WEIGHTS).eval()


def read(path: Path) -> ObjectJudge:
    """The judge of a file.

    Raises:
        ValueError: the file holds another network.
    """
    model = ObjectJudge()
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    wrong = [name for name in [*missing, *unexpected] if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ValueError(f"{path.name} holds another network, found {wrong[0]}: train it again, see object_judge.py")
    return model


@torch.no_grad()
def judged(pictures: Tensor) -> Tensor:
    """Which pairs of PAIRS the bundled judge sees: [N,3,H,W] in [0,1] -> [N,P] bool."""
    model = judge()
    parts = [model.presence(part.float()) for part in pictures.split(CHUNK)]
    return torch.cat(parts) > model.threshold


@torch.no_grad()
def appeared(before: Tensor, after: Tensor, pairs: Tensor, columns: Tensor) -> Tensor:
    """Whether a pair was added to pictures where it should be: [N,3,H,W] in [0,1] twice -> [N] bool.

    The cells that look like the pair more than before, by half of what the judge calls present, have their middle in
    the columns and are as many as the smallest solid has.

    Args:
        pairs: [N] numbers in PAIRS.   columns: [N,2], from 0 left to 1 right.
    """
    model, rows = judge(), torch.arange(len(pairs))
    was, now = (
        torch.cat([model.cells(part.float()) for part in pictures.split(CHUNK)])[rows, pairs]
        for pictures in (before, after)
    )
    gain = (now - was).clamp_min(0) * (now > model.threshold)
    strong = gain * (gain > model.threshold / 2)
    place = (torch.arange(strong.shape[-1]) + 0.5) / strong.shape[-1]
    middle = (strong.sum(1) * place).sum(1) / strong.sum((1, 2)).clamp_min(1e-6)
    return ((strong > 0).sum((1, 2)) >= TOP_CELLS) & (middle > columns[:, 0]) & (middle < columns[:, 1])


def asked_pairs(scenes: Scenes) -> Tensor:
    """The pairs that scenes hold (a caption names every solid): [N,P] bool."""
    number = scenes.color * len(SHAPES) + scenes.shape
    pairs = torch.zeros(len(scenes), len(PAIRS), dtype=torch.bool)
    for i in range(len(scenes)):
        pairs[i, number[i][scenes.present[i]]] = True
    return pairs


@dataclass
class _Examples:
    """Pictures [N,3,S,S] uint8, shape ids [N,G,G] (0 nothing), colour ids [N,G,G], pairs [N,P] bool."""

    image: Tensor
    shape: Tensor
    color: Tensor
    pairs: Tensor


def _examples(count: int, seed: int) -> _Examples:
    """Rendered scenes of both splits, half and half."""
    generator = torch.Generator().manual_seed(seed)
    images, shapes, colors, pairs = [], [], [], []
    for start in tqdm(range(0, count, 100), desc="scenes", unit="chunk"):
        scenes = sample_scenes(100, generator, split=("train", "test")[start // 100 % 2])
        rendered = render(scenes, SIDE)
        cells = rendered.instance[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        place = (cells - 1).clamp_min(0).flatten(1)
        images.append((rendered.image * 255).round().to(torch.uint8))
        shapes.append(torch.where(cells > 0, scenes.shape.gather(1, place).reshape(cells.shape) + 1, 0))
        colors.append(scenes.color.gather(1, place).reshape(cells.shape))
        pairs.append(asked_pairs(scenes))
    return _Examples(torch.cat(images), torch.cat(shapes), torch.cat(colors), torch.cat(pairs))


@torch.no_grad()
def _coded(image: Tensor) -> Tensor:
    """The same pictures [N,3,S,S] uint8 after the bundled model's autoencoder."""
    from ...comfyui_pixwizard.pipeline import PixWizardPipeline

    autoencoder = PixWizardPipeline.from_pretrained("nano").autoencoder
    parts = [autoencoder.decode(autoencoder.encode(part.float() / 127.5 - 1)) for part in image.split(CHUNK)]
    return ((torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def spoiled(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [N,3,H,W] with what a small model's answers suffer from: blur, noise, wrong brightness; in [0,1]."""
    n = len(pictures)
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand(n, 1, 1, 1, generator=generator) * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5)
    pictures = pictures.lerp(soft, share)
    sigma = 0.05 * torch.rand(n, 1, 1, 1, generator=generator).square()
    gain = 1 + 0.08 * (torch.rand(n, 1, 1, 1, generator=generator) * 2 - 1)
    noise = torch.randn((-(-n // NOISES), *pictures.shape[1:]), generator=generator).repeat(NOISES, 1, 1, 1)[:n]
    return (pictures * gain + sigma * noise).clamp(0, 1)


def _loss(model: ObjectJudge, examples: _Examples, coded: Tensor, generator: torch.Generator) -> Tensor:
    index = torch.randint(len(examples.image), (BATCH,), generator=generator)
    pictures = examples.image[index].clone()
    # As many pictures after the autoencoder as there are; it was only run on the first of them.
    through = (index < len(coded)) & (torch.rand(BATCH, generator=generator) < 0.6)
    pictures[through] = coded[index[through]]
    shape, color = examples.shape[index], examples.color[index]
    flip = torch.rand(BATCH, generator=generator) < 0.5
    pictures[flip], shape[flip], color[flip] = pictures[flip].flip(-1), shape[flip].flip(-1), color[flip].flip(-1)
    pictures = spoiled(pictures.float() / 255, generator)
    # An even canvas shows nothing, whatever its colour.
    even = torch.rand(BATCH, generator=generator) < 0.03
    pictures[even] = torch.rand(int(even.sum()), 3, 1, 1, generator=generator).expand(-1, -1, SIDE, SIDE)
    shape[even] = 0
    with torch.autocast("cpu", torch.bfloat16):
        shape_logits, color_logits = model(pictures.contiguous(memory_format=torch.channels_last))
    here = (shape > 0).float()
    by_color = F.cross_entropy(color_logits.float(), color, reduction="none") * here
    weight = 1 + (SOLID_WEIGHT - 1) * here
    by_shape = F.cross_entropy(shape_logits.float(), shape, reduction="none") * weight
    return by_shape.sum() / weight.sum() + 0.3 * by_color.sum() / here.sum().clamp_min(1)


def train(steps: int, count: int, seed: int, start: Path | None = None) -> ObjectJudge:
    """A judge trained for so many steps on `count` rendered scenes, its threshold chosen on others.

    start: weights to go on from, at a third of the learning rate; None begins with nothing.
    """
    examples = _examples(count, seed)
    coded = _coded(examples.image[: count // 3])
    torch.manual_seed(seed)
    model = ObjectJudge() if start is None else read(start)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, peak = torch.Generator().manual_seed(seed), 4e-3 if start is None else 1.3e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01)
    with tqdm(range(steps), unit="step") as bar:
        for step in bar:
            # Up over a hundred steps, then down to zero.
            optimizer.param_groups[0]["lr"] = peak * min((step + 1) / 100, 1) * (1 - step / steps)
            loss = _loss(model, examples, coded, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()
    checked = _examples(600, seed + 1)
    pictures = torch.cat((checked.image, _coded(checked.image)))
    model.threshold = even_threshold(_presence(model, pictures), checked.pairs.repeat(2, 1))
    return model


@torch.no_grad()
def _presence(model: ObjectJudge, image: Tensor) -> Tensor:
    return torch.cat([model.presence(part.float() / 255) for part in image.split(CHUNK)])


def even_threshold(presence: Tensor, truth: Tensor) -> Tensor:
    """The threshold above which as many pairs lie as there are, so that recall is precision and counts have no bias.

    Args:
        presence: [N,P] in [0,1].
        truth: [N,P] bool, neither all true nor all false.
    """
    ordered, count = presence.flatten().sort(descending=True).values, int(truth.sum())
    return ordered[count - 1 : count + 1].mean()


def figures(model: ObjectJudge, seed: int, count: int = 600) -> dict[str, float]:
    """How good a judge is on scenes that it never saw, plain and after the bundled autoencoder."""
    checked = _examples(count, seed)
    values: dict[str, float] = {"scenes": float(count), "threshold": float(model.threshold)}
    for name, image in (("plain", checked.image), ("coded", _coded(checked.image))):
        presence = _presence(model, image)
        shown, truth = presence > model.threshold, checked.pairs
        values[f"{name}_average_precision"] = average_precision(presence.flatten(), truth.flatten())
        values[f"{name}_recall"] = float((shown & truth).sum() / truth.sum())
        values[f"{name}_precision"] = float((shown & truth).sum() / shown.sum())
    return values


@dataclass
class TrainJudge:
    """Train the judge of text-to-image anew on rendered scenes and write its weights beside the code."""

    steps: int = 6000
    """Steps of training, after rendering; all in all a few minutes on one core."""
    scenes: int = 8000
    """Rendered scenes to train on."""
    seed: int = 11
    """Seed of scenes and weights."""
    start: Path | None = None
    """Weights to go on from, where a run was too short."""
    out: Path = WEIGHTS
    """Where the weights go."""

    def run(self) -> None:
        """Train, write and print the figures."""
        model = train(self.steps, self.scenes, self.seed, self.start)
        state = {k: v.half().contiguous() for k, v in model.state_dict().items() if not k.endswith("tracked")}
        with replaced(self.out) as file:
            file.write(save(state))
        for name, value in figures(model, self.seed + 2).items():
            print(f"{name:<24}{value:.4f}")


if __name__ == "__main__":
    tyro.cli(TrainJudge).run()
