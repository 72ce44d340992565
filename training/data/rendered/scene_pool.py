"""A pool of rendered scenes with their labels, sentences and some edits each (see `pools` for why there are pools).

Shape legend: N scenes, E edits, S side in pixels, B batch, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from ....comfyui_pixwizard.tasks import TASKS
from ...render import scenes as S
from ..feed.workers import in_processes
from .patch_labels import in_cells, patch_labels
from .pools import Pictures, cached, cropped, missing, of_text, to_text

Encode = Callable[[Tensor], Tensor]

PART = 500  # scenes of a file
FORMAT = 4  # part of the file's name: raised whenever what is stored, or how it is rendered, changes
EDITS = S.EDIT_TASKS
DENSE = {"depth": "depth", "normal": "normal", "segmentation": "classes"}
# What is rendered once serves these tasks; an addition is a removal the other way round.
RENDERED = {kind: ("edit_remove", "edit_add") if kind == "add" else (f"edit_{kind}",) for kind in S.EDITS}
del RENDERED["remove"]
CHUNK = 50


class EditRecord(NamedTuple):
    """One edit: the scene's picture and a row of `edited`, which change places when `swapped`."""

    scene: int
    words: dict[str, str]  # as Task.instruction takes them
    row: int
    swapped: bool
    instance: int  # of the scene's solid that changes; 0 where the whole scene does


def to_bytes(image: Tensor) -> Tensor:
    """[0,1] -> uint8."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _render_all(scenes: S.Scenes, size: int) -> S.Render:
    parts = [S.render(scenes[i : i + CHUNK], size) for i in range(0, len(scenes), CHUNK)]
    return S.Render(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(S.Render)})


def _part(rendered: S.Render, start: int) -> S.Render:
    return S.Render(**{f.name: getattr(rendered, f.name)[start : start + CHUNK] for f in fields(S.Render)})


def _choose_edits(
    scenes: S.Scenes, rendered: S.Render, each: int, generator: torch.Generator
) -> tuple[S.Scenes, dict[str, list[EditRecord]]]:
    """`each` edits of different kinds for every scene, the rarest kinds first, so that all become equally frequent.

    Returns the changed scenes and the records by task. A scene that has no room for a kind gets another instead.
    """
    counts = dict.fromkeys(RENDERED, 0)
    changed: list[S.Scenes] = []
    records: dict[str, list[EditRecord]] = {task: [] for task in EDITS}
    for i in range(len(scenes)):
        done = 0
        for kind in sorted(counts, key=lambda name: counts[name]):
            if done == each:
                break
            try:
                after, words = S.edit(scenes, i, kind, generator, rendered)
            except S.NoRoom:
                continue
            for task in RENDERED[kind]:
                asked = S.task_words(EDITS[task], words)
                swapped, instance = EDITS[task] in S.SWAPPED, int(words.get("instance", 0))
                records[task].append(EditRecord(i, asked, len(changed), swapped, instance))
            changed.append(after)
            counts[kind] += 1
            done += 1
    return S.Scenes.cat(changed), records


class Part(NamedTuple):
    """A file of a pool, and what it holds."""

    path: Path
    number: int
    scenes: int
    size: int
    seed: int
    edits_per_scene: int


def _render_part(part: Part) -> None:
    cached(part.path, lambda: _build(part))


def _build(part: Part) -> dict[str, Tensor]:
    count, size = part.scenes, part.size
    generator = torch.Generator().manual_seed(part.seed * 1_000_003 + size + part.number * 7_919)
    scenes = S.sample_scenes(count, generator)
    rendered = _render_all(scenes, size)
    coded = {
        f"coded.{task}": torch.stack([to_bytes(TASKS[task].encode(label)) for label in getattr(rendered, field)])
        for task, field in DENSE.items()
    }
    changed, records = _choose_edits(scenes, rendered, part.edits_per_scene, generator)
    chunks = range(0, count, CHUNK)
    texts = {
        "captions": [[S.caption(scenes, i, generator) for _ in range(4)] for i in range(count)],
        "referrals": [S.referring(scenes, rendered, i, generator) for i in range(count)],
        "edits": records,
    }
    return coded | {
        "image": to_bytes(rendered.image),
        "instance": rendered.instance.to(torch.uint8),
        "patches": torch.cat([patch_labels(scenes[i : i + CHUNK], _part(rendered, i)) for i in chunks]),
        "edited": to_bytes(_render_all(changed, size).image),
        "texts": to_text(texts),
    }


class ScenePool(Pictures):
    """Rendered scenes: pictures and instance maps as bytes, dense labels already coded as pictures.

    Attributes:
        image: [N,3,S,S] uint8.   instance: [N,S,S] uint8.   edited: [E,3,S,S] uint8, the pictures of changed scenes.
        coded: task -> [N,3,S,S] uint8 pictures of the dense labels.   patches: [N,c,g,g], see `patch_labels`.
        captions, referrals: per scene some captions, some (expression, instance id).
        by_edit: task -> records of its edits; about equally many for each task, from E = N * edits_per_scene renders.

    Raises:
        ValueError: more edits per scene than there are kinds to render, or none.
    """

    def __init__(self, folder: Path, count: int, size: int, seed: int = 2, edits_per_scene: int = 2):
        if not 1 <= edits_per_scene <= len(RENDERED):
            raise ValueError(
                f"edits_per_scene must be 1 to {len(RENDERED)} (one of each kind), found {edits_per_scene}: use 2"
            )
        parts = [
            Part(
                folder / f"scenes-v{FORMAT}-train-{first}-{n}-{size}-{seed}-{edits_per_scene}.safetensors",
                number, n, size, seed, edits_per_scene,
            )
            for number, (first, n) in enumerate((at, min(PART, count - at)) for at in range(0, count, PART))
        ]  # fmt: skip
        in_processes(_render_part, [parts[i] for i in missing([part.path for part in parts])], f"scenes {size}px")
        self._join([load_file(part.path) for part in parts])
        self.referable = [i for i, found in enumerate(self.referrals) if found]
        self._latents: dict[str, Tensor] = {}
        self._encoded: dict[str, Tensor] = {}

    def _join(self, parts: list[dict[str, Tensor]]) -> None:
        """Put the parts together; their scenes and edits are numbered from 0 in each."""

        def whole(name: str) -> Tensor:
            return torch.cat([part.pop(name) for part in parts])

        scenes, edits = [len(part["image"]) for part in parts], [len(part["edited"]) for part in parts]
        super().__init__(whole("image"))
        self.instance, self.edited = whole("instance"), whole("edited")
        self.patches = whole("patches")
        self.coded = {task: whole(f"coded.{task}") for task in DENSE}
        self.captions: list[list[str]] = []
        self.referrals: list[list[tuple[str, int]]] = []
        self.by_edit: dict[str, list[EditRecord]] = {task: [] for task in EDITS}
        for number, part in enumerate(parts):
            texts, scene, row = of_text(part["texts"]), sum(scenes[:number]), sum(edits[:number])
            self.captions += texts["captions"]
            self.referrals += texts["referrals"]
            for task, found in texts["edits"].items():
                records = (EditRecord(*record) for record in found)
                self.by_edit[task] += [r._replace(scene=r.scene + scene, row=r.row + row) for r in records]

    def named(self, index: Tensor, instance: Tensor) -> Tensor:
        """Share of each cell [B,G,G] that solids cover, one number of `instance` for each scene of `index`."""
        return in_cells((self.instance[index] == instance[:, None, None]).float())

    def edit_pairs(self, records: Sequence[EditRecord]) -> tuple[Tensor, Tensor]:
        """Source and result pictures [B,3,S,S] in [0,1] of edits, given as records out of `by_edit`."""
        given = self.picture(torch.tensor([record.scene for record in records]))
        changed = self.edited[torch.tensor([record.row for record in records])].float() / 255
        return self._in_order(records, given, changed)

    @staticmethod
    def _in_order(records: Sequence[EditRecord], given: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        swapped = torch.tensor([record.swapped for record in records], device=given.device)[:, None, None, None]
        return torch.where(swapped, changed, given), torch.where(swapped, given, changed)

    def draw_labels(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """n coded label pictures [n,3,size,size] in [0,1]."""
        tasks = list(self.coded)
        chosen = torch.randint(len(self) * len(tasks), (n,), generator=generator).tolist()
        pictures = torch.stack([self.coded[tasks[i % len(tasks)]][i // len(tasks)] for i in chosen]).float() / 255
        return cropped(pictures, size, generator)

    @torch.no_grad()
    def latents(self, name: str, index: Tensor, encode: Encode) -> Tensor:
        """Latents [B,C,S/8,S/8] of stored pictures: "image", "edited" (by row) or a dense task's name.

        encode makes latents of pictures [B,3,S,S] in [0,1] and must always be the same: each picture is encoded when it
        is first asked for, and its latents are kept in half precision.
        """
        stored = {"image": self.image, "edited": self.edited}.get(name, self.coded.get(name))
        assert stored is not None, name
        known = self._encoded.setdefault(name, torch.zeros(len(stored), dtype=torch.bool, device=stored.device))
        index = index.to(stored.device)
        missing = index[~known[index]].unique()
        if len(missing):
            fresh = encode(stored[missing].float() / 255).half()
            if name not in self._latents:
                self._latents[name] = fresh.new_empty(len(stored), *fresh.shape[1:])
            self._latents[name][missing.to(fresh.device)] = fresh
            known[missing] = True
        kept = self._latents[name]
        return kept[index.to(kept.device)].float()
