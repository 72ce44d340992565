"""What must hold of nodes and links in the page's form, and of the pictures that a graph shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

ADVICE = "run make workflows to write it again"


def stored(text: Any) -> str:
    return json.dumps(text, indent=1, ensure_ascii=False) + "\n"


def pictures(executor: Any, number: str) -> list[Image.Image]:
    """What a preview node showed."""
    import folder_paths

    shown = executor.history_result["outputs"][number]["images"]
    folders = [Path(folder_paths.get_directory_by_type(entry["type"])) for entry in shown]
    return [Image.open(f / entry["subfolder"] / entry["filename"]) for f, entry in zip(folders, shown, strict=True)]


def psnr(shown: Image.Image, expected: Tensor) -> float:
    truth = (expected.clamp(0, 1) * 255).numpy()
    error = np.square(np.asarray(shown, dtype=np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / error))


def check_links(
    nodes: list[dict[str, Any]], links: list[list[Any]], ends: dict[int, tuple[Any, Any]] | None = None
) -> None:
    """Every link has an output and an input of one type, both of which know it, and no slot knows another link.

    Args:
        ends: inputs and outputs of what is no node, by its id: those of the blueprint around.
    """
    slots = {node["id"]: (node["inputs"], node["outputs"]) for node in nodes} | (ends or {})
    known = [slot["link"] for node in nodes for slot in node["inputs"] if slot["link"] is not None]
    known_out = [link for node in nodes for slot in node["outputs"] for link in slot["links"] or ()]
    assert len(set(known)) == len(known) and len(set(known_out)) == len(known_out)
    for number, origin, out, target, into, kind in links:
        source, sink = slots[origin][1][out], slots[target][0][into]
        assert source["type"] == kind and (kind == sink["type"] or "*" in (kind, sink["type"])), (number, kind, sink)
        assert number in (source.get("links") or source.get("linkIds"))
        assert number == sink.get("link") or number in sink.get("linkIds", ())
    numbers = {link[0] for link in links}
    assert set(known) <= numbers and set(known_out) <= numbers


def check_places(nodes: list[dict[str, Any]]) -> list[tuple[float, float, float, float]]:
    """No node lies on another; answers left, top, right, bottom of each with its title, which stands above it."""
    boxes = [(*node["pos"], *node["size"]) for node in nodes]
    boxes = [(x, y - 30, x + width, y + height) for x, y, width, height in boxes]
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (one, other)
    return boxes
