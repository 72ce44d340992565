"""Editing: change one thing and keep the rest. The label is the picture itself."""

from .task import Task

REMOVE = Task(
    name="edit_remove",
    domain="editing",
    summary="take an object out of a picture",
    instructions=(
        "Remove {caption}.",
        "Remove {caption} from the picture.",
        "Delete {caption}.",
        "Make {caption} disappear.",
        "Take {caption} out of the scene.",
        "Edit the picture so that {caption} is gone.",
        "Erase {caption} and show the background behind it.",
        "Delete {caption} and leave everything else as it is.",
        "Clear {caption} away; I do not want it there.",
        "Drop {caption} from this scene.",
        "Redo the picture without {caption}.",
        "Let {caption} vanish.",
    ),
)

RECOLOR = Task(
    name="edit_recolor",
    domain="editing",
    summary="give an object another colour",
    instructions=(
        "Make {caption} {color}.",
        "Change the color of {caption} to {color}.",
        "Recolor {caption} in {color}.",
        "Paint {caption} {color}.",
        "Turn {caption} {color}.",
        "Give {caption} the color {color}.",
        "Recolor {caption} to {color} and change nothing else.",
        "Let {caption} be {color} instead.",
        "Coat {caption} with {color} paint.",
        "Switch {caption} over to {color}.",
        "Set the color of {caption} to {color}.",
        "Edit {caption} so that it is {color}.",
    ),
)

REPLACE = Task(
    name="edit_replace",
    domain="editing",
    summary="put another object in place of one",
    instructions=(
        "Replace {caption} with {class}.",
        "Replace {caption} by {class} and keep the rest.",
        "Put {class} where {caption} is.",
        "Turn {caption} into {class}.",
        "Change {caption} into {class}.",
        "Swap {caption} for {class}.",
        "Let {class} take the place of {caption}.",
        "Substitute {class} for {caption}.",
        "Exchange {caption} for {class}; keep the scene.",
        "Put {class} in place of {caption}.",
        "Instead of {caption}, there should be {class}.",
        "Remove {caption} and put {class} in its spot.",
    ),
)

ADD = Task(
    name="edit_add",
    domain="editing",
    summary="put a new object into a picture",
    instructions=(
        "Add {caption}.",
        "Add {caption} in this picture.",
        "Put {caption} into the scene.",
        "Place {caption} in this scene.",
        "Insert {caption} into the picture.",
        "Edit the picture so that it also has {caption}.",
        "There should also be {caption} here.",
        "Add {caption} and keep everything else.",
        "Let {caption} appear in the scene.",
        "Set {caption} down in this picture; the rest stays.",
        "Include {caption} as well.",
        "Bring {caption} into this picture.",
    ),
)

BACKGROUND = Task(
    name="edit_background",
    domain="editing",
    summary="put another background behind the objects",
    instructions=(
        "Change the background to {caption}.",
        "Replace the background with {caption}.",
        "Put {caption} behind the objects.",
        "Make the background {caption}.",
        "Give the picture {caption} as its background.",
        "Set {caption} as the new background.",
        "Swap the background for {caption}; keep the objects.",
        "Turn the background into {caption}.",
        "Use {caption} for the background.",
        "Keep the objects and change what is behind them to {caption}.",
        "The background should be {caption}.",
        "Let {caption} be the background.",
    ),
)

STYLE = Task(
    name="edit_style",
    domain="editing",
    summary="give the whole picture another style",
    instructions=(
        "Change the style of this picture to {caption}.",
        "Make this picture look like {caption}.",
        "Restyle the picture as {caption}.",
        "Give this picture the style of {caption}.",
        "Turn the whole picture into {caption}.",
        "Redo this picture in the style of {caption}.",
        "Convert the picture to the look of {caption}.",
        "Apply the style of {caption}.",
        "Stylise this picture as {caption}.",
        "Let the whole picture look like {caption}.",
        "Transfer the style of {caption} to this picture.",
        "Show this picture as if it were {caption}.",
    ),
)

TEXTURE = Task(
    name="edit_texture",
    domain="editing",
    summary="give an object another texture",
    instructions=(
        "Give {caption} a {class} texture.",
        "Change the texture of {caption} to {class}.",
        "Make the surface of {caption} {class}.",
        "Cover {caption} with a {class} pattern.",
        "Put a {class} texture on {caption}.",
        "Set the texture of {caption} to {class}.",
        "Let {caption} have a {class} surface.",
        "Turn the pattern of {caption} {class}.",
        "Retexture {caption} so that it is {class}.",
        "Wrap {caption} in a {class} texture.",
        "Replace the texture of {caption} by a {class} one.",
        "The pattern on {caption} should be {class}.",
    ),
)

LOCAL = Task(
    name="edit_local",
    domain="editing",
    summary="change one object's size or form and nothing else",
    instructions=(
        "Make {caption} {class}.",
        "Make {caption} look {class}.",
        "Change {caption} so that it becomes {class}.",
        "Edit only {caption}; it should be {class}.",
        "Let {caption} become {class}.",
        "Change the size of {caption} to be {class}.",
        "Redraw {caption} so that it is {class}.",
        "Modify {caption} to be {class}.",
        "Resize {caption} to be {class}.",
        "See to it that {caption} is {class}.",
        "Rework {caption} until it is {class}; leave the rest.",
        "The size of {caption} should be {class}.",
    ),
)

GLOBAL = Task(
    name="edit_global",
    domain="editing",
    summary="change the light of the whole scene",
    instructions=(
        "Show this scene {caption}.",
        "Relight the scene as if it were {caption}.",
        "Change the light of the whole picture; it should be {caption}.",
        "Make this scene look as it does {caption}.",
        "Change the whole scene so that it is {caption}.",
        "Set this scene {caption}.",
        "Let the whole picture look as if taken {caption}.",
        "Change the mood of the picture; show it {caption}.",
        "How does this place look {caption}?",
        "Edit the lighting so that we see the scene {caption}.",
        "Give me the same view {caption}.",
        "Relight this picture; it is now {caption}.",
    ),
)

TEXT = Task(
    name="edit_text",
    domain="editing",
    summary="write letters into a picture",
    instructions=(
        "Write {caption} on this picture.",
        "Write the word {caption} on the picture.",
        "Add the text {caption} in this picture.",
        "Put the letters {caption} on the picture.",
        "Print {caption} in big letters.",
        "Insert the word {caption} as text.",
        "Place a caption that says {caption}.",
        "Let the picture say {caption}.",
        "Show the text {caption} in the picture.",
        "Letter {caption} across the picture.",
        "Type {caption} over the picture.",
        "Caption the picture with the word {caption}.",
    ),
)

TASKS = (REMOVE, RECOLOR, REPLACE, ADD, BACKGROUND, STYLE, TEXTURE, LOCAL, GLOBAL, TEXT)
