"""Depth, normals and classes against NumPy and torchmetrics, on the layouts of NYUv2, SUN RGB-D and ADE20K."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from sets import answered, copied, judged, ladder, noise_of, noisy, picture, questions, save, truth

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.training.benchmarks.dense_judges import eigen_crop
from pixwizard.training.benchmarks.libraries import library

SIZE = (64, 48)


def metres(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Depth in metres [H,W] between 1 and 7, with a hole."""
    coarse = np.random.default_rng(seed).uniform(1, 7, (3, 4)).astype(np.float32)
    depth = np.array(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))
    depth[5:9, 20:30] = 0
    return depth


def millimetres(depth: np.ndarray) -> np.ndarray:
    return (depth * 1000).round().astype(np.uint16)


def nyu(root: Path) -> None:
    for i, scene in enumerate(("bathroom", "kitchen")):
        place = root / "official_splits" / "test" / scene
        save(picture(i, SIZE), place / f"rgb_0004{i}.jpg")
        save(Image.fromarray(millimetres(metres(i))), place / f"sync_depth_0004{i}.png")


def sun(root: Path) -> None:
    folders = []
    for i, size in enumerate((SIZE, (73, 53))):
        inner = f"SUNRGBD/kv2/kinect2data/00000{i}_scene"
        folders.append(f"/n/fs/sun3d/data/{inner}")
        save(picture(i, size), root / inner / "image" / f"000{i}.jpg")
        values = millimetres(metres(i, size)).astype(np.uint32)
        rotated = ((values << 3) | (values >> 13)) & 0xFFFF
        save(Image.fromarray(rotated.astype(np.uint16)), root / inner / "depth_bfx" / f"000{i}_abs.png")
    listed = root / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat"
    listed.parent.mkdir(parents=True)
    cells = np.array([folders], dtype=object)
    savemat(listed, {"alltest": cells, "alltrain": cells[:, :1]})


def rmse_of_bts(answer: np.ndarray, depth: np.ndarray) -> float:
    """Painter's and BTS's script, line by line."""
    answer = answer.copy()
    answer[answer < 1e-3] = 1e-3
    answer[answer > 10] = 10
    valid = np.logical_and(depth > 1e-3, depth < 10)
    mask = np.zeros(valid.shape)
    height, width = depth.shape
    mask[round(45 / 480 * height) : round(471 / 480 * height), round(41 / 640 * width) : round(601 / 640 * width)] = 1
    valid = np.logical_and(valid, mask)
    return float(np.sqrt(((depth[valid] - answer[valid]) ** 2).mean()))


@pytest.mark.parametrize(("name", "layout"), [("nyuv2-depth", nyu), ("sunrgbd-depth", sun)])
@pytest.mark.parametrize("codec", ["walk", "gray"])
def test_depth(name: str, layout: object, codec: str, tmp_path: Path) -> None:
    layout(tmp_path / "data")  # type: ignore[operator]
    asked = questions(name, tmp_path / "data", codec=codec)
    assert len(asked) == 2 and not any(question.fault for question in asked)
    wrong = {q.name: metres(7, copied(q).size) + 0.3 for q in asked}

    def answer(question: object) -> Image.Image:
        depth = torch.from_numpy(wrong[question.name])  # type: ignore[attr-defined]
        pixels = TASKS["depth"].encode(depth, codec=codec).movedim(0, -1)
        return Image.fromarray((pixels * 255).round().numpy().astype(np.uint8))

    found = judged(name, tmp_path / "data", answered(asked, tmp_path / "wrong", answer), "--codec", codec)["metrics"]
    each = []
    for i, question in enumerate(asked):
        coded = torch.from_numpy(np.asarray(answer(question)).copy()).movedim(-1, 0).float() / 255
        read = TASKS["depth"].decode(coded, codec=codec, near=0.0, far=10.0).double().numpy()
        stored = millimetres(metres(i, copied(question).size)).astype(np.float32) / 1000
        each.append(rmse_of_bts(read, stored.astype(np.float64)))
    assert found["rmse"] == pytest.approx(np.mean(each), abs=1e-6)
    best, copy, worst = ladder(name, tmp_path / "data", tmp_path, "--codec", codec, codec=codec)
    assert best["rmse"] < 0.05 < min(copy["rmse"], worst["rmse"])
    assert best["abs_rel"] < 0.02 and best["delta_1.25"] == 1


def test_eigens_crop_is_the_published_one() -> None:
    assert eigen_crop(480, 640) == (slice(45, 471), slice(41, 601))


def test_answers_of_another_size_are_read_and_then_brought_to_the_truths(tmp_path: Path) -> None:
    nyu(tmp_path / "data")
    asked = questions("nyuv2-depth", tmp_path / "data")
    half = answered(asked, tmp_path / "half", lambda q: truth(q).resize((32, 24), Image.Resampling.NEAREST))
    assert judged("nyuv2-depth", tmp_path / "data", half)["metrics"]["rmse"] < 0.3


def normals(seed: int) -> np.ndarray:
    """Unit normals [H,W,3], X right, Y up, Z to the viewer; smooth."""
    coarse = np.random.default_rng(seed).normal(0, 0.5, (4, 5, 3)).astype(np.float32)
    planes = [np.array(Image.fromarray(coarse[..., c]).resize(SIZE, Image.Resampling.BICUBIC)) for c in range(3)]
    vector = np.stack([planes[0], planes[1], np.abs(planes[2]) + 1], -1)
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def dsine(root: Path) -> list[np.ndarray]:
    """DSINE's files: X to the left, black where nothing is known. Answers what they hold, in our axes."""
    held = []
    for i in range(2):
        vector = normals(i) * [-1, 1, 1]
        pixels = ((vector + 1) / 2 * 255).round().astype(np.uint8)
        pixels[:6] = 0
        save(picture(i, SIZE), root / "test" / f"00000{i}_img.png")
        save(Image.fromarray(pixels), root / "test" / f"00000{i}_normal.png")
        stored = pixels.astype(np.float64) / 255 * 2 - 1
        held.append(stored * [-1, 1, 1])
    return held


def test_normals(tmp_path: Path) -> None:
    held = dsine(tmp_path / "data")
    asked = questions("nyuv2-normals", tmp_path / "data")
    assert [question.name for question in asked] == ["000000", "000001"]
    wrong = [normals(9), normals(10)]

    def answer(question: object) -> Image.Image:
        vector = wrong[int(question.name)]  # type: ignore[attr-defined]
        return Image.fromarray(((vector + 1) / 2 * 255).round().astype(np.uint8))

    found = judged("nyuv2-normals", tmp_path / "data", answered(asked, tmp_path / "wrong", answer))["metrics"]
    angles = []
    for question, stored in zip(asked, held, strict=True):
        coded = torch.from_numpy(np.asarray(answer(question)).copy()).movedim(-1, 0).float() / 127.5 - 1
        read = TASKS["normal"].decode(coded / 2 + 0.5).movedim(0, -1).double().numpy()
        read /= np.linalg.norm(read, axis=-1, keepdims=True)
        stored = stored / np.linalg.norm(stored, axis=-1, keepdims=True)
        angles.append(np.degrees(np.arccos((read * stored).sum(-1).clip(-1, 1)))[6:].ravel())
    pooled = np.concatenate(angles)
    assert found["mean_angle"] == pytest.approx(pooled.mean(), abs=1e-6)
    assert found["median_angle"] == pytest.approx(np.median(pooled), abs=1e-6)
    assert found["under_11.25"] == pytest.approx((pooled < 11.25).mean() * 100, abs=1e-6)
    best, copy, worst = ladder("nyuv2-normals", tmp_path / "data", tmp_path)
    assert best["mean_angle"] < 0.5 and best["under_11.25"] == 100
    # A photograph's colours are no better as normals than noise is.
    assert min(copy["mean_angle"], worst["mean_angle"]) > 60
    spoiled = [
        judged("nyuv2-normals", tmp_path / "data", answered(asked, tmp_path / str(sigma), spoil))["metrics"]
        for sigma in (10, 40, 90)
        for spoil in [lambda q, sigma=sigma: noisy(truth(q), 1, sigma)]
    ]
    means = [best["mean_angle"], *(one["mean_angle"] for one in spoiled), worst["mean_angle"]]
    assert means == sorted(means)


def test_answers_in_dsines_axes_are_turned(tmp_path: Path) -> None:
    dsine(tmp_path / "data")
    asked = questions("nyuv2-normals", tmp_path / "data")
    turned = answered(
        asked, tmp_path / "turned", lambda q: Image.open(tmp_path / "data" / "test" / f"{q.name}_normal.png")
    )
    assert judged("nyuv2-normals", tmp_path / "data", turned, "--axes", "left-up")["metrics"]["mean_angle"] < 0.5
    assert judged("nyuv2-normals", tmp_path / "data", turned)["metrics"]["mean_angle"] > 5


def ade(root: Path) -> list[np.ndarray]:
    labels = []
    for i in range(3):
        coarse = np.random.default_rng(i).integers(0, 6, (3, 4)).astype(np.uint8) * 17
        label = np.array(Image.fromarray(coarse).resize(SIZE, Image.Resampling.NEAREST))
        place = root / "ADEChallengeData2016"
        save(picture(i, SIZE), place / "images" / "validation" / f"ADE_val_0000000{i}.jpg")
        save(Image.fromarray(label), place / "annotations" / "validation" / f"ADE_val_0000000{i}.png")
        labels.append(label)
    return labels


@pytest.mark.parametrize("codec", ["palette", "ade20k"])
def test_classes(codec: str, tmp_path: Path) -> None:
    labels = ade(tmp_path / "data")
    asked = questions("ade20k", tmp_path / "data", codec=codec)
    moved = [np.where(np.arange(SIZE[0]) < 20, 34, np.roll(label, 9, axis=1).clip(1)) for label in labels]

    def answer(question: object) -> Image.Image:
        ids = torch.from_numpy(moved[int(question.name[-1])].astype(np.int64))  # type: ignore[attr-defined]
        return Image.fromarray((TASKS["segmentation"].encode(ids, codec=codec) * 255).byte().movedim(0, -1).numpy())

    folder = answered(asked, tmp_path / "moved", answer)
    found = judged("ade20k", tmp_path / "data", folder, "--codec", codec)["metrics"]
    torchmetrics = library("torchmetrics.classification", "the other mIoU is torchmetrics'", "torchmetrics")
    theirs = torchmetrics.MulticlassJaccardIndex(151, average="none", ignore_index=0)
    read, true = [], []
    for question, label in zip(asked, labels, strict=True):
        coded = torch.from_numpy(np.asarray(Image.open(folder / f"{question.name}.png")).copy()).movedim(-1, 0) / 255
        read.append(TASKS["segmentation"].decode(coded, codec=codec, classes=range(1, 151)))
        true.append(torch.from_numpy(label.astype(np.int64)))
    each = theirs(torch.stack(read), torch.stack(true))
    known = torch.stack(true) > 0
    there = sorted(set(torch.stack(true)[known].tolist()) | set(torch.stack(read)[known].tolist()))
    assert found["classes"] == len(there)
    assert found["miou"] == pytest.approx(float(each[there].double().mean() * 100), abs=1e-5)
    both = [int(((torch.stack(read) == c) & (torch.stack(true) == c)).sum()) for c in there]
    union = [int((((torch.stack(read) == c) | (torch.stack(true) == c)) & known).sum()) for c in there]
    assert found["miou"] == pytest.approx(np.mean(np.array(both) / np.array(union)) * 100, abs=1e-6)
    best, copy, worst = ladder("ade20k", tmp_path / "data", tmp_path, "--codec", codec, codec=codec)
    assert best["miou"] > 99 > 20 > max(copy["miou"], worst["miou"])


def test_labels_are_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ade(tmp_path / "data")
    nyu(tmp_path / "nyu")
    annotations = tmp_path / "data" / "ADEChallengeData2016" / "annotations" / "validation"
    save(Image.fromarray(np.full(SIZE[::-1], 200, np.uint8)), annotations / "ADE_val_00000000.png")
    save(picture(1, (64, 40)).convert("L"), annotations / "ADE_val_00000001.png")
    (annotations / "ADE_val_00000002.png").unlink()
    save(Image.new("L", SIZE), annotations / "ADE_val_00000009.png")
    answers = tmp_path / "data" / "ADEChallengeData2016" / "images" / "validation"
    command = ["eval", "benchmark", "ade20k", "--data", str(tmp_path / "data"), "--answers", str(answers)]
    assert main(command) == 2
    error = capsys.readouterr().err
    for words in ("1 unknown class", "1 another size", "2 missing pair", "found 4 of 4"):
        assert words in error
    empty = save(Image.fromarray(np.zeros(SIZE[::-1], np.uint16)), tmp_path / "empty.png")
    scenes = tmp_path / "nyu" / "official_splits" / "test"
    (scenes / "kitchen" / "sync_depth_00041.png").write_bytes(empty.read_bytes())
    asked = questions("nyuv2-depth", tmp_path / "nyu")
    folder = answered(asked, tmp_path / "noise", lambda q: noise_of(copied(q), 1))
    assert main(["eval", "benchmark", "nyuv2-depth", "--data", str(tmp_path / "nyu"), "--answers", str(folder)]) == 2
    assert "1 no valid depth (kitchen/00041)" in capsys.readouterr().err


def test_a_list_that_leads_out_of_the_folder_is_a_fault(tmp_path: Path) -> None:
    sun(tmp_path / "data")
    listed = tmp_path / "data" / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat"
    savemat(listed, {"alltest": np.array([["/n/fs/SUNRGBD/../../etc", "/elsewhere/kv1"]], dtype=object)})
    found = questions("sunrgbd-depth", tmp_path / "data")
    assert [question.fault for question in found] == ["a folder outside SUNRGBD"] * 2
