"""One CLIP object of the host that holds both text encoders of PixWizard.

Gemma gives the features and their mask, CLIP's text tower the task vector, so that the stock CLIP Text Encode node
yields everything the MODEL wants. The host has no Gemma 1: it is put together from the host's Llama parts, which need
two corrections (embeddings scaled by sqrt(width), norms that add 1 to their weight). Source:
docs/mathematics.md section 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import comfy.clip_model
import comfy.sd
import comfy.sd1_clip
import comfy.text_encoders.llama as llama
import torch
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer
from torch import Tensor, nn

from ..comfyui_pixwizard.encoders.gemma import MAX_TOKENS
from .notices import warn

FEATURES, TASK = "gemma", "l"


@dataclass
class GemmaConfig:
    """Shape of a Gemma 1 under the names of the host's `Llama2_`; defaults are Gemma-2B's."""

    vocab_size: int = 256000
    hidden_size: int = 2048
    intermediate_size: int = 16384
    num_hidden_layers: int = 18
    num_attention_heads: int = 8
    num_key_value_heads: int = 1
    head_dim: int = 256
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    transformer_type: str = "llama"
    rms_norm_add: bool = True
    mlp_activation: str = "gelu_pytorch_tanh"
    qkv_bias: bool = False
    rope_dims: Any = None
    rope_scale: Any = None
    q_norm: Any = None
    k_norm: Any = None
    final_norm: bool = False

    @classmethod
    def of(cls, state: Mapping[str, Tensor], where: str) -> GemmaConfig:
        """Inferred from the shapes of a state dict with the names of `model.layers…`.

        Raises:
            ValueError: no Gemma 1 with one head of keys.
        """
        names = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                 "model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.gate_proj.weight")  # fmt: skip
        if any(name not in state for name in names) or "model.layers.0.pre_feedforward_layernorm.weight" in state:
            raise ValueError(
                f"PixWizard reads text with Gemma 1 (google/gemma-2b), found another model in {where}: give its "
                "weights as one .safetensors file"
            )
        (vocabulary, width), query, key, gate = (state[name].shape for name in names)
        layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("model.layers."))
        return cls(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=gate[0],
            num_hidden_layers=layers,
            num_attention_heads=query[0] // key[0],
            head_dim=key[0],
        )


class Gemma(llama.BaseLlama, nn.Module):
    """Gemma 1 without its last block and final norm: its output is `hidden_states[-2]` of the whole model."""

    def __init__(self, config_dict: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__()
        config = GemmaConfig(**config_dict)
        config.num_hidden_layers -= 1
        self.num_layers, self.dtype = config.num_hidden_layers, dtype
        self.model = llama.Llama2_(config, device=device, dtype=dtype, ops=operations)
        self.model.normalize_in = True
        for module in self.model.modules():
            if isinstance(module, llama.RMSNorm):
                module.add = True
                # 1 + weight in half precision would lose half of the weight's digits.
                module.weight = nn.Parameter(torch.empty_like(module.weight, dtype=torch.float32), requires_grad=False)


class FeatureEncoder(comfy.sd1_clip.SDClipModel):
    """Gemma as the host runs text encoders."""

    def __init__(self, config: dict[str, Any], ids: Mapping[str, int], **host: Any) -> None:
        special = {"start": ids["bos"], "pad": ids["pad"]}
        super().__init__(
            textmodel_json_config=config,
            model_class=Gemma,
            special_tokens=special,
            layer_norm_hidden_state=False,
            return_attention_masks=True,
            **host,
        )


class ClipTextTower(comfy.clip_model.CLIPTextModel):
    """The host's CLIP text tower with a vocabulary of any size."""

    def __init__(self, config_dict: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config_dict, dtype, device, operations)
        width, entries = config_dict["hidden_size"], config_dict.get("vocab_size", 49408)
        self.set_input_embeddings(operations.Embedding(entries, width, dtype=dtype, device=device))


class TaskEncoder(comfy.sd1_clip.SDClipModel):
    """CLIP's text tower; its pooled output is projected."""

    def __init__(self, config: dict[str, Any] | None, ids: Mapping[str, int], **host: Any) -> None:
        special = {"start": ids["bos"], "end": ids["eos"], "pad": ids["pad"]}
        length = config["max_position_embeddings"] if config else 77
        super().__init__(
            textmodel_json_config=config, model_class=ClipTextTower, max_length=length, special_tokens=special, **host
        )


class TextModel(nn.Module):
    """Both encoders behind the interface of the host's `cond_stage_model`."""

    def __init__(
        self,
        features: dict[str, Any],
        task: dict[str, Any] | None,
        feature_ids: Mapping[str, int],
        task_ids: Mapping[str, int],
        device: Any = "cpu",
        dtype: Any = None,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        host = dict(device=device, dtype=dtype)
        options = model_options or {}
        self.gemma = FeatureEncoder(features, feature_ids, model_options=options | {"model_name": "gemma"}, **host)
        self.clip_l = TaskEncoder(task, task_ids, model_options=options | {"model_name": "clip_l"}, **host)
        self.dtypes = {dtype} if dtype is not None else set()

    def set_clip_options(self, options: dict[str, Any]) -> None:
        # Neither the layer nor the projection is a choice: the MODEL was trained with these.
        kept = {name: value for name, value in options.items() if name == "execution_device"}
        self.gemma.set_clip_options(kept)
        self.clip_l.set_clip_options(kept)

    def reset_clip_options(self) -> None:
        self.gemma.reset_clip_options()
        self.clip_l.reset_clip_options()

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Features [1, T, F], task vector [1, P] and the features' mask [1, T]."""
        features, _, extra = self.gemma.encode_token_weights(tokens[FEATURES])
        return features, self.encode_task(tokens), extra

    def encode_task(self, tokens: dict[str, Any]) -> Tensor:
        """Task vector [1, P] alone."""
        return self.clip_l.encode_token_weights(tokens[TASK])[1]

    def load_sd(self, state: Mapping[str, Tensor]) -> Any:
        """Load the weights of the encoder that their names belong to; names that are missing and that are left over."""
        encoder = self.gemma if "model.embed_tokens.weight" in state else self.clip_l
        return encoder.load_sd(state)


class FastTokenizer:
    """A `tokenizers` file behind the interface of the host's tokenizers."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, tokenizer: Any, **arguments: Any) -> FastTokenizer:
        return cls(tokenizer)

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": self.tokenizer(text)["input_ids"]}

    def get_vocab(self) -> dict[str, int]:
        return self.tokenizer.get_vocab()


class OneChunk(comfy.sd1_clip.SDTokenizer):
    """The host's tokenizer, which cuts a text that is too long instead of going on in a second chunk, and says so.

    Args:
        reader: name of the encoder in the notice.
    """

    def __init__(self, *arguments: Any, reader: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.reader = reader

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> list[Any]:
        chunks = super().tokenize_with_weights(text, return_word_ids, **options)
        if len(chunks) > 1:
            kept, total = self._count(chunks[:1]), self._count(chunks)
            warn(
                f"{self.reader} reads at most {kept} tokens, found {total} in this text: the last {total - kept} are "
                "cut off, shorten the text"
            )
        return chunks[:1]

    def _count(self, chunks: list[Any]) -> int:
        """Tokens of words, without those that begin, end and fill a chunk."""
        marks = {self.start_token, self.end_token, self.pad_token}
        return sum(not isinstance(entry[0], int) or entry[0] not in marks for chunk in chunks for entry in chunk)


class Tokenizers:
    """Both tokenizers behind the interface of the host's `CLIP.tokenizer`.

    Args:
        features: a `PreTrainedTokenizerFast`, or a SentencePiece model as bytes or tensor.
        task: a `PreTrainedTokenizerFast`; None for the host's own of CLIP-L.
    """

    def __init__(self, features: Any, task: Any = None, embedding_directory: Any = None) -> None:
        pieces = not hasattr(features, "get_vocab")
        self.features = OneChunk(
            features,
            reader="Gemma",
            max_length=MAX_TOKENS,
            pad_with_end=False,
            has_end_token=False,
            pad_to_max_length=False,
            min_length=1,
            embedding_key=FEATURES,
            embedding_directory=None,
            tokenizer_class=SPieceTokenizer if pieces else FastTokenizer,
            tokenizer_args={"add_bos": True, "add_eos": False} if pieces else {},
        )
        own = {} if task is None else dict(tokenizer_path=task, tokenizer_class=FastTokenizer, pad_with_end=False)
        self.task = OneChunk(
            reader="CLIP's text encoder", embedding_directory=embedding_directory, embedding_key="clip_l", **own
        )
        if task is not None:
            self.task.pad_token = task.pad_token_id

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, Any]:
        return {
            FEATURES: self.features.tokenize_with_weights(text, return_word_ids, **options),
            TASK: self.task.tokenize_with_weights(text, return_word_ids, **options),
        }

    def untokenize(self, tokens: Any) -> Any:
        return self.features.untokenize(tokens)

    def state_dict(self) -> dict[str, Any]:
        return {}


def make_clip(
    features: Mapping[str, Tensor],
    task: Mapping[str, Tensor],
    *,
    feature_config: GemmaConfig,
    task_config: dict[str, Any] | None,
    feature_tokenizer: Any,
    task_tokenizer: Any = None,
    embedding_directory: Any = None,
) -> comfy.sd.CLIP:
    """A CLIP from the weights of both encoders.

    Args:
        features: Gemma's state dict, names `model.…`.
        task: the CLIP text tower's, names `text_model.…` and `text_projection.weight`.
        feature_config: Gemma's shape.   task_config: the tower's config.json, None for CLIP-L.
        feature_tokenizer, task_tokenizer: see `Tokenizers`.

    Raises:
        ValueError: weights are missing.
    """
    names = ("bos", "eos", "pad")
    own = {name: getattr(feature_tokenizer, f"{name}_token_id", None) for name in names}
    feature_ids = own if own["bos"] is not None else {"bos": 2, "eos": 1, "pad": 0}
    task_ids = {"bos": 49406, "eos": 49407, "pad": 49407}
    if task_tokenizer is not None:
        task_ids = {name: getattr(task_tokenizer, f"{name}_token_id") for name in names}
    target = SimpleNamespace(
        params=dict(features=vars(feature_config), task=task_config, feature_ids=feature_ids, task_ids=task_ids),
        clip=TextModel,
        tokenizer=lambda embedding_directory=None, tokenizer_data=None: Tokenizers(
            feature_tokenizer, task_tokenizer, embedding_directory
        ),
    )
    count = sum(value.numel() for state in (features, task) for value in state.values())
    clip = comfy.sd.CLIP(target, embedding_directory=embedding_directory, parameters=count)
    for state in (features, task):
        missing = [name for name in clip.load_sd(state).missing_keys if not name.endswith("position_ids")]
        if missing:
            raise ValueError(
                f"a text encoder lacks {len(missing)} weights, the first is {missing[0]!r}: use a complete copy"
            )
    return clip
