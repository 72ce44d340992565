"""A real ComfyUI in this process: the checkout named by COMFYUI_PATH, run by its own Python (`make test-host`)."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

HOST = os.environ.get("COMFYUI_PATH", "")
EXTENSION = Path(__file__).resolve().parents[2]
sys.path.append(str(Path(__file__).parent))  # for workflows.py


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without a host these modules cannot be imported: one module says so, the others are left out."""
    if HOST or collection_path.name in {"host", "test_without_host.py"}:
        return None
    return True


def _start() -> SimpleNamespace:
    for place in (EXTENSION, Path.cwd()):
        while str(place) in sys.path:
            sys.path.remove(str(place))
    sys.path.insert(0, HOST)
    # The host parses the command line when it is imported.
    arguments, sys.argv = sys.argv, ["main.py"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing(False)
        from comfy.cli_args import args

        args.cpu = True
        # In main.py's order: `import nodes` puts a folder with another `utils` first.
        importlib.import_module("utils.install_util")
        import execution

        import nodes
    finally:
        sys.argv = arguments
    failures: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "IMPORT FAILED" in record.getMessage() or "Cannot import" in record.getMessage():
                failures.append(record.getMessage())

    logging.getLogger().addHandler(Keep())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loaded = loop.run_until_complete(nodes.load_custom_node(str(EXTENSION)))
    loop.run_until_complete(nodes.init_builtin_extra_nodes())
    assert loaded and not failures, failures
    # The host's loader made the module's name of the path.
    package = str(EXTENSION).replace(".", "_x_")

    def ours(name: str) -> Any:
        """A module of the extension as the host loaded it."""
        return importlib.import_module(f"{package}.{name}")

    return SimpleNamespace(nodes=nodes, execution=execution, loop=loop, ours=ours, package=package)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The host with the extension loaded, its folders in a temporary place."""
    found = _start()
    import folder_paths

    base = tmp_path_factory.mktemp("host")
    for name in ("output", "temp", "input"):
        (base / name).mkdir()
        getattr(folder_paths, f"set_{name}_directory")(str(base / name))
    found.base = base
    return found


@pytest.fixture(scope="session")
def node(host: SimpleNamespace) -> Any:
    """Runs one node by its id and answers its outputs as a tuple."""

    @torch.inference_mode()  # as the host's executor
    def run(node_id: str, **inputs: Any) -> tuple[Any, ...]:
        node_class = host.nodes.NODE_CLASS_MAPPINGS[node_id]
        if hasattr(node_class, "define_schema"):
            defaults = {
                item.id: item.default
                for item in node_class.GET_SCHEMA().inputs
                if getattr(item, "default", None) is not None and not item.optional
            }
            clone = node_class.PREPARE_CLASS_CLONE({})
            return tuple(clone.EXECUTE_NORMALIZED(**(defaults | inputs)).result)
        return tuple(getattr(node_class(), node_class.FUNCTION)(**inputs))

    return run


@pytest.fixture(scope="session")
def parts(node: Any) -> SimpleNamespace:
    """The bundled model as the loader gives it."""
    return SimpleNamespace(**dict(zip(("model", "clip", "vision", "vae"), node("PixWizardLoad"), strict=True)))


@pytest.fixture(scope="session")
def pipeline(host: SimpleNamespace) -> Any:
    """The core pipeline of the same package."""
    return host.ours("comfyui_pixwizard.pipeline").PixWizardPipeline.from_pretrained("nano")


@pytest.fixture(scope="session")
def example(host: SimpleNamespace) -> Any:
    """Makes pictures [B, H, W, 3] in [0, 1] with 8-bit values."""

    def draw(count: int = 1, size: int = 128, seed: int = 3) -> Tensor:
        leaves = host.ours("training.render.dead_leaves").dead_leaves
        pictures = leaves(count, size, torch.Generator().manual_seed(seed))
        return ((pictures * 255).round() / 255).permute(0, 2, 3, 1)

    return draw


@pytest.fixture(scope="session")
def conditioned(node: Any, parts: SimpleNamespace) -> Any:
    """Instruction and Image Conditioning: positive, image_only, negative, latent, source of pictures."""

    def encode(image: Tensor, text: str = "Remove the rain from this picture.", **more: Any) -> tuple[Any, ...]:
        encoded, empty = node("PixWizardInstruction", clip=parts.clip, text=text)[:2]
        given = dict(positive=encoded, empty=empty, clip_vision=parts.vision, vae=parts.vae, image=image)
        return node("PixWizardImageConditioning", **given, **more)

    return encode


@pytest.fixture(scope="session")
def given(example: Any, conditioned: Any) -> tuple[Any, ...]:
    """What Image Conditioning gives of a small picture."""
    return conditioned(example(size=64))


def sampled(node: Any, model: Any, given: tuple[Any, ...], **more: Any) -> Tensor:
    """What the sampler gives of such a conditioning: the latent's samples."""
    positive, image_only, negative, latent, _ = given
    inputs = dict(positive=positive, image_only=image_only, negative=negative, latent=latent, seed=5, points=3)
    return node("PixWizardSampler", model=model, **(inputs | more))[0]["samples"]


class FakeServer:
    """What the host's executor wants of a server."""

    def __init__(self) -> None:
        self.client_id = self.last_node_id = self.last_prompt_id = None
        self.sockets_metadata: dict[str, Any] = {}

    def send_sync(self, *arguments: Any) -> None:
        """Nobody listens."""


@pytest.fixture(scope="session")
def run_graph(host: SimpleNamespace) -> Any:
    """Validates and runs an API graph as the host does; answers the executor."""

    def run(graph: dict[str, Any]) -> Any:
        execution = host.execution
        valid = host.loop.run_until_complete(execution.validate_prompt("test", graph, None))
        assert valid[0], valid
        caches = {"lru": 0, "ram": 0}
        executor = execution.PromptExecutor(FakeServer(), cache_type=execution.CacheType.CLASSIC, cache_args=caches)
        executor.execute(graph, "test", {}, valid[2])
        assert executor.success, str(executor.status_messages)
        return executor

    return run


@pytest.fixture(scope="session")
def encode(host: SimpleNamespace) -> Any:
    """The picture [1, H, W, 3] that stands for a label of a task."""
    get_task = host.ours("comfyui_pixwizard.tasks").get_task

    def run(task: str, label: Tensor, source: Tensor | None = None, **options: Any) -> Tensor:
        given = None if source is None else source[0].permute(2, 0, 1)
        return get_task(task).encode(label, given, **options).permute(1, 2, 0)[None]

    return run


@pytest.fixture
def gemma(host: SimpleNamespace, tmp_path: Path) -> Path:
    """nano's text encoder as gemma.safetensors in a folder of text encoders, tmp_path; its own folder, with the
    tokenizer."""
    import folder_paths
    from safetensors.torch import save_file

    folder_paths.add_model_folder_path("text_encoders", str(tmp_path), is_default=True)
    bundled: Path = host.ours("comfyui_pixwizard.files.components").BUNDLED["nano"] / "text_encoder"
    read = host.ours("comfyui_pixwizard.files.safe_files").read_tensors
    features = {f"model.{name}": value for name, value in read(bundled / "model.safetensors").items()}
    save_file(features, tmp_path / "gemma.safetensors")
    return bundled


@pytest.fixture
def clip_l_config() -> dict[str, Any]:
    """Of CLIP-L's text tower, as the host has it."""
    import comfy.sd1_clip

    return json.loads((Path(comfy.sd1_clip.__file__).parent / "sd1_clip_config.json").read_text())
