"""Restoration: take a degradation away. The label is the picture itself."""

from ..task import Task

DENOISE = Task(
    name="denoise",
    domain="restoration",
    summary="take sensor noise out of a picture",
)

LOW_LIGHT = Task(
    name="low_light",
    domain="restoration",
    summary="brighten a picture that was taken in too little light",
)

DERAIN = Task(
    name="derain",
    domain="restoration",
    summary="take rain streaks out of a picture",
)

RAINDROP = Task(
    name="raindrop",
    domain="restoration",
    summary="take water drops off the lens or the window",
)

DEMOIRE = Task(
    name="demoire",
    domain="restoration",
    summary="take moire stripes out of a picture of a screen",
)

DEHAZE = Task(
    name="dehaze",
    domain="restoration",
    summary="take haze and fog out of a picture",
)

DEBLUR = Task(
    name="deblur",
    domain="restoration",
    summary="sharpen a picture that is out of focus or was shaken",
)

DESNOW = Task(
    name="desnow",
    domain="restoration",
    summary="take falling snow out of a picture",
)

DESHADOW = Task(
    name="deshadow",
    domain="restoration",
    summary="take cast shadows out of a picture",
)

FLASH = Task(
    name="flash_reflection",
    domain="restoration",
    summary="take flash glare and reflections off glass",
)

FACE = Task(
    name="face",
    domain="restoration",
    summary="restore a face in a bad picture",
)

WATERMARK = Task(
    name="watermark",
    domain="restoration",
    summary="take overlaid marks and letters off a picture",
)

SUPER = Task(
    name="super_resolution",
    domain="restoration",
    summary="make a low-resolution picture fine again",
)

FADE = Task(
    name="color_fade",
    domain="restoration",
    summary="bring faded colours back",
)

TASKS = (
    DENOISE,
    LOW_LIGHT,
    DERAIN,
    RAINDROP,
    DEMOIRE,
    DEHAZE,
    DEBLUR,
    DESNOW,
    DESHADOW,
    FLASH,
    FACE,
    WATERMARK,
    SUPER,
    FADE,
)
