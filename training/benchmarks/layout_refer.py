"""Layouts of RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: expressions, and the masks of what they mean.

`refs(…).p` are pickles of plain containers. They are read by an unpickler that knows nothing else, so that a file from
a stranger cannot run anything.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data.build.drawing import drawn
from ..data.build.places import file_ref
from .question import MISSING_PAIR, Question

# Which file of expressions, by data set; RefCOCOg has two splits.
FILES = {
    "refcoco": ("refs(unc)",),
    "refcoco+": ("refs(unc)",),
    "refcocog": ("refs(umd)", "refs(google)"),
    "grefcoco": ("grefs(unc)",),
}
PICTURES = ("images/mscoco/images/train2014", "images/train2014", "train2014", "mscoco/train2014")
COLOR = "magenta"
NO_TARGET = -1


class _Plain(pickle.Unpickler):
    """Containers, text and numbers, and no class at all."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def expressions(folder: Path, stems: tuple[str, ...]) -> list[dict[str, Any]]:
    """The list of a file of expressions, the first of some names that is there, as JSON or pickle.

    Raises:
        ValueError: none is there, or it is no list of objects.
    """
    paths = [folder / f"{stem}{suffix}" for stem in stems for suffix in (".json", ".p")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        told = " or ".join(f"{stem}.p" for stem in stems)
        raise ValueError(f"this layout has {told} in {folder}, found none: unpack the data set there")
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            with path.open("rb") as file:
                found = _Plain(file, encoding="latin1").load()
    except Exception as error:  # a broken or hostile file chooses which one
        raise ValueError(f"{path} should hold a list of expressions, found: {error}; use an unmodified copy") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{path} should hold a list of expressions, found something else: use an unmodified copy")
    return found


def _instances(path: Path) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, Any]]]:
    """Pictures and annotations by number, as COCO lists them."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {one["id"]: one for one in listed["images"]}, {one["id"]: one for one in listed["annotations"]}
    except FileNotFoundError as error:
        raise ValueError(f"this layout has instances.json, found none at {path}: unpack the data set there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} should hold COCO's images and annotations: copy it again") from error


def refer(root: Path, split: str, name: str, by: str = "overlay") -> Iterator[Question]:
    """A question for each expression of a split, in the order of the file.

    Args:
        name: a key of FILES; `root/NAME` holds the expressions, COCO's train2014 pictures lie in one of PICTURES.
        by: "mask" asks for white on black, anything else for the picture with a colour laid over what is meant.
    """
    folder = root / name
    refs = expressions(folder, FILES[name])
    images, annotations = _instances(folder / "instances.json")
    pictures = next((root / place for place in PICTURES if (root / place).is_dir()), None)
    if pictures is None:
        raise ValueError(f"this layout has COCO's pictures in {' or '.join(PICTURES)}, found none in {root}: link them")
    for ref in refs:
        try:
            if ref["split"] == split:
                yield from _of_ref(ref, images, annotations, pictures, by)
        except (KeyError, TypeError, ValueError):
            yield Question(f"ref {ref.get('ref_id')}", None, fault="broken annotation")


def _of_ref(
    ref: dict[str, Any], images: dict[int, Any], annotations: dict[int, Any], pictures: Path, by: str
) -> Iterator[Question]:
    image = images[ref["image_id"]]
    numbers = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
    wanted = [annotations[number] for number in numbers if number != NO_TARGET]
    segments = [one["segmentation"] for one in wanted if not one.get("iscrowd")]
    source = file_ref(pictures / Path(str(image["file_name"])).name)
    size = [int(image["height"]), int(image["width"])]
    kind, task = ("mask", "referring_mask") if by == "mask" else ("overlay", "referring_segmentation")
    target = drawn(source, kind, segments=segments, size=size, color=COLOR)
    for sentence in ref["sentences"]:
        yield Question(
            f"{int(ref['ref_id']):06d}_{int(sentence['sent_id']):06d}",
            source,
            target,
            task,
            words={"caption": str(sentence.get("sent") or sentence["raw"])},
            truth={"segments": segments, "size": size, "empty": not segments},
            fault="" if source.state else MISSING_PAIR,
        )
