"""`pixwizard bench tasks`: what it counts, and what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pixwizard.cli.main import main


def test_the_bundled_model_finds_more_than_the_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.json"
    own.write_text(json.dumps([["denoise", "Take the noise out"], ["depth", "How far away is everything?"]]))
    told = tmp_path / "found.json"
    assert main(["bench", "tasks", "--each", "1", "--sentences", str(own), "--json", str(told)]) == 0
    rows = json.loads(told.read_text())["found"]
    assert len(rows) == 4 and rows["mine.json"]["n"] == 2
    unseen = rows["sentences that share no pattern with the templates"]
    assert unseen["predictor"] > 0.7 > unseen["guess"]
    assert rows["sentences about nothing, refused"]["predictor"] > 0.6
    assert len(unseen["mistakes"]) == round((1 - unseen["predictor"]) * unseen["n"])
    assert "predictor" in capsys.readouterr().out
    own.write_text(json.dumps([["no_such_task", "x"]]))
    assert main(["bench", "tasks", "--sentences", str(own)]) == 2
    assert "--sentences name tasks of the registry, found ['no_such_task']" in capsys.readouterr().err


def test_following_needs_a_task_table(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tasks", "--model", str(tiny_folder), "--each", "1", "--following", "1"]) == 2
    assert "--following needs a model with a task table" in capsys.readouterr().err
