"""Task registry: instructions, picture codes and defaults of everything the model can be asked to do."""

from .language.guess import guess_task
from .registry import TASKS, Codec, Task, get_task

__all__ = ["TASKS", "Codec", "Task", "get_task", "guess_task"]
