"""First-block cache: where the first block says as much as at an earlier step, the others are not run again.

Not exact and not on by default; `pixwizard bench quality` measures what it costs.  What the first block adds to the
tokens tells how far the network's input has moved; while that is little, what all other blocks add is taken from the
last step at which they ran.  Idea: the first-block cache of ParaAttention; for how far, compare TeaCache (Liu et al.,
arXiv 2411.19108), which adds up the changes of steps in a row, as is done here.

Shapes: B rows (samples of all branches), C latent channels, L tokens, d width, D conditioning width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..comfyui_pixwizard.conditions import Conditions
from ..comfyui_pixwizard.evaluator import Branch, Step, joined
from ..comfyui_pixwizard.transformer import PixWizardTransformer

Tables = tuple[Tensor, Tensor]


class BlockCache:
    """A transformer's `velocity` with a memory, for the steps of one sampling in turn.

    Every row decides for itself, so that the batch changes no answer.

    Args:
        transformer: at least two blocks make sense.
        threshold: how much the first block's residual may differ from that of the last whole evaluation, as a share
            of it (L1 norms), added up over the steps since; 0 never reuses anything.

    Attributes:
        evaluated, reused: rows for which all blocks ran, and for which only the first did.

    Raises:
        ValueError: a threshold that is negative or no number.
    """

    def __init__(self, transformer: PixWizardTransformer, threshold: float = 0.1) -> None:
        if not threshold >= 0:
            raise ValueError(f"the block cache's threshold must be at least 0, found {threshold:g}: take 0.1")
        self.transformer, self.threshold = transformer, threshold
        self.reset()

    def reset(self) -> None:
        """Forget everything, before another sampling."""
        self.evaluated = self.reused = 0
        self._shape: torch.Size | None = None  # of x; the rest means something while it stays
        self._first: Tensor | None = None  # [B, L, d], the first block's residual at the last whole evaluation
        self._others: Tensor | None = None  # [B, L, d], what the other blocks added then
        self._change: Tensor | None = None  # [B]

    def velocity(self, x: Tensor, t: Tensor, source: Tensor, conditions: Conditions) -> Tensor:
        """Predicts image - noise, as `PixWizardTransformer.velocity` does for latents of one size.

        Args:
            x, source: [B, C, h, w]; after the first step, the same rows at another time. Another shape starts anew.
            t: [B].
            conditions: of the same rows.

        Raises:
            ValueError: lists instead of tensors, or x, t, source and conditions of different sizes.
        """
        model = self.transformer
        self._check(x, t, source, conditions)
        size = tuple(x.shape[-2:])
        tables = model.rope(size, x.device)
        c = model.t_embedder(t) + conditions.vector
        embedded = model.embed_latents(x, source)
        tokens = self._blocks(embedded, c, tables, conditions, slice(1))
        if x.shape != self._shape:
            self._shape, self._first = x.shape, None
        stale = self._stale(tokens - embedded)
        tokens = self._finished(tokens, stale, c, tables, conditions)
        return model.unpatchify(model.final_layer(tokens, c), size)

    def _check(self, x: Tensor, t: Tensor, source: Tensor, conditions: Conditions) -> None:
        if not isinstance(x, Tensor) or not isinstance(source, Tensor):
            raise ValueError(
                f"the block cache needs latents of one size as tensors [B, C, h, w], found {type(x).__name__} and "
                f"{type(source).__name__}: use the transformer for ragged batches"
            )
        if x.shape != source.shape or not len(x) == len(t) == len(conditions):
            raise ValueError(
                "x and source must be of one shape with a t and conditions for every row, found "
                f"{list(x.shape)}, {list(source.shape)}, {len(t)} and {len(conditions)}: repeat or index the shorter"
            )

    def _blocks(self, tokens: Tensor, c: Tensor, tables: Tables, conditions: Conditions, which: slice) -> Tensor:
        parts = zip(
            self.transformer.blocks[which],
            conditions.text_keys[which],
            conditions.text_values[which],
            conditions.image_keys[which],
            conditions.image_values[which],
            strict=True,
        )
        for block, text_keys, text_values, image_keys, image_values in parts:
            text, image = (text_keys, text_values), (image_keys, image_values)
            tokens = block(tokens, c, *tables, text, image, text_mask=conditions.text_mask)
        return tokens

    def _stale(self, residual: Tensor) -> Tensor:
        """Bool [B]: rows of which the other blocks must run; keeps account of the change."""
        if self._first is None or self._change is None:
            self._first = torch.zeros_like(residual)
            self._others = torch.zeros_like(residual)
            self._change = residual.new_full((len(residual),), torch.inf, dtype=torch.float32)
        else:
            moved, norm = ((item.float().abs().mean(dim=(1, 2))) for item in (residual - self._first, self._first))
            # A first block that added nothing before and does now has changed altogether.
            self._change = self._change + torch.where(moved > 0, moved / norm, 0.0)
        stale = ~(self._change < self.threshold)
        rows = stale[:, None, None]
        self._first = torch.where(rows, residual, self._first).detach()
        self._change = self._change.masked_fill(stale, 0.0)
        return stale

    def _finished(self, tokens: Tensor, stale: Tensor, c: Tensor, tables: Tables, conditions: Conditions) -> Tensor:
        """Tokens after the last block, from those after the first: run for stale rows, reused for the others."""
        assert self._others is not None, "rows are stale first"
        rows = stale.nonzero().flatten()
        self.evaluated += len(rows)
        self.reused += len(stale) - len(rows)
        if not len(rows):
            return tokens + self._others
        whole = len(rows) == len(stale)
        some, vectors, seen = (tokens, c, conditions) if whole else (tokens[rows], c[rows], conditions[rows])
        finished = self._blocks(some, vectors, tables, seen, slice(1, None))
        added = (finished - some).detach()
        if whole:
            self._others = added
            return finished
        self._others = self._others.index_copy(0, rows, added)
        return (tokens + self._others).index_copy(0, rows, finished)


class CachedBlocks:
    """The evaluator that runs the network behind a `BlockCache`, a new one for each sampling.

    Args:
        threshold: see `BlockCache`.
    """

    name = "block_cache"

    def __init__(self, threshold: float = 0.1) -> None:
        self.threshold = threshold
        self.reason = f"later blocks are reused while the first one changes by less than {threshold:g}"

    def start(self, transformer: PixWizardTransformer, branches: Mapping[str, Branch], times: Sequence[float]) -> Step:
        return CachedStep(transformer, branches, self.threshold)


class CachedStep:
    """A prepared sampling; branches that are asked for together go through together, with a cache of their own.

    Attributes:
        caches: by the names of such branches.
    """

    def __init__(self, transformer: PixWizardTransformer, branches: Mapping[str, Branch], threshold: float) -> None:
        self.transformer, self.branches, self.threshold = transformer, branches, threshold
        self.caches: dict[tuple[str, ...], BlockCache] = {}
        self._joined: dict[tuple[str, ...], Branch] = {}

    def __call__(self, x: Tensor, t: float, branches: Sequence[str]) -> dict[str, Tensor]:
        names = tuple(branches)
        if names not in self.caches:
            self._joined[names] = joined([self.branches[name] for name in names])
            self.caches[names] = BlockCache(self.transformer, self.threshold)
        branch = self._joined[names]
        repeated = x.to(branch.source.dtype).repeat(len(names), 1, 1, 1)
        times = torch.full((len(repeated),), t, dtype=torch.float32, device=x.device)
        out = self.caches[names].velocity(repeated, times, branch.source, branch.conditions).float()
        return dict(zip(names, out.chunk(len(names)), strict=True))

    def share(self) -> float:
        """Blocks that ran, as a share of those that would have without a cache."""
        evaluated = sum(cache.evaluated for cache in self.caches.values())
        reused = sum(cache.reused for cache in self.caches.values())
        return (evaluated + reused / len(self.transformer.blocks)) / max(1, evaluated + reused)
