"""Pairs in a mirror: every rendered scene is a second one there, in which left is right, and so are people.

Some thousand scenes are seen a dozen times each, and known by heart in part: after five hours nano's class maps of its
own scenes had a fifth less loss than those of new ones, its masks a seventh.
Shapes: n samples, S side in pixels, c channels of `patch_labels`, g patches a side, P people.
"""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from ....comfyui_pixwizard.tasks.codecs.pose import JOINTS
from ...annotators import ANNOTATORS
from .figure_pool import skeletons
from .patch_labels import PARTS
from .scene_pool import DENSE, EDITS
from .sources import Pairs

# Not letters, nor people from their skeletons, whose pairs do not say whose these are.
MIRRORED = frozenset(
    {*DENSE, *ANNOTATORS, *EDITS, "referring_segmentation", "referring_mask", "referring_box", "text_to_image"}
    | {"pose", "keypoint"}
    | {f"{reading}_to_image" for reading in (*DENSE, *ANNOTATORS)}
)
_SIDE = re.compile(r"\b(left|right)(?=(?:most)?\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def in_a_mirror(task: str, pairs: Pairs, poses: Tensor) -> Pairs:
    """The pairs of a task of MIRRORED with left and right exchanged, in pictures, sentences and directions.

    Args:
        poses: of the pool's people, of whom `pairs.people` are numbers.
    """
    source, target = pairs.source.flip(-1), pairs.target.flip(-1)
    if task == "pose":
        assert pairs.people is not None
        side = target.shape[-1]
        target = skeletons(mirrored_poses(poses[pairs.people], side), side)
    if task == "normal":
        target = _turned(target)
    if task == "normal_to_image":
        source = _turned(source)
    # No pool keeps latents of these.
    return replace(
        pairs,
        source=source,
        target=target,
        sentences=[other_side(sentence) for sentence in pairs.sentences],
        stored=(None, None),
        pointed=None if pairs.pointed is None else pairs.pointed.flip(-1),
        mirrored=True,
    )


def other_side(sentence: str) -> str:
    """The sentence with left and right exchanged."""

    def swapped(found: re.Match[str]) -> str:
        word = found.group()
        other = _OTHER[word.lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return _SIDE.sub(swapped, sentence)


def mirrored_labels(labels: Tensor) -> Tensor:
    """Patch labels [n,c,g,g] of the scenes in a mirror."""
    labels = labels.flip(-1)
    labels[:, PARTS["normal"].start] *= -1
    return labels


def mirrored_poses(poses: Tensor, side: int) -> Tensor:
    """Poses [...,18,3] of the people in a mirror: a right hand is the left one there."""
    poses = poses[..., OPPOSITE, :].clone()
    poses[..., 0] = side - poses[..., 0]
    return poses


def _turned(coded: Tensor) -> Tensor:
    """Pictures [n,3,S,S] of normals whose first channel, x, has the other sign."""
    coded = coded.clone()
    coded[:, 0] = 1 - coded[:, 0]
    return coded


OPPOSITE = [JOINTS.index(other_side(name)) for name in JOINTS]
