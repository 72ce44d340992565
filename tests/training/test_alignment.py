"""`pixwizard align`: answers, choices that are kept at once, the page's server, a score as picker, training."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pixwizard.cli.align_page import page, server
from pixwizard.cli.main import main

pytest.importorskip("pyarrow")

from pixwizard.comfyui_pixwizard import PixWizardPipeline
from pixwizard.training.alignment import grid_folder
from pixwizard.training.alignment.grid_folder import SETTINGS, Asked, Choice, GridFolder
from pixwizard.training.alignment.pickers import pick_all, score_picker


def painted(folder: Path, questions: int = 3) -> GridFolder:
    """A grid whose answers are even pictures: number n is 5 n brighter than black, the truth as bright as number 7."""
    asked = []
    for number in range(questions):
        place = folder / f"{number:04d}"
        place.mkdir(parents=True)
        for name, shade in [("source", 40), ("truth", 35), *((f"{n:02d}", 5 * n) for n in range(len(SETTINGS)))]:
            Image.new("RGB", (64, 64), (shade, shade, shade)).save(place / f"{name}.png")
        asked.append(Asked(f"{number:04d}", f"Make it {number}.", "edit_recolor"))
    return GridFolder.create(folder, "nano", asked)


def test_there_are_twenty_settings_of_which_the_first_is_the_models_own() -> None:
    assert len(set(SETTINGS)) == 20 and SETTINGS[0] is None


def test_choices_are_kept_whole_and_a_grid_goes_on(tmp_path: Path) -> None:
    grid = painted(tmp_path / "grid")
    assert [one.name for one in grid.left()] == ["0000", "0001", "0002"]
    grid.choose("0001", Choice((3, 7), seen=True))
    grid.choose("0000", Choice((2,)))
    again = GridFolder.create(grid.folder, "nano", grid.asked)
    assert again.choices() == {"0000": Choice((2,)), "0001": Choice((3, 7), True)}
    assert [one.name for one in again.left()] == ["0000", "0002"]
    for wrong in ((1, 2, 3), (1, 1), (20,), (-1,)):
        with pytest.raises(ValueError, match="none to 2 of 20"):
            grid.choose("0000", Choice(wrong))
    with pytest.raises(ValueError, match="'9999'"):
        grid.choose("9999", Choice())
    with pytest.raises(ValueError, match="another model"):
        GridFolder.create(grid.folder, "other", grid.asked)
    assert not list(grid.folder.glob("*.tmp"))


def test_a_score_picks_two_that_beat_the_models_own_answer_or_none(tmp_path: Path) -> None:
    grid = painted(tmp_path / "grid", 2)
    # In the second question the model's own answer is the true one.
    Image.open(grid.truth(grid.asked[1])).save(grid.answer(grid.asked[1], 0))
    pick_all(grid, score_picker("truth"), lambda n: None)
    choices = grid.choices()
    assert choices["0000"].seen and 7 in choices["0000"].picked and len(choices["0000"].picked) == 2
    assert choices["0001"] == Choice((), True)
    by_gap = score_picker("gap")
    assert by_gap(grid, grid.asked[0]) == (18, 19)  # farther from the source than black is
    with pytest.raises(ValueError, match="found 'taste'"):
        score_picker("taste")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[GridFolder, str]]:
    grid = painted(tmp_path / "grid")
    with server(grid, 0) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield grid, f"http://127.0.0.1:{made.server_port}/"
        made.shutdown()
        thread.join()


def sent(url: str, told: Any, **headers: str) -> tuple[int, Any]:
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    request = urllib.request.Request(url + "choice", data, {"content-type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text else None


def test_the_server_keeps_what_is_sent_and_refuses_all_else(serving: tuple[GridFolder, str]) -> None:
    grid, url = serving
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read().decode() == page()
    assert "http" not in page()  # nothing from elsewhere
    assert sent(url, {"name": "0001", "picked": [4], "seen": False}) == (200, {})
    assert grid.choices() == {"0001": Choice((4,))}
    with urllib.request.urlopen(url + "questions", timeout=10) as answer:
        rows = json.load(answer)
    assert rows[1] == {"name": "0001", "sentence": "Make it 1.", "task": "edit_recolor", "picked": [4], "seen": False}
    with urllib.request.urlopen(url + "picture/0001/4", timeout=10) as answer:
        assert answer.read() == grid.answer(grid.asked[1], 4).read_bytes()
    for wrong in ({"name": "0001", "picked": [1, 2, 3], "seen": True}, {"name": "x", "picked": [], "seen": True}):
        assert sent(url, wrong)[0] == 400
    for broken in (b"{", {"name": "0001"}, {"name": "0001", "picked": [True], "seen": True}, b"[" * 20_000):
        assert sent(url, broken)[0] == 400
    # Neither a form of another page nor another name for this machine.
    assert sent(url, {"name": "0001", "picked": [], "seen": True}, **{"content-type": "text/plain"})[0] == 403
    assert sent(url, {"name": "0001", "picked": [], "seen": True}, host="evil.example:80")[0] == 403
    for path in ("picture/0001/20", "picture/9999/1", "picture/../grid.json", "choices.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url + path, timeout=10)
    assert grid.choices() == {"0001": Choice((4,))}


def test_from_answers_to_an_aligned_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Rendered questions with three settings, picked by nearness to the truth, a few steps of training."""
    from pixwizard.training.alignment import candidates, pickers

    few = SETTINGS[:3]
    for module in (grid_folder, candidates, pickers):
        monkeypatch.setattr(module, "SETTINGS", few)
    grid = tmp_path / "grid"
    begin = ["align", "grid", str(grid), "--scenes", "4", "--steps", "2", "--picker", "later"]
    assert main(begin) == 0
    assert len(list(grid.rglob("0?.png"))) == 12 and len(list(grid.rglob("truth.png"))) == 4
    assert "0 of 4 questions done" in capsys.readouterr().out
    assert main(["align", "train", str(grid), "--folder", str(tmp_path / "run")]) == 2
    assert "found none in" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in grid.rglob("0?.png")}
    assert main(["align", "grid", str(grid), "--picker", "score"]) == 0
    assert {path: path.stat().st_mtime_ns for path in grid.rglob("0?.png")} == before
    kept = GridFolder(grid)
    kept.choose("0000", Choice((1, 2), seen=True))
    told = ["--folder", str(tmp_path / "run"), "--epochs", "8", "--batch-size", "2", "--micro-batch", "1"]
    told += ["--lr", "0.05"]
    assert main(["align", "train", str(grid), *told, "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "picked" / "edit_recolor.jsonl").read_text().splitlines()]
    assert [Path(row["target_path"]).name for row in rows] == ["01.png", "02.png"]
    plain, aligned = (PixWizardPipeline.from_pretrained(one) for one in ("nano", tmp_path / "run" / "model"))
    assert aligned.declared == plain.declared and aligned.provenance["aligned"]["grid"] == "grid"
    states = (pipeline.transformer.state_dict() for pipeline in (plain, aligned))
    moved = [not torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True)]
    assert any(moved) and not all(moved)


def test_a_grid_is_begun_with_questions_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "grid", str(tmp_path / "grid"), "--scenes", "1", "--port", "99999"]) == 2
    assert not (tmp_path / "grid").exists()
    assert main(["align", "grid", str(tmp_path / "grid")]) == 2
    assert "found neither" in capsys.readouterr().err
    (tmp_path / "q.jsonl").write_text(json.dumps({"input_path": "a.png"}))
    assert main(["align", "grid", str(tmp_path / "grid"), "--questions", str(tmp_path / "q.jsonl")]) == 2
    assert "q.jsonl item 1" in capsys.readouterr().err
