"""Both parts of the network as ONNX files, opset 20, the weights beside them under their own names.

Every parameter that a graph uses is an initialiser of the name that it has in the network's state; what exporters fold
into it (transposes, the tanh of a gate) stays a node, so that the weights of a file can be exchanged.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..comfyui_pixwizard.optional import pip_install, required
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..comfyui_pixwizard.version import VERSION
from ..runtime.exported import CONDITIONS_FILE, VELOCITY_FILE
from ..runtime.graph_inputs import velocity_example
from ..runtime.identity import GRAPH_VERSION, config_text, weights_hash
from .onnx_graph import (
    CONDITION_OUTPUTS,
    VELOCITY_OUTPUTS,
    Adapt,
    ConditionsGraph,
    VelocityGraph,
    conditions_axes,
    conditions_example,
    exportable,
    plainly,
    velocity_axes,
)

OPSET = 20
# Modules and what brings them.
PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript", "onnx_ir": "onnx-ir", "onnxruntime": "onnxruntime"}
PREFIX = "transformer."


def require_onnx() -> None:
    """Say how to get what exporting needs.

    Raises:
        ValueError: a package is missing.
    """
    for module, package in PACKAGES.items():
        required(module, f"exporting to ONNX needs {package}", pip_install(*PACKAGES.values()))


def metadata(transformer: PixWizardTransformer, precision: str) -> dict[str, str]:
    """What an exported file says about itself."""
    return {
        "pixwizard.config": config_text(transformer),
        "pixwizard.weights": weights_hash(transformer),
        "pixwizard.precision": precision,
        "pixwizard.opset": str(OPSET),
        "pixwizard.graph": str(GRAPH_VERSION),
        "pixwizard.version": VERSION,
    }


def export_velocity(
    transformer: PixWizardTransformer,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    name: str = VELOCITY_FILE,
    adapt: Adapt = plainly,
) -> Path:
    """Write what a step computes; see `onnx_graph.VelocityGraph` for inputs and output.

    Args:
        dtype: of weights and of the inputs that have the weights' type.
        name: of the file; the weights are beside it, with .data after the name.
        adapt: makes blocks what the engine likes best.

    Raises:
        ValueError: a package is missing.
    """
    config = transformer.config
    example = velocity_example(config, 2, 6 * config.patch_size, 8 * config.patch_size, 7, dtype)
    graph = VelocityGraph(exportable(transformer, dtype, adapt)).eval()
    said = metadata(transformer, str(dtype).removeprefix("torch."))
    return _write(graph, example, velocity_axes(config), VELOCITY_OUTPUTS, folder / name, said)


def export_conditions(
    transformer: PixWizardTransformer, folder: Path, dtype: torch.dtype = torch.float32, name: str = CONDITIONS_FILE
) -> Path:
    """Write what no step changes; see `onnx_graph.ConditionsGraph`. Arguments as of `export_velocity`."""
    config = transformer.config
    example = conditions_example(config, 2, 7, config.sample_tokens + 5, dtype)
    graph = ConditionsGraph(exportable(transformer, dtype)).eval()
    said = metadata(transformer, str(dtype).removeprefix("torch."))
    return _write(graph, example, conditions_axes(config), CONDITION_OUTPUTS, folder / name, said)


def _write(
    graph: nn.Module,
    example: Mapping[str, Tensor],
    axes: Mapping[str, Any],
    outputs: tuple[str, ...],
    path: Path,
    said: Mapping[str, str],
) -> Path:
    require_onnx()
    import onnx_ir

    with warnings.catch_warnings(), torch.no_grad():
        # About axes that share a name, and about the exporter's own use of torch; nothing that a user could act on.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (),
            kwargs=dict(example),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dict(axes),
            input_names=list(example),
            output_names=list(outputs),
            optimize=False,
            verbose=False,
        )
        assert program is not None, "the exporter returns a program unless it raises"
        model = program.model
        parameters = {PREFIX + key for key, _ in graph.get_submodule("transformer").named_parameters()}
        _simplify(model, parameters)
    for key in parameters & set(model.graph.initializers):
        model.graph.initializers[key].name = key.removeprefix(PREFIX)
    model.metadata_props.clear()
    model.metadata_props.update(said)
    model.producer_name, model.producer_version = "pixwizard", VERSION
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx_ir.save(model, path, external_data=path.name + ".data")
    return path


def _simplify(model: Any, parameters: set[str]) -> None:
    """What the exporter's own optimiser does, but for folding parameters, and for merging those of equal values."""
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants, inline
    from onnxscript.rewriter import rewrite

    inline(model)
    for _ in range(2):
        fold_constants(
            model,
            onnx_shape_inference=True,
            should_fold=lambda node: False if any(v and v.name in parameters for v in node.inputs) else None,
        )
        rewrite(model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
        # The exporter writes where in the source every node comes from, with the paths of this machine.
        common.ClearMetadataAndDocStringPass(),
    )(model)
