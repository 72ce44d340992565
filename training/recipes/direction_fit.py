"""What a model's direction is fitted on: rendered edits, each with a sentence that asks for it, and their closed form.

Canonical correlation: of the two sides' features, standardised and with a ridge, those pairs of directions in which
they vary together the most. Nothing is trained and the towers stay as they are, so it takes what the scenes take.
Shapes: n edits, w and v features of the two sides, k dimensions of the common space.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ...comfyui_pixwizard.files.components import find_folder
from ...comfyui_pixwizard.limits import check_least
from ...comfyui_pixwizard.local_edits.direction import (
    DIRECTION_FILE,
    PROBE_WORDS,
    SIDE,
    Direction,
    asked_features,
    change_features,
    probe_of,
    probe_picture,
    tokens_of,
    vectors_of,
)
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.tasks.language.things import OF_THINGS
from ..evaluate.scene_samples import SceneSet
from ..loop.seeding import seeded

# Sentences of each edit; dimensions of the common space; ridges, of which the best on other scenes is taken.
SENTENCES, WIDTH, RIDGES = 6, 48, (0.3, 1.0, 3.0, 10.0)
# So many sentences of other edits must agree less than an edit's own for `right_share`.
OTHERS = 7
CHUNK = 64


@dataclass
class DirectionRecipe:
    """Fit by what the best of several forms of a local edit is chosen, to a model's own encoders.

    Writes direction.safetensors into the model's folder, from rendered edits alone.
    """

    model: str = "nano"
    """The bundled model, nano, or a folder."""
    scenes: int = 240
    """Rendered scenes, with an edit of each kind in each of them; a fifth of them chooses the ridge, another judges."""
    seed: int = 0
    """Of scenes and sentences."""
    out: Path | None = None
    """Another folder to write to."""

    def run(self) -> bool:
        """Fit, print how often an edit's own sentence agrees the most, and write.

        Raises:
            ValueError: no such model, too few scenes, a place that cannot be written.
        """
        check_least(self, scenes=10)
        folder = find_folder(self.model)
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        few = self.scenes // 5
        parts = (self.scenes - 2 * few, self.seed, "train"), (few, self.seed + 1, "train"), (few, self.seed, "test")
        seen, others, held_out = (features(pipeline, *part) for part in parts)
        probe = probe_of(
            vectors_of(pipeline.task_encoder, [PROBE_WORDS]), tokens_of(pipeline.image_encoder, probe_picture())
        )
        found = {ridge: fitted_maps(*seen, WIDTH, ridge, probe) for ridge in RIDGES}
        shares = {ridge: right_share(maps, *others) for ridge, maps in found.items()}
        best = max(shares, key=lambda ridge: shares[ridge])
        for ridge, share in shares.items():
            print(f"ridge {ridge:<4g} own sentence before {OTHERS} others: {share:.3f}")
        judged = right_share(found[best], *held_out)
        print(f"ridge {best:<4g} on held-out scenes, which chose nothing: {judged:.3f}")
        found[best].save(self.out or folder)
        print(f"wrote {(self.out or folder) / DIRECTION_FILE}")
        return True


def features(pipeline: PixWizardPipeline, scenes: int, seed: int, split: str) -> tuple[Tensor, Tensor]:
    """Both sides' features [n, w] and [n, v] of edits of things in rendered scenes, each with several sentences."""
    drawn = SceneSet(scenes, SIDE, seed, split)
    asked, shown = [], []
    for name in tqdm(OF_THINGS, f"{split} edits", unit="kind", leave=False):
        samples = drawn.samples(name)
        pairs = zip(samples.source.split(CHUNK), samples.truth.split(CHUNK), strict=True)
        change = torch.cat(
            [change_features(*(tokens_of(pipeline.image_encoder, part * 2 - 1) for part in both)) for both in pairs]
        )
        for number in range(SENTENCES):
            sentences = [
                TASKS[name].instruction(seeded("direction", seed, split, name, number, i), **words)
                for i, words in enumerate(samples.words)
            ]
            asked.append(asked_features(vectors_of(pipeline.task_encoder, sentences)))
            shown.append(change)
    return torch.cat(asked), torch.cat(shown)


def fitted_maps(asked: Tensor, shown: Tensor, width: int, ridge: float, probe: Tensor) -> Direction:
    """Maps [k, w] and [k, v] by canonical correlation, each dimension as long as its correlation is strong.

    Args:
        asked, shown: [n, w] and [n, v], row by row of the same edits.
        ridge: added to the variance of every standardised feature.
        probe: kept with them.
    """
    sides, means, spreads = [], [], []
    for side in (asked, shown):
        means.append(side.mean(0))
        spreads.append(side.std(0).clamp_min(1e-4))
        sides.append(((side - means[-1]) / spreads[-1]).double())
    roots = []
    for side in sides:
        covariance = side.T @ side / len(side) + ridge * torch.eye(side.shape[1], dtype=torch.float64)
        roots.append(torch.linalg.inv(torch.linalg.cholesky(covariance)))
    together = roots[0] @ (sides[0].T @ sides[1] / len(asked)) @ roots[1].T
    left, strength, right = torch.linalg.svd(together, full_matrices=False)
    kept = min(width, len(strength))
    weights = []
    for turned, root, spread in zip((left.T, right), roots, spreads, strict=True):
        weights.append((strength[:kept, None].sqrt() * turned[:kept] @ root).float() / spread)
    biases = [-weight @ mean for weight, mean in zip(weights, means, strict=True)]
    return Direction(weights[0], biases[0], weights[1], biases[1], probe)


def right_share(maps: Direction, asked: Tensor, shown: Tensor) -> float:
    """Share of edits with which their own sentence agrees more than each of OTHERS drawn ones does."""
    generator = torch.Generator().manual_seed(0)
    own, right = maps.agreement(asked, shown), torch.ones(len(asked), dtype=torch.bool)
    for _ in range(OTHERS):
        right &= own > maps.agreement(asked[torch.randperm(len(asked), generator=generator)], shown)
    return float(right.float().mean())
