"""Reliability, counted: memory over many prompts, interruption at any moment, small memories, two hosts at once.

`SOAK=300 INTERRUPTIONS=50 make test-host HOST_TESTS=tests/host/test_endurance.py` counts what docs/reliability.md says.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXTENSION, HOST
from fresh import FreshHost
from PIL import Image
from workflows_more import READERS_BRING

SOAK = int(os.environ.get("SOAK", "24"))
INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS", "6"))
FOLDER = Path(__file__).parent


def graph(name: str, **inputs: Any) -> dict[str, Any]:
    """An example workflow with some inputs of all nodes replaced."""
    found: dict[str, Any] = json.loads((FOLDER / "api" / f"{name}.json").read_text())
    for entry in found.values():
        entry["inputs"] |= {key: value for key, value in inputs.items() if key in entry["inputs"]}
    return found


def pictures(server: FreshHost, done: dict[str, Any], nodes: Sequence[str] = ()) -> dict[str, np.ndarray[Any, Any]]:
    """What nodes show after a prompt, all of them by default: the first picture of each."""
    assert done["status"]["status_str"] == "success", done["status"]
    shown = {number: found["images"][0] for number, found in done["outputs"].items() if found.get("images")}
    assert shown and set(nodes) <= set(shown)
    return {n: np.asarray(Image.open(io.BytesIO(server.picture(shown[n])))) for n in nodes or shown}


def far(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """How far what two prompts show is apart: the largest mean difference of a picture, in levels of 255."""
    # Of what comes from its cache the host shows a part.
    both = found.keys() & expected.keys()
    assert both, (set(found), set(expected))
    return max(float(np.abs(found[n].astype(int) - expected[n]).mean()) for n in both)


def started(place: Path, more: Sequence[str] = (), **how: Any) -> FreshHost:
    made = FreshHost(Path(HOST), EXTENSION, place, more, **how)
    try:
        made.wait()
    except AssertionError:
        made.close()
        raise
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshHost]:
    made = started(tmp_path_factory.mktemp("endurance"))
    yield made
    made.close()


def test_interrupted_at_any_moment_the_next_prompt_is_right(
    server: FreshHost, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(INTERRUPTIONS)
    checks = [graph("Select by words (mask)", seed=seed) for seed in (3, 4)]
    expected = [pictures(server, server.run(check)) for check in checks]
    for seed in (1000, 1001):  # the second says how long it takes once all is loaded
        seconds = time.monotonic()
        whole = server.run(graph("Restore a picture", points=9, seed=seed))
        seconds = time.monotonic() - seconds
        assert whole["status"]["status_str"] == "success"
    broken = 0
    for i in range(INTERRUPTIONS):
        # Everything but the model is new in each, so that a moment may lie in any node.
        number = server.queue(graph("Restore a picture", points=9, seed=2000 + i))
        time.sleep(draw.uniform(0, seconds))
        server.post("interrupt", {})
        ended = server.ended(number)["status"]
        said = [event for event, _ in ended["messages"]]
        assert "execution_error" not in said, ended
        broken += "execution_interrupted" in said
        after = pictures(server, server.run(checks[i % 2]))
        assert far(after, expected[i % 2]) == 0, i
    with capsys.disabled():
        print(f"\n{INTERRUPTIONS} interruptions, {broken} of them before the end: the next prompt was right after each")
    assert broken > INTERRUPTIONS // 2


def test_memory_stays_where_it_was(server: FreshHost, capsys: pytest.CaptureFixture[str]) -> None:
    known = set(server.get("object_info"))
    names = [path.stem for path in sorted((FOLDER / "api").glob("*.json")) if path.stem not in READERS_BRING]
    names = [name for name in names if {entry["class_type"] for entry in graph(name).values()} <= known]
    held, began = [], time.monotonic()
    for i in range(SOAK):
        # 2^16 seeds, as scenes take a few of them only.
        done = server.run(graph(names[i % len(names)], seed=i // len(names) + 5), seconds=600)
        assert done["status"]["status_str"] == "success", (names[i % len(names)], done["status"])
        server.post("history", {"clear": True})
        held.append(server.resident())
    # Means over all workflows, since each holds another amount.
    rounds = [statistics.mean(held[at : at + len(names)]) for at in range(0, SOAK - len(names) + 1, len(names))]
    with capsys.disabled():
        minutes = (time.monotonic() - began) / 60
        print(f"\n{SOAK} prompts of {len(names)} workflows in {minutes:.1f} minutes; MiB resident, a round of all:")
        print(" ".join(f"{mean:.0f}" for mean in rounds))
    settled = [mean for number, mean in enumerate(rounds) if (number + 1) * len(names) > 50]
    if len(settled) < 3:
        pytest.skip(f"{SOAK} prompts are too few to see memory grow: SOAK=300")
    assert max(settled[-2:]) <= 1.02 * settled[0], rounds


@pytest.mark.parametrize("way", ["--cache-none", "--cache-lru 3", "--cache-ram 1", "--force-fp16"])
def test_other_ways_to_run_the_host_give_the_same_answer(way: str, server: FreshHost, tmp_path: Path) -> None:
    """Twice each, and then a second MODEL of the same file in another precision beside the first."""
    checks = [graph("Select by words (mask)", seed=seed) for seed in (8, 9)]
    expected = [pictures(server, server.run(check)) for check in checks]
    other = started(tmp_path, way.split())
    try:
        # In turns, so that some of it is computed twice.
        for i in (0, 1, 0):
            # fp16 rounds otherwise than float32 does.
            assert far(pictures(other, other.run(checks[i])), expected[i]) <= (2.0 if "fp16" in way else 0.0)
        check = checks[1]
        both = copy.deepcopy(check)
        numbers = {entry["class_type"]: number for number, entry in both.items()}
        load, sampler = numbers["PixWizardLoad"], numbers["PixWizardSampler"]
        both["fp8"] = {"class_type": "PixWizardLoad", "inputs": both[load]["inputs"] | {"weight_dtype": "fp8_e4m3fn"}}
        both["second"] = copy.deepcopy(both[sampler])
        both["second"]["inputs"]["model"] = ["fp8", 0]
        both["picture"] = {"class_type": "VAEDecode", "inputs": {"samples": ["second", 0], "vae": [load, 3]}}
        both["plain"] = {"class_type": "PreviewImage", "inputs": {"images": [numbers["VAEDecode"], 0]}}
        both["rounded"] = {"class_type": "PreviewImage", "inputs": {"images": ["picture", 0]}}
        shown = pictures(other, other.run(both), ["plain", "rounded"])
        error = np.abs(shown["plain"].astype(int) - shown["rounded"]).mean()
        assert 0 < error < 12, error
    finally:
        other.close()


def test_two_hosts_share_models_and_engines(tmp_path: Path) -> None:
    """Both export the same graph at the same time; one export serves both, and both answer alike."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = started(tmp_path / "a", whole=True)
    try:
        second = started(tmp_path / "b", whole=True, beside=first)
    except AssertionError:
        first.close()
        raise
    try:
        fast = graph("Run faster", backend="onnxruntime")
        numbers = [(one, one.queue(fast)) for one in (first, second)]
        done = [one.ended(number, 600) for one, number in numbers]
        shown = [pictures(one, end) for (one, _), end in zip(numbers, done, strict=True)]
        told = [str(end["outputs"]) for end in done]
        assert all("ONNX Runtime" in words and "runs as it is" not in words for words in told), told
        # One network of the same graph; the order of its sums depends on the threads.
        assert far(*shown) < 1.0
        folder = first.base / "models" / "tensorrt" / "pixwizard"
        kept = sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
        assert len(kept) == 1 and kept[0].startswith("onnx-"), kept
    finally:
        for one in (first, second):
            one.close()
