"""The arrow of imports and what a reader may rely on about files: rooms, circles, names, sizes."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What each room may import, itself always; the first is the lowest.
ROOMS = {
    "comfyui_pixwizard": set(),
    "runtime": {"comfyui_pixwizard"},
    "export": {"comfyui_pixwizard", "runtime"},
    "training": {"comfyui_pixwizard", "runtime"},
    "bench": {"comfyui_pixwizard", "runtime", "export", "training"},
    "nodes": {"comfyui_pixwizard", "runtime", "export", "training"},
    "cli": {"comfyui_pixwizard", "runtime", "export", "training", "bench"},
}
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module of the tree) of every import, late ones and relative names in strings included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base += tuple((node.module or "").split(".")) if node.module else ()
            for alias in node.names:
                full = ".".join((*base, alias.name))
                yield node.lineno, full if full in MODULES else ".".join(base)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in names:
                if name.partition(".")[0] == "pixwizard":
                    yield node.lineno, name.removeprefix("pixwizard.")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, name) for name in _named(package, node.value))
        elif isinstance(node, ast.JoinedStr) and isinstance(first := next(iter(node.values), None), ast.Constant):
            # f"..training.{module}" names the package that it begins with.
            yield from ((node.lineno, name) for name in _named(package, str(first.value).rstrip(".")))


def _named(package: tuple[str, ...], text: str) -> Iterator[str]:
    """The module that a string names, relatively or with the project's name before it."""
    level = len(text) - len(text.lstrip("."))
    if level and len(package) >= level:
        name = ".".join((*package[: len(package) - level + 1], text[level:])).rstrip(".")
    else:
        name = text.removeprefix("pixwizard.") if text.startswith("pixwizard.") else ""
    if name in MODULES and text[level:]:
        yield name


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
EDGES = {path: list(imports(path, TREES[path])) for path in FILES}


def test_every_import_goes_down_the_arrow() -> None:
    against = []
    for path, found in EDGES.items():
        room = path.relative_to(ROOT).parts[0]
        for line, module in found:
            target = module.partition(".")[0]
            if target in ROOMS and target != room and target not in ROOMS[room]:
                against.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not against, "\n".join(against)


def test_only_the_nodes_know_the_host() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "nodes":
            continue
        for node in ast.walk(TREES[path]):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.partition(".")[0] in ("comfy", "comfy_api", "folder_paths") for name in names), path


def test_no_circles() -> None:
    """Of modules, late imports and imports for types included; a package stands for what its __init__ imports."""
    graph = {
        module_of(path): {m for _, m in found if m in MODULES} - {module_of(path)} for path, found in EDGES.items()
    }
    state: dict[str, int] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        if state.get(module) == 1:
            raise AssertionError(" -> ".join((*way[way.index(module) :], module)))
        if module not in state:
            state[module] = 1
            for other in sorted(graph[module]):
                visit(other, (*way, module))
            state[module] = 2

    for module in graph:
        visit(module, ())


def test_a_base_name_says_which_file() -> None:
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for path in FILES:
        if path.name != "__init__.py":
            rooms[path.relative_to(ROOT).parts[0]][path.stem] += 1
    within = [(room, name) for room, names in rooms.items() for name, n in names.items() if n > 1]
    assert not within
    over = Counter(name for names in rooms.values() for name in names)
    assert sum(n > 1 for n in over.values()) <= 3, over.most_common(5)


def test_modules_are_loaded_by_name_only_by_the_table_of_commands() -> None:
    """Elsewhere import_module finds optional packages of others, or siblings; see `cli.main.COMMANDS`."""
    allowed = {"cli/main.py", "comfyui_pixwizard/__init__.py", "runtime/evaluators.py"}
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if name in allowed:
            continue
        for node in ast.walk(TREES[path]):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
            ):
                assert len(node.args) == 1, f"{name}:{node.lineno} imports a module of the project by name"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_under_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


GUIDES = ("docs/architecture.md", "docs/benchmarks.md", "CONTRIBUTING.md", "README.md")


def guide_names(guide: str) -> tuple[set[str], set[str]]:
    """(paths, links) of a page: paths of the tree in backticks, maybe with `:name` of something in the file."""
    text = (ROOT / guide).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|[Nn]ew file `[^`]+`", "", text, flags=re.DOTALL)
    quoted = set(re.findall(r"`([^`\s]+)`", prose))
    tops = {path.name for path in ROOT.iterdir()} - {"runs", "demo", "build"}  # what commands write
    paths = {name for name in quoted if "*" not in name and re.split("[/:]", name)[0] in tops}
    links = {link for link in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", text) if "://" not in link}
    return paths, links


def defined_in(path: Path) -> set[str]:
    """Names at the top of a module."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_name_what_exists(guide: str) -> None:
    paths, links = guide_names(guide)
    assert paths and links
    missing = [link for link in links if not (ROOT / guide).parent.joinpath(link).exists()]
    for name in paths:
        path, _, inside = name.partition(":")
        if not (ROOT / path).exists() or (inside and inside not in defined_in(ROOT / path)):
            missing.append(name)
    assert not missing, f"{guide} names what does not exist: {sorted(missing)}"


def test_the_guide_has_the_arrow() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`(\w+)/`", line) for line in text.splitlines() if re.match(r"\| `\w+/` \|", line)]
    assert {row[0]: set(row[1:]) for row in rows} == ROOMS
