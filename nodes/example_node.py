"""Pictures to try the nodes on, rendered here or among the photographs, so that every workflow runs without a file."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io, ui
from einops import rearrange
from torch import Tensor

from ..comfyui_pixwizard.pictures.images import image_to_unit, open_picture, resized
from ..comfyui_pixwizard.tasks import get_task
from ..training.annotators import ANNOTATORS
from ..training.degradations import DEGRADATIONS
from ..training.render.dead_leaves import dead_leaves
from ..training.render.faces import draw_faces
from ..training.render.figures import render_figures
from ..training.render.scenes import caption, referring, render, sample_scenes
from .conversions import Node, schema

SCENE, PEOPLE, FACE, SHAPES = "scene", "people", "face", "shapes"
# File and caption; their sources and licences are in SOURCES.md beside them.
PHOTOGRAPHS = {
    "photograph: cat": ("cat.jpg", "the face of a cat"),
    "photograph: coffee": ("coffee.jpg", "a cup of coffee on a red saucer"),
    "photograph: rocket": ("rocket.jpg", "a rocket between two towers at dusk"),
}
FOLDER = Path(__file__).with_name("photographs")
CLEAN = "nothing: the clean picture"
MAPS = {f"{name}_to_image": name for name in ("depth", "normal", "segmentation")}
EDGES = {f"{name}_to_image": name for name in ANNOTATORS}
SIDE = {"default": 128, "min": 64, "max": 512, "step": 16}


class ExamplePicture(Node):
    """A rendered picture or a photograph, prepared for a task."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardExample",
            purpose="image",
            aliases=["test image", "demo", "sample picture", "load image", "photo"],
            inputs=[
                io.Combo.Input("kind", options=[SCENE, PEOPLE, FACE, SHAPES, *PHOTOGRAPHS], default=SCENE),
                io.Combo.Input(
                    "prepared_for", options=[CLEAN, *DEGRADATIONS, *EDGES, *MAPS, "pose_to_image"], default=CLEAN
                ),
                io.Int.Input("seed", default=1, min=0, max=2**32, control_after_generate=True),
                io.Int.Input("size", **SIDE),
            ],
            outputs={"image": io.Image, "clean": io.Image, "caption": io.String, "thing": io.String, "mask": io.Mask},
        )

    @classmethod
    def execute(cls, kind: str, prepared_for: str, seed: int, size: int) -> io.NodeOutput:
        generator = torch.Generator().manual_seed(seed)
        mask = torch.zeros(1, size, size)
        words = thing = ""
        labels: dict[str, Tensor] = {}
        if kind == SCENE:
            scenes = sample_scenes(1, generator)
            drawn = render(scenes, size)
            clean, words = drawn.image, caption(scenes, 0, generator)
            named = referring(scenes, drawn, 0, generator)
            if named:
                thing, number = named[0]
                mask = (drawn.instance == number).float()
            labels = {"depth": drawn.depth, "normal": drawn.normal, "segmentation": drawn.classes}
        elif kind == PEOPLE:
            figures = render_figures(1, size, generator)
            clean, words = figures.image, figures.captions[0][0]
            labels = {"pose": figures.pose[0][figures.pose[0].flatten(1).any(1)]}
        elif kind in PHOTOGRAPHS:
            file, words = PHOTOGRAPHS[kind]
            clean = image_to_unit(resized(open_picture(FOLDER / file), (size, size)))[None]
        else:
            clean = draw_faces(1, size, generator) if kind == FACE else dead_leaves(1, size, generator)
        image = prepared(prepared_for, clean, labels, generator)
        shown, whole = (rearrange(picture, "b c h w -> b h w c") for picture in (image, clean))
        return io.NodeOutput(shown, whole, words, thing, mask, ui=ui.PreviewImage(shown, cls=cls))


def prepared(task: str, clean: Tensor, labels: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """The source picture [1, 3, S, S] in [0, 1] of a task.

    Raises:
        ValueError: a map that this kind of picture does not have.
    """
    if task == CLEAN:
        return clean
    if task in DEGRADATIONS:
        return DEGRADATIONS[task](clean, generator)
    if task in EDGES:
        return get_task(EDGES[task]).encode(ANNOTATORS[EDGES[task]](clean))
    name = task.removesuffix("_to_image")
    if name not in labels:
        raise ValueError(
            f"{task} needs a picture with a true {name}, found one without: "
            f"choose {PEOPLE if name == 'pose' else SCENE}"
        )
    if name == "pose":
        return get_task("pose").encode(labels[name], size=tuple(clean.shape[-2:]))[None]
    return get_task(name).encode(labels[name])
