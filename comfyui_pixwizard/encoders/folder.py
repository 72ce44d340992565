"""Reading and writing Hugging Face folders without a network: one place for the checks and the error lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from .transformers_models import PreTrainedModel, PreTrainedTokenizerFast, hf_logging

Model = TypeVar("Model", bound=PreTrainedModel)

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers, which reports the other tower's weights as unexpected; `load_model` finds missing ones."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def check_folder(folder: str | Path, kind: str, model_types: tuple[str, ...]) -> Path:
    """The folder as a path, when it holds a config of one of `model_types` and weights.

    Raises:
        ValueError: no such folder, no config.json, a config of another kind of model, or no weights.
    """
    path = Path(folder)
    fix = "give the folder of a downloaded model (config.json, model.safetensors, tokenizer.json where it reads text)"
    if not path.is_dir():
        raise ValueError(f"{kind} is read from a folder, found none at {path}: {fix}; nothing is ever downloaded")
    if not (path / "config.json").is_file():
        raise ValueError(f"{kind} needs a config.json, {path} has none: {fix}")
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{kind} needs a readable config.json, {path / 'config.json'} is broken: {fix}") from error
    if model_type not in model_types:
        raise ValueError(f"{kind} needs model_type {' or '.join(model_types)}, {path} has {model_type!r}: {fix}")
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise ValueError(f"{kind} needs weights ({WEIGHT_FILES[0]}), {path} has none: {fix}")
    return path


def load_model(
    model_class: type[Model],
    folder: str | Path,
    kind: str,
    model_types: tuple[str, ...],
    dtype: torch.dtype,
    **options: Any,
) -> Model:
    """A transformers model with every weight read from the folder, in `dtype`, in eval mode.

    Args:
        options: of `from_pretrained`.

    Raises:
        ValueError: as `check_folder`, or when weights are missing, misshapen or unreadable.
    """
    path = check_folder(folder, kind, model_types)
    return _loaded(model_class, f"{kind} in {path}", dtype, path, local_files_only=True, **options)


def model_of(
    model_class: type[Model], config: Any, state: Mapping[str, Tensor], what: str, dtype: torch.dtype
) -> Model:
    """A transformers model of a configuration and weights, which may be another tower's too, in `dtype`, in eval mode.

    Raises:
        ValueError: weights are missing or misshapen.
    """
    return _loaded(model_class, what, dtype, None, config=config, state_dict=dict(state))


def _loaded(model_class: type[Model], what: str, dtype: torch.dtype, path: Path | None, **given: Any) -> Model:
    fix = "use a complete copy of the model"
    try:
        with quiet():
            loaded: Any = model_class.from_pretrained(
                path, output_loading_info=True, **({"attn_implementation": "sdpa"} | given)
            )
    except Exception as error:  # safetensors, zip and shape errors share no base class
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{what} could not be read: {first_line}; {fix}") from error
    model, info = loaded
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise ValueError(f"{what} lacks {len(names)} weights, the first is {names[0]!r}: {fix}")
    return model.to(dtype).eval()


def save_model(model: PreTrainedModel, folder: str | Path, dtype: torch.dtype | None) -> None:
    """Write config.json and model.safetensors, the floating weights cast to `dtype` (None: as they are)."""
    state = {
        name: tensor.detach().to(dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)
        for name, tensor in model.state_dict().items()
    }
    with quiet():
        model.save_pretrained(folder, state_dict=state)


def load_tokenizer(folder: str | Path, kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder's tokenizer.json, exactly as written there.

    The generic class is used on purpose: the model-specific ones rebuild the post-processor, and some versions of
    transformers then drop the BOS token (docs/mathematics.md section 13).
    """
    path = Path(folder)
    if not (path / "tokenizer.json").is_file():
        raise ValueError(f"{kind} needs a tokenizer.json, {path} has none: copy it from the model's repository")
    with quiet():
        return PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)


def wrap_tokenizer(
    tokenizer: tokenizers.Tokenizer, *, bos: str = "<bos>", eos: str = "<eos>", pad: str = "<pad>", append_eos: bool
) -> PreTrainedTokenizerFast:
    """A `tokenizers` BPE that adds special tokens: "<bos> text" for Gemma, "<bos> text <eos>" for CLIP (`append_eos`).

    Both may wrap the same trained BPE: the post-processor is set on a copy.

    Raises:
        ValueError: a special token is not in the vocabulary.
    """
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    missing = [token for token in (bos, eos, pad) if copy.token_to_id(token) is None]
    if missing:
        raise ValueError(f"the tokenizer needs {bos}, {eos}, {pad}; {missing} not found: train it with special_tokens")
    ids = [(token, copy.token_to_id(token)) for token in (bos, eos)]
    copy.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}" if append_eos else f"{bos} $A", special_tokens=ids
    )
    return PreTrainedTokenizerFast(tokenizer_object=copy, bos_token=bos, eos_token=eos, pad_token=pad)


def device_of(module: nn.Module) -> torch.device:
    """Where the module's weights are."""
    return next(module.parameters()).device
