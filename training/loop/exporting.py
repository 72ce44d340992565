"""A run's weights as files that others read: this project's, the released training code's, adapters alone.

RUN/model.json says what the run trains: the configuration, and the adapters' alpha where it trains adapters.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.files.checkpoint import DTYPES, meta_specs, save_transformer
from ...comfyui_pixwizard.files.released import ARGS_FILE, OWN_CODES, weights_name
from ...comfyui_pixwizard.files.safe_files import replaced, write_json
from ...comfyui_pixwizard.files.table_file import TABLE_FILE, save_table
from ...comfyui_pixwizard.task_table import TaskTable
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from .checkpoints import newest, read
from .lora import save_lora

Form = Literal["safetensors", "released", "lora"]
MODEL_FILE = "model.json"
INSIDE, TABLE = "transformer.", "table."
# The released constructors' name of the only released size; the patch size is read from its end.
RELEASED_NAME = "NextDiT_2B_GQA_patch2"


@dataclass(frozen=True)
class RunModel:
    """What a run trains: configuration; adapters' alpha (None: the whole transformer); plain facts about the run; the
    tasks of its task table, if it trains one.
    """

    config: PixWizardConfig
    lora_alpha: float | None = None
    told: Mapping[str, Any] | None = None
    table: tuple[str, ...] = ()

    def save(self, run: Path) -> None:
        """Write RUN/model.json."""
        values: dict[str, Any] = {
            "config": self.config.to_dict(),
            "lora_alpha": self.lora_alpha,
            "told": dict(self.told or {}),
        }
        values |= {"table": list(self.table)} if self.table else {}
        write_json(Path(run) / MODEL_FILE, values)

    @classmethod
    def load(cls, run: Path) -> RunModel:
        """Read RUN/model.json.

        Raises:
            ValueError: no such file, or a broken one.
        """
        path = Path(run) / MODEL_FILE
        try:
            values = json.loads(path.read_text())
            return cls(PixWizardConfig.from_dict(values["config"]), values["lora_alpha"], values["told"],
                       tuple(values.get("table", ())))  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"a run of stage1, stage2 or lora is exported, found no readable {path}: {error}; give such a folder"
            ) from error


def run_table(run: Path, names: Sequence[str], config: PixWizardConfig, average: bool = True) -> TaskTable:
    """The task table of a run's newest checkpoint; errors as `run_weights`."""
    return table_of(run_weights(run, average, TABLE)[0], names, config)


def run_weights(run: Path, average: bool = True, inside: str = INSIDE) -> tuple[dict[str, Tensor], int]:
    """The trained weights of a run's newest checkpoint, by their names in the transformer, or in another part of what
    is trained, and the step.

    Raises:
        ValueError: no checkpoint, or a damaged one.
    """
    path = newest(run)
    if path is None:
        raise ValueError(f"export needs a run with a checkpoint, found none in {run}: train it first")
    prefix = f"{'average' if average else 'model'}.{inside}"
    tensors, state = read(path, prefix)
    return {name.removeprefix(prefix): value for name, value in tensors.items()}, state["step"]


def transformer_of(state: Mapping[str, Tensor], config: PixWizardConfig) -> PixWizardTransformer:
    """A transformer with these weights."""
    with torch.device("meta"):
        model = PixWizardTransformer(config)
    model.load_state_dict(dict(state), strict=True, assign=True)
    return model.eval()


def table_of(state: Mapping[str, Tensor], names: Sequence[str], config: PixWizardConfig) -> TaskTable:
    """A task table with these weights."""
    table = TaskTable.of(config, names)
    table.load_state_dict(state)
    return table


def write_released(
    state: Mapping[str, Tensor],
    config: PixWizardConfig,
    folder: Path,
    *,
    average: bool,
    dtype: torch.dtype = torch.float32,
    args: Mapping[str, Any] | None = None,
) -> Path:
    """The folder that the released code, and `pixwizard convert`, read: `consolidated[_ema].00-of-01.pth` and
    `model_args.pth`, both in torch.save's format, plain tensors and an argparse.Namespace of plain values.

    Raises:
        ValueError: weights that are not the whole model's.
    """
    wanted = meta_specs(config)
    if set(state) != set(wanted):
        first = sorted(set(wanted) ^ set(state))[0]
        raise ValueError(f"the released form holds a whole transformer, found a difference in {first}: merge it first")
    known: dict[str, Any] = dict(
        model=RELEASED_NAME if config == PixWizardConfig.preset("2b") else f"PixWizard_patch{config.patch_size}",
        qk_norm=config.qk_norm,
        sample_tokens=config.sample_tokens,
        scale_factor=config.scale_factor,
        precision={torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype],
    )
    known[OWN_CODES] = True
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / weights_name(average)) as file:
        torch.save({name: state[name].to(dtype, copy=True).contiguous() for name in wanted}, file)
    with replaced(folder / ARGS_FILE) as file:
        torch.save(Namespace(**known | dict(args or {})), file)
    return folder / weights_name(average)


@dataclass
class RunExport:
    """Write a run's weights as a model, a released folder or a LoRA."""

    run_folder: Path
    """The run's folder."""
    out: Path
    """A folder; for adapters a .safetensors file."""
    form: Form = "safetensors"
    """safetensors (this project's), released (consolidated.*.pth and model_args.pth), or lora."""
    average: bool = True
    """The averaged weights; --no-average takes those of the last step."""
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    """Element type."""

    def run(self) -> bool:
        """Write it. Raises ValueError for a run without a checkpoint, or of another kind than the form."""
        model = RunModel.load(self.run_folder)
        if (model.lora_alpha is not None) != (self.form == "lora"):
            has = "adapters: take --form lora" if model.lora_alpha is not None else "a whole model: take another --form"
            raise ValueError(
                f"the form must fit what was trained, found {self.form}, but {self.run_folder} holds {has}"
            )
        state, step = run_weights(self.run_folder, self.average)
        dtype, told = DTYPES[self.dtype], dict(model.told or {}) | {"step": step, "average": self.average}
        if model.lora_alpha is not None:
            place = self.out if self.out.suffix == ".safetensors" else self.out / "lora.safetensors"
            print(f"wrote {save_lora(state, model.lora_alpha, place, dtype, **told)}")
        elif self.form == "released":
            print(f"wrote {write_released(state, model.config, self.out, average=self.average, dtype=dtype)}")
        else:
            whole = transformer_of(state, model.config)
            shard = 4 * 2**30
            save_transformer(whole, self.out, dtype, max_shard_bytes=shard, provenance=told)
            print(f"wrote {self.out}")
        if model.table:
            beside = (self.out.parent if self.out.suffix == ".safetensors" else self.out) / TABLE_FILE
            save_table(run_table(self.run_folder, model.table, model.config, self.average), beside, provenance=told)
            print(f"wrote {beside}")
        return True
