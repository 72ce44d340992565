"""A pool of rendered scenes with their labels, sentences and one edit each (see `pools` for why there are pools).

Shape legend: N scenes, S side in pixels, B batch, C latent channels.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from ...comfyui_pixwizard.tasks import TASKS
from .. import scenes as S
from .pools import cached

EDITS = {"edit_remove": "remove", "edit_recolor": "recolor"}
DENSE = {"depth": "depth", "normal": "normal", "segmentation": "classes"}
CHUNK = 50


def to_bytes(image: Tensor) -> Tensor:
    """[0,1] -> uint8."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _text(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _render_all(scenes: S.Scenes, size: int, label: str) -> S.Render:
    parts = [
        S.render(scenes[i : i + CHUNK], size) for i in tqdm(range(0, len(scenes), CHUNK), desc=label, unit="chunk")
    ]
    return S.Render(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(S.Render)})


class ScenePool:
    """Rendered scenes: pictures and instance maps as bytes, dense labels already coded as pictures.

    Attributes:
        image: [N,3,S,S] uint8.   instance: [N,S,S] uint8.   edited: [N,3,S,S] uint8, the result of the scene's edit.
        coded: task -> [N,3,S,S] uint8 pictures of the dense labels.
        captions, referrals, edits: per scene some captions, some (expression, instance id), one (task, words).
    """

    def __init__(self, folder: Path, count: int, size: int, seed: int = 2, split: str = "train"):
        self.size, self.split = size, split
        path = folder / f"scenes-{split}-{count}-{size}-{seed}.safetensors"
        data = cached(path, lambda: self._build(count, size, seed, split))
        self.image, self.instance, self.edited = data["image"], data["instance"], data["edited"]
        self.coded = {task: data[f"coded.{task}"] for task in DENSE}
        texts = json.loads(bytes(data["texts"].numpy()))
        self.captions: list[list[str]] = texts["captions"]
        self.referrals: list[list[tuple[str, int]]] = texts["referrals"]
        self.edits: list[tuple[str, dict[str, str]]] = texts["edits"]
        self.by_edit = {task: [i for i, (name, _) in enumerate(self.edits) if name == task] for task in EDITS}
        self.referable = [i for i, found in enumerate(self.referrals) if found]
        self._latents: dict[str, Tensor] = {}

    @staticmethod
    def _build(count: int, size: int, seed: int, split: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + size)
        scenes = S.sample_scenes(count, generator, split=split)
        rendered = _render_all(scenes, size, f"scenes {size}px")
        coded = {
            f"coded.{task}": torch.stack([to_bytes(TASKS[task].encode(label)) for label in getattr(rendered, field)])
            for task, field in DENSE.items()
        }
        edits, changed = [], []
        for i in range(count):
            task = list(EDITS)[i % len(EDITS)]
            after, words = S.edit(scenes, i, EDITS[task], generator, rendered)
            asked = {"caption": words["expression"], "color": words.get("new_color", "")}
            edits.append((task, {name: asked[name] for name in TASKS[task].words}))
            changed.append(after)
        edited = _render_all(S.Scenes.cat(changed), size, f"edits {size}px")
        texts = {
            "captions": [[S.caption(scenes, i, generator) for _ in range(4)] for i in range(count)],
            "referrals": [S.referring(scenes, rendered, i, generator) for i in range(count)],
            "edits": edits,
        }
        return coded | {
            "image": to_bytes(rendered.image),
            "instance": rendered.instance.to(torch.uint8),
            "edited": to_bytes(edited.image),
            "texts": _text(texts),
        }

    def __len__(self) -> int:
        return len(self.image)

    def picture(self, index: Tensor) -> Tensor:
        """Scene pictures [B,3,S,S] in [0,1]."""
        return self.image[index].float() / 255

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """n pictures [n,3,size,size] in [0,1], for tasks that need any picture; size is at most the pool's."""
        pictures = self.picture(torch.randint(len(self), (n,), generator=generator))
        top, left = (int(torch.randint(self.size - size + 1, (1,), generator=generator)) for _ in range(2))
        return pictures[:, :, top : top + size, left : left + size]

    def draw_labels(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """n coded label pictures [n,3,size,size] in [0,1]."""
        tasks = list(self.coded)
        chosen = torch.randint(len(self) * len(tasks), (n,), generator=generator).tolist()
        pictures = torch.stack([self.coded[tasks[i % len(tasks)]][i // len(tasks)] for i in chosen]).float() / 255
        top, left = (int(torch.randint(self.size - size + 1, (1,), generator=generator)) for _ in range(2))
        return pictures[:, :, top : top + size, left : left + size]

    @torch.no_grad()
    def latents(self, name: str, index: Tensor, autoencoder: NanoAutoencoder) -> Tensor:
        """Latents [B,C,S/8,S/8] of stored pictures: "image", "edited" or a dense task's name.

        Each picture is encoded when it is first asked for and kept in half precision; the autoencoder must not change.
        """
        stored = {"image": self.image, "edited": self.edited}.get(name, self.coded.get(name))
        assert stored is not None, name
        if name not in self._latents:
            shape = (len(self), autoencoder.channels, self.size // 8, self.size // 8)
            self._latents[name] = torch.full(shape, torch.nan, dtype=torch.half)
        kept = self._latents[name]
        missing = index[kept[index, 0, 0, 0].isnan()]
        if len(missing):
            kept[missing] = autoencoder.encode(stored[missing].float() / 127.5 - 1).half()
        return kept[index].float()
