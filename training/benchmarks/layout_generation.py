"""Layouts of sets that a model has to invent pictures for: from conditions, from parts, from words."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from ..data.build.drawing import drawn
from ..data.build.places import Ref, file_ref
from .layout_editing import multigen
from .layout_pairs import sub_folder
from .question import MISSING_PAIR, Question, pictures_in

SIDE = 512
# FID on COCO is computed at this side.
COCO_SIDE = 256
COCO_CAPTIONS = 30_000
HOLES = (0.4, 0.5)
BLANK = 0.5


def canny_to_image(root: Path, split: str) -> Iterator[Question]:
    """MultiGen-20M's Canny set: image and text; the edges are drawn here, from the picture at 512x512."""
    for pictures, text, number in multigen(root, split, "image"):
        source = drawn(pictures["image"], "canny", side=SIDE)
        yield _condition(number, source, drawn(pictures["image"], "fit", side=SIDE), "canny_to_image", text)


def depth_to_image(root: Path, split: str) -> Iterator[Question]:
    """MultiGen-20M's depth set: image, control_depth and text, at 512x512."""
    for pictures, text, number in multigen(root, split, "control_depth"):
        source = drawn(pictures["control_depth"], "fit", side=SIDE)
        yield _condition(number, source, drawn(pictures["image"], "fit", side=SIDE), "depth_to_image", text)


def _condition(number: int, source: Ref, target: Ref, task: str, text: str) -> Question:
    return Question(
        f"{number:05d}",
        source,
        target,
        task,
        words={"caption": text},
        captions=(text,) if text.strip() else (),
        fault="" if text.strip() else "no caption",
    )


def places(root: Path, split: str, task: str) -> Iterator[Question]:
    """Places' validation pictures (`val_large`, or any folder): 512x512 centres with holes, or the left half alone.

    Which pixels are missing depends on the picture's name alone.
    """
    place = root / "val_large" if (root / "val_large").is_dir() else root
    for name, path in pictures_in(place).items():
        ref = file_ref(path)
        if task == "inpaint":
            seed = ["benchmark", "holes", name]
            source = drawn(ref, "holes", side=SIDE, crop=True, seed=seed, coverage=HOLES, fill=0.0)
        else:
            source = drawn(ref, "blank", side=SIDE, crop=True, share=BLANK, fill=0.0)
        yield Question(name, source, drawn(ref, "fit", side=SIDE, crop=True), task)


def coco_30k(root: Path, split: str) -> Iterator[Question]:
    """COCO 2014's validation captions, 30000 of them in an order that is drawn once for all, and their pictures.

    Raises:
        ValueError: no captions.
    """
    path = root / "annotations" / "captions_val2014.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        files = {int(one["id"]): Path(str(one["file_name"])).name for one in listed["images"]}
        captions = sorted((int(one["id"]), int(one["image_id"]), str(one["caption"])) for one in listed["annotations"])
    except FileNotFoundError as error:
        raise ValueError(f"COCO's captions are in captions_val2014.json, found none at {path}: unpack it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} should hold COCO's captions: copy it again") from error
    folder = sub_folder(root, "val2014", "images/val2014")
    random.Random(0).shuffle(captions)
    for number, image, caption in captions[:COCO_CAPTIONS]:
        ref = file_ref(folder / files.get(image, "none"))
        yield Question(
            f"{number:06d}",
            None,
            task="text_to_image",
            words={"caption": caption.strip()},
            truth={"reference": ref, "of": image},
            captions=(caption.strip(),),
            fault="" if ref.state else MISSING_PAIR,
        )


def hpsv2(root: Path, split: str) -> Iterator[Question]:
    """HPSv2's prompts of one style, `benchmark/STYLE.json` or `STYLE.json`: a list of sentences."""
    paths = [root / "benchmark" / f"{split}.json", root / f"{split}.json"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"this layout has benchmark/{split}.json, found none in {root}: give the folder of benchmark")
    try:
        prompts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            raise ValueError("no list of sentences")
    except ValueError as error:
        raise ValueError(f"{path} should hold a list of sentences, found: {error}; copy it again") from error
    for number, prompt in enumerate(prompts):
        words = {"caption": prompt.strip()}
        yield Question(
            f"{number:05d}", None, task="text_to_image", words=words, captions=(prompt.strip(),),
            fault="" if prompt.strip() else "no caption",
        )  # fmt: skip
