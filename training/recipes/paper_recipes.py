"""The paper's two stages, and adapters, as recipes.

Source: paper, sections 3.3 and C.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ...comfyui_pixwizard.config import PixWizardConfig
from ...comfyui_pixwizard.files.checkpoint import meta_specs
from ...comfyui_pixwizard.transformer import PixWizardTransformer
from ..loop.exporting import RunExport, RunModel, transformer_of
from ..loop.lora import TARGETS, LoraConfig, add_lora, lora_of, merged
from .shard_recipe import FullRecipe, unprefixed


@dataclass
class Stage1(FullRecipe):
    """Stage 1 of the paper: every task brought to 20 k samples, four epochs at 512 to 768 px."""

    folder: Path = Path("runs/stage1")
    """The run's folder."""
    data: tuple[Path, ...] = ()
    """Folders that `pixwizard data build` made."""
    per_task: int = 20_000
    """Samples of every task in an epoch: small tasks are repeated, of large ones other parts are taken each time."""
    epochs: float = 4.0
    """Passes over the plan."""


@dataclass
class Stage2(FullRecipe):
    """Stage 2 of the paper: everything by its size, text-to-image one to one, 20 M samples at 768 to 1024 px."""

    folder: Path = Path("runs/stage2")
    """The run's folder."""
    data: tuple[Path, ...] = ()
    """Folders that `pixwizard data build` made."""
    lr: float = 5e-5
    """Learning rate of AdamW."""
    sizes: tuple[int, ...] = (768, 1024)
    """Sides of the squares round which the size buckets lie."""
    samples: int = 20_000_000
    """Samples of the whole training."""
    generation: float = 0.5
    """Share of text-to-image."""


@dataclass
class Lora(FullRecipe):
    """Adapters on a model that stays as it is, for a task or a style of one's own."""

    folder: Path = Path("runs/lora")
    """The run's folder; the result is FOLDER/export/lora.safetensors."""
    data: tuple[Path, ...] = ()
    """Folders that `pixwizard data build` made."""
    rank: int = 16
    """Rank of the adapters."""
    alpha: float = 16.0
    """Their effect is scaled by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Layers of each block that get one."""
    samples: int = 16_000
    """Samples of the whole training."""
    batch_size: int = 16
    """Samples of a step over all processes."""
    micro_batch: int = 4
    """Samples of a forward pass of one process."""
    ema: float = 0.99
    """Decay of the averaged weights."""

    def prepare(self, transformer: PixWizardTransformer) -> None:
        """Freeze it and add adapters."""
        add_lora(transformer, LoraConfig(self.rank, self.alpha, self.targets), self.seed)

    def trained(self, config: PixWizardConfig) -> int:
        """Numbers of the adapters."""
        ends = tuple(f".{target}.weight" for target in self.targets)
        return sum(self.rank * sum(spec.shape) for name, spec in meta_specs(config).items() if name.endswith(ends))

    def run_model(self, transformer: PixWizardTransformer) -> RunModel:
        """What FOLDER/model.json says."""
        return replace(super().run_model(transformer), lora_alpha=self.alpha)

    def rebuilder(self, base: PixWizardTransformer) -> Callable[[dict[str, Tensor]], PixWizardTransformer]:
        """Adds averaged adapters to the model."""
        own = {name: value.cpu() for name, value in base.state_dict().items() if ".lora_" not in name}
        return lambda weights: transformer_of(merged(own, lora_of(unprefixed(weights), self.alpha)), base.config)

    def export(self, base: PixWizardTransformer) -> None:
        """Write the averaged adapters to FOLDER/export/lora.safetensors."""
        RunExport(self.folder, self.folder / "export" / "lora.safetensors", "lora").run()
