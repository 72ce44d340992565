"""`pixwizard export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from .onnx_command import Check, Onnx


@dataclass
class Export:
    """Write a model for other engines, or check what was written."""

    what: Annotated[
        Annotated[Onnx, tyro.conf.subcommand("onnx")] | Annotated[Check, tyro.conf.subcommand("check")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Run the chosen one."""
        return self.what.run()
