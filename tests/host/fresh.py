"""A ComfyUI server as a newcomer has it: the host's requirements and ours, and nothing else that is installed here.

Whatever the environment of the tests holds beyond those is hidden from the server's process, so that no test of it can
pass by a package that a newcomer lacks.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The host imports it and leaves it to others to bring, which transformers 5 no longer does.
UNLISTED = [Requirement("requests")]
# Every virtual environment has these, and no code of a node imports them.
TOOLS = {"pip", "setuptools", "wheel"}
HIDE = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


def required(files: Iterable[Path]) -> list[Requirement]:
    """The requirements of some files, without comments and options."""
    lines = (line.partition("#")[0].strip() for file in files for line in file.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def closure(wanted: Iterable[Requirement]) -> tuple[set[str], list[str]]:
    """Names of all packages that some requirements bring, as they are installed here, and requirements that are not."""
    wanted, absent = list(wanted), []
    waiting = [(item, True) for item in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        item, direct = waiting.pop()
        key = canonicalize_name(item.name), frozenset(item.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            inside = metadata.distribution(item.name).requires or []
        except metadata.PackageNotFoundError:
            absent += [str(item)] if direct else []
            continue
        for dependency in map(Requirement, inside):
            extras = [*item.extras, ""]
            if dependency.marker is None or any(dependency.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((dependency, False))
    return {name for name, _ in seen}, sorted(absent)


def beyond(kept: set[str]) -> list[str]:
    """Modules that are installed here by none of some packages."""
    found = metadata.packages_distributions()
    return sorted(
        module for module, owners in found.items() if not {canonicalize_name(owner) for owner in owners} & kept
    )


class FreshHost:
    """The host's server with the extension.

    Args:
        host: the checkout.
        extension: this project's root.
        base: an empty folder for its models, inputs and outputs.
        more: further arguments of main.py.
        whole: hide nothing that is installed.
        beside: another one whose models folder, with its engines, this one shares.
    """

    def __init__(
        self, host: Path, extension: Path, base: Path, more: Sequence[str] = (), whole: bool = False,
        beside: FreshHost | None = None,
    ) -> None:  # fmt: skip
        self.base = base
        kept, absent = closure(UNLISTED + required([host / "requirements.txt", extension / "requirements.txt"]))
        assert not absent, f"the host's Python lacks {', '.join(absent)}: {sys.executable} -m pip install them"
        self.hidden = [] if whole else beyond(kept | TOOLS)
        if beside:
            (beside.base / "models").mkdir(exist_ok=True)
            (base / "models").symlink_to(beside.base / "models", target_is_directory=True)
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / "ComfyUI-PixWizard").symlink_to(extension, target_is_directory=True)
        (base / "hide").mkdir()
        (base / "hide" / "sitecustomize.py").write_text(HIDE.format(names=self.hidden))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = base / "log.txt"
        command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
                   "--base-directory", str(base), "--database-url", "sqlite:///:memory:",
                   "--disable-auto-launch", "--disable-api-nodes", *more]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(base / "hide")}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=host, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )

    def wait(self, seconds: float = 180.0) -> None:
        """Until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("queue")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
        raise AssertionError(f"the host did not start: {self.said()[-2000:]}")

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> Any:
        """What it answers to GET, read as JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=30) as answer:
            return json.load(answer)

    def picture(self, entry: dict[str, str]) -> bytes:
        """A file that a node showed."""
        query = "&".join(f"{name}={entry[name]}" for name in ("filename", "subfolder", "type"))
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/view?{query}", timeout=30) as answer:
            return answer.read()

    def run(self, graph: dict[str, Any], seconds: float = 180.0) -> dict[str, Any]:
        """Run an API graph to its end; answers its entry in the history."""
        return self.ended(self.queue(graph), seconds)

    def queue(self, graph: dict[str, Any]) -> str:
        """Send an API graph; answers the prompt's number."""
        try:
            # Without a client the host leaves out what its cache shows.
            return str(self.post("prompt", {"prompt": graph, "client_id": "tests"})["prompt_id"])
        except urllib.error.HTTPError as error:
            raise AssertionError(f"the graph was refused: {error.read().decode()}") from error

    def post(self, path: str, what: dict[str, Any]) -> Any:
        """What it answers to POST, read as JSON; None where it answers nothing."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", json.dumps(what).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def ended(self, number: str, seconds: float = 180.0) -> dict[str, Any]:
        """Wait for a prompt's end; answers its entry in the history."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.get(f"history/{number}")
            if number in found:
                return found[number]
            time.sleep(0.02)
        raise AssertionError(f"the graph did not end within {seconds:g} s: {self.said()[-2000:]}")

    def resident(self) -> float:
        """MiB that its process holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) / 1024
