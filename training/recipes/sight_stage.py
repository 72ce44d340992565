"""The vision tower alone: what each of its tokens shows.

The network takes what pictures mean from these tokens, as the released one does from a CLIP that has seen four hundred
million of them. Captions alone teach a small tower in some minutes what colours there are, not which shapes; the
renderer knows both of every patch, and a step of the tower alone costs a tenth of one of the network.

All of its pictures are pale (see `pale_scenes`): a tower that also saw some in full colour, without the classes that
colours give away, told the shapes of 91 % of the held-out solids where these were pale, and of 74 % in colours. So the
network's pictures are paled for it too, by its first weights.
Shapes: B pictures, S side in pixels, c label channels, J joints, g = S/16 patches, G = S/4 cells and n tokens a side, w
width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...comfyui_pixwizard.encoders.clip import CLIP_MEAN, CLIP_STD, ClipVisionEncoder
from ..data.feed.ahead import DrawsAhead
from ..data.rendered.mirrored import mirrored_labels, mirrored_poses
from ..data.rendered.pale_scenes import PALE, paled_scenes, turning, without_hints
from ..data.rendered.patch_labels import CELLS, CHANNELS, CLASSES, JOINTS, class_cells, joint_cells
from ..data.rendered.scene_pool import to_bytes
from ..data.rendered.sources import RenderedSources, below
from ..loop.logs import Records
from .teachers import WEIGHTS, counts_taught, joint_losses, label_losses, labels_by_token, of_cells, outline_losses

# Share of people among the pictures, of which each loss is a mean of its own.
PEOPLE = 0.15
# Weight of what a token has moved from its first tower, against the spread of that tower's tokens, where the network is
# not taught to read the new ones. Little: what it must learn is new.
KEEP = 0.1
# What the head says of a token, in this order.
SAID = CHANNELS, CLASSES * CELLS**2, JOINTS * CELLS**2
PARTS_OF_SUM = WEIGHTS | {"joints": 0.5, "moved": KEEP}


@dataclass
class Sights:
    """B pictures [B,3,S,S] as bytes, the first of them scenes with labels [.,c,g,g] and classes [.,CLASSES,G,G], the
    others people with joints [.,J,G,G]."""

    pictures: Tensor
    labels: Tensor
    classes: Tensor
    joints: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def said_by(head: nn.Linear, tokens: Tensor) -> Tensor:
    """What a head reads in the tokens [B,n*n,w] of square pictures: [B,features,n,n]."""
    said = head(F.layer_norm(tokens, tokens.shape[-1:]))
    return rearrange(said, "b (g k) c -> b c g k", g=round(tokens.shape[1] ** 0.5))


@torch.no_grad()
def scale_colors(vision: ClipVisionEncoder, strength: float) -> None:
    """Change a tower in place to say of a picture what it said of the same with colours that far from gray.

    Folded into the patches' weights, and what its normalisation adds into the patches' places, so that it stays a CLIP.
    """
    embeddings = vision.model.embeddings
    weight, mean, std = embeddings.patch_embedding.weight, torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    matrix = turning(0.0, strength)
    moved = ((matrix @ mean - mean) / std).to(weight)
    embeddings.position_embedding.weight[1:] += torch.einsum("wchk,c->w", weight, moved)
    change = (matrix / std[:, None] * std).to(weight)
    weight.copy_(torch.einsum("wchk,cj->wjhk", weight, change))


@contextmanager
def seeing_pale(vision: ClipVisionEncoder) -> Iterator[None]:
    """Meanwhile a tower sees pictures as they are; else as pale as the most colourful of `pale_scenes`."""
    scale_colors(vision, 1 / PALE)
    yield
    scale_colors(vision, PALE)


class SightHeads(nn.Module):
    """A vision tower, and the heads that only this stage has."""

    def __init__(self, vision: ClipVisionEncoder) -> None:
        super().__init__()
        self.vision, self.head = vision, nn.Linear(vision.features, sum(SAID))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B,n*n,w] of pictures in [-1,1], and what they say [B,.,n,n], see `SAID`."""
        tokens = self.vision.encode(pictures).float()
        return tokens, said_by(self.head, tokens)


class SightStage(DrawsAhead):
    """Classes, depth, normals and joints, by token.

    Args:
        vision: what is trained, inside of `seeing_pale`.
        rendered: pools.
        keep: hold the tokens near to what they are now, for a network that was trained with these.
    """

    name = "sight"

    def __init__(
        self,
        vision: ClipVisionEncoder,
        rendered: RenderedSources,
        keep: bool = False,
        batch_size: int = 96,
        bfloat16: bool = False,
    ) -> None:
        self.model = SightHeads(vision)
        self.first = copy.deepcopy(vision).requires_grad_(False) if keep else None
        self.rendered, self.batch_size, self.bfloat16 = rendered, batch_size, bfloat16

    def batch(self, generator: torch.Generator) -> Sights:
        return self.drawn(generator)

    def draw(self, generator: torch.Generator) -> Sights:
        """Pictures and what is known of them; a function of the generator's state alone."""
        scenes, figures = self.rendered.scenes, self.rendered.figures
        people = round(PEOPLE * self.batch_size)
        index = torch.tensor(below(len(scenes), self.batch_size - people, generator))
        persons = torch.tensor(below(len(figures), people, generator), dtype=torch.int64)
        patches = scenes.patches[index].float()
        shown, paled = paled_scenes(scenes.picture(index), generator, share=1.0)
        labels = without_hints(patches, paled)
        classes = class_cells(scenes.coded["segmentation"][index])
        posing, _ = paled_scenes(figures.image[persons].float() / 255, generator, share=1.0)
        pictures, poses = to_bytes(torch.cat((shown, posing))), figures.pose[persons]
        turned = torch.rand(self.batch_size, generator=generator) < 0.5
        pictures[turned] = pictures[turned].flip(-1)
        of_scenes, of_people = turned[: len(labels)], turned[len(labels) :]
        labels[of_scenes], classes[of_scenes] = mirrored_labels(labels[of_scenes]), classes[of_scenes].flip(-1)
        poses[of_people] = mirrored_poses(poses[of_people], figures.size)
        return Sights(pictures, labels, classes, joint_cells(poses, figures.size))

    def loss(self, batch: Sights, generator: torch.Generator) -> tuple[Tensor, Records]:
        """Sum of the losses, each by the weight that its teacher has."""
        place = self.model.head.weight.device
        pictures, count = batch.pictures.to(place).float() / 127.5 - 1, len(batch.labels)
        with torch.autocast(place.type, torch.bfloat16, enabled=self.bfloat16):
            tokens, said = self.model(pictures)
        side = said.shape[-1]
        labels = labels_by_token(batch.labels.to(place), side)
        known = torch.ones(count, dtype=torch.bool, device=place)
        shown, kinds, joints = said.split(SAID, 1)
        losses = label_losses(shown[:count], labels, known)
        cells = [F.adaptive_avg_pool2d(part.to(place), side * CELLS) for part in (batch.classes, batch.joints)]
        losses["outlines"] = outline_losses(of_cells(kinds[:count]), cells[0])
        losses["joints"] = joint_losses(of_cells(joints[count:]), cells[1])
        if self.first is not None:
            with torch.no_grad():
                before = self.first.encode(pictures).float()
            losses["moved"] = (tokens - before).square().mean((1, 2)) / before.var()
        total = sum((PARTS_OF_SUM[name] * value.mean() for name, value in losses.items()), tokens.new_zeros(()))
        counts = {name: len(value) for name, value in losses.items()} | counts_taught(labels, known)
        logged = {f"sight/{name}": (float(value.detach().sum()), counts[name]) for name, value in losses.items()}
        return total, {name: found for name, found in logged.items() if found[1]}
