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

TASKS = (REMOVE, RECOLOR)
