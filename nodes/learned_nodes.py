"""Tasks that were learned from pairs of pictures, in a graph."""

from __future__ import annotations

import os
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..comfyui_pixwizard.files.learned_task import SUFFIX, LearnedTask
from ..comfyui_pixwizard.task_table import TaskRows
from .conversions import Node, schema
from .host_model import LEARNED_TASK, PixWizardModel

FOLDER = "pixwizard_tasks"


def register_folder() -> None:
    """Make models/pixwizard_tasks known to the host; extra_model_paths.yaml may have added others before."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {SUFFIX})


class LoadTask(Node):
    """A MODEL that does what a task file says, beside the words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardLoadTask",
            purpose="loaders",
            aliases=["task inversion", "learned task", "textual inversion", "task embedding", "task file"],
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("task_file", options=folder_paths.get_filename_list(FOLDER)),
                io.Float.Input("strength", default=1.0, min=-4.0, max=4.0, step=0.05),
            ],
            outputs={"model": io.Model, "sentence": io.String, "points": io.Int},
        )

    @classmethod
    def execute(cls, model: Any, task_file: str, strength: float) -> io.NodeOutput:
        if not isinstance(getattr(model, "model", None), PixWizardModel):
            raise ValueError("Load Task needs a PixWizard MODEL, found another one: connect Load PixWizard's")
        task = LearnedTask.load(folder_paths.get_full_path_or_raise(FOLDER, task_file))
        task.check(model.model.diffusion_model.config)
        vector, token, given = task.rows()
        clone = model.clone()
        if not strength:
            return io.NodeOutput(clone, task.instruction, task.points)
        wanted = {LEARNED_TASK: TaskRows(vector * strength, token * strength, given)}
        clone.model_options["transformer_options"] = clone.model_options.get("transformer_options", {}) | wanted
        return io.NodeOutput(clone, task.instruction, task.points)
