"""The registry: words, templates, paraphrases, and guessing a task from an instruction."""

import re
import statistics
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks import TASKS, get_task, guess_task, words_for
from pixwizard.comfyui_pixwizard.tasks.defaults import DEFAULTS
from pixwizard.comfyui_pixwizard.tasks.language import articled, paraphrase

NAMES = sorted(TASKS)
RESTORATION = (
    "denoise low_light derain raindrop demoire dehaze deblur desnow deshadow flash_reflection face watermark "
    "super_resolution color_fade"
)
DENSE = "depth normal segmentation canny hed sketch line_art pose"
CONTROL = (
    "canny_to_image hed_to_image depth_to_image sketch_to_image pose_to_image segmentation_to_image normal_to_image "
    "line_art_to_image"
)
GROUNDING = "referring_segmentation referring_box referring_mask keypoint"
EDITING = (
    "edit_remove edit_recolor edit_replace edit_add edit_background edit_style edit_texture edit_local edit_global "
    "edit_text"
)
DOMAINS = {
    "restoration": RESTORATION,
    "painting": "inpaint outpaint",
    "dense": DENSE,
    "control": CONTROL,
    "grounding": GROUNDING,
    "editing": EDITING,
    "generation": "text_to_image",
}
KINDS = {
    "depth": "depth",
    "normal": "normal",
    "segmentation": "classes",
    **dict.fromkeys(("canny", "hed", "sketch", "line_art"), "edges"),
    "pose": "pose",
    "referring_segmentation": "mask",
    "referring_mask": "mask",
    "referring_box": "boxes",
    "keypoint": "keypoints",
}
CODECS = {
    "depth": ["walk", "gray"],
    "normal": ["normal"],
    "segmentation": ["palette", "ade20k"],
    **{name: ["edges"] for name in ("canny", "hed", "sketch", "line_art")},
    "pose": ["pose"],
    "referring_segmentation": ["overlay"],
    "referring_mask": ["binary"],
    "referring_box": ["box"],
    "keypoint": ["keypoint"],
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


# What the words of a task name, where it is not an object, a scene or a colour.
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "text_to_image": {"caption": SCENES},
    **{name: {"caption": SCENES} for name in CONTROL.split()},
    "keypoint": {"caption": ("the left elbow", "the nose", "the right knee")},
    "edit_replace": {"class": ("a blue cone", "a large green box", "an orange cylinder")},
    "edit_add": {"caption": ("a small red ball on the left", "a blue cube in front")},
    "edit_background": {"caption": ("a striped wall", "a cloudy sky", "sand")},
    "edit_style": {"caption": ("a pencil drawing", "a sepia photograph", "an oil painting")},
    "edit_texture": {"class": ("plain", "striped", "checkered")},
    "edit_local": {"class": ("larger", "smaller")},
    "edit_global": {"caption": ("at night", "in warm evening light", "under a red sun")},
    "edit_text": {"caption": ("HELLO", "OPEN", "B12")},
}


def some_words(name: str, index: int) -> dict[str, str]:
    values = {"caption": OBJECTS, "color": COLORS} | WORDS.get(name, {})
    return {word: values[word][index % len(values[word])] for word in words_for(name)}


def test_the_tasks_and_their_domains() -> None:
    assert {name: task.domain for name, task in TASKS.items()} == {
        name: domain for domain, names in DOMAINS.items() for name in names.split()
    }
    assert len(TASKS) == 47 and set(DEFAULTS) == set(TASKS)
    assert all(task.name == name for name, task in TASKS.items())
    assert [name for name in TASKS if not TASKS[name].needs_image] == ["text_to_image"]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_complete(name: str) -> None:
    task = TASKS[name]
    assert len(set(task.instructions)) >= 12
    assert len(task.guidance) == 2 and task.steps >= 2 and task.summary
    assert task.kind == KINDS.get(name, "image")
    assert list(task.codecs) == CODECS.get(name, ["picture"])
    needed = set(task.words)
    for template in task.instructions:
        assert set(re.findall(r"{(\w+)}", template)) == needed, "every template uses all the words"
        assert template[0].isupper() and template[-1] in ".?"
        assert template.count("; ") <= 1 and not re.search(r"[.?] ", template), "one clause, one reason at most"


def test_words() -> None:
    assert words_for("denoise") == words_for("outpaint") == words_for("segmentation") == words_for("pose") == ()
    for name in ("edit_remove", "edit_text", "text_to_image", "referring_box", *CONTROL.split()):
        assert words_for(name) == ("caption",)
    assert words_for(TASKS["edit_recolor"]) == words_for("keypoint") == ("caption", "color")
    for name in ("edit_replace", "edit_texture", "edit_local"):
        assert words_for(name) == ("caption", "class")
    with pytest.raises(ValueError, match=r"the tasks are .*found 'denoize'"):
        get_task("denoize")


@pytest.mark.parametrize("name", CONTROL.split())
def test_control_names_its_map(name: str) -> None:
    own = {
        "canny_to_image": r"Canny",
        "hed_to_image": r"HED|soft boundar",
        "depth_to_image": r"depth",
        "sketch_to_image": r"sketch|scribble",
        "pose_to_image": r"pose|skeleton|stick|limbs",
        "segmentation_to_image": r"segmentation|class|semantic",
        "normal_to_image": r"normal",
        "line_art_to_image": r"line art|line drawing|ink lines",
    }
    for template in TASKS[name].instructions:
        named = [other for other in own if re.search(own[other], template, re.IGNORECASE)]
        assert named == [name], template


def test_an_article_fits_its_word() -> None:
    task = TASKS["keypoint"]
    for color, article in (("red", "a"), ("orange", "an")):
        generator = seeded(4)
        drawn = [task.instruction(generator, caption="the nose", color=color) for _ in range(60)]
        assert all(re.search(rf"\b[{article[0]}{article[0].upper()}]{article[1:]} {color}", text) for text in drawn)
    assert articled("Get an picture, a image, a {class} one") == "Get a picture, an image, a {class} one"


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
        assert not re.search(r"[{}]|\s\s|\.\.|\?\?|\?\.|,\.|\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert caption[1:] in text and words.get("color", "") in text and words.get("class", "") in text


def test_no_two_tasks_share_an_instruction() -> None:
    owner: dict[str, str] = {}
    for name in NAMES:
        generator = seeded(1)
        # The same words for all, so that only the templates tell the tasks apart.
        words = {word: {"caption": "the red cube", "color": "blue", "class": "flat"}[word] for word in words_for(name)}
        for text in [*TASKS[name].instructions, *(TASKS[name].instruction(generator, **words) for _ in range(120))]:
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
    wrong, seconds = [], []
    for name in NAMES:
        generator = seeded(7)
        for index in range(30):
            text = TASKS[name].instruction(generator, **some_words(name, index))
            start = time.process_time()
            guess = guess_task(text)
            seconds.append(time.process_time() - start)
            if guess != name:
                wrong.append((name, guess, text))
    assert len(wrong) <= 0.02 * len(seconds), wrong
    assert statistics.median(seconds) < 0.02, "typically 0.001 s"


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
