"""The task vector as a value of its own: encoded, mixed, and put beside the features of a text.

Shape legend: a task vector is [1, P], as CLIP's text tower projects it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.tasks.declared import FREE
from .arrivals import TaskVector
from .conversions import POOLED, TASK, Node, schema
from .instruction_nodes import BY_WORDS, sentence_inputs, sentence_of, task_by_words

TASK_VECTOR = io.Custom("PIXWIZARD_TASK")


class TaskEncoder(Node):
    """What kind of task a sentence asks for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardTaskEncoder",
            purpose="conditioning",
            aliases=["task embedding", "task vector", "clip text"],
            inputs=[io.Clip.Input("clip"), *sentence_inputs()],
            outputs={"task_vector": TASK_VECTOR, "sentence": io.String, "task": io.String},
        )

    @classmethod
    def execute(
        cls, clip: Any, task: str, text: str, caption: str, color: str, class_name: str, wording: int
    ) -> io.NodeOutput:
        sentence = sentence_of(task, text, caption, color, class_name, wording)
        vector = encode_task(clip, sentence)
        chosen = task_by_words(clip, sentence, vector) if task == BY_WORDS else task
        return io.NodeOutput(TaskVector(vector, chosen), sentence, chosen or FREE)


def encode_task(clip: Any, sentence: str) -> Tensor:
    """The task vector [1, P] of a sentence, by CLIP's text tower alone.

    Raises:
        ValueError: a CLIP of another model.
    """
    encoders = getattr(clip, "cond_stage_model", None)
    if encoders is None or not hasattr(encoders, "encode_task"):
        raise ValueError(
            "Task Encoder needs the CLIP of a PixWizard model, found another one: connect the CLIP of Load PixWizard "
            "or of Load PixWizard Text Encoders"
        )
    tokens = clip.tokenize(sentence)
    encoders.reset_clip_options()
    clip.load_model()
    encoders.set_clip_options({"execution_device": clip.patcher.load_device})
    return encoders.encode_task(tokens)


class MixTasks(Node):
    """Between two tasks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardMixTasks",
            purpose="conditioning",
            aliases=["blend tasks", "interpolate tasks", "conditioning average"],
            inputs=[
                TASK_VECTOR.Input("first"),
                TASK_VECTOR.Input("second"),
                io.Float.Input("weight", default=0.5, min=0.0, max=1.0, step=0.01),
            ],
            outputs={"task_vector": TASK_VECTOR, "likeness": io.Float},
        )

    @classmethod
    def execute(cls, first: TaskVector, second: TaskVector, weight: float) -> io.NodeOutput:
        one, other = first.vector, second.vector
        if one.shape != other.shape:
            raise ValueError(
                f"task vectors are mixed when they have one width, found {one.shape[-1]} and {other.shape[-1]}: "
                "take both from the CLIP of one model"
            )
        likeness = float(F.cosine_similarity(one.float(), other.float()).mean())
        # Between two tasks there is no row of a table.
        ends = {0.0: first.task, 1.0: second.task}
        task = first.task if first.task == second.task else ends.get(weight)
        return io.NodeOutput(TaskVector(torch.lerp(one.float(), other.float(), weight), task), likeness)


class SetTask(Node):
    """The text of one sentence, the task of another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardSetTask",
            purpose="conditioning",
            aliases=["apply task", "text and task", "conditioning combine"],
            inputs=[io.Conditioning.Input("text"), TASK_VECTOR.Input("task_vector")],
            outputs={"conditioning": io.Conditioning},
        )

    @classmethod
    def execute(cls, text: Any, task_vector: TaskVector) -> io.NodeOutput:
        vector, made = task_vector.vector, []
        for features, options in text:
            own = options.get(POOLED)
            if own is None or own.shape[-1] != vector.shape[-1]:
                found = "none" if own is None else f"one with a task vector of width {own.shape[-1]}"
                raise ValueError(
                    f"Set Task needs the conditioning of PixWizard's text encoders, found {found} for a task vector of "
                    f"width {vector.shape[-1]}: take both from the CLIP of one model"
                )
            made.append([features, options | {POOLED: vector.to(own), TASK: task_vector.task}])
        return io.NodeOutput(made)
