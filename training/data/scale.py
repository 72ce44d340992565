"""What a large training costs, on paper: `pixwizard data scale`, explained in docs/scale.md.

Everything is computed from the assumptions below, which are named there with their sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

# TFLOP of one forward pass of the 2B transformer with one branch, text of 256 tokens.
FORWARD = {512: 3.09, 768: 7.60, 1024: 15.13}
GPUS = (8, 32, 64, 128, 256, 512)
NODE, BLOCKS = 8, 24
BUCKET = 25e6  # bytes of gradients that DDP sends together
DRAWS = 20e6  # samples of stage 2
GB = 1e9


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic starts from."""

    pairs: float = 30e6
    """Samples of the whole collection."""
    derived: float = 2 / 3
    """Share of them that is made online from a clean picture."""
    uses: float = 4.0
    """Derived tasks that share one clean picture."""
    picture_mb: float = 0.25
    """A JPEG at 768 px, quality 95."""
    map_mb: float = 0.15
    """Stored maps of a clean picture, together, mean over the collection."""
    check_ms: float = 6.4
    """Reading, decoding whole and storing a picture, one core (measured)."""
    networks_tflop: float = 2.5
    """Depth, classes and caption of a clean picture."""
    load_ms: float = 36.0
    """Decoding, cutting and degrading a sample at 768 px, one core (measured)."""
    parameters: float = 2.0e9
    """Of the transformer."""
    encoders_tflop: float = 3.0
    """Frozen encoders of a sample at 512 px: autoencoder twice, Gemma, CLIP; grows with the area."""
    passes: float = 4.0
    """Forward passes that a training step costs: one, two for the gradients, one for checkpointed activations."""
    tflops: float = 400.0
    """Useful bf16 rate of a GPU: 40 % of an H100's 989; the best published for inference is 500."""
    batch: int = 1024
    """Samples of a step of all GPUs."""
    node_gb: float = 400.0
    """Bytes a second between GPUs of a node, each, in 1e9 (NVLink)."""
    net_gb: float = 45.0
    """Bytes a second between nodes, for each GPU, in 1e9 (400 Gbit/s)."""
    hop_us: float = 5.0
    """Delay of one hop of a collective, microseconds."""


def collection(a: Assumptions) -> list[tuple[str, str]]:
    """Storage and time of the build."""
    stored, clean = a.pairs * (1 - a.derived), a.pairs * a.derived / a.uses
    naive = a.pairs * 2 * a.picture_mb / 1e6
    ours = (stored * 2 * a.picture_mb + clean * (a.picture_mb + a.map_mb)) / 1e6
    pictures = stored * 2 + clean
    hours = pictures * a.check_ms / 3.6e6
    gpu_hours = clean * a.networks_tflop / a.tflops / 3600
    return [
        ("stored pairs, clean pictures", f"{stored / 1e6:.1f} M, {clean / 1e6:.1f} M"),
        ("all pairs stored", f"{naive:.1f} TB"),
        ("degradations and edges online", f"{ours:.1f} TB"),
        ("shards of 1,000 samples", f"{(stored + clean) / 1000:,.0f}"),
        ("build, reading and checking", f"{hours:,.0f} core hours ({hours / 256:.1f} h on 256 cores)"),
        ("build, networks", f"{gpu_hours:,.0f} GPU hours ({gpu_hours / 64:.2f} h on 64 GPUs)"),
    ]


def step(a: Assumptions, gpus: int, size: int) -> dict[str, float]:
    """Seconds of one step of `gpus`, and gigabytes of a GPU.

    compute: all passes of this GPU's share of the batch. ddp: all-reduce of float32 gradients, in buckets. fsdp: two
    gathers of bf16 weights and one reduce-scatter of float32 gradients, block by block round a ring. hybrid: the same
    within a node, then an all-reduce of each GPU's part of the gradients between nodes. Each as if nothing were done
    meanwhile.
    """
    share = a.batch / gpus
    compute = share * (FORWARD[size] * a.passes + a.encoders_tflop * (size / 512) ** 2) / a.tflops
    # Rings of all GPUs use every card of a node: what crosses to the next node is spread over all of them.
    rate = (a.node_gb if gpus <= NODE else min(a.node_gb, NODE * a.net_gb)) * GB
    nodes, hop = max(gpus // NODE, 1), a.hop_us / 1e6
    gathers, gradients = 2 * 2 * a.parameters, 4 * a.parameters
    blocks = 3 * BLOCKS  # collectives of a step: each block's weights twice, its gradients once
    within = (NODE - 1) / NODE * (gathers + gradients) / (a.node_gb * GB) + blocks * (NODE - 1) * hop
    between = 2 * (nodes - 1) / nodes * gradients / NODE / (a.net_gb * GB) + _tree(gradients / NODE, nodes) * hop
    ring = (gpus - 1) / gpus
    state = 4 * 5 * a.parameters / GB  # master, gradient, two moments, average
    return {
        "samples": share,
        "compute": compute,
        "ddp": 2 * ring * gradients / rate + _tree(gradients, gpus) * hop,
        "fsdp": ring * (gathers + gradients) / rate + blocks * (gpus - 1) * hop,
        "hybrid": within + between,
        "cores": share * a.load_ms / 1000 * (size / 768) ** 2 / compute,
        "gb_ddp": state + 2 * a.parameters / GB,
        "gb_fsdp": state / gpus,
        "gb_hybrid": state / min(NODE, gpus),
    }


def _tree(size: float, ranks: int) -> float:
    """Hops of an all-reduce up and down a tree, one after the other for each bucket of so many bytes."""
    return 2 * math.log2(ranks) * max(1.0, size / BUCKET) if ranks > 1 else 0.0


HEAD = ("GPUs", "each", "compute", "DDP", "FSDP", "hybrid", "cores", "GB DDP", "FSDP", "hybrid", "GB/s", "hours")


def report(a: Assumptions | None = None) -> str:
    """Assumptions and tables."""
    a = a or Assumptions()
    lines = ["assumptions:", *(f"  {f.name:<16}{getattr(a, f.name):>14,.10g}" for f in fields(a)), "", "collection:"]
    lines += [f"  {name:<34}{value}" for name, value in collection(a)]
    for size in FORWARD:
        lines += ["", f"a step of {a.batch} samples at {size} px:", " ".join(f"{name:>8}" for name in HEAD)]
        for gpus in GPUS:
            s = step(a, gpus, size)
            seconds = max(s["compute"], s["hybrid"])
            read = a.batch / seconds * 1.5 * a.picture_mb * (size / 768) ** 2 / 1000
            row = [f"{gpus}", f"{s['samples']:g}", *(f"{s[name]:.3f}" for name in ("compute", "ddp", "fsdp", "hybrid"))]
            row += [f"{s['cores']:.1f}", *(f"{s[name]:.1f}" for name in ("gb_ddp", "gb_fsdp", "gb_hybrid"))]
            row += [f"{read:.2f}", f"{DRAWS / a.batch * seconds / 3600:.1f}"]
            lines.append(" ".join(f"{cell:>8}" for cell in row))
    return "\n".join(lines)
