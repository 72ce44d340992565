"""Styles and written words on any picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.training.render.dead_leaves import dead_leaves
from pixwizard.training.render.scenes import STYLES, render, restyle, sample_scenes, style_edit, text_edit, write
from pixwizard.training.render.scenes.lettering import INKS, PLACES, WORDS, contrasting
from pixwizard.training.render.scenes.picture_edits import STYLE_WORDS

SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.cat((render(sample_scenes(2, generator), 96).image, dead_leaves(2, 96, generator)))


def roughness(picture: torch.Tensor) -> float:
    return float(picture.diff(dim=-1).abs().mean() + picture.diff(dim=-2).abs().mean())


@pytest.mark.parametrize("name", list(STYLES))
def test_every_style_keeps_the_shape_and_shows_at_every_size(name, pictures):
    for picture in (pictures, pictures[..., :50, :77], torch.rand(1, 3, 16, 16)):
        styled = restyle(picture, [name] * len(picture))
        assert styled.shape == picture.shape and styled.min() >= 0 and styled.max() <= 1
    change = (restyle(pictures, [name] * 4) - pictures).abs().amax(1).mean((1, 2))
    assert (change > 0.02).all()
    flat = torch.zeros(1, 3, 32, 32)
    assert restyle(flat, [name]).isfinite().all()


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_styles_are_what_their_names_say(seed):
    picture = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(seed))

    def of(name, x=picture):
        return restyle(x, [name] * len(x))

    assert torch.allclose(of("a negative", of("a negative")), picture, atol=1e-6)
    gray = of("a black and white photograph")
    assert torch.equal(gray[:, 0], gray[:, 2]) and torch.allclose(of("a black and white photograph", gray), gray)
    brown = of("a sepia photograph")
    assert (brown[:, 0] >= brown[:, 1]).all() and (brown[:, 1] >= brown[:, 2]).all()
    order = gray[:, 1].flatten().argsort()
    assert all((brown[:, c].flatten()[order].diff() >= 0).all() for c in range(3)), "as bright as the luma"
    blocks = of("a mosaic of blocks")
    assert torch.allclose(of("a mosaic of blocks", blocks), blocks, atol=1e-6)
    assert torch.allclose(blocks.mean((2, 3)), picture.mean((2, 3)), atol=1e-5)
    assert all(len(torch.unique(one)) <= 16 * 22 for one in blocks.flatten(0, 1))
    assert len(torch.unique(of("a poster with few colors"))) <= 5


def test_paintings_are_smoother_and_drawings_white(pictures):
    grainy = (pictures + 0.05 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    oil = restyle(grainy, ["an oil painting"] * 4)
    assert all(roughness(a) < 0.6 * roughness(b) for a, b in zip(oil, grainy, strict=True))
    edge = torch.cat((torch.full((1, 3, 32, 16), 0.2), torch.full((1, 3, 32, 16), 0.8)), -1)
    assert torch.allclose(restyle(edge, ["an oil painting"]), edge, atol=1e-6), "edges stay sharp"
    pencil = restyle(pictures, ["a pencil drawing"] * 4)
    assert torch.equal(pencil[:, 0], pencil[:, 1]) and pencil.median() > 0.7
    strokes = restyle(torch.cat((torch.zeros(1, 3, 64, 32), torch.ones(1, 3, 64, 32)), -1), ["a pencil drawing"])
    assert strokes[0, 0, 32, 31] < 0.4 < 0.8 < strokes[0, 0, 32, 2], "a line at the edge, none in the dark"


def test_pictures_of_a_batch_do_not_mix(pictures):
    names = list(STYLES)[:4]
    whole = restyle(pictures, names)
    for row, name in enumerate(names):
        assert torch.allclose(whole[row], restyle(pictures[row : row + 1], [name])[0], atol=1e-6)


def test_drawn_styles_are_named_and_repeat(pictures):
    name_of = {words: name for name, more in STYLE_WORDS.items() for words in (name, *more)}
    assert set(STYLE_WORDS) == set(STYLES)
    results, words = style_edit(pictures, torch.Generator().manual_seed(2))
    again, _ = style_edit(pictures, torch.Generator().manual_seed(2))
    assert torch.equal(results, again)
    assert torch.equal(results, restyle(pictures, [name_of[one["caption"]] for one in words]))
    _, many = style_edit(torch.rand(300, 3, 16, 16), torch.Generator().manual_seed(3))
    assert {one["caption"] for one in many} == set(name_of)


@settings(max_examples=15, deadline=None)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=6), st.sampled_from(list(PLACES)), SEEDS)
def test_a_word_is_written_in_its_place_and_nowhere_else(word, place, seed):
    picture = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.25
    written = write(picture, word, place)
    changed = (written != picture).any(0)
    rows, columns = torch.nonzero(changed).unbind(1)
    middle = PLACES[place] * 96
    assert abs(float(rows.min() + rows.max() + 1) / 2 - middle) < 3
    assert abs(float(columns.min() + columns.max() + 1) / 2 - 64) < 3
    assert rows.max() - rows.min() < 0.3 * 96 and columns.max() - columns.min() < 0.97 * 128
    assert columns.min() > 0 and columns.max() < 127, "no letter is cut off"
    assert written.min() >= 0 and written.max() <= 1


@pytest.mark.parametrize("color", list(INKS))
def test_letters_have_the_asked_color_and_a_border(color):
    written = write(torch.full((3, 64, 64), 0.5), "HI", "middle", color)
    ink = torch.tensor(INKS[color])[:, None, None]
    assert ((written - ink).abs().amax(0) < 0.02).sum() > 80
    assert (written[:, 20:44].mean(0) < 0.1).any() or (written[:, 20:44].mean(0) > 0.9).any()


def test_ink_stands_out_and_letters_differ():
    for rgb in torch.rand(50, 3, generator=torch.Generator().manual_seed(0)):
        picture = rgb[:, None, None].expand(3, 32, 32)
        assert (torch.tensor(INKS[contrasting(picture, torch.ones(32, 32))]) - rgb).norm() > 0.7
    page = torch.zeros(3, 128, 128)
    sheets = [write(page, letter, "middle") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    pairs = [(a, b) for i, a in enumerate(sheets) for b in sheets[:i]]
    assert min(float((a - b).abs().sum()) for a, b in pairs) > 50


def test_drawn_words_are_words_or_letters_and_repeat(pictures):
    many, words = text_edit(torch.rand(200, 3, 32, 32), torch.Generator().manual_seed(1))
    said = [one["caption"] for one in words]
    assert many.shape == (200, 3, 32, 32) and all(2 <= len(word) <= 6 and word.isupper() for word in said)
    assert 0.55 < sum(word in WORDS for word in said) / 200 < 0.85 and len(WORDS) == len(set(WORDS)) >= 60
    first, second = (text_edit(pictures, torch.Generator().manual_seed(5), tuple(PLACES)) for _ in range(2))
    assert first[1] == second[1] and torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: restyle(torch.zeros(3, 32, 32), ["a negative"]), r"float picture \[B,3,H,W\]"),
        (lambda: restyle(torch.zeros(1, 3, 8, 32), ["a negative"]), "at least 16 x 16"),
        (lambda: restyle(torch.zeros(1, 3, 32, 32), ["a melody"]), "found 1 names with 'a melody'"),
        (lambda: restyle(torch.zeros(2, 3, 32, 32), ["a negative"]), "2 pictures .* found 1 names"),
        (lambda: write(torch.zeros(3, 32, 32), "hello"), "capital letters A to Z, found 'hello'"),
        (lambda: write(torch.zeros(3, 32, 32), "A", "left"), "place must be one of top, middle, bottom, found 'left'"),
        (lambda: write(torch.zeros(3, 32, 32), "A", "top", "mauve"), "color must be one of .*, found 'mauve'"),
        (lambda: text_edit(torch.zeros(3, 32, 32), torch.Generator()), r"float pictures \[B,3,H,W\]"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
