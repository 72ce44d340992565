"""Words and forms that may be exchanged in an instruction; the functions that do so are in `paraphrase`.

What training draws and what it never does (`HELD_OUT_…`) are apart, so that other wordings can be measured.
"""

from __future__ import annotations

# A word or phrase of a template, and what may stand for it, itself included.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "picture": ("picture", "image", "photo", "pic", "shot"),
    "scene": ("scene", "view"),
    "remove": ("remove", "erase", "get rid of", "eliminate", "take away"),
    "reduce": ("reduce", "suppress", "cut down"),
    "restore": ("restore", "recover", "bring back"),
    "estimate": ("estimate", "predict", "compute", "work out", "calculate"),
    "show": ("show", "display", "visualise", "visualize"),
    "highlight": ("highlight", "mark", "tint"),
    "brighten": ("brighten", "lighten", "light up"),
    "fill": ("fill", "patch", "complete"),
    "delete": ("delete", "cut out", "edit out"),
    "recolor": ("recolor", "recolour", "repaint", "dye"),
    "colorize": ("colorize", "colourise", "colorise"),
    "coloring": ("coloring", "colouring"),
    "color": ("color", "colour"),
    "colors": ("colors", "colours"),
    "gray": ("gray", "grey"),
    "generate": ("generate", "create", "produce", "synthesise", "synthesize"),
    "stylise": ("stylise", "stylize"),
    "localise": ("localise", "localize"),
    "emphasise": ("emphasise", "emphasize"),
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
    "improve": ("improve", "enhance"),
    "whole": ("whole", "entire"),
    "exactly": ("exactly", "precisely"),
    "boring": ("boring", "dull"),
    "spoils": ("spoils", "ruins"),
    "give me": ("give me", "get me", "hand me"),
    "i need": ("I need", "we need", "I must have"),
    "i'd like": ("I'd like", "I would like", "I'd love", "we'd like"),
    "given this": ("given this", "using this", "with this"),
    "based on": ("based on", "according to"),
    "guided by": ("guided by", "conditioned on", "controlled by"),
    "instead of": ("instead of", "rather than"),
    "do not": ("do not", "don't"),
    "line art": ("line art", "lineart"),
    "low-resolution": ("low-resolution", "low-res"),
    "high-resolution": ("high-resolution", "high-res", "hi-res"),
}
HELD_OUT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "picture": ("photograph", "snapshot"),
    "remove": ("scrub",),
    "reduce": ("lessen",),
    "restore": ("regain",),
    "estimate": ("derive", "determine"),
    "show": ("present",),
    "highlight": ("accentuate",),
    "brighten": ("illuminate",),
    "delete": ("discard",),
    "generate": ("craft",),
    "grainy": ("gritty",),
    "dark": ("gloomy",),
    "missing": ("absent",),
    "background": ("scenery",),
    "add": ("incorporate",),
    "find": ("seek out",),
    "write": ("inscribe",),
    "convert": ("translate",),
    "person": ("individual",),
    "faded": ("dulled",),
    "enlarge": ("blow up",),
    "extend": ("broaden",),
    "boring": ("bland",),
    "give me": ("provide", "deliver"),
    "i need": ("I require",),
    "i'd like": ("I prefer",),
}
# In these the words above mean something else, so they stay.
FIXED = (
    "show me", "the dark", "dark parts", "clear day", "clear air", "clear sky", "color change", "style change",
    "background change", "texture change", "size change",
    "scene parsing", "whole again",
)  # fmt: skip

# Before an order, and how its sentence ends.
POLITE: tuple[tuple[str, str], ...] = (
    ("please ", "."),
    ("can you ", "?"),
    ("can you please ", "?"),
    ("could you ", "?"),
    ("could you please ", "?"),
    ("would you ", "?"),
    ("will you ", "?"),
    ("I want you to ", "."),
    ("I would like you to ", "."),
    ("I'd like you to ", "."),
    ("I need you to ", "."),
    ("we want you to ", "."),
    ("go ahead and ", "."),
    ("try to ", "."),
    ("now ", "."),
    ("just ", "."),
    ("your task: ", "."),
    ("your job is to ", "."),
    ("", ", please."),
    ("", ", thanks."),
    ("", ", thank you."),
    ("", " for me."),
)
HELD_OUT_POLITE: tuple[tuple[str, str], ...] = (
    ("kindly ", "."),
    ("be so kind as to ", "."),
    ("do me a favor and ", "."),
    ("I ask you to ", "."),
    ("", ", if possible."),
    ("", ", cheers."),
)
# The same where the order does not speak of the one who gives it ("Give me …").
OWN: tuple[tuple[str, str], ...] = (
    ("I want to ", "."),
    ("I need to ", "."),
    ("help me ", "."),
    ("let's ", "."),
    ("we have to ", "."),
    ("how do I ", "?"),
    ("how can I ", "?"),
    ("is it possible to ", "?"),
)
HELD_OUT_OWN: tuple[tuple[str, str], ...] = (("I wish to ", "."), ("it is time to ", "."), ("how does one ", "?"))
# Before any sentence.
PREFIXES = ("task: ", "instruction: ", "prompt: ", "request: ", "hi, ", "hello, ", "hey, ", "ok, ", "next: ")
HELD_OUT_PREFIXES = ("command: ", "to do: ", "dear model, ")

JOINS = ("; ", ": ", ", ", ". ", " - ")
QUESTIONS = frozenset(["what", "which", "where", "how", "can", "do", "does", "is", "are"])
# A sentence that opens so is no order, and "please" has no place before it.
_STATEMENTS = """
    a an the this that these there it its everything everybody somebody something i i'd i'm my we no not more less
    less to for from in on with without given based before after under instead too part holes drops raindrops rain snow
    fog blur noise moire fading low poor night objects
"""
NO_ORDERS = QUESTIONS | frozenset(_STATEMENTS.split())
# Articles that hurried people leave out: not before a placeholder, nor where another word needs them.
ARTICLE = r"\b(?:the|a|an) (?!{|few\b|lot\b|little\b|bit\b|same\b|rest\b|most\b)"
