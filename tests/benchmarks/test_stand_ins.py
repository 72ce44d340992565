"""Rendered sets in the layouts of real ones: the readers read them, and what is stored is what was rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from sets import answered, copied, judged, noise_of, questions, truth

from pixwizard.cli.main import main
from pixwizard.training.benchmarks.stand_ins import SETS, run_lengths
from pixwizard.training.evaluate.scene_samples import SceneSet


def test_three_sets_that_the_readers_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = tmp_path / "sets"
    assert main(["eval", "stand-ins", str(sets), "--n", "2", "--size", "64", "--seed", "3"]) == 0
    assert capsys.readouterr().out.split() == [
        word for name in SETS for word in f"pixwizard eval benchmark {name} --data {sets / name}".split()
    ]
    found = {}
    for name, figure in (("rain100l", "psnr_rgb"), ("nyuv2-depth", "rmse"), ("refcoco", "ciou")):
        asked = questions(name, sets / name, split="val" if name == "refcoco" else "")
        assert len(asked) == 2 and not any(question.fault for question in asked)
        right, noise = (
            judged(name, sets / name, answered(asked, tmp_path / f"{name} {kind}", how))["metrics"][figure]
            for kind, how in (("right", truth), ("noise", lambda q: noise_of(copied(q), 1)))
        )
        found[name] = (right, noise)
    told = judged("rain100l", sets / "rain100l", tmp_path / "rain100l right")
    assert told["settings"]["data"] == "a rendered stand-in, not the benchmark" and told["quoted"] == []
    assert "the data is a rendered stand-in" in capsys.readouterr().out
    assert found["rain100l"][0] == 100 > 20 > found["rain100l"][1]
    assert found["nyuv2-depth"][0] < 0.1 < 1 < found["nyuv2-depth"][1]
    assert found["refcoco"][0] > 95 > 50 > found["refcoco"][1]

    scenes = SceneSet(2, 64, 3, "test")
    (picture,) = [q for q in questions("rain100l", sets / "rain100l") if q.name.endswith("002")]
    assert np.array_equal(np.asarray(truth(picture)), (scenes.rendered.image[1] * 255).round().byte().movedim(0, -1))
    samples = scenes.samples("referring_segmentation")
    asked = questions("refcoco", sets / "refcoco", split="val")
    assert [q.words["caption"] for q in asked] == [words["caption"] for words in samples.words]

    assert main(["eval", "stand-ins", str(sets)]) == 2
    assert "found" in capsys.readouterr().err


def test_run_lengths_are_cocos() -> None:
    rng = np.random.default_rng(0)
    for mask in (rng.random((7, 5)) > 0.5, np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        runs = {"size": list(mask.shape), "counts": run_lengths(mask)}
        assert np.array_equal(coco_masks.decode(coco_masks.frPyObjects(runs, *mask.shape)), mask)
