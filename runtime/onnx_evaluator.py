"""The evaluator "onnxruntime": runs an exported velocity graph, on the provider that was asked for or not at all.

Shapes: B samples, n branches, C latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..comfyui_pixwizard.evaluator import Branch, EagerStep, Step
from ..comfyui_pixwizard.optional import pip_install, required
from ..comfyui_pixwizard.scaling import PLAIN, Scaling
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from .exported import VELOCITY_FILE, Manifest
from .graph_inputs import constant_inputs
from .identity import OfWeights


class Provider(NamedTuple):
    """A way that ONNX Runtime computes: its own name, and what brings it."""

    name: str
    install: str
    on_gpu: bool = True


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", pip_install("onnxruntime"), on_gpu=False),
    "cuda": Provider("CUDAExecutionProvider", pip_install("onnxruntime-gpu")),
    "tensorrt": Provider("TensorrtExecutionProvider", pip_install("onnxruntime-gpu", "tensorrt")),
    "tensorrt-rtx": Provider(
        "NvTensorRTRTXExecutionProvider", pip_install("onnxruntime", "onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5,<0.6")
    ),
}
# Types of a graph as a session names them, and ONNX's numbers of types.
TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(bfloat16)": torch.bfloat16}
ELEMENTS = {torch.float32: 1, torch.bool: 9, torch.float16: 10, torch.bfloat16: 16}


class OnnxRuntime:
    """Runs an exported folder; the session lives as long as this does.

    Args:
        folder: what `pixwizard export onnx` wrote.
        provider: a key of PROVIDERS. There is no falling back: what cannot be had is an error.

    Raises:
        ValueError: ONNX Runtime or the provider is absent, the folder is no export, incomplete or changed.
    """

    name = "onnxruntime"

    def __init__(self, folder: str | Path, provider: str = "cpu") -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.manifest.check_files(self.folder)
        self.session = open_session(self.folder / VELOCITY_FILE, provider)
        self.device = torch.device("cuda" if PROVIDERS[provider].on_gpu else "cpu")
        first, *others = self.session.get_providers()
        self.reason = f"{self.folder} ({self.manifest.precision}) in ONNX Runtime on {first}" + (
            f", with {', '.join(others)} for what that leaves" if others else ""
        )
        self.checked: OfWeights[None] = OfWeights()

    def start(
        self,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> Step:
        """As `Evaluator.start`.

        Raises:
            ValueError: the folder was exported from another model.
        """
        self.checked.get(transformer, lambda: self.manifest.check_model(transformer, self.folder))
        return OnnxStep(self.session, self.device, transformer, branches, times, scaling)


class OnnxStep(EagerStep):
    """A prepared sampling; inputs that stay the same and the output are bound once for each set of branches."""

    def __init__(
        self,
        session: Any,
        device: torch.device,
        transformer: PixWizardTransformer,
        branches: Mapping[str, Branch],
        times: Sequence[float],
        scaling: Scaling = PLAIN,
    ) -> None:
        super().__init__(transformer, branches, times, scaling)
        self.session, self.device = session, device
        kinds = {item.name: item.type for item in session.get_inputs()}
        self.dtype = TYPES[kinds["x"]]
        self.bound: dict[tuple[str, ...], tuple[Any, dict[str, Tensor]]] = {}

    def _together(self, x: Tensor, t: float, names: tuple[str, ...]) -> Tensor:
        binding, held = self._binding(names)
        held["x"].copy_(x.repeat(len(names), 1, 1, 1))
        held["t"].fill_(t)
        for name, table in zip(("cos", "sin"), self.rope(t), strict=True):
            held[name].copy_(table)
        if self.device.type == "cuda":
            # The session has a stream of its own.
            torch.cuda.current_stream(self.device).synchronize()
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        # The bound tensor is written again by the next step, and multistep solvers keep earlier velocities.
        return held["velocity"].to(x.device, copy=True)

    def _binding(self, names: tuple[str, ...]) -> tuple[Any, dict[str, Tensor]]:
        """A binding and the tensors behind it, which must live as long."""
        if names not in self.bound:
            branch = self._join(names)
            held = constant_inputs(self.transformer.config, branch, self.dtype, self.device, self.attention_scale)
            # Copies, because they are written to at every step.
            held |= {
                name: table.to(self.device, copy=True)
                for name, table in zip(("cos", "sin"), self.rope(0.0), strict=True)
            }
            held["x"] = torch.empty_like(held["source"])
            held["t"] = torch.empty(len(branch.source), device=self.device)
            binding = self.session.io_binding()
            for name, value in held.items():
                _bind(binding.bind_input, name, value)
            held["velocity"] = torch.empty_like(held["source"], dtype=torch.float32)
            _bind(binding.bind_output, "velocity", held["velocity"])
            self.bound[names] = binding, held
        return self.bound[names]


def _bind(bind: Any, name: str, value: Tensor) -> None:
    place = value.device.type, value.device.index or 0
    bind(name, *place, ELEMENTS[value.dtype], list(value.shape), value.data_ptr())


def open_session(path: Path, provider: str = "cpu") -> Any:
    """A session that runs where it was asked to, on as many threads as torch does.

    Raises:
        ValueError: no ONNX Runtime, no such provider here, or a file that it refuses.
    """
    if provider not in PROVIDERS:
        raise ValueError(f"the providers are {', '.join(PROVIDERS)}, found {provider!r}: choose one of them")
    wanted = PROVIDERS[provider]
    ort = require_onnxruntime()
    options = session_options(ort)
    if provider == "tensorrt-rtx":
        _register_rtx(ort)
    present = ort.get_available_providers()
    devices = [device for device in ort.get_ep_devices() if device.ep_name == wanted.name]
    if wanted.name not in present and not devices:
        raise ValueError(
            f"the provider {provider} needs {wanted.name}, found only {', '.join(present)}: {wanted.install}, "
            "on a machine with such a device"
        )
    if wanted.on_gpu:
        _require_gpu(provider)
    try:
        if devices and wanted.name not in present:
            options.add_provider_for_devices(devices, {})
            session = ort.InferenceSession(str(path), options)
        else:
            session = ort.InferenceSession(str(path), options, providers=[wanted.name])
    except Exception as error:  # a broken file chooses which one
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} was refused: {reason}; export the model again") from error
    session.disable_fallback()
    if session.get_providers()[0] != wanted.name:
        raise ValueError(
            f"the provider {provider} is installed but did not start, found {', '.join(session.get_providers())} "
            f"instead: check the libraries that {wanted.name} needs"
        )
    return session


def session_options(ort: Any) -> Any:
    """As many threads as torch has; nothing but errors is told."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return options


def require_onnxruntime() -> Any:
    """ONNX Runtime.

    Raises:
        ValueError: it is absent.
    """
    return required("onnxruntime", "the backend onnxruntime needs onnxruntime", PROVIDERS["cpu"].install)


def _require_gpu(provider: str) -> None:
    if not torch.cuda.is_available():
        raise ValueError(
            f"the provider {provider} needs an NVIDIA GPU and a PyTorch that uses it, found none: take --provider cpu"
        )


def _register_rtx(ort: Any) -> None:
    """Tell ONNX Runtime about the plug-in, once a process.

    Raises:
        ValueError: it is absent, or there is no GPU, without whose driver it cannot be loaded.
    """
    wanted = PROVIDERS["tensorrt-rtx"]
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except ImportError as error:
        raise ValueError(f"the provider tensorrt-rtx is not installed: {wanted.install}") from error
    _require_gpu("tensorrt-rtx")
    if wanted.name not in _REGISTERED:
        ort.register_execution_provider_library(wanted.name, plugin.get_library_path())
        _REGISTERED.append(wanted.name)


_REGISTERED: list[str] = []
