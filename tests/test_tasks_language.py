"""The registry: words, templates, and the grammar that paraphrases them."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwizard.comfyui_pixwizard.tasks import TASKS, get_task
from pixwizard.comfyui_pixwizard.tasks.defaults import DEFAULTS
from pixwizard.comfyui_pixwizard.tasks.language import paraphrase as language
from pixwizard.comfyui_pixwizard.tasks.language.grammar import (
    HELD_OUT_OWN,
    HELD_OUT_POLITE,
    HELD_OUT_PREFIXES,
    HELD_OUT_SYNONYMS,
    NO_ORDERS,
    OWN,
    POLITE,
    PREFIXES,
    SYNONYMS,
)
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import articled, canonical, lowered, paraphrase
from pixwizard.comfyui_pixwizard.tasks.language.templates import plural
from pixwizard.comfyui_pixwizard.tasks.task import fill

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
    "depth": ["walk", "gray", "relative"],
    "normal": ["normal"],
    "segmentation": ["palette", "ade20k"],
    "canny": ["lines", "edges"],
    **{name: ["edges"] for name in ("hed", "sketch", "line_art")},
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
    return {word: values[word][index % len(values[word])] for word in TASKS[name].words}


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
    every = (*task.instructions, *task.held_out)
    assert len({canonical(template) for template in every}) == len(every) >= 30
    assert 0.15 <= len(task.held_out) / len(every) <= 0.25
    assert len(task.guidance) == 2 and task.steps >= 2 and task.summary
    assert task.kind == KINDS.get(name, "image")
    assert list(task.codecs) == CODECS.get(name, ["picture"])
    needed = set(task.words)
    for template in every:
        assert sorted(re.findall(r"{(\w+)}", template)) == sorted(needed), "every template uses all the words, once"
        assert re.match(r"[A-Z{].*[\w.?}]$", template) and template.strip() == template
        assert template.count("; ") <= 1 and not re.search(r"[.?!] ", template), "one clause, one reason at most"
        assert len(template.split()) <= 16
    shapes = (r".*[^.?]$", r".*\?$", r".*; ", r"(?i)i(?:'d|'m)? |to ", r"[^.?]*[.?]$")
    for shape in shapes:
        assert any(re.match(shape, template) for template in every), shape
    lengths = [len(template.split()) for template in every]
    assert 4 <= sum(lengths) / len(lengths) <= 8, "text costs training time"


FORMS = {
    "referring_segmentation": {("caption", "color")},
    "referring_box": {("caption", "color"), ("class",), ("class", "color")},
    "keypoint": {("joints",)},
    "inpaint": {("caption",)},
    "depth": {("scale",)},
}
FORM_WORDS = dict(caption="the red cube", color="blue", joints="the nose in red", scale="relative")
FORM_WORDS["class"] = "red cube"


@pytest.mark.parametrize("name", NAMES)
def test_further_forms_are_complete(name: str) -> None:
    task = TASKS[name]
    every = [text for form in task.forms.values() for text in (*form.drawn, *form.held_out)]
    assert len({canonical(template) for template in every}) == len(every)
    assert set(task.forms) == {task.words} | FORMS.get(name, set())
    for form, templates in task.forms.items():
        texts = (*templates.drawn, *templates.held_out)
        assert len(texts) >= 10 and 0.15 <= len(templates.held_out) / len(texts) <= 0.25
        for template in texts:
            words = [word.replace("classes", "class") for word in re.findall(r"{(\w+)}", template)]
            assert sorted(words) == list(form), template
            assert re.match(r"[A-Z{].*[\w.?}]$", template) and template.strip() == template
            assert template.count("; ") <= 1 and not re.search(r"[.?!] ", template) and len(template.split()) <= 16
            opening = template.split()[0].lower()
            if form != task.words and template[-1] in ".?" and opening not in NO_ORDERS and opening[0] != "{":
                assert not re.search(r"(ing|tion|ness|ty|s|\W)$", opening), template
        said = {word: FORM_WORDS[word] for word in form} if form in FORMS.get(name, set()) else some_words(name, 0)
        for instruct, own in ((task.instruction, templates.drawn), (task.held_out_instruction, templates.held_out)):
            assert instruct(**said) == fill(own[0], said)
            text = instruct(seeded(1), **said)
            assert "{" not in text and not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)


def test_a_class_of_many_is_named_by_its_plural() -> None:
    assert fill("Detect all {classes}.", {"class": "red box"}) == "Detect all red boxes."
    named = [plural(phrase) for phrase in ("red ball", "person", "cherry", "bench", "toy", "police man")]
    assert named == ["red balls", "people", "cherries", "benches", "toys", "police men"]


def test_words() -> None:
    assert TASKS["denoise"].words == TASKS["outpaint"].words == TASKS["segmentation"].words == TASKS["pose"].words == ()
    for name in ("edit_remove", "edit_text", "text_to_image", "referring_box", *CONTROL.split()):
        assert TASKS[name].words == ("caption",)
    assert TASKS["edit_recolor"].words == TASKS["keypoint"].words == ("caption", "color")
    for name in ("edit_replace", "edit_texture", "edit_local"):
        assert TASKS[name].words == ("caption", "class")
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
    for template in (*TASKS[name].instructions, *TASKS[name].held_out):
        named = [other for other in own if re.search(own[other], template, re.IGNORECASE)]
        assert named == [name], template


def test_an_article_fits_its_word() -> None:
    task = TASKS["keypoint"]
    for color, article in (("red", "a"), ("orange", "an")):
        generator = seeded(4)
        drawn = [task.instruction(generator, caption="the nose", color=color) for _ in range(60)]
        found = [match.lower() for text in drawn for match in re.findall(rf"\b([Aa]n?) {color}", text)]
        assert len(found) > 20 and set(found) == {article}
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
    for text in drawn:
        assert not re.search(r"[{}]|\s\s|\.\.|\?\?|\?\.|,\.|\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert all(word.rstrip(".")[1:] in text for word in words.values())


def test_no_two_tasks_share_an_instruction() -> None:
    owner: dict[str, str] = {}
    for name in NAMES:
        generator = seeded(1)
        # The same words for all, so that only the templates tell the tasks apart.
        words = {
            word: {"caption": "the red cube", "color": "blue", "class": "flat"}[word] for word in TASKS[name].words
        }
        templates = (*TASKS[name].instructions, *TASKS[name].held_out)
        for text in [*templates, *(TASKS[name].instruction(generator, **words) for _ in range(120))]:
            assert owner.setdefault(text.lower().strip(" .?"), name) == name, text


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(NAMES), index=st.integers(0, 99), seed=st.integers(0, 99999), held_out=st.booleans())
def test_paraphrase_keeps_placeholders(name: str, index: int, seed: int, held_out: bool) -> None:
    templates = (*TASKS[name].instructions, *TASKS[name].held_out)
    template = templates[index % len(templates)]
    text = paraphrase(template, seeded(seed), held_out=held_out)
    assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", template))
    assert text == paraphrase(template, seeded(seed), held_out=held_out) and text.strip() == text
    assert not re.search(r"\s\s|[.,;:]{2}|\?[.,?]|please\W+please", text, re.IGNORECASE), text


@settings(max_examples=200, deadline=None)
@given(
    caption=st.from_regex(r"[A-Za-z][A-Za-z0-9 ,'-]{0,28}[a-z0-9]", fullmatch=True),
    index=st.integers(0, 99),
    seed=st.integers(0, 99999),
)
def test_a_caption_is_never_touched(caption: str, index: int, seed: int) -> None:
    name = ("edit_remove", "text_to_image", "depth_to_image", "referring_box")[index % 4]
    task = TASKS[name]
    text = (task.held_out_instruction if index % 8 > 3 else task.instruction)(seeded(seed), caption=caption)
    assert caption[1:] in text


# What may not change place: with these exchanged, a map that is asked for would be one that is given.
DIRECTION = ("from", "to", "into", "of", "this", "these", "map", "given", "its")


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from((*DENSE.split(), *CONTROL.split())), index=st.integers(0, 99), seed=st.integers(0, 99999))
def test_paraphrase_keeps_the_direction(name: str, index: int, seed: int) -> None:
    templates = TASKS[name].instructions
    template = templates[index % len(templates)]
    with pytest.MonkeyPatch.context() as patch:
        for rate in ("SWAP_RATE", "TYPO_RATE", "POLITE_RATE", "PREFIX_RATE"):
            patch.setattr(language, rate, 0.0)
        text = paraphrase(template, seeded(seed))
    kept = [[word for word in canonical(each) if word in DIRECTION] for each in (template, text)]
    assert kept[0] == kept[1], text


@pytest.mark.parametrize("name", DENSE.split())
def test_a_reading_never_speaks_of_a_map_that_is_given(name: str) -> None:
    maps = r"(?:canny|hed|depth|sketch|pose|skeletons?|segmentation|normals?|line (?:art|drawing)|scribble|edges)"
    for template in (*TASKS[name].instructions, *TASKS[name].held_out):
        given_map = rf"\b(?:from|given|this|these|my|follow|use|based on|behind) (?:the |an? )?(?:\w+ )?{maps}\b"
        found = re.search(given_map, template, re.IGNORECASE)
        assert not found, template


def test_paraphrase_uses_every_means() -> None:
    texts = {paraphrase("Remove the noise; the picture is grainy.", seeded(seed)) for seed in range(400)}
    joined = "\n".join(texts)
    assert len(texts) > 200
    pieces = (
        "get rid of", "Please", "Could you", "How can I", "The image is", "the pic is", "; ", "noisy", "speckled",
        "for me.", "Task: ", "Hello, ", "!", "noise. ", "emove noise",
    )  # fmt: skip
    for piece in pieces:
        assert piece in joined, piece
    letters = {word for text in texts for word in re.findall("[a-z]{5,}", text.lower())}
    known = set(re.findall("[a-z]{5,}", " ".join(paraphrase_words()).lower()))
    typos = letters - known
    assert 0 < len(typos) < 40


def paraphrase_words() -> list[str]:
    forms = [before + after for before, after in (*POLITE, *OWN)]
    return [word for group in SYNONYMS.values() for word in group] + forms + list(PREFIXES) + ["noise"]


def test_a_label_is_no_order() -> None:
    texts = {paraphrase("Depth map", seeded(seed)) for seed in range(200)}
    assert {"Depth map", "Depth map.", "depth map", "Depth map, please."} <= texts
    assert not any(re.match(r"(?i)(please|can|could|i |how|let|try|just)", text) for text in texts)
    assert any("please" not in text and text[-1] == "." for text in texts)


def test_only_orders_are_asked_for_politely() -> None:
    """Every word that may follow "please" or "how do I" is a verb: none is a noun, a name or a participle."""
    openings = set()
    for task in TASKS.values():
        for template in (*task.instructions, *task.held_out):
            word = template.split()[0].lower()
            if template[-1] in ".?" and word not in NO_ORDERS and word[0] != "{":
                openings.add(word)
    assert len(openings) > 150
    assert not {word for word in openings if re.search(r"(ing|tion|ness|ty|\W)$", word)} - {"bring", "caption"}
    assert not openings & {"image", "depth", "canny", "hed", "normal", "photo", "you", "he", "who"}


def test_own_forms_do_not_give_orders_to_oneself() -> None:
    texts = {paraphrase("Give me a clean copy.", seeded(seed)) for seed in range(300)}
    assert not any(re.search(r"(?i)want to|need to|help me|let'?s|how do i", text) for text in texts)
    assert any("want you to" in text for text in texts)


def test_a_capital_goes_only_where_it_may() -> None:
    assert lowered("The picture") == "the picture"
    assert [lowered(text) for text in ("I need it", "I'd like", "HED edges")] == ["I need it", "I'd like", "HED edges"]


def test_held_out_words_are_never_drawn() -> None:
    held_out = {word.lower() for group in HELD_OUT_SYNONYMS.values() for word in group}
    held_out |= {form.strip(" ,.").lower() for pair in (*HELD_OUT_POLITE, *HELD_OUT_OWN) for form in pair} - {"", "?"}
    held_out |= {prefix.strip(" ,:") for prefix in HELD_OUT_PREFIXES}
    drawn = [template for task in TASKS.values() for template in task.instructions]
    drawn += [word for group in SYNONYMS.values() for word in group]
    drawn += [form for pair in (*POLITE, *OWN) for form in pair] + list(PREFIXES)
    text = "\n".join(drawn).lower()
    assert [word for word in held_out if re.search(rf"\b{re.escape(word)}\b", text)] == []
    assert set(HELD_OUT_SYNONYMS) <= set(SYNONYMS)


def plain(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[\w'-]*\w", text.lower()))


@pytest.mark.parametrize("name", NAMES)
def test_training_draws_all_its_templates_and_none_that_is_held_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in [rate for rate in vars(language) if rate.endswith("_RATE")]:
        monkeypatch.setattr(language, rate, 0.0)
    task, words = TASKS[name], some_words(name, 1)
    wanted = [{plain(fill(text, words)) for text in texts} for texts in (task.instructions, task.held_out)]
    assert not wanted[0] & wanted[1]
    for instruct, texts in zip((task.instruction, task.held_out_instruction), wanted, strict=True):
        generator = seeded(2)
        assert {plain(instruct(generator, **words)) for _ in range(500)} == texts
    assert task.held_out_instruction(**words) == fill(task.held_out[0], words)


def test_held_out_paraphrases_use_held_out_words() -> None:
    texts = {paraphrase("Remove the noise.", seeded(seed), held_out=True) for seed in range(300)}
    joined = "\n".join(texts)
    for piece in ("Scrub the noise", "Be so kind as to", "Command: ", "Dear model, ", "I wish to", ", if possible."):
        assert piece in joined, piece
    assert not any(re.search(r"(?i)\b(please|could you|task:)", text) for text in texts)
