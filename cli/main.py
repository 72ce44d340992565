"""`pixwizard …`: finds the command, runs it, and turns a user's mistakes into one line and exit code 2.

`COMMANDS` and what it is made of are the only tables of modules that are imported by name: a command is imported when
it is asked for, so that `--help` does not wait seconds for torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..comfyui_pixwizard.version import VERSION
from .messages import report

USAGE_ERROR, INTERRUPTED = 2, 130


class Command(NamedTuple):
    """Where a command is: a dataclass that tyro fills and whose `run()` returns the exit code."""

    module: str
    name: str
    summary: str = ""

    def kind(self) -> Any:
        """That class."""
        return getattr(importlib.import_module(self.module, __package__), self.name)


class Group(NamedTuple):
    """Commands that follow a common word; `about` heads its own --help."""

    summary: str
    about: str
    verbs: dict[str, Command]


EXPORTS = {
    "onnx": Command(".export_onnx", "Onnx"),
    "check": Command(".export_onnx", "Check"),
    "tensorrt": Command(".export_engines", "BuildTensorRT"),
    "tensorrt-rtx": Command(".export_engines", "BuildTensorRTRTX"),
    "list": Command(".export_engines", "ListEngines"),
    "prune": Command(".export_engines", "PruneEngines"),
}
BENCHES = {
    "speed": Command("..bench.speed", "Speed"),
    "quality": Command("..bench.quality", "Quality"),
    "sizes": Command("..bench.sizes", "Sizes"),
    "large": Command("..bench.large", "Large"),
    "drift": Command("..bench.drift", "Drift"),
    "local": Command("..bench.local", "Local"),
    "inversion": Command("..bench.few_pairs", "Inversion"),
    "tasks": Command("..bench.task_words", "TaskWords"),
}
DATA = {
    "preview": Command(".data", "Preview"),
    "build": Command(".data", "Build"),
    "judge-filters": Command(".data", "JudgeFilters"),
}
ALIGN = {
    "grid": Command(".align", "AlignGrid"),
    "train": Command("..training.alignment.picked_training", "AlignTrain"),
    "experiment": Command("..training.alignment.alignment_gain", "AlignExperiment"),
}
COMMANDS: dict[str, Command | Group] = {
    "run": Command(".run", "Run", "do what an instruction says, to one or many pictures"),
    "demo": Command(".demo_command", "Demo", "run every task on examples and write a page to look at"),
    "tasks": Command(".task_list", "Tasks", "list the tasks, an instruction for each and their defaults"),
    "info": Command(".model_files", "Info", "parameters, entries and configuration of a model"),
    "convert": Command(".model_files", "Convert", "released weights to this project's form"),
    "export": Group(
        "write a model for other engines: ONNX, TensorRT",
        "Write a model for other engines, check what was written, keep engines in order.",
        EXPORTS,
    ),
    "bench": Group(
        "measure speed, and quality against evaluations",
        "Measure speed, or what fewer evaluations cost; every figure is a ratio within one run.",
        BENCHES,
    ),
    "train": Command(".train", "Train", "train a model from nothing, or go on"),
    "align": Group(
        "pick among answers, train on what was picked",
        "Let people, or a score, pick among twenty answers to each question, and train on what was picked.",
        ALIGN,
    ),
    "data": Group("build training data, look at pairs", "Build what a model is trained on, or look at it.", DATA),
    "eval": Command(".evaluate", "Eval", "measure a model on every task; eval benchmark, on data sets"),
}
# Verbs of a command that take another way than the command itself.
VERBS = {
    ("eval", "benchmark"): Command(".benchmarks", "EvalBenchmark", "judge answers on a data set of the field"),
    ("eval", "benchmarks"): Command(".benchmarks", "EvalBenchmarks", "list these data sets"),
    ("eval", "tokens"): Command(".tokens", "EvalTokens", "draw which image tokens each task chooses"),
    ("eval", "stand-ins"): Command(".benchmarks", "StandIns", "write rendered sets in three of their layouts"),
}


def help_text() -> str:
    """What `pixwizard --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pixwizard COMMAND …",
            "",
            "One model that restores, edits, generates and reads pictures from instructions.",
            "",
            "commands:",
            *lines,
            "",
            "pixwizard COMMAND --help says more. For example:",
            '  pixwizard run photo.jpg -i "Remove the noise" -o clean.png',
        ]
    )


def _message(error: Exception) -> str:
    """The system's errors say what is wrong in an odd order: 'No such file or directory: x' reads better from x on."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}; check the path and its permissions"
    return str(error) or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, what the command says, or 2 for a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else USAGE_ERROR
    if arguments[0] == "--version":
        print(f"pixwizard {VERSION}")
        return 0
    if arguments[0] not in COMMANDS:
        report(f"the commands are {', '.join(COMMANDS)}, found {arguments[0]!r}: see pixwizard --help")
        return USAGE_ERROR
    verb = VERBS.get((arguments[0], arguments[1])) if len(arguments) > 1 else None
    if verb is not None:
        return _run(verb, " ".join(arguments[:2]), arguments[2:])
    return _run(COMMANDS[arguments[0]], arguments[0], arguments[1:])


def _run(command: Command | Group, name: str, arguments: Sequence[str]) -> int:
    import tyro

    try:
        told: dict[str, Any] = {"args": list(arguments), "prog": f"pixwizard {name}"}
        if isinstance(command, Command):
            return tyro.cli(command.kind(), **told).run()
        kinds = {verb: one.kind() for verb, one in command.verbs.items()}
        return tyro.extras.subcommand_cli_from_dict(kinds, description=command.about, **told).run()
    except BrokenPipeError:
        # The reader of a pipe went away, as in `pixwizard tasks | head`; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        report(_message(error))
        return USAGE_ERROR
    except KeyboardInterrupt:
        report("interrupted; files already written are complete")
        return INTERRUPTED
