"""Restoration: every layout, every figure against another computation, and what a broken data set does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import correlate1d
from sets import answered, copied, judged, ladder, noisy, picture, questions, save, truth

from pixwizard.cli.main import main
from pixwizard.training.benchmarks.catalogue import BENCHMARKS
from pixwizard.training.benchmarks.pixel_judge import EQUAL, luma

PIXELS = ("psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y")


def pair(root: Path, source: str, target: str, seed: int) -> None:
    clean = picture(seed)
    save(clean, root / target)
    save(noisy(clean, seed), root / source)


def sidd(root: Path) -> None:
    root.mkdir()
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.integers(30, 220, (40, 32, 1, 1, 3)), 16, 2).repeat(16, 3).astype(np.uint8)
    degraded = (clean + rng.normal(0, 12, clean.shape)).clip(0, 255).astype(np.uint8)
    savemat(root / "ValidationGtBlocksSrgb.mat", {"ValidationGtBlocksSrgb": clean})
    savemat(root / "ValidationNoisyBlocksSrgb.mat", {"ValidationNoisyBlocksSrgb": degraded})


LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "pairs": [("input/a/one.png", "target/a/one.png"), ("input/two.jpg", "target/two.png")],
    "rain100l": [("rainy/rain-001.png", "norain-001.png"), ("rainy/rain-002.png", "norain-002.png")],
    "snow100k-l": [(f"Snow100K-L/synthetic/city_{i}.jpg", f"Snow100K-L/gt/city_{i}.jpg") for i in range(2)],
    "sots": [
        ("outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/gt/0001.png"),
        ("outdoor/hazy/2_1_0.1.jpg", "outdoor/gt/2.png"),
    ],
    "lol-v2": [
        (f"Real_captured/Test/Low/low0069{i}.png", f"Real_captured/Test/Normal/normal0069{i}.png") for i in range(2)
    ],
    "gopro": [(f"test/GOPR0384_11_0{i}/blur/000001.png", f"test/GOPR0384_11_0{i}/sharp/000001.png") for i in range(2)],
    "toled": [(f"test/LQ/{i}.png", f"test/HQ/{i}.png") for i in range(2)],
    "uieb": [(f"raw-890/{i}_img_.png", f"reference-890/{i}_img_.png") for i in range(2)],
}


def windowed_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM_index of the paper, written again: a separable window of 11, inside the picture."""
    place = np.arange(-5, 6)
    kernel = np.exp(-(place**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, kernel, axis=0), kernel, axis=1)[5:-5, 5:-5]

    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return float((((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def expected(answer: Image.Image, target: Image.Image) -> dict[str, float]:
    a, b = (np.asarray(image).astype(np.float64) for image in (answer, target))
    ya, yb = (np.round(16 + (65.481 * x[..., 0] + 128.553 * x[..., 1] + 24.966 * x[..., 2]) / 255) for x in (a, b))
    return {
        "psnr_rgb": 10 * np.log10(255**2 / ((a - b) ** 2).mean()),
        "psnr_y": 10 * np.log10(255**2 / ((ya - yb) ** 2).mean()),
        "ssim_rgb": float(np.mean([windowed_ssim(a[..., c], b[..., c]) for c in range(3)])),
        "ssim_y": windowed_ssim(ya, yb),
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_and_every_figure(name: str, tmp_path: Path) -> None:
    for seed, (source, target) in enumerate(LAYOUTS[name]):
        pair(tmp_path / "data", source, target, seed)
    asked = questions(name, tmp_path / "data", split=BENCHMARKS[name].splits[0])
    assert len(asked) == 2 and not any(question.fault for question in asked)
    half = answered(asked, tmp_path / "half", lambda q: Image.blend(copied(q), truth(q), 0.5))
    found = judged(name, tmp_path / "data", half)
    each = [expected(Image.blend(copied(q), truth(q), 0.5), truth(q)) for q in asked]
    for figure in PIXELS:
        assert found["metrics"][figure] == pytest.approx(np.mean([one[figure] for one in each]), abs=1e-6)
    copies = [expected(copied(q), truth(q)) for q in asked]
    assert found["metrics"]["copy_psnr_y"] == pytest.approx(np.mean([one["psnr_y"] for one in copies]), abs=1e-6)
    assert found["n"] == 2 and found["counts"] == {"asked": 2, "judged": 2, "faults": {}, "named": {}}
    best, copy, worst = ladder(name, tmp_path / "data", tmp_path, split=BENCHMARKS[name].splits[0])
    for figure in PIXELS:
        assert best[figure] > copy[figure] > worst[figure]
        assert copy[figure] == pytest.approx(copy[f"copy_{figure}"], abs=1e-12)
    assert best["psnr_rgb"] == EQUAL and best["ssim_y"] == pytest.approx(1)


def test_sidd_is_read_block_by_block(tmp_path: Path) -> None:
    sidd(tmp_path / "data")
    asked = questions("sidd", tmp_path / "data")
    assert len(asked) == 1280 and asked[33].name == "02_02"
    clean = np.asarray(truth(asked[33]))
    assert clean.shape == (16, 16, 3) and (clean == clean[0, 0]).all()
    few = answered(asked[:4], tmp_path / "half", lambda q: Image.blend(copied(q), truth(q), 0.5))
    found = judged("sidd", tmp_path / "data", few, "--n", "4")["metrics"]
    each = [expected(Image.blend(copied(q), truth(q), 0.5), truth(q)) for q in asked[:4]]
    for figure in ("psnr_rgb", "psnr_y"):
        assert found[figure] == pytest.approx(np.mean([one[figure] for one in each]), abs=1e-6)
    best, copy, worst = ladder("sidd", tmp_path / "data", tmp_path, "--n", "4", n=4)
    assert all(best[figure] > copy[figure] > worst[figure] for figure in PIXELS)


def test_other_packings_of_a_set(tmp_path: Path) -> None:
    for i in range(2):
        pair(tmp_path / "rain", f"input/{i}.png", f"target/{i}.png", i)
        pair(tmp_path / "lol", f"Synthetic/Test/Low/r{i}t.png", f"Synthetic/Test/Normal/r{i}t.png", i)
        pair(tmp_path / "snow", f"synthetic/{i}.jpg", f"gt/{i}.jpg", i)
        pair(tmp_path / "uieb", f"raw-890/{i}.png", f"reference-890/{i}.png", i)
    (tmp_path / "uieb" / "test.txt").write_text("1.png\n7.png\n")
    for name, data, options in (
        ("rain100l", "rain", {}),
        ("lol-v2", "lol", {"split": "synthetic"}),
        ("snow100k-l", "snow", {}),
    ):
        found = questions(name, tmp_path / data, **options)
        assert len(found) == 2 and not any(q.fault for q in found)
    assert [(q.name, q.fault) for q in questions("uieb", tmp_path / "uieb")] == [("1", ""), ("7", "missing pair")]


def test_luma_by_hand() -> None:
    colors = {
        (0, 0, 0): 16, (255, 255, 255): 235, (255, 0, 0): 81, (0, 255, 0): 145, (0, 0, 255): 41, (128, 128, 128): 126,
        (10, 200, 30): 122,
    }  # fmt: skip
    # 16 + (10 * 65.481 + 200 * 128.553 + 30 * 24.966) / 255 = 16 + 2.568 + 100.826 + 2.937 = 122.33
    picture_of = np.array([list(colors)], np.uint8)
    assert luma(picture_of)[0].tolist() == list(colors.values())


def test_luma_against_rgb_on_one_picture_by_hand(tmp_path: Path) -> None:
    """Red is off by 30 everywhere: RGB averages over three channels, luma weighs red with a quarter."""
    clean = np.full((16, 16, 3), 100, np.uint8)
    wrong = clean + np.array([30, 0, 0], np.uint8)
    save(Image.fromarray(clean), tmp_path / "data" / "target" / "a.png")
    save(Image.fromarray(wrong), tmp_path / "data" / "input" / "a.png")
    save(Image.fromarray(wrong), tmp_path / "answers" / "a.png")
    found = judged("pairs", tmp_path / "data", tmp_path / "answers")["metrics"]
    assert found["psnr_rgb"] == pytest.approx(10 * np.log10(255**2 / 300), abs=1e-6)
    # Luma: 16 + 219 * 100 / 255 = 101.88 is 102; with 30 * 65.481 / 255 = 7.70 more it is 109.59, so 110.
    assert found["psnr_y"] == pytest.approx(20 * np.log10(255 / 8), abs=1e-6)


def broken_set(root: Path, count: int = 200, broken: int = 3) -> list[str]:
    """A set with a missing pair, a picture of another size and a torn one; the rest is whole. Answers their names."""
    for i in range(count):
        pair(root, f"input/{i:03d}.png", f"target/{i:03d}.png", i)
    (root / "target" / "010.png").unlink()
    save(picture(1, (50, 32)), root / "target" / "020.png")
    torn = root / "input" / "030.png"
    torn.write_bytes(torn.read_bytes()[:400])
    return ["010", "020", "030"][:broken]


def test_three_broken_of_two_hundred_are_named_and_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = broken_set(tmp_path / "data")
    answers = tmp_path / "data" / "input"
    command = ["eval", "benchmark", "pairs", "--data", str(tmp_path / "data"), "--answers", str(answers)]
    out = tmp_path / "out.json"
    assert main([*command, "--json", str(out)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "found 3 of 200" in error and "--allow-missing" in error and not out.exists()
    assert all(name in error for name in names)
    assert all(f"1 {reason}" in error for reason in ("missing pair", "another size", "broken picture"))
    assert main([*command, "--json", str(out), "--allow-missing"]) == 0
    found = json.loads(out.read_text())
    assert found["n"] == 197 and found["counts"]["asked"] == 200
    assert found["counts"]["named"] == {
        "missing pair": ["010"], "another size": ["020"], "broken picture": ["030"],
    }  # fmt: skip


def test_up_to_one_percent_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(100):
        pair(tmp_path / "data", f"input/{i:03d}.png", f"target/{i:03d}.png", i)
    (tmp_path / "data" / "target" / "007.png").unlink()
    found = judged("pairs", tmp_path / "data", tmp_path / "data" / "input")
    assert found["n"] == 99 and "left out, missing pair: 1 (007)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "missing answer"),
        (lambda path: path.write_bytes(b"no picture"), "broken answer"),
        (lambda path: picture(0, (40, 40)).save(path), "answer of another size"),
    ],
)
def test_answers_are_not_trusted_either(
    spoil: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        pair(tmp_path / "data", f"input/{i}.png", f"target/{i}.png", i)
    answers = answered(questions("pairs", tmp_path / "data"), tmp_path / "answers", truth)
    spoil(answers / "1.png")
    command = ["eval", "benchmark", "pairs", "--data", str(tmp_path / "data"), "--answers", str(answers)]
    assert main(command) == 2
    assert f"1 {reason} (1)" in capsys.readouterr().err


def test_two_pictures_of_one_name_are_a_fault(tmp_path: Path) -> None:
    pair(tmp_path / "data", "input/a.png", "target/a.png", 0)
    save(picture(1), tmp_path / "data" / "input" / "a.jpg")
    found = [(question.name, question.fault) for question in questions("pairs", tmp_path / "data")]
    assert found == [("a", ""), ("a.png", "missing pair")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paris"], "the benchmarks are pairs, sidd"),
        (["pairs", "--data", "DIR", "--split", "val"], "--split of this benchmark is one of: none"),
        (["sots", "--data", "DIR", "--split", "val"], "outdoor, indoor"),
        (["pairs", "--data", "DIR"], "this layout has a folder input"),
        (["sidd", "--data", "DIR"], "SIDD's layout has ValidationNoisyBlocksSrgb.mat"),
        (["pairs", "--data", "nowhere"], "--data and --answers are folders, found none at nowhere"),
        (["pairs", "--data", "DIR", "--n", "0"], "--n must be at least 1"),
        (["pairs", "--data", "DIR", "--clip", "nowhere"], "--clip is a file of weights"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [str(tmp_path) if word == "DIR" else word for word in arguments]
    if "--data" not in chosen:
        chosen += ["--data", str(tmp_path)]
    assert main(["eval", "benchmark", *chosen, "--answers", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
