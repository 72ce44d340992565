"""A small grammar that says the same instruction in other words: synonyms, order, politeness, manner, typos.

Templates are written in one canonical wording: `Do this; the reason.` or just `Do this.`, where the words below may be
exchanged. Placeholders in braces are never touched, so captions stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

SYNONYMS: dict[str, tuple[str, ...]] = {
    "picture": ("picture", "image", "photo"),
    "scene": ("scene", "view"),
    "remove": ("remove", "erase", "get rid of", "eliminate", "take away"),
    "reduce": ("reduce", "suppress", "cut down"),
    "restore": ("restore", "recover", "bring back"),
    "estimate": ("estimate", "predict", "compute", "work out"),
    "show": ("show", "display", "visualise"),
    "highlight": ("highlight", "mark", "tint"),
    "brighten": ("brighten", "lighten", "light up"),
    "fill": ("fill", "patch", "complete"),
    "delete": ("delete", "cut out", "edit out"),
    "recolor": ("recolor", "recolour", "repaint", "dye"),
    "color": ("color", "colour"),
    "colors": ("colors", "colours"),
    "gray": ("gray", "grey"),
    "generate": ("generate", "create", "produce", "synthesise"),
    "draw": ("draw", "paint"),
    "distance": ("distance", "range"),
    "grainy": ("grainy", "noisy", "speckled"),
    "dark": ("dark", "dim", "underexposed"),
    "missing": ("missing", "masked", "blanked-out"),
    "object": ("object", "thing", "item"),
    "each": ("each", "every"),
    "clear": ("clear", "clean"),
    "background": ("background", "surroundings", "backdrop"),
    "add": ("add", "insert", "place"),
    "replace": ("replace", "swap", "exchange"),
    "change": ("change", "alter", "modify"),
    "find": ("find", "locate", "detect"),
    "box": ("box", "rectangle"),
    "dot": ("dot", "spot", "marker"),
    "write": ("write", "print", "type"),
    "letters": ("letters", "characters"),
    "convert": ("convert", "transform"),
    "follow": ("follow", "obey", "respect"),
    "edges": ("edges", "contours"),
    "boundaries": ("boundaries", "borders"),
    "skeleton": ("skeleton", "stick figure"),
    "person": ("person", "human"),
    "blurry": ("blurry", "unsharp", "fuzzy"),
    "sharp": ("sharp", "crisp"),
    "sharpen": ("sharpen", "crisp up"),
    "haze": ("haze", "mist"),
    "faded": ("faded", "washed-out", "bleached"),
    "enlarge": ("enlarge", "upscale", "magnify"),
    "extend": ("extend", "expand", "continue"),
    "texture": ("texture", "surface pattern"),
}
POLITE: tuple[tuple[str, str], ...] = (
    ("please ", "."),
    ("can you ", "?"),
    ("could you ", "?"),
    ("could you please ", "?"),
    ("would you ", "?"),
    ("I want you to ", "."),
    ("I would like you to ", "."),
    ("I need you to ", "."),
    ("your task: ", "."),
    ("", ", please."),
    ("", ", thanks."),
)
JOINS = ("; ", ": ", ", ", ". ", " - ")
QUESTIONS = ("what", "which", "where", "how")
# A sentence that opens so is no order, and "please" has no place before it.
NO_ORDERS = (*QUESTIONS, "a", "an", "the", "this", "there", "from", "instead")
SYNONYM_RATE = 0.6
POLITE_RATE = 0.4
SWAP_RATE = 0.4
LOWER_RATE = 0.15
NO_STOP_RATE = 0.3
TYPO_RATE = 0.04

WORD = re.compile(r"{\w+}|[A-Za-z]+(?:-[A-Za-z]+)*")
TOKEN = re.compile(r"{\w+}|[a-z0-9]+")
POLITE_FORMS = re.compile(
    r"^\W*(?:please|thanks|(?:can|could|would|will) you(?: please)?|your task"
    r"|(?:i|we) (?:want|need|would like|d like) you to)\b"
    r"|\b(?:please|thanks|thank you)\W*$"
)


def _spellings(phrases: bool) -> dict[str, str]:
    """Each synonym of one word (or of several, joined by spaces or hyphens) and the word that it stands for."""
    pairs = ((other, word) for word, others in SYNONYMS.items() for other in others)
    return {other: word for other, word in pairs if (" " in other or "-" in other) == phrases}


PHRASES = _spellings(phrases=True)
CANONICAL = _spellings(phrases=False) | {word: word for word in SYNONYMS} | {"an": "a"}


def canonical(text: str) -> tuple[str, ...]:
    """Words of an instruction, lower case and without politeness, synonyms as one of them, placeholders kept."""
    text = text.lower().replace("'", "")
    for _ in range(2):
        text = POLITE_FORMS.sub("", text.strip())
    for phrase, word in PHRASES.items():
        text = text.replace(phrase, word)
    return tuple(CANONICAL.get(token, token) for token in TOKEN.findall(text))


def paraphrase(template: str, generator: torch.Generator) -> str:
    """Another wording of a template, placeholders kept; the same generator state gives the same wording."""
    clause, _, reason = template.rstrip(".?").partition("; ")
    clause, reason = (_exchange_words(part, generator) for part in (clause, reason))
    clause, stop = _polite(clause, generator)
    if reason:
        text = _join(clause, stop, reason, generator)
    else:
        text = clause + stop
    return _manner(text, generator)


def _chance(generator: torch.Generator, rate: float) -> bool:
    return float(torch.rand((), generator=generator, device=generator.device)) < rate


def _choose(generator: torch.Generator, options: Sequence) -> int:
    return int(torch.randint(len(options), (), generator=generator, device=generator.device))


def _exchange_words(text: str, generator: torch.Generator) -> str:
    def exchange(match: re.Match[str]) -> str:
        word = match.group(0)
        options = SYNONYMS.get(word.lower())
        if options is None or not _chance(generator, SYNONYM_RATE):
            return word
        other = options[_choose(generator, options)]
        return other[0].upper() + other[1:] if word[0].isupper() else other

    return articled(WORD.sub(exchange, text))


def articled(text: str) -> str:
    """Text with `a` or `an` as the letter after it asks; before a placeholder it stays."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"\b([Aa])n (?=[^aeiou\W])", r"\1 ", text)


def _polite(clause: str, generator: torch.Generator) -> tuple[str, str]:
    """The clause and how its sentence ends; a question or a statement is left alone."""
    opening = clause.split()[0].lower()
    if opening in NO_ORDERS or not _chance(generator, POLITE_RATE):
        return clause, "?" if opening in QUESTIONS else "."
    before, stop = POLITE[_choose(generator, POLITE)]
    if not before:
        return clause, stop
    polite = before + clause[0].lower() + clause[1:]
    return polite[0].upper() + polite[1:], stop


def _join(clause: str, stop: str, reason: str, generator: torch.Generator) -> str:
    """Clause and reason in either order, as one sentence or two."""
    lowered = clause if clause.startswith("I ") else clause[0].lower() + clause[1:]
    raised = reason[0].upper() + reason[1:]
    if _chance(generator, SWAP_RATE):
        join = JOINS[_choose(generator, JOINS)]
        return raised + join + (clause if join == ". " else lowered) + stop
    if stop != ".":
        return clause + stop + " " + raised + "."
    join = JOINS[_choose(generator, JOINS)]
    return clause + join + (raised if join == ". " else reason) + "."


def _manner(text: str, generator: torch.Generator) -> str:
    """How people type: no capital, no full stop, now and then a typo."""
    if _chance(generator, LOWER_RATE) and not text.startswith("{"):
        text = text[0].lower() + text[1:]
    if _chance(generator, NO_STOP_RATE):
        text = text.rstrip(".")
    return _typo(text, generator) if _chance(generator, TYPO_RATE) else text


def _typo(text: str, generator: torch.Generator) -> str:
    """Swap, drop or double one inner letter of one word of five letters or more."""
    words = [match for match in WORD.finditer(text) if len(match.group(0)) >= 5 and match.group(0)[0] != "{"]
    if not words:
        return text
    match = words[_choose(generator, words)]
    word = match.group(0)
    at = 1 + _choose(generator, word[1:-2])
    kinds = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
    )
    return text[: match.start()] + kinds[_choose(generator, kinds)] + text[match.end() :]
