"""Guessing the task from a sentence: written freely, by the grammar, misspelt, in both directions."""

import json
from pathlib import Path

import pytest
import torch

from pixwizard.comfyui_pixwizard.tasks import TASKS, guess_task
from pixwizard.comfyui_pixwizard.tasks.language.guess_words import stem
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import canonical
from pixwizard.comfyui_pixwizard.tasks.task import fill
from pixwizard.training.evaluate.following import UNSEEN

# Written as other people might, before the templates that the guess counts; its constants were chosen on them too, so
# the harder test is the one on the paraphrases of the evaluation.
FREE: list[tuple[str, str]] = [
    (task, text) for task, text in json.loads((Path(__file__).parent / "data/guess_sentences.json").read_text())
]
CAPTIONS = {
    "keypoint": ("the left elbow", "the nose"),
    "edit_add": ("a small red ball on the left", "a blue cube in front"),
    "edit_background": ("a striped wall", "a cloudy sky"),
    "edit_style": ("a pencil drawing", "an oil painting"),
    "edit_global": ("at night", "in warm evening light"),
    "edit_text": ("HELLO", "OPEN"),
    **{
        name: ("A red cube on grass next to a blue sphere.", "a man with his arms up")
        for name in TASKS
        if TASKS[name].domain == "control"
    },
    "text_to_image": ("a rainy street at night", "two cones and a white cylinder on sand under a dark sky"),
}


def further_forms(held_out: bool) -> list[tuple[str, str]]:
    """Sentences of the forms of tasks that are not their usual ones."""
    said = {
        "caption": "the red cube",
        "color": "blue",
        "class": "red cube",
        "joints": "the nose in red, the knee in blue",
        "scale": "relative",
    }
    generator, asked = torch.Generator().manual_seed(8), []
    for name, task in TASKS.items():
        instruct = task.held_out_instruction if held_out else task.instruction
        for form in list(task.forms)[1:]:
            asked += [(name, instruct(generator, **{word: said[word] for word in form})) for _ in range(20)]
    return asked


CLASSES = {"edit_replace": "a blue cone", "edit_texture": "striped", "edit_local": "larger"}


def words(name: str, index: int) -> dict[str, str]:
    captions = CAPTIONS.get(name, ("the red cube", "the big blue sphere left of the green cone"))
    found = {"caption": captions[index % 2], "color": ("red", "bright orange")[index % 2]}
    found["class"] = CLASSES.get(name, "")
    return {word: found[word] for word in TASKS[name].words}


def share(asked: list[tuple[str, str]]) -> float:
    return sum(guess_task(text) == name for name, text in asked) / len(asked)


def drawn(held_out: bool) -> list[tuple[str, str]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (name, (task.held_out_instruction if held_out else task.instruction)(generator, **words(name, index)))
        for name, task in TASKS.items()
        for index in range(20)
    ]


def test_guess_is_right_on_free_sentences() -> None:
    assert len(FREE) >= 200 and {task for task, _ in FREE} == set(TASKS)
    templates = {canonical(text) for task in TASKS.values() for text in (*task.instructions, *task.held_out)}
    new = [(task, text) for task, text in FREE if canonical(text) not in templates]
    assert len(new) >= 200, "bare names, which anyone would choose, are templates too"
    assert share(FREE) >= 0.87 and share(new) >= 0.84


def test_guess_is_right_on_the_grammars_paraphrases() -> None:
    assert share(drawn(held_out=False)) >= 0.96
    # Wordings that it has not counted either.
    assert share(drawn(held_out=True)) >= 0.77


def test_guess_is_right_on_further_forms() -> None:
    assert share(further_forms(held_out=False)) >= 0.96 and share(further_forms(held_out=True)) >= 0.77


def test_guess_on_sentences_that_share_no_pattern_with_the_templates() -> None:
    asked = [(n, fill(text, words(n, i))) for n, texts in UNSEEN.items() for i, text in enumerate(texts)]
    assert share(asked) >= 0.45, "chance is 0.02"


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.domain in ("dense", "control")])
def test_a_map_that_is_asked_for_is_told_from_one_that_is_given(name: str) -> None:
    for template in TASKS[name].instructions:
        guess = guess_task(fill(template, words(name, 0)))
        assert guess is not None and TASKS[guess].domain == TASKS[name].domain, template


@pytest.mark.parametrize(
    ("text", "right"),
    [("remove the shaodw", "deshadow"), ("remove the waterrmark", "watermark"), ("segmentaton map", "segmentation")],
)
def test_a_misspelt_word_is_understood(text: str, right: str) -> None:
    assert guess_task(text) == right


def test_stems() -> None:
    assert len({stem(word) for word in ("blur", "blurry", "blurred", "blurring")}) == 1
    assert len({stem(word) for word in ("segment", "segmentation", "segments")}) == 1
    assert len({stem(word) for word in ("canny", "can", "carry", "car", "care")}) >= 4


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
        ("draw a cat on a sofa", "text_to_image"),
        ("upscale", "super_resolution"),
        ("old faded photo", "color_fade"),
        ("fix the blur", "deblur"),
        ("dehaze", "dehaze"),
        ("snow", "desnow"),
        ("raindrops", "raindrop"),
        ("remove the dog's shadow", "deshadow"),
        ("moire", "demoire"),
        ("flash reflection", "flash_reflection"),
        ("restore the face", "face"),
        ("remove the watermark", "watermark"),
        ("outpaint", "outpaint"),
        ("canny", "canny"),
        ("soft edges", "hed"),
        ("sketch", "sketch"),
        ("line art", "line_art"),
        ("skeleton", "pose"),
        ("a picture of a cat from this depth map", "depth_to_image"),
        ("turn this sketch into a cat on a sofa", "sketch_to_image"),
        ("red box around the dog", "referring_box"),
        ("relative depth map", "depth"),
        ("show how near or far things are relative to each other", "depth"),
        ("draw a blue box around the dog", "referring_box"),
        ("mark every chair", "referring_box"),
        ("detect all red balls", "referring_box"),
        ("highlight the dog in green", "referring_segmentation"),
        ("put a blue overlay on the dog", "referring_segmentation"),
        ("mark the left elbow in red and the nose in blue", "keypoint"),
        ("fill the hole with a red ball", "inpaint"),
        ("binary mask of the dog", "referring_mask"),
        ("put a green dot on the left elbow", "keypoint"),
        ("add a dog on the left", "edit_add"),
        ("replace the cat with a dog", "edit_replace"),
        ("make the dog bigger", "edit_local"),
        ("make it look like a watercolor painting", "edit_style"),
        ("give the ball a striped texture", "edit_texture"),
        ("change the background to a beach", "edit_background"),
        ("relight the scene as if it were dawn", "edit_global"),
        ("write HELLO", "edit_text"),
        ("write 42", "edit_text"),
        ("hello world", None),
        ("", None),
        ("???", None),
    ],
)
def test_guess_on_free_text(text: str, task: str | None) -> None:
    assert guess_task(text) == task


def test_without_a_picture_tasks_that_need_none_come_first():
    assert guess_task("Draw a red ball.", has_image=False) == "text_to_image"
    assert guess_task("Remove the noise from this picture.", has_image=False) == "denoise"
