"""From a task or a sentence to CONDITIONING."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..comfyui_pixwizard.tasks import TASKS, get_task, guess_task
from ..comfyui_pixwizard.tasks.declared import FREE
from ..comfyui_pixwizard.tasks.task import fill
from .carried import carried, carried_predictor
from .conversions import POOLED, TASK, Node, schema, with_values

BY_WORDS = "by the words"


def sentence_inputs() -> list[Any]:
    """Inputs that `sentence_of` makes a sentence of."""
    return [
        io.Combo.Input("task", options=[BY_WORDS, *TASKS], default=BY_WORDS),
        io.String.Input("text", default="", multiline=True, placeholder="Remove the rain from this picture."),
        io.String.Input("caption", default=""),
        io.String.Input("color", default="red"),
        io.String.Input("class_name", default=""),
        io.Int.Input("wording", default=0, min=0, max=1000),
    ]


class Instruction(Node):
    """A sentence, encoded, with the settings that suit its task."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardInstruction",
            purpose="conditioning",
            aliases=["prompt", "pixwizard prompt", "text encode", "task", "edit instruction"],
            inputs=[
                io.Clip.Input("clip"),
                *sentence_inputs(),
                io.Model.Input("model", optional=True),
            ],
            outputs={
                "conditioning": io.Conditioning,
                "empty": io.Conditioning,
                "sentence": io.String,
                "task": io.String,
                "points": io.Int,
                "text_guidance": io.Float,
                "image_guidance": io.Float,
            },
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        task: str,
        text: str,
        caption: str,
        color: str,
        class_name: str,
        wording: int,
        model: Any = None,
    ) -> io.NodeOutput:
        sentence = sentence_of(task, text, caption, color, class_name, wording)
        if clip is None:
            raise ValueError("Instruction needs a CLIP, found none: connect Load PixWizard's CLIP")
        encoded, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in (sentence, ""))
        chosen = task_by_words(clip, sentence, encoded[0][1].get(POOLED)) if task == BY_WORDS else task
        encoded = with_values(encoded, {TASK: chosen})
        row = carried(model, clip)[chosen]
        weights = (row.text_guidance, row.image_guidance)
        return io.NodeOutput(encoded, empty, sentence, chosen or FREE, row.points, *weights)


def sentence_of(task: str, text: str, caption: str, color: str, class_name: str, wording: int) -> str:
    """The sentence to encode: the text, or a task's own.

    Raises:
        ValueError: neither words nor a task, or a task without the words that its sentence needs.
    """
    text = text.strip()
    if text:
        return text
    if task == BY_WORDS:
        raise ValueError(
            "Instruction needs words or a task, found neither: write what to do, e.g. 'Remove the "
            "rain', or choose a task"
        )
    chosen = get_task(task)
    given = {"caption": caption.strip(), "color": color.strip(), "class": class_name.strip()}
    # The form that speaks of what is filled in; a colour always is, so it decides nothing.
    filled = {name for name in ("caption", "class") if given[name]}
    form = next((form for form in chosen.forms if set(form) - {"color"} == filled), chosen.words)
    words = {name: given[name] for name in form}
    empty = [name for name, value in words.items() if not value]
    if empty:
        field = "class_name" if empty[0] == "class" else empty[0]
        raise ValueError(f"the task {task} speaks of a {empty[0]}, found none: fill in {field}")
    templates = chosen.forms[form].drawn
    return fill(templates[wording % len(templates)], words)


def task_by_words(clip: Any, sentence: str, vector: Tensor | None) -> str | None:
    """The task that a sentence asks for, by the predictor of CLIP's model, or by guess where it has none.

    Args:
        vector: the sentence's task vector [1, P], as CLIP encodes it.
    """
    predictor = carried_predictor(clip)
    if predictor is None or vector is None or vector.shape[-1] != predictor.width:
        return guess_task(sentence)
    return predictor.predict([sentence], vector.float().cpu())[0]
