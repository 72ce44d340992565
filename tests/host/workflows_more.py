"""Example workflows for more than one picture, more than one step, and other models than nano."""

from __future__ import annotations

from workflow_graph import PARTS, Graph, Link, ModelFile

ASK, ANSWER = "Ask", "Answer"
# A folder of ComfyUI's input, and files of models/loras and models/pixwizard_tasks, that a reader brings.
FOLDER, LORA, TASK_FILE = "pictures", "pixwizard_lora.safetensors", "my-task.safetensors"
HUB = "https://huggingface.co"
# The dialog knows what a widget names; model_args.pth and tokenizer.model, which lie beside, are in the note.
RELEASED = {
    "load": [ModelFile("consolidated.00-of-01.pth", f"{HUB}/Afeng-x/PixWizard/tree/main", "pixwizard")],
    "text": [
        ModelFile("gemma-2b.safetensors", f"{HUB}/google/gemma-2b/tree/main", "text_encoders"),
        ModelFile(
            "clip-vit-large-patch14.safetensors",
            f"{HUB}/openai/clip-vit-large-patch14/resolve/main/model.safetensors",
            "text_encoders",
        ),
    ],
    "vision": [
        ModelFile(
            "clip-vit-large-patch14-336.bin",
            f"{HUB}/openai/clip-vit-large-patch14-336/resolve/main/pytorch_model.bin",
            "clip_vision",
        )
    ],
    "vae": [ModelFile("sdxl_vae.safetensors", f"{HUB}/stabilityai/sdxl-vae/resolve/main/sdxl_vae.safetensors", "vae")],
}


def normals() -> Graph:
    graph = Graph(
        "Normals to picture",
        "法线生成图像",
        (
            "A picture from a normal map and a caption. The map may come from **Decode Normals** of another picture.",
            "从法线图和描述生成图像。法线图也可以来自另一幅图像的“解码法线”。",
        ),
    )
    graph.load()
    image = graph.example(prepared_for="normal_to_image", seed=12)
    latent = graph.ask("normal_to_image", image, ASK, caption=Link("example", 2))
    graph.step(ANSWER)
    graph.compare(image, graph.finish(graph.decode(latent), image))
    return graph


def chain() -> Graph:
    graph = Graph(
        "Edit in steps",
        "分步编辑",
        (
            "A list of instructions, one a line, each on the answer of the one before. What no step changes is kept "
            "to the pixel where *threshold* says so.",
            "一行一条指令，每条都作用于上一条的结果。按“阈值”，没有改变的像素保持原样。",
        ),
    )
    graph.load()
    image = graph.example(seed=14)
    graph.step("Edit")
    model, clip, vision, vae = PARTS
    answer = graph.add(
        "chain", "PixWizardEditChain", model=model, clip=clip, clip_vision=vision, vae=vae, image=image,
        instructions="Turn it into a pencil drawing.\nMake it look as if it were taken at dusk.", seed=1,
        threshold=0.03, reference="source", resolution=0, solver="the model's",
    )  # fmt: skip
    graph.step(ANSWER)
    graph.show("before", image)
    graph.show("steps", Link("chain", 1))
    graph.column()
    graph.show("after", answer)
    graph.wide.add("after")
    return graph


def one_thing() -> Graph:
    graph = Graph(
        "Edit one thing only",
        "只编辑一个物体",
        (
            "The thing in the mask changes, every other pixel stays as it is. With a picture of your own paint the "
            "mask in Load Image, or take it from **Select by words (mask)**. **Local Edit** tries three forms of the "
            "mask and says which one it took.",
            "只有遮罩中的物体改变，其他像素保持不变。处理自己的图像时，可在“加载图像”中涂画遮罩，或使用“按文字选取（遮罩）”"
            "的结果。“局部编辑”会尝试遮罩的三种形式，并给出选用了哪一种。",
        ),
    )
    graph.load()
    image = graph.example(seed=21)
    graph.step(ASK)
    model, clip, vision, vae = PARTS
    told = graph.add(
        "instruction", "PixWizardInstruction", clip=clip, task="edit_style", text="Turn it into a pencil drawing.",
        caption="", color="red", class_name="", wording=0,
    )  # fmt: skip
    seen = graph.add(
        "conditioning", "PixWizardImageConditioning", positive=told, empty=Link("instruction", 1), clip_vision=vision,
        vae=vae, image=image, resolution=0,
    )  # fmt: skip
    graph.column()
    edited = graph.add(
        "edit", "PixWizardLocalEdit", model=model, positive=seen, image_only=Link("conditioning", 1),
        negative=Link("conditioning", 2), vae=vae, source=Link("conditioning", 4), mask=Link("example", 4),
        form="best", seed=1, points=Link("instruction", 4), text_guidance=Link("instruction", 5),
        image_guidance=Link("instruction", 6), solver="the model's", threshold=0.1, clip_vision=vision,
    )  # fmt: skip
    graph.step(ANSWER)
    graph.compare(image, edited)
    return graph


def folder() -> Graph:
    graph = Graph(
        "Restore a folder",
        "批量修复文件夹",
        (
            f"Every picture of *input/{FOLDER}* of your ComfyUI, one after the other and each at its own size, by "
            f"ComfyUI's own nodes for folders (of recent versions). Make that folder, press R and choose it. The "
            f"answers go to *output/restored*.",
            f"逐一处理 ComfyUI 的 *input/{FOLDER}* 中的每幅图像，各保持原来的大小；所用的是 ComfyUI 自带的文件夹节点"
            f"（较新的版本）。先建立该文件夹，按 R 键后选择它。答案存入 *output/restored*。",
        ),
    )
    graph.load("Model and pictures")
    images = graph.add("pictures", "LoadImageDataSetFromFolder", folder=FOLDER)
    latent = graph.ask("dehaze", images, ASK)
    graph.step(ANSWER)
    answer = graph.keep(graph.decode(latent), images)
    graph.add("save", "SaveImageDataSetToFolder", images=answer, folder_name="restored", filename_prefix="image")
    graph.compare(images, answer)
    return graph


def accelerated() -> Graph:
    graph = Graph(
        "Run faster",
        "加速运行",
        (
            "**Accelerate PixWizard** runs the network another way, and says which, or why not. *auto* takes what is "
            "there without a wait; *compiled*, *onnxruntime* and *tensorrt* prepare the network first, once.",
            "“加速 PixWizard”用其他方式运行网络，并说明用了哪一种，或为什么不能。*auto* 使用无需等待的方"
            "式；*compiled*、*onnxruntime* 和 *tensorrt* 要先准备一次网络。",
        ),
        least=30.0,
    )
    graph.load()
    fast = graph.add(
        "fast", "PixWizardAccelerate", model=PARTS[0], backend="auto", precision="auto", on_missing="build"
    )
    image = graph.example("photograph: coffee", "low_light", seed=4)
    latent = graph.ask("low_light", image, ASK, parts=(fast, *PARTS[1:]))
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def lora() -> Graph:
    graph = Graph(
        "With a LoRA",
        "使用 LoRA",
        (
            "ComfyUI's own LoRA loader. A LoRA of your own goes to *models/loras*; `pixwizard train lora` makes "
            "one, and files with the names of kohya, PEFT or diffusers work.",
            "使用 ComfyUI 自带的 LoRA 加载节点。自己的 LoRA 放在 *models/loras*；可用 `pixwizard train lora` 训练，采"
            "用 kohya、PEFT 或 diffusers 命名的文件都可用。",
        ),
    )
    graph.load()
    adapted = graph.add("lora", "LoraLoaderModelOnly", model=PARTS[0], lora_name=LORA, strength_model=1.0)
    image = graph.example("photograph: rocket", "dehaze", seed=3)
    latent = graph.ask("dehaze", image, ASK, parts=(adapted, *PARTS[1:]))
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent), image))
    return graph


def own_task() -> Graph:
    graph = Graph(
        "With a task of your own",
        "使用自己的任务",
        (
            "A task that `pixwizard train task` learned from 1 to 100 pairs of pictures, here a duotone. Its file of a "
            "few kilobytes goes to *models/pixwizard_tasks*; it brings its sentence and its points, and is asked with "
            "both weights of guidance at 1.",
            "用 `pixwizard train task` 从 1 到 100 对图像学到的任务，此处是双色调。几 KB 的文件放在 "
            "*models/pixwizard_tasks*；它自带语句和采样点数，两个引导权重都用 1。",
        ),
    )
    graph.load()
    task = graph.add("task", "PixWizardLoadTask", model=PARTS[0], task_file=TASK_FILE, strength=1.0)
    image = graph.example("photograph: coffee")
    learned = dict(points=Link("task", 2), text_guidance=1.0, image_guidance=1.0)
    parts = (task, *PARTS[1:])
    latent = graph.ask("by the words", image, ASK, parts=parts, settings=learned, text=Link("task", 1))
    graph.step(ANSWER)
    graph.compare(image, graph.finish(graph.decode(latent), image))
    return graph


def released() -> Graph:
    graph = Graph(
        "The released weights",
        "官方发布的权重",
        (
            "The model of 2 billion parameters, at 512 px and more. ComfyUI's dialog names the files that are "
            "missing and where they go; their authors publish them:\n\n"
            f"- [PixWizard]({HUB}/Afeng-x/PixWizard): the `.pth` file, with `model_args.pth` beside it\n"
            f"- [Gemma-2B]({HUB}/google/gemma-2b): its shards merged to one file, with `tokenizer.model` beside it\n"
            f"- [CLIP-L]({HUB}/openai/clip-vit-large-patch14) and its [336 px]"
            f"({HUB}/openai/clip-vit-large-patch14-336) vision tower\n"
            f"- the [SDXL VAE]({HUB}/stabilityai/sdxl-vae)",
            "20 亿参数的模型，边长 512 像素以上。ComfyUI 的对话框会列出缺少的文件和存放位置，请从作者处下载。"
            "`model_args.pth` 和 `tokenizer.model` 放在各自的权重旁边；Gemma-2B 的分片要先合并成一个文件。",
        ),
    )
    graph.step("Picture")
    image = graph.example("photograph: cat", "derain", seed=3, size=512)
    graph.lanes.append(image)
    graph.load("Models", RELEASED["load"][0].name)
    model = PARTS[0]
    gemma, clip_l = (file.name for file in RELEASED["text"])
    text = graph.add("text", "PixWizardLoadTextEncoders", gemma=gemma, clip_l=clip_l)
    vision = graph.add("vision", "CLIPVisionLoader", clip_name=RELEASED["vision"][0].name)
    vae = graph.add("vae", "VAELoader", vae_name=RELEASED["vae"][0].name)
    graph.files |= RELEASED
    latent = graph.ask("derain", image, ASK, parts=(model, text, vision, vae), model=model)
    graph.step(ANSWER)
    graph.compare(image, graph.keep(graph.decode(latent, vae=vae), image, vae))
    return graph


# What these take, readers bring; nobody has the weights here.
READERS_BRING = {make().title for make in (folder, lora, own_task, released)}
