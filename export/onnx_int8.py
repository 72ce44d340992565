"""Dynamic int8 products for CPUs: weights quantised once per output channel, activations at every run.

Attention's own products, the modulations, the embeddings and the last layer keep float32: they are a small part of the
time and a large one of the error. What is written are plain ONNX operators (DynamicQuantizeLinear, MatMulInteger);
ONNX Runtime fuses them.

Shapes: K inputs and N outputs of a product.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

# Products over all tokens in every block.
QUANTISED = re.compile(r"layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w[123])\.weight")
# Of these the inputs differ most from token to token.
BY_TOKEN = re.compile(r".*\.feed_forward\.w2\.weight")
# Seven bits: processors without VNNI add pairs of products in 16 bits, which eight would overflow.
LARGEST = 63


def quantise_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [K, N] to int8 [K, N] and the scale of every column, float32 [N]."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny * LARGEST) / np.float32(LARGEST)
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def quantise(source: Path, target: Path) -> int:
    """Write a graph with its large products in int8; returns how many there are.

    Args:
        source: a float32 graph that `onnx_model` wrote.
        target: the file to write, with .data beside it.
    """
    model = ir.load(source)
    graph = model.graph
    shared: dict[ir.Value, Quantised] = {}
    products = [node for node in graph if node.op_type == "MatMul" and _weight_of(node) is not None]
    for node in products:
        x, weight = node.inputs[0], _weight_of(node)
        assert x is not None and weight is not None, "checked above"
        if x not in shared:
            shared[x] = _quantised(graph, node, x, bool(BY_TOKEN.fullmatch(weight.name or "")))
        _replace(graph, node, weight, shared[x])
    model.metadata_props["pixwizard.precision"] = "int8"
    _drop_unused(graph)
    ir.save(model, target, external_data=target.name + ".data")
    return len(products)


class Quantised(NamedTuple):
    """Activations as integers, with scale and zero point of all of them, and each token's own factor where it has one.

    A token whose values are far larger than others' would leave those a few steps of the scale.
    """

    whole: ir.Value
    scale: ir.Value
    zero: ir.Value
    factor: ir.Value | None


def _quantised(graph: ir.Graph, before: ir.Node, x: ir.Value, by_token: bool) -> Quantised:
    made: list[ir.Node] = []

    def add(kind: str, inputs: list[ir.Value], end: str, **attributes: int) -> ir.Value:
        made.append(ir.node(kind, inputs, attributes))
        made[-1].outputs[0].name = f"{x.name}_{end}"
        return made[-1].outputs[0]

    factor, scaled = None, x
    if by_token:
        last = _initialiser(graph, str(x.name), np.array([-1], np.int64), "axis")
        least = _initialiser(graph, str(x.name), np.array(1e-20, np.float32), "least")
        largest = add("ReduceMax", [add("Abs", [x], "abs"), last], "largest", keepdims=1)
        factor = add("Max", [largest, least], "factor")
        scaled = add("Div", [x, factor], "scaled")
    made.append(ir.node("DynamicQuantizeLinear", [scaled], num_outputs=3))
    for value, end in zip(made[-1].outputs, ("quantised", "scale", "zero"), strict=True):
        value.name = f"{x.name}_{end}"
    graph.insert_before(before, made)
    whole, scale, zero = made[-1].outputs
    return Quantised(whole, scale, zero, factor)


def _weight_of(node: ir.Node) -> ir.Value | None:
    """The parameter that a product multiplies by, where it is one to quantise."""
    turned = node.inputs[1]
    before = turned.producer() if turned is not None else None
    if before is None or before.op_type != "Transpose":
        return None
    weight = before.inputs[0]
    return weight if weight is not None and QUANTISED.fullmatch(weight.name or "") else None


def _replace(graph: ir.Graph, node: ir.Node, weight: ir.Value, x: Quantised) -> None:
    """A product as integers, and back by all scales."""
    assert weight.const_value is not None and weight.name is not None, "parameters have values"
    values, scale = quantise_weight(np.ascontiguousarray(weight.const_value.numpy().T))
    name = weight.name
    kept = [
        _initialiser(graph, name, values, "int8"),
        _initialiser(graph, name, scale, "scale"),
        _initialiser(graph, name, np.zeros(len(scale), np.int8), "zero"),
    ]
    whole = ir.node("MatMulInteger", [x.whole, kept[0], x.zero, kept[2]])
    real = ir.node("Cast", [whole.outputs[0]], {"to": ir.DataType.FLOAT})
    both = ir.node("Mul", [x.scale, kept[1]])
    out = ir.node("Mul", [real.outputs[0], both.outputs[0]])
    steps = {"whole": whole, "real": real, "scales": both, "out": out}
    if x.factor is not None:
        out = ir.node("Mul", [out.outputs[0], x.factor])
        steps["product"] = out
    for end, made in steps.items():
        made.outputs[0].name = f"{name}_{end}"
    graph.insert_before(node, list(steps.values()))
    ir.convenience.replace_all_uses_with(node.outputs[0], out.outputs[0])
    graph.remove(node, safe=True)


def _initialiser(graph: ir.Graph, name: str, values: np.ndarray, end: str) -> ir.Value:
    value = ir.Value(name=f"{name}_{end}", const_value=ir.tensor(values, name=f"{name}_{end}"))
    value.shape, value.dtype = ir.Shape(values.shape), ir.DataType.from_numpy(values.dtype)
    graph.initializers[f"{name}_{end}"] = value
    return value


def _drop_unused(graph: ir.Graph) -> None:
    """The transposes and float32 weights that no product reads any more."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
