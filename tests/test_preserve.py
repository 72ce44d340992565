"""Pasting back what a task left alone."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.pictures.full_size import keep_unchanged
from pixwizard.comfyui_pixwizard.pictures.paste_back import changed_share


def pictures():
    source = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # What an autoencoder does: everything a little softer.
    blurred = torch.nn.functional.avg_pool2d(source, 3, 1, 1, count_include_pad=False)
    answer = blurred.clone()
    answer[:, :, 30:60, 40:80] = 0.9
    return source, blurred, answer


def test_unchanged_pixels_come_back_exactly_and_changed_ones_are_the_answer():
    source, reference, answer = pictures()
    out, _ = keep_unchanged(source, answer, reference, 0.08)
    far = torch.ones(96, 128, dtype=torch.bool)
    far[20:70, 30:90] = False
    assert torch.equal(out[..., far], source[..., far])
    assert torch.equal(out[..., 34:56, 44:76], answer[..., 34:56, 44:76])


def test_an_answer_without_a_change_is_the_source():
    source, reference, _ = pictures()
    assert torch.equal(keep_unchanged(source, reference, reference, 0.05)[0], source)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3])
def test_a_higher_threshold_keeps_more(threshold):
    _, reference, answer = pictures()
    low, high = (changed_share(answer, reference, t) for t in (threshold, threshold * 1.5))
    assert (high <= low + 1e-6).all() and low.min() >= 0 and low.max() <= 1
