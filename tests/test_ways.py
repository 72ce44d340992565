"""The ways through the modules that docs/architecture.md describes, against what really runs."""

from __future__ import annotations

import inspect
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard import PixWizardConfig
from pixwizard.comfyui_pixwizard.encoders.nano_autoencoder import NanoAutoencoder
from pixwizard.comfyui_pixwizard.pictures.images import unit_to_image
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.data.feed.mixture import Mixture
from pixwizard.training.data.rendered.figure_pool import FacePool, FigurePool
from pixwizard.training.data.rendered.scene_pool import ScenePool
from pixwizard.training.data.rendered.sources import RenderedSources
from pixwizard.training.loop.trainer import Trainer, TrainerConfig
from pixwizard.training.loop.velocity import Drawing
from pixwizard.training.recipes.mixture_stage import MixtureStage
from pixwizard.training.recipes.towers import NanoModel, train_bpe
from pixwizard.training.render.dead_leaves import dead_leaves

ROOT = Path(__file__).resolve().parents[1]
# Which of these run depends on the CPU.
CPU = "comfyui_pixwizard/cpu/"
SIZE = 64


def way(heading: str) -> list[str]:
    """The first cells of the table under a heading of the page."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w/]+\.py)` \|", section, flags=re.MULTILINE)


@contextmanager
def entered() -> Iterator[list[str]]:
    """Files of the tree in the order in which a function of theirs is first called, in any thread."""
    order: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # Bodies of modules and classes run when something is imported, which is no part of the way.
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
            order.setdefault(code.co_filename)

    files: list[str] = []
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        for name in order:
            # Not "<frozen importlib>" and the like.
            path = Path(name).resolve() if os.path.isabs(name) else Path()
            if path.is_relative_to(ROOT):
                relative = path.relative_to(ROOT).as_posix()
                if not relative.startswith((".venv/", "tests/")):
                    files.append(relative)


def test_the_way_of_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    unit_to_image(dead_leaves(1, SIZE, torch.Generator().manual_seed(0))[0]).save(picture)

    def run(out: str) -> int:
        instruction = "Estimate the depth of this picture"
        return main(
            ["run", str(picture), "-i", instruction, "-o", str(tmp_path / out), "--decode", "--steps", "2",
             "--device", "cpu"]
        )  # fmt: skip

    assert run("first.png") == 0  # imports everything
    with entered() as files:
        assert run("second.png") == 0
    listed = way("The way of a picture")
    assert [name for name in files if not name.startswith(CPU)] == listed


def test_the_way_of_a_training_step(tmp_path: Path) -> None:
    pools = ScenePool(tmp_path, 2, SIZE), FigurePool(tmp_path, 1, SIZE), FacePool(tmp_path, 1, SIZE)
    rendered = RenderedSources(SIZE, dead_leaves, *pools)
    model = NanoModel.build(train_bpe(TASKS["depth"].instructions), PixWizardConfig.preset("nano"), 0)
    model.use_plain_attention()
    model.with_teachers()
    mixture = Mixture(NanoAutoencoder().requires_grad_(False), rendered, {"depth": 1.0})
    stage = MixtureStage(model, [(1.0, 2, mixture)], Drawing())
    stage.draw_ahead(0)
    trainer = Trainer(stage, tmp_path / "run", TrainerConfig())
    with entered() as files:
        trainer.run(steps=1)
    listed = way("The way of one training step")
    assert [name for name in files if name in listed] == listed
    known = {*listed, *way("The way of a picture")}
    assert not [name for name in files if name not in known and not name.startswith(CPU)]
