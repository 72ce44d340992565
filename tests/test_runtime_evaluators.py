"""Every evaluator answers as the network does; savings are exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pixwizard.bench.peak import sampling_peak
from pixwizard.bench.reference import Inputs, ReferenceStep
from pixwizard.bench.speed import Speed, random_inputs, random_transformer, step_flops
from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.evaluator import Eager, EagerStep
from pixwizard.comfyui_pixwizard.guidance import BRANCHES, DualGuidance
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.runtime.evaluators import EVALUATORS, choose, find_device
from pixwizard.runtime.exactness import velocity_error

CONFIG = PixWizardConfig.from_dict(PixWizardConfig.preset("nano").to_dict() | {"n_layers": 2})
TIMES = [0.0, 0.25, 0.5, 0.75]


@pytest.fixture(scope="module")
def setting() -> tuple[PixWizardTransformer, dict[str, Inputs], Tensor]:
    return random_transformer(CONFIG), *random_inputs(CONFIG, 8, 2, torch.device("cpu"))


def plain(transformer: PixWizardTransformer, inputs: Inputs, x: Tensor, t: float) -> Tensor:
    out = transformer.velocity(x, torch.full((len(x),), t), inputs.source, inputs.encode(transformer))
    assert isinstance(out, Tensor)
    return out


@pytest.mark.parametrize("names", [("full",), ("full", "image"), BRANCHES, ("none", "full")])
@pytest.mark.parametrize("t", [0.0, 0.5, 0.3])
def test_eager_steps_equal_single_evaluations(setting, names: tuple[str, ...], t: float) -> None:
    transformer, inputs, x = setting
    with torch.inference_mode():
        branches = {name: inputs[name].branch(transformer) for name in names}
        step = Eager().start(transformer, branches, TIMES)
        found = step(x, t, names)
        assert list(found) == list(names)
        for name in names:
            torch.testing.assert_close(found[name], plain(transformer, inputs[name], x, t), atol=2e-5, rtol=2e-5)


def test_branches_run_one_by_one_where_many_tokens_are_together(setting, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, inputs, x = setting
    monkeypatch.setattr("pixwizard.comfyui_pixwizard.evaluator.CPU_TOKENS", 32)
    with torch.inference_mode():
        branches = {name: inputs[name].branch(transformer) for name in BRANCHES}
        step = EagerStep(transformer, branches, TIMES)
        assert step.largest == 1
        found = step(x, 0.25, BRANCHES)
        for name in BRANCHES:
            torch.testing.assert_close(found[name], plain(transformer, inputs[name], x, 0.25), atol=2e-5, rtol=2e-5)


def test_padding_is_cut_and_masks_vanish(setting) -> None:
    transformer, inputs, _ = setting
    with torch.inference_mode():
        branch = inputs["image"].branch(transformer)
        assert branch.conditions.text_mask is not None
        step = EagerStep(transformer, {"image": branch}, TIMES)
        kept = step.branches["image"].conditions
    assert kept.text_mask is None and kept.text_keys.shape[-2] == 1


def test_modulations_of_all_times_are_computed_once(setting, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, inputs, x = setting
    calls: list[tuple[int, ...]] = []
    original = PixWizardTransformer.modulations

    def counted(self: PixWizardTransformer, c: Tensor) -> list[Tensor]:
        calls.append(tuple(c.shape))
        return original(self, c)

    monkeypatch.setattr(PixWizardTransformer, "modulations", counted)
    with torch.inference_mode():
        step = Eager().start(transformer, {"full": inputs["full"].branch(transformer)}, TIMES)
        for t in TIMES:
            step(x, t, ("full",))
    assert calls == [(len(TIMES), 2, CONFIG.conditioning_dim)]


def test_reference_gives_the_same_velocities(setting) -> None:
    transformer, inputs, x = setting
    with torch.inference_mode():
        found = ReferenceStep(transformer, inputs)(x, 0.5, ("full",))
        for name in BRANCHES:
            torch.testing.assert_close(found[name], plain(transformer, inputs[name], x, 0.5), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", [name for name in EVALUATORS if name != "compiled"])
def test_evaluators_are_near_the_network(setting, name: str) -> None:
    transformer, inputs, x = setting
    evaluator = choose(name)
    assert evaluator.reason
    with torch.inference_mode():
        branches = {key: inputs[key].branch(transformer) for key in BRANCHES}
        found = evaluator.start(transformer, branches, TIMES)(x, 0.25, BRANCHES)
        for key in BRANCHES:
            assert found[key].dtype == torch.float32
            assert velocity_error(found[key], plain(transformer, inputs[key], x, 0.25)) < 2e-2
    weight = transformer.x_embedder.weight
    assert weight.dtype == torch.float32, "the network itself stays as it is"


def test_a_converted_copy_follows_the_weights() -> None:
    transformer, (inputs, x) = random_transformer(CONFIG), random_inputs(CONFIG, 8, 2, torch.device("cpu"))
    evaluator, branches = choose("bfloat16"), {"full": inputs["full"].branch(transformer)}
    with torch.inference_mode():
        first, again = (evaluator.start(transformer, branches, TIMES)(x, 0.25, ["full"])["full"] for _ in range(2))
    assert torch.equal(first, again) and len(evaluator.copies.kept) == 1
    with torch.no_grad():
        transformer.final_layer.linear.weight.mul_(2)
        transformer.final_layer.linear.bias.mul_(2)
    with torch.inference_mode():
        exchanged = evaluator.start(transformer, branches, TIMES)(x, 0.25, ["full"])["full"]
    torch.testing.assert_close(exchanged, 2 * first, atol=2e-2, rtol=2e-2)


def test_unknown_evaluators_are_named() -> None:
    with pytest.raises(ValueError, match="the backends are eager"):
        choose("warp")


def test_operations_of_a_step() -> None:
    config = PixWizardConfig.preset("2b")
    one = step_flops(config, 1024, 1, DualGuidance(1.0, 1.0))
    # 2.740 TFLOP of products, 0.232 of self-attention and about 0.06 of cross-attention (paper's sizes at 512 px).
    assert 3.0e12 < one < 3.1e12
    assert 1.9 < step_flops(config, 1024, 1, DualGuidance(4.0, 1.0)) / one < 2


@pytest.mark.parametrize("wrong", [{"size": 100}, {"layers": 99}, {"steps": 1}])
def test_bench_refuses_what_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="take"):
        Speed(preset="nano", **wrong).run()  # type: ignore[arg-type]


def test_bench_gives_every_figure() -> None:
    bench = Speed(preset="nano", layers=1, size=64, steps=3, rounds=1, evaluators=("eager", "bfloat16"))
    with torch.inference_mode():
        found = bench.measure()
    assert found["eager"]["error"] < 1e-4 and found["bfloat16"]["error"] < 2e-2
    assert found["best"]["name"] in {"eager", "bfloat16"} and found["best"].keys() >= {"ratio", "error", "gemm_share"}
    assert "eager" in bench.table(found)


def test_memory_is_counted_from_what_lives_at_once() -> None:
    config = PixWizardConfig.preset("nano")
    weights, peak = sampling_peak(config, 128, 2, ("full", "image"), torch.bfloat16)
    assert weights == 2 * sum(p.numel() for p in PixWizardTransformer(config).parameters())
    rows = 2 * 2 * (128 // 16) ** 2
    gated = 2 * rows * config.ffn_dim * 2
    assert weights + gated < peak < weights + 40 * gated
    assert sampling_peak(config, 256, 2, ("full", "image"), torch.bfloat16)[1] > peak


def test_the_full_model_fits_seven_gib_at_1024_pixels() -> None:
    _, peak = sampling_peak(PixWizardConfig.preset("2b"), 1024, 1, BRANCHES, torch.bfloat16)
    assert peak < 7 * 2**30


def test_devices_are_named_as_pytorch_names_them() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="--device is auto, cpu, cuda or cuda:N, found 'gpu'"):
        find_device("gpu")
    with pytest.raises(ValueError, match=f"found {torch.cuda.device_count()} GPUs for 'cuda:99'"):
        find_device("cuda:99")
