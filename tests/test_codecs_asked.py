"""The colours of marks that a sentence asks for, against those of the things that it names."""

import pytest
import torch

from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.codecs.asked import RELATIVE_SCALE, asked_codec, asked_colors, asked_options
from pixwizard.comfyui_pixwizard.tasks.language.paraphrase import paraphrase
from pixwizard.comfyui_pixwizard.tasks.task import fill

GROUNDING = {"overlay": "referring_segmentation", "box": "referring_box", "keypoint": "keypoint"}
DEFAULTS = {"overlay": "magenta", "box": "red"}
# Things with colours of their own, one of which is a box itself.
THINGS = (
    {"caption": "the blue box", "class": "blue box"},
    {"caption": "the leftmost cyan ball", "class": "cyan ball"},
    {"caption": "the small striped yellow box on the right", "class": "yellow thing"},
)
JOINTS = "the left elbow in red, the nose of the person on the right in orange and the right knee in green"


@pytest.mark.parametrize(("codec", "task"), GROUNDING.items())
def test_every_template_says_its_colour(codec: str, task: str) -> None:
    for form, templates in TASKS[task].forms.items():
        for template in (*templates.drawn, *templates.held_out):
            for thing in THINGS:
                said = thing | {"color": "green", "joints": JOINTS}
                wanted = ("red", "orange", "green") if "joints" in form else ("green",) if "color" in form else ()
                options = asked_options(codec, fill(template, {word: said[word] for word in form}))
                if codec == "keypoint":
                    assert options == {"colors": wanted}, template
                else:
                    assert options == {"color": wanted[0] if wanted else DEFAULTS[codec]}, template


@pytest.mark.parametrize(("codec", "task"), GROUNDING.items())
def test_paraphrases_say_it_too(codec: str, task: str) -> None:
    """Only a misspelt colour hides it, once in a thousand sentences."""
    generator, right, asked = torch.Generator().manual_seed(0), 0, 0
    for form, templates in TASKS[task].forms.items():
        said = THINGS[0] | {"color": "yellow", "joints": JOINTS}
        wanted = ("red", "orange", "green") if "joints" in form else ("yellow",) if "color" in form else ()
        for i in range(200):
            template = templates.drawn[i % len(templates.drawn)]
            text = fill(paraphrase(template, generator), {word: said[word] for word in form})
            # No colour and the default colour decode alike.
            right += asked_options(codec, text) == asked_options(codec, f"a {wanted[0]} {codec}" if wanted else "") or (
                asked_colors(codec, text) == wanted
            )
            asked += 1
    assert right / asked >= 0.995


@pytest.mark.parametrize(
    ("codec", "text", "colors"),
    [
        ("overlay", "Highlight the man in red.", ()),
        ("overlay", "Highlight the man in red with a blue overlay", ("blue",)),
        ("overlay", "Highlight the woman in red in yellow.", ("yellow",)),
        ("overlay", "Mark the pixels of the cat in blue and leave the rest unchanged.", ("blue",)),
        ("overlay", "highlight the red ball", ()),
        ("overlay", "Place a cyan mask over the dog", ("cyan",)),
        ("overlay", "Make the overlay on the dog green", ("green",)),
        ("overlay", "Put a mauve overlay on the dog", ()),
        ("box", "Put a green rectangle around the red car, please.", ("green",)),
        ("box", "Frame the ball in a cyan recttangle", ("cyan",)),
        ("box", "Detect all blue boxes", ()),
        ("box", "Which box holds the yellow frame?", ()),
        ("box", "Draw orange boxes around all chairs", ("orange",)),
        ("keypoint", "Put a green dot on the left elbow of the man in the blue shirt.", ("green",)),
        ("keypoint", "Mark the blue robot's nose with a yellow disc", ("yellow",)),
        ("keypoint", "Find the nose and make it orange", ("orange",)),
        ("keypoint", "Where is the nose?", ()),
        ("keypoint", "Put a red dot on the nose and a blue dot on the left knee", ("red", "blue")),
        ("keypoint", "Mark the nose in red, the left ear in blue", ("red", "blue")),
    ],
)
def test_colours_in_free_sentences(codec: str, text: str, colors: tuple[str, ...]) -> None:
    assert asked_colors(codec, text) == colors


def test_what_is_not_named_is_the_codecs_own() -> None:
    assert asked_options("overlay", "Highlight the dog") == {"color": "magenta"}
    assert asked_options("box", "Detect the dog") == {"color": "red"}
    assert asked_options("keypoint", "Where is the nose?") == {"colors": ("red",)}
    assert asked_options("binary", "Make a blue mask of the dog") == {}


def test_every_template_of_depth_says_its_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    for form, templates in TASKS["depth"].forms.items():
        words = dict.fromkeys(form, RELATIVE_SCALE)
        for template in (*templates.drawn, *templates.held_out):
            for said in (template, *(paraphrase(template, generator) for _ in range(20))):
                for codec in ("walk", "gray"):
                    assert asked_codec(codec, fill(said, words)) == ("relative" if form else codec), said


@pytest.mark.parametrize(
    ("text", "relative"),
    [
        ("RELATIVE DEPTH", True),
        ("How near is each thing, relatively?", True),
        ("How deep is it relative to the wall", True),
        ("How far is each pixel relative to the camera?", False),
        ("Metric depth, not relative depth", False),
        ("Depth in metres of each relative in the photo", False),
        ("Depth map", False),
    ],
)
def test_relative_depth_in_free_sentences(text: str, relative: bool) -> None:
    assert asked_codec("gray", text) == ("relative" if relative else "gray")
    assert asked_codec("normal", text) == "normal"
