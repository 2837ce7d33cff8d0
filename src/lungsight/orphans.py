"""Processes that this program starts for its work do not outlive it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

__all__ = ["end_with_parent"]


def end_with_parent() -> None:
    """End this process at once, from now on, when the one that started it ends, however that ends.

    Nobody would know of its results any more; and who starts again does the same work again, beside which it must not
    go on. In a process that :mod:`multiprocessing` did not start nothing is done.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
