"""All benchmarks in one table: layout, size, terms, reader, judge."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import layout_dense as dense
from . import layout_editing as editing
from . import layout_generation as generation
from . import layout_pairs as pairs
from . import layout_refer
from .dense_judges import ClassJudge, DepthJudge, NormalJudge
from .edit_judge import EditJudge
from .generation_judge import GenerationJudge
from .judge import Judge
from .keypoint_judge import KeypointJudge
from .layout_keypoints import coco_keypoints
from .options import Options
from .pixel_judge import PixelJudge
from .question import Question
from .refer_judge import ReferJudge

Read = Callable[[Path, Options], Iterator[Question]]
MakeJudge = Callable[[Options], Judge]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark; what is told of it is in catalogue.toml, which also says what the words mean.

    Attributes:
        read: the questions of a folder, see the layouts.
        judge: what scores the answers.
    """

    read: Read
    judge: MakeJudge
    title: str
    layout: str
    size: str
    terms: str = "terms: see the page it comes from"
    splits: Sequence[str] = ("",)
    keep_size: bool = True
    references: bool = False


def _restoration(read: pairs.Reader) -> tuple[Read, MakeJudge]:
    return lambda root, options: read(root, options.split), lambda options: PixelJudge()


def _refer(name: str, *, no_target: bool = False) -> tuple[Read, MakeJudge]:
    return (
        lambda root, options: layout_refer.refer(root, options.split, name, options.by),
        # Models without a head for it say so with a mask of fewer than 50 pixels (gRefCOCO's paper).
        lambda options: ReferJudge(options.by, 50 if no_target else 0, no_target),
    )


READ_AND_JUDGED: dict[str, tuple[Read, MakeJudge]] = {
    "pairs": _restoration(pairs.two_folders("denoise", "input", "target")),
    "sidd": _restoration(pairs.sidd),
    "rain100l": _restoration(pairs.rain100l),
    "snow100k-l": _restoration(pairs.snow100k),
    "sots": _restoration(pairs.sots),
    "lol-v2": _restoration(pairs.lol_v2),
    "gopro": _restoration(pairs.gopro),
    "toled": _restoration(pairs.toled),
    "uieb": _restoration(pairs.uieb),
    "nyuv2-depth": (
        lambda root, options: dense.nyuv2_depth(root, "test", options.codec),
        lambda options: DepthJudge(options.codec),
    ),
    "sunrgbd-depth": (
        lambda root, options: dense.sunrgbd_depth(root, "test", options.codec),
        lambda options: DepthJudge(options.codec),
    ),
    "nyuv2-normals": (lambda root, options: dense.nyuv2_normals(root), lambda options: NormalJudge(options.axes)),
    "ade20k": (
        lambda root, options: dense.ade20k(root, "validation", options.codec),
        lambda options: ClassJudge(options.codec),
    ),
    "refcoco": _refer("refcoco"),
    "refcoco+": _refer("refcoco+"),
    "refcocog": _refer("refcocog"),
    "grefcoco": _refer("grefcoco", no_target=True),
    "emu-edit": (
        lambda root, options: editing.emu_edit(root, options.split),
        lambda options: EditJudge(options, ("vs_input",)),
    ),
    "magicbrush": (
        lambda root, options: editing.magicbrush(root, options.split),
        lambda options: EditJudge(options, ("vs_input", "vs_gt")),
    ),
    "canny-to-image": (
        lambda root, options: generation.canny_to_image(root, options.split),
        lambda options: GenerationJudge(options, "canny", "fid", "clip"),
    ),
    "depth-to-image": (
        lambda root, options: generation.depth_to_image(root, options.split),
        lambda options: GenerationJudge(options, "depth", "fid", "clip"),
    ),
    "inpaint-places": (
        lambda root, options: generation.places(root, "", "inpaint"),
        lambda options: GenerationJudge(options, "lpips", "fid"),
    ),
    "outpaint-places": (
        lambda root, options: generation.places(root, "", "outpaint"),
        lambda options: GenerationJudge(options, "fid_and_score"),
    ),
    "coco-30k": (
        lambda root, options: generation.coco_30k(root, ""),
        lambda options: GenerationJudge(options, "fid_coco", "clip"),
    ),
    "hpsv2": (
        lambda root, options: generation.hpsv2(root, options.split),
        lambda options: GenerationJudge(options, "hps"),
    ),
    "coco-keypoints": (lambda root, options: coco_keypoints(root, "val2017"), lambda options: KeypointJudge()),
}
_TOLD = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
BENCHMARKS = {name: Benchmark(*code, **_TOLD[name]) for name, code in READ_AND_JUDGED.items()}


def benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"the benchmarks are {', '.join(BENCHMARKS)}, found {name!r}: choose one of them")
    return BENCHMARKS[name]
