"""All benchmarks in one table: layout, size, terms, reader, judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

ASK = "terms: see the page it comes from"


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        title: for tables.
        layout: what lies in --data.
        size: of the official test set, and of its pictures.
        terms: what is known of its licence.
        read: the questions of a folder, see the layouts.
        judge: what scores the answers.
        splits: names that --split takes; the first is the default.
        keep_size: answers are brought back to the picture's size before they are scored.
        references: masks are read against the picture through the model's autoencoder, which is kept.
    """

    title: str
    layout: str
    size: str
    terms: str
    read: Callable[[Path, Options], Iterator[Question]]
    judge: Callable[[Options], Judge]
    splits: tuple[str, ...] = ("",)
    keep_size: bool = True
    references: bool = False


def _restoration(title: str, layout: str, size: str, read: pairs.Reader, *splits: str, terms: str = ASK) -> Benchmark:
    return Benchmark(
        title,
        layout,
        size,
        terms,
        lambda root, options: read(root, options.split),
        lambda options: PixelJudge(),
        splits or ("",),
    )


def _refer(name: str, title: str, size: str, *splits: str, no_target: bool = False) -> Benchmark:
    files = " or ".join(f"{stem}.p" for stem in layout_refer.FILES[name])
    return Benchmark(
        title,
        f"{name}/{files}, {name}/instances.json, images/train2014",
        size,
        "COCO's pictures have Flickr's terms; the expressions': see the page they come from",
        lambda root, options: layout_refer.refer(root, options.split, name, options.by),
        # Models without a head for it say so with a mask of fewer than 50 pixels (gRefCOCO's paper).
        lambda options: ReferJudge(options.by, 50 if no_target else 0, no_target),
        splits,
        keep_size=False,
        references=True,
    )


BENCHMARKS: dict[str, Benchmark] = {
    "pairs": _restoration(
        "any folder of pairs",
        "input/NAME, target/NAME",
        "as it is",
        pairs.two_folders("denoise", "input", "target"),
        terms="yours",
    ),
    "sidd": _restoration(
        "SIDD validation, denoising",
        "ValidationNoisyBlocksSrgb.mat, ValidationGtBlocksSrgb.mat",
        "1280 blocks of 256x256",
        pairs.sidd,
    ),
    "rain100l": _restoration(
        "Rain100L, deraining",
        "input/N, target/N; or rainy/rain-N beside norain-N",
        "100 of 481x321",
        pairs.rain100l,
    ),
    "snow100k-l": _restoration(
        "Snow100K-L, desnowing",
        "Snow100K-L/synthetic/NAME, Snow100K-L/gt/NAME",
        "16801, about 640x480",
        pairs.snow100k,
    ),
    "sots": _restoration(
        "RESIDE SOTS, dehazing",
        "outdoor/hazy/ID_A_B, outdoor/gt/ID",
        "500, about 550x410",
        pairs.sots,
        "outdoor",
        "indoor",
    ),
    "lol-v2": _restoration(
        "LOL-v2, low light",
        "Real_captured/Test/Low/lowN, Real_captured/Test/Normal/normalN; Synthetic likewise",
        "100 of 600x400 (real), 100 of 384x384 (synthetic)",
        pairs.lol_v2,
        "real",
        "synthetic",
    ),
    "gopro": _restoration(
        "GoPro, deblurring",
        "test/SCENE/blur/N, test/SCENE/sharp/N",
        "1111 of 1280x720",
        pairs.gopro,
        terms="CC BY 4.0, as its page says",
    ),
    "toled": _restoration(
        "TOLED, under-display camera (zero-shot)",
        "test/LQ/N, test/HQ/N",
        "30 of 2048x1024",
        pairs.toled,
    ),
    "uieb": _restoration(
        "UIEB, underwater (zero-shot)",
        "raw-890/N, reference-890/N; test.txt chooses some",
        "890; papers judge 90 of them without naming them",
        pairs.uieb,
    ),
    "nyuv2-depth": Benchmark(
        "NYUv2, depth",
        "official_splits/test/SCENE/rgb_N.jpg, official_splits/test/SCENE/sync_depth_N.png",
        "654 of 640x480",
        ASK,
        lambda root, options: dense.nyuv2_depth(root, "test", options.codec),
        lambda options: DepthJudge(options.codec),
        keep_size=False,
    ),
    "sunrgbd-depth": Benchmark(
        "SUN RGB-D, depth (zero-shot)",
        "SUNRGBD/…/image, SUNRGBD/…/depth_bfx, SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat",
        "5050 of four sensors' sizes",
        ASK,
        lambda root, options: dense.sunrgbd_depth(root, "test", options.codec),
        lambda options: DepthJudge(options.codec),
        keep_size=False,
    ),
    "nyuv2-normals": Benchmark(
        "NYUv2, surface normals",
        "test/N_img.png, test/N_normal.png (DSINE's evaluation data)",
        "654 of 640x480",
        ASK,
        lambda root, options: dense.nyuv2_normals(root),
        lambda options: NormalJudge(options.axes),
        keep_size=False,
    ),
    "ade20k": Benchmark(
        "ADE20K, 150 classes",
        "ADEChallengeData2016/images/validation, ADEChallengeData2016/annotations/validation",
        "2000 of many sizes",
        ASK,
        lambda root, options: dense.ade20k(root, "validation", options.codec),
        lambda options: ClassJudge(options.codec),
        keep_size=False,
    ),
    "refcoco": _refer("refcoco", "RefCOCO, masks", "10834, 5657, 5095 expressions", "val", "testA", "testB"),
    "refcoco+": _refer("refcoco+", "RefCOCO+, masks", "10758, 5726, 4889 expressions", "val", "testA", "testB"),
    "refcocog": _refer("refcocog", "RefCOCOg, masks", "4896, 9602 expressions (umd)", "val", "test"),
    "grefcoco": _refer(
        "grefcoco", "gRefCOCO, masks of several or no things", "see its page", "val", "testA", "testB", no_target=True
    ),
    "emu-edit": Benchmark(
        "Emu Edit test set, editing",
        "data/test-*.parquet (image, instruction, task, input_caption, output_caption)",
        "about 3600 on the hub; papers' tables differ in n",
        "CC BY-NC 4.0, as the card of its generations says",
        lambda root, options: editing.emu_edit(root, options.split),
        lambda options: EditJudge(options, ("vs_input",)),
        ("test", "validation"),
    ),
    "magicbrush": Benchmark(
        "MagicBrush test set, editing, single turns",
        "test/edit_turns.json, test/global_descriptions.json, test/images/ID/ID-input.png, ID-outputN.png",
        "1053 turns of 535 pictures",
        "CC BY 4.0; the test set must not be republished nor trained on",
        lambda root, options: editing.magicbrush(root, options.split),
        lambda options: EditJudge(options, ("vs_input", "vs_gt")),
        ("test", "dev"),
    ),
    "canny-to-image": Benchmark(
        "MultiGen-20M, pictures from Canny edges",
        "data/validation-*.parquet (image, text)",
        "5000, at 512x512",
        ASK,
        lambda root, options: generation.canny_to_image(root, options.split),
        lambda options: GenerationJudge(options, "canny", "fid", "clip"),
        ("validation", "test"),
    ),
    "depth-to-image": Benchmark(
        "MultiGen-20M, pictures from depth",
        "data/validation-*.parquet (image, control_depth, text)",
        "5000, at 512x512",
        ASK,
        lambda root, options: generation.depth_to_image(root, options.split),
        lambda options: GenerationJudge(options, "depth", "fid", "clip"),
        ("validation",),
    ),
    "inpaint-places": Benchmark(
        "Places, inpainting",
        "val_large/Places365_val_N.jpg, or any folder",
        "30000 centres of 512x512, 40 to 50 % missing",
        ASK,
        lambda root, options: generation.places(root, "", "inpaint"),
        lambda options: GenerationJudge(options, "lpips", "fid"),
    ),
    "outpaint-places": Benchmark(
        "Places, outpainting",
        "val_large/Places365_val_N.jpg, or any folder",
        "30000 centres of 512x512, the right half missing",
        ASK,
        lambda root, options: generation.places(root, "", "outpaint"),
        lambda options: GenerationJudge(options, "fid_and_score"),
    ),
    "coco-30k": Benchmark(
        "COCO, text to image",
        "annotations/captions_val2014.json, val2014",
        "30000 captions, FID at 256x256",
        "annotations CC BY 4.0; pictures have Flickr's terms",
        lambda root, options: generation.coco_30k(root, ""),
        lambda options: GenerationJudge(options, "fid_coco", "clip"),
    ),
    "hpsv2": Benchmark(
        "HPSv2, text to image",
        "benchmark/photo.json; anime, concept-art, paintings likewise",
        "800 prompts of each style",
        ASK,
        lambda root, options: generation.hpsv2(root, options.split),
        lambda options: GenerationJudge(options, "hps"),
        ("photo", "anime", "concept-art", "paintings"),
    ),
    "coco-keypoints": Benchmark(
        "COCO, keypoints of people",
        "annotations/person_keypoints_val2017.json, val2017",
        "5000 of many sizes",
        "annotations CC BY 4.0; pictures have Flickr's terms",
        lambda root, options: coco_keypoints(root, "val2017"),
        lambda options: KeypointJudge(),
        keep_size=False,
    ),
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"the benchmarks are {', '.join(BENCHMARKS)}, found {name!r}: choose one of them")
    return BENCHMARKS[name]
