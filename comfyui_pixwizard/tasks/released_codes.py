"""What the released weights declare: the paper's codes (section 3.1, docs/mathematics.md section 18), the settings of
the released sampling script, and the names of ADE20K's classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .codecs.box import THIN
from .codecs.keypoint import SMALL
from .declared import FREE, Declared, TaskSettings, marks_options
from .registry import TASKS

# Of the scene-parsing benchmark, by id; 0 is what nobody has labelled.
_NAMES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth,
    door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug,
    field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column,
    signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path,
    stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table,
    toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar,
    arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth,
    television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet,
    poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel,
    basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
    animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan,
    fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""
ADE20K_NAMES = ("ignore", *(name.strip() for name in _NAMES.split(",")))
# Depth in metres that black and white stand for, by what the picture shows: the ranges of NYUv2 and SUN RGB-D, and of
# Virtual KITTI 2.
INDOORS = "indoors"
DEPTH_RANGES = {INDOORS: (0.0, 10.0), "streets": (0.0, 80.0)}
POINTS, GUIDANCE, CHANNELS, SOLVER, MAX_SIZE = 60, (4.0, 1.0), 3, "euler", 1024
# Marks are as thin as in InstructCV and InstructDiffusion.
SIZES: dict[str, dict[str, Any]] = {"box": {"line": THIN}, "keypoint": {"radius": SMALL}}
CODES: dict[str, tuple[str, dict[str, Any]]] = {
    "segmentation": ("ade20k", {"classes": list(range(1, len(ADE20K_NAMES))), "cleanup": False}),
}


def released(args: Mapping[str, Any] | None = None, depths: str = INDOORS) -> Declared:
    """What the released weights declare.

    Args:
        args: of their training; `image_size` names its sizes, as 1024 or "512-768".
        depths: a key of DEPTH_RANGES, what black and white of depth maps stand for.
    """
    near, far = DEPTH_RANGES[depths]
    codes = CODES | {"depth": ("gray", {"near": near, "far": far, "near_bright": True})}
    rows = {}
    for name, task in TASKS.items():
        codec = next(iter(task.codecs))
        codec, options = codes.get(name, (codec, marks_options(codec, SIZES)))
        rows[name] = TaskSettings(codec, options, SOLVER, POINTS, *GUIDANCE, CHANNELS)
    rows[FREE] = TaskSettings("picture", {}, SOLVER, POINTS, *GUIDANCE, CHANNELS)
    sizes = [int(text) for text in re.findall(r"\b\d{2,4}\b", str((args or {}).get("image_size", "")))]
    return Declared(rows, ADE20K_NAMES, max((size for size in sizes if size >= 64), default=MAX_SIZE))
