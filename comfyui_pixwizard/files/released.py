"""The released training code's files: `consolidated[_ema].00-of-01.pth` and `model_args.pth` to safetensors.

Both are pickles from strangers: see `safe_files`. The configuration is inferred from the arguments and the shapes.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..config import PixWizardConfig
from ..tasks.declared import Declared
from ..tasks.released_codes import INDOORS, released
from .checkpoint import DECLARES, DTYPES, check_names_and_shapes, count_layers, meta_specs, output_file
from .safe_files import Spec, TensorFile, read_pickle, sha256_of, write_safetensors

ARGS_FILE = "model_args.pth"
PLAIN = (type(None), bool, int, float, str)
# What of the training's arguments is worth keeping: the rest are paths and schedules of another machine.
KEPT_ARGS = ("model", "vae", "qk_norm", "image_size", "precision", "snr_type")
# Argument that this project's training adds when it writes this form: its models do not answer in the paper's codes.
OWN_CODES = "own_codes"
FIX = "use an unmodified copy of the released folder"


def weights_name(ema: bool) -> str:
    """Name of the released weights' file."""
    return f"consolidated{'_ema' if ema else ''}.00-of-01.pth"


def read_args(folder: str | Path) -> dict[str, Any]:
    """The training's arguments from `model_args.pth`: plain values only.

    Raises:
        ValueError: missing, unreadable, not an argparse.Namespace, or values that no command line gives.
    """
    path = Path(folder) / ARGS_FILE
    if not path.is_file():
        raise ValueError(f"a released folder holds {ARGS_FILE}, {folder} does not: {FIX}")
    args = read_pickle(path, [Namespace])
    if type(args) is not Namespace:
        raise ValueError(f"{path} should hold an argparse.Namespace, found {type(args).__name__}: {FIX}")
    values = dict(vars(args))
    for name, value in values.items():
        items = value if isinstance(value, list | tuple) else [value]
        if not isinstance(name, str) or not all(isinstance(item, PLAIN) for item in items):
            raise ValueError(f"{path} should hold plain arguments, found {name!r}: {type(value).__name__}; {FIX}")
    return values


def _multiple_of(dim: int, hidden: int, where: Path) -> int:
    width = int(2 * (4 * dim) / 3)
    for multiple in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        if -(-width // multiple) * multiple == hidden:
            return multiple
    raise ValueError(f"{where} has feed-forward width {hidden}, which is not 8/3 of {dim} rounded up: {FIX}")


def infer_config(specs: Mapping[str, Spec], args: Mapping[str, Any], where: Path) -> PixWizardConfig:
    """The configuration behind a released state dict.

    Shapes decide wherever they can; `args` gives the patch size (the model's name ends in "_patch2"), `sample_tokens`
    and `scale_factor`, which no shape shows, where it has them.

    Raises:
        ValueError: entries that every PixWizard has are missing, or arguments and shapes contradict each other.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in specs or len(specs[name].shape) != rank:
            found = list(specs[name].shape) if name in specs else "no such entry"
            raise ValueError(
                f"{where} is not a PixWizard model: it should hold {name} of {rank} axes, found {found}: {FIX}"
            )
        return specs[name].shape

    block = "layers.0."
    dim, columns = shape("x_embedder.weight", 2)
    name = str(args.get("model", ""))
    patch_text = name.rpartition("_patch")[2]
    patch = int(patch_text) if "_patch" in name and patch_text.isdecimal() and int(patch_text) > 0 else 2
    channels = columns // (2 * patch**2)
    heads = shape(f"{block}attention.gate", 1)[0]
    qk_norm = f"{block}attention.q_norm.weight" in specs
    if args.get("qk_norm") is not None and bool(args["qk_norm"]) != qk_norm:
        raise ValueError(f"{where} has qk_norm={args['qk_norm']} in {ARGS_FILE} but the weights say {qk_norm}: {FIX}")
    fields: dict[str, Any] = dict(
        patch_size=patch,
        in_channels=channels,
        dim=dim,
        n_layers=count_layers(specs),
        n_heads=heads,
        n_kv_heads=shape(f"{block}attention.wk.weight", 2)[0] * heads // max(dim, 1),
        multiple_of=_multiple_of(dim, shape(f"{block}feed_forward.w1.weight", 2)[0], where),
        learn_sigma=shape("final_layer.linear.weight", 2)[0] != patch**2 * channels,
        qk_norm=qk_norm,
        cap_feat_dim=shape(f"{block}attention.wk_y.weight", 2)[1],
        cap_clip_feat_dim=shape("task_embedder.0.weight", 1)[0],
        clip_image_dim=shape("global_semantic_embedder.0.weight", 1)[0],
    )
    for key, kinds in (("sample_tokens", int), ("scale_factor", (int, float))):
        if isinstance(args.get(key), kinds):
            fields[key] = args[key]
    return PixWizardConfig(**fields)


def find_weights(folder: str | Path, ema: bool) -> Path:
    """The weights' file of a released folder.

    Raises:
        ValueError: no such folder, no such file in it, or weights cut for model parallelism.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"a released model is a folder with {weights_name(ema)} and {ARGS_FILE}, found none at {folder}: "
            "check the path"
        )
    path = folder / weights_name(ema)
    if path.is_file():
        return path
    found = sorted(file.name for file in folder.glob("consolidated*"))
    fix = f"{'leave out' if ema else 'pass'} --ema" if weights_name(not ema) in found else FIX
    raise ValueError(f"{folder} should hold {weights_name(ema)}, found {', '.join(found[:4]) or 'no weights'}: {fix}")


def provenance_of(path: Path, tool: str) -> dict[str, Any]:
    """Name, size and SHA-256 of a source file, and the tool that read it."""
    try:
        number = version("pixwizard")
    except PackageNotFoundError:  # inside a host, where nothing is installed
        number = "unknown"
    digest = sha256_of(path)
    return {"source": path.name, "bytes": path.stat().st_size, "sha256": digest, "tool": f"{tool} {number}"}


def read_released(folder: str | Path, ema: bool = False) -> tuple[TensorFile, PixWizardConfig, dict[str, Any]]:
    """A released folder, checked: weights (on demand), configuration and arguments.

    Raises:
        ValueError: anything missing, truncated, foreign, misshapen or hostile.
    """
    path = find_weights(folder, ema)
    args = read_args(folder)
    file = TensorFile(path)
    if any(name.startswith("cap_embedder.") for name in file.specs):
        raise ValueError(
            f"{path} is a Lumina-Next model, not a PixWizard: use --init-from-lumina to start training from it"
        )
    config = infer_config(file.specs, args, path)
    check_names_and_shapes(file.specs, meta_specs(config), path, FIX)
    return file, config, args


def declared_by(args: Mapping[str, Any], depths: str = INDOORS) -> Declared | None:
    """What weights of the released form declare: the paper's codes, unless this project trained them."""
    if not args.get(OWN_CODES):
        return released(args, depths)
    if depths != INDOORS:
        raise ValueError(
            f"--depths is of the authors' weights, found {depths} with weights of this project: leave it out"
        )
    return None


def convert_released(
    folder: str | Path, out: str | Path, *, ema: bool = False, dtype: str | None = None, depths: str = INDOORS
) -> Path:
    """Write a released folder as one safetensors file with configuration, provenance and what it declares.

    Args:
        folder: holds `consolidated[_ema].00-of-01.pth` and `model_args.pth`.
        out: a .safetensors file, or a folder for `model.safetensors`.
        ema: the averaged weights.
        dtype: "float32", "float16" or "bfloat16"; None keeps each tensor's own.
        depths: see `released_codes.released`.

    Returns:
        The file's path.

    Raises:
        ValueError: as `read_released`, an unknown dtype, or values that the dtype cannot hold. Nothing is written then.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}: choose one of these")
    file, config, args = read_released(folder, ema)
    target = output_file(out)
    specs = {n: Spec(DTYPES[dtype] if dtype else spec.dtype, spec.shape) for n, spec in file.specs.items()}
    provenance = provenance_of(file.path, "pixwizard convert")
    provenance["args"] = {key: args[key] for key in KEPT_ARGS if key in args}
    write_file(target, specs, file.read, config, provenance, declared_by(args, depths))
    return target


def write_file(
    target: Path,
    specs: Mapping[str, Spec],
    read: Any,
    config: PixWizardConfig,
    provenance: Any,
    declared: Declared | None = None,
) -> None:
    """One safetensors file of this project: see `checkpoint`."""
    metadata = {"config": json.dumps(config.to_dict()), "provenance": json.dumps(provenance)}
    if declared is not None:
        metadata[DECLARES] = json.dumps(declared.to_dict())
    write_safetensors(target, specs, read, metadata)
