"""Notices for people: in the host's log, and on the page under a node."""

from __future__ import annotations

import logging
import sys
from typing import Any

from comfy_execution.utils import get_executing_context


def warn(words: str, node: str | None = None) -> None:
    """Say something that does not stop the work.

    Args:
        words: one line.
        node: id of the node to say it under; by default the one that runs now.
    """
    logging.warning("%s", words)
    context = get_executing_context()
    if node is None and context is not None:
        node = context.node_id
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    instance: Any = getattr(server, "instance", None)
    if node is not None and hasattr(instance, "send_progress_text"):
        instance.send_progress_text(words, node)
