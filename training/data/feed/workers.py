"""Worker processes of this machine, which end with the process that they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch
from tqdm import tqdm

KILLED = "a worker was killed, perhaps for want of memory: run the same command again to go on, with fewer workers"


def start_worker() -> None:
    """In a new worker: one thread, and an end with the parent, even one that is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def heed_the_parent_alone() -> None:
    """In a new worker, before it has threads: Ctrl-C and SIGTERM of anybody but the parent are not for it.

    Terminals and service managers send them to all processes. The parent saves and then ends its workers; one that
    dies while it hands over a batch lets the parent wait for the rest for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not hasattr(signal, "sigwaitinfo"):  # macOS does not say who sent a signal
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(1)


def in_processes(work: Callable[[Any], None], items: Iterable[Any], what: str, processes: int | None = None) -> None:
    """Do the work for every item, in as many processes as there are cores; the work must be picklable.

    Raises:
        ValueError: a worker was killed.   Whatever the work raises.
    """
    todo = list(items)
    count = min(processes or os.cpu_count() or 1, len(todo))
    if count < 2:
        for item in tqdm(todo, desc=what, unit="part", disable=not todo):
            work(item)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(count, context, start_worker) as pool:
        try:
            waiting = [pool.submit(work, item) for item in todo]
            for done in tqdm(as_completed(waiting), total=len(todo), desc=what, unit="part"):
                done.result()
        except BrokenProcessPool as error:
            raise ValueError(KILLED) from error
        finally:
            pool.shutdown(cancel_futures=True)
