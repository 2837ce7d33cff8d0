"""A system without a network that processes can load: what is in the first voxel decides, as in stub_diagnosis."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import stub_diagnosis
from lungsight import __version__
from lungsight.cohort.options import Options
from lungsight.config import Config
from lungsight.ct.volume import CTVolume
from lungsight.errors import WeightsError
from lungsight.findings import Diagnosis
from lungsight.report import page
from phantom import Body, write_series
from samples import sample_ct
from stub_network import CoreNetwork

CORES_HU, DIES_WRITING_HU = 1004, 1005
"""The CT's only warning tells the cores that it was diagnosed on; the process dies in the midst of its report."""


@dataclass
class StubSystem:
    config: Config = field(default_factory=Config)
    network: CoreNetwork = field(default_factory=CoreNetwork)
    system: str = "windows"
    asked: int = 0

    @property
    def weights_sha256(self) -> str:
        return self.network.sha256

    def __call__(self, ct: CTVolume, *, progress: Callable[[str, float], None]) -> Diagnosis:
        self.asked += 1
        if int(ct.hu[0, 0, 0]) == DIES_WRITING_HU:
            setattr(page, "write_regions", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010 (typed)
        progress("detect", 0.0)
        progress("detect", 1.0)
        diagnosis = stub_diagnosis.diagnose(ct)
        how = dataclasses.replace(
            diagnosis.provenance,
            config=dataclasses.asdict(self.config),
            weights_sha256=self.weights_sha256,
            version=__version__,
        )
        told = (f"cores {sorted(os.sched_getaffinity(0))}",) if int(ct.hu[0, 0, 0]) == CORES_HU else ()
        return dataclasses.replace(diagnosis, provenance=how, warnings=told)


def load(options: Options) -> Any:
    return StubSystem(options.config)


def load_without_weights(_options: Options) -> Any:
    raise WeightsError("no network", "one", "Find it.")


def load_and_die(_options: Options) -> Any:
    os._exit(3)


def write_scan(folder: Path, first_hu: int | None = None) -> Path:
    """A CT in seven files, its series told apart by the folder."""
    ct = sample_ct(from_dicom=False)
    hu = ct.hu.astype(np.int16)
    if first_hu is not None:
        hu[0, 0, 0] = first_hu
    write_series(folder, Body(hu, ct.affine), series=str(folder))
    return folder
