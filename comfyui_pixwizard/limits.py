"""Limits of numbers that a command takes."""

from __future__ import annotations


def check_side(size: int, take: int) -> None:
    """Refuse a --size that no picture of a bench has.

    Raises:
        ValueError: it is under 64 pixels or no multiple of 16.
    """
    if size < 64 or size % 16:
        raise ValueError(f"--size is a multiple of 16 from 64 up, found {size}: take {take}")


def check_least(options: object, **least: int) -> None:
    """Refuse an option of a command that is smaller than it may be; None is no number.

    Raises:
        ValueError: the first of them.
    """
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {lowest}, found {value}: raise it")
