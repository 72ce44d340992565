"""One benchmark from its folder to its row: read, ask where a model is given, score, count what could not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from .answering import Answers, Asking, Pipeline, fingerprint_of, make_answers, source_of
from .catalogue import Benchmark, benchmark
from .judge import Figure, Judge, Shown
from .libraries import versions
from .options import Options
from .pixel_judge import target_of
from .question import Fault, Question, named_once
from .quoted import Quote, quoted

# More faults than this share are an error.
TOLERATED = 0.01
NAMED = 10
# A file in a data set's folder that says that it is rendered, see `stand_ins`: nothing is quoted beside its figures.
STAND_IN = "RENDERED-STAND-IN.txt"
Watch = Callable[[str, int], Callable[[int], Any]]


@dataclass
class BenchmarkOutcome:
    """What became of a benchmark.

    Attributes:
        metrics: figures, or why there is none.
        each: question and figures of every answer that was judged.
        faults: names by reason of those that were not.
        asked: all questions.
        quotes: what papers say of it.
        judge: by which figure one answer is compared with another.
    """

    benchmark: str
    metrics: dict[str, Figure]
    settings: dict[str, Any]
    each: list[tuple[Question, dict[str, float]]]
    faults: dict[str, list[str]]
    asked: int
    quotes: list[Quote]
    judge: Judge
    answers: Answers
    seconds: dict[str, float] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As --json writes it."""
        counts = {"asked": self.asked, "judged": len(self.each), "faults": {k: len(v) for k, v in self.faults.items()}}
        return {
            "benchmark": self.benchmark,
            "n": len(self.each),
            "metrics": self.metrics,
            "settings": self.settings | {"seconds": self.seconds},
            "counts": counts | {"named": self.faults},
            "quoted": [quote.told() for quote in self.quotes],
        }


@dataclass(frozen=True)
class Source:
    """Where answers come from.

    Attributes:
        answers: their folder.
        model: what makes them; None when they were made elsewhere.
        load: brings that model.
    """

    answers: Path
    model: str | None = None
    load: Callable[[], Pipeline] | None = None


def judge(
    name: str, data: Path, source: Source, options: Options, watch: Watch, *, allow_missing: bool = False
) -> BenchmarkOutcome:
    """Judge the answers of one benchmark.

    Args:
        data: the data set's folder.
        watch: called with what begins and how many steps it has; returns what is to be told each of them.
        allow_missing: judge what can be, however much cannot.

    Raises:
        ValueError: an unknown benchmark or split, a folder that is not in the layout, more faults than TOLERATED,
            nothing that could be judged, a network file that cannot be used.
    """
    protocol = benchmark(name)
    options = replace(options, split=_split(protocol, options.split))
    questions = list(islice(named_once(protocol.read(data, options)), options.n))
    if not questions:
        raise ValueError(f"benchmark {name} found no pictures in {data}: give the folder of {protocol.layout}")
    marking = protocol.judge(options)  # tells what is missing before anything is made
    answers, seconds = Answers(source.answers), {}
    settings = _settings(protocol, options, source)
    if source.model is not None and source.load is not None:
        started = time.perf_counter()
        _looked_at(questions, watch, allow_missing, name)
        asking = Asking(settings["model_digest"], options, protocol.keep_size, protocol.references)
        advance = watch("answers", len(questions))
        settings["answers_made_now"] = make_answers(questions, answers, asking, source.load, advance)
        seconds["answers"] = round(time.perf_counter() - started, 1)
    started = time.perf_counter()
    each, faults = _marked(questions, answers, marking, protocol.references, watch("judging", len(questions)))
    refuse(faults, len(questions), allow_missing, name)
    if not each:
        raise ValueError(f"benchmark {name} needs at least one answer that can be judged, found none: {_list(faults)}")
    metrics = dict(marking.result())
    settings |= dict(marking.settings()) | {"versions": versions()}
    stand_in = (data / STAND_IN).is_file()
    if stand_in:
        settings["data"] = "a rendered stand-in, not the benchmark"
    seconds["judging"] = round(time.perf_counter() - started, 1)
    return BenchmarkOutcome(
        name,
        metrics,
        settings,
        each,
        faults,
        len(questions),
        [] if stand_in else quoted(name, options),
        marking,
        answers,
        seconds,
    )


def _split(protocol: Benchmark, asked: str) -> str:
    if asked and asked not in protocol.splits:
        known = ", ".join(filter(None, protocol.splits)) or "none"
        raise ValueError(f"--split of this benchmark is one of: {known}; found {asked!r}: choose one or leave it out")
    return asked or protocol.splits[0]


def _settings(protocol: Benchmark, options: Options, source: Source) -> dict[str, Any]:
    told: dict[str, Any] = {"model": source.model or "answers made elsewhere"}
    if source.model is not None:
        told["model_digest"] = fingerprint_of(source.model)
        back = "brought back to it" if protocol.keep_size else "left at the model's size"
        told |= {
            "size": f"square of side {options.size}" if options.size else "the picture's own area",
            "resize_kernel": f"Lanczos (Pillow) to the model's size; answers {back}",
            "steps": options.steps or "the task's own",
            "solver": options.solver or "the task's own",
            "guidance": [
                "the task's own" if weight is None else weight
                for weight in (options.text_guidance, options.image_guidance)
            ],
            "seed": options.seed,
        }
    return told | {"split": options.split}


def _looked_at(questions: Sequence[Question], watch: Watch, allow_missing: bool, name: str) -> None:
    """Every picture of the data set once, so that a broken set is told before hours of asking."""
    faults: dict[str, list[str]] = {}
    advance = watch("looking", len(questions))
    for question in questions:
        try:
            source_of(question)
            if question.target is not None:
                target_of(question)
        except Fault as fault:
            faults.setdefault(fault.reason, []).append(question.name)
        advance(1)
    refuse(faults, len(questions), allow_missing, name)


def _marked(
    questions: Iterable[Question], answers: Answers, marking: Judge, references: bool, advance: Callable[[int], Any]
) -> tuple[list[tuple[Question, dict[str, float]]], dict[str, list[str]]]:
    each, faults = [], dict[str, list[str]]()
    for question in questions:
        try:
            shown = source_of(question)
            answer = answers.open(question)
            kept = answers.reference(question) if references else None
            figures = marking.add(question, Shown(shown, kept), answer)
            each.append((question, dict(figures)))
        except Fault as fault:
            faults.setdefault(fault.reason, []).append(question.name)
        advance(1)
    return each, faults


def refuse(faults: dict[str, list[str]], asked: int, allow_missing: bool, name: str) -> None:
    """Raise ValueError when more than TOLERATED of the questions cannot be judged, unless that is allowed."""
    count = sum(map(len, faults.values()))
    if count > TOLERATED * asked and not allow_missing:
        raise ValueError(
            f"benchmark {name} allows {TOLERATED:.0%} of its pictures to be unusable, found {count} of {asked}: "
            f"{_list(faults)}; repair them, or judge the rest with --allow-missing"
        )


def _list(faults: dict[str, list[str]]) -> str:
    parts = []
    for reason, names in faults.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{len(names)} {reason} ({', '.join(names[:NAMED])}{more})")
    return "; ".join(parts) or "none"
