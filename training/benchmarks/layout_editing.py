"""Layouts of editing sets, and of others that come as Parquet files of a hub: rows with pictures and words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.build.containers import opened_parquet
from ..data.build.places import Ref, file_ref
from .layout_pairs import sub_folder
from .question import MISSING_PAIR, Question

# Emu Edit's own names of its tasks.
EMU_TASKS = {
    "background": "edit_background",
    "color": "edit_recolor",
    "global": "edit_global",
    "local": "edit_local",
    "remove": "edit_remove",
    "add": "edit_add",
    "style": "edit_style",
    "text": "edit_text",
}
SHARD = re.compile(r"-(\d{5}-of-\d{5})")


def parquet_files(root: Path, split: str) -> list[Path]:
    """The shards of a split, `data/SPLIT-*.parquet`, `SPLIT-*.parquet` or `SPLIT/*.parquet`.

    Raises:
        ValueError: there are none, or a shard is there twice, as an upload that was repeated leaves it.
    """
    for place, pattern in ((root / "data", f"{split}-*.parquet"), (root, f"{split}-*.parquet"), (root / split, "*")):
        found = sorted(path for path in place.glob(pattern) if path.suffix == ".parquet")
        if found:
            break
    else:
        raise ValueError(f"this layout has data/{split}-*.parquet, found none in {root}: give the folder of data")
    numbers = Counter(match[1] for path in found if (match := SHARD.search(path.name)))
    twice = [number for number, count in numbers.items() if count > 1]
    if twice:
        raise ValueError(f"shard {twice[0]} of {split} lies in {root} twice: remove the older upload of it")
    return found


def rows(
    path: Path, pictures: Sequence[str], words: Sequence[str], needed: Sequence[str]
) -> Iterator[tuple[dict[str, Ref], dict[str, Any]]]:
    """Places of a row's pictures and its words, as far as the file has the columns; pictures are not read.

    Raises:
        ValueError: no Parquet file, or a needed column is not there.
    """
    file = opened_parquet(path)
    names = set(file.schema_arrow.names)
    if missing := [name for name in needed if name not in names]:
        raise ValueError(f"{path} has the columns {', '.join(sorted(names))}, found no {missing[0]}: another data set?")
    state, number = file_ref(path).state, 0
    shown, there = [name for name in pictures if name in names], [name for name in words if name in names]
    for group in range(file.num_row_groups):
        for told in file.read_row_group(group, columns=there).to_pylist():
            yield {name: Ref(str(path), state, number, None, name) for name in shown}, told
            number += 1


def emu_edit(root: Path, split: str = "test") -> Iterator[Question]:
    """Emu Edit's test set: image, instruction, task, input_caption, output_caption; edited_image where it is there."""
    number = 0
    for path in parquet_files(root, split or "test"):
        words = ("instruction", "task", "input_caption", "output_caption")
        for pictures, told in rows(path, ("image", "edited_image"), words, ("image", *words[:1])):
            captions = {key: str(told.get(f"{key}_caption") or "") for key in ("input", "output")}
            yield Question(
                f"{number:05d}",
                pictures["image"],
                pictures.get("edited_image"),
                EMU_TASKS.get(str(told.get("task")), ""),
                str(told["instruction"] or ""),
                truth=captions,
                captions=(captions["output"],) if captions["output"] else (),
                fault="" if told["instruction"] else "no instruction",
            )
            number += 1


def magicbrush(root: Path, split: str = "test") -> Iterator[Question]:
    """MagicBrush: edit_turns.json, global_descriptions.json and images (the test set), or Parquet (train, dev)."""
    split = split or "test"
    place = root / split if (root / split / "edit_turns.json").is_file() else root
    if (place / "edit_turns.json").is_file():
        yield from _turns(place)
        return
    if split == "test":
        raise ValueError(f"MagicBrush's test set has edit_turns.json, found none in {root}: unpack it there")
    number = 0
    for path in parquet_files(root, split):
        wanted = ("source_img", "target_img")
        for pictures, told in rows(path, wanted, ("instruction", "img_id", "turn_index"), (*wanted, "instruction")):
            yield Question(
                f"{number:05d}",
                pictures["source_img"],
                pictures["target_img"],
                instruction=str(told["instruction"] or ""),
                fault="" if told["instruction"] else "no instruction",
            )
            number += 1


def _turns(place: Path) -> Iterator[Question]:
    """Each turn alone, from its own input: the single-turn setting."""
    turns = _json(place / "edit_turns.json", list)
    told = place / "global_descriptions.json"
    described = _json(told, dict) if told.is_file() else {}
    images = sub_folder(place, "images")
    for number, turn in enumerate(turns):
        try:
            names = {key: Path(str(turn[key])).name for key in ("input", "output")}
            # 139306-output1.png lies in a folder of its picture's number.
            folder = names["input"].split("-")[0]
            captions = {key: str(described.get(folder, {}).get(name) or "") for key, name in names.items()}
            source, target = (file_ref(images / folder / name) for name in names.values())
            fault = "" if source.state and target.state else MISSING_PAIR
            name = f"{folder}/{Path(names['output']).stem}"
            yield Question(name, source, target, instruction=str(turn["instruction"]), truth=captions, fault=fault)
        except (KeyError, TypeError, AttributeError):
            yield Question(f"turn {number}", None, fault="broken annotation")


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} should be JSON, found: {error}; copy it again") from error
    if not isinstance(found, kind):
        raise ValueError(f"{path} should hold a {kind.__name__}, found a {type(found).__name__}: copy it again")
    return found


def multigen(root: Path, split: str, condition: str) -> Iterator[tuple[dict[str, Ref], str, int]]:
    """Rows of MultiGen-20M's evaluation sets: places of image and condition, the text and the number of the row."""
    number = 0
    for path in parquet_files(root, split or "validation"):
        for pictures, told in rows(path, ("image", condition), ("text",), ("image", condition, "text")):
            yield pictures, str(told["text"] or ""), number
            number += 1
