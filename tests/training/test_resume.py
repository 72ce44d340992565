"""A run that is cut in pieces, by a kill or by another number of processes, is the run that was not cut."""

import signal
import time

import pytest
import torch
from tiny import finished, log, work

from pixwizard.training.loop.checkpoints import newest, read

STEPS, PIECE = 60, 20
# Analytically without effect (docs/mathematics.md section 15): their gradients are rounding, which Adam makes large.
DEAD = ("pad_token", "kii_norm.bias", "ky_norm.bias", "out_conv.4.bias")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    assert finished(work(folder, STEPS)).split() == ["fresh", "0", "finished", str(STEPS)]
    return folder


@pytest.fixture(scope="module")
def elastic(tmp_path_factory):
    """FSDP2 on two processes, then one process, then DDP on two."""
    folder = tmp_path_factory.mktemp("elastic")
    assert "fresh 0" in finished(work(folder, PIECE, "--mode", "fsdp", processes=2))
    assert f"resumed {PIECE}" in finished(work(folder, 2 * PIECE))
    assert f"resumed {2 * PIECE}" in finished(work(folder, STEPS, "--mode", "ddp", processes=2))
    return folder


def test_killed_after_thirty_steps_and_resumed_it_ends_at_the_same_bits(straight, tmp_path):
    victim = work(tmp_path, STEPS, "--slow", "0.02", "--save-minutes", "0.0")
    deadline = time.monotonic() + 200
    while (found := newest(tmp_path)) is None or int(found.name.removeprefix("step-")) < STEPS // 2:
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=30)
    done = int(newest(tmp_path).name.removeprefix("step-"))
    assert STEPS // 2 <= done < STEPS
    assert finished(work(tmp_path, STEPS)).split() == ["resumed", str(done), "finished", str(STEPS)]
    (wanted, state), (found, other) = (read(newest(folder)) for folder in (straight, tmp_path))
    assert state["data"] == other["data"] and wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert torch.equal(value, found[name]), name
    lines = [log(folder) for folder in (straight, tmp_path)]
    assert list(lines[0]) == list(lines[1]) == list(range(1, STEPS + 1))
    for step in lines[0]:
        for name in ("loss", "gradient", "t/2"):
            assert lines[0][step].get(name) == lines[1][step].get(name)


@pytest.mark.parametrize("piece", ["fsdp", "single", "ddp"])
def test_losses_do_not_depend_on_the_number_of_processes(straight, elastic, piece):
    first = ("fsdp", "single", "ddp").index(piece) * PIECE
    wanted, found = log(straight), log(elastic)
    for step in range(first + 1, first + PIECE + 1):
        assert found[step]["loss"] == pytest.approx(wanted[step]["loss"], abs=1e-6)
        assert found[step]["gradient"] == pytest.approx(wanted[step]["gradient"], rel=1e-5)
        assert found[step]["task/depth"] == pytest.approx(wanted[step]["task/depth"], abs=1e-5)


def test_two_processes_to_one_and_back_end_at_the_same_weights(straight, elastic):
    (wanted, state), (found, other) = (read(newest(folder)) for folder in (straight, elastic))
    assert state["data"] == other["data"] and wanted.keys() == found.keys()
    compared = 0
    for name, value in wanted.items():
        if name.partition(".")[0] in ("model", "average") and not name.endswith(DEAD):
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
            compared += 1
    assert compared > 100
