"""Random orders of any length without a table: a keyed bijection of 0 … n-1, computed where it is asked for.

An alternating Feistel network mixes as many bits as n needs; a result of n or more is mixed again until it falls below
(cycle walking, J. Black and P. Rogaway, 2002; fewer than two rounds on average). 30 million items so take no memory,
and every rank computes only the positions that it wants.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 6
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MASK = 2**64 - 1


def mixed(values: np.ndarray) -> np.ndarray:
    """Each number of a uint64 array scrambled (the finaliser of SplitMix64: S. Vigna, 2015), a bijection."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """A 64-bit key that depends on every number and on their order."""
    key = np.zeros(1, np.uint64)
    for number in numbers:
        key = mixed((key ^ np.uint64(number & _MASK)) + _GOLDEN)
    return int(key[0])


def permuted(index: np.ndarray, size: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where each index goes in the random order of its size and key.

    Args:
        index: [n] int64, 0 <= index < size.
        size: [n] int64, at least 1, below 2**62.
        key: [n] uint64.

    Returns:
        [n] int64, a bijection of 0 … size-1 for each size and key.
    """
    bits = np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    bits += (np.int64(1) << bits) < size  # log2 in doubles is exact for no more than 52 bits
    right = (bits + 1) // 2
    out = index.astype(np.uint64)
    parts = [np.asarray(part) for part in (right.astype(np.uint64), (bits - right).astype(np.uint64), key)]
    out = _rounds(out, *parts)
    limit = size.astype(np.uint64)
    while len(beyond := np.flatnonzero(out >= limit)):
        out[beyond] = _rounds(out[beyond], *(part[beyond] for part in parts))
    return out.astype(np.int64)


def _rounds(value: np.ndarray, right_bits: np.ndarray, left_bits: np.ndarray, key: np.ndarray) -> np.ndarray:
    one = np.uint64(1)
    right_mask, left_mask = (one << right_bits) - one, (one << left_bits) - one
    left, right = value >> right_bits, value & right_mask
    for number in range(ROUNDS):
        round_key = key + np.uint64(int(_GOLDEN) * (number + 1) & _MASK)
        if number % 2:
            right = right ^ (mixed(left + round_key) & right_mask)
        else:
            left = left ^ (mixed(right + round_key) & left_mask)
    return (left << right_bits) | right
