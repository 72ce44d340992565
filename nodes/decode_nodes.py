"""Answers to maps of every pixel: metres, normals, edges, classes, each with a preview and data for other nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from einops import rearrange, repeat
from torch import Tensor

from ..comfyui_pixwizard.tasks import get_task
from ..comfyui_pixwizard.tasks.codecs.asked import asked_codec
from ..comfyui_pixwizard.tasks.codecs.depth import nearness_of
from ..comfyui_pixwizard.tasks.codecs.edge import DRAWN
from .carried import MODELS_OWN, carried, nano
from .conversions import ADVANCED, Node
from .decoder_common import LOOKED_AT, answered, decoded, decoder_schema, drawing_of, listed, pictures, preview_of

NO_METRES = (
    "metres are there for metric depth, found an answer in relative depth: use nearness, or ask for metric depth"
)


def model_inputs() -> list[Any]:
    """Inputs that say which model answered."""
    return [io.Model.Input("model", optional=True), io.Vae.Input("vae", optional=True)]


def code_input(task: str) -> Any:
    """How answers are read."""
    return io.Combo.Input("code", options=[MODELS_OWN, *get_task(task).codecs], default=MODELS_OWN)


class DecodeDepth(Node):
    """Depth in metres, or relative."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        near, far = nano().depth_range or (0.0, 10.0)
        return decoder_schema(
            "PixWizardDecodeDepth",
            ["depth map", "metric depth", "relative depth", "z depth"],
            {"preview": io.Image, "metres": io.Image, "nearness": io.Mask},
            code_input("depth"),
            io.Float.Input("near", default=near, min=0.0, max=1000.0, step=0.1),
            io.Float.Input("far", default=far, min=0.1, max=10000.0, step=0.1),
            *model_inputs(),
            io.Boolean.Input("near_bright", default=False, optional=True, extra_dict=ADVANCED),
            io.String.Input("sentence", optional=True, force_input=True),
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        code: str,
        near: float,
        far: float,
        model: Any = None,
        vae: Any = None,
        near_bright: bool = False,
        sentence: str = "",
    ) -> io.NodeOutput:
        if code == MODELS_OWN:
            options = carried(model, vae)["depth"].reading(sentence)
        else:
            options = {"codec": asked_codec(code, sentence)}
            if options["codec"] != "relative":
                options |= dict(near=near, far=far) | ({"near_bright": near_bright} if code == "gray" else {})
        task, answers = get_task("depth"), pictures(image)
        labels, sure = decoded(task, answers, **options)
        kind = task.label_kind(options["codec"])
        preview = preview_of(kind, labels)
        metres, nearness, entries = (_relative if kind == "relative" else _metric)(labels)
        drawn = drawing_of(kind, labels, sure)
        return answered(cls, (preview, metres, nearness), entries, sure, drawn)


def _metric(labels: Sequence[Tensor]) -> tuple[Any, Tensor, list[dict[str, Any]]]:
    """Metres as IMAGE, nearness as MASK, and what was found in each picture."""
    depth = torch.stack(list(labels))
    entries = [
        {
            name: round(float(value), 3)
            for name, value in (("nearest_m", one.min()), ("farthest_m", one.max()), ("median_m", one.median()))
        }
        for one in depth
    ]
    return repeat(depth, "b h w -> b h w c", c=3), nearness_of(depth), entries


def _relative(labels: Sequence[Tensor]) -> tuple[Any, Tensor, list[dict[str, Any]]]:
    """The same of relative depth, whose metres nobody knows: nodes that want them are stopped and say why."""
    from comfy_execution.graph_utils import ExecutionBlocker

    entries = [
        {"relative": True, "nearest": round(float(one.max()), 3), "farthest": round(float(one.min()), 3),
         "median": round(float(one.median()), 3)}
        for one in labels
    ]  # fmt: skip
    return ExecutionBlocker(NO_METRES), torch.stack(list(labels)), entries


class DecodeNormals(Node):
    """Unit normals."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return decoder_schema(
            "PixWizardDecodeNormals",
            ["normal map", "surface normals", "bump"],
            {"preview": io.Image, "normals": io.Image},
        )

    @classmethod
    def execute(cls, image: Tensor) -> io.NodeOutput:
        labels, sure = decoded(get_task("normal"), pictures(image), None)
        preview = preview_of("normal", labels)
        normals = rearrange(torch.stack(labels), "b c h w -> b h w c")
        entries = [{"mean": [round(value, 3) for value in label.mean((1, 2)).tolist()]} for label in labels]
        return answered(cls, (preview, normals), entries, sure, drawing_of("normal", labels, sure))


class DecodeEdges(Node):
    """Lines, or strengths of soft edges."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        codes = list(get_task("canny").codecs)
        return decoder_schema(
            "PixWizardDecodeEdges",
            ["canny", "hed", "line art", "edge map"],
            {"preview": io.Image, "edges": io.Mask},
            io.Combo.Input("code", options=codes, default=codes[0]),
        )

    @classmethod
    def execute(cls, image: Tensor, code: str) -> io.NodeOutput:
        labels, sure = decoded(get_task("canny"), pictures(image), codec=code)
        preview = preview_of("edges", labels)
        entries = [{"share": round(float((label > DRAWN).float().mean()), 4)} for label in labels]
        return answered(cls, (preview, torch.stack(labels)), entries, sure, preview[:LOOKED_AT])


class DecodeSegmentation(Node):
    """Classes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return decoder_schema(
            "PixWizardDecodeSegmentation",
            ["semantic segmentation", "class map", "ade20k"],
            {"preview": io.Image, "mask": io.Mask, "class_ids": io.Image},
            code_input("segmentation"),
            io.String.Input("class_names", default="", multiline=True),
            io.String.Input("pick", default=""),
            *model_inputs(),
        )

    @classmethod
    def execute(
        cls, image: Tensor, code: str, class_names: str, pick: str, model: Any = None, vae: Any = None
    ) -> io.NodeOutput:
        declared, task, answers = carried(model, vae), get_task("segmentation"), pictures(image)
        own = code == MODELS_OWN
        names: Sequence[str] = listed(class_names.replace("\n", ","))
        options: dict[str, Any] = declared["segmentation"].reading() if own else dict(codec=code)
        if len(names) > 1:
            options["classes"] = range(1, len(names))
        elif own:
            names = declared.class_names
        chosen = _class_id(pick.strip(), names)
        labels, sure = decoded(task, answers, **options)
        entries = [{"classes": _shares(label, names)} for label in labels]
        ids = torch.stack(labels)
        mask = (ids == chosen).float() if chosen is not None else torch.zeros(ids.shape)
        preview = preview_of("classes", labels)
        class_ids = repeat(ids.float(), "b h w -> b h w c", c=3)
        drawn = drawing_of("classes", labels, sure, names=names)
        return answered(cls, (preview, mask, class_ids), entries, sure, drawn)


def _class_id(pick: str, names: Sequence[str]) -> int | None:
    if not pick:
        return None
    lowered = [name.lower() for name in names]
    if pick.lower() in lowered:
        return lowered.index(pick.lower())
    if pick.isdecimal():
        return int(pick)
    fix = f"choose one of {', '.join(names)}" if names else "give its number, or fill in class_names"
    raise ValueError(f"pick names a class of the list or its number, found {pick!r}: {fix}")


def _shares(label: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    ids, counts = torch.unique(label, return_counts=True)
    return [
        dict(id=i, name=names[i] if i < len(names) else f"class {i}", share=round(n / label.numel(), 4))
        for i, n in zip(ids.tolist(), counts.tolist(), strict=True)
    ]
