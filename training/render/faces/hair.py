"""Hair of several styles: the mass behind the head and the part that frames the face.

Shape legend: N faces, S side in pixels; maps [N,S,S].
"""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import Head, bump, step
from .traits import BALD, BUN, CURLY, LONG, PARTED, SHORT, Traits


def behind(head: Head, traits: Traits, rough: Tensor) -> Tensor:
    """Cover of the hair behind and around the head; rough [N,S,S] noise makes curls."""
    style, x, y = traits.style, head.x, head.y
    volume = traits["volume"]
    grown = 1 + volume * torch.where(style == CURLY, 2.2, 1.0) + torch.where(style == CURLY, 0.035, 0.008) * rough
    ball = grown - torch.sqrt((x * (0.98 - 0.02 * y)) ** 2 + (y + 0.06) ** 2)
    # Short hair ends at the ears, curls at the jaw.
    short = torch.minimum(ball, torch.where(style == CURLY, 0.45, 0.18) - y)
    flare = 1.02 + volume + 0.16 * step(y - 0.2, 0.9) + 0.02 * rough
    length = 1.35 + 0.5 * traits["part"].abs() + 0.03 * rough
    fall = torch.minimum(torch.minimum(flare - x.abs(), length - y), y + 0.1)
    long = torch.maximum(ball, fall)
    knot = 0.34 - torch.hypot(x - 0.15 * traits["part"], (y + 1.17) * 1.1) + 0.012 * rough
    shape = torch.where(style == LONG, long, short)
    shape = torch.where(style == BUN, torch.maximum(short, knot), shape)
    return step(shape, 0.012 + 1.5 * head.pixel) * (style != BALD)


def fringe(head: Head, traits: Traits, rough: Tensor) -> Tensor:
    """Cover of the hair over the skull and forehead, on the head's own surface."""
    style, x, y = traits.style, head.face_x, head.face_y
    line = -traits["hairline"] + 0.012 * rough
    side = torch.where(style == PARTED, traits["part"], 0.4 * traits["part"])
    arch = line - 0.10 + 0.42 * (x - side).abs() ** 1.6
    bangs = line + 0.22 - 0.06 * x * x + 0.03 * rough
    straight = torch.where((style == LONG) & (traits["part"] > 0.15), bangs, arch)
    edge = torch.where((style == SHORT) | (style == CURLY), line + 0.10 * x * x, straight)
    # Down to the temples and before the ears.
    temple = torch.where(style == LONG, 0.10 + 0.9 * step(-x.abs() + 1.1, 0.5), 0.10 + 0.25 * (x.abs() - 0.78))
    sides = torch.minimum((x.abs() - 0.86 + 0.05 * y) * 0.8, temple - y)
    covered = torch.maximum(edge - y, sides)
    back = -head.face_z - 0.15
    shape = torch.maximum(covered, torch.minimum(back, 0.35 - y))
    return step(shape, 0.02 + 1.5 * head.pixel) * (style != BALD)


def strand_light(head: Head, traits: Traits, rough: Tensor, fine: Tensor) -> Tensor:
    """Brightness of the hair [N,S,S]: strands that run from the parting, and a band of gloss."""
    side = 0.5 * traits["part"]
    angle = torch.atan2(head.x - side, head.y + 1.25)
    wave = torch.where(traits.style == CURLY, 0.16, 0.010)
    flow = angle + wave * rough
    strands = torch.sin(flow * 47) + torch.sin(flow * 83 + traits["part"] * 31) + 0.6 * fine
    height = torch.hypot(head.x - side, head.y + 1.25)
    gloss = bump(((height - 0.62) / 0.34) ** 2) + 0.5 * bump(((height - 1.5) / 0.5) ** 2)
    lit = 0.8 - 0.16 * head.y + 0.25 * traits["light_x"] * head.x
    curls = torch.where(traits.style == CURLY, 0.25 * rough, 0.0)
    return (lit * (1 + traits["strands"] * 0.45 * strands + curls) + 0.5 * gloss).clamp(0.25, 2.2)
