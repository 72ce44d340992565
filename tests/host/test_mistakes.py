"""What used to end in silence, in garbage or in PyTorch's words: each ends in one line of ours."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sampled
from torch import Tensor


@pytest.fixture
def told(host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the page shows under nodes: (node's id, words)."""
    shown: list[tuple[str, str]] = []
    page = SimpleNamespace(send_progress_text=lambda words, node: shown.append((node, words)))
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=page))
    monkeypatch.setitem(sys.modules, "server", server)  # type: ignore[arg-type]
    return shown


def one_line(caught: pytest.ExceptionInfo[ValueError]) -> bool:
    return "\n" not in str(caught.value) and len(str(caught.value)) < 400


def refuses(host: SimpleNamespace, node: Any, node_id: str, name: str, value: Any, words: str) -> None:
    """One input of a node is wrong, and it says so in a line; inputs without a default are left empty."""
    schema = host.nodes.NODE_CLASS_MAPPINGS[node_id].GET_SCHEMA()
    others = {item.id: None for item in schema.inputs if getattr(item, "default", None) is None}
    with pytest.raises(ValueError, match=words) as caught:
        node(node_id, **(others | {name: value}))
    assert one_line(caught)


# -- limits -----------------------------------------------------------------------------------------------------------

BEYOND = [
    (
        "PixWizardImageConditioning",
        "resolution",
        100_000,
        "PixWizard Image Conditioning: resolution lies in 0 to 4096, found 100000",
    ),
    ("PixWizardImageConditioning", "resolution", -16, "resolution lies in 0 to 4096, found -16"),
    ("PixWizardSampler", "points", 10**9, "PixWizard Sampler: points lies in 2 to 1000, found 1000000000"),
    ("PixWizardSampler", "text_guidance", math.nan, "text_guidance lies in 0.0 to 30.0, found nan"),
    ("PixWizardSampler", "image_guidance", math.inf, "image_guidance lies in 0.0 to 30.0, found inf"),
    ("PixWizardGuider", "text_guidance", math.nan, "PixWizard Guider: text_guidance lies in 0.0 to 30.0, found nan"),
    ("PixWizardFlowSchedule", "points", 1, "PixWizard Flow Schedule: points lies in 2 to 1000, found 1"),
    (
        "PixWizardBlankCanvas",
        "batch_size",
        10**6,
        "PixWizard Blank Canvas: batch_size lies in 1 to 4096, found 1000000",
    ),
    ("PixWizardOutpaintCanvas", "left", 10**6, "PixWizard Outpaint Canvas: left lies in 0 to 4096, found 1000000"),
    ("PixWizardExample", "size", 10**5, "PixWizard Example Picture: size lies in 64 to 512, found 100000"),
    ("PixWizardDecodeDepth", "far", math.inf, "PixWizard Decode Depth: far lies in 0.1 to 10000.0, found inf"),
]


@pytest.mark.parametrize("node_id, name, value, words", BEYOND, ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in BEYOND])
def test_numbers_that_come_by_links_are_held_to_the_widgets_limits(
    host: SimpleNamespace, node: Any, node_id: str, name: str, value: float, words: str
) -> None:
    refuses(host, node, node_id, name, value, words)


def test_the_limits_hold_in_a_graph(host: SimpleNamespace, run_graph: Any) -> None:
    graph = {
        "1": {"class_type": "PrimitiveInt", "inputs": {"value": 100_000}},
        "2": {"class_type": "PixWizardBlankCanvas", "inputs": {"width": ["1", 0], "height": 64, "batch_size": 1}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    refusal = "PixWizard Blank Canvas: width lies in 64 to 4096, found 100000: change the widget"
    with pytest.raises(AssertionError, match=refusal):
        run_graph(graph)


def test_a_batch_beyond_all_memory_is_refused(node: Any) -> None:
    with pytest.raises(ValueError, match="found 4096 of 4096 x 4096: take at most 4 of this size at a time"):
        node("PixWizardBlankCanvas", width=4096, height=4096, batch_size=4096)


PICTURE = torch.full((1, 64, 64, 3), 0.5)
ARRIVES = [
    (
        "PixWizardDecodeNormals",
        "image",
        PICTURE / 0,
        "pictures .*, found .1, 64, 64, 3. with values that are not finite",
    ),
    ("PixWizardDecodeNormals", "image", PICTURE[:0], r"pictures \[B, H, W, 3\], found \[0, 64, 64, 3\]"),
    ("PixWizardDecodeNormals", "image", (PICTURE * 255).byte(), "found .* of uint8"),
    ("PixWizardDecodeNormals", "image", PICTURE[..., :1], r"found \[1, 64, 64, 1\]"),
    ("PixWizardOutpaintCanvas", "image", [PICTURE], "found a value of type list: change the node that is linked"),
    ("PixWizardInpaintCanvas", "mask", PICTURE / 0, r"mask takes masks \[B, H, W\], found \[1, 64, 64, 3\]"),
    ("PixWizardSampler", "latent", {}, r"latent takes latents \[B, C, h, w\], found one without samples"),
    ("PixWizardSampler", "positive", [], "positive takes what a text encoder gives, found an empty one"),
    ("PixWizardSampler", "model", object(), "PixWizard Sampler: model takes a MODEL, found a value of type object"),
    ("PixWizardInstruction", "clip", 3, "clip takes a CLIP, found a value of type int"),
    ("PixWizardImageConditioning", "vae", "a", "vae takes a VAE, found a value of type str"),
    ("PixWizardMixTasks", "first", PICTURE, r"first takes a task vector \[1, P\], found a value of type Tensor"),
]


@pytest.mark.parametrize("node_id, name, value, words", ARRIVES, ids=[f"{i}-{row[1]}" for i, row in enumerate(ARRIVES)])
def test_what_arrives_is_what_the_schema_says(
    host: SimpleNamespace, node: Any, node_id: str, name: str, value: Any, words: str
) -> None:
    refuses(host, node, node_id, name, value, words)


# -- silent wrong answers ----------------------------------------------------------------------------------------------


def test_words_beyond_the_encoders_are_named_under_the_node(
    run_graph: Any, told: list[tuple[str, str]], node: Any, parts: SimpleNamespace
) -> None:
    words = "Remove the rain from this picture, " + "and the snow and the fog and the noise, " * 40
    graph = {
        "1": {"class_type": "PixWizardLoad", "inputs": {"model": "nano (bundled)", "weight_dtype": "default"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": words}},
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["7", 0]}},
    }
    run_graph(graph)
    assert {number for number, _ in told} == {"7"} and len(told) == 2
    assert told[0][1].startswith("Gemma reads at most 255 tokens, found ")
    assert told[1][1].startswith("CLIP's text encoder reads at most 75 tokens, found ")
    assert all(text.endswith("are cut off, shorten the text") for _, text in told)
    told.clear()
    node("PixWizardInstruction", clip=parts.clip, text="Remove the rain from this picture.")
    assert not told


@pytest.mark.parametrize("sampler", ["PixWizardSampler", "KSampler"])
def test_a_sampler_without_a_picture_says_so(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], sampler: str
) -> None:
    text = node("CLIPTextEncode", clip=parts.clip, text="a red ball")[0]
    latent = node("EmptyLatentImage", width=64, height=64, batch_size=1)[0]
    stock = dict(steps=2, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0, latent_image=latent)
    own = dict(image_only=text, points=2, latent=latent)
    with pytest.raises(
        ValueError, match="works on a source picture, found none on positive: put Image Conditioning"
    ) as c:
        node(
            sampler,
            model=parts.model,
            seed=1,
            positive=text,
            negative=text,
            **(stock if sampler == "KSampler" else own),
        )
    assert one_line(c)
    with pytest.raises(ValueError, match="found none on image_only"):
        sampled(node, parts.model, given, image_only=given[2])


def test_guidance_that_is_no_number_is_refused(host: SimpleNamespace) -> None:
    guidance = host.ours("comfyui_pixwizard.guidance").DualGuidance
    for text, image in ((math.nan, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match=r"guidance must be a finite number, found (text nan|image inf)"):
            guidance(text, image)


class OtherVae:
    """A VAE of another model, with latents as nano's."""

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8).repeat(1, 6, 1, 1)[:, :16]

    def decode(self, latents: Tensor) -> Tensor:
        raise AssertionError("it must not come so far")


def test_another_models_vae_is_refused_where_the_source_is_compared(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...]
) -> None:
    source = given[4]
    wrong = "found another model's .*: connect that VAE here"
    for kind, more in (("KeepUnchanged", {}), ("DecodeMask", {}), ("DecodeBoxes", {})):
        with pytest.raises(ValueError, match=wrong) as caught:
            node(f"PixWizard{kind}", image=source, source=source, vae=OtherVae(), **more)
        assert one_line(caught)
        assert node(f"PixWizard{kind}", image=source, source=source, vae=parts.vae)
    # The same weights, loaded again, are the same VAE.
    assert node("PixWizardKeepUnchanged", image=source, source=source, vae=node("PixWizardLoad")[3])


# -- what other nodes bring --------------------------------------------------------------------------------------------


def test_latents_of_videos_and_of_other_models_are_named(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...]
) -> None:
    video = {"samples": torch.zeros(1, 16, 5, 8, 8)}
    with pytest.raises(ValueError, match=r"latents of pictures \[B, C, h, w\], found one of \[1, 16, 5, 8, 8\]"):
        sampled(node, parts.model, given, latent=video)
    other = {"samples": torch.randn(1, 4, 8, 8)}
    for latent in (video, other):
        with pytest.raises(ValueError, match=r"model samples latents \[B, 16, h, w\], found \[1, ") as caught:
            node("KSampler", model=parts.model, seed=1, steps=2, cfg=1.0, sampler_name="euler", scheduler="simple",
                 positive=given[0], negative=given[2], latent_image=latent, denoise=1.0)  # fmt: skip
        assert one_line(caught)
    tiles = dict(tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8)
    for decoder, more in (("VAEDecode", {}), ("VAEDecodeTiled", tiles)):
        with pytest.raises(ValueError, match=r"this VAE decodes latents \[B, 16, h, w\], found \[1, 4, 8, 8\]"):
            node(decoder, vae=parts.vae, samples=other, **more)


def test_a_vae_of_another_kind_is_named(node: Any, conditioned: Any, example: Any, parts: SimpleNamespace) -> None:
    class VideoVae(OtherVae):
        def encode(self, pixels: Tensor) -> Tensor:
            return super().encode(pixels)[:, :, None]

    encoded, empty = node("PixWizardInstruction", clip=parts.clip, text="Remove the rain.")[:2]
    with pytest.raises(ValueError, match=r"latents \[B, C, 8, 8\] of pictures of 64 x 64 px, found \[1, 16, 1, 8, 8\]"):
        node("PixWizardImageConditioning", positive=encoded, empty=empty, clip_vision=parts.vision, vae=VideoVae(),
             image=example(size=64))  # fmt: skip


@pytest.mark.parametrize("name", ["FreeU", "FreeU_V2"])
def test_freeu_runs_and_is_told_to_do_nothing(
    node: Any, parts: SimpleNamespace, given: tuple[Any, ...], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    patched = node(name, model=parts.model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)[0]
    torch.testing.assert_close(sampled(node, patched, given), sampled(node, parts.model, given))
    said = [
        r.getMessage() for r in caplog.records if "no place for the model patch output_block_patch" in r.getMessage()
    ]
    assert len(said) == 1
