"""Edge maps: strengths invert; Canny's lines come back from what a model draws that is unsure where they run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks import get_task
from pixwizard.comfyui_pixwizard.tasks.codecs.edge import EDGES, LINES
from pixwizard.training.annotators import ANNOTATORS
from pixwizard.training.evaluate.metrics_sparse import edge_f1
from pixwizard.training.render.dead_leaves import dead_leaves

SEEDS = st.integers(0, 9999)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(picture: torch.Tensor, seed: int = 0, sigma: float = 12) -> torch.Tensor:
    return (picture + torch.randn(picture.shape, generator=seeded(seed)) * sigma / 255).clamp(0, 1)


@pytest.fixture(scope="module")
def canny() -> torch.Tensor:
    """Canny edges [8,96,96] of leaves."""
    return ANNOTATORS["canny"](dead_leaves(8, 96, seeded(0)))


@settings(max_examples=15, deadline=None)
@given(h=st.integers(12, 40), w=st.integers(12, 40), seed=SEEDS)
def test_edges_invert(h: int, w: int, seed: int) -> None:
    edges = torch.rand(2, h, w, generator=seeded(seed))
    picture = EDGES.encode(edges)
    assert picture.shape == (2, 3, h, w) and torch.allclose(EDGES.decode(picture), edges, atol=1e-6)
    error = (EDGES.decode(noisy(picture, seed)) - edges).square().mean().sqrt()
    assert error < 12 / 255 / 3**0.5 * 1.3 + 0.002


@pytest.mark.parametrize("codec", [EDGES, LINES])
def test_confidence_in_edges(codec) -> None:
    edges = torch.zeros(32, 32)
    assert codec.confidence(codec.encode(edges)) == 0.0
    edges[10] = 1
    assert codec.confidence(codec.encode(edges)) == 1.0
    assert codec.confidence(torch.rand(3, 32, 32, generator=seeded(0))) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), sigma=st.sampled_from([0, 12]), top=st.integers(0, 60), left=st.integers(0, 60))
def test_lines_invert(canny: torch.Tensor, seed: int, sigma: float, top: int, left: int) -> None:
    edges = canny[seed % 8, top:, left:]
    found = LINES.decode(noisy(LINES.encode(edges), seed, sigma))
    assert torch.equal(found, edges), "not a pixel more or less"


def test_the_crest_of_a_grey_band_is_the_line(canny: torch.Tensor) -> None:
    edges = canny[:4]
    moves = torch.randint(-2, 3, (40, 2), generator=seeded(1)).tolist()
    band = torch.stack([edges.roll(move, (1, 2)) for move in moves]).mean(0)
    picture = noisy(LINES.encode(band), sigma=4)
    assert get_task("canny").decode(picture).shape == edges.shape
    crest, plain = (float(edge_f1(codec.decode(picture), edges).mean()) for codec in (LINES, EDGES))
    assert crest > 0.75 and plain < 0.5
    assert 0 < LINES.confidence(picture) < 0.6
    flat = torch.full((1, 3, 40, 40), 0.3)
    assert not LINES.decode(flat).any(), "a grey picture has no crest"


def test_mistakes() -> None:
    for edges, rule in ((torch.full((2, 2), 255.0), "divide bytes by 255"), (torch.tensor(1.0), "pass a map")):
        with pytest.raises(ValueError, match=rule):
            EDGES.encode(edges)
