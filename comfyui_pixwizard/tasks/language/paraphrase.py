"""A small grammar that says the same instruction in other words: synonyms, order, politeness, manner, typos.

It never touches what stands in braces, so captions stay as they are, and it never exchanges words of direction (from,
to, into, of), so a map that is asked for is not taken for one that is given. The tables are in `grammar`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import torch

from .grammar import (
    ARTICLE,
    FIXED,
    HELD_OUT_OWN,
    HELD_OUT_POLITE,
    HELD_OUT_PREFIXES,
    HELD_OUT_SYNONYMS,
    JOINS,
    NO_ORDERS,
    OWN,
    POLITE,
    PREFIXES,
    QUESTIONS,
    SYNONYMS,
)

SYNONYM_RATE = 0.6
POLITE_RATE = 0.4
OWN_SHARE = 0.3
LABEL_POLITE_RATE = 0.1
SWAP_RATE = 0.4
PREFIX_RATE = 0.06
NO_ARTICLE_RATE = 0.08
LOWER_RATE = 0.2
NO_STOP_RATE = 0.3
EXCLAIM_RATE = 0.04
NO_APOSTROPHE_RATE = 0.2
TYPO_RATE = 0.04

WORD = re.compile(r"{\w+}|[A-Za-z]+(?:-[A-Za-z]+)*")
TOKEN = re.compile(r"{\w*}|[a-z0-9]+")


def _either(texts: Iterable[str]) -> str:
    """A pattern of any of the texts as whole words, the longest first."""
    return r"(?<![\w-])(?:" + "|".join(map(re.escape, sorted(set(texts), key=len, reverse=True))) + r")(?![\w-])"


EXCHANGED = re.compile(r"{\w+}|" + _either((*SYNONYMS, *FIXED)), re.IGNORECASE)


def plain(text: str) -> str:
    """Lower case, without accents and apostrophes."""
    text = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in text if letter not in "'’" and not unicodedata.combining(letter))


def _spellings(phrases: bool) -> dict[str, str]:
    """Each synonym of one word (or of several, joined by spaces or hyphens) and the word that it stands for."""
    pairs = [
        (plain(other), plain(word))
        for table in (SYNONYMS, HELD_OUT_SYNONYMS)
        for word, others in table.items()
        for other in others
    ]
    return {other: word for other, word in pairs if (" " in other or "-" in other or " " in word) == phrases}


PHRASES = _spellings(phrases=True)
CANONICAL = _spellings(phrases=False) | {word: word for word in SYNONYMS} | {"an": "a"}
_PHRASE = re.compile(_either(PHRASES))
_OPENINGS = [plain(form).strip() for form, *_ in (*POLITE, *HELD_OUT_POLITE, *OWN, *HELD_OUT_OWN) if form]
_OPENINGS += [prefix.strip() for prefix in (*PREFIXES, *HELD_OUT_PREFIXES)]
_CLOSINGS = [plain(stop).strip(" ,.") for form, stop in (*POLITE, *HELD_OUT_POLITE) if not form]
POLITE_FORMS = re.compile(
    rf"^\W*(?:{'|'.join(map(re.escape, sorted(_OPENINGS, key=len, reverse=True)))})(?!\w)"
    rf"|\b(?:{'|'.join(map(re.escape, _CLOSINGS))})\W*$"
)


def without_politeness(text: str) -> str:
    """An instruction in lower case, without accents, apostrophes, greetings and polite forms."""
    text = plain(text)
    for _ in range(2):
        text = POLITE_FORMS.sub("", text.strip())
    return text


def canonical(text: str) -> tuple[str, ...]:
    """Words of an instruction, lower case and without politeness, synonyms as one of them, placeholders kept."""
    text = _PHRASE.sub(lambda match: PHRASES[match.group(0)], without_politeness(text))
    return tuple(CANONICAL.get(token, token) for token in TOKEN.findall(text))


def paraphrase(template: str, generator: torch.Generator, *, held_out: bool = False) -> str:
    """Another wording of a template, placeholders kept; the same generator state gives the same wording.

    With held_out, words and polite forms come from the part of the grammar that training never draws, where it has any.
    """
    label = template[-1] not in ".?"
    clause, _, reason = template.rstrip(".?").partition("; ")
    opening = clause.split()[0].lower().rstrip(",:")
    synonyms = SYNONYMS | HELD_OUT_SYNONYMS if held_out else SYNONYMS
    clause, reason = (_exchange_words(part, synonyms, generator) for part in (clause, reason))
    if label:
        clause, stop = _polite_label(clause, generator)
    elif opening in NO_ORDERS or opening[0] == "{":
        stop = "?" if opening in QUESTIONS else "."
    else:
        clause, stop = _polite(clause, generator, held_out)
    text = _join(clause, stop, reason, generator) if reason else clause + stop
    return _manner(text, generator, HELD_OUT_PREFIXES if held_out else PREFIXES)


def _chance(generator: torch.Generator, rate: float) -> bool:
    return float(torch.rand((), generator=generator, device=generator.device)) < rate


def _choose(generator: torch.Generator, options: Sequence) -> int:
    return int(torch.randint(len(options), (), generator=generator, device=generator.device))


def _exchange_words(text: str, synonyms: Mapping[str, tuple[str, ...]], generator: torch.Generator) -> str:
    def exchange(match: re.Match[str]) -> str:
        word = match.group(0)
        options = synonyms.get(word.lower())
        if options is None or not _chance(generator, SYNONYM_RATE):
            return word
        other = options[_choose(generator, options)]
        return raised(other) if word[0].isupper() else other

    return articled(EXCHANGED.sub(exchange, text))


def articled(text: str) -> str:
    """Text with `a` or `an` as the letter after it asks; before a placeholder it stays."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"\b([Aa])n (?=[^aeiou\W])", r"\1 ", text)


def raised(text: str) -> str:
    """Text with a capital; a placeholder gets its own when it is filled."""
    return text[:1].upper() + text[1:]


def lowered(text: str) -> str:
    """Text without its capital, unless it opens with "I" or an acronym."""
    return text if re.match(r"I\b|[A-Z]{2}", text) else text[:1].lower() + text[1:]


def _polite(clause: str, generator: torch.Generator, held_out: bool) -> tuple[str, str]:
    """An order, maybe as a request, and how its sentence ends."""
    if not _chance(generator, POLITE_RATE):
        return clause, "."
    others, own = (HELD_OUT_POLITE, HELD_OUT_OWN) if held_out else (POLITE, OWN)
    forms = others
    if not re.search(r"\bme\b|^let\b|^see to\b", clause, re.IGNORECASE) and _chance(generator, OWN_SHARE):
        forms = own
    before, stop = forms[_choose(generator, forms)]
    return (raised(before + lowered(clause)) if before else clause), stop


def _polite_label(label: str, generator: torch.Generator) -> tuple[str, str]:
    """A label, which has a full stop as often as not and now and then a "please"."""
    if "please" not in label and _chance(generator, LABEL_POLITE_RATE):
        return label, ", please."
    return label, "." if _chance(generator, 0.5) else ""


def _join(clause: str, stop: str, reason: str, generator: torch.Generator) -> str:
    """Clause and reason in either order, as one sentence or two."""
    if _chance(generator, SWAP_RATE):
        join = JOINS[_choose(generator, JOINS)]
        return raised(reason) + join + (clause if join == ". " else lowered(clause)) + stop
    if stop != ".":
        return clause + stop + " " + raised(reason) + "."
    join = JOINS[_choose(generator, JOINS)]
    return clause + join + (raised(reason) if join == ". " else reason) + "."


def _manner(text: str, generator: torch.Generator, prefixes: Sequence[str]) -> str:
    """How people type: no capital, article, full stop or apostrophe, a greeting first, now and then a typo."""
    if _chance(generator, NO_ARTICLE_RATE):
        text = raised(re.sub(ARTICLE, "", text, flags=re.IGNORECASE))
    if _chance(generator, PREFIX_RATE):
        prefix = prefixes[_choose(generator, prefixes)]
        text = raised(prefix) + (lowered(text) if _chance(generator, 0.5) else text)
    if _chance(generator, LOWER_RATE):
        text = text.lower() if _chance(generator, 0.5) else lowered(text)
    if _chance(generator, NO_STOP_RATE):
        text = text.rstrip(".")
    elif text[-1] == "." and _chance(generator, EXCLAIM_RATE):
        text = text[:-1] + "!"
    if "'" in text and _chance(generator, NO_APOSTROPHE_RATE):
        text = text.replace("'", "")
    return _typo(text, generator) if _chance(generator, TYPO_RATE) else text


def _typo(text: str, generator: torch.Generator) -> str:
    """Swap, drop or double one inner letter of one word of five letters or more."""
    words = [match for match in WORD.finditer(text) if len(match.group(0)) >= 5 and match.group(0)[0] != "{"]
    if not words:
        return text
    match = words[_choose(generator, words)]
    word = match.group(0)
    at = 1 + _choose(generator, word[1:-2])
    kinds = slips(word, at)
    return text[: match.start()] + kinds[_choose(generator, kinds)] + text[match.end() :]


def slips(word: str, at: int) -> tuple[str, str, str]:
    """A word with a letter, not the last, exchanged with the next one, left out, and doubled."""
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :], word[: at + 1] + word[at:]
