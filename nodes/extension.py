"""All nodes of the extension."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    accelerate_node,
    chain_node,
    decode_nodes,
    example_node,
    finish_nodes,
    format_nodes,
    host_detection,
    image_nodes,
    instruction_nodes,
    learned_nodes,
    load_nodes,
    loading,
    local_node,
    look_nodes,
    mark_nodes,
    sampling_nodes,
    task_nodes,
)

NODES: list[type[io.ComfyNode]] = [
    load_nodes.LoadPixWizard,
    load_nodes.LoadTextEncoders,
    learned_nodes.LoadTask,
    instruction_nodes.Instruction,
    task_nodes.TaskEncoder,
    task_nodes.MixTasks,
    task_nodes.SetTask,
    image_nodes.ImageConditioning,
    image_nodes.InpaintCanvas,
    image_nodes.OutpaintCanvas,
    image_nodes.BlankCanvas,
    finish_nodes.KeepUnchanged,
    finish_nodes.SourceSize,
    sampling_nodes.FlowSchedule,
    sampling_nodes.Guider,
    sampling_nodes.Sampler,
    chain_node.EditChain,
    local_node.LocalEdit,
    decode_nodes.DecodeDepth,
    decode_nodes.DecodeNormals,
    decode_nodes.DecodeEdges,
    decode_nodes.DecodeSegmentation,
    mark_nodes.DecodeMask,
    mark_nodes.DecodeBoxes,
    mark_nodes.DecodeKeypoints,
    look_nodes.SideBySide,
    look_nodes.KeptTokens,
    look_nodes.DepthMesh,
    format_nodes.MaskToEditor,
    format_nodes.BoxesToFormats,
    format_nodes.BoxesFromFormats,
    format_nodes.PoseMap,
    format_nodes.ConvertDepth,
    example_node.ExamplePicture,
    accelerate_node.Accelerate,
]


class PixWizardExtension(ComfyExtension):
    """What the host's loader asks for nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        loading.register_folder()
        learned_nodes.register_folder()
        host_detection.install()
        return NODES
