"""Instructions one after the other, each on the picture that the one before made."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..comfyui_pixwizard.answer import Keeping
from ..comfyui_pixwizard.noise import LARGEST_SEED
from ..comfyui_pixwizard.pictures.buckets import CELL
from ..comfyui_pixwizard.pictures.change import CHAIN_THRESHOLD, REFERENCES, SOURCE
from ..comfyui_pixwizard.tasks import TASKS
from .carried import MODELS_OWN
from .conversions import ADVANCED, Node, schema, sized_as
from .finish_nodes import KeepUnchanged
from .image_nodes import LARGEST, ImageConditioning
from .instruction_nodes import BY_WORDS, Instruction
from .sampling_nodes import Sampler

SOLVERS = [MODELS_OWN, *comfy.samplers.SAMPLER_NAMES]


class EditChain(Node):
    """Instruction, Image Conditioning, Sampler and Keep Unchanged, once for each line."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="PixWizardEditChain",
            purpose="sampling",
            aliases=["sequential edits", "multi-turn edit", "several instructions", "edit list"],
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                io.ClipVision.Input("clip_vision"),
                io.Vae.Input("vae"),
                io.Image.Input("image"),
                io.String.Input(
                    "instructions", default="", multiline=True, placeholder="Remove the rain.\nMake it dusk."
                ),
                io.Int.Input("seed", default=0, min=0, max=LARGEST_SEED, control_after_generate=True),
                io.Float.Input("threshold", default=CHAIN_THRESHOLD, min=0.0, max=1.0, step=0.005),
                io.Combo.Input("reference", options=list(REFERENCES), default=SOURCE, extra_dict=ADVANCED),
                io.Int.Input("resolution", default=0, min=0, max=LARGEST, step=CELL),
                io.Combo.Input("solver", options=SOLVERS, default=MODELS_OWN, extra_dict=ADVANCED),
            ],
            outputs={"image": io.Image, "steps": io.Image, "tasks": io.String},
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        clip_vision: Any,
        vae: Any,
        image: Tensor,
        instructions: str,
        seed: int,
        threshold: float,
        reference: str,
        resolution: int,
        solver: str,
    ) -> io.NodeOutput:
        sentences = [line.strip() for line in instructions.splitlines() if line.strip()]
        if not sentences:
            raise ValueError("Edit Chain needs an instruction, found none: write what to do, one a line")
        picture, steps, tasks = image[..., :3], [], []
        asked: dict[str, Any] = dict(task=BY_WORDS, caption="", color="red", class_name="", wording=0)
        sampling: dict[str, Any] = dict(seed=seed, solver=solver, shift=1.0, denoise=1.0, guided_channels=MODELS_OWN)
        for words in sentences:
            encoded, empty, _, task, points, text_guidance, image_guidance = Instruction.execute(
                clip=clip, text=words, model=model, **asked
            ).args
            positive, image_only, negative, latent, source = ImageConditioning.execute(
                positive=encoded, empty=empty, clip_vision=clip_vision, vae=vae, image=picture, resolution=resolution
            ).args
            branches = dict(positive=positive, image_only=image_only, negative=negative)
            weights = dict(text_guidance=text_guidance, image_guidance=image_guidance)
            sampled = Sampler.execute(
                model=model, latent=latent, points=points, **branches, **weights, **sampling
            ).args[0]
            answer = vae.decode(sampled["samples"])
            kept = Keeping(threshold, reference).threshold_for(TASKS.get(task)) if threshold else None
            if kept is None:
                picture = sized_as(answer, picture)
            else:
                picture = KeepUnchanged.execute(
                    image=answer, source=source, vae=vae, threshold=kept, original=picture, reference=reference
                ).args[0]
            steps.append(picture)
            tasks.append(task)
        shown = torch.cat(steps)
        return io.NodeOutput(picture, shown, "\n".join(tasks), ui=ui.PreviewImage(shown, cls=cls))
