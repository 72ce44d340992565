"""`pixwizard info` and `pixwizard convert`: what a model is made of, and others' files to the form read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..comfyui_pixwizard.config import PixWizardConfig
from ..comfyui_pixwizard.files.checkpoint import DTYPES, ModelFiles, meta_specs
from ..comfyui_pixwizard.files.lumina import init_from_lumina
from ..comfyui_pixwizard.files.released import ARGS_FILE, convert_released, read_released, weights_name
from ..comfyui_pixwizard.files.safe_files import Spec, write_json
from ..comfyui_pixwizard.tasks.released_codes import INDOORS

if TYPE_CHECKING:  # transformers is slow to import, and not needed for --help
    from ..comfyui_pixwizard.files.open_clip import OpenClip

COMPONENTS = {
    "attention": ("attention.",),
    "feed-forward": ("feed_forward.",),
    "token sampler": ("y_pool_proj.", "input_image_proj.", "attention_input_norm.", "in_conv.", "out_conv."),
    "modulation": ("adaLN_modulation.",),
    "norms": ("attention_norm", "ffn_norm", "attention_y_norm."),
}


def _component(name: str) -> str:
    if not name.startswith("layers."):
        return name.split(".")[0]
    rest = name.split(".", 2)[2]
    return "layers: " + next(label for label, starts in COMPONENTS.items() if rest.startswith(starts))


def describe(specs: Mapping[str, Spec], config: PixWizardConfig) -> dict[str, Any]:
    """Parameters and entries, in all and per component, as plain values.

    `equals_released` says whether names and shapes are exactly those of the released 2B model.
    """
    released = meta_specs(PixWizardConfig.preset("2b"))
    shapes, wanted = ({name: spec.shape for name, spec in those.items()} for those in (specs, released))
    components: dict[str, dict[str, int]] = {}
    for name, spec in specs.items():
        row = components.setdefault(_component(name), {"parameters": 0, "entries": 0})
        row["parameters"] += spec.bytes // spec.dtype.itemsize
        row["entries"] += 1
    return {
        "parameters": sum(row["parameters"] for row in components.values()),
        "entries": len(specs),
        "equals_released": shapes == wanted,
        "components": components,
        "config": config.to_dict(),
    }


def _print(report: Mapping[str, Any]) -> None:
    print(report["source"])
    width = max(map(len, report["components"])) + 2
    print(f"{'component':<{width}}{'parameters':>15}{'entries':>9}")
    for name, row in report["components"].items():
        print(f"{name:<{width}}{row['parameters']:>15,}{row['entries']:>9}")
    print(f"{'total':<{width}}{report['parameters']:>15,}{report['entries']:>9}")
    print("names and shapes", "equal" if report["equals_released"] else "differ from", "the released 2B model")
    print("config:", ", ".join(f"{key}={value}" for key, value in report["config"].items()))
    for key, value in report["provenance"].items():
        print(f"{key}: {value}")


@dataclass
class Info:
    """Parameters, entries and configuration of a model; reads no weights."""

    path: tyro.conf.Positional[Path | None] = None
    """"nano", a model of this project (.safetensors file or folder) or a released folder."""
    preset: Literal["2b", "nano"] | None = None
    """A configuration instead of a file."""
    json: Path | None = None
    """Also write the same as JSON."""

    def run(self) -> int:
        """Print the table.

        Raises:
            ValueError: neither or both of path and preset, or a bad file.
        """
        if (self.path is None) == (self.preset is None):
            raise ValueError(
                "info needs a path or --preset 2b|nano, found " + ("none" if self.path is None else "both")
            )
        provenance: dict[str, Any] = {}
        if self.preset is not None:
            config = PixWizardConfig.preset(self.preset)
            specs: Mapping[str, Spec] = meta_specs(config)
        elif self.path is not None and (self.path / ARGS_FILE).is_file():
            file, config, provenance = read_released(self.path, ema=not (self.path / weights_name(False)).is_file())
            specs = file.specs
        else:
            from ..comfyui_pixwizard.files.components import find_transformer

            files = ModelFiles(find_transformer(self.path or Path()))
            specs, config, provenance = files.specs, files.config, files.provenance
        source = f"preset {self.preset}" if self.preset else str(self.path)
        report = {"source": source} | describe(specs, config) | {"provenance": provenance}
        _print(report)
        if self.json is not None:
            write_json(self.json, report)
        return 0


@dataclass
class Convert:
    """Released files to one safetensors file, with configuration, provenance and what the model declares of its tasks
    inside; OpenCLIP's to a folder."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    """The released folder (consolidated[_ema].00-of-01.pth, model_args.pth); an OpenCLIP checkpoint, file or folder;
    Lumina-Next's file or folder with --init-from-lumina."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A .safetensors file, or a folder for model.safetensors. Of an OpenCLIP checkpoint a Hugging Face folder with both
    CLIP towers and their tokenizer."""
    ema: bool = False
    """Take the averaged weights."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Element type of the output; the source's own by default, float32 with --init-from-lumina."""
    depths: Literal["indoors", "streets"] = "indoors"
    """What the released weights' depth maps are read as: 0 to 10 m, as of NYUv2 and SUN RGB-D, or 0 to 80 m, as of
    Virtual KITTI 2; the result declares it."""
    init_from_lumina: bool = False
    """Build a start for training from Lumina-Next-T2I: its weights, new parts freshly initialised."""
    seed: int = 0
    """Of the new parts, with --init-from-lumina."""
    architecture: str | None = None
    """OpenCLIP's name for its checkpoint, such as ViT-L-14; by default that of open_clip_config.json beside the file,
    and without one OpenAI's ViT-L-14-quickgelu or ViT-L-14-336-quickgelu."""

    def run(self) -> int:
        """Convert and say where the result is.

        Raises:
            ValueError: a missing, truncated, foreign, misshapen or hostile file; nothing is written then.
        """
        if self.init_from_lumina and self.ema:
            raise ValueError(
                "--ema chooses between the files of a released folder, found it with --init-from-lumina: "
                "give the file of Lumina-Next that you want instead"
            )
        if self.init_from_lumina and self.architecture is not None:
            raise ValueError("--architecture goes with an OpenCLIP checkpoint, found --init-from-lumina: leave one out")
        if self.init_from_lumina:
            self._only_released()
            path = init_from_lumina(self.source, self.out, dtype=self.dtype or "float32", seed=self.seed)
        elif (checkpoint := self._open_clip()) is not None:
            self._only_released()
            path = checkpoint.save(self.out, DTYPES[self.dtype] if self.dtype else None)
            print(f"both towers of {checkpoint.architecture}")
        else:
            path = convert_released(self.source, self.out, ema=self.ema, dtype=self.dtype, depths=self.depths)
        print(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")
        return 0

    def _only_released(self) -> None:
        if self.depths != INDOORS:
            raise ValueError(
                f"--depths is of the released weights, found {self.depths} with another source: leave it out"
            )

    def _open_clip(self) -> OpenClip | None:
        """The OpenCLIP checkpoint that the source is, if it is one."""
        from ..comfyui_pixwizard.files.open_clip import OpenClip, find_open_clip

        file = find_open_clip(self.source)
        if file is None:
            if self.architecture is not None:
                raise ValueError(
                    f"--architecture goes with an OpenCLIP checkpoint, found none at {self.source}: leave it out"
                )
            return None
        if self.ema:
            raise ValueError(f"--ema chooses between the files of a released folder, found OpenCLIP's {file}: drop it")
        if self.out.suffix == ".safetensors":
            raise ValueError(f"an OpenCLIP checkpoint becomes a folder, found the file {self.out}: name a folder")
        return OpenClip(file, self.architecture)
