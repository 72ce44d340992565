"""`PixWizardPipeline.generate`: noise, branches, guidance and steps against the same thing written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pixwizard.comfyui_pixwizard.flow import time_grid
from pixwizard.comfyui_pixwizard.guidance import DualGuidance
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline

WORDS = ["Remove the noise from this picture.", "Highlight the red ball, please."]


def pictures(n: int, height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple]:
    calls: list[tuple] = []
    original = getattr(owner, name)

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


def written_out(pipe: PixWizardPipeline, source: Tensor, words: list[str], points: int, text: float, image: float):
    """Three separate evaluations a step, Euler, as docs/mathematics.md sections 10 and 11 say."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(source))]
    shape = (16, source.shape[2] // 8, source.shape[3] // 8)
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
    tokens, empty = pipe.image_encoder.encode(source), [""] * len(words)

    def conditions(texts: list[str], seen: Tensor):
        return pipe.transformer.encode_conditions(
            *pipe.text_encoder.encode(texts), pipe.task_encoder.encode(texts), seen
        )

    latents = pipe.autoencoder.encode(source)
    full, middle, none = conditions(words, tokens), conditions(empty, tokens), conditions(empty, tokens * 0)
    x, grid = noise, time_grid(points)
    for t, dt in zip(grid[:-1], grid.diff(), strict=True):
        times = t.expand(len(x))
        v0 = pipe.transformer.velocity(x, times, latents, full)
        v1 = pipe.transformer.velocity(x, times, latents, middle)
        v2 = pipe.transformer.velocity(x, times, noise, none)
        x = x + dt * (v2 + image * (v1 - v2) + text * (v0 - v1))
    return pipe.autoencoder.decode(x).clamp(-1, 1)


@pytest.mark.parametrize(("text", "image"), [(1.0, 1.0), (3.0, 1.0), (3.0, 2.0), (0.0, 1.5), (2.0, 2.0)])
def test_equals_the_equation_written_out(tiny: PixWizardPipeline, text: float, image: float) -> None:
    source = pictures(2)
    out = tiny.generate(source, WORDS, steps=4, solver="euler", guidance=(text, image), seeds=[0, 1])
    with torch.no_grad():
        expected = written_out(tiny, source, WORDS, 4, text, image)
    assert out.shape == source.shape and out.dtype == torch.float32
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(out, expected, atol=3e-4, rtol=0)


@pytest.mark.parametrize(("weights", "branches"), [((1.0, 1.0), 1), ((4.0, 1.0), 2), ((4.0, 2.0), 3)])
def test_evaluates_only_needed_branches_and_encodes_once(
    tiny: PixWizardPipeline, monkeypatch: pytest.MonkeyPatch, weights: tuple[float, float], branches: int
) -> None:
    encoded = count_calls(monkeypatch, tiny.transformer, "encode_conditions")
    evaluated = count_calls(monkeypatch, tiny.transformer, "denoise")
    seen = count_calls(monkeypatch, tiny.image_encoder, "encode")
    tiny.generate(pictures(2), WORDS, steps=6, guidance=weights, seeds=[0, 1])
    assert len(encoded) == branches and len(seen) == 1
    assert [len(call[0]) for call in evaluated] == [2 * branches] * 5


def test_seeds_reproduce_whatever_the_batch(tiny: PixWizardPipeline) -> None:
    source = pictures(2)
    settings: dict[str, Any] = dict(steps=3, guidance=(2.0, 1.5))
    both = tiny.generate(source, WORDS, seeds=[5, 6], **settings)
    assert torch.equal(both, tiny.generate(source, WORDS, seeds=[5, 6], **settings))
    for i in range(2):
        alone = tiny.generate(source[i : i + 1], WORDS[i : i + 1], seeds=[5 + i], **settings)
        torch.testing.assert_close(alone[0], both[i], atol=3e-4, rtol=0)
    other = tiny.generate(source, WORDS, seeds=[7, 8], **settings)
    assert float((other - both).abs().mean()) > 0.01


def test_one_generator_serves_samples_in_order(tiny: PixWizardPipeline) -> None:
    source = pictures(3)
    words = [WORDS[0]] * 3
    whole = tiny.generate(source, words, steps=3, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    parts = [tiny.generate(source[a:b], words[a:b], steps=3, generator=generator) for a, b in ((0, 2), (2, 3))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=3e-4, rtol=0)


def test_leaves_the_global_state_alone_when_seeded(tiny: PixWizardPipeline) -> None:
    before = torch.get_rng_state()
    tiny.generate(pictures(1), WORDS[:1], steps=2, seeds=[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_training_is_possible_after_inference(tiny: PixWizardPipeline) -> None:
    tiny.generate(pictures(1), WORDS[:1], steps=2, seeds=[0])
    source = pictures(1)
    conditions = tiny.transformer.encode_conditions(
        *tiny.text_encoder.encode(WORDS[:1]), tiny.task_encoder.encode(WORDS[:1]), tiny.image_encoder.encode(source)
    )
    latents = tiny.autoencoder.encode(source)
    tiny.transformer.velocity(latents, torch.zeros(1), latents, conditions).square().mean().backward()
    assert tiny.transformer.x_embedder.weight.grad is not None
    for part in tiny.parts.values():
        part.zero_grad(set_to_none=True)


def test_progress_and_solvers(tiny: PixWizardPipeline) -> None:
    seen: list[tuple[int, int]] = []
    results = {}
    for solver in ("euler", "heun", "rk4"):
        seen.clear()
        results[solver] = tiny.generate(
            pictures(1), WORDS[:1], steps=5, solver=solver, seeds=[0], progress=lambda done, of: seen.append((done, of))
        )
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    fine = tiny.generate(pictures(1), WORDS[:1], steps=60, solver="rk4", seeds=[0])
    errors = {solver: float((out - fine).abs().mean()) for solver, out in results.items()}
    assert errors["rk4"] < errors["heun"] < errors["euler"]


def test_guided_channels_leave_the_others_to_the_full_branch(tiny: PixWizardPipeline) -> None:
    settings: dict[str, Any] = dict(steps=2, seeds=[0])
    all_16 = tiny.generate(pictures(1), WORDS[:1], guidance=DualGuidance(3.0, 1.0, 16), **settings)
    none_named = tiny.generate(pictures(1), WORDS[:1], guidance=DualGuidance(3.0, 1.0), **settings)
    three = tiny.generate(pictures(1), WORDS[:1], guidance=DualGuidance(3.0, 1.0, 3), **settings)
    torch.testing.assert_close(all_16, none_named)
    assert float((three - none_named).abs().max()) > 1e-3


@pytest.mark.parametrize("windows", [False, True])
def test_patch_grids_are_a_mean_of_moved_pictures(tiny: PixWizardPipeline, windows: bool) -> None:
    settings: dict[str, Any] = dict(steps=2, seeds=[0], windows=windows, guidance=(1.0, 1.0))
    usual, four = (tiny.generate(pictures(1), WORDS[:1], patch_grids=n, **settings) for n in (1, 4))
    assert torch.equal(usual, tiny.generate(pictures(1), WORDS[:1], **settings))
    change = (four - usual).abs().mean()
    assert 1e-4 < change < usual.abs().mean(), "another answer, of the same picture"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(source=torch.zeros(1, 3, 64, 72)), r"multiples of 16, found \[1, 3, 64, 72\]"),
        (dict(source=torch.zeros(3, 64, 64)), "source must be"),
        (dict(instructions=WORDS), "one instruction for each of 1 pictures is needed, found 2"),
        (dict(seeds=[1, 2]), "each of 1 samples is needed, found 2"),
        (dict(seeds=[-1]), "seeds lie in 0 to"),
        (dict(solver="magic"), "solver must be one of"),
        (dict(steps=1), "at least 2 points, found 1"),
        (dict(patch_grids=3), "patch grids are 1, 2, 4, found 3"),
        (dict(generator=torch.Generator()), "found both"),
    ],
)
def test_mistakes_are_told(tiny: PixWizardPipeline, change: dict[str, Any], message: str) -> None:
    arguments = dict(source=pictures(1), instructions=WORDS[:1], seeds=[0]) | change
    with pytest.raises(ValueError, match=message):
        tiny.generate(**arguments)


def test_all_parts_can_be_cast(tiny: PixWizardPipeline, fresh_tiny: Callable[[], PixWizardPipeline]) -> None:
    settings: dict[str, Any] = dict(steps=4, guidance=(2.0, 1.5), seeds=[0, 1])
    wide = fresh_tiny().to(torch.float64).generate(pictures(2), WORDS, **settings)
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide, tiny.generate(pictures(2), WORDS, **settings), atol=1e-3, rtol=0)
    narrow = fresh_tiny().to(torch.bfloat16).generate(pictures(2), WORDS, **settings)
    assert float((narrow - wide).abs().mean()) < 0.05
