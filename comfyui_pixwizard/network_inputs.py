"""What surrounds the network's mathematics: checks of its inputs, rows without an image, ragged batches.

Shapes: R layers, B batch, N image tokens, L tokens, d width, e head channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .conditions import Conditions
from .config import PixWizardConfig

Encode = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]


def check_conditions(config: PixWizardConfig, text: Tensor, mask: Tensor, task: Tensor, image: Tensor) -> None:
    """Raise ValueError for the first input of `encode_conditions` that does not fit."""
    batch = len(text)
    wanted = {
        "text_features": (text, (batch, text.shape[1], config.cap_feat_dim)),
        "text_mask": (mask, (batch, text.shape[1])),
        "task_vector": (task, (batch, config.cap_clip_feat_dim)),
        "image_tokens": (image, (batch, image.shape[1], config.clip_image_dim)),
    }
    for name, (value, shape) in wanted.items():
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must be {list(shape)}, found {list(value.shape)}: check encoder and config")
    if image.shape[1] < config.sample_tokens:
        raise ValueError(
            f"image_tokens must hold at least sample_tokens={config.sample_tokens} tokens, found "
            f"{image.shape[1]}: use a larger image or a smaller sample_tokens"
        )
    if not torch.compiler.is_compiling() and not bool(mask.any(dim=1).all()):
        raise ValueError("text_mask must have a true entry in every row, found an empty row: keep at least BOS")


def check_latents(
    config: PixWizardConfig, x: Tensor | list[Tensor], t: Tensor, source: Tensor | list[Tensor], conditions: Conditions
) -> None:
    """Raise ValueError for the first input of `velocity` that does not fit."""
    if isinstance(x, Tensor) != isinstance(source, Tensor):
        raise ValueError(
            f"x and source must be of one kind, found {type(x).__name__} and {type(source).__name__}: "
            "pass two tensors or two lists"
        )
    if not len(x) == len(source) == len(t) == len(conditions):
        raise ValueError(
            "x, source, t and conditions must have one batch size, found "
            f"{len(x)}, {len(source)}, {len(t)}, {len(conditions)}: repeat or index the shorter ones"
        )
    pairs = [(x[0], source[0])] if isinstance(x, Tensor) else list(zip(x, source, strict=True))
    channels, p = config.in_channels, config.patch_size
    for a, b in pairs:
        if a.shape != b.shape or a.dim() != 3 or a.shape[0] != channels or a.shape[1] % p or a.shape[2] % p:
            raise ValueError(
                f"x and source must both be [{channels}, h, w] per sample with h and w divisible by {p}, found "
                f"{list(a.shape)} and {list(b.shape)}: encode both at one size"
            )


def static_shapes() -> bool:
    """Whether shapes may depend on no values: in training, where null images are computed and set to zero instead of
    left out, so that the graph can be compiled and all processes of a group form the same gradients.
    """
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def encode_seen(
    encode: Encode, is_null: Tensor, image_tokens: Tensor, task_embedding: Tensor, draws: Tensor | None
) -> dict[str, Tensor]:
    """The image's members of `Conditions`: zeros in null rows, -1 where nothing is selected.

    Args:
        encode: of image tokens, task embeddings and exponential draws to members [R, B, …].
        is_null: bool [B].   draws: [R, B, N] or None.
    """
    if static_shapes():
        members = encode(image_tokens, task_embedding, draws)
        return {
            name: torch.where(is_null.view(1, -1, *[1] * (value.ndim - 2)), -1 if name == "selected" else 0, value)
            for name, value in members.items()
        }
    batch, rows = len(is_null), (~is_null).nonzero().flatten()
    if len(rows) == batch:
        return encode(image_tokens, task_embedding, draws)
    members = encode(image_tokens[rows], task_embedding[rows], None if draws is None else draws[:, rows])
    if not len(rows):  # nothing to attend to
        members = {name: value[..., :0, :] if value.ndim == 5 else value for name, value in members.items()}
    return {name: _scattered(value, rows, batch, -1 if name == "selected" else 0) for name, value in members.items()}


def _scattered(part: Tensor, rows: Tensor, batch: int, fill: int) -> Tensor:
    full = part.new_full((part.shape[0], batch, *part.shape[2:]), fill)
    return full.index_copy(1, rows, part)


def pad_tokens(embedded: list[Tensor], pad_token: Tensor) -> tuple[Tensor, Tensor | None]:
    """Sequences [L_i, d] to one batch [B, L, d] with the pad token at their ends, and the mask [B, L] of what is none;
    None where all are equally long (docs/mathematics.md section 4).
    """
    lengths = torch.tensor([len(item) for item in embedded])
    longest = int(lengths.max())
    tokens = [torch.cat((item, pad_token.expand(longest - len(item), -1))) for item in embedded]
    mask = (torch.arange(longest) < lengths[:, None]).to(pad_token.device) if int(lengths.min()) < longest else None
    return torch.stack(tokens), mask


def pad_tables(tables: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """RoPE tables [L_i, e] of several sizes to [B, L, e]; pads stand at the sample's last position."""
    longest = max(len(cos) for cos, _ in tables)
    cos, sin = (
        torch.stack([torch.cat((table, table[-1:].expand(longest - len(table), -1))) for table in kind])
        for kind in zip(*tables, strict=True)
    )
    return cos, sin
