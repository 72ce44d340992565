"""A folder of exported graphs: what it holds, whose it is, and whether it is whole.

velocity.onnx    velocity.onnx.data      what every step computes, see `export.onnx_graph`
conditions.onnx  conditions.onnx.data    what no step changes
export.json                              configuration, hash of the weights, precision, size and SHA-256 of every file
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..comfyui_pixwizard.files.safe_files import sha256_of, write_json
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..comfyui_pixwizard.version import VERSION
from .identity import GRAPH_VERSION, config_text, weights_hash

MANIFEST_FILE = "export.json"
VELOCITY_FILE, CONDITIONS_FILE = "velocity.onnx", "conditions.onnx"
FILES = (MANIFEST_FILE, *(name + end for name in (VELOCITY_FILE, CONDITIONS_FILE) for end in ("", ".data")))


@dataclass(frozen=True)
class Manifest:
    """What export.json says.

    Attributes:
        config: of the network, as `identity.config_text` writes it.
        weights: hash of the weights that were exported.
        precision: of the products: float32 or int8.
        opset: of ONNX.
        files: SHA-256 and bytes of every file.
        measured: figures of the check that the export passed, for people.
        graph, version: of the graphs' form and of the project.
    """

    config: str
    weights: str
    precision: str
    opset: int
    files: dict[str, list[Any]]
    measured: dict[str, Any]
    graph: int = GRAPH_VERSION
    version: str = VERSION

    def write(self, folder: Path) -> None:
        """Write export.json; last, so that a folder that has it is whole."""
        write_json(folder / MANIFEST_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check export.json; the files themselves are looked at by `check_files`.

        Raises:
            ValueError: none there, broken, or of another version of the graphs.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise ValueError(
                f"an engine folder holds {MANIFEST_FILE}, found none at {folder}: "
                f"make one with pixwizard export onnx MODEL {folder}"
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**values)
            usable = isinstance(found.files, dict) and {VELOCITY_FILE} <= set(found.files) <= set(FILES)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} cannot be read: {error}; export the model again") from error
        if not usable or found.graph != GRAPH_VERSION:
            raise ValueError(
                f"{path} should describe graphs of version {GRAPH_VERSION}, found {found.graph!r} by pixwizard "
                f"{found.version}: export the model again"
            )
        return found

    def check_files(self, folder: Path) -> None:
        """Compare every file with what was written.

        Raises:
            ValueError: a file is missing, truncated or changed.
        """
        for name, (digest, size) in self.files.items():
            path = folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise ValueError(f"{path} should have {size:,} bytes, found {found:,}: copy it again or export again")
            if sha256_of(path) != digest:
                raise ValueError(f"{path} is not the file that was exported (its SHA-256 differs): export again")

    def check_model(self, transformer: PixWizardTransformer, folder: Path) -> None:
        """Refuse another network than the exported one.

        Raises:
            ValueError: another configuration or other weights; the line names both.
        """
        if self.config != config_text(transformer):
            ours, theirs = json.loads(config_text(transformer)), json.loads(self.config)
            differing = [key for key in ours if ours[key] != theirs.get(key)]
            named = ", ".join(f"{key} {theirs.get(key)} there and {ours[key]} here" for key in differing[:3])
            raise ValueError(
                f"{folder} was exported from a model of another configuration ({named}): export this model"
            )
        here = weights_hash(transformer)
        if self.weights != here:
            raise ValueError(
                f"{folder} was exported from other weights ({self.weights[:12]} there, {here[:12]} here, the model "
                f"now in {next(transformer.parameters()).dtype}): export this model"
            )


def described(path: Path) -> list[Any]:
    """SHA-256 and bytes of a file, for `Manifest.files`."""
    return [sha256_of(path), path.stat().st_size]
