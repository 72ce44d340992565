"""The task predictor of a model: trained from templates, grammar and wordings, on the model's own task vectors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...comfyui_pixwizard.encoders.clip import ClipTextEncoder
from ...comfyui_pixwizard.files.components import find_folder, load_surroundings
from ...comfyui_pixwizard.files.predictor_file import PREDICTOR_FILE, save_predictor
from ...comfyui_pixwizard.tasks import TASKS
from ...comfyui_pixwizard.tasks.codecs.asked import RELATIVE_SCALE
from ...comfyui_pixwizard.tasks.language.sentence_features import Features, features, stems
from ...comfyui_pixwizard.tasks.predictor import BUCKETS, TaskPredictor
from ..wordings.wordings import NOTHING, Writer, wordings

# Shares of the sentences that are the templates' in other words, that ask for nothing, and that hide some words.
TEMPLATES, NOTHINGS, HIDING = 0.35, 0.18, 0.5
HIDDEN_RATE = 0.15
# A word of fewer sentences is not known.
LEAST_USES = 3
AT_ONCE = 512


class Sentences:
    """Draws sentences with their tasks; the same seed gives the same ones."""

    def __init__(self, seed: int = 0) -> None:
        self.writer, self.random = Writer(seed), random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> list[tuple[str, str]]:
        """So many pairs (task or NOTHING, sentence), tasks equally often."""
        names, drawn = list(TASKS), []
        for number in range(count):
            if self.random.random() < NOTHINGS:
                drawn.append((NOTHING, self.writer.ask(NOTHING)))
                continue
            task = names[number % len(names)]
            template = self.random.random() < TEMPLATES or task not in wordings()
            drawn.append((task, self.templated(task) if template else self.writer.ask(task)))
        return drawn

    def templated(self, task: str, held_out: bool = False) -> str:
        """A template of a task, paraphrased, about things of all kinds."""
        words = self.words(task, self.random.choice(list(TASKS[task].forms)))
        instruct = TASKS[task].held_out_instruction if held_out else TASKS[task].instruction
        return instruct(self.generator, **words)

    def words(self, task: str, form: Sequence[str] | None = None) -> dict[str, str]:
        """Words for the placeholders of a form of a task, the usual one by default."""
        return {name: self._word(task, name) for name in (TASKS[task].words if form is None else form)}

    def _word(self, task: str, name: str) -> str:
        phrase = self.writer.phrase
        if name == "scale":
            return RELATIVE_SCALE
        if name == "color":
            return phrase("color")
        if name == "joints":
            return f"{phrase('thejoint')} in {phrase('basecolor')}, {phrase('thejoint')} in {phrase('basecolor')}"
        if name == "class":
            new = {"edit_replace": f"a {phrase('object')}", "edit_texture": phrase("texture")}
            return new.get(task) or phrase("tosize" if task == "edit_local" else "thing")
        of = {
            "keypoint": "thejoint", "edit_background": "background", "edit_style": "style", "edit_global": "light",
            "edit_text": "saying", "text_to_image": "caption",
        }  # fmt: skip
        if task in of or TASKS[task].domain == "control":
            return phrase(of.get(task, "caption"))
        return f"a {phrase('object')}" if task in ("edit_add", "inpaint") else phrase("theobject")


@dataclass
class PredictorRecipe:
    """Train the task predictor of a model, which then finds the task of a sentence.

    The same command makes one for any model's folder: of the model only the task encoder is read.
    """

    model: str = "nano"
    """The model: nano, or a folder."""
    out: Path | None = None
    """A model's folder, which then has the predictor, or a .safetensors file; the model's own folder by default."""
    sentences: int = 48000
    """Sentences to learn from."""
    epochs: int = 4
    """Passes over them."""
    lr: float = 3e-3
    """Peak learning rate."""
    seed: int = 0
    """Seed of weights and sentences."""

    def run(self) -> bool:
        """Train and write it.

        Raises:
            ValueError: no such model, too few sentences, a place that cannot be written.
        """
        folder = find_folder(self.model)
        predictor = self.trained(load_surroundings(folder, ["task_encoder"])["task_encoder"])
        out = self.out or folder
        path = out if out.suffix == ".safetensors" else out / PREDICTOR_FILE
        save_predictor(predictor, path, provenance=self.told())
        print(f"wrote {path}")
        return True

    def told(self) -> dict[str, Any]:
        """Plain facts for the file."""
        return {"recipe": "pixwizard train predictor", "sentences": self.sentences, "epochs": self.epochs}

    def trained(self, encoder: ClipTextEncoder) -> TaskPredictor:
        """A predictor on an encoder's task vectors, in eval mode.

        Raises:
            ValueError: too few sentences.
        """
        if self.sentences < 2 * len(TASKS) or self.epochs < 1:
            raise ValueError(
                f"--sentences is at least {2 * len(TASKS)} and --epochs 1, found {self.sentences} and {self.epochs}: "
                "take 48000 and 4"
            )
        drawn = Sentences(self.seed).draw(self.sentences)
        names = list(TASKS)
        targets = torch.tensor([len(names) if task == NOTHING else names.index(task) for task, _ in drawn])
        texts = [text for _, text in drawn]
        uses = Counter(word for text in texts for word in set(stems(text)))
        words = sorted(word for word, count in uses.items() if count >= LEAST_USES)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            predictor = TaskPredictor(names, words, encoder.features)
            self._fit(predictor, self._read(texts, predictor), vectors_of(encoder, texts), targets)
        return predictor.eval()

    def _read(self, texts: Sequence[str], predictor: TaskPredictor) -> list[Features]:
        """Features of every sentence, of some with words that are hidden."""
        chance, read = random.Random(self.seed), []
        for text in texts:
            hides = chance.random() < HIDING
            hidden = {at for at in range(len(stems(text))) if hides and chance.random() < HIDDEN_RATE}
            read.append(features(text, predictor.known, BUCKETS, hidden))
        return read

    def _fit(self, predictor: TaskPredictor, read: Sequence[Features], vectors: Tensor, targets: Tensor) -> None:
        batch = 256
        steps = self.epochs * -(-len(read) // batch)
        optimizer = torch.optim.AdamW(predictor.parameters(), lr=self.lr, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps, pct_start=0.1)
        bar = tqdm(total=steps, desc="predictor", unit="step")
        for epoch in range(self.epochs):
            order = torch.randperm(len(read), generator=torch.Generator().manual_seed(self.seed + epoch))
            for rows in order.split(batch):
                logits = predictor([read[row] for row in rows.tolist()], vectors[rows])
                loss = F.cross_entropy(logits, targets[rows], label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
        bar.set_postfix_str(f"loss {float(loss.detach()):.3f}")
        bar.close()


@torch.inference_mode()
def vectors_of(encoder: ClipTextEncoder, texts: Sequence[str]) -> Tensor:
    """Task vectors [B, P] of many sentences, on the CPU; those of about one length go together."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found: Tensor | None = None
    for first in range(0, len(order), AT_ONCE):
        rows = order[first : first + AT_ONCE]
        part = encoder.encode([texts[row] for row in rows]).float().cpu()
        if found is None:
            found = torch.zeros(len(texts), part.shape[1])
        found[rows] = part
    assert found is not None, "there are sentences"
    return found.clone()
