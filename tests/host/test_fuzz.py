"""Mistakes by the hundred: each ends in a right answer or in one line, and the next prompt always works.

`FUZZ=500 make test-host HOST_TESTS=tests/host/test_fuzz.py` is the whole count, which docs/reliability.md holds.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import FakeServer
from fuzz import BROUGHT, Cases, FuzzBring, bases

COUNT = int(os.environ.get("FUZZ", "40"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
FOLDER = Path(__file__).parent
# The host's own lines for what it refuses before it runs anything.
HOSTS_TYPES = {
    "required_input_missing", "bad_linked_input", "return_type_mismatch", "invalid_input_type",
    "value_smaller_than_min", "value_bigger_than_max", "value_not_in_list", "custom_validation_failed",
    # A link to an output that a node has not, which the page cannot draw.
    "exception_during_inner_validation",
}  # fmt: skip


class Desk:
    """A host that takes one prompt after the other, as its server does."""

    def __init__(self, host: SimpleNamespace) -> None:
        self.host = host
        execution = host.execution
        self.executor = execution.PromptExecutor(
            FakeServer(), cache_type=execution.CacheType.CLASSIC, cache_args={"lru": 0, "ram": 0}
        )

    def run(self, graph: dict[str, Any]) -> tuple[str, str]:
        """How a prompt ended: refused, failed or done, and the words; done: what is wrong with an output, if it is."""
        try:
            valid = self.host.loop.run_until_complete(self.host.execution.validate_prompt("fuzz", graph, None))
        except (KeyError, IndexError, TypeError) as error:
            # The host itself ends so for links to no node or no output, which its page cannot draw.
            return "refused", f"host: {error!r}"
        if not valid[0]:
            return "refused", self._refusal(valid)
        self.executor.execute(graph, "fuzz", {}, valid[2])
        for event, told in self.executor.status_messages:
            if event == "execution_error":
                return "failed", f"{told['node_type']}\t{told['exception_type']}\t{told['exception_message']}"
        assert self.executor.success
        return "done", self._wrong_outputs(graph)

    def _refusal(self, valid: Any) -> str:
        kinds = {error["type"] for node in valid[3].values() for error in node["errors"]}
        kinds |= {valid[1]["type"]} - {"prompt_outputs_failed_validation"}
        return ", ".join(sorted(kinds))

    def _wrong_outputs(self, graph: dict[str, Any]) -> str:
        wrong = []
        for number, entry in graph.items():
            kept = self.executor.caches.outputs.get(number) if entry["class_type"].startswith("PixWizard") else None
            for slot, values in enumerate(kept.outputs if kept else ()):
                wrong += [
                    f"{entry['class_type']}'s output {slot} holds values that are not finite"
                    for value in values
                    if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all()
                ]
        return "; ".join(wrong)


@pytest.fixture(scope="module")
def desk(host: SimpleNamespace) -> Desk:
    host.nodes.NODE_CLASS_MAPPINGS["FuzzBring"] = FuzzBring
    return Desk(host)


def verdict(ended: str, words: str) -> str:
    """What is wrong with how a case ended; nothing if it is right."""
    if ended == "done":
        return words
    if ended == "refused":
        return "" if words.startswith("host: ") or set(words.split(", ")) <= HOSTS_TYPES else words
    node, kind, message = words.split("\t", 2)
    message = message.strip()
    if not node.startswith("PixWizard"):
        # Nodes of the host fail in their own words; none of ours may have come between.
        return "" if node in HOSTS_NODES or kind.split(".")[-1] == "ValueError" else words
    if kind.split(".")[-1] not in ("ValueError", "OutOfMemoryError"):
        return words
    return "" if "\n" not in message and len(message) < 500 else f"{node}: not one line: {message}"


HOSTS_NODES = {"PreviewImage", "PreviewAny", "SaveImage", "MaskToImage", "PrimitiveInt", "PrimitiveFloat", "LoadImage"}


def test_mistakes_end_in_words_and_the_next_prompt_works(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    graphs = bases(set(desk.host.nodes.NODE_CLASS_MAPPINGS))
    cases = Cases(json.loads((FOLDER / "schema.json").read_text()), graphs)
    good = graphs["Select by words (mask)"]
    mask = next(number for number, entry in good.items() if entry["class_type"] == "PixWizardDecodeMask")

    def right() -> Any:
        assert desk.run(good) == ("done", "")
        return desk.executor.caches.outputs.get(mask).outputs[0][0].clone()

    first = right()
    ends: Counter[str] = Counter()
    wrong = []
    for number in range(FIRST, FIRST + COUNT):
        told, graph = cases.case(number)
        ended, words = desk.run(graph)
        ends[ended] += 1
        if fault := verdict(ended, words):
            wrong.append(f"{number} ({told}): {ended}: {fault[:600]}")
        if ended == "failed" or number % 10 == 0:
            assert torch.equal(right(), first), told
    with capsys.disabled():
        print(f"\n{COUNT} cases: {dict(ends)}; {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def test_every_node_with_inputs_is_reached(desk: Desk) -> None:
    schemas = json.loads((FOLDER / "schema.json").read_text())
    cases = Cases(schemas, bases(set(desk.host.nodes.NODE_CLASS_MAPPINGS)))
    reached = {cases.graphs[name][number]["class_type"] for name, number, _ in cases.places}
    # What the first two load, readers bring; Accelerate takes minutes and has tests of its own.
    absent = {"PixWizardLoadTextEncoders", "PixWizardLoadTask", "PixWizardAccelerate"}
    assert reached == {kind for kind, entry in schemas.items() if entry["inputs"]} - absent
    assert all(set(BROUGHT[kind]) for kind in BROUGHT)
