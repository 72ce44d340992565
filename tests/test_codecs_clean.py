"""Clean-up that the codecs share: connected regions, even windows, spreading of trusted values, hues."""

import colorsys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks.codecs.clean_up import (
    components,
    even_windows,
    hue_distance,
    hue_saturation_value,
    snap,
)


def test_snap_takes_one_side_and_never_a_mean() -> None:
    values = torch.tensor([[[[1.0, 1.0, 5.0, 9.0, 9.0]]]])
    colours = torch.tensor([0.0, 0.0, 0.4, 1.0, 1.0]).expand(1, 3, 1, 5)
    trusted = torch.tensor([[[True, True, False, True, True]]])
    assert snap(values, trusted, colours).flatten().tolist() == [1, 1, 1, 9, 9]
    nothing = torch.zeros_like(trusted)
    assert torch.equal(snap(values, nothing, colours), values)


def test_even_windows() -> None:
    index = torch.zeros(5, 5, dtype=torch.long)
    index[2, 2] = 7
    even = even_windows(index)
    assert int(even.sum()) == 16 and not even[1:4, 1:4].any()


@settings(max_examples=25, deadline=None)
@given(h=st.integers(1, 24), w=st.integers(1, 24), seed=st.integers(0, 9999), values=st.integers(1, 3))
def test_components_are_the_connected_regions(h: int, w: int, seed: int, values: int) -> None:
    """Against scipy, value by value."""
    ndimage = pytest.importorskip("scipy.ndimage")
    labels = torch.randint(0, values + 1, (h, w), generator=torch.Generator().manual_seed(seed))
    found = components(labels)
    assert torch.equal(found == 0, labels == 0)
    total = 0
    for value in range(1, values + 1):
        expected, count = ndimage.label((labels == value).numpy(), structure=[[1] * 3] * 3)
        total += count
        pairs = set(zip(expected[expected > 0].tolist(), found[labels == value].tolist(), strict=True))
        assert len(pairs) == count == len({b for _, b in pairs})
    assert int(found.max()) == total


def test_hues_are_those_of_the_standard_library() -> None:
    picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = torch.stack(hue_saturation_value(picture), dim=-1).reshape(-1, 3)
    expected = torch.tensor([colorsys.rgb_to_hsv(*pixel) for pixel in picture.reshape(3, -1).T.tolist()])
    assert torch.allclose(found, expected, atol=1e-5)
    assert hue_distance(torch.tensor([0.95, 0.5]), 0.05).tolist() == pytest.approx([0.1, 0.45])
