"""Text-to-image: paint on a blank canvas. The label is the picture itself."""

from .task import Task

TEXT_TO_IMAGE = Task(
    name="text_to_image",
    domain="generation",
    summary="a new picture from a description, on a blank canvas",
    instructions=(
        "Generate a picture of {caption}.",
        "Draw {caption}.",
        "Create a picture that shows {caption}.",
        "Imagine {caption}.",
        "Render {caption}.",
        "Generate from scratch: {caption}.",
        "Fill the blank canvas with {caption}.",
        "A picture of {caption}.",
        "Compose a scene with {caption}.",
        "Invent a picture of {caption}.",
        "Draw a new picture from this description: {caption}.",
        "Use the empty canvas to depict {caption}.",
    ),
    needs_image=False,
)

TASKS = (TEXT_TO_IMAGE,)
