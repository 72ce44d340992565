"""`pixwizard export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from .export_engines import BuildTensorRT, BuildTensorRTRTX, ListEngines, PruneEngines
from .export_onnx import Check, Onnx


@dataclass
class Export:
    """Write a model for other engines, check what was written, keep engines in order."""

    what: Annotated[
        Annotated[Onnx, tyro.conf.subcommand("onnx")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[BuildTensorRT, tyro.conf.subcommand("tensorrt")]
        | Annotated[BuildTensorRTRTX, tyro.conf.subcommand("tensorrt-rtx")]
        | Annotated[ListEngines, tyro.conf.subcommand("list")]
        | Annotated[PruneEngines, tyro.conf.subcommand("prune")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Run the chosen one."""
        return self.what.run()
