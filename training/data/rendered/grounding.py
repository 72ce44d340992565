"""Pairs of the grounding tasks, and holes that are described: what words mean in a rendered picture.

Words mean one thing mostly, now and then two things, all of a kind, or nothing that is there; boxes also mark all of a
class; dots mark one to five joints. Marks are painted in the colour that the sentence names, if it names one.

Shape legend: n samples, S side in pixels, K joints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ....comfyui_pixwizard.tasks import TASKS
from ....comfyui_pixwizard.tasks.codecs.keypoint import disc_radius
from ....comfyui_pixwizard.tasks.language.templates import plural
from ...degradations.holes import filled
from ...render.scenes.scene_words import article, listed
from .figure_pool import FigurePool
from .pale_scenes import names_color, paled_scenes
from .patch_labels import disc_cells, in_cells
from .shown_solids import Shown, classes_absent, classes_shown, shown_solids
from .sources import Pairs, RenderedSources, below, pick

# Shares of references to nothing and to several things; of boxes round all of a class; of marks whose colour is named;
# of keypoint samples with several joints.
NONE_SHARE, SEVERAL_SHARE, CLASS_SHARE, COLOR_SHARE, JOINTS_SHARE = 0.08, 0.15, 0.3, 0.5, 0.4
MOST_JOINTS = 5
# Colours of marks that are far from each other, and those of single dots.
PAINTS = ("magenta", "red", "green", "blue", "yellow", "cyan")
DISC_COLORS = (*PAINTS, "orange", "purple", "white", "black")
COLORED = ("referring_segmentation", "referring_box")
# How far a hole reaches beyond what it hides, in shares of the side.
LEAST_REACH, MOST_REACH = 0.01, 0.08

Words = dict[str, str]


def box_of(mask: Tensor) -> Tensor:
    """The box [1,4] x0 y0 x1 y1 in pixels round the true pixels of a mask [H,W]."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()[None]


def _chance(share: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator, device=generator.device)) < share


# -- things --------------------------------------------------------------------------------------------------------


def reference(rendered: RenderedSources, i: int, generator: torch.Generator) -> tuple[str, list[int]]:
    """An expression for things of scene i, and the numbers of the solids that it means."""
    scenes = rendered.scenes
    expression, number = pick(scenes.referrals[i], generator)
    solids = shown_solids(scenes, i) or []
    if _chance(NONE_SHARE, generator) and solids:
        return f"the {pick(classes_absent(solids), generator)}", []
    if _chance(SEVERAL_SHARE, generator):
        kinds = [found for found in classes_shown(solids) if len(found[1]) > 1]
        if kinds and _chance(0.5, generator):
            noun, numbers = pick(kinds, generator)
            return f"all {plural(noun)}", numbers
        others = [found for found in scenes.referrals[i] if found[1] != number]
        if others:
            other, second = pick(others, generator)
            return f"{expression} and {other}", [number, second]
    return expression, [number]


def referring_words(
    task: str, rendered: RenderedSources, i: int, generator: torch.Generator
) -> tuple[Words, list[int]]:
    """Words for an instruction of a task about scene i, and the numbers of the solids that they mean."""
    expression, numbers = reference(rendered, i, generator)
    words = {"caption": expression}
    if task == "referring_box" and _chance(CLASS_SHARE, generator):
        solids = shown_solids(rendered.scenes, i) or []
        kinds = classes_shown(solids)
        if solids and (not kinds or _chance(NONE_SHARE, generator)):
            words, numbers = {"class": pick(classes_absent(solids), generator)}, []
        elif kinds:
            noun, numbers = pick(kinds, generator)
            words = {"class": noun}
    if task in COLORED and _chance(COLOR_SHARE, generator):
        words["color"] = pick(PAINTS, generator)
    return words, numbers


def referring(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """What words mean, as an overlay, a mask or boxes."""
    scenes, rows, named, paled = rendered.scenes, [], [], []
    pictures, targets, sentences, several = [], [], [], []
    for at in below(len(scenes.referable), n, generator):
        i = scenes.referable[at]
        words, numbers = referring_words(task, rendered, i, generator)
        shown, pale = scenes.picture(torch.tensor([i])), torch.tensor(False)
        if not names_color(words.get("caption", words.get("class", ""))):
            shown, pale = paled_scenes(shown, generator)
        picture, masks = shown[0], [scenes.instance[i] == number for number in numbers]
        nothing = torch.zeros_like(scenes.instance[i], dtype=torch.bool)
        several.append(torch.stack([nothing, *masks]).any(0) if len(masks) > 1 else nothing)
        paled.append(bool(pale))
        if task == "referring_box":
            label = torch.cat([torch.zeros(0, 4), *map(box_of, masks)])
        else:
            label = torch.stack([nothing, *masks]).any(0)
        painted = {"color": words["color"]} if "color" in words else {}
        rows.append(i)
        named.append(numbers[0] if len(numbers) == 1 else 0)
        pictures.append(picture)
        targets.append(TASKS[task].encode(label, picture, **painted))
        sentences.append(TASKS[task].instruction(generator, **words))
    index = torch.tensor(rows)
    seen, marked = torch.stack(pictures), torch.stack(targets)
    return Pairs(
        seen,
        marked,
        sentences,
        scene=index,
        named=torch.tensor(named),
        paled=torch.tensor(paled),
        pointed=in_cells(torch.stack(several).float()),
    )


# -- joints --------------------------------------------------------------------------------------------------------


def joint_words(figures: FigurePool, i: int, generator: torch.Generator) -> tuple[Words, Tensor, tuple[str, ...]]:
    """Words for a keypoint instruction about picture i, the joints [K,3] that they name, and a colour for each.

    Of several joints no disc touches another.
    """
    found = figures.joints[i]
    if not _chance(JOINTS_SHARE, generator):
        expression, person, joint = pick(found, generator)
        color = pick(DISC_COLORS, generator)
        return {"caption": expression, "color": color}, figures.pose[i, person, joint][None], (color,)
    wanted, apart = 2 + below(MOST_JOINTS - 1, 1, generator)[0], 2 * disc_radius(figures.size, figures.size) + 1
    names: list[str] = []
    points: list[Tensor] = []
    for at in torch.randperm(len(found), generator=generator).tolist():
        expression, person, joint = found[at]
        point = figures.pose[i, person, joint]
        if len(points) < wanted and all(float((point - other)[:2].norm()) > apart for other in points):
            names.append(expression)
            points.append(point)
    order = torch.randperm(len(PAINTS), generator=generator).tolist()
    colors = tuple(PAINTS[at] for at in order[: len(points)])
    said = listed([f"{name} in {color}" for name, color in zip(names, colors, strict=True)])
    return {"joints": said}, torch.stack(points), colors


def keypoint(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Discs on one to five visible joints of people."""
    task, figures = TASKS["keypoint"], rendered.figures
    index = torch.tensor(below(len(figures), n, generator))
    pictures, targets, sentences, pointed = figures.picture(index), [], [], []
    radius = disc_radius(figures.size, figures.size)
    for row, i in enumerate(index.tolist()):
        words, joints, colors = joint_words(figures, i, generator)
        targets.append(task.encode(joints, pictures[row], colors=colors))
        sentences.append(task.instruction(generator, **words))
        pointed.append(disc_cells(joints, radius, figures.size).amax(0))
    return Pairs(pictures, torch.stack(targets), sentences, people=index, pointed=torch.stack(pointed))


# -- holes ---------------------------------------------------------------------------------------------------------


def hidden_thing(rendered: RenderedSources, generator: torch.Generator) -> tuple[int, Shown, str]:
    """A scene, one of its solids, and what that is called, as in "a red ball".

    Raises:
        ValueError: no scene shows a solid whose kind is certain.
    """
    scenes, count = rendered.scenes, len(rendered.scenes.referable)
    start = below(max(count, 1), 1, generator)[0]
    for step in range(count):
        i = scenes.referable[(start + step) % count]
        clear = [solid for solid in shown_solids(scenes, i) or [] if solid.clear]
        if clear:
            solid = pick(clear, generator)
            words = [noun for noun, _ in classes_shown([solid]) if noun.startswith(f"{solid.color} ")]
            return i, solid, article(pick(words, generator))
    raise ValueError(f"described holes need a scene with a solid that shows, found none of {count}: render more scenes")


def described_holes(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Scenes with a hole over one solid, a rectangle or the solid's own outline, and its name in the sentence."""
    scenes, side, rows, holes, sentences = rendered.scenes, rendered.size, [], [], []
    for _ in range(n):
        i, solid, name = hidden_thing(rendered, generator)
        mask = scenes.instance[i] == solid.instance
        share = LEAST_REACH + (MOST_REACH - LEAST_REACH) * float(torch.rand((), generator=generator))
        reach = max(round(share * side), 1)
        if _chance(0.5, generator):
            x0, y0, x1, y1 = (int(value) for value in box_of(mask)[0])
            mask[y0:y1, x0:x1] = True
        holes.append(F.max_pool2d(mask[None].float(), 2 * reach + 1, 1, reach)[0] > 0.5)
        rows.append(i)
        sentences.append(TASKS["inpaint"].instruction(generator, caption=name))
    index = torch.tensor(rows)
    target = scenes.picture(index)
    source = filled(target, torch.stack(holes), None, generator)
    return Pairs(source, target, sentences, (None, ("image", index)))
