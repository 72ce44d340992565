"""Instructions that training never shows: does the model follow words, or has it memorised the templates?

For each task a few sentences with other verbs and other constructions than the templates and the grammar of
comfyui_pixwizard/tasks make, out of plain words most of which training uses somewhere. They are for tests only.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ...comfyui_pixwizard.tasks import TASKS, get_task
from ...comfyui_pixwizard.tasks.language.grammar import SYNONYMS
from ...comfyui_pixwizard.tasks.language.paraphrase import canonical
from ...comfyui_pixwizard.tasks.task import fill

UNSEEN: dict[str, tuple[str, ...]] = {
    "denoise": (
        "I can see too many speckles here, so smooth it all.",
        "There is grain all over it and I want none.",
        "Undo the random dots that the camera put everywhere.",
        "Leave only the scene and none of its noise.",
    ),
    "low_light": (
        "I can hardly see a thing, so switch on a lamp.",
        "Too little light fell on this; let more in.",
        "Night hides all the detail, make it day.",
        "What is it like here with the lamps on?",
    ),
    "derain": (
        "Stop the rain that falls over this street.",
        "It rains all over the place and I want none of it.",
        "I do not want these wet streaks in front of me.",
        "Let the weather be dry.",
    ),
    "raindrop": (
        "My glass is wet in front, so let me look through.",
        "There are drops on my window that I do not want.",
        "Water sits on the camera; take it off.",
        "No more round drops between me and the scene.",
    ),
    "demoire": (
        "My screen made these colored ripples, and I want none.",
        "There are waves from the monitor all over; take them off.",
        "Leave the screen as it is but without its wavy bands.",
        "Rainbow waves spoil what the display shows, undo them.",
    ),
    "dehaze": (
        "The air is full of mist and I want it clear.",
        "I can not see far, the fog is too strong.",
        "Let me look through this mist.",
        "What is this place like once the fog is gone?",
    ),
    "deblur": (
        "My camera moved, so all edges smear; make up for it.",
        "Nothing in here is in focus, set it right.",
        "It came out soft and I want it crisp.",
        "The lens was not in focus, make up for that.",
    ),
    "desnow": (
        "White flakes fall in front of everything; leave them out.",
        "I want to see this street once the snow has stopped.",
        "Let no flake stay in the air.",
        "There is too much snow between me and the place.",
    ),
    "deshadow": (
        "Something blocks the light on the ground; make up for it.",
        "The shade on the floor should go.",
        "Let the light reach all parts of the floor.",
        "I do not want to see where light was blocked by a thing.",
    ),
    "flash_reflection": (
        "My flash looks back at me from the window; take it off.",
        "Something is mirrored by the glass and I do not want it.",
        "There is a white glare, let me see through the pane.",
        "Let the window be free of mirrored light.",
    ),
    "face": (
        "I can hardly see who this person is; make the eyes and skin real.",
        "Her portrait came out bad, set it right.",
        "Let me see every feature of this man in fine detail.",
        "These eyes and this mouth are a smear, fix them.",
    ),
    "watermark": (
        "Somebody printed a logo on top; take that off.",
        "There are letters over my photo that do not belong there.",
        "I want this without the stamp on it.",
        "No more words across my picture.",
    ),
    "super_resolution": (
        "It is far too small, I want to see the fine parts.",
        "I see only blocks, so give me many more pixels.",
        "There are too few pixels in here.",
        "Let me look at this as if it were four times as large.",
    ),
    "color_fade": (
        "This old print has lost its red and blue; put them back.",
        "So much color is lost over the years; put it back in.",
        "It looks pale and old, I want it rich.",
        "Time made it pale and yellow, set it right.",
    ),
    "inpaint": (
        "There are holes in it; put something fitting there.",
        "Somebody cut parts out, paint them again.",
        "What the blank shapes hide, you may invent.",
        "Some part is gone and I want to see it.",
    ),
    "outpaint": (
        "Let me see what lies left and right of this view.",
        "The frame is too small, so give me what is around it.",
        "Continue to paint past the sides.",
        "There is a blank strip around it; carry on the scene there.",
    ),
    "depth": (
        "I want to know how many metres it is to every point.",
        "What is near, and what is far?",
        "How long is the way from the lens to each thing?",
        "For all pixels, answer how far off they are.",
    ),
    "normal": (
        "I want to know where each surface looks.",
        "Color all the sides of things by the way they point.",
        "How is each part of the scene turned?",
        "Left, right, up or towards me: where does this surface look?",
    ),
    "segmentation": (
        "What kind of thing is at each pixel?",
        "Paint all things of one kind in one color.",
        "Sort the pixels into kinds.",
        "I want to know what is what, as flat colors.",
    ),
    "canny": (
        "I want what Canny finds in here.",
        "Do it the way of Canny, with thin white lines.",
        "Where does Canny put a line?",
        "Let Canny look at this.",
    ),
    "hed": (
        "I want a soft glow where one object ends.",
        "Where do things end? Answer with soft HED lines.",
        "Let HED look at this.",
        "Holistic edges are what I want, white and soft.",
    ),
    "sketch": (
        "Pretend to scribble this by hand.",
        "Do this by hand with a few loose strokes.",
        "I want a rough drawing by hand.",
        "What you see, scribble it quick.",
    ),
    "line_art": (
        "I want the ink lines only.",
        "Do this with a pen, lines and nothing else.",
        "Fine pen lines are all that should stay.",
        "Leave only what a pen draws, with no shade.",
    ),
    "pose": (
        "How do these people hold their limbs?",
        "I want colored sticks where the limbs are.",
        "Where are all the joints of the body?",
        "Show joints and limbs of all people in color.",
    ),
    "canny_to_image": (
        "I have the Canny lines of {caption}; do the rest.",
        "Here is what Canny found, and I want to see {caption}.",
        "Let {caption} grow out of these thin Canny lines.",
        "What does {caption} look like if Canny sees this?",
    ),
    "hed_to_image": (
        "I have soft HED edges of {caption}; do the rest.",
        "Here is what HED saw, and I want to see {caption}.",
        "Let {caption} grow out of these soft glowing lines.",
        "What does {caption} look like if HED sees this?",
    ),
    "depth_to_image": (
        "I have the distances of {caption}; do the rest.",
        "Here is near and far, and I want to see {caption}.",
        "Let {caption} have the depth that you see here.",
        "What does {caption} look like if it is this far off?",
    ),
    "sketch_to_image": (
        "I have scribbled {caption}; do the rest.",
        "Here is a rough drawing by hand, and I want to see {caption}.",
        "Let {caption} grow out of my loose strokes.",
        "What does {caption} look like if I sketch it so?",
    ),
    "pose_to_image": (
        "I have only the joints of {caption}; do the rest.",
        "Here is how the body stands, and I want to see {caption}.",
        "Let {caption} stand as these sticks do.",
        "What does {caption} look like with its limbs held so?",
    ),
    "segmentation_to_image": (
        "I have the classes of {caption}; do the rest.",
        "Here is what is what in flat class colors, and I want to see {caption}.",
        "Let {caption} grow out of these flat regions.",
        "What does {caption} look like if the classes lie so?",
    ),
    "normal_to_image": (
        "I have the normals of {caption}; do the rest.",
        "Here is where each surface looks, and I want to see {caption}.",
        "Let {caption} have the normals that you see here.",
        "What does {caption} look like if its surfaces tilt so?",
    ),
    "line_art_to_image": (
        "I have inked {caption} with a pen; do the rest.",
        "Here are clean pen lines, and I want to see {caption}.",
        "Let {caption} grow out of this line drawing.",
        "What does {caption} look like, if a pen traced it so?",
    ),
    "referring_segmentation": (
        "I want to know where {caption} is.",
        "Where is {caption}, in see-through magenta?",
        "Let {caption} glow magenta.",
        "Cover just {caption} and nothing else in see-through paint.",
    ),
    "referring_box": (
        "I want red lines on all four sides of {caption}.",
        "Where is {caption}? Answer with a box.",
        "Let a red rectangle run around {caption}.",
        "Which red box is just large enough for {caption}?",
    ),
    "referring_mask": (
        "Be white where {caption} is, and black elsewhere.",
        "Black out all that is not {caption}.",
        "I want {caption} white and nothing else.",
        "All is black here but {caption}; make it white.",
    ),
    "keypoint": (
        "I want {caption} to have a {color} point.",
        "Let {caption} wear a {color} disc.",
        "Where {caption} is, there should be a round {color} spot.",
        "Here is a {color} disc, and it belongs on {caption}.",
    ),
    "edit_remove": (
        "There should be nothing where {caption} is.",
        "Leave all the rest, but not {caption}.",
        "What is this scene like without {caption}?",
        "Empty the place where {caption} is.",
    ),
    "edit_recolor": (
        "I want {caption} in {color}.",
        "Only {color} will do for {caption}.",
        "{color} is what I want for {caption}.",
        "What is {caption} like in {color}?",
    ),
    "edit_replace": (
        "I want {class} and not {caption}.",
        "Take {caption} away and let {class} stand there.",
        "Where {caption} was, there is now {class}.",
        "I see {caption} where I want {class}.",
    ),
    "edit_add": (
        "I also want {caption}.",
        "Something is missing here, namely {caption}.",
        "Let there be {caption} too.",
        "What is this scene like with {caption} in it?",
    ),
    "edit_background": (
        "I want {caption} at the back.",
        "Let the objects stand before {caption}.",
        "Leave the objects but move them in front of {caption}.",
        "Behind it all there should be {caption}.",
    ),
    "edit_style": (
        "I want this as {caption}.",
        "Pretend that this is {caption}.",
        "Do the same scene as {caption}.",
        "What if all this were {caption}?",
    ),
    "edit_texture": (
        "I want {caption} to be {class} all over.",
        "Dress {caption} in {class} paint.",
        "What is {caption} like with {class} sides?",
        "Something {class} should be on {caption}.",
    ),
    "edit_local": (
        "I want to see {caption} {class}.",
        "The rest stays, but {caption} gets {class}.",
        "What if {caption} were {class}?",
        "Let only {caption} turn {class}.",
    ),
    "edit_global": (
        "What is it like here {caption}?",
        "I want to be here {caption}.",
        "Take the same shot {caption}.",
        "We are here {caption}, so show it like that.",
    ),
    "edit_text": (
        "I want to read {caption} here.",
        "There should be letters here that spell {caption}.",
        "Spell {caption} over the scene.",
        "Let big letters make up {caption}.",
    ),
    "text_to_image": (
        "I want to see {caption}.",
        "What does {caption} look like?",
        "There is nothing yet, and I want {caption}.",
        "Show me {caption} out of nothing.",
    ),
}

# Words without much meaning: two sentences may have them in common.
FUNCTION_TEXT = (
    "a the this that these it its is are be was were has have had do does of to in on at by for from with and but or "
    "so as if i me my you we not no there here what which where how all"
)
FUNCTION_WORDS = frozenset(FUNCTION_TEXT.split())
LONGEST = 3


class Overlap(NamedTuple):
    """What an unseen sentence shares with the templates."""

    same: bool  # it is a template of any task but for synonyms and politeness
    opening: bool  # its first two words open a template of its task
    run: int  # most words in a row that a template of its task has too
    content: int  # the same without function words
    known: float  # share of its words that the templates of all tasks and the grammar use


def unseen_instruction(task: str, index: int, **words: str) -> str:
    """Test-only instruction of a task, the index-th modulo their number, with its words filled in.

    Raises:
        ValueError: no task of this name, or words other than the task's.
    """
    needed = get_task(task).words
    if set(words) != set(needed):
        given = ", ".join(sorted(words)) or "none"
        raise ValueError(f"task {task} takes the words {', '.join(needed) or 'none'}, found {given}: pass just these")
    return fill(UNSEEN[task][index % len(UNSEEN[task])], words)


def overlap(task: str, sentence: str) -> Overlap:
    """How near a sentence, its placeholders not filled in, comes to the templates that training draws from.

    Raises:
        ValueError: no task of this name.
    """
    words, own = canonical(sentence), _spelled(get_task(task).name)
    known = _known_words()
    plain = [word for word in words if word[0] != "{"]
    return Overlap(
        same=any(words in _spelled(other) for other in TASKS),
        opening=any(words[:2] == text[:2] for text in own),
        run=max(_common_run(words, text) for text in own),
        content=max(_common_run(_content(words), _content(text)) for text in own),
        known=sum(word in known for word in plain) / max(len(plain), 1),
    )


def check_unseen() -> None:
    """Make sure that no sentence of UNSEEN gives a template away.

    Raises:
        ValueError: a sentence is a template in other words, opens as one or shares more than LONGEST words in a row.
    """
    for task, sentences in UNSEEN.items():
        for sentence in sentences:
            shared = overlap(task, sentence)
            if shared.same or shared.opening or max(shared.run, shared.content) > LONGEST:
                raise ValueError(
                    f"an unseen sentence shares at most {LONGEST} words in a row with the templates of its task and no "
                    f"opening, found {task}: {sentence!r} with {shared}: word it differently"
                )


@cache
def _spelled(task: str) -> frozenset[tuple[str, ...]]:
    """A task's templates as words: as they stand, with the reason first, and without the reason."""
    texts = []
    for template in TASKS[task].instructions:
        clause, _, reason = template.partition("; ")
        texts += [clause, f"{clause} {reason}", f"{reason} {clause}"] if reason else [clause]
    return frozenset(map(canonical, texts))


@cache
def _known_words() -> frozenset[str]:
    """Words that the templates and the grammar use."""
    used = {word for task in TASKS for words in _spelled(task) for word in words}
    return frozenset(used | {word for group in SYNONYMS.values() for word in group})


def _content(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in FUNCTION_WORDS)


def _common_run(words: tuple[str, ...], others: tuple[str, ...]) -> int:
    """Length of the longest run of words that both have."""
    best, row = 0, [0] * (len(others) + 1)
    for word in words:
        row = [0, *(row[j] + 1 if word == other else 0 for j, other in enumerate(others))]
        best = max(best, *row)
    return best
