"""OpenCLIP's checkpoints of CLIP in the form that transformers has of it: the same numbers under other names.

Only plain towers are read: what OpenCLIP has beside them (pooling by attention, SigLIP, CoCa, …) has no such form.
The package open_clip is not imported, since that wants a torchvision; what is taken of it are two kinds of its files.
Source: docs/mathematics.md section 13.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from ..encoders.folder import wrap_tokenizer
from ..encoders.transformers_models import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from ..optional import pip_install
from .released import provenance_of
from .safe_files import Spec, TensorFile, write_safetensors

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TOWERS = {"text": ("text_",), "vision": ("vision_", "visual_")}
# What the two towers of the released model are, by the rows of the vision tower's position embedding.
RELEASED = {577: "ViT-L-14-336-quickgelu"}
OTHERWISE = "ViT-L-14-quickgelu"
MARK = "transformer.resblocks.0.attn.in_proj_weight"
# Neither belongs to a tower.
BESIDE = {"logit_scale", "logit_bias", "attn_mask"}
BLOCK = {"layer_norm": "ln_", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj"}
AROUND = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "pre_layrnorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "final_layer_norm.": "ln_final.",
}
START, END = "<|startoftext|>", "<|endoftext|>"
# Merges of the vocabulary: what 49,408 entries leave beside two for each byte and the two marks.
MERGES = 49408 - 2 * 256 - 2
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Origin(NamedTuple):
    """Where a tensor comes from.

    Attributes:
        name: of OpenCLIP's tensor.
        third: which third of it, where queries, keys and values are one.
        transposed: whether it lies the other way.
    """

    name: str
    third: int | None = None
    transposed: bool = False

    def shape(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Of OpenCLIP's tensor, when the one made of it is to have the wanted shape."""
        first, *rest = wanted or (1,)
        found = (3 * first, *rest) if self.third is not None else tuple(wanted)
        return found[::-1] if self.transposed else found

    def take(self, tensor: Tensor) -> Tensor:
        """The tensor made of OpenCLIP's."""
        part = tensor if self.third is None else tensor.chunk(3)[self.third]
        return part.T if self.transposed else part


def origin(name: str) -> Origin:
    """Where OpenCLIP has what transformers' CLIPModel calls `name`."""
    if name in ("text_projection.weight", "visual_projection.weight"):
        return Origin("text_projection" if name.startswith("text") else "visual.proj", transposed=True)
    tower, model, rest = name.partition("_model.")
    if not model:
        return Origin(name)
    front = "visual." if tower == "vision" else ""
    if not rest.startswith("encoder.layers."):
        new = next(new for new in AROUND if rest.startswith(new))
        return Origin(front + AROUND[new] + rest.removeprefix(new))
    number, rest = rest.removeprefix("encoder.layers.").split(".", 1)
    front += f"transformer.resblocks.{number}."
    for third, letter in enumerate("qkv"):
        if rest.startswith(f"self_attn.{letter}_proj."):
            return Origin(f"{front}attn.in_proj_{rest.rpartition('.')[2]}", third)
    new = next(new for new in BLOCK if rest.startswith(new))
    return Origin(front + BLOCK[new] + rest.removeprefix(new))


def find_open_clip(place: str | Path) -> Path | None:
    """The checkpoint at a place, the file itself or one in the folder, or None where there is none of OpenCLIP.

    A folder that also has transformers' form is one of transformers.

    Raises:
        ValueError: a file that cannot be read.
    """
    path = Path(place)
    if path.is_dir():
        config = path / "config.json"
        if config.is_file() and '"model_type"' in config.read_text(encoding="utf-8", errors="replace"):
            return None
        return next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    return path if path.is_file() and is_open_clip(TensorFile(path).specs) else None


def is_open_clip(names: Mapping[str, Any]) -> bool:
    """Whether these are names of one of OpenCLIP's towers, or both."""
    return any(name.removeprefix("module.") in (MARK, f"visual.{MARK}") for name in names)


class OpenClip:
    """An OpenCLIP checkpoint, seen as transformers' CLIP; weights are read on demand.

    Args:
        path: what `find_open_clip` found.
        architecture: its name in open_clip, or what open_clip's configuration of it says. Without one that is read from
            open_clip_config.json beside the file; where there is none it counts as OpenAI's ViT-L-14, or ViT-L-14-336,
            the towers that the released model reads.

    Attributes:
        config: a CLIPConfig.
        shapes: of all tensors that transformers' CLIPModel has, by its names.

    Raises:
        ValueError: an unreadable file, an unknown architecture, or one with more than plain towers.
    """

    def __init__(self, path: Path, architecture: str | Mapping[str, Any] | None = None) -> None:
        self.file = TensorFile(path)
        self._stored = {name.removeprefix("module."): name for name in self.file.specs}
        beside = path.with_name(CONFIG_FILE)
        if architecture is None and beside.is_file():
            self.architecture, found = str(beside), _json(beside).get("model_cfg")
        elif architecture is None or isinstance(architecture, str):
            positions = self.file.specs.get(self._stored.get("visual.positional_embedding", ""))
            usual = OTHERWISE if positions is None else RELEASED.get(positions.shape[0], OTHERWISE)
            self.architecture = architecture or usual
            found = architecture_named(self.architecture)
        else:
            self.architecture, found = "the given architecture", architecture
        self.config: Any = _config(found, self.architecture)
        with torch.device("meta"):
            shapes = {name: tuple(tensor.shape) for name, tensor in CLIPModel(self.config).state_dict().items()}
        self.shapes = {name: shape for name, shape in shapes.items() if not name.endswith("position_ids")}

    def tower(self, part: str) -> tuple[Any, dict[str, Tensor]]:
        """Configuration and weights of the "text" or the "vision" tower, with its projection where the file has one.

        Raises:
            ValueError: the file lacks weights, has others, or of other shapes.
        """
        config = self.config.text_config if part == "text" else self.config.vision_config
        return config, self._read(self._names(part))

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of the text tower, `clip_tokenizer`.

        Raises:
            ValueError: the tower has another vocabulary, or there is no open_clip.
        """
        tokenizer = clip_tokenizer()
        if len(tokenizer) != self.config.text_config.vocab_size:
            raise ValueError(
                f"{self.file.path} has a vocabulary of {self.config.text_config.vocab_size} by {self.architecture}, "
                f"CLIP's own has {len(tokenizer)}: use a checkpoint with CLIP's tokenizer"
            )
        return tokenizer

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write both towers as a Hugging Face folder, in an element type or each tensor's own; the weights' file.

        Raises:
            ValueError: as `tower` and `tokenizer`, values that the element type cannot hold, or a place that cannot be
                written.
        """
        folder = Path(folder)
        names = [*self._names("text"), *self._names("vision")]
        if "logit_scale" in self._stored:
            names.append("logit_scale")
        specs = {}
        for name in names:
            stored = self.file.specs[self._stored[origin(name).name]]
            specs[name] = Spec(dtype or stored.dtype, self.shapes[name])
        tokenizer = self.tokenizer()
        provenance = json.dumps(provenance_of(self.file.path, "pixwizard convert"))
        write_safetensors(folder / "model.safetensors", specs, self._read, {"provenance": provenance})
        self.config.architectures = ["CLIPModel"]
        self.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder / "model.safetensors"

    def _names(self, part: str) -> list[str]:
        """transformers' names of a tower, checked against what the file has."""
        fix = (
            f"put its own {CONFIG_FILE} beside it, or name its architecture with pixwizard convert --architecture, "
            "one of open_clip.list_models()"
        )
        names, used = [], set()
        for name, shape in self.shapes.items():
            if not name.startswith(TOWERS[part]):
                continue
            place = origin(name)
            stored = self.file.specs.get(self._stored.get(place.name, ""))
            if stored is None and name == "visual_projection.weight":
                continue
            if stored is None or stored.shape != place.shape(shape):
                found = "no such entry" if stored is None else str(list(stored.shape))
                raise ValueError(
                    f"{self.file.path} should hold {place.name} {list(place.shape(shape))} by {self.architecture}, "
                    f"found {found}: {fix}"
                )
            names.append(name)
            used.add(place.name)
        own = {name for name in self._stored if name.startswith("visual.") == (part == "vision")} - BESIDE
        if own - used:
            raise ValueError(
                f"{self.file.path} should hold the {part} tower of {self.architecture} alone, found {min(own - used)} "
                f"too: {fix}"
            )
        return names

    def _read(self, names: Sequence[str]) -> dict[str, Tensor]:
        places = {name: origin(name) for name in names}
        wanted = sorted({self._stored[place.name] for place in places.values()})
        tensors = self.file.read(wanted)
        return {
            name: place.take(tensors[self._stored[place.name]]).reshape(self.shapes[name])
            for name, place in places.items()
        }


def clip_tokenizer() -> PreTrainedTokenizerFast:
    """CLIP's tokenizer, of the vocabulary that open_clip brings: the same tokens as open_clip's own.

    Except where open_clip repairs a text first: HTML entities, and letters that were decoded wrongly.

    Raises:
        ValueError: there is no open_clip.
    """
    with gzip.open(_package_file("bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 1 + MERGES]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printed] + [chr(256 + place) for place in range(256 - len(printed))]
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    vocabulary = {entry: place for place, entry in enumerate(entries)}
    bpe = models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=END)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return wrap_tokenizer(tokenizer, bos=START, eos=END, pad=END, append_eos=True)


def architecture_named(name: str) -> dict[str, Any]:
    """What open_clip's configuration of an architecture says.

    Raises:
        ValueError: it has none of that name, or there is no open_clip.
    """
    folder = _package_file("model_configs")
    file = folder / f"{name}.json"
    if file.parent != folder or not file.is_file():
        raise ValueError(f"open_clip has no architecture {name!r}: use one of open_clip.list_models()")
    return _json(file)


def _package_file(name: str) -> Path:
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise ValueError(
            f"OpenCLIP checkpoints need open_clip_torch, which is not installed: {pip_install('open_clip_torch')}, or "
            "use the model's Hugging Face folder"
        )
    return Path(found.origin).with_name(name)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}; use an unmodified copy of the model") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} should hold a JSON object, found {type(found).__name__}: use an unmodified copy")
    return found


TOP = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}
VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}


def _config(found: Any, where: str) -> CLIPConfig:
    """transformers' configuration of open_clip's."""
    try:
        vision, text, size = found["vision_cfg"], found["text_cfg"], int(found["embed_dim"])
        more = sorted({*found} - TOP | {*vision} - VISION | {*text} - TEXT)
        if more:
            raise ValueError(
                f"{where} has {', '.join(more)}, which transformers' CLIP has not: use a checkpoint of plain "
                "towers, such as ViT-L-14"
            )
        shared = {"hidden_act": "quick_gelu" if found.get("quick_gelu") else "gelu", "projection_dim": size}
        return CLIPConfig(
            text_config=_sides(text, int(text["heads"]))
            | {"max_position_embeddings": int(text["context_length"]), "vocab_size": int(text["vocab_size"])}
            | shared,
            vision_config=_sides(vision, int(vision["width"]) // int(vision.get("head_width", 64)))
            | {"image_size": int(vision["image_size"]), "patch_size": int(vision["patch_size"])}
            | shared,
            projection_dim=size,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where} should describe a CLIP as open_clip does, found {error!r}: use another copy"
        ) from error


def _sides(tower: Mapping[str, Any], heads: int) -> dict[str, int]:
    width = int(tower["width"])
    return {
        "hidden_size": width,
        "intermediate_size": int(width * tower.get("mlp_ratio", 4.0)),
        "num_hidden_layers": int(tower["layers"]),
        "num_attention_heads": heads,
    }
