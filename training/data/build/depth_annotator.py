"""Which network reads depth: one of transformers, or a model of this project."""

from __future__ import annotations

from pathlib import Path

from ....comfyui_pixwizard.files.components import BUNDLED, PIPELINE_FILE
from .notes import Annotator
from .recipe import AnnotatorSettings


def weights_of(told: AnnotatorSettings) -> str:
    """The folder that an annotator names.

    Raises:
        ValueError: none is named.
    """
    if not told.model:
        raise ValueError(f"annotator {told.name} needs a folder of weights, found none: set model")
    return told.model


def depth_annotator(told: AnnotatorSettings) -> Annotator:
    """The annotator "depth" by what its model is.

    Raises:
        ValueError: none is named, or none is there.
    """
    model = weights_of(told)
    if model in BUNDLED or (Path(model) / PIPELINE_FILE).is_file():
        from .annotate_pipeline import PipelineDepth

        return PipelineDepth(model, **told.options)
    from .annotate_networks import Depth

    return Depth(model, **told.options)
