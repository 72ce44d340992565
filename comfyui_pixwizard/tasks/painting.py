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

OUTPAINT = Task(
    name="outpaint",
    domain="painting",
    summary="continue a picture past its borders (a blank margin)",
    instructions=(
        "Extend this picture beyond its borders.",
        "Outpaint this picture.",
        "Fill the blank margin so that it continues the picture.",
        "Continue the scene past the edge of the frame.",
        "Widen the view; the border is blank.",
        "Paint what lies outside the frame.",
        "Show more of the scene on the outer sides.",
        "Expand the picture into the empty border.",
        "Uncrop this picture.",
        "Imagine what is next to the scene and fill the margin with it.",
        "Grow the picture outwards until the frame is full.",
        "Complete the cut-off borders; the outer part is blank.",
    ),
)

TASKS = (INPAINT, OUTPAINT)
