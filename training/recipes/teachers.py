"""What the renderer knows, taught to the middle of the network: linear heads on the tokens after the third block.

They exist in training only. A head asks of each patch whether it will change (known for every task from source and
target themselves), which of its cells the sentence names, which show a class and which a joint of people, and which
class, colour, depth and normal the source has there. Their losses bind words to places long before the flow's own loss
does, in which a small thing is a small part.
Shapes: B samples, L tokens, d width, C latent channels, g patches and G cells a side, c label channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ..data.rendered.patch_labels import CELLS, CHANNELS, CLASSES, JOINTS, PARTS, SOLIDS, Truth
from ..loop.logs import Records

BLOCK = 3
# A patch whose latents moved by this much, against their own unit spread, has changed altogether.
FULL_CHANGE = 0.5
# What the head says of a patch, in this order.
SAID = (1, CELLS**2, CLASSES * CELLS**2, CHANNELS, JOINTS * CELLS**2)
# Parts of the labels that may be unknown in a patch.
SHARES = "classes", "colors"
# Parts of the sum; depth and normals are squared errors and small, and one sample of eight shows people.
WEIGHTS = {
    "change": 1.0,
    "named": 1.0,
    "outlines": 1.0,
    "classes": 1.0,
    "colors": 0.5,
    "depth": 2.0,
    "normal": 1.0,
    "joints": 2.0,
}


def change_of(source: Tensor, target: Tensor, patch: int) -> Tensor:
    """How much each patch changes, [B,C,h,w] twice -> [B,g,g], root mean square."""
    square = (target - source).square()
    return reduce(square, "b c (g p) (k q) -> b g k", "mean", p=patch, q=patch).sqrt()


def news_of(source: Tensor, target: Tensor, patch: int) -> Tensor:
    """What neither the source says of a patch nor the target's usual patch (the median over places): [B,C,h,w] twice ->
    [B,g,g]. A skeleton is news; the black round it, which the source has not either, is none.
    """
    patches = rearrange(target, "b c (g p) (k q) -> b (c p q) (g k)", p=patch, q=patch)
    usual = (patches - patches.median(-1, keepdim=True).values).square().mean(1).sqrt()
    return torch.minimum(change_of(source, target, patch), usual.view(len(target), target.shape[2] // patch, -1))


def emphasis(change: Tensor, most: float = 4.0) -> Tensor:
    """Weights of patches [B,g,g] with mean 1, by what is new in each, at most `most` before they are brought to 1."""
    weight = (change / change.mean((1, 2), keepdim=True).clamp_min(1e-6)).clamp(max=most)
    mean = weight.mean((1, 2), keepdim=True)
    return torch.where(mean > 0, weight / mean.clamp_min(1e-6), torch.ones_like(weight))


class Teachers(nn.Module):
    """Heads on a transformer's middle; while it runs, they see the tokens pass.

    Args:
        transformer: its block `BLOCK` gets a hook; parameters of the heads are this module's own.
    """

    def __init__(self, transformer: PixWizardTransformer) -> None:
        super().__init__()
        width = transformer.config.dim
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, sum(SAID))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.tokens: Tensor | None = None
        transformer.blocks[min(BLOCK, len(transformer.blocks)) - 1].register_forward_hook(self._see)

    def _see(self, module: nn.Module, given: tuple, tokens: Tensor) -> None:
        if torch.is_grad_enabled():
            self.tokens = tokens

    def loss(self, source: Tensor, target: Tensor, truth: Truth, blind: Tensor, patch: int) -> tuple[Tensor, Records]:
        """The heads' loss on the last tokens that passed, and its parts for the log.

        Args:
            source, target: latents [B,C,h,w].
            blind: [B], samples whose source the network was not given.
            patch: side of a patch in latents.
        """
        assert self.tokens is not None, "the network runs first"
        side = source.shape[-2] // patch
        out = rearrange(self.head(self.norm(self.tokens.float())), "b (g k) c -> b c g k", g=side)
        self.tokens = None
        change, cells, kinds, shown, joints = out.split(SAID, 1)
        changed = (change_of(source, target, patch) / FULL_CHANGE).clamp(max=1)
        moves = F.binary_cross_entropy_with_logits(change[:, 0], changed, reduction="none")
        parts = {"change": _only(_half_inside(moves, changed), ~blind)}
        named = F.binary_cross_entropy_with_logits(of_cells(cells)[:, 0], truth.named, reduction="none")
        parts["named"] = _only(_half_inside(named, truth.named), truth.asked)
        outlines = outline_losses(of_cells(kinds), truth.classes)
        parts["outlines"] = _only(outlines, truth.known & taught("classes", truth.labels))
        parts |= label_losses(shown, truth.labels, truth.known)
        parts["joints"] = _only(joint_losses(of_cells(joints), truth.joints), truth.posed)
        total = sum((WEIGHTS[name] * value.mean() for name, value in parts.items()), source.new_zeros(()))
        counts = {"change": int((~blind).sum()), "named": int(truth.asked.sum()), "joints": int(truth.posed.sum())}
        counts |= counts_taught(truth.labels, truth.known)
        counts["outlines"] = counts["classes"]
        logged = {f"teacher/{n}": (float(value.detach().sum()), counts[n]) for n, value in parts.items()}
        return total, {name: found for name, found in logged.items() if found[1]}


def of_cells(out: Tensor) -> Tensor:
    """What a head says of the cells of patches [B,c*CELLS²,g,g], each in its place: [B,c,G,G]."""
    return rearrange(out, "b (c p q) g k -> b c (g p) (k q)", p=CELLS, q=CELLS)


def label_losses(out: Tensor, labels: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Losses of patch labels [B] by part; out [B,c,g,g] holds logits and values, and what is not known [B] counts 0."""
    label = {name: (out[:, part], labels[:, part]) for name, part in PARTS.items()}
    maps = {
        "colors": F.binary_cross_entropy_with_logits(*label["colors"], reduction="none").sum(1),
        **{name: (label[name][0] - label[name][1]).square().mean(1) for name in ("depth", "normal")},
    }
    # Ground and background are easy and nearly all.
    classes = F.cross_entropy(*label["classes"], reduction="none")
    found = {name: _by_sample(value) for name, value in maps.items()}
    found["classes"] = _half_inside(classes, labels[:, SOLIDS].sum(1).clamp(0, 1), told("classes", labels).float())
    return {name: _only(value, known & taught(name, labels)) for name, value in found.items()}


def outline_losses(out: Tensor, classes: Tensor) -> Tensor:
    """Losses [B] of the classes of cells [B,CLASSES,G,G], half of it solids; -1: unknown, out: logits."""
    known = (classes >= 0).all(1).float()
    wrong = F.cross_entropy(out, classes.clamp_min(0), reduction="none")
    return _half_inside(wrong, classes[:, SOLIDS].sum(1).clamp(0, 1), known)


def labels_by_token(labels: Tensor, side: int) -> Tensor:
    """Labels [B,c,g,g] of patches -> [B,c,side,side]; -1 where any of it is."""
    pooled = F.adaptive_avg_pool2d(labels, side)
    for name in SHARES:
        unknown = F.adaptive_avg_pool2d((~told(name, labels)[:, None]).float(), side) > 0
        pooled[:, PARTS[name]] = torch.where(unknown, -1.0, pooled[:, PARTS[name]])
    return pooled


def told(name: str, labels: Tensor) -> Tensor:
    """In which patches [B,g,g] one of SHARES is known, of labels [B,c,g,g]: shares are never negative."""
    return (labels[:, PARTS[name]] >= 0).all(1)


def taught(name: str, labels: Tensor) -> Tensor:
    """Of which samples [B] a part of the labels [B,c,g,g] is known anywhere."""
    if name not in SHARES:
        return torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    return told(name, labels).flatten(1).any(1)


def counts_taught(labels: Tensor, known: Tensor) -> dict[str, int]:
    """How many of the samples `label_losses` tells something of, by part."""
    return {name: int((known & taught(name, labels)).sum()) for name in PARTS}


def joint_losses(out: Tensor, joints: Tensor) -> Tensor:
    """Losses [B] of where dots on joints lie, [B,J,G,G]; out holds logits."""
    return _by_sample(F.binary_cross_entropy_with_logits(out, joints, reduction="none").sum(1))


def _half_inside(losses: Tensor, share: Tensor, known: Tensor | float = 1.0) -> Tensor:
    """Means [B] of losses of patches [B,g,g], half of the say to the few that something covers by a share [B,g,g];
    known [B,g,g]: 0 where nothing is.
    """
    parts = share * known, (1 - share) * known
    inside, outside = ((losses * part).sum((1, 2)) / part.sum((1, 2)).clamp_min(1e-3) for part in parts)
    return (inside + outside) / 2


def _by_sample(losses: Tensor) -> Tensor:
    return losses.mean((1, 2))


def _only(losses: Tensor, of: Tensor) -> Tensor:
    return torch.where(of, losses, losses.new_zeros(()))
