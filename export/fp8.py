"""The velocity graph with eight-bit products, by NVIDIA's ModelOpt, which is imported when it is used.

Written against ModelOpt's documented interface and not run by this project's tests, which have no ModelOpt. What comes
out is judged as every engine is: by its velocity against the network's, before it is used (`engine_run.self_test`).
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..comfyui_pixwizard.optional import pip_install, required
from ..comfyui_pixwizard.transformer import PixWizardTransformer
from ..runtime.graph_inputs import velocity_example
from .onnx_graph import VELOCITY_INPUTS, VELOCITY_OUTPUTS, VelocityGraph, exportable, velocity_axes
from .onnx_model import OPSET

# Latents, in patches a side, and text tokens that the ranges of activations are measured on.
CALIBRATION = ((16, 16, 24), (32, 32, 64), (24, 40, 8))
# Kept in bfloat16: they are small, and errors there reach everything.
KEPT = ("*x_embedder*", "*t_embedder*", "*adaLN_modulation*", "*final_layer*")


def export_fp8(transformer: PixWizardTransformer, path: Path) -> Path:
    """Write the velocity graph with scales around its products; its other types are bfloat16.

    Raises:
        ValueError: ModelOpt is absent.
    """
    install = pip_install("nvidia-modelopt[hf]")
    quantization = required("modelopt.torch.quantization", "fp8 engines need ModelOpt", install)
    config, dtype = transformer.config, torch.bfloat16
    graph = VelocityGraph(exportable(transformer, dtype)).eval()
    p = config.patch_size

    def calibrate(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            for rows, columns, text in CALIBRATION:
                model(**velocity_example(config, 2, rows * p, columns * p, text, dtype))

    rules = dict(quantization.FP8_DEFAULT_CFG["quant_cfg"]) | {name: {"enable": False} for name in KEPT}
    wanted = dict(quantization.FP8_DEFAULT_CFG) | {"quant_cfg": rules}
    graph = quantization.quantize(graph, wanted, forward_loop=calibrate)
    example = velocity_example(config, 2, 6 * p, 8 * p, 7, dtype)
    # ModelOpt's scales are known to the older exporter only.
    axes = {name: list(free) for name, free in velocity_axes(config).items() if free}
    torch.onnx.export(
        graph,
        tuple(example[name] for name in VELOCITY_INPUTS),
        str(path),
        input_names=list(VELOCITY_INPUTS),
        output_names=list(VELOCITY_OUTPUTS),
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    return path
