"""Limits of numbers that a command takes."""

from __future__ import annotations


def check_least(options: object, **least: int) -> None:
    """Refuse an option of a command that is smaller than it may be; None is no number.

    Raises:
        ValueError: the first of them.
    """
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {lowest}, found {value}: raise it")
