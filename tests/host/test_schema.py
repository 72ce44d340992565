"""What saved workflows rely on: every node's inputs, types, order and defaults.

Workflows hold values of widgets by position and links by name. To accept a change on purpose run
`UPDATE_SCHEMA=1 make test-host`, after reading the advice below.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

STORED = Path(__file__).with_name("schema.json")
ADVICE = (
    "append inputs at the end and give them defaults, append outputs, add choices; do not reorder, rename, retype or "
    "drop anything that shipped: make a node with a new id for that"
)


def described(node_class: Any) -> dict[str, Any]:
    """A node as saved workflows see it; choices that depend on the machine's files are left out."""
    schema = node_class.GET_SCHEMA()
    inputs = []
    for item in schema.inputs:
        entry = {"id": item.id, "type": item.get_io_type(), "optional": item.optional, "tooltip": item.tooltip}
        for name in ("default", "min", "max", "step"):
            if getattr(item, name, None) is not None:
                entry[name] = getattr(item, name)
        if schema.node_id not in {"PixWizardLoad", "PixWizardLoadTask", "PixWizardLoadTextEncoders"} and getattr(
            item, "options", None
        ):
            entry["options"] = list(item.options)
        inputs.append(entry)
    outputs = [
        {"name": item.display_name, "type": item.get_io_type(), "tooltip": item.tooltip} for item in schema.outputs
    ]
    about = {"display_name": schema.display_name, "category": schema.category, "description": schema.description}
    if schema.is_output_node:
        about["output_node"] = True
    return about | {"inputs": inputs, "outputs": outputs}


def current(host: SimpleNamespace) -> dict[str, Any]:
    return {node.GET_SCHEMA().node_id: described(node) for node in host.ours("nodes.extension").NODES}


def test_nodes_are_what_saved_workflows_expect(host: SimpleNamespace) -> None:
    found = current(host)
    if os.environ.get("UPDATE_SCHEMA"):
        STORED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(STORED.read_text()), ADVICE


def test_everything_is_explained(host: SimpleNamespace) -> None:
    for node_id, node in current(host).items():
        assert node_id.startswith("PixWizard") and node["display_name"] and node["description"]
        for item in (*node["inputs"], *node["outputs"]):
            assert item["tooltip"] and item["tooltip"][-1] in ".…", (node_id, item)
