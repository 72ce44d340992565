"""`pixwizard export onnx`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from tqdm import tqdm

from ..comfyui_pixwizard.config import PRESETS, PixWizardConfig
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..export.onnx_check import compare
from ..export.onnx_folder import STAGES, check_replaceable, export_onnx, refuse_differences
from ..export.onnx_model import require_onnx
from ..runtime.exported import Manifest


@dataclass
class Onnx:
    """Write velocity.onnx and conditions.onnx, opset 20, and compare them with the network.

    Batch, size and length of the text are free in the files; the weights lie beside them under their own names.
    """

    paths: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[MODEL] DIR")]
    """The bundled model, nano, or a folder; then the folder to write. MODEL is left out with --preset."""
    precision: Literal["fp32", "int8"] = "fp32"
    """int8: the large products in eight bits, for CPUs."""
    preset: Literal["2b", "nano"] | None = None
    """With --random: widths of a model of random weights, to try engines without the real ones."""
    layers: int | None = None
    """With --preset: fewer layers than it has."""
    random: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Random weights."""

    def run(self) -> int:
        """Export, and print what was written and how far it is from the network.

        Raises:
            ValueError: arguments that do not fit each other, no such model, a folder that holds something else,
                missing packages, or a graph that differs from the network.
        """
        require_onnx()
        model, folder = self._places()
        check_replaceable(folder)
        transformer = random_model(self.preset, self.layers) if self.preset else load(model)
        with tqdm(total=STAGES + (self.precision == "int8"), unit="stage", leave=False) as bar:

            def tell(stage: str) -> None:
                bar.set_description(stage)
                bar.update()

            differences = export_onnx(transformer, folder, self.precision, tell)
        for path in sorted(folder.iterdir()):
            print(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")
        for item in differences:
            print(item)
        return 0

    def _places(self) -> tuple[str, Path]:
        if (self.preset is not None) != self.random:
            raise ValueError(
                f"--preset and --random go together, found only --{'random' if self.random else 'preset'}: "
                "give both for random weights, or MODEL for a model"
            )
        if self.layers is not None and self.preset is None:
            raise ValueError("--layers goes with --preset, found it alone: a model has all of its layers")
        if self.layers is not None and self.preset and not 1 <= self.layers <= PRESETS[self.preset]["n_layers"]:
            raise ValueError(
                f"--layers lies in 1 to {PRESETS[self.preset]['n_layers']} for {self.preset}, found {self.layers}: "
                "take 2"
            )
        wanted = 1 if self.preset else 2
        if len(self.paths) != wanted:
            names = "DIR with --preset" if self.preset else "MODEL and DIR"
            raise ValueError(f"export onnx takes {names}, found {len(self.paths)} paths: see pixwizard export onnx -h")
        return self.paths[0], Path(self.paths[-1])


@dataclass
class Check:
    """Compare a folder that was exported with what was written, and with the model that it came from."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """What pixwizard export onnx wrote."""
    model: str | None = None
    """Also compare with this model: nano or a folder."""

    def run(self) -> int:
        """Print what the folder is, and the differences.

        Raises:
            ValueError: no export, an incomplete or changed one, another model's, or a graph that differs from it.
        """
        manifest = Manifest.read(self.folder)
        manifest.check_files(self.folder)
        print(f"{self.folder}: {manifest.precision}, opset {manifest.opset}, by pixwizard {manifest.version}")
        print(f"weights {manifest.weights}")
        print(f"config {manifest.config}")
        if self.model is None:
            return 0
        require_onnx()
        transformer = load(self.model)
        manifest.check_model(transformer, self.folder)
        differences = list(compare(transformer, self.folder, manifest.precision))
        for item in differences:
            print(item)
        refuse_differences(differences)
        return 0


def load(model: str) -> PixWizardTransformer:
    """The transformer of a whole model, float32."""
    from ..comfyui_pixwizard.files.checkpoint import load_transformer
    from ..comfyui_pixwizard.files.components import find_folder

    return load_transformer(find_folder(model) / "transformer")


def random_model(preset: str, layers: int | None) -> PixWizardTransformer:
    """A model of random weights, the same every time."""
    from ..bench.speed import random_transformer

    config = PixWizardConfig.from_dict(PRESETS[preset] | ({"n_layers": layers} if layers else {}))
    with torch.random.fork_rng(devices=[]):
        return random_transformer(config)
