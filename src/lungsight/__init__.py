"""Lungsight finds lung nodules in a chest CT and says whether they look benign or malignant.

.. code-block:: text

    files ──read_ct──> CTVolume ──segment_lungs──> lung mask
                          │                           │
                          └──── detect (windows | segments) ──> Candidate, …
                                                                   │ diagnose
              report.html, diagnosis.json <──write_report── Diagnosis(Nodule, …)
                    DICOM SEG, DICOM SR <──write_seg, write_sr──┘

>>> import lungsight
>>> diagnose = lungsight.load_pipeline("windows")      # doctest: +SKIP
>>> diagnosis = diagnose(lungsight.read_ct("scan/"))   # doctest: +SKIP

Research use only: not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lungsight.config import Config
    from lungsight.ct.read import read_ct
    from lungsight.ct.volume import CTVolume
    from lungsight.detect.lungs import segment_lungs
    from lungsight.errors import LungsightError
    from lungsight.findings import Candidate, Diagnosis, Nodule, Verdict
    from lungsight.pipeline import load_pipeline
    from lungsight.report.dicom.files import write_seg, write_sr
    from lungsight.report.page import write_report

__version__ = "0.1.0"

__all__ = [
    "CTVolume",
    "Candidate",
    "Config",
    "Diagnosis",
    "LungsightError",
    "Nodule",
    "Verdict",
    "load_pipeline",
    "read_ct",
    "segment_lungs",
    "write_report",
    "write_seg",
    "write_sr",
]

# Each name is imported when it is first used, so that `import lungsight` stays light.
_HOMES = {
    "CTVolume": "lungsight.ct.volume",
    "Candidate": "lungsight.findings",
    "Config": "lungsight.config",
    "Diagnosis": "lungsight.findings",
    "LungsightError": "lungsight.errors",
    "Nodule": "lungsight.findings",
    "Verdict": "lungsight.findings",
    "load_pipeline": "lungsight.pipeline",
    "read_ct": "lungsight.ct.read",
    "segment_lungs": "lungsight.detect.lungs",
    "write_report": "lungsight.report.page",
    "write_seg": "lungsight.report.dicom.files",
    "write_sr": "lungsight.report.dicom.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
