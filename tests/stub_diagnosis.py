"""A diagnosis without a network, for the tests of the node: at once, and always the same.

What is in the first voxel decides: a nodule, none, or a fault.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from lungsight.ct.volume import CTVolume
from lungsight.errors import WeightsError
from lungsight.findings import Diagnosis
from samples import malignant, without_nodule

EMPTY_HU, RAISES_HU, DIES_HU, HANGS_HU = 1000, 1001, 1002, 1003


def load() -> Callable[[CTVolume], Diagnosis]:
    return diagnose


def load_without_weights() -> Callable[[CTVolume], Diagnosis]:
    raise WeightsError("no network", "one", "Find it.")


def diagnose(ct: CTVolume) -> Diagnosis:
    first = int(ct.hu[0, 0, 0])
    if first == RAISES_HU:
        raise KeyError("a study nobody thought of")
    if first == DIES_HU:
        os.kill(os.getpid(), signal.SIGKILL)
    if first == HANGS_HU:
        time.sleep(600)
    return without_nodule(ct) if first == EMPTY_HU else malignant(ct)
