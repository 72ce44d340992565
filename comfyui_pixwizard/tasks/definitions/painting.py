"""In- and outpainting: invent what a picture does not show. The label is the picture itself."""

from ..task import Task

INPAINT = Task(
    name="inpaint",
    domain="painting",
    summary="fill the holes of a picture (black, white or grey areas)",
)

OUTPAINT = Task(
    name="outpaint",
    domain="painting",
    summary="continue a picture past its borders (a blank margin)",
)

TASKS = (INPAINT, OUTPAINT)
