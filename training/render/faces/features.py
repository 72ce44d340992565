"""Eyes, brows, nose, mouth, beard and glasses, painted on the surface of a head.

Shape legend: N faces, S side in pixels; maps [N,S,S], pictures [N,3,S,S] in linear light.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import Head, bump, over, step
from .traits import Traits


def relief(head: Head, traits: Traits) -> Tensor:
    """How far the features rise above the head's smooth surface, in half heights of the head: [N,S,S]."""
    x, y = head.face_x, head.face_y
    tip, wide = traits["nose_tip"], traits["nose_width"]
    ax = x.abs()
    top = traits["eye_y"] - 0.05
    along = ((y - top) / (tip - top)).clamp(0, 1)
    ridge = bump((x / (0.06 + 0.55 * wide * along)) ** 2) * (0.25 + 0.75 * along) * step(tip + 0.05 - y, 0.09)
    ridge = ridge * step(y - top + 0.08, 0.2)
    wings = bump(((ax - 0.75 * wide) / (0.5 * wide)) ** 2 + ((y - tip + 0.01) / 0.065) ** 2)
    sockets = bump(((ax - traits["eye_x"]) / 0.27) ** 2 + ((y - traits["eye_y"] + 0.02) / 0.15) ** 2)
    brows = bump(((ax - 0.33) / 0.36) ** 2 + ((y - traits["eye_y"] + 0.2) / 0.12) ** 2)
    cheeks = bump(((ax - 0.5) / 0.33) ** 2 + ((y - 0.36) / 0.27) ** 2)
    lips = bump((x / 0.36) ** 2 + ((y - traits["mouth_y"]) / 0.16) ** 2)
    chin = bump((x / 0.27) ** 2 + ((y - 0.9) / 0.2) ** 2)
    return 0.17 * ridge + 0.045 * wings - 0.055 * sockets + 0.025 * brows + 0.04 * cheeks + 0.03 * lips + 0.04 * chin


def paint_skin(picture: Tensor, head: Head, traits: Traits, front: Tensor, fine: Tensor) -> Tensor:
    """Blush, freckles, shadows beside and under the nose, nostrils and beard; fine [N,S,S] is noise."""
    x, y, ax = head.face_x, head.face_y, head.face_x.abs()
    tip, wide = traits["nose_tip"], traits["nose_width"]
    red = traits.skin * picture.new_tensor((0.95, 0.58, 0.55))[:, None, None]
    cheeks = bump(((ax - 0.5) / 0.34) ** 2 + ((y - 0.3) / 0.26) ** 2)
    over(picture, red, front * cheeks * traits["blush"])
    over(picture, red, front * 0.25 * bump((x / wide) ** 2 + ((y - tip) / 0.1) ** 2))
    spots = step(fine - 1.5, 0.5) * traits["freckles"].clamp_min(0)
    over(picture, traits.skin * 0.45, front * spots * bump((x / 0.75) ** 2 + ((y - 0.22) / 0.24) ** 2))
    beard = step(y - 0.36 - 0.12 * (1 - ax), 0.16) + step(ax - 0.72, 0.15) * step(y - 0.1, 0.2)
    mouth = bump((x / 0.36) ** 2 + ((y - traits["mouth_y"]) / 0.1) ** 2)
    amount = traits["shade_beard"].clamp_min(0) * (beard.clamp(max=1) - 1.4 * mouth).clamp_min(0)
    over(picture, traits.hair * 0.9, front * amount * (0.68 + 0.1 * fine).clamp(0, 0.92))
    dark = traits.skin * picture.new_tensor((0.30, 0.16, 0.14))[:, None, None]
    under = bump((x / (1.4 * wide)) ** 2 + ((y - tip - 0.075) / 0.055) ** 2)
    sides = bump(((ax - 1.25 * wide) / (0.35 * wide)) ** 2 + ((y - tip) / 0.08) ** 2)
    over(picture, dark, front * (0.3 * under + 0.22 * sides).clamp(max=0.5))
    nostrils = 1 - ((ax - 0.52 * wide) / (0.36 * wide)) ** 2 - ((y - tip - 0.045) / 0.022) ** 2
    return over(picture, dark * 0.35, front * step(nostrils, 0.9) * 0.85)


def paint_eyes(picture: Tensor, head: Head, traits: Traits, front: Tensor) -> Tensor:
    """Both eyes with lids, iris, pupil and the light's reflection."""
    pixel = head.pixel
    side = torch.where(head.face_x < 0, -1.0, 1.0)
    x = (head.face_x * side - traits["eye_x"]) / traits["eye_width"]
    y = head.face_y - traits["eye_y"] + traits["eye_tilt"] * x * traits["eye_width"]
    arc = (1 - x * x).clamp_min(0)
    high = traits["eye_open"] * traits["eye_width"]
    upper, lower = -high * arc * (1 + 0.15 * x), 0.55 * high * arc
    ends = step(1.02 - x.abs(), 0.12)
    opening = torch.minimum(step(y - upper, 1.5 * pixel), step(lower - y, 1.5 * pixel)) * ends * front

    lid = traits.skin * picture.new_tensor((0.50, 0.34, 0.30))[:, None, None]
    near = (1.3 - x.abs()).clamp(0, 0.5) * 2
    crease = bump(((y - upper + 0.042) / (0.014 + pixel)) ** 2) * step(1.1 - x.abs(), 0.3)
    over(picture, lid, front * crease * 0.6)
    over(picture, lid, front * bump(((y - lower - 0.035) / 0.04) ** 2) * near.clamp(max=1) * 0.25)

    gaze_x = x * traits["eye_width"] - traits["gaze_x"] * side
    gaze_y = y + 0.12 * high - traits["gaze_y"]
    radius = torch.hypot(gaze_x, gaze_y) / traits["iris"]
    soft = 1.5 * pixel / traits["iris"]
    white = picture.new_tensor((0.80, 0.78, 0.77))[:, None, None] * (1 - 0.55 * step(0.035 - y + upper, 0.07))[:, None]
    over(picture, white, opening)
    rays = 1 + 0.25 * torch.sin(torch.atan2(gaze_y, gaze_x) * 23 + traits["part"] * 40) * (radius < 1)
    ring = (1.25 - 0.85 * step(radius - 0.82, 0.35) - 0.4 * step(upper + 0.03 - y, 0.05)).clamp_min(0.1)
    over(picture, traits.iris * (rays * ring)[:, None], opening * step(1 - radius, soft))
    ink = picture.new_tensor((0.012, 0.010, 0.010))[:, None, None]
    over(picture, ink, opening * step(0.44 - radius, soft))
    gleam = torch.hypot(gaze_x - 0.022 * torch.sign(traits["light_x"]), gaze_y + 0.026) / 0.016
    over(picture, picture.new_ones(3, 1, 1), opening * step(1 - gleam, 1.5 * pixel / 0.016) * 0.95)

    lash = (0.010 + 0.006 * x).clamp_min(0.004) + 0.5 * pixel
    line = bump(((y - upper + 0.2 * lash) / (1.6 * lash)) ** 2) * step(1.06 - x.abs(), 0.1)
    over(picture, ink * 2, front * line * 0.9)
    rim = bump(((y - lower) / (0.012 + pixel)) ** 2) * step(1.0 - x.abs(), 0.1)
    return over(picture, lid * 0.7, front * rim * 0.5)


def paint_brows(picture: Tensor, head: Head, traits: Traits, front: Tensor, fine: Tensor) -> Tensor:
    """Brows as tapering bands with hairs."""
    x = (head.face_x.abs() - traits["eye_x"]) / 0.2
    center = (
        traits["eye_y"]
        - traits["brow_rise"]
        - traits["brow_arch"] * (1 - torch.where(x < 0.35, 0.25, 0.9) * (x - 0.35) ** 2)
    )
    center = center + traits["brow_slope"] * 0.2 * x
    thick = traits["brow_thick"] * (1 - 0.35 * (x + 0.6).clamp(0, 2))
    band = step(thick - (head.face_y - center).abs(), 0.012 + 1.2 * head.pixel) * step(1.15 - x.abs(), 0.35)
    color = torch.minimum(traits.hair, picture.new_tensor(0.16)) * 0.7
    return over(picture, color, front * band * (0.8 + 0.12 * fine).clamp(0, 1))


def paint_mouth(picture: Tensor, head: Head, traits: Traits, front: Tensor) -> Tensor:
    """Lips, the line between them or an open smile with teeth."""
    pixel = head.pixel
    x = head.face_x / traits["mouth_width"]
    y = head.face_y - traits["mouth_y"] + traits["smile"] * (x * x).clamp(max=1.4)
    arc = (1 - x * x).clamp_min(0)
    gap = traits["open"].clamp_min(0) * 0.07 * arc
    bow = arc.sqrt() * traits["lip"] * (0.85 - 0.35 * bump((x / 0.22) ** 2))
    full = arc.sqrt() * traits["lip"] * 1.2
    soft = 0.008 + 1.2 * pixel
    inside = torch.minimum(step(y + gap * 0.4 + bow, soft), step(gap * 0.6 + full - y, soft)) * step(1 - x.abs(), 0.06)
    light = 1 + 0.35 * bump(((y - gap * 0.6 - 0.5 * full) / 0.03) ** 2 + (x / 0.6) ** 2) - 0.2 * (y < 0)
    over(picture, traits.lips * light[:, None], front * inside * 0.9)
    dark = traits.lips * 0.10
    hole = torch.minimum(step(y + gap * 0.4, soft), step(gap * 0.6 - y, soft)) * step(1 - x.abs(), 0.06)
    over(picture, dark, front * hole * (gap > 0.004))
    teeth = torch.minimum(hole, step(gap * 0.25 - y, soft)) * step(0.82 - x.abs(), 0.1) * (gap > 0.004)
    over(picture, picture.new_tensor((0.80, 0.78, 0.74))[:, None, None] * (1 - 0.4 * x * x)[:, None], front * teeth)
    line = bump((y / (0.010 + pixel)) ** 2) * step(1.04 - x.abs(), 0.08) * (gap <= 0.004)
    over(picture, dark, front * line * 0.85)
    shade = bump((x / 0.75) ** 2 + ((y - gap * 0.6 - full - 0.045) / 0.04) ** 2)
    return over(picture, traits.skin * 0.4, front * shade * 0.3)


def paint_glasses(picture: Tensor, head: Head, traits: Traits) -> Tensor:
    """Thin round or oblong frames, for some."""
    worn = (traits["glasses"] > 0).float()
    ax, y = head.face_x.abs(), head.face_y - traits["eye_y"] - 0.02
    power = 2 + 3 * traits["glasses"].clamp_min(0)
    dx, dy = (ax - traits["eye_x"]).abs() / 0.265, y.abs() / 0.19
    ring = (dx**power + dy**power).clamp_min(1e-6) ** (1 / power)
    thin = 0.014 + 0.4 * head.pixel
    frame = step(thin - ((ring - 1).abs() * 0.21), 1.2 * head.pixel)
    bridge = step(0.13 - ax, 0.04) * step(thin - (y + 0.07 - 0.03 * (1 - (ax / 0.13) ** 2)).abs(), 1.2 * head.pixel)
    arms = step(ax - 0.65, 0.03) * step(thin - (y + 0.05).abs(), 1.2 * head.pixel)
    alpha = torch.maximum(frame, torch.maximum(bridge, arms)) * worn * step(head.face_z - 0.1, 0.2)
    color = torch.minimum(traits.shirt, picture.new_tensor(0.05))
    return over(picture, color, alpha * step(1 - head.edge, 0.02))
