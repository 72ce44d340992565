"""Where a training runs: one device, copies of the model (DDP), or a model in shards (FSDP2). The model knows nothing.

`World` is this process among all of them; `wrap` prepares a module for it. A single process needs neither torchrun nor
a process group. Source: PyTorch's FSDP2 tutorial; the order checkpointing, compile, shard is torchtitan's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from ...comfyui_pixwizard.block import TransformerBlock

Mode = Literal["auto", "single", "ddp", "fsdp"]
# What of a block is called from outside, each with activations of its own.
METHODS = ("encode_text", "encode_image")
TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class ParallelConfig:
    """How a training is spread over devices.

    Attributes:
        mode: "single"; "ddp" keeps the whole model on every device; "fsdp" keeps a share of weights, averages and
            optimiser state on each; "auto" is "single" for one process and "fsdp" for several.
        shard: with fsdp, over how many devices the model is cut; 0 over all. With 8 in a job of 32, four groups of 8
            hold a copy each, so that gathering stays inside a machine.
        reshard: with fsdp, give gathered weights back after a block's forward. Saves memory, costs communication.
        bfloat16: compute in bfloat16; master weights, gradients' sums and the optimiser stay in float32.
        recompute: keep only what enters each block, and compute the rest again backward.
        compile: compile each block.
    """

    mode: Mode = "auto"
    shard: int = 0
    reshard: bool = False
    bfloat16: bool = False
    recompute: bool = False
    compile: bool = False


class World:
    """This process among all that train together.

    Attributes:
        rank, size: its number, and how many there are.
        device: its device.
        mode: what "auto" came to.
    """

    def __init__(self, config: ParallelConfig | None = None, device: str | torch.device | None = None) -> None:
        self.config = config or ParallelConfig()
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.mode = ("fsdp" if self.size > 1 else "single") if self.config.mode == "auto" else self.config.mode
        if (self.mode == "single" and self.size > 1) or (self.mode != "single" and "RANK" not in os.environ):
            raise ValueError(
                f"mode single is for one process and ddp and fsdp are started with torchrun, found {self.mode} in "
                f"{self.size}: take auto, or start with torchrun --nproc_per_node N"
            )
        shard = self.config.shard or self.size
        if self.mode == "fsdp" and self.size % shard:
            raise ValueError(f"--shard must divide the {self.size} processes, found {shard}: take 0 for all of them")
        self.device = torch.device(device or self._device())
        self._own_group = False
        self._saving: dist.ProcessGroup | None = None
        if self.mode != "single":
            self._join()

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @staticmethod
    def _device() -> str:
        if not torch.cuda.is_available():
            return "cpu"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"

    def _join(self) -> None:
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=TIMEOUT)
            self._own_group = True
        # A group of its own: checkpoints are written by a thread, whose messages must not mix with the training's.
        self._saving = dist.new_group(backend="gloo", timeout=TIMEOUT)

    @property
    def saving(self) -> dist.ProcessGroup | None:
        """The group that checkpoints are written in; None for a single process."""
        return self._saving

    def close(self) -> None:
        """Leave the process group, if this world joined one."""
        if self._own_group:
            dist.destroy_process_group()
            self._own_group, self._saving = False, None

    # -- agreeing ----------------------------------------------------------------------------------------------------

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes; what only the main one may decide, the others give as 0."""
        if self.mode == "single":
            return list(values)
        together = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(together)
        return together.tolist()

    def gather(self, value: Any) -> list[Any]:
        """A plain value of every process, everywhere, by rank."""
        if self.mode == "single":
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        self.sum([0.0])

    # -- models ------------------------------------------------------------------------------------------------------

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module on this device, spread as configured; its parameters keep their names. Call it by `forward`.

        Returns:
            What to call; `model` itself except with ddp.
        """
        model.to(self.device)
        blocks = [module for module in model.modules() if isinstance(module, TransformerBlock)]
        for block in blocks:
            prepare_block(block, self.config)
        if self.mode == "ddp":
            # Some parameters are without effect in the released model (its pad token), or in a batch without images.
            return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        if self.mode == "fsdp":
            self._shard(model, blocks)
        return model

    def _shard(self, model: nn.Module, blocks: Sequence[TransformerBlock]) -> None:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

        group = self.config.shard or self.size
        copies = {"replicate": self.size // group} if group < self.size else {}
        shape, names = (*copies.values(), group), (*copies, "shard")
        mesh = dist.init_device_mesh(self.device.type, shape, mesh_dim_names=names)
        # Inputs are not cast: t and the rotary tables lose too much in bfloat16; autocast casts what multiplies.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self.config.bfloat16 else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        # A block is entered three times a step (text, image, tokens): unless it is kept, it is gathered three times.
        options: dict[str, Any] = dict(mesh=mesh, mp_policy=policy, reshard_after_forward=self.config.reshard)
        for block in blocks:
            fully_shard(block, **options)
            for name in METHODS:
                register_fsdp_forward_method(block, name)
        fully_shard(model, **options)
        # It warns of views that could be written to; nothing in the model writes in place.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")

    @contextmanager
    def accumulating(self, network: nn.Module, last: bool) -> Iterator[None]:
        """Around one of several backward passes of a step: gradients are exchanged in the last one."""
        if self.mode == "fsdp":
            network.set_requires_gradient_sync(last)  # type: ignore[operator]
        waits = self.mode == "ddp" and not last
        with network.no_sync() if waits else nullcontext():  # type: ignore[operator]
            yield


def prepare_block(block: TransformerBlock, config: ParallelConfig) -> None:
    """Recompute and compile one block as configured.

    Methods of the instance are replaced, not the module: names of parameters stay, and FSDP's hooks stay outside.
    """
    if config.recompute:
        for name in ("forward", *METHODS):
            setattr(block, name, recomputed(getattr(block, name)))
    if config.compile:
        for name in ("forward", *METHODS):
            setattr(block, name, torch.compile(getattr(block, name)))


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose activations are computed again in the backward pass."""
    return partial(checkpoint, function, use_reentrant=False)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; of an ordinary tensor the tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, detached; every process must ask for the same ones in the same order."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()
