"""The page of a benchmark: one file, rows beside quoted ones, the worst and the median answers as pictures."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sets import answered, copied, noisy, picture, questions, save, truth
from test_dense import nyu

from pixwizard.cli.benchmark_page import columns
from pixwizard.cli.main import main


class Page(HTMLParser):
    """Rows of tables as lists of text, sources of pictures by the card that they are in, and everything that is named
    outside of the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.rows: list[list[str]] = []
        self.cards: list[tuple[str, str, list[Image.Image]]] = []
        self.plots: list[bytes] = []
        self.outside: list[str] = []
        self.text, self.heading, self.where = "", "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        told = dict(given)
        self.where = "tag" if told.get("class") == "tag" else tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "h2":
            self.heading = ""
        elif tag == "img":
            kind, _, data = str(told["src"]).partition(";base64,")
            if kind == "data:image/svg+xml":
                self.plots.append(base64.b64decode(data))
            elif kind == "data:image/png":
                self.cards[-1][2].append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
            else:
                self.outside.append(str(told["src"]))
        self.outside += [str(told[name]) for name in ("href", "srcset", "data") if name in told]
        self.outside += [tag] * (tag in ("script", "link", "iframe", "object", "b"))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.where in ("td", "th") and self.rows[-1]:
            self.rows[-1][-1] += data
        elif self.where == "h2":
            self.heading += data
        elif self.where == "tag":
            self.cards.append((self.heading, data, []))
            self.where = ""

    def handle_endtag(self, tag: str) -> None:
        self.where = ""


def report(name: str, data: Path, answers: Path, *arguments: str) -> Page:
    path = answers.parent / "pages" / "page.html"
    command = ["eval", "benchmark", name, "--data", str(data), "--answers", str(answers), "--report", str(path)]
    assert main([*command, *arguments]) == 0
    return Page(path)


@pytest.fixture
def rain(tmp_path: Path) -> Path:
    """Thirteen pairs; the answers to them are the worse the higher their number, one has a name like a tag."""
    for i in range(13):
        name = "12 <b>&amp;" if i == 12 else f"{i:02d}"
        save(picture(i), tmp_path / "data" / "target" / f"{name}.png")
        save(noisy(picture(i), i, 30), tmp_path / "data" / "input" / f"{name}.png")
    return tmp_path / "data"


def test_rows_plots_and_the_worst_and_median_answers(rain: Path, tmp_path: Path) -> None:
    asked = questions("rain100l", rain)

    def answer(question: object) -> Image.Image:
        number = int(question.name[:2])  # type: ignore[attr-defined]
        return noisy(truth(question), number, 2 + 4 * number)  # type: ignore[arg-type]

    page = report("rain100l", rain, answered(asked, tmp_path / "answers", answer))
    assert not page.outside, "nothing but the file itself, and names are text"
    head = next(row for row in page.rows if "psnr_rgb" in row)
    assert head[1:7] == ["psnr_rgb", "ssim_rgb", "psnr_y", "psnr", "ssim_y", "ssim"]
    rows = {row[0]: row for row in page.rows if len(row) == len(head)}
    here = rows["answers made elsewhere"]
    assert float(here[1]) > float(rows["the input itself"][1]) and here[4] == "" and here[-1] == "measured here"
    assert rows["PixWizard"][4] == "31.43" and rows["PixWizard"][1] == ""
    assert rows["PixWizard"][-1] == "quoted: PixWizard, arXiv 2409.15278, Table 1"
    assert all(row[-1].startswith("quoted: ") for name, row in rows.items() if name in ("AirNet", "PromptIR"))
    assert "the column mixes methods" in page.text

    (plot,) = page.plots
    assert b"<svg" in plot and b"http" not in plot.partition(b"<g ")[2].replace(b"http://www.w3.org", b"")

    by_heading: dict[str, list[str]] = {}
    for heading, name, _ in page.cards:
        by_heading.setdefault(heading, []).append(name)
    assert by_heading == {
        "The worst answers, by psnr_rgb": ["12 <b>&amp;", "11", "10", "09"],
        "The median answers, by psnr_rgb": ["08", "07", "06", "05"],
    }
    for (_, _, pictures), name in zip(page.cards[:2], ("12 <b>&amp;", "11"), strict=False):
        (question,) = [q for q in asked if q.name == name]
        for shown, wanted in zip(pictures, (copied(question), answer(question), truth(question)), strict=True):
            assert np.array_equal(np.asarray(shown), np.asarray(wanted))
    told = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert told["n"] == "13" and "scikit-image" in told["versions"] and "judging" in told["seconds"]


def test_model_digest_kernel_and_what_was_left_out(rain: Path, tmp_path: Path) -> None:
    (rain / "target" / "03.png").unlink()
    path = tmp_path / "page.html"
    command = ["eval", "benchmark", "pairs", "--data", str(rain), "--out", str(tmp_path / "kept"), "--n", "4"]
    assert main([*command, "--allow-missing", "--size", "64", "--text-guidance", "0", "--report", str(path)]) == 0
    page = Page(path)
    told = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert told["missing pair: 1"] == "03" and told["model"] == "nano" and len(told["model digest"]) == 32
    assert "Lanczos" in told["resize kernel"] and "64" in told["size"] and told["guidance"] == "0.0, the task's own"


def test_figures_of_all_answers_together_have_no_worst_one(rain: Path, tmp_path: Path) -> None:
    for i in range(3):
        save(picture(i, (96, 80)), tmp_path / "places" / f"{i}.jpg")
    asked = questions("outpaint-places", tmp_path / "places")
    page = report("outpaint-places", tmp_path / "places", answered(asked, tmp_path / "answers", truth))
    assert not page.plots and "not measured: needs FILE (--inception" in page.text
    headings = {heading for heading, _, _ in page.cards}
    assert headings == {"The first answers (these figures are of all together, so none is the worst)"}
    assert all(shown.size == (320, 320) for _, _, pictures in page.cards for shown in pictures)
    assert next(row for row in page.rows if row[0] == "PixWizard")[1:3] == ["7.54", "22.18"]


def test_where_less_is_better_the_largest_is_the_worst(tmp_path: Path) -> None:
    nyu(tmp_path / "data")
    asked = questions("nyuv2-depth", tmp_path / "data")
    spoiled = answered(asked, tmp_path / "answers", lambda q: truth(q) if "bath" in q.name else noisy(truth(q), 1, 90))
    page = report("nyuv2-depth", tmp_path / "data", spoiled)
    assert [name for _, name, _ in page.cards[:2]] == ["kitchen/00041", "bathroom/00040"]


def test_a_papers_figure_stands_beside_ours_of_that_kind() -> None:
    assert columns(["clip_dir", "l1_vs_input"], ["clip_dir", "l1", "dino"]) == ["clip_dir", "l1_vs_input", "l1", "dino"]


def test_without_matplotlib_it_is_said_before_anything_is_made(
    rain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    command = ["eval", "benchmark", "pairs", "--data", str(rain), "--out", str(tmp_path / "kept")]
    assert main([*command, "--report", str(tmp_path / "page.html")]) == 2
    assert "charts need matplotlib" in capsys.readouterr().err and not (tmp_path / "kept").exists()
