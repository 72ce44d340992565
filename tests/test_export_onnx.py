"""Exported graphs compute what the network does, at every shape, and say what they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")

import onnx

from pixwizard.bench.speed import random_transformer
from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.attention import attend
from pixwizard.comfyui_pixwizard.config import PRESETS, PixWizardConfig
from pixwizard.comfyui_pixwizard.cpu.linear import through_onednn
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.export import onnx_check, onnx_folder
from pixwizard.export.onnx_check import compare, difference
from pixwizard.export.onnx_check import run as run_session
from pixwizard.export.onnx_folder import export_onnx
from pixwizard.export.onnx_graph import (
    CONDITION_OUTPUTS,
    VelocityGraph,
    attend_plainly,
    conditions_example,
    exportable,
)
from pixwizard.export.onnx_int8 import LARGEST, quantise_weight
from pixwizard.export.onnx_model import OPSET
from pixwizard.runtime.exported import FILES, Manifest
from pixwizard.runtime.graph_inputs import velocity_example
from pixwizard.runtime.identity import GRAPH_VERSION, weights_hash
from pixwizard.runtime.onnx_evaluator import open_session

CONFIG = PixWizardConfig(
    in_channels=4, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, qk_norm=True, cap_feat_dim=24,
    cap_clip_feat_dim=16, clip_image_dim=20, sample_tokens=6, scale_factor=1.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> PixWizardTransformer:
    """As a pipeline has it, linear layers through oneDNN."""
    return through_onednn(random_transformer(CONFIG))


@pytest.fixture(scope="module")
def folder(model: PixWizardTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported: do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="module")
def int8_folder(model: PixWizardTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported in int8: do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "tiny-int8"
    export_onnx(model, folder, "int8")
    return folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Any:
    return open_session(folder / "velocity.onnx")


def initialisers(path: Path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 3), rows=st.integers(1, 9), columns=st.integers(1, 9), text=st.integers(1, 12))
def test_one_file_serves_every_size_batch_and_text(
    model: PixWizardTransformer, session: Any, batch: int, rows: int, columns: int, text: int
) -> None:
    example = velocity_example(CONFIG, batch, 2 * rows, 2 * columns, text)
    with torch.inference_mode():
        expected = VelocityGraph(model)(**example)
    torch.testing.assert_close(run_session(session, example)["velocity"], expected, atol=2e-5, rtol=2e-5)


def network_inputs(model: PixWizardTransformer, base: int | None) -> tuple[Tensor, dict[str, Tensor]]:
    """The network's own answer to a batch with and without a picture, and the same as inputs of the graph."""
    given = conditions_example(CONFIG, 2, 5, 9)
    latents = velocity_example(CONFIG, 2, 8, 12, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    with torch.inference_mode():
        conditions = model.encode_conditions(given["text_features"], mask, given["task_vector"], given["image_tokens"])
        x, t, source = (latents[name] for name in ("x", "t", "source"))
        expected = model.velocity(x, t, source, conditions, base_seqlen=base)
        cos, sin = model.rope((8, 12), torch.device("cpu"))
    scale = 1.0 if base is None else float(np.sqrt(np.log(24) / np.log(base)))
    assert isinstance(expected, Tensor)
    return expected, dict(
        x=x, t=t, source=source, cos=cos, sin=sin, attention_scale=torch.tensor([scale]), vector=conditions.vector,
        text_keys=conditions.text_keys, text_values=conditions.text_values, text_mask=mask,
        image_keys=conditions.image_keys, image_values=conditions.image_values,
    )  # fmt: skip


@pytest.mark.parametrize("base", [None, 16])
def test_the_graph_answers_as_the_network_with_its_own_conditions(
    model: PixWizardTransformer, session: Any, base: int | None
) -> None:
    expected, inputs = network_inputs(model, base)
    found = run_session(session, inputs)["velocity"]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("changed", ["attention_scale", "text_mask", "image_values", "vector", "source"])
def test_every_input_is_heard(model: PixWizardTransformer, session: Any, changed: str) -> None:
    expected, inputs = network_inputs(model, None)
    inputs[changed] = torch.ones_like(inputs[changed]) if changed == "text_mask" else inputs[changed] * 2
    assert float((run_session(session, inputs)["velocity"] - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("tokens", [6, 9, 30])
def test_conditions_and_chosen_tokens_are_the_network_s(model: PixWizardTransformer, folder: Path, tokens: int) -> None:
    example = conditions_example(CONFIG, 3, 4, tokens)
    with torch.inference_mode():
        expected = model.encode_conditions(
            example["text_features"], torch.ones(3, 4), example["task_vector"], example["image_tokens"]
        )
    found = run_session(open_session(folder / "conditions.onnx"), example)
    assert bool(expected.is_null[-1]) and not bool(expected.is_null[0])
    for name in CONDITION_OUTPUTS:
        torch.testing.assert_close(found[name], getattr(expected, name), atol=2e-5, rtol=2e-5)


def test_every_parameter_is_an_initialiser_of_its_own_name_and_shape(model: PixWizardTransformer, folder: Path) -> None:
    found = initialisers(folder / "conditions.onnx") | initialisers(folder / "velocity.onnx")
    state = {name: value for name, value in model.state_dict().items() if name != "pad_token"}  # of ragged batches
    assert not set(state) - set(found)
    for name, value in state.items():
        assert np.array_equal(found[name], value.numpy()), name


def test_files_say_what_they_are(model: PixWizardTransformer, folder: Path) -> None:
    for name in ("velocity.onnx", "conditions.onnx"):
        file = onnx.load(folder / name, load_external_data=False)
        said = {item.key: item.value for item in file.metadata_props}
        assert PixWizardConfig.from_dict(json.loads(said["pixwizard.config"])) == CONFIG
        assert said["pixwizard.weights"] == weights_hash(model) and said["pixwizard.opset"] == str(OPSET)
        assert said["pixwizard.graph"] == str(GRAPH_VERSION) and said["pixwizard.version"]
        assert {item.domain: item.version for item in file.opset_import} == {"": OPSET}
    manifest = Manifest.read(folder)
    manifest.check_files(folder)
    assert set(manifest.files) | {"export.json"} == {path.name for path in folder.iterdir()} == set(FILES)


def test_files_hold_no_paths_of_the_machine(folder: Path) -> None:
    for path in (*folder.glob("*.onnx"), folder / "export.json"):
        content = path.read_bytes()
        for word in (str(Path(onnx.__file__).parents[2]), str(Path(onnx_folder.__file__).parents[1]), 'File "'):
            assert word.encode() not in content, path


def test_the_weights_hash_sees_every_value_and_no_storage_type(model: PixWizardTransformer) -> None:
    from copy import deepcopy

    half = deepcopy(model).half()
    assert weights_hash(half) == weights_hash(deepcopy(half).float()) != weights_hash(model)
    other = deepcopy(model)
    with torch.no_grad():
        other.blocks[1].attention.wk.weight[3, 5] += 1e-6
    assert weights_hash(other) != weights_hash(model) == weights_hash(deepcopy(model))


def test_int8_keeps_attention_ranker_and_ends_and_stays_near(model: PixWizardTransformer, int8_folder: Path) -> None:
    graph = onnx.load(int8_folder / "velocity.onnx").graph
    whole = {node.input[1].removesuffix("_int8") for node in graph.node if node.op_type == "MatMulInteger"}
    names = ("attention.wq", "attention.wk", "attention.wv", "attention.wo", *(f"feed_forward.w{i}" for i in (1, 2, 3)))
    assert whole == {f"layers.{i}.{name}.weight" for i in range(2) for name in names}
    assert {"x_embedder.weight", "final_layer.linear.weight"} <= set(initialisers(int8_folder / "velocity.onnx"))
    ranker = onnx.load(int8_folder / "conditions.onnx").graph
    assert not [node for node in ranker.node if "Integer" in node.op_type]
    differences = list(compare(model, int8_folder, "int8"))
    assert 1e-4 < max(item.relative for item in differences) < 0.1


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 12), columns=st.integers(1, 9), seed=st.integers(0, 99), size=st.sampled_from([1e-9, 1, 1e6])
)
def test_quantised_weights_are_half_a_step_away_at_most(rows: int, columns: int, seed: int, size: float) -> None:
    weight = (np.random.default_rng(seed).standard_normal((rows, columns)) * size).astype(np.float32)
    weight[:, 0] = 0
    values, scale = quantise_weight(weight)
    assert values.dtype == np.int8 and abs(values).max() <= LARGEST
    assert (abs(values * scale - weight) <= scale * 0.5001).all() and not values[:, 0].any()


def test_differences_are_judged() -> None:
    one = torch.ones(4)
    assert difference("x", one, one, "float32").allowed
    assert not difference("x", one + 2e-4, one, "float32").allowed
    assert difference("x", one * 1000 + 2e-4, one * 1000, "float32").allowed
    assert not difference("x", one * float("nan"), one, "float32").allowed
    assert difference("x", one * 1.1, one, "int8").allowed and not difference("x", one * 1.2, one, "int8").allowed


def same_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fake_graph(transformer: PixWizardTransformer, folder: Path, *_: Any, **__: Any) -> Path:
    """A stand-in for an export: a file that is no graph."""
    (folder / "velocity.onnx").write_bytes(b"a stand-in")
    return folder


def failing(stage_error: BaseException) -> Callable[[str], None]:
    def tell(stage: str) -> None:
        if stage.startswith("comparing"):
            raise stage_error

    return tell


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("x")])
def test_nothing_is_left_of_an_export_that_fails(
    model: PixWizardTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(onnx_folder, "export_velocity", fake_graph)
    monkeypatch.setattr(onnx_folder, "export_conditions", fake_graph)
    earlier = tmp_path / "out"
    earlier.mkdir()
    (earlier / "velocity.onnx").write_bytes(b"earlier")
    before = same_bytes(earlier)
    for target in (earlier, tmp_path / "new"):
        with pytest.raises(type(error)):
            export_onnx(model, target, tell=failing(error))
    assert same_bytes(earlier) == before and list(tmp_path.iterdir()) == [earlier]


def test_a_graph_that_differs_is_an_error_and_nothing_is_left(
    model: PixWizardTransformer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(name: str) -> Callable[..., Path]:
        def copy(transformer: PixWizardTransformer, target: Path, *_: Any, **__: Any) -> Path:
            for end in ("", ".data"):
                (target / (name + end)).write_bytes((folder / (name + end)).read_bytes())
            return target / name

        return copy

    monkeypatch.setattr(onnx_folder, "export_velocity", copied("velocity.onnx"))
    monkeypatch.setattr(onnx_folder, "export_conditions", copied("conditions.onnx"))
    other = random_transformer(CONFIG, seed=1)
    with pytest.raises(ValueError, match=r"must compute what the network does, found velocity of 1 x 4x4 tokens"):
        export_onnx(other, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    export_onnx(model, tmp_path / "out")
    assert (tmp_path / "out" / "export.json").is_file()


def test_the_network_stays_as_it_is() -> None:
    half = random_transformer(CONFIG).bfloat16()
    before = {name: value.clone() for name, value in half.state_dict().items()}
    copied = exportable(half, torch.float32)
    assert {parameter.dtype for parameter in copied.parameters()} == {torch.float32}
    assert copied.blocks[0].attention.attend is attend_plainly
    assert half.blocks[0].attention.attend is attend
    assert all(torch.equal(value, before[name]) for name, value in half.state_dict().items())
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    shared = exportable(copied, torch.float32)
    ours, theirs = shared.x_embedder.weight, copied.x_embedder.weight
    assert ours.data_ptr() == theirs.data_ptr(), "weights of gigabytes are not copied"


def test_only_an_earlier_export_is_replaced(model: PixWizardTransformer, folder: Path, tmp_path: Path) -> None:
    onnx_folder.check_replaceable(folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"an export takes a folder of its own, found notes\.txt"):
        export_onnx(model, tmp_path)
    with pytest.raises(ValueError, match=r"a folder of its own"):
        export_onnx(model, tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_missing_package_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", "onnx", "nano", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert (
        "needs onnxscript" in error
        and " -m pip install onnx onnxscript onnx-ir onnxruntime\n" in error
        and error.count("\n") == 1
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano"], "takes MODEL and DIR, found 1 paths"),
        (["--preset", "2b", "--random", "nano", "out"], "takes DIR with --preset, found 2 paths"),
        (["--preset", "2b", "out"], "--preset and --random go together"),
        (["nano", "out", "--random"], "--preset and --random go together"),
        (["nano", "out", "--layers", "2"], "--layers goes with --preset"),
        (["--preset", "nano", "--random", "--layers", "9", "out"], "--layers lies in 1 to 6"),
        (["nowhere", "out"], "a model is 'nano' or a folder"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", "onnx", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_check_tells_whole_folders_from_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "check", str(folder)]) == 0
    assert "float32, opset 20" in capsys.readouterr().out
    assert main(["export", "check", str(folder), "--model", "nano"]) == 2
    assert "another configuration (cap_clip_feat_dim 16 there and 192 here" in capsys.readouterr().err
    assert main(["export", "check", str(tmp_path)]) == 2
    assert "found none at" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("side", [512, 768])
def test_two_layers_of_full_width_answer_as_the_network(side: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "2b"
    if not folder.exists():
        assert main(["export", "onnx", "--preset", "2b", "--layers", "2", str(folder), "--random"]) == 0
    config = PixWizardConfig.from_dict(PRESETS["2b"] | {"n_layers": 2})
    with torch.random.fork_rng(devices=[]):
        transformer = random_transformer(config)
    example = velocity_example(config, 1, side // 8, side // 8, 24)
    with torch.inference_mode():
        expected = VelocityGraph(transformer)(**example)
    found = run_session(open_session(folder / "velocity.onnx"), example)["velocity"]
    largest = float((found - expected).abs().max())
    print(f"{side} px: largest difference {largest:.1e} of {float(expected.abs().max()):.2f}")
    assert largest < 1e-4


@pytest.mark.slow
def test_weights_of_more_than_two_gigabytes_are_exported_and_run(tmp_path: Path) -> None:
    config = PixWizardConfig.from_dict(PRESETS["2b"] | {"n_layers": 10})
    with torch.random.fork_rng(devices=[]):
        differences = export_onnx(random_transformer(config), tmp_path / "large")
    size = (tmp_path / "large" / "velocity.onnx.data").stat().st_size
    print(f"{size / 1e9:.2f} GB of weights;", *differences, sep="\n")
    assert size > 2.2e9 and (tmp_path / "large" / "velocity.onnx").stat().st_size < 5e6
    assert all(item.allowed for item in differences) and onnx_check.TOLERANCE == 1e-4
