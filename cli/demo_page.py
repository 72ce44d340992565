"""The demo's results as a page and as one contact sheet."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..comfyui_pixwizard.files.safe_files import replaced
from ..comfyui_pixwizard.pictures.images import resized
from ..training.evaluate.examples import Example

TILE, GAP, MARGIN, HEADER = 160, 8, 16, 46
COLUMNS = 3
INK, MUTED, PAPER, CARD = "#1d2430", "#667085", "#f4f5f7", "#ffffff"
DOMAINS = {
    "restoration": "Restoration",
    "painting": "In- and outpainting",
    "dense": "Reading a picture",
    "control": "Control maps to pictures",
    "grounding": "Grounding",
    "editing": "Editing",
    "generation": "Text to image",
}

STYLE = """
:root { color-scheme: light dark; --ink:#1d2430; --muted:#667085; --paper:#f4f5f7; --card:#fff; --line:#e4e7ec; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e6e9ef; --muted:#98a2b3; --paper:#12151b; --card:#1b2028; --line:#2c333f; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:15px/1.5 system-ui, sans-serif; }
main { max-width:1180px; margin:0 auto; padding:32px 20px 64px; }
h1 { font-size:28px; margin:0 0 4px; } h2 { font-size:19px; margin:36px 0 12px; } p { color:var(--muted); margin:0; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px; margin:0 0 14px; }
.card b { font-weight:600; } .card .say { font-size:17px; margin:2px 0 12px; color:var(--ink); }
.tag { font:12px/1 ui-monospace, monospace; color:var(--muted); }
.figure { float:right; font-variant-numeric:tabular-nums; color:var(--muted); }
.tiles { display:flex; flex-wrap:wrap; gap:12px; } figure { margin:0; flex:0 1 256px; }
figure img { width:100%; border-radius:6px; display:block; } figcaption { color:var(--muted); font-size:13px; }
"""


def write_page(folder: Path, examples: Sequence[Example], about: str) -> Path:
    """index.html and images/ in the folder; the page needs nothing else.

    Args:
        about: a line on the model.
    """
    blocks, domain = [], ""
    for number, example in enumerate(examples):
        if example.task.domain != domain:
            domain = example.task.domain
            blocks.append(f"<h2>{html.escape(DOMAINS[domain])}</h2>")
        blocks.append(_card(folder, number, example))
    head = [f"<h1>One model, {len({e.task.name for e in examples})} tasks</h1>", f"<p>{html.escape(about)}</p>"]
    path = folder / "index.html"
    write_html(path, "PixWizard demo", [*head, *blocks])
    return path


def write_html(path: Path, title: str, body: Sequence[str], more_style: str = "") -> None:
    """Write a page in one look, whole or not at all; the body is HTML already, the title is not."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{more_style}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
    with replaced(path) as file:
        file.write(page.encode())


def card(figures: str, tag: str, sentence: str, tiles: str) -> str:
    """Part of a page: what was asked of a picture, how well it went, and the pictures, which are HTML already."""
    return (
        f'<div class="card"><span class="figure">{html.escape(figures)}</span>'
        f'<span class="tag">{html.escape(tag)}</span>'
        f'<div class="say">“{html.escape(sentence)}”</div><div class="tiles">{tiles}</div></div>'
    )


def _card(folder: Path, number: int, example: Example) -> str:
    tiles = []
    for caption, picture in example.tiles():
        name = f"images/{number:02d}_{example.task.name}_{caption.split(',')[0].replace(' ', '_')}.png"
        _save(picture, folder / name)
        say = html.escape(caption)
        tiles.append(
            f'<figure><img src="{name}" alt="{example.task.name}: {say}" width="{picture.width}" '
            f'height="{picture.height}"><figcaption>{say}</figcaption></figure>'
        )
    return card(example.figures, example.task.name, example.instruction, "".join(tiles))


def _save(picture: Image.Image, path: Path) -> None:
    with replaced(path) as file:
        picture.save(file, "png")


def contact_sheet(examples: Sequence[Example]) -> Image.Image:
    """The first example of every task in columns of cards: instruction, figure, input, output, label, truth."""
    first = list({example.task.name: example for example in reversed(examples)}.values())[::-1]
    width = 4 * TILE + 5 * GAP
    height = HEADER + TILE + 20 + GAP
    columns = min(COLUMNS, len(first))
    rows = -(-len(first) // columns)
    sheet = Image.new("RGB", (columns * (width + MARGIN) + MARGIN, rows * (height + MARGIN) + MARGIN), PAPER)
    for i, example in enumerate(first):
        column, row = i // rows, i % rows
        _draw_card(sheet, example, MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN), width, height)
    return sheet


def _draw_card(sheet: Image.Image, example: Example, left: int, top: int, width: int, height: int) -> None:
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(12), ImageFont.load_default(15)
    draw.rounded_rectangle((left, top, left + width, top + height), 8, fill=CARD)
    draw.text((left + GAP, top + 6), example.task.name.replace("_", " "), MUTED, small)
    draw.text((left + width - GAP, top + 6), example.figures, MUTED, small, anchor="ra")
    draw.text((left + GAP, top + 22), _fitted(draw, example.instruction, large, width - 2 * GAP), INK, large)
    for i, (caption, picture) in enumerate(example.tiles()):
        x = left + GAP + i * (TILE + GAP)
        sheet.paste(resized(picture, (TILE, TILE)), (x, top + HEADER))
        draw.text((x, top + HEADER + TILE + 4), caption, MUTED, small)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    if draw.textlength(text, font) <= room:
        return text
    while draw.textlength(f"{text} …", font) > room:
        text = text[:-1]
    return f"{text.rstrip()} …"


def write_sheet(folder: Path, examples: Sequence[Example]) -> Path:
    """contact_sheet.png in the folder."""
    path = folder / "contact_sheet.png"
    _save(contact_sheet(examples), path)
    return path
