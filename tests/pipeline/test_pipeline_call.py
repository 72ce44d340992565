"""Calling the pipeline: pictures of any kind and size, defaults, labels."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pixwizard.comfyui_pixwizard.pictures.images import open_noted, open_picture, to_image, to_tensor
from pixwizard.comfyui_pixwizard.pictures.sizes import check_size, model_size
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.tasks import TASKS
from pixwizard.comfyui_pixwizard.tasks.defaults import GENERAL


def photo(width: int = 80, height: int = 64) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 3 % 256, y * 3 % 256, (x + y) % 256], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(80, 64), (33, 97), (500, 120), (1, 1), (64, 64)])
def test_any_size_comes_back_at_its_size(tiny: PixWizardPipeline, size: tuple[int, int]) -> None:
    result = tiny(photo(*size), "Remove the noise", steps=2, size=64)
    assert result.image.size == size and result.image.mode == "RGB"
    kept = tiny(photo(*size), "Remove the noise", steps=2, size=64, keep_size=False)
    width, height = kept.image.size
    assert width % 16 == 0 and height % 16 == 0 and width * height <= 64 * 64
    assert kept.settings["size"] == f"{width}x{height}"


def test_exact_size_and_own_area(tiny: PixWizardPipeline) -> None:
    assert tiny(photo(), "Remove the noise", steps=2, size=(96, 64), keep_size=False).image.size == (96, 64)
    assert tiny(photo(96, 160), "Remove the noise", steps=2, keep_size=False).image.size == (96, 160)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000), st.sampled_from([None, 64, 128, 256, 512]))
def test_model_size_suits_every_picture(width: int, height: int, size: int | None) -> None:
    chosen = model_size((width, height), size, 256)
    assert chosen[0] % 16 == 0 and chosen[1] % 16 == 0
    limit = (size or 256) ** 2
    assert 0.4 * min(limit, 64 * 64) <= chosen[0] * chosen[1] <= limit
    aspect = min(max(width / height, 0.25), 4.0)
    assert abs(np.log(chosen[0] / chosen[1] / aspect)) < 0.4
    if size is None and width * height <= 256 * 256:
        assert chosen[0] * chosen[1] <= max((np.sqrt(width * height) + 16) ** 2, 64 * 64)


@pytest.mark.parametrize("size", [0, 48, 100, -64, (96, 60), (0, 128)])
def test_sizes_that_cannot_be(size: Any) -> None:
    with pytest.raises(ValueError, match=r"multiples of 16 pixels from \d+ up, found .*: take"):
        check_size(size)


def test_forms_of_a_picture(tiny: PixWizardPipeline, tmp_path: Path) -> None:
    image = photo()
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    expected = np.asarray(tiny(image, "Remove the noise", steps=2).image)
    for form in (array, (array / 255).astype(np.float32), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(np.asarray(tiny(form, "Remove the noise", steps=2).image), expected)


def test_modes_and_orientation(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert open_picture(clear).getpixel((0, 0)) == (255, 255, 255)
    deep = Image.fromarray(np.full((4, 4), 32896, np.uint16))
    assert open_picture(deep).getpixel((0, 0)) == (128, 128, 128)
    assert open_picture(np.full((4, 4), 7, np.uint8)).getpixel((0, 0)) == (7, 7, 7)
    turned = photo(20, 10)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    turned.save(tmp_path / "t.jpg", exif=exif)
    assert open_picture(tmp_path / "t.jpg").size == (10, 20)


def png(bits: int, color: int, *values: int) -> bytes:
    """A PNG of one pixel; Pillow writes none with 16 bits a channel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values)
    head = struct.pack(">IIBBBBB", 1, 1, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def test_what_a_picture_loses_is_said(tmp_path: Path) -> None:
    deep, clear = ("16 bits a channel are read as 8",), ("transparent parts are laid on white",)
    for bits, color, values, pixel, notes in (
        (8, 2, (10, 20, 30), (10, 20, 30), ()),
        (8, 6, (10, 20, 30, 255), (10, 20, 30), ()),
        (8, 6, (10, 20, 30, 0), (255, 255, 255), clear),
        (16, 2, (2570, 5140, 7710), (10, 20, 30), deep),
        (16, 6, (2570, 5140, 7710, 0), (255, 255, 255), deep + clear),
        (16, 0, (2570,), (10, 10, 10), deep),
    ):
        (tmp_path / "a.png").write_bytes(png(bits, color, *values))
        image, said = open_noted(tmp_path / "a.png")
        assert (image.getpixel((0, 0)), said) == (pixel, notes), (bits, color)


def test_colours_are_converted_by_the_profile(tmp_path: Path) -> None:
    image = photo(20, 10)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The same profile with the primaries of red and blue exchanged, and another name.
    swapped = srgb.replace(b"rXYZ", b"xxxx").replace(b"bXYZ", b"rXYZ").replace(b"xxxx", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    for profile, order, said in (
        (srgb, [0, 1, 2], ()),
        (swapped, [2, 1, 0], ("colours are converted from swap built-in to sRGB",)),
    ):
        image.save(tmp_path / "a.png", icc_profile=profile)
        found, notes = open_noted(tmp_path / "a.png")
        assert notes == said
        assert np.abs(np.asarray(found).astype(int) - np.asarray(image)[..., order]).max() <= 1
    image.save(tmp_path / "a.png", icc_profile=b"no profile")
    found, (note,) = open_noted(tmp_path / "a.png")
    assert note.startswith("its colour profile is left out") and np.array_equal(np.asarray(found), np.asarray(image))


def test_tensor_and_picture_are_inverse() -> None:
    image = photo()
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 64, 80) and float(tensor.min()) >= -1 and float(tensor.max()) <= 1
    assert np.array_equal(np.asarray(to_image(tensor[0])), np.asarray(image))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), "found \\[4, 4, 2\\]"),
        (np.full((4, 4), 2.0), "float in \\[0, 1\\]"),
        (np.full((4, 4), np.nan), "float in \\[0, 1\\]"),
        (np.zeros((4, 4), np.int32), "found int32"),
        (np.zeros((0, 4, 3), np.uint8), "found \\[0, 4, 3\\]"),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_picture(array)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    photo(300, 300).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read as a picture, found: .*truncated"):
        open_picture(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match="none at"):
        open_picture(tmp_path / "missing.jpg")


def test_blank_canvas_is_white(tiny: PixWizardPipeline) -> None:
    options: dict[str, Any] = dict(steps=2, size=(96, 64))
    canvas = tiny(None, "Draw a red ball.", **options)
    assert canvas.image.size == (96, 64) and canvas.settings["task"] == "text_to_image"
    white = tiny(Image.new("RGB", (96, 64), "white"), "Draw a red ball.", task="text_to_image", **options)
    assert np.array_equal(np.asarray(canvas.image), np.asarray(white.image))
    assert tiny(None, "Draw a red ball.", steps=2).image.size == (256, 256)


def test_defaults_come_from_the_task(tiny: PixWizardPipeline) -> None:
    depth = tiny(photo(), "Estimate the depth of this picture.").settings
    assert (depth["task"], depth["steps"]) == ("depth", TASKS["depth"].steps)
    assert (depth["text_guidance"], depth["image_guidance"]) == TASKS["depth"].guidance
    named = tiny(photo(), "Estimate the depth of this picture.", task="inpaint", steps=3, text_guidance=2.5).settings
    assert (named["task"], named["steps"], named["text_guidance"]) == ("inpaint", 3, 2.5)
    assert (depth["patch_grids"], named["patch_grids"]) == (1, 4)
    free = tiny(photo(), "qwertz uiop asdf").settings
    assert free["task"] is None and free["steps"] == GENERAL.steps
    assert (free["text_guidance"], free["image_guidance"]) == GENERAL.guidance


def test_settings_make_it_again(tiny: PixWizardPipeline) -> None:
    first = tiny(photo(), "Make the red ball blue.", steps=3, seed=11, image_guidance=1.5)
    again = dict(first.settings)
    again.pop("model")
    again["size"] = tuple(map(int, again["size"].split("x")))
    second = tiny(photo(), **again)
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert set(first.seconds) == {"load", "encode", "denoise", "decode"}
    other = tiny(photo(), **again | {"seed": 12})
    assert not np.array_equal(np.asarray(first.image), np.asarray(other.image))


def test_an_edit_is_carried_to_the_pictures_own_size(
    fresh_tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, source = fresh_tiny(), photo(500, 400)

    def edited(picture: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        answer = pipeline.round_trip(picture).clone()
        answer[..., 16:32, 16:32] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
        return answer

    monkeypatch.setattr(pipeline, "_generate", edited)
    options: dict[str, Any] = dict(task="edit_recolor", size=(96, 80))
    result = pipeline(source, "Make the ball pink.", **options)
    found, own = np.asarray(result.image), np.asarray(source)
    assert found.shape == own.shape and np.array_equal(found[:, 300:], own[:, 300:])
    assert np.abs(found[100:140, 100:140].astype(int) - [255, 0, 255]).mean() < 12
    low = pipeline(source, "Make the ball pink.", keep_size=False, **options)
    assert low.image.size == (96, 80) and np.array_equal(np.asarray(low.at_size_of(source)), found)
    whole = pipeline(source, "Make the ball pink.", keep_unchanged=False, **options)
    assert whole.change is None and not np.array_equal(np.asarray(whole.image)[:, 300:], own[:, 300:])
    assert pipeline(source, "Make it dark.", size=(96, 80), task="edit_global").change is not None
    assert pipeline(source, "Remove the noise.", size=(96, 80), task="denoise").change is None


def test_a_change_of_all_is_carried_to_the_source(fresh_tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, source = fresh_tiny(), photo(96, 80)
    monkeypatch.setattr(pipeline, "_generate", lambda picture, *_, **__: pipeline.round_trip(picture) * 0.5)
    wanted = np.asarray(to_image(to_tensor(source)[0] * 0.5)).astype(float)

    def errors(task: str) -> tuple[float, float]:
        answers = (pipeline(source, "Do it.", task=task, keep_unchanged=kept).image for kept in (True, False))
        carried, whole = (np.abs(np.asarray(answer) - wanted).mean() for answer in answers)
        return carried, whole

    for task in ("low_light", "derain", "edit_global"):
        carried, whole = errors(task)
        assert carried < 0.2 * whole, "what the autoencoder lost is there, half as strong too"
    carried, whole = errors("denoise")
    assert carried == whole, "noise does not come back"
    # Of a larger picture rain is finer than its change at the model's size.
    larger = photo(384, 320)
    assert pipeline(larger, "Do it.", size=(96, 80), task="low_light").change is not None
    assert pipeline(larger, "Do it.", size=(96, 80), task="derain").change is None
    assert pipeline(larger, "Do it.", size=(96, 80), task="derain", threshold=0.03).change is not None


@pytest.mark.parametrize(
    ("task", "shape"),
    [("depth", (64, 96)), ("normal", (3, 64, 96)), ("segmentation", (64, 96)), ("referring_segmentation", (64, 96))],
)
def test_labels_have_the_models_size(tiny: PixWizardPipeline, task: str, shape: tuple[int, ...]) -> None:
    words = TASKS[task].instructions[0].replace("{caption}", "the red ball")
    source = photo(90, 60)
    result = tiny(source, words, task=task, steps=2, size=(96, 64), decode=True)
    assert result.image.size == (90, 60) and tuple(result.label.shape) == shape
    if task == "segmentation":
        assert set(result.label.unique().tolist()) <= {1, 2, 3}  # the classes that the model knows, not the palette's
    if task == "depth":
        assert bool((result.label > 0).any()) and bool(result.label.isfinite().all())
    if task == "normal":
        torch.testing.assert_close(result.label.norm(dim=0), torch.ones(64, 96))
    assert tiny(source, words, task=task, steps=2, size=(96, 64)).label is None


def test_a_label_is_what_the_tasks_code_says(tiny: PixWizardPipeline) -> None:
    source = torch.rand(3, 64, 64)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[16:40, 8:30] = True
    reference = tiny.round_trip(source[None] * 2 - 1)[0] / 2 + 0.5
    answer = TASKS["referring_segmentation"].encode(mask, reference)
    found = tiny.read_label(TASKS["referring_segmentation"], answer * 2 - 1, source * 2 - 1)
    assert float((found == mask).float().mean()) > 0.98


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (True, dict(instruction="  "), "an instruction must say what to do"),
        (True, dict(instruction="x", task="magic"), "the tasks are .*found 'magic'"),
        (False, dict(instruction="Remove the noise from this picture."), "task denoise needs a picture, found none"),
        (True, dict(instruction="qwertz uiop asdf", decode=True), "decode needs to know the task"),
        (True, dict(instruction="Remove the noise", decode="magic"), "found 'magic'"),
        (True, dict(instruction="Remove the noise", size=50), "multiples of 16"),
        (True, dict(instruction="Remove the noise", steps=1), "at least 2 points"),
    ],
)
def test_mistakes_are_told(tiny: PixWizardPipeline, image: bool, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(photo() if image else None, **options)
