"""Control, painting and text to image: layouts, and figures against the libraries asked directly."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from sets import answered, copied, judged, noise_of, noisy, picture, questions, save, truth
from stand_ins import clip, depth_estimator, inception, lpips_backbone
from test_editing import cell

from pixwizard.training.benchmarks import generation_judge
from pixwizard.training.benchmarks.generation_measures import Answered, Distributions, frechet
from pixwizard.training.benchmarks.judge import Shown
from pixwizard.training.benchmarks.libraries import library
from pixwizard.training.benchmarks.networks import ClipNetwork, InceptionNetwork
from pixwizard.training.benchmarks.question import Question


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    weights, architecture = clip(folder)
    return {
        "clip": weights, "clip-model": architecture, "inception": inception(folder),
        "lpips": lpips_backbone(folder), "depth-model": depth_estimator(folder),
    }  # fmt: skip


def chosen(files: dict[str, Path], *names: str) -> list[str]:
    return [word for name in names for word in (f"--{name}", str(files[name]))]


def shapes(seed: int, size: tuple[int, int] = (512, 512)) -> Image.Image:
    """A few clear rectangles: there are edges to find."""
    rng = np.random.default_rng(seed)
    pixels = np.full((*size[::-1], 3), 90, np.uint8)
    for _ in range(5):
        x, y = (int(rng.integers(0, side * 2 // 3)) for side in size)
        w, h = (int(rng.integers(side // 8, side // 3)) for side in size)
        pixels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def multigen(root: Path, depth: bool = False) -> Path:
    (root / "data").mkdir(parents=True)
    rows = [{"image": cell(shapes(i)), "text": f"picture {i}"} for i in range(2)]
    for i, row in enumerate(rows if depth else ()):
        row["control_depth"] = cell(picture(40 + i, (512, 512)).convert("L"))
    pq.write_table(pa.Table.from_pylist(rows), root / "data" / "validation-00000-of-00001.parquet")
    return root


def test_canny_f1_equals_opencv_and_scikit_images_definition(tmp_path: Path, files: dict[str, Path]) -> None:
    multigen(tmp_path / "data")
    asked = questions("canny-to-image", tmp_path / "data", split="validation")
    assert [q.words["caption"] for q in asked] == ["picture 0", "picture 1"]
    edges = cv2.Canny(np.asarray(shapes(0)), 100, 200)
    assert np.array_equal(np.asarray(copied(asked[0]))[..., 0], edges)
    spoiled = answered(asked, tmp_path / "spoiled", lambda q: noisy(truth(q), 1, 40))
    found = judged("canny-to-image", tmp_path / "data", spoiled, *chosen(files, "clip", "clip-model"))
    each = []
    for i, question in enumerate(asked):
        given = cv2.Canny(np.asarray(shapes(i)), 100, 200) > 0
        again = cv2.Canny(np.asarray(noisy(truth(question), 1, 40)), 100, 200) > 0
        both = (given & again).sum()
        each.append(200 * both / (given.sum() + again.sum()))
    assert found["metrics"]["f1"] / 100 == pytest.approx(np.mean(each) / 100, abs=1e-6)
    network = ClipNetwork(files["clip"], str(files["clip-model"]))
    scores = [
        100 * max(float(network.pictures([noisy(truth(q), 1, 40)])[0] @ network.sentences([q.words["caption"]])[0]), 0)
        for q in asked
    ]
    assert found["metrics"]["clip_score"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert found["metrics"]["fid"].startswith("not measured: needs FILE (--inception")
    kinds = {"truth": truth, "copy": copied, "noise": lambda q: noise_of(truth(q), 1)}
    f1 = {
        kind: judged("canny-to-image", tmp_path / "data", answered(asked, tmp_path / kind, how))["metrics"]["f1"]
        for kind, how in kinds.items()
    }
    assert f1["truth"] == 100 > found["metrics"]["f1"] > f1["noise"] and f1["copy"] < 60


def test_depth_is_estimated_again(tmp_path: Path, files: dict[str, Path]) -> None:
    multigen(tmp_path / "data", depth=True)
    asked = questions("depth-to-image", tmp_path / "data", split="validation")
    folder = answered(asked, tmp_path / "answers", truth)
    found = judged("depth-to-image", tmp_path / "data", folder, *chosen(files, "depth-model"))["metrics"]
    from pixwizard.training.data.build.annotate_networks import Depth

    estimator, each = Depth(str(files["depth-model"])), []
    for question in asked:
        inputs = estimator.processor(images=truth(question), return_tensors="pt")
        with torch.no_grad():
            depth = estimator.model(**inputs).predicted_depth[0]
        coded = Image.fromarray((depth / depth.max() * 255).clamp(0, 255).byte().numpy())
        estimate = np.asarray(coded.resize((512, 512), Image.Resampling.BILINEAR)).astype(float)
        given = np.asarray(copied(question).convert("L")).astype(float)
        given = ((given - given.min()) / (given.max() - given.min()) * 255).astype(np.uint8).astype(float)
        each.append(np.sqrt(((estimate - given) ** 2).mean()))
    assert found["rmse"] == pytest.approx(np.mean(each), abs=1e-6)
    without = judged("depth-to-image", tmp_path / "data", folder)["metrics"]["rmse"]
    assert without.startswith("not measured: needs FILE (--depth-model")


def features(seed: int, n: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(16, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.randn(n, 16, generator=generator, dtype=torch.float64) @ mixing + shift


def test_fid_equals_the_formula() -> None:
    a, b = features(0, 90), features(1, 70, 0.7)
    (m, s), (n, t) = ((x.mean(0).numpy(), np.cov(x.numpy(), rowvar=False)) for x in (a, b))
    wanted = ((m - n) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet(a, b) == pytest.approx(wanted, abs=1e-6)
    shifts = [frechet(a, features(0, 90, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert shifts == sorted(shifts) and shifts[0] == pytest.approx(0, abs=1e-6)


def test_fid_of_pictures_grows_with_noise(files: dict[str, Path]) -> None:
    """Over the first features of the Inception, of which there are few enough for small sets."""
    pictures = [picture(i, (32, 32)) for i in range(10)]
    network = InceptionNetwork(files["inception"], ("64",))
    found = []
    for sigma in (0, 15, 60):
        measure = Distributions(network)
        for i, clean in enumerate(pictures):
            question = Question(f"{i}", None)
            measure.add(Answered(question, Shown(None), noisy(clean, i, sigma) if sigma else clean, clean))
        found.append(measure.result()["fid"])
    assert found == sorted(found) and found[0] == pytest.approx(0, abs=1e-6) and found[1] > 1e-6
    module = library("torch_fidelity.metric_fid", "a test", "torch-fidelity")
    stacked = [torch.stack([torch.from_numpy(np.array(p)).movedim(-1, 0) for p in pictures])]
    stacked.append(
        torch.stack([torch.from_numpy(np.array(noisy(p, i, 60))).movedim(-1, 0) for i, p in enumerate(pictures)])
    )
    both = [module.fid_features_to_statistics(network.model(pixels)[0].double()) for pixels in stacked]
    theirs = module.fid_statistics_to_metric(*both, False)["frechet_inception_distance"]
    assert found[2] == pytest.approx(theirs, abs=1e-6)


def test_places_lose_what_they_should(tmp_path: Path, files: dict[str, Path]) -> None:
    for i, size in enumerate(((600, 520), (300, 200))):
        save(shapes(i, size), tmp_path / "data" / "val_large" / f"Places365_val_0000000{i}.jpg")
    asked = questions("inpaint-places", tmp_path / "data")
    for question in asked:
        shown, whole = np.asarray(copied(question)), np.asarray(truth(question))
        assert shown.shape == whole.shape == (512, 512, 3)
        assert 0.39 < (shown != whole).any(-1).mean() <= 0.5
        assert np.array_equal(shown, np.asarray(copied(question))), "the holes belong to the name"
    right = questions("outpaint-places", tmp_path / "data")
    shown, whole = np.asarray(copied(right[0])), np.asarray(truth(right[0]))
    assert np.array_equal(shown[:, :256], whole[:, :256]) and not shown[:, 256:].any()

    options = [*chosen(files, "lpips"), "--lpips-net", "alex"]
    kinds = {"truth": truth, "half": lambda q: Image.blend(truth(q), copied(q), 0.3), "copy": copied}
    kinds["noise"] = lambda q: noise_of(truth(q), 3)
    lpips = {
        kind: judged("inpaint-places", tmp_path / "data", answered(asked, tmp_path / kind, how), *options)["metrics"]
        for kind, how in kinds.items()
    }
    values = [lpips[kind]["lpips"] for kind in kinds]
    assert values == sorted(values) and values[0] == 0
    assert lpips["truth"]["fid"].startswith("not measured: needs FILE (--inception")
    network = library("lpips", "a test", "lpips").LPIPS(net="alex", pnet_rand=True, verbose=False)
    stored = torch.load(files["lpips"], weights_only=True)
    for name, parameter in network.net.named_parameters():
        parameter.data.copy_(stored["features." + name.partition(".")[2]])
    each = []
    for question in asked:
        pixels = [torch.from_numpy(np.array(one)) for one in (copied(question), truth(question))]
        with torch.no_grad():
            each.append(float(network(*(one.movedim(-1, 0)[None].float() / 127.5 - 1 for one in pixels))))
    assert lpips["copy"]["lpips"] == pytest.approx(np.mean(each), abs=1e-6)


def coco(root: Path) -> Path:
    images = [{"id": i, "file_name": f"COCO_val2014_00000000000{i}.jpg"} for i in range(3)]
    captions = [{"id": 10 * i + j, "image_id": i, "caption": f"thing {i} {j} "} for i in range(3) for j in range(2)]
    (root / "annotations").mkdir(parents=True)
    told = {"images": images, "annotations": captions}
    (root / "annotations" / "captions_val2014.json").write_text(json.dumps(told))
    for one in images:
        save(shapes(one["id"], (320, 260)), root / "val2014" / one["file_name"])
    return root


def test_text_to_image(tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """FID and CLIP score at once, FID over fewer features, whose matrices are smaller."""
    monkeypatch.setattr(generation_judge, "FEATURES", "192")
    coco(tmp_path / "data")
    asked = questions("coco-30k", tmp_path / "data")
    assert len(asked) == 6 and asked != sorted(asked, key=lambda q: q.name), "captions come in a drawn order"
    assert asked[0].sentence().endswith(asked[0].words["caption"] + ".")
    folder = answered(asked, tmp_path / "answers", lambda q: Image.open(q.truth["reference"].path))
    found = judged("coco-30k", tmp_path / "data", folder, *chosen(files, "inception", "clip", "clip-model"))
    told = found["settings"]
    assert told["fid_references"] == "3" and "256x256" in told["inception_input"] and "sha256" in told["inception"]
    assert 0 <= found["metrics"]["clip_score"] <= 100
    # Three pictures, twice each, against the same three: equal means, and covariances S * 2 (3 - 1) / (6 - 1) and S.
    files_of = sorted((tmp_path / "data" / "val2014").iterdir())
    cuts = [Image.open(path).convert("RGB").crop((30, 0, 290, 260)) for path in files_of]
    squares = [cut.resize((256, 256), Image.Resampling.BICUBIC) for cut in cuts]
    features = InceptionNetwork(files["inception"], ("192",)).pictures(squares)[0].double()
    trace = float(features.var(0).sum())
    # The roots of 190 eigenvalues that should be 0 leave an error.
    assert found["metrics"]["fid"] == pytest.approx(trace * (0.8 + 1 - 2 * 0.8**0.5), rel=1e-2)


def test_inception_score_equals_torch_fidelitys(tmp_path: Path, files: dict[str, Path]) -> None:
    pictures = [shapes(i, (64, 64)) for i in range(3)]
    network = InceptionNetwork(files["inception"], ("2048", "logits_unbiased"))
    measure = Distributions(network, fid=False, score=True)
    for i, one in enumerate(pictures):
        measure.add(Answered(Question(f"{i}", None), Shown(None), one, None))
    logits = network.pictures(pictures)[1].double()
    order = np.random.RandomState(2020).permutation(3)
    scores = []
    for i in order:
        p = logits[i].softmax(0)
        scores.append(float((p * (p.log() - p.log())).sum().exp()))
    assert measure.result()["inception_score"] == pytest.approx(np.mean(scores), abs=1e-6)


def test_preference_of_prompts(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "benchmark").mkdir()
    prompts = [f"a photo of thing {i}" for i in range(4)]
    (tmp_path / "benchmark" / "photo.json").write_text(json.dumps(prompts))
    asked = questions("hpsv2", tmp_path, split="photo")
    assert [q.name for q in asked] == ["00000", "00001", "00002", "00003"]
    folder = answered(asked, tmp_path / "answers", lambda q: picture(int(q.name)))
    options = ["--hps", str(files["clip"]), "--hps-model", str(files["clip-model"])]
    found = judged("hpsv2", tmp_path, folder, *options)["metrics"]
    network = ClipNetwork(files["clip"], str(files["clip-model"]))
    values = [100 * float(network.pictures([picture(i)])[0] @ network.sentences([prompts[i]])[0]) for i in range(4)]
    assert found["hps_v2"] == pytest.approx(np.mean(values), abs=1e-6)
    assert found["hps_v2_std"] == pytest.approx(np.std(values), abs=1e-6)
    assert judged("hpsv2", tmp_path, folder)["metrics"]["hps_v2"].startswith("not measured: needs FILE (--hps")
