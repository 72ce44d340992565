"""Does a change to the recipe help? Arms that begin alike and train equally long on what is hardest: words and places.

All arms share pools, word pieces and the bundled autoencoder, and take turns of some minutes each, so that whatever
else the machine does falls on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.files.safe_files import write_json
from ...comfyui_pixwizard.pipeline import PixWizardPipeline
from ...runtime.evaluators import fast_bfloat16
from ..data.feed.mixture import GENERATION, Mixture
from ..data.rendered.builders import BUILDERS
from ..evaluate.questions import Questions
from ..evaluate.runner import EvaluationSettings, Row, evaluate
from ..loop.trainer import Trainer, TrainerConfig
from ..loop.velocity import Drawing
from .ablation import Part, hold
from .balance import Balance
from .mixture_stage import BLIND, PLAIN, Aids, MixtureStage
from .nano import NanoRecipe
from .shares import ADAPTED, MARKED, RATES, VECTOR_LR
from .towers import NanoModel

TASKS = ("referring_box", "referring_mask", "edit_remove", "edit_recolor")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        towers: towers learn alone first, which counts as the arm's own minutes; all such arms share them.
        awake: the network's start, see `NanoModel.build`.
        rates: the summed biases and the towers have rates of their own.
        held: parts of the conditioning that it lacks, see `ablation.hold`.
        adapted: share of the network's minutes, at their beginning, in which it draws marked pictures.
    """

    towers: bool = True
    awake: bool = True
    rates: bool = True
    aids: Aids = field(default_factory=Aids)
    held: tuple[Part, ...] = ()
    adapted: float = 0.0


NEW = Arm()
ARMS: dict[str, Arm] = {
    "old": Arm(towers=False, awake=False, rates=False, aids=PLAIN),
    "new": NEW,
    "adapted": replace(NEW, adapted=0.15),
    "without towers": replace(NEW, towers=False),
    "without start": replace(NEW, awake=False, rates=False),
    "without teachers": replace(NEW, aids=replace(Aids(), teachers=(0.0, 0.0))),
    "without emphasis": replace(NEW, aids=replace(Aids(), emphasis=(0.0, 0.0), lasting=0.0)),
    "without balance": replace(NEW, aids=replace(Aids(), balance=False)),
    "without semantic tokens": replace(NEW, held=("semantic tokens",)),
    "without structure": replace(NEW, held=("structure",)),
    "without task-aware choice": replace(NEW, held=("task-aware choice",)),
}
Name = Literal[
    "old", "new", "adapted", "without towers", "without start", "without teachers", "without emphasis",
    "without balance", "without semantic tokens", "without structure", "without task-aware choice",
]  # fmt: skip


@dataclass
class NanoArms:
    """Compare ways to train the bundled model, and the model without parts of its conditioning.

    Stop it and run the same command again: it goes on. FOLDER/result.json holds the comparison.
    """

    folder: Path = Path("runs/arms")
    """Where pools, runs and the result are kept."""
    arms: tuple[Name, ...] = ("old", "new")
    """Which ones; "without" something is the new recipe, or the network, less one part."""
    tasks: tuple[str, ...] = TASKS
    """What they learn and are judged on."""
    minutes: float = 25.0
    """Minutes of each arm."""
    turn: float = 5.0
    """Minutes of each arm's turn."""
    towers_minutes: float = 4.0
    """Minutes of an arm in which its towers learn alone."""
    scenes: int = 12000
    """Rendered scenes at 128 px."""
    sheets: int = 160
    """Dead-leaves sheets."""
    batch_size: int = 48
    """Samples of a step."""
    compile: bool = True
    """Compile network and towers, as `train nano` does; the arm "old" too."""
    asked: int = 150
    """Held-out questions of each task."""
    seed: int = 0
    """Seed of weights and batches."""

    def run(self) -> bool:
        """Train the arms in turns and compare them; False when a signal ended it early."""
        if min(self.minutes, self.turn) <= 0:
            raise ValueError(f"arms train for some minutes, found {self.minutes:g} in turns of {self.turn:g}: raise it")
        unknown = [name for name in self.tasks if name not in BUILDERS]
        if unknown or not self.tasks:
            found = unknown[0] if unknown else "none"
            raise ValueError(f"--tasks are some of {', '.join(BUILDERS)}; found {found}: leave it out")
        self.bfloat16 = fast_bfloat16(torch.device("cpu"))
        self.given = PixWizardPipeline.from_pretrained("nano")
        self.recipe = NanoRecipe(
            folder=self.folder, scenes=self.scenes, sheets=self.sheets, large_scenes=12, figures=40, faces=40,
            towers_minutes=self.towers_minutes, seed=self.seed, device="cpu",
        )  # fmt: skip
        self.recipe.prepare()
        until = 0.0
        while until < self.minutes:
            until = min(until + self.turn, self.minutes)
            for name in self.arms:
                if not self._train(name, until):
                    return False
        return self._compare()

    def _train(self, name: str, until: float) -> bool:
        """Bring an arm to `until` minutes in all."""
        arm = ARMS[name]
        model = NanoModel.build(self.recipe.word_pieces(), PixWizardConfig.preset("nano"), self.seed, arm.awake)
        spent = 0.0
        if arm.towers:
            towers = self.recipe.towers(model, self.folder / "towers", min(until, self.towers_minutes))
            spent = towers.seconds / 60
            if towers.stopped:
                return False
        if until - spent < 0.05:
            return True
        trainer = self.trainer(name, model)
        trainer.resume()
        plan, usual = self.minutes - spent, trainer.stage
        assert isinstance(usual, MixtureStage)
        for marked, end in ((True, arm.adapted * plan), (False, plan)):
            left = min(end, until - spent) - trainer.seconds / 60
            trainer.stage = self.stage(arm, model, usual.balance, marked=True) if marked else usual
            if left >= 0.05 and not trainer.run(minutes=left, plan_minutes=plan):
                return False
        return True

    def trainer(self, name: str, model: NanoModel) -> Trainer:
        """The trainer of an arm's transformer and towers."""
        arm = ARMS[name]
        model.use_plain_attention()
        if arm.aids.teachers[0]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                model.with_teachers()
        if self.compile:
            model.compile()
        hold(model, arm.held)
        balance = Balance([*dict.fromkeys((*self.tasks, *((GENERATION,) if arm.adapted else ()))), BLIND])
        stage = self.stage(arm, model, balance)
        rates: Mapping[str, float] = RATES if arm.rates else {}
        config = TrainerConfig(
            lr=self.recipe.lr, vector_lr=VECTOR_LR, rates=rates, cooldown=0.5, seed=self.seed, warmup=150
        )
        return Trainer(stage, self.folder / name.replace(" ", "-") / "transformer", config)

    def stage(self, arm: Arm, model: NanoModel, balance: Balance, marked: bool = False) -> MixtureStage:
        """An arm's tasks, or pictures with marks before them."""
        weights, others = (ADAPTED[0], MARKED) if marked else (dict.fromkeys(self.tasks, 1.0), None)
        mixture = Mixture(self.given.autoencoder, self.recipe.small, weights, self.bfloat16, others)
        drawing = Drawing(times=self.recipe.times, early=self.recipe.early)
        return MixtureStage(model, [(1.0, self.batch_size, mixture)], drawing, self.bfloat16, arm.aids, balance)

    # -- judging -------------------------------------------------------------------------------------------------------

    def _compare(self) -> bool:
        rows: dict[str, Any] = {name: self._judged(name) for name in self.arms}
        write_json(self.folder / "result.json", rows)
        print(table(rows))
        print(f"wrote {self.folder / 'result.json'}")
        return True

    def _judged(self, name: str) -> dict[str, Any]:
        """What `pixwizard eval` measures on its held-out scenes, with the averaged weights."""
        model = NanoModel.build(self.recipe.word_pieces(), PixWizardConfig.preset("nano"), self.seed, ARMS[name].awake)
        trainer = self.trainer(name, model)
        trainer.resume()
        trainer.load_average()
        model.eval()
        parts: dict[str, Any] = dict(transformer=model.transformer, text_encoder=model.text, task_encoder=model.task)
        parts |= dict(image_encoder=model.vision, task_table=None, task_predictor=None)  # an arm has none
        pipeline = PixWizardPipeline(**self.given.parts | parts)
        asked, rows = Questions(self.asked, 128, 128, self.seed), {}
        for task in tqdm(self.tasks, desc=name, unit="task"):
            row: Row = evaluate(pipeline, asked.samples(task), EvaluationSettings(self.seed), lambda n: None).row
            rows[task] = {key: row[key] for key in ("metric", "value", "n", "details") if key in row}
        return {"steps": trainer.step, "minutes": trainer.seconds / 60, "rows": rows}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The comparison as text."""
    first = next(iter(found.values()))["rows"]
    lines = [f"{'arm':<27}{'steps':>7}" + "".join(f"{task:>18}" for task in first)]
    lines.append(f"{'':<34}" + "".join(f"{row['metric'][:16]:>18}" for row in first.values()))
    for name, arm in found.items():
        values = "".join(f"{row['value']:>18.3f}" for row in arm["rows"].values())
        lines.append(f"{name:<27}{arm['steps']:>7}{values}")
    return "\n".join(lines)
