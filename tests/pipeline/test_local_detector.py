"""Edits of one thing by networks of the user's own, and by the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor

from pixwizard.cli.main import main
from pixwizard.comfyui_pixwizard.local_edits import detector as detector_module
from pixwizard.comfyui_pixwizard.local_edits.detector import Finder
from pixwizard.comfyui_pixwizard.local_edits.forms import BOX, in_form
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of, to_image
from pixwizard.training.data.build.detectors import detector_of

WORDS = "Make the red ball blue."


@pytest.fixture
def picture() -> Image.Image:
    return to_image(torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a GroundingDINO and a SAM, tiny and with random weights."""
    from pixwizard.comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden

    with broken_torchvision_hidden():
        from transformers import (
            BertConfig,
            GroundingDinoConfig,
            GroundingDinoForObjectDetection,
            SamConfig,
            SamMaskDecoderConfig,
            SamModel,
            SamPromptEncoderConfig,
            SamVisionConfig,
            SwinConfig,
        )
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=2, out_indices=[2, 3, 4]
    )
    bert = BertConfig(vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    detector = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=12,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            disable_custom_kernels=True,
        )
    )  # fmt: skip
    detector.save_pretrained(folder / "detector")
    words = {f"[{i}]": i for i in range(1100) if i != 100} | {"[UNK]": 100}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "detector" / "tokenizer.json"))
    sizes = {"size": {"shortest_edge": 64, "longest_edge": 96}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "detector" / "preprocessor_config.json").write_text(json.dumps(sizes))
    narrow: Any = dict(hidden_size=16, image_size=64, patch_size=16)
    segmenter = SamModel(
        SamConfig(
            vision_config=SamVisionConfig(
                **narrow, output_channels=16, num_hidden_layers=1, num_attention_heads=2, mlp_dim=32, window_size=2,
                global_attn_indexes=[0], num_pos_feats=8,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(**narrow, mask_input_channels=4),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
            ),
        )
    )  # fmt: skip
    segmenter.save_pretrained(folder / "segmenter")
    return folder / "detector", folder / "segmenter"


def test_networks_of_the_user_find_the_thing(
    networks: tuple[Path, Path], picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = Finder(*networks)
    monkeypatch.setattr(detector_module, "FOUND", 0.0)
    boxes = finder.boxes(picture, "The red ball.")
    assert boxes.shape == (12, 4) and bool((boxes[:, :2] <= boxes[:, 2:]).all())
    assert torch.equal(boxes, finder.boxes(picture, "the red ball")), "the form of words is the detector's"
    found = detector_of(str(networks[0]))(picture, "the red ball")
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert torch.equal(torch.tensor([one.box for one in found]), boxes)
    monkeypatch.setattr(detector_module, "FOUND", 1.1)
    assert not bool(finder(picture, "the red ball").any())
    seen: dict[str, Any] = {}

    def segment(pixel_values: Tensor, input_boxes: Tensor, multimask_output: bool) -> Any:
        seen.update(pixels=pixel_values, boxes=input_boxes)
        logits = torch.full((1, 2, 1, 16, 16), -1.0)
        logits[0, 0, 0, 2:6, 4:8], logits[0, 1, 0, 11:, :] = 1.0, 1.0  # the second lies in what was padded
        return SimpleNamespace(pred_masks=logits)

    assert finder.mask(picture, torch.tensor([[0.1, 0.2, 0.6, 0.9]])).shape == (64, 96)
    segment.config = finder.segmenter.config  # type: ignore[attr-defined]
    finder.segmenter = segment
    mask = finder.mask(picture, torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]))
    torch.testing.assert_close(seen["boxes"][0, 0], torch.tensor([16.0, 43 / 4, 32.0, 43 / 2]))
    assert not bool(seen["pixels"][..., 43:, :].any()) and bool(seen["pixels"][..., 42, :].any())
    inside = torch.zeros(64, 96, dtype=torch.bool)
    inside[12:36, 24:48] = True
    assert float((mask & inside).sum() / (mask | inside).sum()) > 0.85


def test_only_safe_files_of_the_right_kind(networks: tuple[Path, Path], tmp_path: Path) -> None:
    detector, segmenter = networks
    with pytest.raises(ValueError, match="needs model_type grounding-dino"):
        Finder(segmenter_with_words(segmenter, detector, tmp_path), segmenter)
    with pytest.raises(ValueError, match="the segmenter is read from a folder, found none"):
        Finder(detector, tmp_path / "gone")
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    (unsafe / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"the segmenter is read from safetensors alone, found none in .*unsafe"):
        Finder(detector, unsafe)


def segmenter_with_words(segmenter: Path, detector: Path, folder: Path) -> Path:
    shutil.copytree(segmenter, folder / "mixed")
    shutil.copy(detector / "tokenizer.json", folder / "mixed")
    return folder / "mixed"


def test_the_program_edits_a_part(
    tiny_folder: Path,
    networks: tuple[Path, Path],
    picture: Image.Image,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[20:40, 10:30], mask[40:50, 10:20] = True, True
    picture.save(tmp_path / "a.png")
    Image.fromarray((mask.numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    line = ["run", str(tmp_path / "a.png"), "-i", WORDS, "-o", str(tmp_path / "b.png"), "--model", str(tiny_folder),
            "--steps", "2", "--whole-answer"]  # fmt: skip
    given = [*line, "--local-mask", str(tmp_path / "mask.png"), "--local-form", "box"]
    assert main(given) == 0
    found = metadata_of(tmp_path / "b.png")
    assert found["local_form"] == "box" and json.loads(found["options"])["local"]["form"] == "box"
    outside = (in_form(mask, BOX)[0, 0] == 0).numpy()
    assert np.array_equal(np.asarray(picture)[outside], np.asarray(Image.open(tmp_path / "b.png"))[outside])
    assert main(given) == 0 and "kept" in capsys.readouterr().out
    Image.fromarray((mask.flip(1).numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert main(given) == 0 and "kept" not in capsys.readouterr().out, "another mask is another answer"
    monkeypatch.setattr(detector_module.Finder, "boxes", lambda *_: torch.tensor([[0.1, 0.1, 0.9, 0.9]]))
    monkeypatch.setattr(detector_module.Finder, "mask", lambda *_: mask)
    folders = ["--detector", str(networks[0]), "--segmenter", str(networks[1])]
    assert main([*line, "--local-mask", "detector", "--local-form", "exact", *folders]) == 0
    assert not np.array_equal(
        np.asarray(picture)[mask.numpy()], np.asarray(Image.open(tmp_path / "b.png"))[mask.numpy()]
    )
    capsys.readouterr()
    for wrong, told in {
        ("--local-form", "box"): "--local-form says how a part is edited, found no --local-mask beside it",
        ("--local-mask", "detector"): "found none: name both",
        ("--local-mask", "auto", *folders[:2]): "name both, or take mask 'auto'",
        ("--local-mask", str(tmp_path / "gone.png")): "found none at",
        ("--local-mask", str(tmp_path / "mask.png"), "--local-thing", "the ball"): "found 'the ball' beside a mask",
        ("--local-mask", "auto", "--task", "depth"): "found task depth, which makes a new one",
    }.items():
        assert main([*line, *wrong]) == 2
        assert told in capsys.readouterr().err, wrong
