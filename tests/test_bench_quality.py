"""`pixwizard bench quality` in small, and its chart."""

import io
import json
import sys

import pytest
from PIL import Image

from pixwizard.bench.chart import COLORS, line_charts
from pixwizard.bench.quality import Method, Quality, methods, summed_up
from pixwizard.comfyui_pixwizard.guidance import DualGuidance


def test_a_small_run(tmp_path, capsys):
    files = dict(json=tmp_path / "a" / "curve.json", png=tmp_path / "a" / "curve.png")
    bench = Quality(tasks=("canny_to_image",), n=1, size=32, budgets=(2, 4), reference=3, target=10.0, **files)
    assert bench.run() == 0
    printed = capsys.readouterr().out
    assert "canny_to_image, guidance 3/3: PSNR in dB to 12 evaluations (rk4), 1 pictures of 32 px" in printed
    report = json.loads(files["json"].read_text())
    assert report["settings"] == {
        "n": 1, "size": 32, "reference": 3, "target": 10.0, "seed": 0, "model": "nano", "budgets": [2, 4],
    }  # fmt: skip
    found = report["tasks"]["canny_to_image"]
    assert found["guidance"] == [3.0, 3.0] and list(found["methods"]) == list(methods())
    curves = {name: row["points"] for name, row in found["methods"].items()}
    for name, points in curves.items():
        assert [point["evaluations"] for point in points] == ([4] if name == "rk4" else [2, 4])
        assert all(0 < point["work"] <= point["evaluations"] for point in points)
        assert all(0 < point["psnr"] < 100 for point in points)
        if name != "euler_interval":
            assert all(point["work"] == point["evaluations"] for point in points)
    # Guidance is off at t = 0 only: one branch there instead of two, which is all that equal weights need.
    assert [point["work"] for point in curves["euler_interval"]] == pytest.approx([3 / 2, 7 / 2], abs=1e-3)
    # One step of any multistep method is Euler's, so with two steps both start alike; four get nearer than two.
    assert curves["ab2"][1]["psnr"] > curves["ab2"][0]["psnr"]
    with Image.open(files["png"]) as picture:
        assert picture.format == "PNG" and picture.size == (900, 600)


def test_first_budget_and_ratio():
    def curve(*values, share=1.0):
        return [{"evaluations": n, "work": n * share, "psnr": v} for n, v in zip((2, 4, 8), values, strict=True)]

    curves = {"euler": curve(20, 30, 41), "ab2": curve(25, 40, 39), "half": curve(1, 2, 50, share=0.5)}
    found = summed_up(curves, 40.0)
    assert {name: row["ratio"] for name, row in found.items()} == {"euler": 1.0, "ab2": 2.0, "half": 2.0}
    assert found["ab2"]["reaches"]["evaluations"] == 4 and not found["ab2"]["ratio_at_least"]
    curves["euler"] = curve(1, 2, 3)
    found = summed_up(curves, 40.0)
    assert found["euler"] == {"reaches": None, "ratio": None, "ratio_at_least": False}
    assert found["ab2"]["ratio"] == 2.0 and found["ab2"]["ratio_at_least"]


def test_parts():
    assert Method("rk4").steps(6) is None and Method("rk4").steps(8) == 2 and Method("heun").steps(6) == 3
    assert DualGuidance(1.0, 1.0).branches() == ["full"]


def drawn(charts, *rest):
    file = io.BytesIO()
    line_charts(charts, "across", "up", *rest).savefig(file, format="png")
    return Image.open(file).convert("RGB")


def test_chart():
    curves = {f"method {i}": [(2.0**k, 10.0 * k + i) for k in range(1, 6)] for i in range(9)}
    chart = drawn({"title": curves}, (2, 4, 8, 16, 32), 40.0)
    colors = {"#{:02x}{:02x}{:02x}".format(*color) for _, color in chart.getcolors(1 << 20)}
    assert chart.size == (900, 600) and set(COLORS) <= colors
    assert drawn({"one": curves, "two": curves}, (2, 4)).size == (900, 1200)
    assert drawn({"t": {"one": [(4.0, 5.0)]}}, (2, 4)).size == (900, 600)
    figure = line_charts({"title": curves}, "across", "up", (2, 4, 8, 16, 32), 40.0)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8", "16", "32"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves)
    for name, line in zip(curves, axes.get_lines(), strict=False):
        assert [tuple(point) for point in line.get_xydata()] == curves[name]
    assert list(axes.get_lines()[-1].get_ydata()) == [40.0, 40.0]
    for points in ([], [(0.0, 1.0)]):
        with pytest.raises(ValueError, match="a chart needs points"):
            line_charts({"t": {"one": points}}, "x", "y", (2, 4))


def test_a_chart_without_matplotlib_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"charts need matplotlib, which is not installed: .* -m pip install"):
        Quality(png=tmp_path / "chart.png").check()
    Quality(json=tmp_path / "curve.json").check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(tasks=("dept",)), "--tasks must be among .*, found dept: drop it"),
        (dict(tasks=()), "--tasks must be among .*, found none"),
        (dict(size=100), "--size must be a multiple of 16, found 100"),
        (dict(budgets=(4, 2)), "--budgets must be numbers from 1 up that grow, found 4 2"),
        (dict(budgets=()), "--budgets .* found none"),
        (dict(n=0), "--n must be at least 1, found 0"),
        (dict(reference=0), "--reference must be at least 1, found 0"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        Quality(**settings).check()


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="--png takes a file, found the folder"):
        Quality(png=tmp_path).check()
