"""Editing: change one thing and keep the rest. The label is the picture itself."""

from ..task import Task

REMOVE = Task(
    name="edit_remove",
    domain="editing",
    summary="take an object out of a picture",
)

RECOLOR = Task(
    name="edit_recolor",
    domain="editing",
    summary="give an object another colour",
)

REPLACE = Task(
    name="edit_replace",
    domain="editing",
    summary="put another object in place of one",
)

ADD = Task(
    name="edit_add",
    domain="editing",
    summary="put a new object into a picture",
)

BACKGROUND = Task(
    name="edit_background",
    domain="editing",
    summary="put another background behind the objects",
)

STYLE = Task(
    name="edit_style",
    domain="editing",
    summary="give the whole picture another style",
)

TEXTURE = Task(
    name="edit_texture",
    domain="editing",
    summary="give an object another texture",
)

LOCAL = Task(
    name="edit_local",
    domain="editing",
    summary="change one object's size or form and nothing else",
)

GLOBAL = Task(
    name="edit_global",
    domain="editing",
    summary="change the light of the whole scene",
)

TEXT = Task(
    name="edit_text",
    domain="editing",
    summary="write letters into a picture",
)

TASKS = (REMOVE, RECOLOR, REPLACE, ADD, BACKGROUND, STYLE, TEXTURE, LOCAL, GLOBAL, TEXT)
