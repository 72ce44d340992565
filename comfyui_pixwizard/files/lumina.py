"""A start for training from Lumina-Next-T2I: its weights, and fresh ones where it has none.

Source: docs/mathematics.md section 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import PixWizardConfig
from ..transformer import PixWizardTransformer
from .checkpoint import DTYPES, check_names_and_shapes, meta_specs, output_file
from .released import provenance_of, write_file
from .safe_files import Spec, TensorFile

DROPPED = "cap_embedder."
WIDENED = "x_embedder.weight"
NAMES = tuple(f"consolidated{ema}.00-of-01.{end}" for ema in ("_ema", "") for end in ("safetensors", "pth"))
FIX = "use an unmodified copy of Lumina-Next-T2I, or a config that fits it"


def is_new(name: str) -> bool:
    """Whether an entry of PixWizard is one that Lumina-Next does not have."""
    if name.startswith(("task_embedder.", "global_semantic_embedder.")):
        return True
    new = ("attention.gate_for_ii", "attention.wk_ii.", "attention.wv_ii.", "attention.kii_norm.", "y_pool_proj.",
           "input_image_proj.", "attention_input_norm.", "in_conv.", "out_conv.")  # fmt: skip
    return name.startswith("layers.") and name.split(".", 2)[2].startswith(new)


def find_lumina(source: str | Path) -> Path:
    """The weights' file: `source` itself, or the first of the released names in the folder, averaged weights first."""
    source = Path(source)
    for path in (source, *(source / name for name in NAMES)):
        if path.is_file():
            return path
    raise ValueError(f"Lumina-Next is a file or a folder with {NAMES[0]} or {NAMES[-1]}, found none at {source}: {FIX}")


def _lumina_specs(wanted: dict[str, Spec]) -> dict[str, Spec]:
    """What Lumina's file must hold for a PixWizard of these specs, apart from what is dropped."""
    specs = {name: spec for name, spec in wanted.items() if not is_new(name)}
    rows, columns = wanted[WIDENED].shape
    specs[WIDENED] = Spec(wanted[WIDENED].dtype, (rows, columns // 2))
    return specs


def _fresh(config: PixWizardConfig, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """The model's own initialisation of new entries.

    A model of one block is built per layer, so that memory does not grow with the number of layers; each layer has its
    own seed, so that the values do not depend on how the work is grouped.
    """
    layers = {int(name.split(".")[1]) if name.startswith("layers.") else -1 for name in names}
    fresh: dict[str, Tensor] = {}
    for layer in sorted(layers):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1 + layer)
            state = PixWizardTransformer(replace(config, n_layers=1)).state_dict()
        for name in names:
            if layer >= 0 and name.startswith(f"layers.{layer}."):
                fresh[name] = state["layers.0." + name.split(".", 2)[2]]
            elif layer < 0 and not name.startswith("layers."):
                fresh[name] = state[name]
        del state  # before the next layer is built
    return fresh


def init_from_lumina(
    source: str | Path,
    out: str | Path,
    config: PixWizardConfig | None = None,
    *,
    dtype: str = "float32",
    seed: int = 0,
) -> Path:
    """Write a PixWizard whose shared weights are Lumina's; returns the file's path.

    The patch embedding is widened from one latent to two (target and source), the source's columns zero; the pooled
    caption's embedder is dropped; new parts have the model's own initialisation. So the first forward pass ignores the
    source image and the image tokens.

    Args:
        source: Lumina's file (.pth or .safetensors), or its folder.
        out: a .safetensors file, or a folder for `model.safetensors`.
        config: the PixWizard to build, preset "2b" by default.
        dtype: element type of the output.
        seed: of the new parts.

    Raises:
        ValueError: a missing, truncated, foreign, misshapen or hostile file. Nothing is written then.
    """
    config = config or PixWizardConfig.preset("2b")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}: choose one of these")
    path, target = find_lumina(source), output_file(out)
    if target.exists() and target.samefile(path):
        raise ValueError(
            f"the output must be another file than the source, found {target} for both: choose another OUT"
        )
    file = TensorFile(path)
    shared = {name: spec for name, spec in file.specs.items() if not name.startswith(DROPPED)}
    wanted = meta_specs(config)
    check_names_and_shapes(shared, _lumina_specs(wanted), path, FIX)

    def read(names: Sequence[str]) -> dict[str, Tensor]:
        tensors = file.read([name for name in names if not is_new(name)])
        if WIDENED in tensors:
            old = tensors[WIDENED]
            tensors[WIDENED] = torch.cat((old, torch.zeros_like(old)), dim=1)
        return tensors | _fresh(config, [name for name in names if is_new(name)], seed)

    specs = {name: Spec(DTYPES[dtype], spec.shape) for name, spec in wanted.items()}
    provenance = provenance_of(path, "pixwizard convert --init-from-lumina") | {"seed": seed}
    write_file(target, specs, read, config, provenance)
    return target
