"""The bundled model's own encoders: a byte-level BPE trained on the task sentences, and three small towers."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.cpu.kernels import use_cpu_attention
from ...comfyui_pixwizard.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from ...comfyui_pixwizard.encoders.folder import wrap_tokenizer
from ...comfyui_pixwizard.encoders.gemma import GemmaTextEncoder
from ...comfyui_pixwizard.encoders.transformers_models import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    GemmaConfig,
    GemmaModel,
)
from ...comfyui_pixwizard.task_table import TaskTable
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ...runtime.machine import cache_folder
from ..loop.velocity import predict
from .initialization import in_full_precision, open_gates, spread_times
from .locality import prefer_neighbours
from .teachers import Teachers

VOCABULARY = 1280
# Inductor's patterns would bring SDPA back, whose backward is slow on a CPU (see `attention`).
OPTIONS: dict[str, Any] = {"pattern_matcher": False}
COMPILERS = (os.environ.get("CXX", "g++"), "clang++")
SPECIAL = ("<pad>", "<bos>", "<eos>")


def train_bpe(corpus: Iterable[str]) -> Tokenizer:
    """A lower-casing byte-level BPE: every text can be written, unknown words fall apart into bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return bpe


class NanoModel(nn.Module):
    """Transformer and towers, trained together: the velocity of a batch from pictures and sentences."""

    def __init__(
        self,
        transformer: PixWizardTransformer,
        text: GemmaTextEncoder,
        task: ClipTextEncoder,
        vision: ClipVisionEncoder,
    ):
        super().__init__()
        self.transformer, self.text, self.task, self.vision = transformer, text, task, vision
        self.teachers: Teachers | None = None
        self.table: TaskTable | None = None
        self.predict, self.read, self.name, self.see = predict, text.run, task.run, vision.encode
        in_full_precision(transformer.t_embedder)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile network and towers, each as one graph for texts of any length: on a CPU about 1.8 times as fast.

        The first steps take a minute or two; what was compiled is kept on disk.

        Raises:
            ValueError: on a CPU without a C++ compiler.
        """
        if self.transformer.pad_token.device.type == "cpu" and not any(shutil.which(c) for c in COMPILERS):
            raise ValueError(
                f"compiling for a CPU needs a C++ compiler, found none of {', '.join(COMPILERS)}: "
                "install one, or train with --no-compile"
            )
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
        # The tables that this is about are the same whenever they are asked for.
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
        self.predict = torch.compile(predict, fullgraph=True, dynamic=False, options=OPTIONS)
        self.read, self.name = (torch.compile(run, dynamic=True, options=OPTIONS) for run in (self.read, self.name))
        self.see = torch.compile(self.see, dynamic=False, options=OPTIONS)

    def with_teachers(self) -> NanoModel:
        """This model with `Teachers`, which training alone has; the same weights for the same random state."""
        self.teachers = Teachers(self.transformer)
        return self

    def with_table(self, begun: TaskTable | None = None) -> NanoModel:
        """This model with a task table, trained with it: the rows of one that was begun, and zeros."""
        table = TaskTable.of(self.transformer.config, list(TASKS), begun)
        self.table = table.to(self.transformer.pad_token.device)
        return self

    def use_plain_attention(self) -> None:
        """Write attention out, for training on a CPU, where the fused kernel's backward is several times slower in
        bfloat16. The text body has a configuration of its own, from which its mask is made.
        """
        if self.transformer.pad_token.device.type != "cpu":
            return
        use_cpu_attention(self.transformer)
        for tower in (self.text.model, self.text.body, self.task.model, self.vision.model):
            tower.set_attn_implementation("eager")

    @classmethod
    def build(cls, bpe: Tokenizer, config: PixWizardConfig, seed: int = 0, awake: bool = True) -> NanoModel:
        """Fresh weights, the same for the same seed; awake: with times told apart and the way to pictures open."""
        width = config.cap_feat_dim
        shape: dict[str, Any] = dict(
            hidden_size=width, intermediate_size=512, num_attention_heads=4, num_hidden_layers=3
        )
        ids = {name: bpe.token_to_id(f"<{name}>") for name in ("pad", "bos", "eos")}
        tokens: dict[str, Any] = {f"{name}_token_id": i for name, i in ids.items()} | {
            "vocab_size": bpe.get_vocab_size()
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            gemma = GemmaModel(
                GemmaConfig(**shape, **tokens, num_key_value_heads=1, head_dim=48, max_position_embeddings=256)
            )
            words = CLIPTextModelWithProjection(
                CLIPTextConfig(**shape, **tokens, max_position_embeddings=77, projection_dim=config.cap_clip_feat_dim)
            )
            sight = CLIPVisionModel(
                CLIPVisionConfig(
                    **shape | {"hidden_size": config.clip_image_dim, "num_hidden_layers": 4},
                    image_size=128,  # a token for each of the network's patches
                    patch_size=16,
                )
            )
            transformer = PixWizardTransformer(config)
            if awake:
                spread_times(transformer.t_embedder)
        prefer_neighbours(transformer)
        open_gates(transformer, image=0.2 if awake else 0.0)
        return cls(
            transformer,
            GemmaTextEncoder(gemma, wrap_tokenizer(bpe, append_eos=False)),
            ClipTextEncoder(words, wrap_tokenizer(bpe, append_eos=True)),
            ClipVisionEncoder(sight),
        )

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        source: Tensor,
        picture: Tensor,
        sentences: list[str],
        no_image: Tensor,
        exponential: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Velocity [B,C,h,w] with gradients everywhere.

        Args:
            picture: [B,3,H,W] in [-1,1].   no_image: [B] bool, rows whose image tokens are the null image's zeros.
            exponential: see `velocity.FlowDraws`.
            places: rows [B] of the task table, -1 for none.
        """
        tokens = self.see(picture).masked_fill(no_image[:, None, None], 0.0)
        features, mask, task = self._said(sentences)
        for value in (features, mask):
            torch._dynamo.mark_dynamic(value, 1)
        rows = None if self.table is None or places is None else self.table.rows(places)
        return self.predict(self.transformer, x, t, source, (features, mask), task, tokens, exponential, rows)

    def _said(self, sentences: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B,T,F], their mask [B,T] and task vectors [B,P] of B sentences.

        Padding costs what words do, and most sentences are a third as long as the longest of a batch: the shorter three
        quarters are read apart from the others.
        """
        order = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
        cut = len(order) * 3 // 4
        texts = [[sentences[row] for row in part] for part in (order[:cut], order[cut:]) if part]
        ids, masks = zip(*(self.text.tokenize(part) for part in texts), strict=True)
        longest = max(mask.shape[1] for mask in masks)
        features = [F.pad(self.read(i, m), (0, 0, 0, longest - m.shape[1])) for i, m in zip(ids, masks, strict=True)]
        mask = torch.cat([F.pad(m, (0, longest - m.shape[1])) for m in masks])
        task = torch.cat([self.name(self.task.tokenize(part)) for part in texts])
        back = torch.tensor(order, device=mask.device).argsort()
        return torch.cat(features)[back], mask[back], task[back]


def fresh_network(folder: Path, tokens: int, seed: int) -> PixWizardTransformer:
    """A new network of nano's shape for the encoders of a folder, the same for the same seed.

    Args:
        tokens: of its vision tower; where these are fewer than nano keeps, all are kept.
    """
    pieces = Tokenizer.from_file(str(folder / "text_encoder" / "tokenizer.json"))
    config = PixWizardConfig.preset("nano")
    return NanoModel.build(pieces, replace(config, sample_tokens=min(config.sample_tokens, tokens)), seed).transformer
