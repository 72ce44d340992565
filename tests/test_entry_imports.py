"""What ComfyUI imports when it loads the extension needs nothing that ComfyUI and requirements.txt do not bring."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

NODES = Path(__file__).resolve().parents[1] / "nodes"
# Each is imported by some use of this project, and none by loading the extension.
OPTIONAL = (
    "cv2",
    "diffusers",
    "matplotlib",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "polygraphy",
    "pyarrow",
    "pydantic",
    "ray",
    "skimage",
    "tensorboard",
    "tensorrt",
    "tensorrt_rtx_bindings",
)
WITHOUT_THEM = """
import json, sys
absent, wanted = json.loads(sys.argv[1])
for name in absent:
    sys.modules[name] = None
for name in absent:
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} is still there")
for module, names in wanted:
    __import__(module, fromlist=names)
print(json.dumps(sorted(name for name in sys.modules if name.startswith("pixwizard."))))
"""


def imports_when_loaded() -> list[tuple[int, str, list[str]]]:
    """Imports at the top of every module of nodes/: how many packages up, module, names."""
    found = []
    for path in sorted(NODES.glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ImportFrom):
                found.append((statement.level, statement.module or "", [alias.name for alias in statement.names]))
            elif isinstance(statement, ast.Import):
                found += [(0, alias.name, []) for alias in statement.names]
    return found


def test_nodes_import_no_optional_package_themselves() -> None:
    tops = {module.partition(".")[0] for level, module, _ in imports_when_loaded() if level == 0}
    assert "torch" in tops and not tops & set(OPTIONAL)


def test_what_nodes_import_loads_without_any_optional_package() -> None:
    wanted = [(f"pixwizard.{module}", names) for level, module, names in imports_when_loaded() if level == 2]
    command = [sys.executable, "-c", WITHOUT_THEM, json.dumps([OPTIONAL, wanted])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert {module for module, _ in wanted} <= set(loaded)
