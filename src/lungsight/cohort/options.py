"""What is asked for, and what became of it. Nothing heavy is imported here: workers read it before they are set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lungsight.config import Config
from lungsight.errors import LungsightError

if TYPE_CHECKING:
    from lungsight.guidelines.patient import Patient

__all__ = ["Failure", "Options", "Outcome", "Study"]


@dataclass(frozen=True, slots=True)
class Options:
    """How each CT is diagnosed and what is written of it; the same for all CTs of a run.

    Attributes
    ----------
    system
        How nodules are found and judged.
    weights
        Folder of the networks; None for those that come with Lungsight.
    config
        Every setting.
    engine, precision
        What runs the networks; None for the fastest here.
    page
        Whether to write what people read: the page and its pictures.
    dicom
        Whether to write DICOM SEG, SR and pages.
    save_nodules
        Whether to cut every nodule out of the CT and write it.
    overwrite
        Replace an earlier result.
    resume
        Skip a CT with a finished result of these options, and replace any other earlier result.
    """

    system: str = "windows"
    weights: Path | None = None
    config: Config = field(default_factory=Config)
    engine: str | None = None
    precision: str | None = None
    page: bool = True
    dicom: bool = False
    overwrite: bool = False
    resume: bool = False
    save_nodules: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """One CT and the place for its result.

    Attributes
    ----------
    source
        What :func:`~lungsight.ct.read.read_ct` takes.
    folder
        For the result; should not exist.
    series_uid
        Which series of `source`; None lets the rule choose.
    prior
        An earlier CT of the patient; None if there is none.
    known
        What is known of the patient besides the CT; None for nothing.
    """

    source: Path
    folder: Path
    series_uid: str | None = None
    prior: Path | None = None
    known: Patient | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a CT was not diagnosed.

    Attributes
    ----------
    error
        Name of the error's class.
    found, expected, remedy
        As in :class:`~lungsight.errors.LungsightError`.
    """

    error: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return str(LungsightError(self.found, self.expected, self.remedy))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one CT.

    Attributes
    ----------
    study
        The CT.
    line
        The diagnosis in a line; empty if there is none, or it was there before.
    failure
        None if there is a diagnosis.
    """

    study: Study
    line: str = ""
    failure: Failure | None = None
