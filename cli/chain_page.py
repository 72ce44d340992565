"""The page of a chain of instructions: what each step was asked, what it made, and where it changed something."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ..comfyui_pixwizard.answer import Result
from .demo_page import card, write_html

# A mean change of this share of full scale and more is white on the page.
WHITE = 0.25
QUALITY = 92  # of JPEG, for looking only: the files that the page links to are whole


def write_chain_page(
    page: Path, source: Image.Image | None, results: Sequence[Result], pictures: Sequence[Path]
) -> None:
    """Write the page, whole or not at all; it holds its pictures, at the model's size, and links to the files.

    Args:
        source: at the model's size; None for a blank canvas.
        results: of every step, at the model's size.
        pictures: the file of each step, beside the page.
    """
    cards, before = [], source
    for step, (result, path) in enumerate(zip(results, pictures, strict=True), 1):
        after = result.image.convert("RGB")
        tiles = [_tile(after, "after", path.name)]
        figures = ""
        if before is not None:
            change = np.abs(np.asarray(after, dtype=float) - np.asarray(before.convert("RGB"))).mean(-1) / 255
            figures = f"{(change == 0).mean():.0%} of the pixels kept"
            shown = Image.fromarray((255 * (change / WHITE).clip(0, 1)).astype(np.uint8))
            tiles = [_tile(before, "before"), *tiles, _tile(shown, "change")]
        sentence, task = result.settings.get("instruction", ""), result.settings.get("task") or "no task"
        cards.append(card(figures, f"step {step}: {task}", sentence, "".join(tiles)))
        before = after
    about = f"{len(results)} steps; white is a change of {WHITE:.0%} of full scale and more"
    title = pictures[-1].name
    write_html(page, title, [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(about)}</p>", *cards])


def _tile(picture: Image.Image, caption: str, link: str = "") -> str:
    """One picture of a card, linked to a file beside the page."""
    data = BytesIO()
    picture.save(data, "jpeg", quality=QUALITY)
    image = (
        f'<img src="data:image/jpeg;base64,{b64encode(data.getvalue()).decode()}" alt="{caption}" '
        f'width="{picture.width}" height="{picture.height}">'
    )
    if link:
        image = f'<a href="{html.escape(link)}">{image}</a>'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
