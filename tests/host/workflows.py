"""The example workflows, described once; the page's form and the API's form are both made from this.

`make workflows` writes them, with thumbnails and blueprints. Their titles are names of files, since the page's
template browser shows these.
"""

from __future__ import annotations

from workflow_graph import Graph, Link
from workflows_more import accelerated, chain, folder, lora, normals, one_thing, own_task, released
from workflows_reading import boxes, classes, joints, look, poses, predict

ASK, ANSWER = "Ask", "Answer"


def restore() -> Graph:
    graph = Graph(
        "Restore a picture",
        "修复图像",
        (
            "A photograph in haze, cleared. Choose another task in **Instruction** and in **Example Picture**, or a "
            "picture of your own with Load Image. nano works on any photograph, at up to 256 px; **Keep Unchanged** "
            "carries what the task changes to the picture at its own size.",
            "去除照片中的雾。在“指令”和“示例图像”中选择其他任务，或用“加载图像”处理自己的图像。nano 能修复任何照片，"
            "边长最大 256 像素；“保留未变部分”把任务所做的改变带到原尺寸的图像上。",
        ),
    )
    graph.load()
    image = graph.example("photograph: cat", "dehaze", seed=3)
    latent = graph.ask("dehaze", image, ASK)
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def ground() -> Graph:
    graph = Graph(
        "Select by words (mask)",
        "按文字选取（遮罩）",
        (
            "The mask of a thing, by words. **Example Picture** says which things it shows; write your own into "
            "*caption*.",
            "用文字得到物体的遮罩。“示例图像”会说明其中有什么；可在“描述”中写自己的话（英文）。",
        ),
    )
    graph.load()
    image = graph.example(seed=21)
    latent = graph.ask("referring_mask", image, ASK, caption=Link("example", 3))
    graph.step(ANSWER)
    _mask(graph, graph.decode(latent), "conditioning", "instruction")
    graph.column()
    graph.show("before", image)
    graph.show("after", Link("mask", 1))
    return graph


def control() -> Graph:
    graph = Graph(
        "Line art to picture",
        "线稿生成图像",
        (
            "A picture from line art. The other control tasks take Canny edges, depth, normals, classes or a "
            "skeleton; choose the same task in both nodes.",
            "从线稿生成图像。其他控制任务使用 Canny 边缘、深度、法线、类别或骨架；两个节点要选同一任务。",
        ),
    )
    graph.load()
    image = graph.example(prepared_for="line_art_to_image", seed=9)
    latent = graph.ask("line_art_to_image", image, ASK, caption=Link("example", 2))
    graph.step(ANSWER)
    graph.compare(image, graph.finish(graph.decode(latent), image))
    return graph


def edges() -> Graph:
    graph = Graph(
        "Draw edges",
        "绘制边缘",
        (
            "Canny edges of a photograph: **Decode Edges** finds lines of one pixel in the answer. *hed*, *sketch* and "
            "*line_art* draw others; for these choose *edges* there. *preview* is the source of the task that goes the "
            "other way, *canny_to_image*.",
            "照片的 Canny 边缘：“解码边缘”在结果中找出一像素宽的线条。*hed*、*sketch* 和 *line_art* 绘制其他边缘，"
            "此时请在该节点选择 *edges*。“预览”可作为反向任务 *canny_to_image* 的源图像。",
        ),
    )
    graph.load()
    image = graph.example("photograph: coffee")
    latent = graph.ask("canny", image, ASK)
    graph.step(ANSWER)
    answer = graph.finish(graph.decode(latent), image)
    graph.compare(image, graph.add("lines", "PixWizardDecodeEdges", image=answer, code="lines"))
    return graph


def edit() -> Graph:
    graph = Graph(
        "Edit the light",
        "改变光线",
        (
            "An edit of the whole picture. For local edits (edit_remove, edit_recolor, …) fill in *caption* with the "
            "thing; **Keep Unchanged** then keeps every pixel that the edit leaves alone.",
            "对整幅图像的编辑。局部编辑（edit_remove、edit_recolor 等）须在“描述”中写出物体（英文）；“保留未变部分”会"
            "让编辑没有触及的每个像素保持原样。",
        ),
    )
    graph.load()
    image = graph.example(seed=5)
    latent = graph.ask("edit_global", image, ASK, caption="at night")
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def inpaint() -> Graph:
    graph = Graph(
        "Inpaint holes",
        "填补空洞",
        (
            "Holes are black, white or grey areas of the picture; nano fills them roughly. In a picture of your own "
            "cut them with **Inpaint Canvas**, and put **Source Size** with its *mask* in the place of **Keep "
            "Unchanged**: the seam is then exact.",
            "空洞是图像中黑色、白色或灰色的区域，nano 只能粗略地填补。在自己的图像中用“局部重绘画布”挖洞，并用连接了"
            "它的遮罩的“源图尺寸”代替“保留未变部分”，接缝就精确到像素。",
        ),
    )
    graph.load()
    image = graph.example("photograph: cat", "inpaint", seed=5)
    latent = graph.ask("inpaint", image, ASK)
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def outpaint() -> Graph:
    graph = Graph(
        "Outpaint margins",
        "扩展图像",
        ("A blank margin is filled with what may lie there.", "空白的边缘会填上那里可能有的内容。"),
    )
    graph.load()
    graph.example("shapes", seed=8)
    margin = dict(left=32, top=0, right=32, bottom=0, fill="black")
    graph.column()
    canvas = graph.add("canvas", "PixWizardOutpaintCanvas", image=Link("example", 1), **margin)
    latent = graph.ask("outpaint", canvas, ASK)
    graph.step(ANSWER)
    graph.compare(canvas, graph.finish(graph.decode(latent), canvas, mask=Link("canvas", 1)))
    return graph


def text_to_image() -> Graph:
    graph = Graph(
        "Text to image",
        "文生图",
        (
            "A blank canvas is the source. nano draws scenes of simple solids, roughly.",
            "源图像是空白画布。nano 只能粗略地画出简单几何体的场景。",
        ),
    )
    graph.load()
    canvas = graph.add("canvas", "PixWizardBlankCanvas", width=128, height=128, batch_size=2)
    words = "a red ball and a blue box on a wooden floor"
    latent = graph.ask("text_to_image", canvas, ASK, caption=words)
    graph.step(ANSWER)
    graph.show("after", graph.decode(latent))
    return graph


def remove_anything() -> Graph:
    graph = Graph(
        "Remove anything",
        "移除任意物体",
        (
            "Step 2 finds the thing by words and cuts it out, step 3 fills the hole.",
            "第 2 步按文字找到物体并把它挖掉，第 3 步填补空洞。",
        ),
    )
    graph.load()
    image = graph.example(seed=21)
    hole = _cut(graph, image)
    latent = graph.ask("inpaint", hole, "Fill the hole", "_fill")
    graph.step(ANSWER)
    answer = graph.decode(latent, "_fill")
    graph.compare(image, graph.finish(answer, image, mask=Link("hole", 1)))
    return graph


def replace_anything() -> Graph:
    graph = Graph(
        "Replace anything",
        "替换任意物体",
        (
            "Step 2 finds the thing by words and cuts it out, step 3 fills the hole with what *caption* says. nano "
            "rarely puts the new thing there: it has not learned such sentences yet.",
            "第 2 步按文字找到物体并把它挖掉，第 3 步按“描述”填补空洞。nano 很少能放入新物体：它还没有学过这样的句子。",
        ),
    )
    graph.load()
    image = graph.example(seed=21)
    hole = _cut(graph, image)
    latent = graph.ask("inpaint", hole, "Fill the hole", "_fill", caption="a green ball")
    graph.step(ANSWER)
    answer = graph.decode(latent, "_fill")
    graph.compare(image, graph.finish(answer, image, mask=Link("hole", 1)))
    return graph


def add_anything() -> Graph:
    graph = Graph(
        "Add anything",
        "添加任意物体",
        (
            "*caption* says what and where. **Keep Unchanged** keeps every pixel outside of the new thing as it was. "
            "nano rarely puts it there. For a place of your own, cut a hole with **Inpaint Canvas** as in *Replace "
            "anything*.",
            "“描述”说明添加什么、放在哪里（英文）。“保留未变部分”让新物体以外的每个像素保持原样。nano 很少能"
            "放入新物体。要自选位置，请像“Replace anything”那样用“局部重绘画布”挖洞。",
        ),
    )
    graph.load()
    image = graph.example(seed=14)
    latent = graph.ask("edit_add", image, ASK, caption="a large red ball in front")
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def _mask(graph: Graph, answer: Link, conditioning: str, instruction: str) -> Link:
    return graph.add("mask", "PixWizardDecodeMask", image=answer, kind="black and white (mask)", color="magenta",
                     source=Link(conditioning, 4), vae=Link("load", 3), sentence=Link(instruction, 2))  # fmt: skip


def _cut(graph: Graph, image: Link) -> Link:
    """The picture with a hole where the thing is that the example names."""
    latent = graph.ask("referring_mask", image, "Find and cut", "_find", caption=Link("example", 3))
    graph.column()
    mask = _mask(graph, graph.decode(latent, "_find"), "conditioning_find", "instruction_find")
    hole = graph.add("hole", "PixWizardInpaintCanvas", image=image, mask=mask, grow=4, fill="white")
    graph.shown["hole"] = hole
    return hole


def stock_sampler() -> Graph:
    graph = Graph(
        "With stock sampling nodes",
        "使用 ComfyUI 自带的采样节点",
        (
            "SamplerCustomAdvanced and DualCFGGuider, style *regular*: cfg_conds is the text guidance, "
            "cfg_cond2_negative the image guidance.",
            "SamplerCustomAdvanced 和 DualCFGGuider，style 取 *regular*：cfg_conds 是文字引导强度，cfg_cond2_negative "
            "是图像引导强度。",
        ),
    )
    graph.load()
    image = graph.example("photograph: cat", "low_light", seed=4)
    given = dict(task="low_light", text="", caption="", color="red", class_name="", wording=0)
    graph.step(ASK)
    graph.add("instruction", "PixWizardInstruction", clip=Link("load", 1), **given)
    graph.add("conditioning", "PixWizardImageConditioning", positive=Link("instruction"), empty=Link("instruction", 1),
              clip_vision=Link("load", 2), vae=Link("load", 3), image=image, resolution=0)  # fmt: skip
    graph.step("Sample")
    guider = graph.add("guider", "DualCFGGuider", model=Link("load"), cond1=Link("conditioning"),
                       cond2=Link("conditioning", 1), negative=Link("conditioning", 2), cfg_conds=2.0,
                       cfg_cond2_negative=1.5, style="regular")  # fmt: skip
    sigmas = graph.add("schedule", "PixWizardFlowSchedule", points=4, shift=1.0, denoise=1.0)
    noise = graph.add("noise", "RandomNoise", noise_seed=2)
    sampler = graph.add("euler", "KSamplerSelect", sampler_name="euler")
    graph.column()
    latent = graph.add("sampler", "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=sampler, sigmas=sigmas,
                       latent_image=Link("conditioning", 3))  # fmt: skip
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


WORKFLOWS = {
    make().title: make
    for make in (
        restore, ground, control, predict, edges, edit, inpaint, outpaint, text_to_image, remove_anything,
        replace_anything, add_anything, stock_sampler, normals, classes, boxes, joints, poses, chain, folder,
        accelerated, lora, released, look, one_thing, own_task,
    )
}  # fmt: skip
