"""Degradations of clean pictures, batched in torch and seeded: `DEGRADATIONS[name](image, generator, **options)`.

Every degradation takes image [B,3,H,W] float32 in [0,1] and a `torch.Generator` on the same device, draws its strength
for each sample alone, and returns the degraded [B,3,H,W] in [0,1]; the image is never written to. The same generator
state gives the same result. An image of another shape, or a negative amount, is a ValueError. A new one is a function
in a module beside this and its name in the table below.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from .blur import deblur
from .checks import check_amount, check_image
from .drops import raindrop
from .fading import color_fade
from .holes import inpaint, outpaint
from .light import deshadow, flash_reflection, low_light
from .moire import demoire
from .resolution import face, super_resolution
from .sensor_noise import denoise
from .watermark import watermark
from .weather import dehaze, derain, desnow


def _checked(degrade: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(degrade)
    def checked(image: Tensor, generator: torch.Generator, **options: Any) -> Tensor:
        check_image(image)
        check_amount(options.get("amount", 1.0))
        return degrade(image, generator, **options)

    return checked


_ALL = (
    *(denoise, low_light, derain, raindrop, demoire, dehaze, deblur, desnow, deshadow, flash_reflection, face),
    *(watermark, super_resolution, color_fade, inpaint, outpaint),
)
DEGRADATIONS: dict[str, Callable[..., Tensor]] = {degrade.__name__: _checked(degrade) for degrade in _ALL}
