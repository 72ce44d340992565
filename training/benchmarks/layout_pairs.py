"""Layouts of restoration data sets: two pictures of one size, degraded and clean.

Each reader takes the folder that the data set's archive unpacks to and answers questions in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..data.build.drawing import drawn
from ..data.build.places import file_ref
from .question import MISSING_PAIR, Question, is_picture, pictures_in

Reader = Callable[[Path, str], Iterator[Question]]


def sub_folder(root: Path, *places: str) -> Path:
    """The first of some folders that is there.

    Raises:
        ValueError: none is.
    """
    for place in places:
        if (root / place).is_dir():
            return root / place
    told = " or ".join(places)
    raise ValueError(f"this layout has a folder {told} in --data, found none in {root}: give the folder that holds it")


def matched(
    sources: dict[str, Path], targets: dict[str, Path], task: str, partner: Callable[[str], str] = lambda name: name
) -> Iterator[Question]:
    """Pairs of pictures; those without a partner, on either side, are faults.

    Args:
        partner: the target's name of a source's name.
    """
    used = set()
    for name, path in sources.items():
        target = targets.get(partner(name))
        used.add(partner(name))
        if target is None:
            yield Question(name, file_ref(path), task=task, fault=MISSING_PAIR)
        else:
            yield Question(name, file_ref(path), file_ref(target), task)
    for name in targets:
        if name not in used:
            yield Question(name, None, task=task, fault=MISSING_PAIR)


def two_folders(task: str, source: str, target: str) -> Reader:
    """Two folders whose pictures have equal names."""

    def read(root: Path, split: str) -> Iterator[Question]:
        yield from matched(pictures_in(sub_folder(root, source)), pictures_in(sub_folder(root, target)), task)

    return read


def sidd(root: Path, split: str) -> Iterator[Question]:
    """The validation blocks [40, 32, 256, 256, 3] of two MATLAB files; names are IMAGE_BLOCK, counted from 1."""
    noisy, clean = (root / f"Validation{kind}BlocksSrgb.mat" for kind in ("Noisy", "Gt"))
    for path in (noisy, clean):
        if not path.is_file():
            raise ValueError(f"SIDD's layout has {noisy.name} and {clean.name}, found no {path}: give their folder")
    for image in range(40):
        for block in range(32):
            source, target = (
                drawn(file_ref(path), "block", array=path.stem, index=[image, block]) for path in (noisy, clean)
            )
            yield Question(f"{image + 1:02d}_{block + 1:02d}", source, target, "denoise")


def rain100l(root: Path, split: str) -> Iterator[Question]:
    """`input` and `target` with equal names, as restoration repositories pack it, or `rain-N` beside `norain-N`."""
    if (root / "input").is_dir():
        yield from two_folders("derain", "input", "target")(root, split)
        return
    rainy = pictures_in(sub_folder(root, "rainy", "rain"))
    clean = pictures_in(root / "norain") if (root / "norain").is_dir() else _beside(root, "norain-")
    yield from matched(rainy, clean, "derain", lambda name: name if name in clean else f"no{name}")


def _beside(root: Path, start: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(root.iterdir()) if path.stem.startswith(start) and is_picture(path)}


def snow100k(root: Path, split: str) -> Iterator[Question]:
    """`synthetic` and `gt` of Snow100K-L, in the folder itself or in one of that name."""
    place = root / "Snow100K-L" if (root / "Snow100K-L").is_dir() else root
    yield from two_folders("desnow", "synthetic", "gt")(place, split)


def sots(root: Path, split: str) -> Iterator[Question]:
    """`outdoor` or `indoor` with `hazy` and `gt`: what stands before the first underscore names the clear picture."""
    place = root / (split or "outdoor") if (root / (split or "outdoor")).is_dir() else root
    yield from matched(
        pictures_in(sub_folder(place, "hazy")),
        pictures_in(sub_folder(place, "gt", "clear")),
        "dehaze",
        lambda name: name.split("_")[0],
    )


def lol_v2(root: Path, split: str) -> Iterator[Question]:
    """`Real_captured` or `Synthetic`, there `Test/Low` and `Test/Normal`; low00690 belongs to normal00690."""
    names = {"": "Real_captured", "real": "Real_captured", "synthetic": "Synthetic"}
    place = sub_folder(root, names[split])
    low, normal = (pictures_in(sub_folder(place, f"Test/{kind}")) for kind in ("Low", "Normal"))
    yield from matched(low, normal, "low_light", lambda name: name.replace("low", "normal", 1))


def gopro(root: Path, split: str) -> Iterator[Question]:
    """`test/SCENE/blur` and `test/SCENE/sharp` with equal names; names are SCENE/NUMBER."""
    place = sub_folder(root, "test")
    scenes = sorted(scene for scene in place.iterdir() if (scene / "blur").is_dir())
    if not scenes:
        raise ValueError(f"GoPro's layout has folders test/SCENE/blur, found none in {place}: give the folder of test")
    for scene in scenes:
        blur, sharp = (
            {f"{scene.name}/{name}": path for name, path in pictures_in(scene / kind).items()}
            for kind in ("blur", "sharp")
        )
        yield from matched(blur, sharp, "deblur")


def toled(root: Path, split: str) -> Iterator[Question]:
    """`LQ` and `HQ` with equal names, in the folder itself or in `test`."""
    place = root / "test" if (root / "test").is_dir() else root
    yield from two_folders("deblur", "LQ", "HQ")(place, split)


def uieb(root: Path, split: str) -> Iterator[Question]:
    """`raw-890` and `reference-890` with equal names; `test.txt`, a file name a line, chooses some of them."""
    listed = root / "test.txt"
    questions = two_folders("color_fade", "raw-890", "reference-890")(root, split)
    if not listed.is_file():
        yield from questions
        return
    wanted = [Path(line.strip()).stem for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = {question.name: question for question in questions}
    for name in wanted:
        yield found.get(name, Question(name, None, task="color_fade", fault=MISSING_PAIR))
