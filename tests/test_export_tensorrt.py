"""Engines: what they are built for, what may be exchanged inside, how they run. No GPU: what it would do is stood in
for by `StandInEngine`; the settings of real builds are held against the real packages where these are installed."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pixwizard.bench.speed import random_inputs, random_transformer
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.guidance import BRANCHES
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.export.fp8 import export_fp8
from pixwizard.export.onnx_graph import VelocityGraph, exportable
from pixwizard.export.tensorrt_build import BuildSettings, configuration, monitor_class, tensorrt_key, timing_cache_file
from pixwizard.runtime import tensorrt_evaluator
from pixwizard.runtime.eager_graph import eager_velocity
from pixwizard.runtime.engine_cache import EngineCache, EngineKey, Entry
from pixwizard.runtime.engine_profiles import Profile, Unsupported, bucket_profiles
from pixwizard.runtime.engine_run import EngineRun, base_weights
from pixwizard.runtime.evaluators import choose, engine_digest
from pixwizard.runtime.graph_inputs import velocity_example
from pixwizard.runtime.identity import weights_hash
from pixwizard.runtime.refit import Exchange, inside
from pixwizard.runtime.tensorrt_evaluator import TensorRT

CONFIG = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2})
WQ, WO, W1 = (f"layers.{n}" for n in ("0.attention.wq.weight", "1.attention.wo.weight", "0.feed_forward.w1.weight"))
TEXT_KEY = "layers.1.attention.wk_y.weight"


class StandInEngine:
    """Stands in for an engine: computes the velocity graph in PyTorch, and holds weights the way TensorRT does.

    Not TensorRT, and proves nothing of it: only that what is around an engine does its part.
    """

    dtype, device, bytes = torch.float32, torch.device("cpu"), 1000

    def __init__(self, transformer: PixWizardTransformer, profiles: list[Profile]) -> None:
        self.graph = VelocityGraph(exportable(copy.deepcopy(transformer)))  # it holds weights of its own
        self.profiles = profiles
        self.runs: list[int] = []
        self.puts: list[str] = []
        self.commits = 0
        self.fixed: set[str] = set()
        self.merged: dict[str, set[str]] = {}
        self.pending: dict[str, Tensor] = {}
        self.refuse_commit = False
        self.noise = 0.0

    def execute(self, profile: int, inputs: Mapping[str, Tensor], out: Tensor) -> None:
        self.runs.append(profile)
        with torch.inference_mode():
            found = self.graph(**inputs)
            out.copy_(found + self.noise * found.std())

    def state(self) -> dict[str, Tensor]:
        return dict(self.graph.transformer.named_parameters())

    def names(self) -> set[str]:
        return inside(self.state()) - self.fixed

    def put(self, name: str, value: Tensor) -> bool:
        self.puts.append(name)
        self.pending[name] = value.clone()
        return value.shape == self.state()[name].shape

    def missing(self) -> set[str]:
        wanted: set[str] = set()
        for name in self.pending:
            wanted |= self.merged.get(name, set())
        return wanted - set(self.pending)

    def commit(self) -> bool:
        self.commits += 1
        assert not self.missing(), "TensorRT would refuse"
        for name, value in self.pending.items():
            self.state()[name].data.copy_(value)
        self.pending = {}
        return not self.refuse_commit


@pytest.fixture(scope="module")
def transformer() -> PixWizardTransformer:
    return random_transformer(CONFIG)


@pytest.fixture
def engine(transformer: PixWizardTransformer) -> StandInEngine:
    return StandInEngine(transformer, bucket_profiles(CONFIG, (16, 64), batch=3, text=32))


# Exchanging weights


def changed(transformer: PixWizardTransformer, *names: str) -> dict[str, Tensor]:
    return {name: transformer.state_dict()[name] + 0.1 for name in names}


def holds(engine: StandInEngine, weights: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(engine.state()[name], value) for name, value in weights.items())


def test_base_weights_return_when_the_lora_goes(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    base = {name: value.clone() for name, value in engine.state().items()}
    exchange = Exchange(engine, base_weights(transformer))
    first, second = changed(transformer, WQ, WO), changed(transformer, WO, W1)
    assert exchange.apply(first, "first") == {WQ, WO} and holds(engine, first)
    # The second does not touch wq, which must not keep what the first made of it.
    assert exchange.apply(second, "second") == {WQ, WO, W1} and holds(engine, second | {WQ: base[WQ]})
    assert exchange.apply({}, None) == {WO, W1} and holds(engine, base)
    assert engine.commits == 3


def test_the_same_changes_again_cost_nothing(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    exchange = Exchange(engine, base_weights(transformer))
    exchange.apply(changed(transformer, WQ), "one")
    puts = len(engine.puts)
    assert exchange.apply(changed(transformer, WQ), "one") == set() and len(engine.puts) == puts
    assert Exchange(engine, base_weights(transformer)).apply({}, None) == set()


def test_weights_that_were_merged_go_along(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    engine.merged = {WQ: {W1}, W1: {WO}}
    written = Exchange(engine, base_weights(transformer)).apply(changed(transformer, WQ), "one")
    assert written == {WQ, W1, WO} and engine.commits == 1
    assert torch.equal(engine.state()[WO], transformer.state_dict()[WO])


def test_what_only_conditions_depend_on_is_left_out(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    exchange = Exchange(engine, base_weights(transformer))
    assert exchange.apply(changed(transformer, TEXT_KEY), "text only") == set() and engine.commits == 0
    graph = {name for name, _ in VelocityGraph(transformer).transformer.named_parameters()}
    assert TEXT_KEY in graph - inside(graph)


def test_inside_is_what_the_velocity_graph_uses(transformer: PixWizardTransformer) -> None:
    model = PixWizardTransformer(CONFIG)
    model.load_state_dict(transformer.state_dict())
    out = VelocityGraph(exportable(model).requires_grad_(True))
    out(**velocity_example(CONFIG, 2, 8, 8, 5)).sum().backward()
    used = {name for name, value in out.transformer.named_parameters() if value.grad is not None}
    assert used == inside(name for name, _ in model.named_parameters())


def test_a_weight_that_cannot_be_exchanged_changes_nothing(
    engine: StandInEngine, transformer: PixWizardTransformer
) -> None:
    engine.fixed = {WO}
    exchange = Exchange(engine, base_weights(transformer))
    with pytest.raises(Unsupported, match=rf"the LoRA changes {WO}, which the engine cannot exchange"):
        exchange.apply(changed(transformer, WQ, WO), "one")
    assert engine.puts == [] and exchange.apply(changed(transformer, WQ), "two") == {WQ}


def test_a_failed_exchange_makes_the_engine_unusable(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    engine.refuse_commit = True
    exchange = Exchange(engine, base_weights(transformer))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="may hold a mixture: load it again"):
            exchange.apply(changed(transformer, WQ), "one")


# Running


def inputs(batch: int = 2, side: int = 8) -> dict[str, Tensor]:
    return velocity_example(CONFIG, batch, side, side, 5)


def test_an_engine_answers_as_the_network_on_the_profile_that_fits(
    engine: StandInEngine, transformer: PixWizardTransformer
) -> None:
    run = EngineRun(engine, "float32", base_weights(transformer))
    for side, place in ((8, 0), (16, 1), (8, 0)):
        given = inputs(side=side)
        torch.testing.assert_close(run(given), eager_velocity(transformer, given), atol=2e-5, rtol=2e-5)
        assert engine.runs[-1] == place
    first = run(inputs())
    assert run(inputs()).data_ptr() == first.data_ptr(), "outputs of one shape are kept"


def test_answers_that_are_not_finite_are_refused_the_first_time(
    engine: StandInEngine, transformer: PixWizardTransformer
) -> None:
    engine.noise = float("nan")
    with pytest.raises(Unsupported, match="not finite"):
        EngineRun(engine, "float32", base_weights(transformer))(inputs())


def test_a_wrong_engine_fails_its_test(engine: StandInEngine, transformer: PixWizardTransformer) -> None:
    run = EngineRun(engine, "bfloat16", base_weights(transformer))
    expected = eager_velocity(transformer, inputs())
    assert run.self_test(expected, inputs()) < 1e-4
    # As if the bias of one product were lost (TensorRT 11.3).
    engine.graph.transformer.x_embedder.bias.data.add_(1.0)
    with pytest.raises(Unsupported, match="differs from the network's by"):
        run.self_test(expected, inputs())


KEY = EngineKey("tensorrt", "", 1, "0.1.0", "float32", [], "TensorRT 11.1.0", "sm90", "linux-x86_64")


def write_stand_in(path: Path) -> None:
    path.write_bytes(b"stand-in")


@pytest.fixture
def evaluator(tmp_path: Path, transformer: PixWizardTransformer) -> TensorRT:
    profiles = bucket_profiles(CONFIG, (16, 64), batch=6, text=32)
    key = dataclasses.replace(KEY, weights=weights_hash(transformer), profiles=profiles)
    EngineCache(tmp_path, cap=10**9).build(key, "stand-in", write_stand_in)

    def wanted(weights: str) -> dict[str, object]:
        return {"kind": "tensorrt", "weights": weights, "builder": KEY.builder, "architecture": "sm90"}

    def load(cache: EngineCache, entry: Entry) -> StandInEngine:
        assert cache.read(entry) == b"stand-in"
        return StandInEngine(transformer, entry.key.profiles)

    return TensorRT(tmp_path, wanted, load)


def test_the_evaluator_samples_as_eager_does(evaluator: TensorRT, transformer: PixWizardTransformer) -> None:
    from pixwizard.comfyui_pixwizard.evaluator import Eager

    given, x = random_inputs(CONFIG, 8, 2, torch.device("cpu"))
    with torch.inference_mode():
        branches = {name: given[name].branch(transformer) for name in BRANCHES}
        eager, step = (kind.start(transformer, branches, [0.0, 0.5]) for kind in (Eager(), evaluator))
        for t, names in ((0.0, BRANCHES), (0.5, ("full",)), (0.25, ("full", "none"))):
            expected, found = eager(x, t, names), step(x, t, names)
            assert list(found) == list(names)
            for name in names:
                torch.testing.assert_close(found[name], expected[name], atol=3e-5, rtol=3e-5)
    entry = evaluator.cache.entries()[0]
    assert 0 < entry.notes["error"] < 1e-3 and "from the network" in evaluator.reason


def test_a_folder_of_engines_is_chosen_by_name(evaluator: TensorRT) -> None:
    found = choose("tensorrt", str(evaluator.cache.folder))
    assert isinstance(found, TensorRT) and found.cache.folder == evaluator.cache.folder
    digest = engine_digest(evaluator.cache.folder)
    assert len(digest) == 16 and digest != engine_digest(evaluator.cache.folder.parent)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"builder": "TensorRT 10.9"}, "builder TensorRT 11.1.0 instead of TensorRT 10.9"),
        ({"architecture": "sm89"}, "architecture sm90 instead of sm89"),
    ],
)
def test_an_engine_for_something_else_is_named(
    evaluator: TensorRT, transformer: PixWizardTransformer, change: dict[str, str], words: str
) -> None:
    before = evaluator.wanted
    evaluator.wanted = lambda weights: dict(before(weights)) | change
    with pytest.raises(Unsupported, match=f"no engine in .* fits .*{words}.*build one with"):
        evaluator.start(transformer, {}, [])


def test_an_engine_of_other_weights_is_not_taken(evaluator: TensorRT) -> None:
    with pytest.raises(Unsupported, match="the nearest has weights"):
        evaluator.start(random_transformer(CONFIG, seed=1), {}, [])


# Building


def test_settings_that_do_not_go_together_are_named() -> None:
    for chosen, precision, words in (
        ({}, "int4", "precisions are bfloat16"),
        ({"level": 6}, "bfloat16", "--level lies in 0 to 5"),
        ({"workspace_gb": 0.0}, "bfloat16", "--workspace-gb is above 0"),
        ({}, "fp8", "add --no-refittable"),
    ):
        with pytest.raises(ValueError, match=words):
            BuildSettings(**chosen).check(precision)


def test_polygraphy_takes_the_configuration() -> None:
    trt = pytest.importorskip("polygraphy.backend.trt", reason="polygraphy is not installed")
    given = configuration(BuildSettings(workspace_gb=2.0, streaming=True), "times", object(), ["profile"])
    known = set(inspect.signature(trt.CreateConfig.__mro__[1].__init__).parameters)
    assert set(given) <= known
    trt.CreateConfig(**given)
    assert given["refittable"] and given["weight_streaming"] and "fp16" not in given and "bf16" not in given
    assert "strongly_typed" in inspect.signature(trt.NetworkFromOnnxPath.__init__).parameters
    profile = trt.Profile()
    for name, (least, usual, most) in bucket_profiles(CONFIG, (64,))[0].items():
        profile.add(name, min=tuple(least), opt=tuple(usual), max=tuple(most))
    assert profile["x"].max == (3, 16, 24, 24)


def test_times_are_kept_for_each_version_and_architecture() -> None:
    names = {timing_cache_file(Path("c"), v, a).name for v in ("11.1.0", "10.9.0") for a in ("sm90", "sm89")}
    assert len(names) == 4


def test_a_monitor_reports_and_stops() -> None:
    told: list[float] = []
    answers = iter([False, True, False])
    monitor = monitor_class(object)(lambda progress: told.append(progress.fraction), lambda: next(answers))
    monitor.phase_start("build", None, 4)
    assert monitor.step_complete("build", 0) and not monitor.step_complete("build", 1)
    assert monitor.stopped and not monitor.step_complete("build", 2), "once stopped it stays stopped"
    assert told == sorted(told) and told[-1] == 0.75


@pytest.mark.skipif("tensorrt" in sys.modules, reason="TensorRT is installed here")
def test_missing_packages_are_named(
    transformer: PixWizardTransformer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("tensorrt", "modelopt"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="found no GPU: run this on a machine with one") as caught:
        tensorrt_key(transformer, "bfloat16", [], BuildSettings())
    assert "pip" not in str(caught.value), "nothing that can be installed helps"
    monkeypatch.setattr(tensorrt_evaluator, "gpu_architecture", lambda: "sm90")
    with pytest.raises(ValueError, match=r"TensorRT cannot be imported .* -m pip install tensorrt-cu\d+ polygraphy$"):
        tensorrt_key(transformer, "bfloat16", [], BuildSettings())
    with pytest.raises(ValueError, match=r'-m pip install "nvidia-modelopt\[hf\]"$'):
        export_fp8(transformer, tmp_path / "velocity.onnx")


BLOCKED = """
import importlib, pkgutil, sys

absent = ("tensorrt", "tensorrt_rtx_bindings", "modelopt")
for name in absent:
    sys.modules[name] = None
for part in ("comfyui_pixwizard", "runtime", "export"):
    package = importlib.import_module(f"pixwizard.{part}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print("found", *sorted({"polygraphy", "onnxruntime", "onnxruntime_ep_nv_tensorrt_rtx"} & set(sys.modules)))
"""


def test_nothing_imports_engines_before_they_are_used() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "found", done.stdout + done.stderr
