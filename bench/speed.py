"""`pixwizard bench speed`: the released procedure against every evaluator, on the same weights, in one run.

Shapes: M rows of a product (tokens of all branches), K and N its widths.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..comfyui_pixwizard.config import PRESETS, PixWizardConfig
from ..comfyui_pixwizard.cpu.linear import through_onednn
from ..comfyui_pixwizard.evaluator import Evaluator, Step
from ..comfyui_pixwizard.files.safe_files import write_json
from ..comfyui_pixwizard.flow import time_grid
from ..comfyui_pixwizard.guidance import DualGuidance
from ..comfyui_pixwizard.limits import check_side
from ..comfyui_pixwizard.pipeline import PixWizardPipeline
from ..comfyui_pixwizard.solvers import solve
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.evaluators import choose, default_device
from ..runtime.exactness import velocity_error
from ..training.evaluate.metrics import psnr
from ..training.recipes.estimate import BUNDLED_IMAGE_TOKENS, RELEASED_IMAGE_TOKENS
from .peak import EMPTY_TOKENS, TEXT_TOKENS, sampling_peak
from .pictures import real_inputs
from .reference import Inputs, ReferenceStep

# Evaluators that run an exported graph, and its precision.
EXPORTED: dict[str, Literal["fp32", "int8"]] = {"onnxruntime": "fp32", "onnxruntime-int8": "int8"}


@dataclass
class Speed:
    """Time the released procedure and every evaluator on the same weights, in turns, and print ratios.

    The weights are random: time does not depend on them. Errors are of the final latent, against the released
    procedure in float32. With --model the weights are that model's, and its answers to a picture are compared too.
    """

    preset: Literal["2b", "nano"] = "nano"
    """Widths of the model."""
    layers: int | None = None
    """Fewer layers than the preset's, so that a CPU can run full widths."""
    size: int = 512
    """Side of the picture in pixels."""
    steps: int = 6
    """Points of the time grid, one more than evaluations of each branch."""
    text: float = 4.0
    """Weight of the instruction."""
    image: float = 1.0
    """Weight of the picture."""
    batch: int = 1
    """Pictures at once."""
    rounds: int = 3
    """How often everything is timed; the median counts."""
    evaluators: tuple[str, ...] = ("eager", "bfloat16", "compiled")
    """Which to time beside the reference; onnxruntime and onnxruntime-int8 are exported first, which is not timed."""
    model: str | None = None
    """Real weights instead of --preset's random ones: nano or a folder. The table then has the PSNR of the decoded
    answers to the reference's."""
    threads: int | None = None
    """Threads of a CPU; by default all."""
    json: Path | None = None
    """Also write the figures there."""

    def run(self) -> int:
        """Print the table.

        Raises:
            ValueError: sizes, layers or rounds that cannot be.
        """
        self._check()
        if self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            figures = self.measure()
        print(self.table(figures))
        if self.json:
            write_json(self.json, figures)
        return 0

    def _check(self) -> None:
        check_side(self.size, take=512)
        if self.model is not None and self.layers is not None:
            raise ValueError("--layers goes with --preset, found it with --model: a model has all of its layers")
        deepest = PRESETS[self.preset]["n_layers"]
        if self.layers is not None and not 1 <= self.layers <= deepest:
            raise ValueError(f"--layers lies in 1 to {deepest} for {self.preset}, found {self.layers}: take 2")
        if self.steps < 2 or self.rounds < 1 or self.batch < 1:
            raise ValueError(
                f"--steps is at least 2, --rounds and --batch at least 1, found {self.steps}, {self.rounds} and "
                f"{self.batch}: take 6, 3 and 1"
            )

    def measure(self) -> dict[str, dict[str, Any]]:
        """Figures by evaluator, see the class; "best" is the fastest whose error is below 2e-2."""
        device = default_device()
        pipeline = None if self.model is None else PixWizardPipeline.from_pretrained(self.model).to(device)
        if pipeline is None:
            fewer = {"n_layers": self.layers} if self.layers else {}
            config = PixWizardConfig.from_dict(PRESETS[self.preset] | fewer)
            plain = random_transformer(config).to(device)
            inputs, noise = random_inputs(config, self.size // 8, self.batch, device)
        else:
            plain, config = pipeline.transformer, pipeline.transformer.config
            inputs, noise = real_inputs(pipeline, self.size, self.batch)
        shared = {id(parameter): parameter for parameter in plain.parameters()}
        transformer = through_onednn(copy.deepcopy(plain, shared))
        guidance = DualGuidance(self.text, self.image)
        grid = time_grid(self.steps)
        evaluators = self._evaluators(plain)
        contenders: dict[str, Callable[[], Step]] = {"reference": partial(ReferenceStep, plain, inputs)}
        for name, evaluator in evaluators.items():
            contenders[name] = partial(_start, evaluator, transformer, inputs, guidance, grid)
        dtypes = {name: getattr(evaluator, "dtype", torch.float32) for name, evaluator in evaluators.items()}
        tokens = noise.shape[-2] * noise.shape[-1] // config.patch_size**2
        rows, flops = len(guidance.branches()) * tokens * self.batch, step_flops(config, tokens, self.batch, guidance)
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        rates: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
        answers: dict[str, Tensor] = {}
        memory: dict[str, int | None] = {}
        with tqdm(total=(self.rounds + 1) * len(contenders), unit="run", leave=False) as bar:
            for turn in range(self.rounds + 1):
                for name, start in contenders.items():
                    bar.set_description(f"{'warm-up' if not turn else f'round {turn}'} {name}")
                    spent, answers[name], memory[name] = timed(start, noise, grid, guidance)
                    if turn:
                        seconds[name].append(spent / (self.steps - 1))
                    bar.update()
                if turn:
                    for dtype, measured in rates.items():
                        measured.append(gemm_rate(config, rows, dtype, device))
        figures = self._summed_up(seconds, rates, answers, flops, dtypes)
        for name, amount in memory.items():
            if amount is not None:
                figures[name]["activations_gib"] = round(amount / 2**30, 3)
        if pipeline is not None:
            pictures = {name: pipeline.decode(answer) for name, answer in answers.items()}
            for name, picture in pictures.items():
                figures[name]["psnr"] = round(float(psnr(picture / 2 + 0.5, pictures["reference"] / 2 + 0.5).mean()), 2)
        return figures | {"memory": self._counted(config, guidance)}

    def _evaluators(self, transformer: PixWizardTransformer) -> dict[str, Evaluator]:
        """By name; graphs are exported to a folder that goes as soon as they are loaded."""
        found: dict[str, Evaluator] = {}
        for name in self.evaluators:
            if name in EXPORTED:
                from ..export.onnx_folder import STAGES, export_onnx

                with tempfile.TemporaryDirectory() as folder, tqdm(total=STAGES + 1, leave=False) as bar:

                    def tell(stage: str, bar: tqdm = bar) -> None:
                        bar.set_description(stage)
                        bar.update()

                    export_onnx(transformer, Path(folder), EXPORTED[name], tell)
                    found[name] = choose("onnxruntime", folder)
            else:
                found[name] = choose(name)
        return found

    def _summed_up(
        self,
        seconds: dict[str, list[float]],
        rates: dict[torch.dtype, list[float]],
        answers: dict[str, Tensor],
        flops: float,
        dtypes: dict[str, torch.dtype],
    ) -> dict[str, dict[str, Any]]:
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        found: dict[str, dict[str, Any]] = {}
        for name, spent in middle.items():
            rate = statistics.median(rates[dtypes.get(name, torch.float32)])
            found[name] = {
                "ms_per_step": round(spent * 1000, 2),
                "ratio": round(middle["reference"] / spent, 3),
                "error": velocity_error(answers[name], answers["reference"]),
                "gemm_share": round(flops / spent / rate, 3),
            }
            if "eager" in middle:
                found[name]["to_eager"] = round(middle["eager"] / spent, 3)
        found["reference"]["gemm_share"] = None
        good = [name for name in self.evaluators if found[name]["error"] <= 2e-2]
        best = min(good or self.evaluators, key=lambda name: found[name]["ms_per_step"])
        kept = {key: found[best][key] for key in ("ratio", "error", "gemm_share")}
        machine = {
            str(dtype).removeprefix("torch."): round(statistics.median(r) / 1e9, 1) for dtype, r in rates.items()
        }
        return found | {"best": {"name": best} | kept, "gemm_gflops": machine}

    def _counted(self, config: PixWizardConfig, guidance: DualGuidance) -> dict[str, Any]:
        """GiB that a sampling of the whole model takes in bfloat16, counted and not measured."""
        config = config if self.model else PixWizardConfig.preset(self.preset)
        weights, peak = sampling_peak(config, self.size, self.batch, tuple(guidance.branches()), torch.bfloat16)
        return {"weights_gib": round(weights / 2**30, 3), "peak_gib": round(peak / 2**30, 3), "layers": config.n_layers}

    def table(self, figures: dict[str, dict[str, Any]]) -> str:
        """The figures for people."""
        head = (
            f"{self.model or self.preset}, {self.layers or 'all'} layers, {self.size} px, {self.steps - 1} steps, "
            f"guidance {self.text:g}/{self.image:g}"
        )
        lines = [
            head,
            f"{'evaluator':17}{'ms/step':>10}{'ratio':>8}{'to eager':>10}{'error':>11}{'PSNR dB':>9}"
            f"{'share of GEMM rate':>20}",
        ]
        for name, row in figures.items():
            if "ms_per_step" in row:
                share = "" if row["gemm_share"] is None else f"{row['gemm_share']:.2f}"
                share += f"{row['activations_gib']:10.2f} GiB" if "activations_gib" in row else ""
                eager, decibel = (f"{row[key]:.2f}" if key in row else "" for key in ("to_eager", "psnr"))
                lines.append(
                    f"{name:17}{row['ms_per_step']:10.1f}{row['ratio']:8.2f}{eager:>10}{row['error']:11.1e}"
                    f"{decibel:>9}{share:>20}"
                )
        rates = ", ".join(f"{name} {value:g}" for name, value in figures["gemm_gflops"].items())
        memory = figures["memory"]
        lines.append(
            f"all {memory['layers']} layers in bfloat16 take {memory['peak_gib']:.2f} GiB of tensors at the peak of a "
            f"step, {memory['weights_gib']:.2f} of them weights (counted)"
        )
        return "\n".join([*lines, f"measured GEMM rates of these widths, GFLOP/s: {rates}"])


def _start(
    evaluator: Any, transformer: PixWizardTransformer, inputs: dict[str, Inputs], guidance: DualGuidance, grid: Tensor
) -> Step:
    """Encoding the conditions and preparing the steps counts as part of a sampling."""
    branches = {name: inputs[name].branch(transformer) for name in guidance.branches()}
    return evaluator.start(transformer, branches, grid[:-1].tolist())


def timed(
    start: Callable[[], Step], noise: Tensor, grid: Tensor, guidance: DualGuidance
) -> tuple[float, Tensor, int | None]:
    """Seconds of a sampling, its final latent, and on a GPU the bytes it took at most beside what lay there before."""
    device, on_gpu = noise.device, noise.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    _wait(device)
    begun = time.perf_counter()
    step = start()
    branches = guidance.branches()
    out = solve(lambda x, t: guidance.combine(step(x, float(t), branches)), noise, grid)  # type: ignore[arg-type]
    _wait(device)
    spent = time.perf_counter() - begun
    assert isinstance(out, Tensor), "a tensor goes in"
    return spent, out.clone(), torch.cuda.max_memory_allocated(device) - before if on_gpu else None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def random_transformer(config: PixWizardConfig, seed: int = 0) -> PixWizardTransformer:
    """Random weights with open gates and an output of about unit size, so that errors mean something."""
    torch.manual_seed(seed)
    model = PixWizardTransformer(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith(("gate", "gate_for_ii")) or not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.5 if "gate" in name else 0.02)
    return model


def random_inputs(
    config: PixWizardConfig, side: int, batch: int, device: torch.device
) -> tuple[dict[str, Inputs], Tensor]:
    """Inputs of the three branches and the noise, for latents of side x side."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    tokens = max(config.sample_tokens, RELEASED_IMAGE_TOKENS if config.clip_image_dim == 1024 else BUNDLED_IMAGE_TOKENS)
    seen = draw(batch, tokens, config.clip_image_dim)
    noise, source = (draw(batch, config.in_channels, side, side) for _ in range(2))
    words, empty = (draw(batch, TEXT_TOKENS, config.cap_feat_dim) for _ in range(2))
    vectors = [draw(batch, config.cap_clip_feat_dim) for _ in range(2)]
    every = torch.ones(batch, TEXT_TOKENS, dtype=torch.bool, device=device)
    first = every & (torch.arange(TEXT_TOKENS, device=device) < EMPTY_TOKENS)
    inputs = {
        "full": Inputs(words, every, vectors[0], seen, source),
        "image": Inputs(empty, first, vectors[1], seen, source),
        "none": Inputs(empty, first, vectors[1], torch.zeros_like(seen), noise),
    }
    return inputs, noise


def block_widths(config: PixWizardConfig) -> list[tuple[int, int]]:
    """(K, N) of the products of one block that run every step."""
    d, kv, hidden = config.dim, config.kv_heads * config.head_dim, config.ffn_dim
    return [(d, d), (d, kv), (d, kv), (d, d), (d, hidden), (d, hidden), (hidden, d)]


def step_flops(config: PixWizardConfig, tokens: int, batch: int, guidance: DualGuidance) -> float:
    """Floating-point operations of the products and attentions of one step, all needed branches."""
    linear = sum(2 * k * n for k, n in block_widths(config)) * tokens
    total = 0.0
    for name in guidance.branches():
        keys = tokens + (0 if name == "none" else config.sample_tokens)
        keys += TEXT_TOKENS if name == "full" else EMPTY_TOKENS
        total += config.n_layers * (linear + 4 * tokens * keys * config.dim)
    return total * batch


def gemm_rate(config: PixWizardConfig, rows: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of the block's products alone, back to back, in a type."""
    widths = block_widths(config)
    layers = [through_onednn(nn.Linear(k, n, bias=False, device=device, dtype=dtype)) for k, n in widths]
    data = [torch.randn(rows, k, device=device, dtype=dtype) for k, _ in widths]
    best = float("inf")
    for _ in range(3):
        _wait(device)
        begun = time.perf_counter()
        for x, layer in zip(data, layers, strict=True):
            layer(x)
        _wait(device)
        best = min(best, time.perf_counter() - begun)
    return sum(2 * rows * k * n for k, n in widths) / best
