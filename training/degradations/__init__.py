"""Degradations of clean pictures, batched in torch and seeded: `DEGRADATIONS[name](image, generator, **options)`.

Every degradation takes image [B,3,H,W] float32 in [0,1] and a `torch.Generator` on the same device, draws its strength
for each sample alone, and returns the degraded [B,3,H,W] in [0,1]; the image is never written to. The same generator
state gives the same result. A new one is a function in a module beside this and a line in the table below.
"""

from collections.abc import Callable

from .holes import inpaint
from .light import low_light
from .noise import denoise
from .weather import derain

DEGRADATIONS: dict[str, Callable] = {
    "denoise": denoise,
    "low_light": low_light,
    "derain": derain,
    "inpaint": inpaint,
}
