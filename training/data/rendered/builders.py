"""A builder of training pairs for every task: `BUILDERS[name](rendered, n, generator) -> Pairs`.

A builder is a function of the generator's state alone. Everything is rendered or derived from clean pictures when it is
asked for; pools only keep what is expensive to render. Shape legend: n samples, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ....comfyui_pixwizard.tasks import TASKS
from ....comfyui_pixwizard.tasks.codecs.asked import RELATIVE_SCALE, asked_codec
from ...annotators import ANNOTATORS
from ...degradations import DEGRADATIONS
from ...render.scenes import DEPTH_RANGE, style_edit, text_edit
from ...wordings.wordings import Writer, wordings
from .figure_pool import skeletons
from .grounding import described_holes, keypoint, referring
from .pale_scenes import names_color, paled_scenes
from .scene_pool import DENSE, EDITS
from .sources import Pairs, RenderedSources, below, pick

Builder = Callable[[RenderedSources, int, torch.Generator], Pairs]
FACE_SHARE = SCENE_SHARE = 0.5
# Share of text-to-image and edge-control samples that show people.
FIGURE_SHARE = 0.15
HAZE_SHARE = 0.3
# Share of the holes that hide one thing, which the sentence names.
DESCRIBED_SHARE = 0.3
# Edits after which every solid that is left has its colour and its shape.
KEEPING_COLORS = "edit_remove", "edit_texture", "edit_local"
# Of scenes whose answer no colour gives away.
PALED_SELDOM = 0.3
# Share of restorations that are cut from a picture of twice the side, and what is about a whole picture.
CUT_SHARE, WHOLE = 0.5, ("face", "inpaint", "outpaint")
# Share of depth samples whose sentence asks for relative depth.
RELATIVE_SHARE = 0.25
# Share of sentences from the wordings, of tasks that need no words.
WORDED_SHARE = 0.5
# Share of restorations whose picture is unharmed: a model that has seen none restores what is whole. A hole is harm.
UNHARMED_SHARE, HOLED = 0.05, ("inpaint", "outpaint")


def _sentences(task: str, n: int, generator: torch.Generator) -> list[str]:
    """Sentences of tasks that need no words, some from the templates and some from `wordings`."""
    return [_worded(task, generator) or TASKS[task].instruction(generator) for _ in range(n)]


def _worded(task: str, generator: torch.Generator) -> str | None:
    """A wording, now and then, where the task has any; none that could name a thing, or asks for another code of the
    answer, nor one that the restorations share, which come near to sentences of `evaluate/unseen.toml`.
    """
    chosen, seed = float(torch.rand((), generator=generator)), int(torch.randint(2**31, (), generator=generator))
    if chosen >= WORDED_SHARE or task not in wordings(shared=False):
        return None
    if any("caption" in form for form in TASKS[task].forms):
        return None
    text, codec = Writer(seed).ask(task, shared=False), TASKS[task].codec().name
    return text if asked_codec(codec, text) == codec else None


def _split(n: int, share: float, generator: torch.Generator) -> int:
    """How many of n samples fall to a share."""
    return int((torch.rand(n, generator=generator, device=generator.device) < share).sum())


def _index(rendered: RenderedSources, n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(len(rendered.scenes), (n,), generator=generator, device=generator.device)


def _join(parts: Sequence[Pairs]) -> Pairs:
    """Samples of one task from several places, one after the other."""
    parts = [part for part in parts if part.sentences]
    if len(parts) == 1:
        return parts[0]
    return Pairs(
        torch.cat([part.source for part in parts]),
        torch.cat([part.target for part in parts]),
        [sentence for part in parts for sentence in part.sentences],
    )


# -- restoration and painting: any picture -------------------------------------------------------------------------


def restoration(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """A clean picture degraded; half of the task `face` are faces, part of the haze follows a scene's true depth, and
    now and then there is nothing to restore.
    """
    faces = _split(n, FACE_SHARE, generator) if task == "face" else 0
    hazy = _split(n, HAZE_SHARE, generator) if task == "dehaze" else 0
    others = n - faces - hazy
    parts = _split(others, CUT_SHARE, generator) if rendered.wide is not None and task not in WHOLE else 0
    clean = [rendered.faces.draw(faces, rendered.size, generator)] if faces else []
    if others > parts:
        clean.append(rendered.pictures(others - parts, generator))
    degraded = [DEGRADATIONS[task](part, generator) for part in clean]
    if parts:
        damaged, whole = _damaged_parts(task, rendered, parts, generator)
        degraded.append(damaged)
        clean.append(whole)
    if hazy:
        index = _index(rendered, hazy, generator)
        clean.append(rendered.scenes.picture(index))
        near, far = DEPTH_RANGE
        depth = TASKS["depth"].decode(rendered.scenes.coded["depth"][index].float() / 255, near=near, far=far)
        degraded.append(DEGRADATIONS[task](clean[-1], generator, depth=depth))
    source, target = torch.cat(degraded), torch.cat(clean)
    if task not in HOLED:
        unharmed = torch.rand(n, generator=generator) < UNHARMED_SHARE
        source[unharmed] = target[unharmed]
    return Pairs(source, target, _sentences(task, n, generator))


def _damaged_parts(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Parts of damaged pictures of twice the side, and of the clean ones: what damage reaches grows with the side."""
    assert rendered.wide is not None
    side = rendered.size
    clean = rendered.wide(n, 2 * side, generator)
    top, left = below(side + 1, n, generator), below(side + 1, n, generator)
    pairs = torch.stack((DEGRADATIONS[task](clean, generator), clean), 1)
    cut = torch.stack([pair[..., y : y + side, x : x + side] for pair, y, x in zip(pairs, top, left, strict=True)])
    return cut[:, 0], cut[:, 1]


def inpaint(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Holes anywhere in any picture, and holes over a thing that the sentence names."""
    described = _split(n, DESCRIBED_SHARE, generator)
    parts = [described_holes(rendered, described, generator)] if described else []
    if n > described:
        parts.append(restoration("inpaint", rendered, n - described, generator))
    return _join(parts)


# -- reading: scenes, people, any picture --------------------------------------------------------------------------


def dense(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Depth, normals and classes of scenes."""
    scenes, index = rendered.scenes, _index(rendered, n, generator)
    target = scenes.coded[task][index].float() / 255
    share = None if task == "segmentation" else PALED_SELDOM
    source, paled = paled_scenes(scenes.picture(index), generator, share=share)
    sentences = _sentences(task, n, generator)
    return Pairs(source, target, sentences, (None, (task, index)), index, paled=paled)


def depth_of_scenes(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Depth of scenes, some of it relative."""
    pairs, task, (near, far) = dense("depth", rendered, n, generator), TASKS["depth"], DEPTH_RANGE
    relative = torch.rand(n, generator=generator, device=generator.device) < RELATIVE_SHARE
    for i in relative.nonzero()[:, 0].tolist():
        metres = task.decode(pairs.target[i], near=near, far=far, snap_edges=False)
        pairs.target[i] = task.encode(metres, codec="relative")
        pairs.sentences[i] = task.instruction(generator, scale=RELATIVE_SCALE)
        # The pool keeps no latents of these.
        pairs.stored = (pairs.stored[0], None)
    return pairs


def _any_picture(rendered: RenderedSources, n: int, generator: torch.Generator) -> Tensor:
    """Scenes and clean pictures of any kind [n,3,S,S]."""
    scenes = _split(n, SCENE_SHARE, generator)
    parts = [rendered.scenes.draw(scenes, rendered.size, generator)] if scenes else []
    if n > scenes:
        parts.append(rendered.pictures(n - scenes, generator))
    return torch.cat(parts)


def edges(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Edge pictures of scenes and of any picture."""
    picture = _any_picture(rendered, n, generator)
    target = TASKS[task].encode(ANNOTATORS[task](picture, generator))
    return Pairs(picture, target, _sentences(task, n, generator))


def pose(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Skeletons of people."""
    index = torch.tensor(below(len(rendered.figures), n, generator))
    sentences = _sentences("pose", n, generator)
    drawn = skeletons(rendered.figures.pose[index], rendered.size)
    return Pairs(rendered.figures.picture(index), drawn, sentences, people=index)


# -- making pictures -----------------------------------------------------------------------------------------------


def _captioned_scenes(task: str, rendered: RenderedSources, index: Tensor, generator: torch.Generator) -> list[str]:
    captions = rendered.scenes.captions
    return [TASKS[task].instruction(generator, caption=pick(captions[i], generator)) for i in index.tolist()]


def _people(
    task: str, rendered: RenderedSources, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[str]]:
    """Rows, pictures and sentences of n pictures of people."""
    index = torch.tensor(below(len(rendered.figures), n, generator), dtype=torch.int64)
    captions = [pick(rendered.figures.captions[i], generator) for i in index.tolist()]
    sentences = [TASKS[task].instruction(generator, caption=caption) for caption in captions]
    return index, rendered.figures.picture(index), sentences


def dense_to_image(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Scenes from their depth, normals or classes."""
    reading, index = task.removesuffix("_to_image"), _index(rendered, n, generator)
    source = rendered.scenes.coded[reading][index].float() / 255
    stored = ((reading, index), ("image", index))
    return Pairs(source, rendered.scenes.picture(index), _captioned_scenes(task, rendered, index, generator), stored)


def _people_and_scenes(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> list[Pairs]:
    """Described pictures of people, and of scenes; sources are still to be made."""
    people, parts = _split(n, FIGURE_SHARE, generator), []
    if people:
        _, picture, sentences = _people(task, rendered, people, generator)
        parts.append(Pairs(picture, picture, sentences))
    if n > people:
        index = _index(rendered, n - people, generator)
        picture = rendered.scenes.picture(index)
        stored = (None, ("image", index))
        parts.append(Pairs(picture, picture, _captioned_scenes(task, rendered, index, generator), stored))
    return parts


def edges_to_image(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Scenes and people from their edges."""
    reading, parts = task.removesuffix("_to_image"), _people_and_scenes(task, rendered, n, generator)
    for part in parts:
        part.source = TASKS[reading].encode(ANNOTATORS[reading](part.target, generator))
    return _join(parts)


def pose_to_image(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """People from their skeletons."""
    index, picture, sentences = _people("pose_to_image", rendered, n, generator)
    return Pairs(skeletons(rendered.figures.pose[index], rendered.size), picture, sentences)


def text_to_image(rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Scenes and people on a canvas that is black or white at random, as in the released training."""
    parts = _people_and_scenes("text_to_image", rendered, n, generator)
    for part in parts:
        shade = torch.randint(2, (len(part.target), 1, 1, 1), generator=generator, device=generator.device).float()
        part.source = shade.expand_as(part.target).clone()
    return _join(parts)


# -- editing -------------------------------------------------------------------------------------------------------


def scene_edit(task: str, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Scenes rendered again with one thing changed."""
    scenes = rendered.scenes
    if not scenes.by_edit[task]:
        raise ValueError(f"{task} needs a scene with room for it, found none of {len(scenes)}: render more scenes")
    records = [scenes.by_edit[task][at] for at in below(len(scenes.by_edit[task]), n, generator)]
    source, target = scenes.edit_pairs(records)
    sentences = [TASKS[task].instruction(generator, **record.words) for record in records]
    index = torch.tensor([record.scene for record in records])
    given = ("image", index)
    changed = ("edited", torch.tensor([record.row for record in records]))
    # All edits of a task run the same way: only additions are removals the other way round.
    if records[0].swapped:
        return Pairs(source, target, sentences, (changed, given))
    named = torch.tensor([record.instance for record in records])
    if task not in KEEPING_COLORS:
        return Pairs(source, target, sentences, (given, changed), index, named)
    colorless = torch.tensor([not names_color(" ".join(record.words.values())) for record in records])
    both, paled = paled_scenes(torch.stack((source, target), 1), generator, colorless)
    return Pairs(both[:, 0], both[:, 1], sentences, scene=index, named=named, paled=paled)


def picture_edit(task: str, change: Callable, rendered: RenderedSources, n: int, generator: torch.Generator) -> Pairs:
    """Styles and written words, on scenes and on any picture."""
    source = _any_picture(rendered, n, generator)
    target, words = change(source, generator)
    return Pairs(source, target, [TASKS[task].instruction(generator, **found) for found in words])


BUILDERS: dict[str, Builder] = {
    **{task: partial(restoration, task) for task in DEGRADATIONS},
    "inpaint": inpaint,
    **{task: partial(dense, task) for task in DENSE},
    "depth": depth_of_scenes,
    **{task: partial(edges, task) for task in ANNOTATORS},
    "pose": pose,
    **{task: partial(referring, task) for task in ("referring_segmentation", "referring_box", "referring_mask")},
    "keypoint": keypoint,
    **{f"{task}_to_image": partial(dense_to_image, f"{task}_to_image") for task in DENSE},
    **{f"{task}_to_image": partial(edges_to_image, f"{task}_to_image") for task in ANNOTATORS},
    "pose_to_image": pose_to_image,
    **{task: partial(scene_edit, task) for task in EDITS},
    "edit_style": partial(picture_edit, "edit_style", style_edit),
    "edit_text": partial(picture_edit, "edit_text", text_edit),
    "text_to_image": text_to_image,
}
