"""What a build is told: a JSON file, read into these classes.

    {
      "output": "shards/clean",
      "inputs": [
        {"kind": "folder", "path": "photos"},
        {"kind": "annotations", "path": "edits.jsonl", "root": "edits", "task": "edit_replace"}
      ],
      "annotators": [{"name": "depth", "model": "models/Depth-Anything-V2-Small-hf"}],
      "relabel": {"predictor": "words"},
      "filters": [{"score": "gap", "at_least": 0.01, "at_most": 0.5}]
    }

Paths are taken from the folder of that file.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from ....comfyui_pixwizard.optional import pip_install, required
from ....comfyui_pixwizard.tasks import TASKS

REPORT = "report.json"
# Read by pydantic, which checks these classes: no unknown fields, and no text where a number belongs.
STRICT = {"extra": "forbid", "strict": True}
Number = int | float  # kept as it is written: names of shards are hashes of recipes
FORMAT = 1  # of shards and manifests: raised whenever what is written changes


@dataclass(frozen=True)
class Input:
    """Where samples come from.

    Attributes:
        kind: folder (of pictures, and folders inside), annotations (the released JSON list or JSON lines), meta (the
            released YAML or JSON list of annotation files), webdataset (tars), parquet, layout (a data set in its
            own), or generated (pairs that a text-to-image model draws from captions).
        path: folder or file; `*` stands for several tars or Parquet files.
        name: unique; by default the stem of the path.
        task: of the registry, for pairs; none for clean pictures, which serve every task that is derived from one.
        root: folder that paths inside annotations start from; by default that of the annotations.
        repeats, fraction: how often training draws from it, see `plan.Source`.
        columns: of Parquet, what is found where: target (bytes, a struct with bytes, or a path), source, instruction,
            caption.
        layout, split: of a layout, its name (see `benchmarks.layouts`) and which part of the data set.
        model, options: of generated, who draws ("nano" or a folder) and how, see `generated_pairs.DrawnPairs`.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["folder", "annotations", "meta", "webdataset", "parquet", "layout", "generated"]
    path: str
    name: str = ""
    task: str = ""
    root: str = ""
    repeats: Number = 1.0
    fraction: Number = 1.0
    columns: dict[str, str] = field(default_factory=dict)
    layout: str = ""
    split: str = ""
    model: str = "nano"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnnotatorSettings:
    """A network, or a filter, whose reading of every target is stored: see `annotate.ANNOTATORS`.

    Attributes:
        name: of the table.
        model: folder of its weights, where it needs some.
        options: passed on.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Filter:
    """A score that samples must have, see `quality_scores.SCORES`; without bounds it is only put into the manifest.

    Attributes:
        model: folder of weights, where it needs some; "nano" is the bundled model, "begun" the
            towers that its training begins with, "scenes" the bundled detector.
        options: passed on.
        tasks: pairs of which tasks it looks at; by default every sample.
    """

    __pydantic_config__: ClassVar = STRICT
    score: str
    at_least: Number | None = None
    at_most: Number | None = None
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def passes(self, value: float | None) -> bool:
        """Whether a value is within the bounds; None, where the score does not apply, is."""
        if value is None:
            return True
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= value <= high


@dataclass(frozen=True)
class Relabel:
    """Pairs count as the task that their sentences ask for, whatever they were stored under.

    Attributes:
        predictor: "words" for a guess by words, which needs no model; or the model whose predictor is asked, "nano"
            or a folder.
        tasks: those that pairs may come to count as; one that asks for another keeps its own. By default all.
        unknown: what becomes of a pair whose sentences ask for no task: left out, or kept as it is stored.
    """

    __pydantic_config__: ClassVar = STRICT
    predictor: str = "words"
    tasks: tuple[str, ...] = ()
    unknown: Literal["leave out", "keep"] = "leave out"


@dataclass(frozen=True)
class BuildRecipe:
    """A build.

    Attributes:
        output: folder of shards, manifest and report.
        inputs: at least one.
        shard: samples looked at for one shard, the unit of work that is done whole or again.
        annotators, relabel, filters: see there.
        smallest: pixels of a shorter side.   most_pixels: width times height at most.
        modes: Pillow's names of what is taken; transparency is laid on white when it is read for training.
        store_side: longer side in pixels that pictures are made smaller to; none keeps files as they are.
        quality: of the JPEGs that are written where a picture has to be changed.
        unique: leave out samples that are the same as an earlier one.
    """

    __pydantic_config__: ClassVar = STRICT
    output: str
    inputs: tuple[Input, ...]
    shard: int = 1000
    annotators: tuple[AnnotatorSettings, ...] = ()
    relabel: Relabel | None = None
    filters: tuple[Filter, ...] = ()
    smallest: int = 256
    most_pixels: int = 100_000_000
    modes: tuple[str, ...] = ("RGB", "L", "P", "RGBA", "LA")
    store_side: int | None = None
    quality: int = 95
    unique: bool = True

    def told(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dataclasses.asdict(self)


PARTS = {"inputs": Input, "annotators": AnnotatorSettings, "filters": Filter, "relabel": Relabel}
# What a model may be named without a path.
BUNDLED = ("nano", "begun", "scenes", "words")
MISTAKES = {
    "unexpected_keyword_argument": "{parent} has the fields {names}, found {name!r}: leave it out",
    "missing": "{parent} needs {name}, found no {name}: add it",
    "literal_error": "{here} is one of {expected}, found {input!r}: choose one",
    "tuple_type": "{here} is a list, found {input!r}: put it into [ ]",
    "dataclass_type": "{here} is an object with {names}, found {input!r}: put it into {{ }}",
}


def read_recipe(path: Path) -> BuildRecipe:
    """A recipe file, its paths made absolute.

    Raises:
        ValueError: not JSON, unknown or missing fields, values of a wrong type, or of no use.
        FileNotFoundError: no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"a recipe is a JSON file, found in {path}: {error}; correct it") from error
    recipe: BuildRecipe = typed(BuildRecipe, found, f"recipe {path.name}")
    place = path.resolve().parent

    def here(value: str) -> str:
        return str(place / Path(value).expanduser()) if value else ""

    def weights(value: str) -> str:
        return value if value in BUNDLED else here(value)

    recipe = dataclasses.replace(
        recipe,
        output=here(recipe.output),
        inputs=tuple(
            dataclasses.replace(i, path=here(i.path), root=here(i.root), model=weights(i.model)) for i in recipe.inputs
        ),
        annotators=tuple(dataclasses.replace(a, model=weights(a.model)) for a in recipe.annotators),
        relabel=recipe.relabel and dataclasses.replace(recipe.relabel, predictor=weights(recipe.relabel.predictor)),
        filters=tuple(dataclasses.replace(f, model=weights(f.model)) for f in recipe.filters),
    )
    _check(recipe, path)
    return recipe


def _check(recipe: BuildRecipe, path: Path) -> None:
    if not recipe.inputs or not recipe.output:
        raise ValueError(f"{path.name} needs an output folder and inputs, found none: name them")
    if recipe.shard < 1 or recipe.smallest < 1 or not 1 <= recipe.quality <= 100:
        found = f"{recipe.shard}, {recipe.smallest} and {recipe.quality}"
        raise ValueError(f"shard and smallest are at least 1, quality 1 to 100, found {found}: change {path.name}")
    if recipe.store_side is not None and recipe.store_side < recipe.smallest:
        raise ValueError(
            f"store_side is at least smallest ({recipe.smallest}), found {recipe.store_side}: change {path.name}"
        )
    looked_at = {f"filter {bound.score}": bound.tasks for bound in recipe.filters}
    for name, tasks in (looked_at | {"relabel": recipe.relabel.tasks if recipe.relabel else ()}).items():
        if unknown := [task for task in tasks if task not in TASKS]:
            raise ValueError(f"{name} takes tasks of the registry, found {unknown[0]!r}: see pixwizard tasks")
    for bound in recipe.filters:
        if None not in (bound.at_least, bound.at_most) and bound.at_least > bound.at_most:  # type: ignore[operator]
            raise ValueError(f"filter {bound.score} lets nothing through: at_least is above at_most; change them")


def typed(kind: Any, value: Any, where: str) -> Any:
    """A JSON or YAML value as one of the classes above.

    Raises:
        ValueError: it is something else, with the place where; or pydantic is absent.
    """
    pydantic = required("pydantic", "recipes of data need pydantic", pip_install("pydantic>=2.8"))
    try:
        # By way of JSON, where a list is what a tuple is written as.
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(value, default=str))
    except pydantic.ValidationError as error:
        found = error.errors()[0]
        *_, name = steps = ["", *(step for step in found["loc"] if step not in ("int", "float"))]  # both of a Number
        here = where + "".join(f"[{step}]" if isinstance(step, int) else f": {step}" for step in steps[1:])
        given = dict(here=here, parent=here.removesuffix(f": {name}"), name=name, input=found["input"])
        given["names"] = ", ".join(f.name for f in fields(PARTS.get(steps[1], kind) if len(steps) > 2 else kind))
        given["expected"] = found.get("ctx", {}).get("expected", "").replace(" or ", ", ").replace("'", "")
        given["type"] = "number" if len(steps) <= len(found["loc"]) else found["type"].partition("_")[0]
        line = MISTAKES.get(found["type"], "{here} takes a {type}, found {input!r}: change it")
        raise ValueError(line.format(**given)) from error
