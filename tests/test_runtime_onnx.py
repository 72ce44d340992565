"""The backend onnxruntime answers as the network does, from the right folder or not at all."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")

from pixwizard.bench.pictures import drawn_picture
from pixwizard.bench.reference import Inputs
from pixwizard.bench.speed import Speed, random_inputs, random_transformer
from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.evaluator import Eager
from pixwizard.comfyui_pixwizard.guidance import BRANCHES
from pixwizard.comfyui_pixwizard.pictures.images import to_tensor
from pixwizard.comfyui_pixwizard.scaling import Scaling
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.export.onnx_cpu import for_onnxruntime
from pixwizard.export.onnx_folder import export_onnx
from pixwizard.export.onnx_int8 import quantise
from pixwizard.export.onnx_model import export_velocity
from pixwizard.runtime.evaluators import choose
from pixwizard.runtime.exactness import velocity_error
from pixwizard.runtime.onnx_evaluator import PROVIDERS, OnnxRuntime, OnnxStep, open_session
from pixwizard.training.evaluate.metrics import psnr

CONFIG = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2, "dim": 64})
TIMES = [0.0, 0.25, 0.5, 0.75]


@pytest.fixture(scope="module")
def model() -> PixWizardTransformer:
    return random_transformer(CONFIG)


@pytest.fixture(scope="module")
def folder(model: PixWizardTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported: do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "small"
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="module")
def evaluator(folder: Path) -> OnnxRuntime:
    return OnnxRuntime(folder)


def both(
    model: PixWizardTransformer, evaluator: OnnxRuntime, inputs: dict[str, Inputs], x: Tensor, t: float,
    names: tuple[str, ...],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    branches = {name: inputs[name].branch(model) for name in names}
    return Eager().start(model, branches, TIMES)(x, t, names), evaluator.start(model, branches, TIMES)(x, t, names)


def test_positions_and_attention_are_scaled_as_in_eager(model: PixWizardTransformer, evaluator: OnnxRuntime) -> None:
    inputs, x = random_inputs(CONFIG, 8, 2, torch.device("cpu"))
    branches = {"full": inputs["full"].branch(model)}
    with torch.inference_mode():
        kinds = Eager(), evaluator
        eager, engine = (kind.start(model, branches, TIMES, Scaling(2.0, 0.3, 4)) for kind in kinds)
        # Either side of the watershed, and back.
        for t in (0.1, 0.7, 0.1):
            found, wanted = (step(x, t, ("full",))["full"] for step in (engine, eager))
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("names", [("full",), ("none",), ("full", "image"), BRANCHES, ("none", "full")])
@pytest.mark.parametrize(("side", "batch", "t"), [(8, 2, 0.25), (12, 1, 0.3), (4, 3, 0.0)])
def test_any_branches_at_any_size_and_time_equal_eager(
    model: PixWizardTransformer, evaluator: OnnxRuntime, names: tuple[str, ...], side: int, batch: int, t: float
) -> None:
    inputs, x = random_inputs(CONFIG, side, batch, torch.device("cpu"))
    with torch.inference_mode():
        expected, found = both(model, evaluator, inputs, x, t, names)
    assert list(found) == list(names)
    for name in names:
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], expected[name], atol=2e-5, rtol=2e-5)


def test_earlier_velocities_stay_what_they_were(model: PixWizardTransformer, evaluator: OnnxRuntime) -> None:
    inputs, x = random_inputs(CONFIG, 8, 1, torch.device("cpu"))
    with torch.inference_mode():
        step = evaluator.start(model, {"full": inputs["full"].branch(model)}, TIMES)
        first = step(x, 0.0, ("full",))["full"]
        before = first.clone()
        second = step(x * 2, 0.5, ("full",))["full"]
    assert torch.equal(first, before) and not torch.equal(first, second)


def test_constants_are_bound_once_for_each_set_of_branches(
    model: PixWizardTransformer, evaluator: OnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, x = random_inputs(CONFIG, 8, 1, torch.device("cpu"))
    with torch.inference_mode():
        step = evaluator.start(model, {name: inputs[name].branch(model) for name in BRANCHES}, TIMES)
        assert isinstance(step, OnnxStep)
        for t in TIMES:
            step(x, t, BRANCHES)
            step(x, t, ("full",))
    assert set(step.bound) == {tuple(BRANCHES), ("full",)}


def test_branches_go_one_by_one_where_many_tokens_are_together(
    model: PixWizardTransformer, evaluator: OnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixwizard.comfyui_pixwizard.evaluator.CPU_TOKENS", 16)
    inputs, x = random_inputs(CONFIG, 8, 1, torch.device("cpu"))
    with torch.inference_mode():
        expected, found = both(model, evaluator, inputs, x, 0.25, BRANCHES)
    for name in BRANCHES:
        torch.testing.assert_close(found[name], expected[name], atol=2e-5, rtol=2e-5)


def test_another_model_is_refused_and_both_are_named(
    model: PixWizardTransformer, folder: Path, evaluator: OnnxRuntime
) -> None:
    inputs, _ = random_inputs(CONFIG, 8, 1, torch.device("cpu"))
    other = random_transformer(CONFIG, seed=1)
    branches = {"full": inputs["full"].branch(model)}
    with pytest.raises(ValueError, match=r"from other weights \([0-9a-f]{12} there, [0-9a-f]{12} here"):
        evaluator.start(other, branches, TIMES)
    wider = random_transformer(PixWizardConfig.from_dict(CONFIG.to_dict() | {"norm_eps": 1e-6}))
    with pytest.raises(ValueError, match=r"another configuration \(norm_eps 1e-05 there and 1e-06 here"):
        evaluator.start(wider, branches, TIMES)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        assert evaluator.start(changed, branches, TIMES)
        changed.blocks[0].attention.wq.weight[0, 0] += 1
    with pytest.raises(ValueError, match="other weights"):
        evaluator.start(changed, branches, TIMES)


@pytest.mark.parametrize("name", ["velocity.onnx", "velocity.onnx.data", "export.json"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_damaged_files_are_refused_in_one_line(folder: Path, tmp_path: Path, name: str, how: str) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    content = bytearray((copied / name).read_bytes())
    if how == "missing":
        (copied / name).unlink()
    else:
        if how == "truncated":
            content = content[: len(content) // 2]
        else:
            content[len(content) // 2] ^= 0x80
        (copied / name).write_bytes(content)
    wanted = {
        "truncated": r"should have [\d,]+ bytes, found|cannot be read",
        "flipped": r"SHA-256 differs|cannot be read",
        "missing": r"should have [\d,]+ bytes, found 0|found none at",
    }
    with pytest.raises(ValueError, match=wanted[how]) as caught:
        OnnxRuntime(copied)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_graph_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "velocity.onnx").write_bytes(b"\x08\x0a" + b"\xff" * 64)
    with pytest.raises(ValueError, match=r"velocity\.onnx was refused: .*; export the model again$") as caught:
        open_session(tmp_path / "velocity.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", [name for name, item in PROVIDERS.items() if item.on_gpu])
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_provider_that_is_not_there_is_an_error_and_not_another_one(folder: Path, provider: str) -> None:
    with pytest.raises(ValueError, match=rf"the provider {provider} (needs|is not installed).*") as caught:
        OnnxRuntime(folder, provider)
    assert "pip install" in str(caught.value) or "needs an NVIDIA GPU" in str(caught.value)


def test_what_ran_is_told(folder: Path, evaluator: OnnxRuntime) -> None:
    assert evaluator.reason == f"{folder} (float32) in ONNX Runtime on CPUExecutionProvider"
    with pytest.raises(ValueError, match="the providers are cpu, cuda"):
        OnnxRuntime(folder, "npu")


def test_a_missing_package_is_named_with_what_brings_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"needs onnxruntime, .*: .*python\S* -m pip install onnxruntime$"):
        OnnxRuntime(folder)


@pytest.mark.parametrize(
    ("name", "engine", "message"),
    [
        ("onnxruntime", None, "runs an exported folder, found none"),
        ("eager", ".", "--engine goes with --backend onnxruntime"),
        ("onnxruntime", ".", r"holds export\.json, found none"),
        ("tensorrt", None, "pixwizard export tensorrt MODEL DIR makes one"),
        ("tensorrt", ".", r"runs an engine of a folder, found none in \.: pixwizard export tensorrt MODEL DIR"),
        ("magic", None, "the backends are eager, bfloat16"),
    ],
)
def test_backends_and_folders_go_together(
    name: str, engine: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        choose(name, engine)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with its first two blocks only, which is exported in a third of the time."""
    pipeline = PixWizardPipeline.from_pretrained("nano")
    config = replace(pipeline.transformer.config, n_layers=2)
    network = PixWizardTransformer(config)
    names = network.state_dict()
    network.load_state_dict({k: v for k, v in pipeline.transformer.state_dict().items() if k in names})
    folder = tmp_path_factory.mktemp("short") / "model"
    PixWizardPipeline(**pipeline.parts | {"transformer": network}, declared=pipeline.declared).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def short_engine(short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model, exported through the command line."""
    folder = tmp_path_factory.mktemp("exported") / "short"
    assert main(["export", "onnx", str(short), str(folder)]) == 0
    return folder


def pixels(path: Path) -> Tensor:
    return to_tensor(Image.open(path).convert("RGB")) / 2 + 0.5


def test_the_command_line_draws_the_same_pictures_at_three_sizes(
    short: Path, short_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ((drawn_picture(192, 1)[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy()
    source = tmp_path / "in.png"
    Image.fromarray(drawn).save(source)
    for size in ("64x64", "128x96", "256x192"):
        options = [
            "-i",
            "Remove the noise",
            "--task",
            "denoise",
            "--steps",
            "4",
            "--size",
            size,
            "--text-guidance",
            "3",
            "--model",
            str(short),
        ]
        answers = [tmp_path / f"{size}-{name}.png" for name in ("eager", "onnxruntime")]
        assert main(["run", str(source), "-o", str(answers[0]), *options]) == 0
        engine = ["--backend", "onnxruntime", "--engine", str(short_engine)]
        assert main(["run", str(source), "-o", str(answers[1]), *options, *engine]) == 0
        assert "in ONNX Runtime on CPUExecutionProvider" in capsys.readouterr().out
        assert psnr(pixels(answers[1]), pixels(answers[0])).item() >= 45, size
        assert main(["run", str(source), "-o", str(answers[1]), *options, *engine]) == 0
        assert "kept" in capsys.readouterr().out
    assert main(["run", str(source), "-o", str(answers[0]), *options, *engine]) == 0
    assert "kept" not in capsys.readouterr().out, "another backend's answer is not this one's"


class Int8:
    """The bundled model's step in int8, without the rest of an export."""

    name = reason = "int8"

    def __init__(self, transformer: PixWizardTransformer, folder: Path) -> None:
        quantise(export_velocity(transformer, folder, adapt=for_onnxruntime), folder / "int8.onnx")
        self.session = open_session(folder / "int8.onnx")

    def start(self, transformer: PixWizardTransformer, branches: Any, times: Any, scaling: Any = None) -> OnnxStep:
        return OnnxStep(self.session, torch.device("cpu"), transformer, branches, times)


def test_int8_of_the_bundled_model_is_near_eager_in_velocity_and_picture(tmp_path: Path) -> None:
    pipeline = PixWizardPipeline.from_pretrained("nano")
    source = drawn_picture(128, 2)
    words = ["Remove the noise from this picture", "Estimate the depth of every pixel"]
    answers = {}
    for name, evaluator in {"eager": Eager(), "int8": Int8(pipeline.transformer, tmp_path)}.items():
        pipeline.evaluator = evaluator
        answers[name] = pipeline.generate(source, words, steps=5, guidance=(3.0, 1.0), seeds=[0, 1])
    found = float(psnr(*(answers[name] / 2 + 0.5 for name in ("int8", "eager"))).mean())
    assert 30 <= found < 90, "below is too coarse; as good as equal would not be int8"
    assert velocity_error(answers["int8"], answers["eager"]) < 0.1


def test_bench_exports_times_and_compares(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = dict(preset="nano", layers=1, size=64, steps=3, rounds=1, evaluators=("eager", "onnxruntime"))
    assert Speed(**asked, json=tmp_path / "speed.json").run() == 0  # type: ignore[arg-type]
    row = json.loads((tmp_path / "speed.json").read_text())["onnxruntime"]
    assert row["error"] < 1e-5 and row["to_eager"] > 0 and "psnr" not in row
    assert "onnxruntime" in capsys.readouterr().out
