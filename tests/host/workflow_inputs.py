"""What a node class of the host declares: inputs, widgets and outputs, in the order in which workflows store them."""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def _inputs(node_class: Any) -> dict[str, Any]:
    found = node_class.INPUT_TYPES()
    return found.get("required", {}) | found.get("optional", {})


def declared(node_class: Any) -> list[tuple[str, str, bool]]:
    """Inputs in order: name, type, whether the page shows a widget for it."""
    entries = []
    for key, spec in _inputs(node_class).items():
        type_name = "COMBO" if isinstance(spec[0], list) else spec[0]
        options = spec[1] if len(spec) > 1 else {}
        entries.append((key, type_name, type_name in WIDGETS and not options.get("forceInput")))
    return entries


def default_of(node_class: Any, key: str) -> Any:
    """What a widget shows when nobody has set it."""
    spec = _inputs(node_class)[key]
    choices = spec[0] if isinstance(spec[0], list) else spec[1].get("options")
    return spec[1].get("default", choices[0] if choices else None) if len(spec) > 1 else choices[0]


def controls(node_class: Any, key: str) -> bool:
    """Whether the page adds "control after generate" behind a widget."""
    spec = _inputs(node_class)[key]
    return len(spec) > 1 and bool(spec[1].get("control_after_generate"))


def outputs_of(node_class: Any) -> list[tuple[str, str]]:
    """Outputs: shown name and type."""
    types = node_class.RETURN_TYPES
    names = getattr(node_class, "RETURN_NAMES", None) or types
    return [(str(name), str(kind)) for name, kind in zip(names, types, strict=True)]


def multiline(node_class: Any, key: str) -> bool:
    """Whether the page shows a box of several lines."""
    spec = _inputs(node_class)[key]
    return len(spec) > 1 and bool(spec[1].get("multiline"))
