"""The tasks that the model can do: for each its instructions, its picture code and its default settings."""

from .language.guess import guess_task
from .registry import TASKS, Codec, Task, get_task

__all__ = ["TASKS", "Codec", "Task", "get_task", "guess_task"]
