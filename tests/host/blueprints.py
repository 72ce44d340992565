"""The blueprints, described once: one node for each thing that people come for, made of the extension's own nodes.

`make workflows` writes them with the example workflows. Their titles are names of files, since the page's list of nodes
shows these.
"""

from __future__ import annotations

from typing import Any

from workflow_graph import PARTS, Blueprint, Graph, Link, Port

MODEL, ASK, ANSWER = "Model", "Ask", "Answer"
NANO = "nano (bundled)"
IMAGE, VAE = Port("image"), PARTS[3]


def _asked(
    title: str, about: tuple[str, str], image: Link | Port, task: str | Port, **words: Any
) -> tuple[Graph, Link]:
    """A graph that asks the chosen model about a picture, and the answer."""
    graph = Graph(title, "", about)
    graph.load(MODEL, Port("model"))
    latent = graph.ask(task, image, ASK, seed=Port("seed"), **words)
    graph.step(ANSWER)
    return graph, graph.decode(latent)


def restore() -> Blueprint:
    about = (
        "Restores a picture: noise, low light, rain, haze, snow, blur and more, by its task. The answer has the size "
        "of the picture.",
        "修复图像：按所选任务去除噪点、暗光、雨、雾、雪、模糊等。答案与原图同样大小。",
    )
    graph, answer = _asked("PixWizard Restore", about, IMAGE, Port("task"))
    ports = {"image": None, "task": "denoise", "model": NANO, "seed": 1}
    return Blueprint(graph, ports, {"image": graph.keep(answer, IMAGE)})


def read() -> Blueprint:
    about = (
        "Reads a picture: depth, normals, classes, edges or poses, by its task. The answer and what is beside it go "
        "to a Decode node.",
        "读取图像：按所选任务得到深度、法线、类别、边缘或姿势。答案及其旁边的输出接到解码节点。",
    )
    graph, answer = _asked("PixWizard Read", about, IMAGE, Port("task"))
    outputs = {
        "image": answer, "sentence": Link("instruction", 2), "source": Link("conditioning", 4), "model": PARTS[0],
        "vae": VAE,
    }  # fmt: skip
    return Blueprint(graph, {"image": None, "task": "depth", "model": NANO, "seed": 1}, outputs)


def edit() -> Blueprint:
    about = (
        "Edits a picture by instructions, one a line, and keeps the pixels that nothing changed.",
        "按指令编辑图像，每行一条；没有改变的像素保持原样。",
    )
    graph = Graph("PixWizard Edit", "", about)
    graph.load(MODEL, Port("model"))
    graph.step("Edit")
    model, clip, vision, vae = PARTS
    answer = graph.add(
        "chain", "PixWizardEditChain", model=model, clip=clip, clip_vision=vision, vae=vae, image=IMAGE,
        instructions=Port("instructions"), seed=Port("seed"), threshold=0.03, reference="source", resolution=0,
        solver="the model's",
    )  # fmt: skip
    ports = {"image": None, "instructions": "Make it dusk.", "model": NANO, "seed": 1}
    return Blueprint(graph, ports, {"image": answer, "steps": Link("chain", 1)})


def inpaint() -> Blueprint:
    about = (
        "Fills the masked part of a picture, with what the caption says where there is one; the rest stays to the "
        "pixel.",
        "填补图像中遮罩覆盖的部分，可用“描述”说明填入什么（英文）；其余像素保持原样。",
    )
    graph = Graph("PixWizard Inpaint", "", about)
    graph.load(MODEL, Port("model"))
    graph.column()
    hole = graph.add("hole", "PixWizardInpaintCanvas", image=IMAGE, mask=Port("mask"), grow=Port("grow"), fill="white")
    latent = graph.ask("inpaint", hole, ASK, seed=Port("seed"), caption=Port("caption"))
    graph.step(ANSWER)
    answer = graph.finish(graph.decode(latent), IMAGE, mask=Link("hole", 1))
    ports = {"image": None, "mask": None, "caption": "", "grow": 4, "model": NANO, "seed": 1}
    return Blueprint(graph, ports, {"image": answer, "canvas": hole})


def point() -> Blueprint:
    about = (
        "Finds what words name in a picture: its mask, and how sure that is.",
        "在图像中找到文字所指的物体：给出它的遮罩和可信程度（文字用英文）。",
    )
    graph, answer = _asked("PixWizard Point", about, IMAGE, "referring_mask", caption=Port("words"))
    mask = graph.add(
        "mask", "PixWizardDecodeMask", image=answer, kind="black and white (mask)", color="magenta",
        source=Link("conditioning", 4), vae=VAE, sentence=Link("instruction", 2),
    )  # fmt: skip
    ports = {"image": None, "words": "the red ball", "model": NANO, "seed": 1}
    outputs = {"mask": mask, "preview": Link("mask", 1), "found": Link("mask", 2), "confidence": Link("mask", 3)}
    return Blueprint(graph, ports, outputs)


BLUEPRINTS = {made.graph.title: made for made in (restore(), read(), edit(), inpaint(), point())}
