"""Generators that depend on a key and on nothing else, so that results do not depend on how work is divided."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*key: int | str) -> int:
    """56 bits that depend on all parts of the key."""
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")


def seeded(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on all parts of the key, and on no other."""
    return torch.Generator().manual_seed(seed_of(*key))
