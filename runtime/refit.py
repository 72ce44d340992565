"""Exchanging weights inside an engine: which ones a change touches, and the base ones back when it goes.

Nothing here knows a particular engine; `Refittable` is what one must be able to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Protocol

from torch import Tensor

from .engine_profiles import Unsupported

# Parameters that only the conditions depend on, which are computed outside the engine (see `Conditions`).
OUTSIDE = re.compile(
    r"pad_token|task_embedder\..*|global_semantic_embedder\..*|layers\.\d+\.(attention_y_norm|y_pool_proj|"
    r"input_image_proj|attention_input_norm|in_conv|out_conv)\..*|"
    r"layers\.\d+\.attention\.(wk_ii|wv_ii|kii_norm|wk_y|wv_y|ky_norm)\..*"
)


class Refittable(Protocol):
    """An engine whose weights can be exchanged by name."""

    def names(self) -> set[str]:
        """Weights that can be exchanged."""

    def put(self, name: str, value: Tensor) -> bool:
        """Hand over a weight in its original shape; false where it is refused."""

    def missing(self) -> set[str]:
        """Weights that must be handed over too before `commit`: they were merged with some that were."""

    def commit(self) -> bool:
        """Use what was handed over."""


def inside(names: Iterable[str]) -> set[str]:
    """Those parameters that the velocity graph holds."""
    return {name for name in names if not OUTSIDE.fullmatch(name)}


class Exchange:
    """The weights of one engine.

    Args:
        engine: what holds them.
        base: gives the base weight of a name, without any LoRA.
    """

    def __init__(self, engine: Refittable, base: Callable[[str], Tensor]) -> None:
        self.engine, self.base = engine, base
        self.changed: set[str] = set()
        self.state: Hashable = None
        self.broken = ""

    def apply(self, changes: Mapping[str, Tensor], state: Hashable) -> set[str]:
        """Make the engine hold the base weights with some changed.

        Args:
            changes: whole weights, not differences, by parameter name; those outside the graph are left out.
            state: names this set of changes; the same one again costs nothing. None is the base.

        Returns:
            What was written.

        Raises:
            Unsupported: the engine cannot exchange one of them; it still holds what it held.
            RuntimeError: it failed half-way and must not be used any more.
        """
        if self.broken:
            raise RuntimeError(self.broken)
        if state == self.state:
            return set()
        wanted = {name: changes[name] for name in inside(changes)}
        fixed = sorted(set(wanted) - self.engine.names())
        if fixed:
            shown = ", ".join(fixed[:3]) + (f" and {len(fixed) - 3} more" if len(fixed) > 3 else "")
            raise Unsupported(f"the LoRA changes {shown}, which the engine cannot exchange: build it refittable")
        written: set[str] = set()
        # Weights of the previous changes that these do not touch get their base back.
        pending = set(wanted) | self.changed
        while pending:
            for name in sorted(pending):
                if not self.engine.put(name, wanted[name] if name in wanted else self.base(name)):
                    self._fail(f"refused {name}")
            written |= pending
            # An engine may have merged a weight with others, and then wants those too.
            pending = self.engine.missing() - written
        if written and not self.engine.commit():
            self._fail(f"could not exchange {len(written)} weights")
        self.changed, self.state = set(wanted), state
        return written

    def _fail(self, what: str) -> None:
        self.broken = f"the engine {what} while its weights were exchanged and may hold a mixture: load it again"
        raise RuntimeError(self.broken)
