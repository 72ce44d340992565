"""The registry: words, templates, paraphrases, and guessing a task from an instruction."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks import TASKS, get_task, guess_task, words_for
from pixwizard.comfyui_pixwizard.tasks.defaults import DEFAULTS
from pixwizard.comfyui_pixwizard.tasks.language import paraphrase

NAMES = sorted(TASKS)
FIRST_VERSION = {
    "denoise",
    "low_light",
    "derain",
    "inpaint",
    "depth",
    "normal",
    "segmentation",
    "referring_segmentation",
    "edit_remove",
    "edit_recolor",
    "text_to_image",
}
OBJECTS = (
    "the red cube",
    "the big blue sphere left of the green cone",
    "a yellow cylinder",
    "the farthest object",
    "the small gray box on the right",
    "the cube",
)
SCENES = (
    "A red cube on grass next to a blue sphere.",
    "two cones and a white cylinder on sand under a dark sky",
    "a rainy street at night",
    "a blue sphere behind a green box on a checkered floor",
)
COLORS = ("red", "green", "blue", "bright orange", "gray")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_words(name: str, index: int) -> dict[str, str]:
    captions = SCENES if name == "text_to_image" else OBJECTS
    values = {"caption": captions[index % len(captions)], "color": COLORS[index % len(COLORS)]}
    return {word: values[word] for word in words_for(name)}


def test_the_tasks_of_this_version() -> None:
    assert set(TASKS) >= FIRST_VERSION
    assert set(DEFAULTS) == set(TASKS)
    assert all(task.name == name for name, task in TASKS.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_complete(name: str) -> None:
    task = TASKS[name]
    assert len(set(task.instructions)) >= 10
    assert len(task.guidance) == 2 and task.steps >= 2 and task.summary and task.domain
    assert task.kind in {"image", "depth", "normal", "classes", "mask"}
    needed = set(task.words)
    for template in task.instructions:
        assert set(re.findall(r"{(\w+)}", template)) == needed, "every template uses all the words"
        assert template[0].isupper() and template[-1] in ".?"


def test_words() -> None:
    assert words_for("denoise") == ()
    assert words_for("edit_remove") == words_for("text_to_image") == words_for("referring_segmentation") == ("caption",)
    assert words_for(TASKS["edit_recolor"]) == ("caption", "color")
    with pytest.raises(ValueError, match=r"the tasks are .*found 'denoize'"):
        get_task("denoize")


def test_missing_and_unknown_words_are_named() -> None:
    with pytest.raises(ValueError, match=r"needs the words caption, color; missing: color: pass color="):
        TASKS["edit_recolor"].instruction(seeded(0), caption="the cube")
    with pytest.raises(ValueError, match="missing: caption"):
        TASKS["text_to_image"].instruction(seeded(0), caption=" ")
    with pytest.raises(ValueError, match="takes no words, found caption"):
        TASKS["denoise"].instruction(seeded(0), caption="x")


@pytest.mark.parametrize("name", NAMES)
def test_instructions_are_seeded_varied_and_filled(name: str) -> None:
    task = TASKS[name]
    words = some_words(name, 0)
    assert task.instruction(seeded(5), **words) == task.instruction(seeded(5), **words)
    assert task.instruction(**words) == task.instruction(**words)
    generator = seeded(0)
    drawn = [task.instruction(generator, **words) for _ in range(200)]
    assert len(set(drawn)) > 80
    caption = words.get("caption", "").rstrip(".")
    for text in drawn:
        assert not re.search(r"[{}]|\s\s|\.\.|\?\?|\?\.|,\.|\ba image", text), text
        assert caption[1:] in text and words.get("color", "") in text


def test_no_two_tasks_share_an_instruction() -> None:
    owner: dict[str, str] = {}
    for name in NAMES:
        generator = seeded(1)
        # The same words for all, so that only the templates tell the tasks apart.
        words = {word: {"caption": "the red cube", "color": "blue"}[word] for word in words_for(name)}
        for text in [*TASKS[name].instructions, *(TASKS[name].instruction(generator, **words) for _ in range(400))]:
            assert owner.setdefault(text.lower().strip(" .?"), name) == name, text


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(NAMES), index=st.integers(0, 11), seed=st.integers(0, 99999))
def test_paraphrase_keeps_placeholders(name: str, index: int, seed: int) -> None:
    templates = TASKS[name].instructions
    template = templates[index % len(templates)]
    text = paraphrase(template, seeded(seed))
    assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", template))
    assert text == paraphrase(template, seeded(seed)) and text.strip() == text


def test_paraphrase_uses_every_means() -> None:
    texts = {paraphrase("Remove the noise; the picture is grainy.", seeded(seed)) for seed in range(300)}
    joined = "\n".join(texts)
    assert len(texts) > 150
    for piece in ("get rid of", "Please", "Could you", "The image is", "the photo is", "; ", "noisy", "speckled"):
        assert piece in joined, piece
    letters = {word for text in texts for word in re.findall("[a-z]{5,}", text.lower())}
    known = set(re.findall("[a-z]{5,}", " ".join(paraphrase_words()).lower()))
    typos = letters - known
    assert 0 < len(typos) < 30


def paraphrase_words() -> list[str]:
    from pixwizard.comfyui_pixwizard.tasks.language import POLITE, SYNONYMS

    return [w for group in SYNONYMS.values() for w in group] + [a + b for a, b in POLITE] + ["noise"]


def test_guess_is_right_on_paraphrases() -> None:
    wrong, total = [], 0
    for name in NAMES:
        generator = seeded(7)
        for index in range(40):
            text = TASKS[name].instruction(generator, **some_words(name, index))
            total += 1
            if guess_task(text) != name:
                wrong.append((name, guess_task(text), text))
    assert 1 - len(wrong) / total >= 0.98, wrong


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("denoise", "denoise"),
        ("get rid of the noise", "denoise"),
        ("remove rain", "derain"),
        ("too dark", "low_light"),
        ("inpaint", "inpaint"),
        ("depth map", "depth"),
        ("surface normals", "normal"),
        ("semantic segmentation please", "segmentation"),
        ("highlight the dog", "referring_segmentation"),
        ("remove the car", "edit_remove"),
        ("turn the car blue", "edit_recolor"),
        ("draw a rainy street at night", "text_to_image"),
        ("hello world", None),
        ("", None),
        ("???", None),
    ],
)
def test_guess_on_free_text(text: str, task: str | None) -> None:
    assert guess_task(text) == task
