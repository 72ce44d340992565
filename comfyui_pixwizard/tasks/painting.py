"""In- and outpainting: invent what a picture does not show. The label is the picture itself."""

from .task import Task

INPAINT = Task(
    name="inpaint",
    domain="painting",
    summary="fill the holes of a picture (black, white or grey areas)",
    instructions=(
        "Fill in the missing parts of this picture.",
        "Inpaint the holes in the picture.",
        "Complete the masked areas so that they match what is around them.",
        "Paint over the blank patches with what belongs there.",
        "Restore the missing regions; they were cut out.",
        "Repair this picture; parts of it are missing.",
        "Fill the empty areas in a believable way.",
        "Reconstruct the covered parts of the picture.",
        "Close all the gaps in the picture.",
        "Guess what is behind the blank shapes and paint it.",
        "Replace the flat patches with fitting content.",
        "Make the damaged picture whole again; it has holes.",
    ),
)

TASKS = (INPAINT,)
