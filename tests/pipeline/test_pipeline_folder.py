"""A whole model on disk: round trip, what is missing or broken, what a crash leaves, the bundled one."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pixwizard.comfyui_pixwizard.config import PixWizardConfig
from pixwizard.comfyui_pixwizard.encoders.autoencoder import SdxlAutoencoder, autoencoder_class
from pixwizard.comfyui_pixwizard.files import components
from pixwizard.comfyui_pixwizard.pipeline import PixWizardPipeline
from pixwizard.comfyui_pixwizard.transformer import PixWizardTransformer
from pixwizard.comfyui_pixwizard.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


def states(pipeline: PixWizardPipeline) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": value for part, model in pipeline.parts.items() for name, value in model.state_dict().items()
    }


def answer(pipeline: PixWizardPipeline) -> torch.Tensor:
    source = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return pipeline.generate(source, ["Remove the noise."], steps=3, guidance=(2.0, 1.5), seeds=[0])


def test_float32_round_trip_is_exact(tiny: PixWizardPipeline, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path / "model", dtype=torch.float32)
    loaded = PixWizardPipeline.from_pretrained(tmp_path / "model")
    before, after = states(tiny), states(loaded)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert torch.equal(answer(tiny), answer(loaded))
    assert loaded.class_names == tiny.class_names and loaded.provenance == tiny.provenance
    assert loaded.max_size == tiny.max_size and loaded.load_seconds > 0


def test_saves_halves_and_loads_floats(tiny: PixWizardPipeline, tiny_folder: Path) -> None:
    loaded = states(PixWizardPipeline.from_pretrained(tiny_folder))
    for name, value in states(tiny).items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert loaded[name].dtype == wanted.dtype and torch.equal(loaded[name], wanted), name
    weights = sum(path.stat().st_size for path in tiny_folder.rglob("*.safetensors"))
    numbers = sum(value.numel() for value in loaded.values())
    assert 2 * numbers <= weights < 2.3 * numbers + 40_000


def test_all_parts_are_in_eval_mode(tiny_folder: Path) -> None:
    for name, part in PixWizardPipeline.from_pretrained(tiny_folder).parts.items():
        assert not any(module.training for module in part.modules()), name


def test_a_crash_while_saving_leaves_no_model(
    tiny: PixWizardPipeline, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(components, "_save_nano_autoencoder", crash)
    with pytest.raises(OSError, match="disk full"):
        tiny.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"a model is 'nano' or a folder with pipeline\.json, found none at"):
        PixWizardPipeline.from_pretrained(folder)


def broken_json(folder: Path) -> None:
    (folder / "pipeline.json").write_text("{")


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        values = json.loads((folder / "pipeline.json").read_text())
        (folder / "pipeline.json").write_text(json.dumps(values | changes))

    return edit


def truncated(folder: Path) -> None:
    path = folder / "autoencoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def other_width(folder: Path) -> None:
    path = folder / "autoencoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"width": 24}))


def unknown_field(folder: Path) -> None:
    path = folder / "autoencoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depth": 3}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("pipeline.json"), "found none at"),
        (broken_json, "cannot be read"),
        (edited(format=99), "should have format 1, found 99: update"),
        (edited(components={}), "needs text_encoder to be gemma, found None"),
        (edited(components=[]), "needs text_encoder to be gemma, found None"),
        (without("transformer"), "a model is a .safetensors file or a folder"),
        (without("text_encoder/tokenizer.json"), "needs a tokenizer.json"),
        (without("task_encoder"), "the CLIP text encoder is read from a folder"),
        (without("image_encoder/model.safetensors"), "the CLIP vision encoder needs weights"),
        (without("autoencoder/config.json"), "the autoencoder needs"),
        (without("autoencoder/model.safetensors"), "a weights file is needed"),
        (truncated, "not a complete safetensors file"),
        (other_width, "does not hold this autoencoder"),
        (unknown_field, "does not hold this autoencoder"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(
    tiny_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ValueError, match=message) as caught:
        PixWizardPipeline.from_pretrained(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_parts_of_two_models_are_refused(tiny: PixWizardPipeline) -> None:
    wider = PixWizardTransformer(
        PixWizardConfig(
            in_channels=16,
            dim=32,
            n_layers=1,
            n_heads=4,
            multiple_of=16,
            cap_feat_dim=48,
            cap_clip_feat_dim=32,
            clip_image_dim=32,
            sample_tokens=16,
        )
    )
    with pytest.raises(ValueError, match="text_encoder must have width 48 for this transformer, found 32"):
        PixWizardPipeline(**tiny.parts | {"transformer": wider})


def small_sdxl() -> SdxlAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = autoencoder_class()(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=4,
        )
    return SdxlAutoencoder(vae, scale=0.5, shift=0.25).eval()


def test_an_sdxl_autoencoder_round_trips(tiny: PixWizardPipeline, tmp_path: Path) -> None:
    pipeline = PixWizardPipeline(**tiny.parts | {"autoencoder": small_sdxl()})
    first = answer(pipeline)
    assert torch.equal(first, answer(pipeline))  # the posterior's sample comes from the seed too
    pipeline.save_pretrained(tmp_path / "model", dtype=torch.float32)
    loaded = PixWizardPipeline.from_pretrained(tmp_path / "model")
    assert (loaded.autoencoder.scale, loaded.autoencoder.shift) == (0.5, 0.25)
    assert torch.equal(first, answer(loaded))


def test_unknown_parts_cannot_be_saved(fresh_tiny: Callable[[], PixWizardPipeline], tmp_path: Path) -> None:
    pipeline = fresh_tiny()

    class Other(type(pipeline.autoencoder)):  # type: ignore[misc]
        pass

    pipeline.autoencoder.__class__ = Other
    with pytest.raises(ValueError, match="autoencoder can be saved when it is a NanoAutoencoder or SdxlAutoencoder"):
        pipeline.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_version_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_bundled_model_is_small_and_complete() -> None:
    folder = components.BUNDLED["nano"]
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 60e6 and max(sizes.values()) < 15e6
    pipeline = PixWizardPipeline.from_pretrained("nano")
    assert pipeline.transformer.config == PixWizardConfig.preset("nano")
    assert pipeline.max_size == 256 and pipeline.name == "nano"
    assert pipeline.class_names[1:3] == ["ground", "background"] and len(pipeline.class_names) == 7
    assert pipeline.provenance["photos"] is False
