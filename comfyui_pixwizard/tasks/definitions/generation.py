"""Text-to-image: paint on a blank canvas. The label is the picture itself."""

from ..task import Task

TEXT_TO_IMAGE = Task(
    name="text_to_image",
    domain="generation",
    summary="a new picture from a description, on a blank canvas",
    needs_image=False,
)

TASKS = (TEXT_TO_IMAGE,)
