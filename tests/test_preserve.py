"""What a task left alone stays, and what it changed does not."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.pictures.change import changed_share, find_change


def pictures():
    source = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # What an autoencoder does: everything a little softer.
    blurred = torch.nn.functional.avg_pool2d(source, 3, 1, 1, count_include_pad=False)
    answer = blurred.clone()
    answer[:, :, 30:60, 40:80] = 0.9
    return source, blurred, answer


def test_unchanged_pixels_stay_exactly_and_changed_ones_are_the_answer():
    source, reference, answer = pictures()
    out = find_change(answer, reference, 0.08).onto(source)
    far = torch.ones(96, 128, dtype=torch.bool)
    far[20:70, 30:90] = False
    assert torch.equal(out[..., far], source[..., far])
    # All texture of the source went; of what the softening lost of it next to nothing is left.
    left, lost = (x[..., 34:56, 44:76].abs().mean() for x in (out - answer, source - reference))
    assert left < 0.15 * lost


def test_an_answer_without_a_change_is_the_source():
    source, reference, _ = pictures()
    assert torch.equal(find_change(reference, reference, 0.05).onto(source), source)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3])
def test_a_higher_threshold_keeps_more(threshold):
    _, reference, answer = pictures()
    low, high = (changed_share(answer, reference, t) for t in (threshold, threshold * 1.5))
    assert (high <= low + 1e-6).all() and low.min() >= 0 and low.max() <= 1
