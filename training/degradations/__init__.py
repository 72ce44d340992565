"""Degradations of clean pictures, batched in torch and seeded: `DEGRADATIONS[name](image, generator, **options)`.

Every degradation takes image [B,3,H,W] float32 in [0,1] and a `torch.Generator` on the same device, draws its strength
for each sample alone, and returns the degraded [B,3,H,W] in [0,1]; the image is never written to. The same generator
state gives the same result. A new one is a function in a module beside this and a line in the table below.
"""

from collections.abc import Callable

from .blur import deblur
from .drops import raindrop
from .fading import color_fade
from .holes import inpaint, outpaint
from .light import deshadow, flash_reflection, low_light
from .moire import demoire
from .resolution import face, super_resolution
from .sensor_noise import denoise
from .watermark import watermark
from .weather import dehaze, derain, desnow

DEGRADATIONS: dict[str, Callable] = {
    "denoise": denoise,
    "low_light": low_light,
    "derain": derain,
    "raindrop": raindrop,
    "demoire": demoire,
    "dehaze": dehaze,
    "deblur": deblur,
    "desnow": desnow,
    "deshadow": deshadow,
    "flash_reflection": flash_reflection,
    "face": face,
    "watermark": watermark,
    "super_resolution": super_resolution,
    "color_fade": color_fade,
    "inpaint": inpaint,
    "outpaint": outpaint,
}
