"""`pixwizard align`: let people, or a score, pick among answers, and train on what was picked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:  # torch would be waited for by --help
    from ..training.alignment.grid_folder import GridFolder


@dataclass
class AlignGrid:
    """Make twenty answers to every question, each by other guidance, and let someone pick none to two of them.

    The answers come first; then a page is served on this machine until Ctrl-C. Everything is kept at once, so the same
    command goes on where it was stopped.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Where questions, answers and choices are kept."""
    questions: Path | None = None
    """A JSON list, or JSON lines, of {input_path, prompt}, and task where it should not be guessed."""
    scenes: int = 0
    """Instead, so many rendered edits, whose true results are known."""
    model: str = "nano"
    """The model, nano or a folder."""
    steps: int | None = None
    """Points of the time grid; the model's own by default."""
    picker: Literal["page", "score", "later"] = "page"
    """Who picks: a person on the page, a score, or nobody yet."""
    score: str = "truth"
    """Of the picker score: truth, nearness to the true result, or a score of data build such as clip_direction."""
    score_model: str = ""
    """Model of that score, see docs/filters.md."""
    port: int = 8711
    """Of the page; 0 takes a free one."""
    seed: int = 0
    """Seed of rendered questions."""

    def run(self) -> int:
        """Answer, and pick. Raises ValueError for questions, models or scores that cannot be used."""
        from tqdm import tqdm

        from ..comfyui_pixwizard.pipeline import PixWizardPipeline
        from ..training.alignment.candidates import EDITS, answer_all, read_questions, rendered_questions
        from ..training.alignment.grid_folder import GRID, SETTINGS, GridFolder
        from ..training.alignment.pickers import pick_all, score_picker

        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port lies in 0 to 65535, found {self.port}: take 0 for a free one")
        given = (self.questions is not None) + (self.scenes > 0)
        there = (self.folder / GRID).is_file()
        if given > 1 or not (given or there):
            found = "both" if given else "neither"
            raise ValueError(f"a grid is begun with --questions or --scenes, found {found}: give one of them")
        picker = score_picker(self.score, self.score_model) if self.picker == "score" else None
        pipeline = PixWizardPipeline.from_pretrained(self.model)
        if there:
            grid = GridFolder(self.folder)
            if grid.model != self.model:
                raise ValueError(f"{self.folder} was begun with model {grid.model}, found {self.model}: name that one")
        elif self.questions is not None:
            asked = read_questions(self.folder, self.questions, pipeline)
            grid = GridFolder.create(self.folder, self.model, asked)
        else:
            asked = rendered_questions(self.folder, self.scenes, EDITS, self.seed)
            grid = GridFolder.create(self.folder, self.model, asked)
        with tqdm(total=len(grid.asked) * len(SETTINGS), unit="answer") as bar:
            answer_all(grid, pipeline, self.steps, bar.update)
        if picker is not None:
            with tqdm(total=len(grid.left()), unit="question") as bar:
                pick_all(grid, picker, bar.update)
        elif self.picker == "page":
            self._serve(grid)
        choices = grid.choices().values()
        done, picked = sum(one.seen for one in choices), sum(len(one.picked) for one in choices)
        print(f"{done} of {len(grid.asked)} questions done, {picked} answers picked")
        return 0

    def _serve(self, grid: GridFolder) -> None:
        from .align_page import LOCAL, server

        with server(grid, self.port) as serving:
            print(f"pick at http://{LOCAL[0]}:{serving.server_port}/ ; Ctrl-C ends it, nothing is lost", flush=True)
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                print()
