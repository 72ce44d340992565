"""Example workflows that read a picture: boxes, joints, poses, classes, and several readings at once."""

from __future__ import annotations

from typing import Any

from blueprints import BLUEPRINTS
from workflow_graph import PARTS, Graph, Link

ASK, ANSWER = "Ask", "Answer"
READ = BLUEPRINTS["PixWizard Read"]
ROUGH = "nano was trained too briefly to find them reliably: *confidence* says how sure it is."
ROUGH_CHINESE = "nano 训练得太少，还不能可靠地找到：“置信度”说明有多可信。"
# The output of the blueprint by which a decoder knows the model.
VAE = 4
# The outputs of decoders that their nodes show.
DRAWN = {"Depth": 5, "Normals": 4, "Segmentation": 5, "Boxes": 6, "Keypoints": 5}
# What decoders of marks compare with.
SOURCE = {"source": Link("conditioning", 4), "vae": PARTS[3], "sentence": Link("instruction", 2)}


def predict() -> Graph:
    graph = Graph(
        "Read depth, normals and classes",
        "读取深度、法线和类别",
        (
            "Metres, unit vectors and class ids, each with a preview and with data for other nodes. The three "
            "readers are **PixWizard Read**, a blueprint: the button in its corner opens it.",
            "米、单位向量和类别编号，每项都有预览，也有供其他节点使用的数据。三个读取节点都是蓝图 **PixWizard Read**："
            "用右上角的按钮可以打开它。",
        ),
    )
    graph.step("Picture")
    image = graph.example(seed=12)
    graph.shown["example"] = image
    graph.lanes.append(image)
    for name, task, title, decoder in (
        ("depth", "depth", "Read depth", dict(code="the model's", near=1.0, far=13.0)),
        ("normals", "normal", "Read normals", {}),
        ("classes", "segmentation", "Read classes", dict(code="the model's", class_names="", pick="ground")),
    ):
        graph.step(name.capitalize())
        answer = graph.add(f"read_{name}", READ, image=image, task=task)
        graph.titles[f"read_{name}"] = title
        kind = "Segmentation" if name == "classes" else name.capitalize()
        carrier = {} if kind == "Normals" else {"vae": Link(f"read_{name}", VAE)}
        graph.add(name, f"PixWizardDecode{kind}", image=answer, **decoder, **carrier)
        graph.shown[name] = Link(name, DRAWN[kind])
    return graph


def classes() -> Graph:
    graph = Graph(
        "Classes with a legend",
        "带图例的类别图",
        (
            "Every pixel's class in a colour of its own, with names and shares of area below. The released weights "
            "know ADE20K's 150 classes.",
            "每个像素的类别各有一种颜色，下方给出名称和面积比例。官方发布的权重认识 ADE20K 的 150 类。",
        ),
    )
    graph.load()
    image = graph.example(seed=12)
    latent = graph.ask("segmentation", image, ASK)
    graph.step(ANSWER)
    answer = graph.decode(latent)
    graph.show("before", image)
    _large(graph, "Segmentation", image=answer, code="the model's", class_names="", pick="", vae=PARTS[3])
    return graph


def boxes() -> Graph:
    graph = Graph(
        "Boxes by words",
        "按文字画框",
        (
            f"The box around a thing, by words, as pixels and as JSON. {ROUGH}",
            f"用文字得到物体的方框，以像素和 JSON 给出。{ROUGH_CHINESE}",
        ),
    )
    graph.load()
    # Here the lines are drawn far enough that last digits of host and pipeline do not decide on the box.
    image = graph.example(seed=2)
    latent = graph.ask("referring_box", image, ASK, caption=Link("example", 3))
    graph.step(ANSWER)
    answer = graph.decode(latent)
    graph.show("before", image)
    _large(graph, "Boxes", image=answer, color="red", **SOURCE)
    return graph


def joints() -> Graph:
    graph = Graph(
        "Mark joints",
        "标出关节",
        (
            f"A dot on a named joint, as pixels and in OpenPose's form. {ROUGH}",
            f"在指定的关节上画一个点，以像素和 OpenPose 格式给出。{ROUGH_CHINESE}",
        ),
    )
    graph.load()
    image = graph.example("people", seed=3)
    latent = graph.ask("keypoint", image, ASK, caption="the right knee")
    graph.step(ANSWER)
    answer = graph.decode(latent)
    graph.show("before", image)
    kind = "coloured dots (keypoint)"
    _large(graph, "Keypoints", image=answer, kind=kind, colors="red", **SOURCE)
    return graph


def poses() -> Graph:
    graph = Graph(
        "Read poses",
        "读取姿势",
        (
            f"Skeletons of people, drawn and in OpenPose's form for other nodes. {ROUGH}",
            f"人物的骨架：绘制出来，并以 OpenPose 格式供其他节点使用。{ROUGH_CHINESE}",
        ),
    )
    graph.load()
    image = graph.example("people", seed=3)
    latent = graph.ask("pose", image, ASK)
    graph.step(ANSWER)
    answer = graph.decode(latent)
    graph.show("before", image)
    _large(graph, "Keypoints", image=answer, kind="skeleton (pose)", colors="red")
    return graph


def look() -> Graph:
    graph = Graph(
        "See what the model looks at",
        "查看模型所看之处",
        (
            "The words go in twice: as text, and as a task vector, which decides what each layer looks at. Here the "
            "words stay and the vector changes; **Mix Tasks** puts two together. Nothing is sampled: link *positive* "
            "to **PixWizard Sampler** to see what comes of it.",
            "文字输入两次：作为文本特征，以及作为任务向量，后者决定每一层看哪里。这里文字不变，只换向量；用“混合任务”可把"
            "两个合在一起。本流程不采样：把 *positive* 连到“PixWizard 采样器”即可看到结果。",
        ),
    )
    graph.load()
    image = graph.example("photograph: cat")
    words = dict(clip=PARTS[1], text="", caption="", color="red", class_name="", wording=0)
    graph.step("Text and task")
    text = graph.add("instruction", "PixWizardInstruction", task="depth", **words)
    vector = graph.add("task", "PixWizardTaskEncoder", task="derain", **words)
    graph.column()
    other = graph.add("set_task", "PixWizardSetTask", text=text, task_vector=vector)
    seen = dict(empty=Link("instruction", 1), clip_vision=PARTS[2], vae=PARTS[3], image=image, resolution=0)
    for name, positive in (("conditioning", text), ("conditioning_other", other)):
        graph.add(name, "PixWizardImageConditioning", positive=positive, **seen)
    graph.step("What is looked at")
    for name, conditioning in (("kept", "conditioning"), ("kept_other", "conditioning_other")):
        given = dict(positive=Link(conditioning), source=Link(conditioning, 4), layer=0)
        graph.add(name, "PixWizardKeptTokens", model=PARTS[0], **given)
    graph.column()
    graph.shown["row"] = graph.add(
        "row", "PixWizardSideBySide", source=Link("conditioning", 4), answer=Link("kept"), label=Link("kept_other"),
        titles="the picture, words and task: depth, words: depth - task: derain", height=384,
    )  # fmt: skip
    graph.wide.add("row")
    return graph


def _large(graph: Graph, kind: str, /, **inputs: Any) -> None:
    """A decoder that stands large in a column of its own."""
    name = kind.lower()
    graph.column()
    graph.add(name, f"PixWizardDecode{kind}", **inputs)
    graph.shown[name] = Link(name, DRAWN[kind])
    graph.wide.add(name)
