"""`pixwizard bench`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from ..bench.quality import Quality
from ..bench.speed import Speed


@dataclass
class Bench:
    """Measure speed, or what fewer evaluations cost; every figure is a ratio within one run."""

    what: Annotated[
        Annotated[Speed, tyro.conf.subcommand("speed")] | Annotated[Quality, tyro.conf.subcommand("quality")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Run the chosen one."""
        return self.what.run()
