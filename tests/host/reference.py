"""What a graph should answer: by the core pipeline where it samples, by the nodes themselves elsewhere."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# What the pipeline takes unless told otherwise.
DEFAULT_SOLVER = "unipc"


class Reference:
    """Works an API graph out.

    Args:
        node: runs one node by its class.
        pipeline: the core pipeline.
        adapted: the same with the weights of the graph's LoRA.
        task: the learned task of the graph's task file.
        known: outputs of some nodes, by their numbers.
    """

    def __init__(
        self, graph: dict[str, Any], node: Any, pipeline: Any, adapted: Any = None, task: Any = None, known: Any = None
    ) -> None:
        self.graph, self.node, self.pipeline, self.adapted, self.task = graph, node, pipeline, adapted, task
        self.done: dict[str, tuple[Any, ...]] = dict(known or {})

    def value(self, given: Any) -> Any:
        return self.outputs(given[0])[given[1]] if isinstance(given, list) else given

    def outputs(self, number: str) -> tuple[Any, ...]:
        if number not in self.done:
            entry = self.graph[number]
            work = getattr(self, entry["class_type"], None)
            self.done[number] = work(entry["inputs"]) if work else self._run(entry)
        return self.done[number]

    def _run(self, entry: dict[str, Any]) -> tuple[Any, ...]:
        return self.node(entry["class_type"], **{key: self.value(given) for key, given in entry["inputs"].items()})

    def PixWizardInstruction(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        _, _, *rest = self._run({"class_type": "PixWizardInstruction", "inputs": inputs})
        return (rest[0], "", *rest)

    def PixWizardTaskEncoder(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        _, sentence, task = self._run({"class_type": "PixWizardTaskEncoder", "inputs": inputs})
        return sentence, sentence, task

    def PixWizardSetTask(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        """The sentence of the task: no workflow samples from another one's text."""
        return (self.value(inputs["task_vector"]),)

    def PixWizardKeptTokens(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        def ours(name: str) -> Any:
            return import_module(type(self.pipeline).__module__.replace("comfyui_pixwizard.pipeline", name))

        choice, images = ours("training.evaluate.token_choice"), ours("comfyui_pixwizard.pictures.images")
        (source,), sentence = self.value(inputs["positive"])
        picture = images.unit_to_image(source.permute(2, 0, 1))
        (kept,) = choice.chosen_tokens(self.pipeline, picture, [sentence])
        large = ours("comfyui_pixwizard.pictures.legends").sized(picture)[0]
        return (ours("nodes.conversions").from_pillow([choice.dimmed(large, kept)]),)

    def PixWizardImageConditioning(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        source, sentence = self.value(inputs["image"]), self.value(inputs["positive"])
        assert inputs["resolution"] == 0, "the workflows' pictures already have the model's size"
        question = (source, sentence)
        return question, question, question, question, source

    def _sample(
        self, pipeline: Any, question: Any, points: int, text: float, image: float, seed: int, solver: str,
        task: Any = None, grids: int = 1,
    ) -> tuple[Any, ...]:  # fmt: skip
        source, sentence = question
        answers = pipeline.generate(
            source.permute(0, 3, 1, 2) * 2 - 1,
            [sentence] * len(source),
            steps=points,
            solver=solver,
            guidance=(text, image),
            patch_grids=grids,
            seeds=[seed + i for i in range(len(source))],
            tasks=None if task is None else [task] * len(source),
        )
        return ((answers / 2 + 0.5).permute(0, 2, 3, 1),)

    def PixWizardSampler(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        assert inputs["solver"] == "the model's"
        names = ("positive", "points", "text_guidance", "image_guidance", "seed")
        before = self.graph[inputs["model"][0]]["class_type"]
        pipeline = self.adapted if before == "LoraLoaderModelOnly" else self.pipeline
        task = self.task if before == "PixWizardLoadTask" else None
        grids = 1 if task else pipeline.declared[self._task(inputs["positive"])].patch_grids
        return self._sample(pipeline, *(self.value(inputs[name]) for name in names), DEFAULT_SOLVER, task, grids)

    def _task(self, conditioned: Any) -> str | None:
        """The task of what Image Conditioning takes, by Instruction or the task that was set for it."""
        (number, _), told = self.graph[conditioned[0]]["inputs"]["positive"], 3
        if self.graph[number]["class_type"] == "PixWizardSetTask":
            number, told = self.graph[number]["inputs"]["task_vector"][0], 2
        task = self.outputs(number)[told]
        return None if task == "none" else task

    def SamplerCustomAdvanced(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        guider = self.graph[inputs["guider"][0]]["inputs"]
        points = self.graph[inputs["sigmas"][0]]["inputs"]["points"]
        seed = self.graph[inputs["noise"][0]]["inputs"]["noise_seed"]
        scales = guider["cfg_conds"], guider["cfg_cond2_negative"]
        return self._sample(self.pipeline, self.value(guider["cond1"]), points, *scales, seed, "euler")

    def PixWizardLocalEdit(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        source, sentence = self.value(inputs["positive"])
        package = type(self.pipeline).__module__.rpartition(".")[0]
        edits, images = (import_module(f"{package}.{name}") for name in ("local_edits.edit", "pictures.images"))
        names = dict(steps="points", text_guidance="text_guidance", image_guidance="image_guidance", seed="seed")
        found = self.pipeline(
            images.unit_to_image(source[0].permute(2, 0, 1)),
            sentence,
            task=self.value(self.graph[inputs["points"][0]]["inputs"]["task"]),
            threshold=inputs["threshold"],
            local=edits.LocalEdit(self.value(inputs["mask"])[0] > 0.5, inputs["form"]),
            **{name: self.value(inputs[key]) for name, key in names.items()},
        )
        return (images.image_to_unit(found.image).permute(1, 2, 0)[None],)

    def VAEDecode(self, inputs: dict[str, Any]) -> tuple[Any, ...]:
        return (self.value(inputs["samples"]),)
