"""Checkpoints: whole or not at all, the last few, of this run and this model only, and nothing in them is executed."""

import json
import pickle

import pytest
import torch

from pixwizard.training.loop.checkpoints import STATE, Checkpoints, newest, read
from pixwizard.training.loop.parallel import World


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, World(), keep=2)


def some(value=0.0):
    return {"model.w": torch.full((3, 4), value), "optimizer.w.step": torch.tensor(value)}


def test_what_is_saved_is_what_was_there_when_save_was_called(checkpoints):
    tensors = some(1.0)
    checkpoints.save(7, tensors, {"seconds": 1.5})
    tensors["model.w"].zero_()
    checkpoints.finish()
    found, state = read(checkpoints.latest())
    assert torch.equal(found["model.w"], torch.ones(3, 4)) and state["step"] == 7 and state["seconds"] == 1.5
    into = some(9.0)
    assert checkpoints.load(checkpoints.latest(), into)["step"] == 7
    assert torch.equal(into["model.w"], torch.ones(3, 4))


def test_the_last_few_are_kept_and_the_marker_names_the_newest(checkpoints, tmp_path):
    for step in (1, 2, 3, 3):
        checkpoints.save(step, some(float(step)), {})
    checkpoints.finish()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "latest",
        "step-00000002",
        "step-00000003",
    ]
    assert newest(tmp_path).name == "step-00000003"
    (tmp_path / "checkpoints" / "latest").unlink()
    assert newest(tmp_path).name == "step-00000003"


def test_what_a_kill_left_is_neither_read_nor_kept(checkpoints, tmp_path):
    checkpoints.save(1, some(), {})
    checkpoints.finish()
    half = tmp_path / "checkpoints" / ".step-00000002.tmp"
    half.mkdir()
    (half / STATE).write_text("{}")
    assert newest(tmp_path).name == "step-00000001"
    Checkpoints(tmp_path, World())
    assert not half.exists() and newest(tmp_path).name == "step-00000001"


def test_a_failed_write_is_told_and_leaves_the_one_before(checkpoints, tmp_path, monkeypatch):
    checkpoints.save(1, some(), {})
    checkpoints.finish()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.distributed.checkpoint.FileSystemWriter, "write_data", full)
    checkpoints.save(2, some(), {})
    with pytest.raises(ValueError, match=r"could not be written: .*No space left.*step-00000001 is the last good"):
        checkpoints.finish()
    assert newest(tmp_path).name == "step-00000001"


@pytest.mark.parametrize("damage", ["half", "empty", "no index", "noise"])
def test_a_damaged_checkpoint_is_one_clear_line(checkpoints, damage):
    checkpoints.save(1, some(), {})
    checkpoints.finish()
    path = checkpoints.latest()
    (data,) = path.glob("*.distcp")
    if damage == "no index":
        (path / ".metadata").unlink()
    elif damage == "noise":
        (path / ".metadata").write_bytes(b"not an index")
    else:
        data.write_bytes(data.read_bytes()[:20] if damage == "half" else b"")
    with pytest.raises(ValueError, match="continues from a whole checkpoint of the same model") as caught:
        checkpoints.load(path, some())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [{"model.w": torch.zeros(3, 5)}, {"model.v": torch.zeros(3, 4)}])
def test_a_checkpoint_of_another_model_is_refused(checkpoints, other):
    checkpoints.save(1, some(), {})
    checkpoints.finish()
    with pytest.raises(ValueError, match=r"same model.*of another model"):
        checkpoints.load(checkpoints.latest(), some() | other)


def test_a_checkpoint_of_another_run_is_refused(checkpoints, tmp_path):
    checkpoints.save(1, some(), {})
    checkpoints.finish()
    state = json.loads((checkpoints.latest() / STATE).read_text())
    (checkpoints.latest() / STATE).write_text(json.dumps(state | {"run": "another"}))
    with pytest.raises(ValueError, match="of another run"):
        checkpoints.load(checkpoints.latest(), some())


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


def test_nothing_in_an_index_is_executed(checkpoints, tmp_path):
    checkpoints.save(1, some(), {})
    checkpoints.finish()
    (checkpoints.latest() / ".metadata").write_bytes(pickle.dumps(Hostile(tmp_path / "owned")))
    for attempt in (lambda: read(checkpoints.latest()), lambda: checkpoints.load(checkpoints.latest(), some())):
        with pytest.raises(ValueError, match=r"holds (_?io)\.open, which no checkpoint needs"):
            attempt()
    assert not (tmp_path / "owned").exists()
