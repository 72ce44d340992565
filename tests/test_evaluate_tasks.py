"""The evaluation with pipelines whose score is known: one that copies its input and one that knows the truth."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pixwizard.cli.evaluate import Eval
from pixwizard.comfyui_pixwizard.guidance import DualGuidance
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.released_codes import released
from pixwizard.training.evaluate.measures import MEASURES
from pixwizard.training.evaluate.metrics import psnr
from pixwizard.training.evaluate.photographs import bundled_photographs, folder_photographs
from pixwizard.training.evaluate.questions import SETS
from pixwizard.training.evaluate.samples import ON_PHOTOGRAPHS, OWN, Samples, restoration_samples
from pixwizard.training.evaluate.scene_samples import SceneSet
from pixwizard.training.render.scenes import COLOR_NAMES, HELD_OUT, SHAPES

KEYS = {"metric", "value", "baseline", "ceiling", "n", "floor", "target", "holds"}
# Decoders that clean up after a noisy model round the corners of a perfect answer.
NEARLY = {"referring_segmentation": 0.05, "referring_mask": 0.05, "segmentation": 0.01, "pose": 0.2}
NEARLY["pose_to_image"] = NEARLY["pose"]
# At 64 px, whatever is bright has an edge within a pixel.
FAIR_COPIES = ("canny",)
# A network judges these, and it is not always right.
JUDGED = ("text_to_image", "edit_add")


class Identity:
    """An autoencoder without loss."""

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latents: Tensor) -> Tensor:
        return latents


class Quantised(Identity):
    """An autoencoder that keeps 32 levels: its error is known to be uniform of width 1/31."""

    def encode(self, image: Tensor) -> Tensor:
        return (image * 15.5).round() / 15.5


class Fake:
    """Answers with the pictures of `truth` one after the other, or with its source; records how it was asked."""

    def __init__(self, truth: Tensor | None = None, autoencoder: Identity | None = None):
        self.truth, self.autoencoder, self.asked = truth, autoencoder or Identity(), []  # type: ignore[var-annotated]
        self.declared = OWN

    def generate(self, source: Tensor, instructions: list[str], **settings: Any) -> Tensor:
        assert source.shape[0] == len(instructions)
        assert float(source.min()) >= -1 and float(source.max()) <= 1
        start = sum(len(sentences) for sentences, _ in self.asked)
        self.asked.append((instructions, settings))
        return source if self.truth is None else self.truth[start : start + len(source)] * 2 - 1


def perfect(name: str) -> float:
    return 0.0 if MEASURES[name].lower_is_better else 1.0


def asked(name: str, **settings: Any) -> Eval:
    return Eval("nano", **({"tasks": (name,), "n": 3, "seen": 0, "size": 64, "scene_size": 64} | settings))


def questions(name: str, **settings: Any) -> Samples:
    evaluation = asked(name, **settings)
    return evaluation.questions(evaluation.n).samples(name)


def oracle(samples: Samples) -> Fake:
    """Knows the truth; where answers are read, it reads them as the map that was given, and copies as nothing."""
    if not MEASURES[samples.task.name].reads:
        return Fake(samples.truth)
    black = torch.zeros_like(samples.source)
    return Fake(torch.cat((samples.truth, samples.source, black, samples.source)))


def test_a_model_is_asked_and_read_as_it_declares(capsys: pytest.CaptureFixture[str]) -> None:
    codes = released()
    depth = replace(codes["depth"], codec_options={"near": 0.0, "far": 20.0, "near_bright": True})
    codes = replace(codes, tasks={**codes.tasks, "depth": depth})
    samples = asked("depth").questions(3, declared=codes).samples("depth")
    assert torch.equal(samples.truth[:, 0], samples.truth[:, 2]), "grey"
    model = oracle(samples)
    model.declared = codes
    report = asked("depth", tasks=("depth", "segmentation")).measure(model)
    assert report["tasks"]["depth"]["value"] < 1e-5 and "segmentation" not in report["tasks"]
    assert "segmentation not measured: classes of scenes" in capsys.readouterr().out
    settings = model.asked[0][1]
    assert (settings["steps"], settings["solver"], settings["guidance"]) == (60, "euler", DualGuidance(4.0, 1.0, 3))


def test_every_task_is_measured_on_one_set() -> None:
    assert set(MEASURES) == set(TASKS)
    assert sorted(name for tasks in SETS.values() for name in tasks) == sorted(TASKS)


@pytest.mark.parametrize("name", MEASURES)
def test_an_oracle_scores_perfectly_and_a_copy_scores_the_baseline(name: str) -> None:
    samples = questions(name)
    best = asked(name, batch_size=2).measure(oracle(samples))["tasks"][name]
    copy = asked(name, batch_size=2).measure(Fake())["tasks"][name]
    assert set(best) >= KEYS and set(copy) >= KEYS
    assert best["n"] == copy["n"] == len(samples)
    assert best["holds"]
    assert best["value"] == pytest.approx(best["ceiling"], abs=1e-3)
    if MEASURES[name].reads:
        assert best["value"] == pytest.approx(perfect(name), abs=NEARLY.get(name, 1e-3))
        return
    assert copy["value"] == pytest.approx(copy["baseline"], abs=1e-5)
    assert not copy["holds"] or name in FAIR_COPIES
    if name in ON_PHOTOGRAPHS:
        assert copy["baseline"] == 0
        assert best["value"] == pytest.approx(100 - best["input_psnr"], abs=0.01)
        assert best["target"] == pytest.approx(best["ceiling"] - 2)
    elif name not in JUDGED:
        assert best["value"] == pytest.approx(perfect(name), abs=NEARLY.get(name, 1e-3))


def test_copying_an_edit_leaves_all_of_the_l1() -> None:
    result = asked("edit_remove").measure(Fake())["tasks"]["edit_remove"]
    found = [result[key] for key in ("value", "baseline", "l1_share_inside", "l1_outside")]
    assert found == pytest.approx([1, 1, 1, 0], abs=1e-6)
    assert result["floor"] == 0.6 and not result["holds"]


def test_an_addition_counts_where_it_was_asked_for_and_nowhere_else() -> None:
    samples = SceneSet(40, 96, 0, "test").samples("edit_add")
    score = MEASURES["edit_add"].score
    assert score(samples, samples.truth).value > 0.8
    assert score(samples, samples.source).value == 0
    # The truth of another question, and the right thing on the wrong side.
    assert score(samples, samples.truth.roll(1, 0)).value < 0.1
    sided = (samples.label[:, 1] > 0.6) | (samples.label[:, 2] < 0.4)
    assert score(samples, samples.truth.flip(-1)).each[sided].mean() < 0.1


def test_the_ceiling_is_the_autoencoders_own_error() -> None:
    samples = questions("denoise")
    result = asked("denoise").measure(Fake(autoencoder=Quantised()))["tasks"]["denoise"]
    coded = ((samples.truth * 2 - 1) * 15.5).round() / 15.5 / 2 + 0.5
    assert result["ceiling_psnr"] == pytest.approx(float(psnr(coded, samples.truth).mean()), abs=1e-3)
    assert result["ceiling"] == pytest.approx(result["ceiling_psnr"] - result["input_psnr"], abs=1e-6)
    # Uniform rounding error of width 1/31 (pictures are bytes, so only about).
    assert result["ceiling_psnr"] == pytest.approx(10 * np.log10(12 * 31**2), abs=1.0)


def test_values_between_copy_and_oracle_are_those_of_numpy() -> None:
    samples = questions("denoise")
    half = (samples.source + samples.truth) / 2
    result = asked("denoise").measure(Fake(half))["tasks"]["denoise"]
    source, truth = samples.source.numpy().astype(np.float64), samples.truth.numpy().astype(np.float64)
    before = [-10 * np.log10(((s - t) ** 2).mean()) for s, t in zip(source, truth, strict=True)]
    after = [-10 * np.log10((((s - t) / 2) ** 2).mean()) for s, t in zip(source, truth, strict=True)]
    assert result["value"] == pytest.approx(np.mean(after) - np.mean(before), abs=1e-4)
    assert result["value"] == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert result["input_psnr"] == pytest.approx(np.mean(before), abs=1e-4)


@pytest.mark.parametrize(("name", "floor"), [("denoise", 8), ("normal", 9), ("edit_recolor", 0.6)])
def test_a_floor_is_reached_from_its_own_side(name: str, floor: float) -> None:
    measure = MEASURES[name]
    better, worse = (floor - 0.1, floor + 0.1) if measure.lower_is_better else (floor + 0.1, floor - 0.1)
    assert measure.holds(better) and measure.holds(floor)
    assert not measure.holds(worse) and not measure.holds(float("nan"))
    assert replace(measure, target=None).aim(20.0) == 18.0


def test_a_model_is_asked_with_each_tasks_defaults_and_with_the_options_given() -> None:
    fake = Fake()
    asked("depth", n=3, seen=2, batch_size=2).measure(fake)
    assert [len(sentences) for sentences, _ in fake.asked] == [2, 1, 2]
    assert fake.asked[0][1]["steps"] == TASKS["depth"].steps
    fake = Fake()
    asked("depth", n=2, steps=3, solver="heun", patch_grids=2).measure(fake)
    assert (fake.asked[0][1]["steps"], fake.asked[0][1]["solver"]) == (3, "heun")
    assert fake.asked[0][1]["patch_grids"] == 2


def test_the_real_pipeline_takes_what_the_fake_one_is_asked_with() -> None:
    fake = Fake()
    asked("depth", n=1).measure(fake)
    sentences, options = fake.asked[0]
    bound = inspect.signature(PixWizardPipeline.generate).bind(None, torch.zeros(1, 3, 64, 64), sentences, **options)
    assert set(options) == {"steps", "solver", "guidance", "patch_grids", "generator"} <= set(bound.arguments)


def test_noise_does_not_depend_on_the_batch_size() -> None:
    def noise(batch_size: int) -> list[Tensor]:
        fake = Fake()
        asked("normal", n=3, batch_size=batch_size).measure(fake)
        return [torch.randn(4, generator=g) for _, options in fake.asked for g in options["generator"]]

    one, three = noise(1), noise(3)
    assert len(one) == len(three) == 3 and all(map(torch.equal, one, three))
    assert not torch.equal(one[0], one[1])


def test_samples_depend_on_the_seed_alone() -> None:
    few, many = questions("low_light"), restoration_samples("low_light", bundled_photographs(64)[:6], seed=0)
    assert torch.equal(few.source, many.source[:3]) and few.instructions == many.instructions[:3]
    assert not torch.equal(questions("low_light", seed=1).source, few.source)
    scenes, more = SceneSet(2, 32, 5, "test"), SceneSet(3, 32, 5, "test")
    for task in ("depth", "edit_recolor", "referring_segmentation"):
        a, b = scenes.samples(task), more.samples(task)
        assert torch.allclose(a.truth, b.truth[:2], atol=1e-5) and a.instructions == b.instructions[:2]


def test_noise_and_holes_are_as_announced() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    noise = restoration_samples("denoise", grey, seed=0).source - grey
    # Clamping at 2.55 standard deviations takes 0.6 % off.
    assert float(noise.std()) == pytest.approx(50 / 255, rel=0.03)
    share = (restoration_samples("inpaint", torch.rand(8, 3, 64, 64) * 0.3 + 0.1, seed=0).source > 0.45).float()
    black = (restoration_samples("inpaint", torch.rand(8, 3, 64, 64) * 0.3 + 0.1, seed=0).source < 0.05).float()
    shares = (share + black).amax(1).mean((1, 2))
    assert float(shares.min()) >= 0.25 and float(shares.max()) <= 0.4


def test_scenes_hold_combinations_that_training_never_shows() -> None:
    def pairs(split: str) -> list[set[tuple[str, str]]]:
        scenes = SceneSet(6, 32, 0, split).scenes
        return [
            {(COLOR_NAMES[c], SHAPES[s]) for c, s, there in zip(*rows, strict=True) if there}
            for rows in zip(scenes.color.tolist(), scenes.shape.tolist(), scenes.present.tolist(), strict=True)
        ]

    assert all(found & HELD_OUT for found in pairs("test"))
    assert not any(found & HELD_OUT for found in pairs("train"))


def test_json_and_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(PixWizardPipeline, "from_pretrained", lambda *a, **k: Fake())
    out = tmp_path / "new" / "nano.json"
    settings = asked("inpaint", json=out, tasks=("inpaint", "segmentation"), n=2, seen=1)
    assert replace(settings, pictures=tmp_path / "sheets").run() == 0
    report = json.loads(out.read_text())
    assert list(report["tasks"]) == ["inpaint", "segmentation"]
    assert all(set(found) >= KEYS for found in report["tasks"].values())
    assert report["tasks"]["segmentation"]["seen_combinations"]["n"] == 1
    assert report["settings"]["photos"] == "scikit-image" and report["settings"]["n"] == 2
    printed = capsys.readouterr().out
    assert "segmentation" in printed and "NO" in printed
    sheet = Image.open(tmp_path / "sheets" / "inpaint.png")
    assert sheet.width == 3 * 64 + 16 and list(out.parent.iterdir()) == [out]


def test_a_figure_that_is_not_a_number_is_null_and_does_not_hold() -> None:
    samples = questions("normal")
    broken = torch.full_like(samples.source, torch.nan)
    result = asked("normal").measure(Fake(broken))["tasks"]["normal"]
    assert result["value"] is None or result["value"] > 9
    assert not result["holds"]
    json.dumps(result, allow_nan=False)


def test_photographs_of_a_folder_are_cut_from_the_centre(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.new("RGB", (10, 20), (255, 0, 0)).save(tmp_path / "b.png")
    found = folder_photographs(tmp_path, 32, 9)
    assert found.shape == (2, 3, 32, 32)
    assert np.array_equal((found[0] * 255).round().numpy(), pixels[4:36, 14:46].transpose(2, 0, 1))
    assert torch.allclose(found[1], torch.tensor([1.0, 0, 0])[:, None, None])
    assert len(folder_photographs(tmp_path, 32, 1)) == 1


def test_bundled_photographs_are_real_and_differ() -> None:
    found = bundled_photographs(256)
    assert found.shape == (19, 3, 256, 256)
    assert float(found.std((1, 2, 3)).min()) > 0.02
    assert float((found[:, None] - found[None]).abs().mean((2, 3, 4)).fill_diagonal_(1).min()) > 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": ("deblurr",)}, "eval measures .*found deblurr"),
        ({"n": 0}, "--n must be at least 1, found 0"),
        ({"language": 0}, "--language must be at least 1, found 0"),
        ({"worst": 0}, "--worst must be at least 1, found 0"),
        ({"steps": 1}, "--steps must be at least 2, found 1"),
        ({"patch_grids": 8}, "patch grids are 1, 2, 4, found 8"),
        ({"solver": "magic"}, "--solver must be one of euler, .*found magic"),
        ({"size": 100}, "--size must be a multiple of 16, found 100: take 96"),
        ({"scene_size": 8}, "--scene-size must be a multiple of 16"),
        ({"json": Path(".")}, "--json takes a file"),
    ],
)
def test_unusable_settings_are_refused_before_the_model_is_loaded(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(Eval("no such model"), **change).run()


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        folder_photographs(tmp_path / "missing", 32, 9)
    with pytest.raises(ValueError, match="found none"):
        folder_photographs(tmp_path, 32, 9)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        folder_photographs(tmp_path, 32, 9)
