"""The stage that trains a transformer on a loader's batches, with frozen encoders.

Text features and latents that recur are computed once where there is room to keep them.
Shapes: B batch, C latent channels, T text tokens, F text width, P task width, N image tokens, W image width.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed.cache import FeatureCache, config_hash, stacked
from ..data.feed.loader import Loader
from ..data.feed.mixture import Batch
from ..loop.velocity import Drawing, FeatureModel
from .flow_stage import FlowStage


class Kept:
    """What was computed for the last `size` keys, in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def get(self, keys: Sequence[str], encode: Any) -> list[Any]:
        """One value for each key; encode(rows) gives the values of some rows. The key "" is never kept."""
        missing = [row for row, key in enumerate(keys) if not key or key not in self._kept]
        fresh = dict(zip(missing, encode(missing), strict=True)) if missing else {}
        found = [fresh[row] if row in fresh else self._kept[key] for row, key in enumerate(keys)]
        for key, value in zip(keys, found, strict=True):
            if key and self.size:
                self._kept[key] = value
                self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return found


def fingerprint(module: nn.Module) -> str:
    """A hash of a module's weights and plain settings."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    plain = {name: value for name, value in vars(module).items() if isinstance(value, str | int | float)}
    found.update(repr(sorted(plain.items())).encode())
    return found.hexdigest()


class Encoders(nn.Module):
    """The frozen parts of a model: pictures to latents and image tokens, sentences to features and task vectors.

    Args:
        keep_words: sentences whose features are kept in memory.
        keep_pictures: pictures whose latents and tokens are kept in memory; only those whose key says that they recur.
        cache: a folder in which latents are kept instead, from run to run. An autoencoder that samples its posterior
            then does so once for each picture.
    """

    def __init__(
        self,
        text: Any,
        task: Any,
        vision: Any,
        autoencoder: Any,
        *,
        keep_words: int = 20_000,
        keep_pictures: int = 0,
        cache: Path | None = None,
    ) -> None:
        super().__init__()
        self.text, self.task, self.vision, self.autoencoder = text, task, vision, autoencoder
        self.requires_grad_(False).eval()
        self._words, self._tokens = Kept(keep_words), Kept(keep_pictures)
        self._latents: Kept | FeatureCache = Kept(keep_pictures)
        if cache is not None:
            self._latents = FeatureCache(cache, config_hash(autoencoder=fingerprint(autoencoder)))

    @property
    def device(self) -> torch.device:
        return next(self.autoencoder.parameters()).device

    @torch.no_grad()
    def words(self, sentences: Sequence[str]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Features [B,T,F] and mask [B,T], and task vectors [B,P]."""

        def encode(rows: list[int]) -> list[tuple[Tensor, Tensor]]:
            asked = [sentences[row] for row in rows]
            features, mask = self.text.encode(asked)
            vectors = self.task.encode(asked)
            return [(f[m].float(), v.float()) for f, m, v in zip(features, mask, vectors, strict=True)]

        # Behind a letter, because the empty sentence recurs most.
        found = self._words.get([f"s{sentence}" for sentence in sentences], encode)
        # To eights, as the encoder pads: few lengths, so few shapes to compile for.
        length = -(-max(len(features) for features, _ in found) // 8) * 8
        features = torch.zeros(len(found), length, found[0][0].shape[-1], device=found[0][0].device)
        mask = torch.zeros(len(found), length, dtype=torch.bool, device=features.device)
        for row, (valid, _) in enumerate(found):
            features[row, : len(valid)], mask[row, : len(valid)] = valid, True
        return (features, mask), torch.stack([vector for _, vector in found])

    @torch.no_grad()
    def latents(self, pictures: Tensor, seeds: Sequence[int], keys: Sequence[str]) -> Tensor:
        """Latents [B,C,H/8,W/8] of pictures [B,3,H,W] in [-1,1]; an autoencoder that samples draws by the seeds."""

        def encode(rows: list[int]) -> list[Tensor]:
            chosen = pictures[rows].to(self.device)
            if getattr(self.autoencoder, "posterior", "mode") == "mode":
                return list(self.autoencoder.encode(chosen).float())
            draws = [torch.Generator().manual_seed(seeds[row]) for row in rows]
            parts = zip(chosen.split(1), draws, strict=True)
            return [self.autoencoder.encode(picture, draw)[0].float() for picture, draw in parts]

        return stacked(self._latents.get(keys, encode), self.device)

    def flush(self) -> None:
        """Write what a cache still holds back."""
        if isinstance(self._latents, FeatureCache):
            self._latents.flush()

    @torch.no_grad()
    def tokens(self, pictures: Tensor, keys: Sequence[str]) -> Tensor:
        """Image tokens [B,N,W] of pictures [B,3,H,W] in [-1,1]."""

        def encode(rows: list[int]) -> list[Tensor]:
            return list(self.vision.encode(pictures[rows].to(self.device)).float())

        return torch.stack(self._tokens.get(keys, encode))


class StreamedStage(FlowStage):
    """Flow matching on what a loader gives.

    Args:
        loader: of this process.
        encoders: frozen, on the device that is trained on.
    """

    def __init__(
        self,
        model: FeatureModel,
        loader: Loader,
        encoders: Encoders,
        drawing: Drawing,
        *,
        name: str = "transformer",
        **options: Any,
    ) -> None:
        super().__init__(model, drawing, tokens=encoders.vision.tokens, **options)
        self.loader, self.encoders, self.name = loader, encoders, name

    def batch(self, generator: torch.Generator) -> Batch:
        """The loader's next: what is random about it comes from the plan's seed."""
        return self.encoded(next(self.loader))

    def encoded(self, found: dict[str, Any]) -> Batch:
        """A loader's batch with latents in place of targets."""
        picture, target = found["image"] * 2 - 1, found["target"] * 2 - 1
        seeds = [int(seed) for seed in found["seed"]]
        keys = [[pair[side] for pair in found["key"]] for side in (0, 1)]
        return Batch(
            tasks=found["task"],
            sentences=found["instruction"],
            picture=picture,
            source=self.encoders.latents(picture, [seed ^ 1 for seed in seeds], keys[0]),
            target=self.encoders.latents(target, [seed ^ 2 for seed in seeds], keys[1]),
            seeds=seeds,
            keys=keys[0],
        )

    def inputs(self, batch: Batch, sentences: list[str], no_image: Tensor) -> Sequence[Any]:
        text, task = self.encoders.words(sentences)
        tokens = self.encoders.tokens(batch.picture, batch.keys or [""] * len(batch))
        return text, task, tokens.masked_fill(no_image[:, None, None], 0.0)

    def data_state(self) -> dict[str, Any]:
        """Where all processes stand in the plan."""
        self.encoders.flush()
        return self.loader.state_dict()

    def load_data_state(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.loader.load_state_dict(state)
