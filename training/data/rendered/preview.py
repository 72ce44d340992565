"""A contact sheet of training pairs."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ....comfyui_pixwizard.pictures.images import unit_to_image
from ...render.dead_leaves import dead_leaves
from .builders import BUILDERS
from .figure_pool import FacePool, FigurePool
from .scene_pool import ScenePool
from .sources import RenderedSources

COLUMNS, GAP, LINES, LINE = 4, 8, 3, 13


def small_sources(size: int, scenes: int, seed: int) -> RenderedSources:
    """Sources rendered for one preview and not kept."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        drawn = ScenePool(place, scenes, size, seed=100 + seed, edits_per_scene=4)
        people = FigurePool(place, scenes, size, seed=100 + seed)
        return RenderedSources(size, dead_leaves, drawn, people, FacePool(place, scenes, size, seed=100 + seed))


def contact_sheet(rendered: RenderedSources, names: Iterable[str], pairs: int, seed: int) -> Image.Image:
    """Source and target side by side under task and sentence, COLUMNS pairs a row."""
    tiles = []
    for name in names:
        built = BUILDERS[name](rendered, pairs, torch.Generator().manual_seed(seed))
        for source, target, sentence in zip(built.source, built.target, built.sentences, strict=True):
            tiles.append(_tile(name, sentence, source, target))
    width, height = tiles[0].size
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + k % COLUMNS * (width + GAP), GAP + k // COLUMNS * (height + GAP)))
    return sheet


def _tile(name: str, sentence: str, source: Tensor, target: Tensor) -> Image.Image:
    size = source.shape[-1]
    tile = Image.new("RGB", (2 * size + 2, size + LINES * LINE), "white")
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(10)
    words = textwrap.wrap(sentence, max(20, 2 * size // 6))
    for k, line in enumerate([name, *words][:LINES]):
        draw.text((0, k * LINE), line, fill="black" if k else "#06c", font=font)
    for k, picture in enumerate((source, target)):
        tile.paste(unit_to_image(picture), (k * (size + 2), LINES * LINE))
    return tile
