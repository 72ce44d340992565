"""Text features from Gemma: the output of its last but one block (docs/mathematics.md section 13).

Shapes: B texts, T tokens (a multiple of 8, at most 256), F features (2048 for Gemma-2B).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .folder import device_of, load_model, load_tokenizer, save_model
from .transformers_models import GemmaModel, PreTrainedTokenizerFast

MAX_TOKENS = 256
PAD_MULTIPLE = 8


def _without_last_block(model: GemmaModel) -> GemmaModel:
    """A GemmaModel that shares the weights of `model` and whose output is `hidden_states[-2]` of `model`.

    hidden_states[-2] is the raw output of the last but one block, so the last block and the final norm need not run.
    """
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(model.layers) - 1
    with torch.device("meta"):
        body: Any = GemmaModel(config)
    body.embed_tokens = model.embed_tokens
    body.rotary_emb = model.rotary_emb
    body.layers = model.layers[:-1]
    body.norm = nn.Identity()
    return body


class GemmaTextEncoder(nn.Module):
    """A causal language model as a text encoder: right padding, BOS first, no EOS.

    Args:
        model: a GemmaModel; its last block is kept (so that files stay complete) but never runs.
        tokenizer: a fast tokenizer with a pad token whose post-processor puts BOS first.

    Raises:
        ValueError: the tokenizer gives no BOS (the empty instruction would have an empty mask) or has no pad token.
    """

    def __init__(self, model: GemmaModel, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        # In a tuple, so that the shared weights are not registered twice.
        self._body = (_without_last_block(model),)
        empty = tokenizer("")["input_ids"]
        if tokenizer.bos_token_id is None or empty != [tokenizer.bos_token_id]:
            raise ValueError(
                f"Gemma needs a tokenizer that makes [BOS] of the empty text, found {empty} with bos_token_id "
                f"{tokenizer.bos_token_id}: use the tokenizer.json of google/gemma-2b, or set its post-processor"
            )
        if tokenizer.pad_token_id is None:
            raise ValueError("Gemma needs a tokenizer with a pad token, found none: set pad_token in its config")

    @property
    def body(self) -> GemmaModel:
        """The part that runs: the model without its last block, of the same weights, with its own configuration."""
        return self._body[0]

    @property
    def features(self) -> int:
        """F, the width of the text features."""
        return self.model.config.hidden_size

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut to this many tokens, BOS included."""
        return MAX_TOKENS

    def count(self, text: str) -> int:
        """How many tokens a text has, uncut."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask (true: token, false: padding), each [B, T], on the weights' device."""
        if not texts:
            raise ValueError("at least one text is needed, found an empty list: pass [''] for the empty instruction")
        batch = self.tokenizer(
            texts,
            padding="longest",
            padding_side="right",
            pad_to_multiple_of=PAD_MULTIPLE,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        device = device_of(self.model)
        return batch["input_ids"].to(device), batch["attention_mask"].to(device, torch.bool)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] and mask [B, T] (bool) of the texts; gradients flow when they are enabled.

        The empty text has exactly one true mask entry, its BOS. Source: docs/mathematics.md section 13,
        `hidden_states[-2]`.
        """
        ids, mask = self.tokenize(texts)
        return self.run(ids, mask), mask

    def run(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Features [B, T, F] of token ids and mask [B, T] from `tokenize`."""
        return self._body[0](input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Same as `encode`."""
        return self.encode(texts)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> GemmaTextEncoder:
        """Read a Hugging Face folder (GemmaModel or GemmaForCausalLM); never downloads.

        Raises:
            ValueError: the folder, its config, weights or tokenizer are missing or wrong.
        """
        model = load_model(GemmaModel, folder, "the Gemma text encoder", ("gemma",), dtype)
        return cls(model, load_tokenizer(folder, "the Gemma text encoder")).eval()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write weights (cast to `dtype`), config and tokenizer as a Hugging Face folder."""
        save_model(self.model, folder, dtype)
        self.tokenizer.save_pretrained(folder)
