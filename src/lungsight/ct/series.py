"""Which series there are, which can be used as a CT, and which one is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from lungsight.ct.instance import Instance
from lungsight.ct.pixels import same_pixels
from lungsight.ct.slices import SliceStack, drop_copies, stack_slices
from lungsight.errors import AmbiguousSeriesError, CorruptFileError, InputError, IrregularSeriesError, NoCTSeriesError

__all__ = [
    "Series",
    "SeriesInfo",
    "UnusableSeries",
    "UsableSeries",
    "choose_series",
    "group_series",
    "orientation_name",
]

CHEST_EXTENT_MM = 100.0
"""A series that covers less from head to feet cannot hold the lungs; reformats and monitoring slices are like that."""

THIN_MM = 3.0
"""Slices this far apart or less show a nodule of 6 mm, the smallest that guidelines follow up, twice."""

_CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "TSPINE", "HEART", "MEDIASTINUM")
_AXES = ("sagittal", "coronal", "axial")
_STRAIGHT = float(np.cos(np.radians(10)))  # a normal farther than this from every axis of the patient is oblique


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What one series is, without anything that names the patient.

    Attributes
    ----------
    uid
        Series Instance UID; None if the CT did not come from DICOM.
    modality
        DICOM modality; ``"NIfTI"`` or ``"MetaImage"`` for those files.
    series_number
        As in the files; None where there is none.
    slices
        Number of slices; of what is no CT, number of files.
    rows, columns, row_spacing_mm, column_spacing_mm, slice_spacing_mm
        The grid; None where it is no CT or has no regular grid.
    orientation
        ``"axial"``, ``"coronal"``, ``"sagittal"``, with ``"oblique "`` before it where it leans by over 10 degrees;
        empty where it is no CT.
    transfer_syntax
        Its name; of several, joined by commas.
    body_part
        Body Part Examined; empty where there is none.
    usable
        Whether it can be read as a CT.
    reason
        Why not; empty if it can.
    """

    uid: str | None
    modality: str
    series_number: int | None
    slices: int
    rows: int | None = None
    columns: int | None = None
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None
    slice_spacing_mm: float | None = None
    orientation: str = ""
    transfer_syntax: str = ""
    body_part: str = ""
    usable: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UsableSeries:
    """A CT series whose slices make one grid.

    Attributes
    ----------
    info
        What it is.
    stack
        Its slices.
    warnings
        What was left out or should be known.
    """

    info: SeriesInfo
    stack: SliceStack
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnusableSeries:
    """A series that cannot be read as a CT.

    Attributes
    ----------
    info
        What it is, and why it cannot be read.
    error
        What is wrong with it; None if it is whole and no CT.
    """

    info: SeriesInfo
    error: InputError | None


Series: TypeAlias = UsableSeries | UnusableSeries


def group_series(instances: Iterable[Instance]) -> tuple[Series, ...]:
    """The instances by series, each judged, in the order of the Series Instance UIDs."""
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.series_uid, []).append(instance)
    return tuple(_judge(groups[series_uid]) for series_uid in sorted(groups))


def _judge(instances: Sequence[Instance]) -> Series:
    """One series, with its grid or with what is wrong with it."""
    first = instances[0]
    images = [instance for instance in instances if not instance.exclusion]
    left_out = [instance for instance in instances if instance.exclusion]
    slices = [header for instance in images for header in instance.slices]
    info = SeriesInfo(
        uid=first.series_uid,
        modality=first.modality,
        series_number=first.series_number,
        slices=len(slices) or len(instances),
        transfer_syntax=", ".join(sorted({uid.UID(instance.transfer_syntax_uid).name for instance in instances})),
        body_part=first.body_part,
    )
    faults = [instance.fault for instance in images if instance.fault is not None]
    if faults:
        return _unusable(info, faults[0].found, faults[0])
    if not slices:
        reasons = sorted({instance.exclusion for instance in left_out} or {"all localizers"})
        return _unusable(info, ", ".join(reasons))
    warnings = [f"{len(left_out)} of the series' files left out: {left_out[0].exclusion}."] if left_out else []
    if any(instance.lossy or _is_lossy(instance.transfer_syntax_uid) for instance in images):
        warnings.append("The pixels went through a lossy compression: HU are not those of the scanner.")
    try:
        kept, copies = drop_copies(slices, same_pixels)
        stack = stack_slices(kept)
    except (IrregularSeriesError, CorruptFileError) as error:
        return _unusable(info, error.found, error)
    return UsableSeries(_with_grid(info, stack), stack, (*warnings, *copies, *stack.warnings))


def _unusable(info: SeriesInfo, reason: str, error: InputError | None = None) -> UnusableSeries:
    return UnusableSeries(replace(info, reason=reason), error)


def _with_grid(info: SeriesInfo, stack: SliceStack) -> SeriesInfo:
    first = stack.slices[0]
    return replace(
        info,
        slices=len(stack.slices),
        rows=first.rows,
        columns=first.columns,
        row_spacing_mm=first.row_spacing_mm,
        column_spacing_mm=first.column_spacing_mm,
        slice_spacing_mm=stack.slice_spacing_mm,
        orientation=orientation_name(np.cross(*first.orientation)),
        usable=True,
    )


def orientation_name(normal_lps: NDArray[np.float64]) -> str:
    """Name a plane by its normal, shape ``(3,)`` and any length but 0: ``"axial"``, ``"oblique coronal"``, ...

    Examples
    --------
    >>> orientation_name(np.array([0.0, -0.3, 2.0]))
    'axial'
    """
    normal = np.abs(normal_lps) / np.linalg.norm(normal_lps)
    axis = int(normal.argmax())
    return _AXES[axis] if normal[axis] >= _STRAIGHT else f"oblique {_AXES[axis]}"


def _is_lossy(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid in {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLSNearLossless,
        uid.JPEG2000,
        uid.HTJ2K,
    }


def choose_series(series: Sequence[Series], series_uid: str | None) -> tuple[UsableSeries, str]:
    """The series to read, and why it.

    Parameters
    ----------
    series
        All that were found.
    series_uid
        The one asked for; None lets the rule decide.

    Returns
    -------
    tuple
        The series, and the reason as a sentence.

    Raises
    ------
    NoCTSeriesError
        If there is no CT, or none with the UID asked for.
    AmbiguousSeriesError
        If the rule leaves more than one.
    InputError
        What is wrong with the CT asked for, or with the largest if none can be used.

    Notes
    -----
    The rule: of the series that can be used as a CT, prefer

    1. axial ones that cover 100 mm or more from head to feet;
    2. those whose Body Part Examined says chest, then those that say nothing;
    3. those with slices 3 mm apart or less;
    4. the one with most slices.

    Two that are equal in all of that (two kernels, two time points) are not guessed between.
    """
    if series_uid is not None:
        return _asked_for(series, series_uid), "It was asked for."
    usable = [one for one in series if isinstance(one, UsableSeries)]
    if not usable:
        errors = [(one.info.slices, one.error) for one in series if isinstance(one, UnusableSeries) and one.error]
        if errors:
            raise max(errors, key=lambda pair: pair[0])[1]
        raise NoCTSeriesError(
            _what_is_there(series), "a CT series", "Give the folder, zip or file that holds the patient's chest CT."
        )
    ranks = [_rank(one.info) for one in usable]
    best = [one for one, rank in zip(usable, ranks, strict=True) if rank == max(ranks)]
    if len(best) > 1:
        uids = ", ".join(f"{one.info.uid} (series number {one.info.series_number})" for one in best)
        raise AmbiguousSeriesError(
            f"{len(best)} CT series with {best[0].info.slices} slices each that fit equally well: {uids}",
            "one that fits best",
            "Say which with --series UID (in Python: series_uid).",
        )
    if len(usable) == 1:
        return best[0], "It is the only CT that can be used."
    return best[0], f"Of {len(usable)} CT series it fits best: {_praise(best[0].info)}."


def _asked_for(series: Sequence[Series], series_uid: str) -> UsableSeries:
    for one in series:
        if one.info.uid == series_uid:
            if isinstance(one, UsableSeries):
                return one
            if one.error is not None:
                raise one.error
            raise NoCTSeriesError(
                f"series {series_uid} is {one.info.reason}", "a CT series", f"Choose another: {_what_is_there(series)}."
            )
    raise NoCTSeriesError(
        f"no series {series_uid}; {_what_is_there(series)}", "the UID of a series that is there", "Give one of those."
    )


def _rank(info: SeriesInfo) -> tuple[bool, int, bool, int]:
    spacing_mm = info.slice_spacing_mm or 0.0
    covers_chest = info.orientation.endswith("axial") and spacing_mm * info.slices >= CHEST_EXTENT_MM
    body_part = info.body_part.upper()
    says = 1 if not body_part else 2 if any(word in body_part for word in _CHEST_WORDS) else 0
    return covers_chest, says, spacing_mm <= THIN_MM, info.slices


def _praise(info: SeriesInfo) -> str:
    part = f", body part {info.body_part}" if info.body_part else ""
    return f"{info.orientation}{part}, {info.slices} slices every {info.slice_spacing_mm:.2f} mm"


def _what_is_there(series: Sequence[Series]) -> str:
    if not series:
        return "no DICOM image"
    told = "; ".join(
        f"{one.info.uid or 'no UID'} ({one.info.slices} x {one.info.modality or 'no modality'}"
        f"{': ' + one.info.reason if one.info.reason else ''})"
        for one in series
    )
    return f"{len(series)} series: {told}"
