"""From a task or a sentence to CONDITIONING."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..comfyui_pixwizard.pipeline import GENERAL_GUIDANCE, GENERAL_STEPS
from ..comfyui_pixwizard.tasks import TASKS, get_task, guess_task
from ..comfyui_pixwizard.tasks.task import fill
from .conversions import Node, schema

BY_WORDS = "by the words"
FREE = "none"


class Instruction(Node):
    """A sentence, encoded, with the settings that suit its task."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardInstruction",
            display_name="Instruction",
            description="Encodes what the model is asked to do: free words, or the words of a task with your caption, "
            "colour or class in them. Also gives the settings that suit the task.",
            aliases=["prompt", "pixwizard prompt", "text encode", "task", "edit instruction"],
            inputs=[
                io.Clip.Input("clip", tooltip="CLIP of Load PixWizard or of Load PixWizard Text Encoders."),
                io.Combo.Input(
                    "task",
                    options=[BY_WORDS, *TASKS],
                    default=BY_WORDS,
                    tooltip="What is asked for. 'by the words' finds the task that your text resembles; a named task "
                    "writes the sentence itself when the text is empty. Choose text_to_image for a blank canvas.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    placeholder="Remove the rain from this picture.",
                    tooltip="Your own words, in English. Empty: the task's words. (word:1.2) weighs a word.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    tooltip="What a task's sentence speaks of, e.g. 'the red cone'.",
                ),
                io.String.Input("color", default="red", tooltip="Colour for edit_recolor and keypoint."),
                io.String.Input("class_name", default="", tooltip="Class for tasks whose sentence names one."),
                io.Int.Input(
                    "wording",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Which of the task's sentences to use when the text is empty; they mean the same.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="conditioning", tooltip="The sentence, encoded."),
                io.Conditioning.Output(display_name="empty", tooltip="The empty sentence, for guidance."),
                io.String.Output(display_name="sentence", tooltip="The sentence that was encoded."),
                io.String.Output(display_name="task", tooltip="The task that was chosen, or 'none'."),
                io.Int.Output(display_name="points", tooltip="Points of the time grid that suit the task."),
                io.Float.Output(
                    display_name="text_guidance", tooltip="How strongly to follow the words, for this task."
                ),
                io.Float.Output(
                    display_name="image_guidance", tooltip="How strongly to follow the picture, for this task."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, clip: Any, task: str, text: str, caption: str, color: str, class_name: str, wording: int
    ) -> io.NodeOutput:
        sentence, chosen = sentence_of(task, text, caption, color, class_name, wording)
        if clip is None:
            raise ValueError("Instruction needs a CLIP, found none: connect Load PixWizard's CLIP")
        encoded, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in (sentence, ""))
        points, guidance = GENERAL_STEPS, GENERAL_GUIDANCE
        if chosen is not None:
            points, guidance = get_task(chosen).steps, get_task(chosen).guidance
        return io.NodeOutput(encoded, empty, sentence, chosen or FREE, points, *map(float, guidance))


def sentence_of(
    task: str, text: str, caption: str, color: str, class_name: str, wording: int
) -> tuple[str, str | None]:
    """The sentence to encode, and the task it belongs to, if any.

    Raises:
        ValueError: neither words nor a task, or a task without the words that its sentence needs.
    """
    text = text.strip()
    if text:
        return text, guess_task(text) if task == BY_WORDS else task
    if task == BY_WORDS:
        raise ValueError(
            "Instruction needs words or a task, found neither: write what to do, e.g. 'Remove the "
            "rain', or choose a task"
        )
    chosen = get_task(task)
    given = {"caption": caption.strip(), "color": color.strip(), "class": class_name.strip()}
    words = {name: given[name] for name in chosen.words}
    empty = [name for name, value in words.items() if not value]
    if empty:
        field = "class_name" if empty[0] == "class" else empty[0]
        raise ValueError(f"the task {task} speaks of a {empty[0]}, found none: fill in {field}")
    return fill(chosen.instructions[wording % len(chosen.instructions)], words), task
