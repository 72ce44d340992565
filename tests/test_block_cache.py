"""The first-block cache: exact at threshold 0, otherwise it reuses what it says, row by row."""

import pytest
import torch

from pixwizard.comfyui_pixwizard import PixWizardConfig, PixWizardTransformer
from pixwizard.comfyui_pixwizard.conditions import Conditions
from pixwizard.comfyui_pixwizard.evaluator import Branch, Eager
from pixwizard.comfyui_pixwizard.flow import time_grid
from pixwizard.comfyui_pixwizard.guidance import DualGuidance
from pixwizard.comfyui_pixwizard.solvers import solve
from pixwizard.runtime.block_cache import BlockCache, CachedBlocks

CONFIG = PixWizardConfig(
    in_channels=3, dim=32, n_layers=3, n_heads=4, n_kv_heads=2, multiple_of=8, qk_norm=True, cap_feat_dim=12,
    cap_clip_feat_dim=10, sample_tokens=4, clip_image_dim=14,
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = PixWizardTransformer(CONFIG).requires_grad_(False)
    for parameter in made.parameters():
        if not parameter.any():  # closed gates and a zero output would hide every mistake
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def encode(model, batch=3, null=False) -> Conditions:
    mask = torch.ones(batch, 5, dtype=torch.bool)
    mask[1:, 3:] = False
    image = torch.zeros(batch, 9, 14) if null else draw(batch, 9, 14, seed=3)
    return model.encode_conditions(draw(batch, 5, 12, seed=1), mask, draw(batch, 10, seed=2), image)


def steps(batch=3, count=6, by=0.05):
    """Latents that move a little in every step, and times."""
    start, way = draw(batch, 3, 4, 6, seed=4), draw(batch, 3, 4, 6, seed=5)
    return [(start + i * by * way, torch.full((batch,), 0.1 + 0.1 * by * i)) for i in range(count)]


def test_threshold_zero_is_the_transformer(model):
    conditions, source = encode(model), draw(3, 3, 4, 6, seed=6)
    cache = BlockCache(model, 0.0)
    for x, t in steps():
        assert torch.equal(cache.velocity(x, t, source, conditions), model.velocity(x, t, source, conditions))
    x, t = steps()[-1]
    assert torch.equal(cache.velocity(x, t, source, conditions), model.velocity(x, t, source, conditions))
    assert (cache.evaluated, cache.reused) == (21, 0)


def test_a_large_threshold_runs_the_first_block_only(model, monkeypatch):
    conditions, source, calls = encode(model), draw(3, 3, 4, 6, seed=6), []
    for i, block in enumerate(model.blocks):
        run = block.forward
        monkeypatch.setattr(block, "forward", lambda *a, run=run, i=i, **k: calls.append(i) or run(*a, **k))
    cache = BlockCache(model, 1e9)
    for i, (x, t) in enumerate(steps()):
        calls.clear()
        found = cache.velocity(x, t, source, conditions)
        assert calls == ([0] if i else [0, 1, 2])
        calls.clear()
        error = (found - model.velocity(x, t, source, conditions)).abs().max()
        assert (error > 0) == bool(i)
    assert (cache.evaluated, cache.reused) == (3, 15)
    cache.reset()
    assert (cache.evaluated, cache.reused) == (0, 0)
    x, t = steps()[2]
    assert torch.equal(cache.velocity(x, t, source, conditions), model.velocity(x, t, source, conditions))


def test_changes_add_up_and_smaller_thresholds_are_nearer(model):
    conditions, source = encode(model), draw(3, 3, 4, 6, seed=6)
    moves = steps(count=12)
    exact = [model.velocity(x, t, source, conditions) for x, t in moves]
    shares, errors = [], []
    for threshold in (0.02, 0.2, 2.0):
        cache = BlockCache(model, threshold)
        found = [cache.velocity(x, t, source, conditions) for x, t in moves]
        shares.append(cache.reused / (cache.evaluated + cache.reused))
        errors.append(sum(float((a - b).abs().mean()) for a, b in zip(found, exact, strict=True)))
    assert shares == sorted(shares) and errors == sorted(errors) and 0 < shares[1] < shares[2] < 1
    # The same change again and again is not small for ever.
    x, t = moves[0]
    nearby, cache = moves[1][0], BlockCache(model, 0.5)
    cache.velocity(x, t, source, conditions)
    for _ in range(40):
        cache.velocity(nearby, t, source, conditions)
    assert cache.reused and cache.evaluated > 3


def test_rows_decide_alone(model):
    conditions, source = encode(model), draw(3, 3, 4, 6, seed=6)
    together, alone = BlockCache(model, 0.3), [BlockCache(model, 0.3) for _ in range(3)]
    for i, (x, t) in enumerate(steps(count=6, by=0.1)):
        x = x.clone()
        x[1] += 0.5 * i  # one row moves fast
        found = together.velocity(x, t, source, conditions)
        parts = [alone[r].velocity(x[r : r + 1], t[:1], source[r : r + 1], conditions[r]) for r in range(3)]
        torch.testing.assert_close(found, torch.cat(parts), rtol=1e-4, atol=1e-5)
    assert alone[1].evaluated > alone[0].evaluated
    assert together.evaluated == sum(cache.evaluated for cache in alone)


def test_another_shape_starts_anew(model):
    cache = BlockCache(model, 1e9)
    for shape in ((3, 3, 4, 6), (3, 3, 6, 4), (2, 3, 6, 6)):
        x, source, t = draw(*shape), draw(*shape, seed=1), torch.full((shape[0],), 0.5)
        conditions = encode(model, shape[0])
        found = cache.velocity(x, t, source, conditions)
        assert torch.equal(found, model.velocity(x, t, source, conditions))


def test_as_an_evaluator(model):
    noise, source = draw(2, 3, 4, 6), draw(2, 3, 4, 6, seed=1)
    branches = {
        "full": Branch(source, encode(model, 2)),
        "image": Branch(source, encode(model, 2)),
        "none": Branch(noise, encode(model, 2, null=True)),
    }
    guidance, grid = DualGuidance(2.0, 1.5, interval=(0.3, 0.8)), time_grid(17)

    def sampled(evaluator):
        step = evaluator.start(model, branches, grid[:-1].tolist())

        def velocity(x, t):
            now = guidance.at(float(t))
            return now.combine(step(x, float(t), now.branches()))

        return solve(velocity, noise, grid, "ab2"), step

    exact, _ = sampled(Eager())
    torch.testing.assert_close(sampled(CachedBlocks(0.0))[0], exact, rtol=1e-4, atol=1e-4)
    near, step = sampled(CachedBlocks(0.3))
    assert set(step.caches) == {("full",), ("full", "image", "none")}
    assert all(cache.reused for cache in step.caches.values())
    assert 0 < float((near - exact).abs().mean()) < 0.2 * float((exact - noise).abs().mean())


def test_errors(model):
    with pytest.raises(ValueError, match=r"threshold must be at least 0, found -1: take 0\.1"):
        BlockCache(model, -1.0)
    cache, conditions, x = BlockCache(model), encode(model), draw(3, 3, 4, 6)
    with pytest.raises(ValueError, match=r"latents of one size .* found list and list: use the transformer"):
        cache.velocity(list(x), torch.zeros(3), list(x), conditions)
    with pytest.raises(ValueError, match=r"one shape with a t and conditions for every row, found .*: repeat"):
        cache.velocity(x, torch.zeros(2), x, conditions)
