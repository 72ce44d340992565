"""What inputs hold, one candidate after the other, always in the same order and without reading pictures.

Shards are named by what is found here, so a file counts as changed when its size or time of change does.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....comfyui_pixwizard.optional import required
from ....comfyui_pixwizard.pictures.images import SUFFIXES
from ....comfyui_pixwizard.tasks import TASKS
from ...benchmarks.layouts import layout_samples, sentences_of
from .containers import parquet_rows, tar_samples
from .places import Ref, file_ref
from .recipe import BuildRecipe, Input, typed

# What the released annotations write for no picture: text-to-image on a blank canvas.
BLANK_NAMES = ("white_image.png", "black_image.png")
GENERATION = "text_to_image"


@dataclass(frozen=True)
class Candidate:
    """A sample that may become one.

    Attributes:
        input: its name in the recipe.
        origin: unique in its input, for people.
        target, source: pictures; no source where there is none to be stored.
        task: of pairs, "" for clean pictures.
        instructions, captions: given words.
        broken: why it cannot be one, where that shows already.
    """

    input: str
    origin: str
    target: Ref | None
    source: Ref | None = None
    task: str = ""
    instructions: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    broken: str = ""


def expanded(recipe: BuildRecipe) -> list[Input]:
    """The inputs with names, META files replaced by what they name.

    Raises:
        ValueError: a META file that is none, unknown tasks, the same name twice.
    """
    found: list[Input] = []
    for given in recipe.inputs:
        found += _meta(given) if given.kind == "meta" else [given]
    found = [replace(i, name=i.name or Path(i.path.rstrip("*/.")).stem.rstrip("*-_.")) for i in found]
    for one in found:
        if one.kind == "generated" and not one.task:
            raise ValueError(f"input {one.name} draws pairs of a task, found none: set task, such as edit_recolor")
        if one.task and one.task not in TASKS:
            raise ValueError(f"input {one.name} needs a task of the registry, found {one.task!r}: see pixwizard tasks")
        if [other.name for other in found].count(one.name) > 1:
            raise ValueError(f"inputs have names of their own, found {one.name!r} twice: set name")
    return [_drawn(one, Path(recipe.output)) if one.kind == "generated" else one for one in found]


def _drawn(given: Input, output: Path) -> Input:
    """An input whose pictures have been drawn, their folder as its root."""
    from .generated_pairs import DrawnPairs, made_pairs

    how: DrawnPairs = typed(DrawnPairs, given.options, f"input {given.name}: options")
    return replace(given, root=str(made_pairs(Path(given.path), given.model, how, output, given.name)))


def _generated(given: Input) -> Iterator[Candidate]:
    from .generated_pairs import DrawnPairs, picture_paths, read_captions

    path, how = Path(given.path), DrawnPairs(**given.options)
    for number, captions in enumerate(read_captions(path)):
        for candidate in range(how.candidates):
            source, target = map(file_ref, picture_paths(Path(given.root), number, candidate))
            origin, told = f"{path.name}:{number + 1}/{candidate + 1}", (captions.before, captions.after)
            yield Candidate(given.name, origin, target, source, given.task, (captions.instruction,), told)


def _meta(given: Input) -> list[Input]:
    """The released YAML `META: [{path, type, scale, ratio, root}]`: type is the task, scale repeats, ratio a share.

    The released code reads scale as a whole number, so that 0.5 becomes nothing; here it is what it says.
    """
    yaml = required("yaml", "META files need PyYAML", "pip install pyyaml")
    path = Path(given.path)
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))["META"]
        entries = [dict(entry) for entry in listed]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no list under META: path, type, scale, ratio, root; correct it") from error
    found = []
    for number, entry in enumerate(entries):
        where = f"{path.name} entry {number + 1}"
        names = dict(path="path", type="task", scale="repeats", ratio="fraction", root="root")
        if unknown := sorted(set(entry) - set(names)):
            raise ValueError(f"{where} takes {', '.join(names)}, found {unknown[0]!r}: leave it out")
        fields = {names[name]: value for name, value in entry.items() if value is not None}
        one: Input = typed(Input, {"kind": "annotations"} | fields, where)
        place = Path(one.root) if one.root else Path(given.root or path.parent)
        annotations = path.parent / one.path
        name = f"{given.name or path.stem}-{annotations.stem}"
        found.append(replace(one, path=str(annotations), root=str(path.parent / place), name=name))
    return found


def candidates(given: Input) -> Iterator[Candidate]:
    """What an input holds.

    Raises:
        ValueError: a file that is not of the kind it is said to be.
        OSError: no such file or folder.
    """
    yield from {
        "folder": _folder,
        "annotations": _annotations,
        "webdataset": _tars,
        "parquet": _parquets,
        "layout": _layout,
        "generated": _generated,
    }[given.kind](given)


def _folder(given: Input) -> Iterator[Candidate]:
    if not os.path.isdir(given.path):
        raise ValueError(f"input {given.name} is a folder of pictures, found none at {given.path}: check the path")
    for place, folders, files in os.walk(given.path):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(place, name)
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                caption = _beside(path)
                origin = os.path.relpath(path, given.path).replace(os.sep, "/")
                yield Candidate(given.name, origin, file_ref(path), task=given.task, captions=caption)


def _beside(path: str) -> tuple[str, ...]:
    """The caption in a text file of the same name, if there is one."""
    try:
        text = Path(path).with_suffix(".txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ()
    return (text,) if text else ()


def _annotations(given: Input) -> Iterator[Candidate]:
    """The released form `{height, width, ratio, input_path, target_path, prompt}`; sizes are taken from the files."""
    path = Path(given.path)
    root = Path(given.root) if given.root else path.parent
    for number, item in enumerate(json_items(path)):
        origin = f"{path.name}:{number + 1}"
        if not isinstance(item, dict) or not isinstance(item.get("target_path"), str):
            yield Candidate(given.name, origin, None, broken="no target_path")
            continue
        prompts = _texts(item.get("prompt"))
        source = item.get("input_path")
        target = file_ref(root / item["target_path"])
        if not source or str(source).endswith(BLANK_NAMES):
            task = given.task or (GENERATION if source else "")
            yield Candidate(given.name, origin, target, task=task, captions=prompts)
        else:
            yield Candidate(given.name, origin, target, file_ref(root / source), given.task, instructions=prompts)


def _texts(value: Any) -> tuple[str, ...]:
    """A prompt, or a list of them, of which training draws one each time."""
    values = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in values if isinstance(text, str) and text.strip())


def json_items(path: Path) -> Iterator[Any]:
    """Items of a JSON list or of JSON lines, these one at a time."""
    with path.open(encoding="utf-8") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        try:
            if start == "[":
                yield from json.load(file)
                return
            for line in file:
                if line.strip():
                    yield json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is neither a JSON list nor JSON lines, found: {error}; correct it") from error


def _files(given: Input) -> Sequence[str]:
    found = sorted(glob.glob(given.path)) if "*" in given.path else [given.path]
    if not found or not all(map(os.path.isfile, found)):
        raise ValueError(f"input {given.name} names files, found none at {given.path}: check the path")
    return found


def _tars(given: Input) -> Iterator[Candidate]:
    for path in _files(given):
        state, archive = file_ref(path).state, os.path.basename(path)
        for key, parts, broken in tar_samples(path):
            refs = {role: Ref(path, state, at, length) for role, (at, length) in parts.pictures.items()}
            yield Candidate(
                given.name,
                f"{archive}:{key}",
                refs.get("target"),
                refs.get("source"),
                parts.task or given.task,
                _texts(parts.instructions),
                _texts(parts.captions),
                broken,
            )


def _parquets(given: Input) -> Iterator[Candidate]:
    columns = {"target": "image", "caption": "caption"} | given.columns
    for path in _files(given):
        state, file = file_ref(path).state, os.path.basename(path)
        for row, values in parquet_rows(path, columns, set(given.columns)):
            pictures: dict[str, Ref | None] = {"target": None, "source": None}
            for role in pictures:
                value = values.get(role)
                if isinstance(value, str):
                    pictures[role] = file_ref(Path(given.root or os.path.dirname(path)) / value)
                elif value:
                    pictures[role] = Ref(path, state, row, column=columns[role])
            yield Candidate(
                given.name,
                f"{file}:{row}",
                pictures["target"],
                pictures["source"],
                given.task,
                _texts(values.get("instruction")),
                _texts(values.get("caption")),
                "" if pictures["target"] else "missing",
            )


def _layout(given: Input) -> Iterator[Candidate]:
    for found in layout_samples(given.layout, Path(given.path), given.split, given.task):
        yield Candidate(
            given.name,
            found.name,
            found.target,
            found.source,
            found.task,
            sentences_of(found),
            found.captions if found.words else (),
            found.fault,
        )
