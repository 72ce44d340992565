"""The folder of a whole model: which parts it has, how each is read and written.

pipeline.json     format, kinds of the parts, largest size, names of classes, provenance, and what the model declares of
                  each task where that is not this project's own
transformer/      config.json, safetensors in shards
text_encoder/  task_encoder/  image_encoder/     Hugging Face folders; the last two may be OpenCLIP's, see `open_clip`
autoencoder/      config.json, model.safetensors
task_table.safetensors  task_predictor.safetensors    where the model has one, see `task_table` and `tasks.predictor`
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..encoders.autoencoder import SdxlAutoencoder
from ..encoders.clip import ClipTextEncoder, ClipVisionEncoder
from ..encoders.gemma import GemmaTextEncoder
from ..encoders.nano_autoencoder import NanoAutoencoder, NanoAutoencoderConfig
from ..task_reader import TaskReader
from ..tasks.declared import Declared
from ..version import VERSION
from .checkpoint import MAX_SHARD_BYTES, ModelFiles, load_transformer, save_transformer
from .predictor_file import PREDICTOR_FILE, load_predictor, save_predictor
from .safe_files import Spec, read_json, read_tensors, write_json, write_safetensors
from .table_file import TABLE_FILE, load_table, save_table

FORMAT = 1
# A small model goes into shards that any host of repositories takes; of a large one that would make hundreds.
SMALL_BYTES, LARGE_SHARD_BYTES = 2**28, 4 * 2**30
PIPELINE_FILE = "pipeline.json"
PARTS = ("transformer", "text_encoder", "task_encoder", "image_encoder", "autoencoder")
BUNDLED = {"nano": Path(__file__).parent.parent / "weights" / "nano"}
KINDS: dict[str, dict[str, Any]] = {
    "text_encoder": {"gemma": GemmaTextEncoder},
    "task_encoder": {"clip": ClipTextEncoder},
    "image_encoder": {"clip": ClipVisionEncoder},
    "autoencoder": {"nano": NanoAutoencoder, "sdxl": SdxlAutoencoder},
}


@dataclass
class Description:
    """What pipeline.json says.

    Attributes:
        components: kind of every encoder and of the autoencoder, keys of KINDS.
        max_size: side in pixels of the largest square that the model was trained for.
        class_names: names of the classes that its segmentations show, by id; the first is "nothing".
        depth_range: smallest and largest depth in metres that it was trained on, or None.
        provenance: how the weights came to be, plain values.
        tasks: what it declares of each task, see `tasks.declared`; None is this project's own.
    """

    components: dict[str, str]
    max_size: int
    class_names: list[str] = field(default_factory=list)
    depth_range: tuple[float, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] | None = None

    def declared(self, where: str | Path = PIPELINE_FILE) -> Declared | None:
        """What the model declares; None where its transformer's own file may.

        Raises:
            ValueError: it declares what cannot be used.
        """
        if self.tasks is not None:
            return Declared.read(self.tasks, self.class_names, self.max_size, where)
        if self.class_names or self.depth_range is not None:
            return Declared.own(self.class_names, self.depth_range, self.max_size)
        return None


def find_folder(model: str | Path) -> Path:
    """The folder of a bundled model by name, or the folder itself.

    Raises:
        ValueError: there is no model.
    """
    folder = BUNDLED.get(str(model)) or Path(model).expanduser()
    if not (folder / PIPELINE_FILE).is_file():
        raise ValueError(
            f"a model is 'nano' or a folder with {PIPELINE_FILE}, found none at {folder}: check the path, "
            "or train one with pixwizard train nano"
        )
    return folder


def find_transformer(model: str | Path) -> Path:
    """The transformer's place: of a bundled model by name, in a model's folder, or the place itself."""
    folder = BUNDLED.get(str(model), Path(model))
    return folder / "transformer" if (folder / PIPELINE_FILE).is_file() else folder


def read_description(folder: Path) -> Description:
    """Read and check pipeline.json.

    Raises:
        ValueError: unreadable, of another format, or with parts of an unknown kind.
    """
    path = folder / PIPELINE_FILE
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise ValueError(f"{path} should have format {FORMAT}, found {values.get('format')!r}: update pixwizard")
    try:
        required = [name for name in Description.__dataclass_fields__ if name != "tasks"]
        found = Description(**{name: values[name] for name in required}, tasks=values.get("tasks"))
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}: use an unmodified copy of the model") from error
    for part, kinds in KINDS.items():
        kind = found.components.get(part) if isinstance(found.components, dict) else None
        if kind not in kinds:
            raise ValueError(f"{path} needs {part} to be {' or '.join(kinds)}, found {kind!r}: use an unmodified copy")
    found.declared(path)
    return found


def read_declared(model: str | Path) -> Declared:
    """What a model declares: "nano", a folder of a whole model, or a transformer's file or folder.

    Raises:
        ValueError: no model there, or a broken one.
    """
    folder = BUNDLED.get(str(model)) or Path(model).expanduser()
    if not (folder / PIPELINE_FILE).is_file():
        return ModelFiles(folder).declared or Declared.own()
    found = read_description(folder)
    return found.declared() or ModelFiles(folder / "transformer").declared or Declared.own(max_size=found.max_size)


def load_part(folder: Path, part: str, kind: str, dtype: torch.dtype) -> nn.Module:
    """One encoder or the autoencoder, in eval mode.

    Raises:
        ValueError: the part is missing, broken or of another kind.
    """
    if (part, kind) == ("autoencoder", "nano"):
        return _load_nano_autoencoder(folder / part).to(dtype)
    return KINDS[part][kind].from_pretrained(folder / part, dtype=dtype)


def load_surroundings(
    folder: Path, names: Iterable[str] = tuple(KINDS), dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """What is around a network, or some of it: encoders and autoencoder of a folder, in eval mode.

    Raises:
        ValueError: a part is missing or broken, or the folder's description is.
    """
    kinds = read_description(folder).components
    return {name: load_part(folder, name, kinds[name], dtype) for name in names}


def load_task_reader(model: str | Path) -> TaskReader:
    """What finds the tasks of sentences for a model, without the rest of it; of one without a predictor, the guess.

    Raises:
        ValueError: no model there, or a broken one.
    """
    folder = find_folder(model)
    if not (folder / PREDICTOR_FILE).is_file():
        return TaskReader()
    encoder = load_surroundings(folder, ["task_encoder"])["task_encoder"]
    return TaskReader(load_predictor(folder / PREDICTOR_FILE), encoder)


def kind_of(part: str, component: Any) -> str:
    """The kind of a component, for pipeline.json.

    Raises:
        ValueError: a class that cannot be saved.
    """
    for kind, known in KINDS[part].items():
        if type(component) is known:
            return kind
    names = " or ".join(known.__name__ for known in KINDS[part].values())
    raise ValueError(f"{part} can be saved when it is a {names}, found {type(component).__name__}: load one of these")


def load_parts(folder: Path, found: Description, dtype: torch.dtype) -> dict[str, nn.Module]:
    """All parts of a folder, in eval mode on the CPU.

    Raises:
        ValueError: a part is missing or broken.
    """
    parts: dict[str, nn.Module] = {"transformer": load_transformer(folder / "transformer", dtype)}
    if (folder / TABLE_FILE).is_file():
        parts["task_table"] = load_table(folder / TABLE_FILE, dtype)
    if (folder / PREDICTOR_FILE).is_file():
        parts["task_predictor"] = load_predictor(folder / PREDICTOR_FILE)
    return parts | {part: load_part(folder, part, found.components[part], dtype) for part in KINDS}


def save_parts(folder: Path, parts: Mapping[str, Any], found: Description, dtype: torch.dtype) -> None:
    """Write all parts, pipeline.json last, so that a folder with it is always whole."""
    (folder / PIPELINE_FILE).unlink(missing_ok=True)
    numbers = sum(parameter.numel() for parameter in parts["transformer"].parameters())
    shard = MAX_SHARD_BYTES if numbers * dtype.itemsize < SMALL_BYTES else LARGE_SHARD_BYTES
    save_transformer(parts["transformer"], folder / "transformer", dtype, shard, found.provenance)
    for part in ("text_encoder", "task_encoder", "image_encoder"):
        parts[part].save_pretrained(folder / part, dtype)
    if found.components["autoencoder"] == "nano":
        _save_nano_autoencoder(parts["autoencoder"], folder / "autoencoder", dtype)
    else:
        _save_sdxl_autoencoder(parts["autoencoder"], folder / "autoencoder", dtype)
    if "task_table" in parts:
        save_table(parts["task_table"], folder / TABLE_FILE, dtype, provenance=found.provenance)
    else:
        (folder / TABLE_FILE).unlink(missing_ok=True)
    if "task_predictor" in parts:
        save_predictor(parts["task_predictor"], folder / PREDICTOR_FILE, provenance=found.provenance)
    else:
        (folder / PREDICTOR_FILE).unlink(missing_ok=True)
    values = asdict(found)
    if found.tasks is None:
        del values["tasks"]
    write_json(folder / PIPELINE_FILE, {"format": FORMAT, "version": VERSION} | values)


def _save_nano_autoencoder(model: NanoAutoencoder, folder: Path, dtype: torch.dtype) -> None:
    state = model.state_dict()
    specs = {name: Spec(dtype, tuple(value.shape)) for name, value in state.items()}
    write_safetensors(folder / "model.safetensors", specs, lambda names: {name: state[name] for name in names}, {})
    write_json(folder / "config.json", model.config.to_dict())


def _load_nano_autoencoder(folder: Path) -> NanoAutoencoder:
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"the autoencoder needs {folder / 'config.json'}, found none: use a complete copy of the model"
        )
    state = read_tensors(folder / "model.safetensors")
    try:
        model = NanoAutoencoder(NanoAutoencoderConfig(**read_json(folder / "config.json")))
        model.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder} does not hold this autoencoder: {reason}; use a complete copy of it") from error
    return model.eval()


def _save_sdxl_autoencoder(model: SdxlAutoencoder, folder: Path, dtype: torch.dtype) -> None:
    # diffusers keeps scale and shift in the config; what this model was given may differ from the file it came from.
    model.vae.register_to_config(scaling_factor=model.scale, shift_factor=model.shift)
    # A copy: digits that a shorter type drops do not come back.
    copy.deepcopy(model.vae).to(dtype).save_pretrained(folder)
