"""Pictures that are drawn from what a data set stores: answers in our codes, and what a model is shown of a benchmark.

Each kind is a function of the place and of plain values, so that a drawn picture can be named in JSON, hashed and made
anew anywhere. Shape legend: H, W pixels, P people.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....comfyui_pixwizard.optional import pip_install, required
from ....comfyui_pixwizard.pictures.images import image_to_unit, open_picture, unit_to_image
from ....comfyui_pixwizard.tasks import TASKS
from ....comfyui_pixwizard.tasks.codecs.mask import DEFAULT_COLOR
from ...annotators import ANNOTATORS
from ...degradations import DEGRADATIONS
from ...loop.seeding import seeded
from .places import Drawn, Ref, Rejected, read_raw

Told = Mapping[str, Any]


def draw(ref: Drawn) -> Image.Image:
    """The RGB picture that a place and what it is told stand for.

    Raises:
        Rejected: what it is drawn from is missing, or is no picture or array of the kind.
        ValueError: a package that the kind needs is not installed.
    """
    told = json.loads(ref.drawn)
    return KINDS[told["kind"]](ref, told)


def load_image(ref: Ref, missing: str = "missing") -> Image.Image:
    """A picture as it is stored, in its own mode, every pixel read.

    Raises:
        Rejected: missing, unreadable, truncated.
    """
    data = read_raw(ref, missing)
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:  # a broken file chooses which one
        raise Rejected("unreadable") from error
    try:
        image.load()
    except Exception as error:
        raise Rejected("truncated") from error
    return image


def load_rgb(ref: Ref, missing: str = "missing") -> Image.Image:
    """A picture as RGB, stored or drawn. Raises as `load_image`."""
    return draw(ref) if isinstance(ref, Drawn) else open_picture(load_image(ref, missing))


def drawn(ref: Ref, kind: str, **told: Any) -> Drawn:
    """A place whose bytes are to be drawn from."""
    text = json.dumps({"kind": kind} | told, sort_keys=True)
    return Drawn(ref.path, ref.state, ref.at, ref.length, ref.column, text)


# -- reading what data sets store ----------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _arrays(path: str, state: str, name: str) -> np.ndarray:
    """An array of a MATLAB file; `state` belongs to the key of the cache."""
    io_of_matlab = required("scipy.io", "blocks in MATLAB files need SciPy", pip_install("scipy"))
    try:
        found = np.asarray(io_of_matlab.loadmat(path, variable_names=[name])[name])
    except FileNotFoundError as error:
        raise Rejected("missing") from error
    except Exception as error:  # a broken file chooses which one
        raise Rejected("unreadable") from error
    if found.dtype != np.uint8 or found.ndim != 5 or found.shape[-1] != 3:
        raise Rejected("unreadable")
    return found


def depth_of(ref: Ref, told: Told) -> Tensor:
    """Metres [H,W] float32 of a 16-bit picture, 0 where nothing was measured.

    Args:
        told: scale (units of a metre) and rotated (by how many bits the sensor's values are rotated to the left).

    Raises:
        Rejected: as `load_image`, or not a picture of one channel.
    """
    values = np.asarray(load_image(ref))
    if values.ndim != 2 or values.dtype.kind not in "ui":
        raise Rejected("unreadable")
    bits, by = values.astype(np.uint32) & 0xFFFF, int(told.get("rotated", 0))
    straight = ((bits >> by) | (bits << (16 - by))) & 0xFFFF if by else bits
    return torch.from_numpy(straight.astype(np.float32) / float(told["scale"]))


def normals_of(ref: Ref, told: Told) -> tuple[Tensor, Tensor]:
    """Unit normals [3,H,W] float64 with X right, Y up, Z to the viewer, and where there are some [H,W] bool.

    Black pixels hold none. Args: told: left, whether the file's X points to the left.

    Raises:
        Rejected: as `load_image`, or not a picture of three channels.
    """
    values = np.asarray(load_image(ref))
    if values.ndim != 3 or values.shape[-1] != 3:
        raise Rejected("unreadable")
    pixels = torch.from_numpy(values.copy()).movedim(-1, 0)
    normal = pixels.double() / 255 * 2 - 1
    if told.get("left"):
        normal[0] = -normal[0]
    length = normal.norm(dim=0)
    return normal / length.clamp_min(1e-9), (pixels.sum(0) > 0) & (length > 1e-6)


def classes_of(ref: Ref) -> Tensor:
    """Class ids [H,W] int64 of an indexed or grey picture. Raises as `load_image`."""
    values = np.asarray(load_image(ref))
    if values.ndim != 2:
        raise Rejected("unreadable")
    return torch.from_numpy(values.astype(np.int64))


def segments_mask(segments: Sequence[Any], height: int, width: int) -> Tensor:
    """Union [H,W] bool of annotations as COCO stores them: lists of polygons, or run lengths.

    Raises:
        Rejected: a form that is none of them.
        ValueError: pycocotools is not installed.
    """
    masks = required("pycocotools.mask", "COCO's masks need pycocotools", pip_install("pycocotools"))
    inside = np.zeros((height, width), bool)
    for segment in segments:
        try:
            if isinstance(segment, list):
                runs = masks.frPyObjects([polygon for polygon in segment if len(polygon) >= 6], height, width)
            elif isinstance(segment["counts"], list):
                runs = [masks.frPyObjects(segment, *segment["size"])]
            else:
                runs = [segment]
            if runs:
                inside |= masks.decode(runs).any(-1)
        except Exception as error:  # what was annotated chooses which one
            raise Rejected("unreadable mask") from error
    return torch.from_numpy(inside)


# -- kinds ---------------------------------------------------------------------------------------------------------


def _block(ref: Drawn, told: Told) -> Image.Image:
    return Image.fromarray(_arrays(ref.path, ref.state, told["array"])[tuple(told["index"])])


def _marked(ref: Drawn, told: Told) -> Image.Image:
    picture = open_picture(load_image(ref))
    if told.get("size", [picture.height, picture.width]) != [picture.height, picture.width]:
        raise Rejected("picture of another size than its annotation")
    mask = segments_mask(told["segments"], picture.height, picture.width)
    if told["kind"] == "mask":
        return unit_to_image(TASKS["referring_mask"].encode(mask))
    color = told.get("color", DEFAULT_COLOR)
    return unit_to_image(TASKS["referring_segmentation"].encode(mask, image_to_unit(picture), color=color))


def _depth(ref: Drawn, told: Told) -> Image.Image:
    """Holes of the sensor take the nearest depth: a picture that is learnt from should have none."""
    depth = depth_of(ref, told)
    if told.get("filled") and bool((depth == 0).any()) and bool((depth > 0).any()):
        images = required("scipy.ndimage", "depth with holes needs SciPy", pip_install("scipy"))
        holes = (depth == 0).numpy()
        rows, columns = images.distance_transform_edt(holes, return_distances=False, return_indices=True)
        depth = depth[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
    return unit_to_image(TASKS["depth"].encode(depth, codec=told.get("codec")))


def _normals(ref: Drawn, told: Told) -> Image.Image:
    normal, valid = normals_of(ref, told)
    toward = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    return unit_to_image(TASKS["normal"].encode(torch.where(valid, normal.float(), toward)))


def _classes(ref: Drawn, told: Told) -> Image.Image:
    ids = classes_of(ref)
    if int(ids.max()) > 150:
        raise Rejected("unknown class")
    return unit_to_image(TASKS["segmentation"].encode(ids, codec=told.get("codec")))


def _pose(ref: Drawn, told: Told) -> Image.Image:
    pose = torch.tensor(told["people"], dtype=torch.float32).reshape(-1, 18, 3)
    return unit_to_image(TASKS["pose"].encode(pose, size=tuple(told["size"])))


def _joint(ref: Drawn, told: Told) -> Image.Image:
    picture = open_picture(load_image(ref))
    joint = torch.tensor([[*told["point"], 1.0]])
    return unit_to_image(TASKS["keypoint"].encode(joint, image_to_unit(picture), colors=(told["color"],)))


def fitted(image: Image.Image, side: int, crop: bool = False) -> Image.Image:
    """A square of a side: the whole picture, bicubic; or its centre, enlarged first (Lanczos) where it is smaller."""
    if not crop:
        return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)
    short = min(image.size)
    if short < side:
        width, height = (max(side, round(side * length / short)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _fit(ref: Drawn, told: Told) -> Image.Image:
    return fitted(open_picture(load_image(ref)), told["side"], bool(told.get("crop")))


def _canny(ref: Drawn, told: Told) -> Image.Image:
    edges = ANNOTATORS["canny"](image_to_unit(_fit(ref, told))[None])[0]
    return unit_to_image(TASKS["canny"].encode(edges))


def _holes(ref: Drawn, told: Told) -> Image.Image:
    generator = seeded(*told["seed"])
    low, high = told["coverage"]
    picture = image_to_unit(_fit(ref, told))[None]
    return unit_to_image(DEGRADATIONS["inpaint"](picture, generator, coverage=(low, high), fill=told["fill"])[0])


def _blank(ref: Drawn, told: Told) -> Image.Image:
    picture = image_to_unit(_fit(ref, told))
    picture[:, :, round(picture.shape[-1] * (1 - told["share"])) :] = told["fill"]
    return unit_to_image(picture)


KINDS: dict[str, Callable[[Drawn, Told], Image.Image]] = {
    "block": _block,
    "overlay": _marked,
    "mask": _marked,
    "depth": _depth,
    "normal": _normals,
    "classes": _classes,
    "pose": _pose,
    "joint": _joint,
    "fit": _fit,
    "canny": _canny,
    "holes": _holes,
    "blank": _blank,
}
