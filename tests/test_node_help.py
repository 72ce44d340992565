"""Help pages and translations of the nodes, against the schema that saved workflows rely on; no host is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "web" / "docs"
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests" / "host" / "schema.json").read_text(encoding="utf-8"))
SECTIONS = ["When to use it", "Inputs", "Outputs", "Connect it", "If something goes wrong"]
CHINESE_SECTIONS = ["何时使用", "输入", "输出", "连接", "出错时"]
LANGUAGES = ("en", "zh")
CJK = re.compile(r"[\u4e00-\u9fff]")
# The host's translator takes these for placeholders, links and plurals.
SPECIAL = re.compile(r"[@{}|]")

every_node = pytest.mark.parametrize("node_id", SCHEMA)


def locale(language: str) -> dict[str, Any]:
    """Names and tooltips of all nodes in a language."""
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def sections(page: str) -> dict[str, str]:
    """Text of a help page by heading; "" holds what stands before the first one."""
    parts = re.split(r"^## (.+)$", (PAGES / f"{page}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(text: str) -> list[list[str]]:
    """Name, type and the words behind the type (the default of an input) of each entry of a section's list.

    A list and no table: the page's panel is narrower than any table of four columns.
    """
    pattern = r"^- `(\w+)` ?[(（](\w+)(?:(?:, |，)(?:default |默认 )?(.*?))?(?:\): |）：)."
    found = re.findall(pattern, text, flags=re.MULTILINE)
    assert len(found) == len(re.findall(r"^- ", text, flags=re.MULTILINE)) and "|" not in text
    return [[cell.strip("`") for cell in row] for row in found]


def strings(entry: dict[str, Any]) -> list[str]:
    """All texts of one node of a locale, in a fixed order."""
    items = [*entry["inputs"].values(), *entry["outputs"].values()]
    return [entry["display_name"], entry["description"], *(item[key] for item in items for key in ("name", "tooltip"))]


@every_node
def test_a_page_explains_every_input_and_output(node_id: str) -> None:
    node, page = SCHEMA[node_id], sections(node_id)
    assert page[""].startswith(f"# {node['display_name']}\n")
    assert [title for title in page if title] == SECTIONS and all(text.strip() for text in page.values())
    inputs, outputs = entries(page["Inputs"]), entries(page["Outputs"])
    assert [(row[0], row[1]) for row in inputs] == [(item["id"], item["type"]) for item in node["inputs"]]
    assert [(row[0], row[1]) for row in outputs] == [(item["name"], item["type"]) for item in node["outputs"]]
    for item, row in zip(node["inputs"], inputs, strict=True):
        if "default" in item:
            assert row[2] == (str(item["default"]) or "empty"), item["id"]


@every_node
def test_the_chinese_page_says_the_same(node_id: str) -> None:
    english, chinese = sections(node_id), sections(f"{node_id}/zh")
    assert chinese[""].startswith(f"# {locale('zh')[node_id]['display_name']}\n")
    assert [title for title in chinese if title] == CHINESE_SECTIONS
    assert all(CJK.search(text) for title, text in chinese.items() if title != "连接")
    words = {"required": "必填", "optional": "可选", "empty": "默认为空", "first file": "第一个文件"}
    for number in (1, 2):
        wanted = [[*row[:2], words.get(row[2], row[2])] for row in entries(english[SECTIONS[number]])]
        assert entries(chinese[CHINESE_SECTIONS[number]]) == wanted
    graphs = [re.findall(r"```\n.*?```", page, flags=re.DOTALL) for page in (english[SECTIONS[3]], chinese["连接"])]
    assert graphs[0] == graphs[1]
    advice = [re.findall(r"^- ", page, flags=re.MULTILINE) for page in (english[SECTIONS[4]], chinese["出错时"])]
    assert len(advice[0]) == len(advice[1])


def test_no_page_without_a_node() -> None:
    pages = sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md"))
    assert pages == sorted(name for node_id in SCHEMA for name in (f"{node_id}.md", f"{node_id}/zh.md"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_locales_have_the_nodes_and_the_category(language: str) -> None:
    assert list(locale(language)) == list(SCHEMA)
    main = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))
    assert set(main["nodeCategories"]) == {name for node in SCHEMA.values() for name in node["category"].split("/")}


def test_titles_are_found_by_the_name_and_clash_with_no_other_pack() -> None:
    titles = [node["display_name"] for node in SCHEMA.values()]
    assert all("PixWizard" in title for title in titles) and len(set(titles)) == len(titles)


@pytest.mark.parametrize("language", LANGUAGES)
@every_node
def test_locales_cover_the_schema(node_id: str, language: str) -> None:
    node, entry = SCHEMA[node_id], locale(language)[node_id]
    assert list(entry["inputs"]) == [item["id"] for item in node["inputs"]]
    assert list(entry["outputs"]) == [str(i) for i in range(len(node["outputs"]))]
    for text in strings(entry):
        assert text.strip() and not SPECIAL.search(text), text


@every_node
def test_english_is_the_schemas(node_id: str) -> None:
    node, entry = SCHEMA[node_id], locale("en")[node_id]
    assert (entry["display_name"], entry["description"]) == (node["display_name"], node["description"])
    for item in node["inputs"]:
        assert entry["inputs"][item["id"]] == {"name": item["id"].replace("_", " "), "tooltip": item["tooltip"]}
    for i, item in enumerate(node["outputs"]):
        assert entry["outputs"][str(i)] == {"name": item["name"], "tooltip": item["tooltip"]}


@every_node
def test_chinese_sentences_are_chinese(node_id: str) -> None:
    for english, chinese in zip(strings(locale("en")[node_id]), strings(locale("zh")[node_id]), strict=True):
        if english.endswith((".", "…")):
            assert CJK.search(chinese), (english, chinese)
        assert ("PixWizard" in english) <= ("PixWizard" in chinese), (english, chinese)
