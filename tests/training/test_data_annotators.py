"""What a build adds and leaves out: annotators, scores and filters."""

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pixwizard.cli.main import main

pq = pytest.importorskip("pyarrow.parquet")

from pixwizard.comfyui_pixwizard.encoders.transformers_models import broken_torchvision_hidden  # noqa: E402
from pixwizard.training.data.build.annotate import ANNOTATORS, Tools  # noqa: E402
from pixwizard.training.data.build.recipe import AnnotatorSettings, BuildRecipe, Filter, Input  # noqa: E402
from pixwizard.training.data.feed.collection import Collection  # noqa: E402

NANO = Path(__file__).parent.parent.parent / "comfyui_pixwizard" / "weights" / "nano"


def image(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def coded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def build(folder: Path, *inputs: dict[str, Any], **more: Any) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    path.write_text(json.dumps({"output": "out", "inputs": inputs, "smallest": 32} | more))
    return main(["data", "build", str(path)])


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "out" / "manifest.parquet").to_pylist()
    return found


def left_out(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "out" / "report.json").read_text())["rejected"]
    return found


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pixwizard: error: ")
    return error


def pairs(folder: Path, *pictures: tuple[Image.Image, Image.Image]) -> dict[str, Any]:
    items = []
    for number, both in enumerate(pictures):
        for role, picture in zip(("s", "t"), both, strict=True):
            (folder / f"{role}{number}.png").write_bytes(coded(picture))
        items.append({"input_path": f"s{number}.png", "target_path": f"t{number}.png", "prompt": str(number)})
    (folder / "a.json").write_text(json.dumps(items))
    return {"kind": "annotations", "path": "a.json", "task": "edit_global"}


def test_filters_leave_out_what_did_not_change_and_what_became_another_picture(tmp_path: Path) -> None:
    noisy = Image.fromarray((np.array(image(0)) // 4 * 3).astype(np.uint8))
    given = pairs(tmp_path, (image(0), image(0)), (noisy, image(0)), (image(5), image(0)))
    filters = [{"score": "gap", "at_least": 0.01}, {"score": "structure", "at_least": 0.75}, {"score": "detail"}]
    assert build(tmp_path, given, filters=filters) == 0
    (row,) = rows(tmp_path)
    assert row["instructions"] == ["1"]
    scores = {score["name"]: score["value"] for score in row["scores"]}
    assert set(scores) == {"gap", "structure", "detail"} and scores["structure"] > 0.8
    assert left_out(tmp_path) == {"filter gap": 1, "filter structure": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights with the bundled tokenizer."""
    with broken_torchvision_hidden():
        from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    small = dict(projection_dim=24, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    text = small | dict(vocab_size=1280, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    vision = small | dict(image_size=32, patch_size=16)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((NANO / "task_encoder" / name).read_bytes())
    return folder


def test_scores_by_clip_and_an_aesthetic_head(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(1, 24), "bias": torch.tensor([5.0])}, tmp_path / "head.safetensors")
    told = tuple(Filter(name, model=str(clip)) for name in ("clip_text", "clip_image", "clip_direction"))
    head = Filter("aesthetic", model=str(clip), options={"head": str(tmp_path / "head.safetensors")})
    tools = Tools(BuildRecipe("out", (Input("folder", "x"),), filters=(*told, head)))
    scores = tools.score(image(0), image(1), ["a cat", "a dog"])
    assert set(scores) == {"clip_text", "clip_image", "clip_direction", "aesthetic"}
    assert all(-1 <= scores[name] <= 1 for name in ("clip_text", "clip_image", "clip_direction"))
    assert tools.score(image(0), image(0), [])["clip_image"] == pytest.approx(1, abs=1e-5)
    assert set(tools.score(image(0), None, [])) == {"aesthetic"}
    other = tools.score(image(0), image(1), ["a dog", "a cat"])
    assert other["clip_direction"] == pytest.approx(-scores["clip_direction"], abs=1e-5)


def test_depth_by_a_tiny_depth_anything(tmp_path: Path) -> None:
    """Random weights of the real architecture: the map is stored and read back as the network gave it."""
    with broken_torchvision_hidden():
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, DPTImageProcessor

    backbone = dict(
        model_type="dinov2", hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    torch.manual_seed(0)
    for kind in ("metric", "relative"):
        folder = tmp_path / kind
        more = dict(max_depth=20, depth_estimation_type=kind, patch_size=14, reassemble_hidden_size=16)
        sizes = dict(neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=4, head_in_index=-1)
        config = DepthAnythingConfig(backbone_config=backbone, **more, **sizes)
        DepthAnythingForDepthEstimation(config).save_pretrained(folder / "model")
        processor = DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14)
        processor.save_pretrained(folder / "model")
        (folder / "photos").mkdir()
        (folder / "photos" / "a.png").write_bytes(coded(image(0)))
        told = [{"name": "depth", "model": "model"}]
        assert build(folder, {"kind": "folder", "path": "photos"}, annotators=told) == 0
        (row,) = rows(folder)
        facts = json.loads(row["facts"])["depth"]
        assert facts["kind"] == {"metric": "metric", "relative": "inverse"}[kind]
        items = Collection(folder / "out").items("depth", (64,), crop="center")
        sample = items.sample(0, (64, 64), torch.Generator())
        assert sample.target.shape == (3, 64, 64)
        if kind == "metric":
            from pixwizard.comfyui_pixwizard.tasks import TASKS

            metres = TASKS["depth"].decode(sample.target)
            assert facts["low"] - 0.1 <= metres.min() and metres.max() <= facts["high"] + 0.1


def test_built_in_filters_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(coded(image(0)))
    names = ["canny", "hed", "sketch", "line_art"]
    told = [{"name": name} for name in names]
    assert build(tmp_path, {"kind": "folder", "path": "photos"}, annotators=told) == 0
    (row,) = rows(tmp_path)
    for name in names:
        data = Collection(tmp_path / "out").part(row, name)
        assert data is not None and Image.open(io.BytesIO(data)).size == (80, 64)


def test_captions_by_a_tiny_image_text_model(tmp_path: Path) -> None:
    """A BLIP of random weights whose bias makes it say one word."""
    with broken_torchvision_hidden():
        from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
        from transformers import BlipImageProcessor as Pictures

        known = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"])}
        small = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
        ends = dict(vocab_size=7, bos_token_id=2, sep_token_id=3, eos_token_id=3, pad_token_id=0)
        text = small | ends | dict(encoder_hidden_size=16, projection_dim=16)
        vision = small | dict(image_size=32, patch_size=16)
        model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=16))
        model.text_decoder.cls.predictions.decoder.bias.data[6] = 100.0
        model.save_pretrained(tmp_path / "model")
        words = BertTokenizerFast(vocab=known)
        BlipProcessor(Pictures(size={"height": 32, "width": 32}), words).save_pretrained(tmp_path / "model")
    told = AnnotatorSettings("caption", str(tmp_path / "model"), {"words": 3})
    tools = Tools(BuildRecipe("out", (Input("folder", "x"),), annotators=(told,)))
    notes = tools.annotate([image(0), image(1, (40, 60))])
    assert [set(note.captions[0].split()) for note in notes] == [{"cat"}] * 2


def test_poses_by_a_stand_in_for_controlnet_aux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's interface, with a detector that only turns the picture and changes its size."""

    class Detector:
        @classmethod
        def from_pretrained(cls, folder: str) -> "Detector":
            return cls()

        def __call__(self, picture: Image.Image, output_type: str = "pil", include_hand: bool = False) -> Image.Image:
            return picture.resize((64, 64)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    module = types.ModuleType("controlnet_aux")
    module.OpenposeDetector = Detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "controlnet_aux", module)
    recipe = BuildRecipe(
        "out", (Input("folder", "x"),), annotators=(AnnotatorSettings("pose", "w", {"include_hand": True}),)
    )
    (note,) = Tools(recipe).annotate([image(0)])
    assert note.maps["pose"].size == (80, 64)
    wrong = BuildRecipe("out", (Input("folder", "x"),), annotators=(AnnotatorSettings("pose", "w", {"feet": True}),))
    with pytest.raises(ValueError, match="found 'feet'"):
        Tools(wrong)


def test_captions_join_those_that_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for an image-text model, through the same protocol."""

    class StandIn:
        name = "caption"

        def __call__(self, pictures: Any, notes: Any) -> None:
            for picture, note in zip(pictures, notes, strict=True):
                note.captions.append(f"{picture.width} wide")

    monkeypatch.setitem(ANNOTATORS, "stand_in", lambda told: StandIn())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(coded(image(0)))
    (tmp_path / "photos" / "a.txt").write_text("given")
    assert build(tmp_path, {"kind": "folder", "path": "photos"}, annotators=[{"name": "stand_in"}]) == 0
    assert rows(tmp_path)[0]["captions"] == ["given", "80 wide"]
