"""The slices of one series: sorted by where they lie, checked, and laid out as one regular grid.

What is accepted, and no more:

- one frame of reference, one Rows x Columns, one Pixel Spacing, one orientation;
- one slice at each place;
- places on one straight line at regular distances. The line may lean (a tilted gantry): the grid is then sheared, which
  the affine tells exactly, and `warnings` say by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.instance import SliceHeader
from lungsight.errors import IrregularSeriesError

__all__ = ["SliceStack", "drop_copies", "positions_mm", "stack_slices"]

ORIENTATION_TOLERANCE = 1e-3
"""Greatest difference of a direction cosine in a series: a quarter of a millimetre at the far end of a 250 mm row."""

PIXEL_SPACING_TOLERANCE = 1e-4
"""Greatest relative difference of Pixel Spacing: four written decimals differ by 7e-5 at 0.7 mm."""

SAME_PLACE_MM = 0.01
"""Slices nearer than this lie at one place: no reconstruction is that fine, and positions have two decimals or more."""

LINE_TOLERANCE_MM = 0.1
"""How far a slice may lie from its place on the regular grid: positions are sometimes written with one decimal."""

LINE_TOLERANCE_SHARE = 0.05
"""The same as a share of the slice spacing, for thick slices; the larger of the two holds."""

TILT_LIMIT_DEGREES = 35.0
"""No gantry tilts farther than 30 degrees; what leans more is a mixture of series."""

UNSEEN_SHARE = 1.5
"""Slice spacing over slice thickness from which on the tissue left out between slices is worth a warning."""

_AGAIN = "Send or export the whole series again, into a folder of its own."


@dataclass(frozen=True, slots=True)
class SliceStack:
    """The slices of a series as one regular grid.

    Attributes
    ----------
    slices
        Ascending along the normal (row direction x column direction).
    affine
        Shape ``(4, 4)``: (slice, row, column, 1) to LPS mm.
    slice_spacing_mm
        Distance between slices along their normal.
    warnings
        What was repaired or assumed.
    """

    slices: tuple[SliceHeader, ...]
    affine: NDArray[np.float64]
    slice_spacing_mm: float
    warnings: tuple[str, ...] = ()


def positions_mm(slices: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """Where the slices lie along the normal of the first: shape ``(n,)``, mm."""
    normal = np.cross(*slices[0].orientation)
    return np.array([header.position_lps @ normal for header in slices])


def drop_copies(
    slices: Sequence[SliceHeader], same_pixels: Callable[[SliceHeader, SliceHeader], bool]
) -> tuple[tuple[SliceHeader, ...], tuple[str, ...]]:
    """The slices without the second copies of an instance, and a warning if there were any.

    Parameters
    ----------
    slices
        Of one series.
    same_pixels
        Whether two files hold the same image.

    Raises
    ------
    IrregularSeriesError
        If two files have one identity (SOP Instance UID) and different images or places.
    """
    kept: dict[Hashable, SliceHeader] = {}
    copies = []
    for header in slices:
        first = kept.setdefault((header.sop_instance_uid, header.frame_number), header)
        if first is header:
            continue
        if not np.array_equal(first.position_lps, header.position_lps) or not same_pixels(first, header):
            raise IrregularSeriesError(
                f"{first.name} and {header.name} have one SOP Instance UID, {header.sop_instance_uid}, and differ",
                "one image for each SOP Instance UID",
                "Remove the wrong one.",
            )
        copies.append(header.name)
    if not copies:
        return tuple(slices), ()
    return tuple(kept.values()), (f"{_count(len(copies), 'copy', 'copies')} of a slice left out: {_names(copies)}.",)


def stack_slices(slices: Sequence[SliceHeader]) -> SliceStack:
    """Sort, check and lay out the slices of one series.

    Parameters
    ----------
    slices
        One or more, in any order.

    Returns
    -------
    SliceStack
        One regular grid. The distance between slices is that of their positions; of a single slice, Spacing Between
        Slices or Slice Thickness, which is told in the warnings.

    Raises
    ------
    IrregularSeriesError
        If they do not make one (see the module); names the slices and the numbers.
    """
    _check_alike(slices)
    order = np.argsort(positions_mm(slices), kind="stable")
    ordered = tuple(slices[index] for index in order)
    warnings: tuple[str, ...] = ()
    try:
        _check_places(ordered)
    except IrregularSeriesError:
        ordered, warnings = _one_acquisition(ordered)
        _check_places(ordered)
    step, more = _step_lps(ordered)
    first = ordered[0]
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.orientation[1] * first.row_spacing_mm
    affine[:3, 2] = first.orientation[0] * first.column_spacing_mm
    affine[:3, 3] = first.position_lps
    slice_spacing_mm = float(abs(step @ _unit(np.cross(*first.orientation))))
    warnings = (*warnings, *more, *_unseen(ordered, slice_spacing_mm))
    return SliceStack(ordered, affine, slice_spacing_mm, warnings)


def _check_alike(slices: Sequence[SliceHeader]) -> None:
    """Raise if the slices do not share one frame of reference, size, pixel spacing and orientation."""
    first = slices[0]
    for header in slices:
        spacing, first_spacing = ((h.row_spacing_mm, h.column_spacing_mm) for h in (header, first))
        differences: tuple[tuple[str, Any, Any, dict[str, Any] | None], ...] = (
            ("frame of reference", header.frame_of_reference_uid, first.frame_of_reference_uid, None),
            ("Rows x Columns", f"{header.rows} x {header.columns}", f"{first.rows} x {first.columns}", None),
            ("Pixel Spacing in mm", spacing, first_spacing, {"rtol": PIXEL_SPACING_TOLERANCE, "atol": 0.0}),
            ("Image Orientation", header.orientation.ravel().tolist(), first.orientation.ravel().tolist(),
             {"rtol": 0.0, "atol": ORIENTATION_TOLERANCE}),
        )  # fmt: skip
        for label, here, there, tolerance in differences:
            if here != there and (tolerance is None or not np.allclose(here, there, **tolerance)):
                raise IrregularSeriesError(
                    f"the slices have more than one {label}: {there} in {first.name}, {here} in {header.name}",
                    "one for the whole series",
                    "Keep the files of one reconstruction in a folder of their own.",
                )


def _check_places(ordered: Sequence[SliceHeader]) -> None:
    """Raise if two slices lie at one place or the distances between the places differ."""
    if len(ordered) < 2:
        return
    places = positions_mm(ordered)
    gaps = np.diff(places)
    together = np.flatnonzero(gaps < SAME_PLACE_MM)
    if together.size:
        index = int(together[0])
        raise IrregularSeriesError(
            f"{_count(together.size, 'pair', 'pairs')} of slices at one place, first {ordered[index].name} and "
            f"{ordered[index + 1].name} at {places[index]:.2f} mm",
            "one slice at each place",
            "Keep the files of one reconstruction or time point in a folder of their own.",
        )
    regular = np.linspace(places[0], places[-1], len(places))
    usual = float(np.median(gaps))
    tolerance = max(LINE_TOLERANCE_MM, LINE_TOLERANCE_SHARE * usual)
    if np.abs(places - regular).max() > tolerance:
        raise _gap_error(ordered, gaps, usual, tolerance)
    line = np.linspace(ordered[0].position_lps, ordered[-1].position_lps, len(ordered))
    aside = np.linalg.norm(np.array([header.position_lps for header in ordered]) - line, axis=1)
    worst = int(aside.argmax())
    if aside[worst] > tolerance:
        raise IrregularSeriesError(
            f"{ordered[worst].name} (slice {worst}) lies {aside[worst]:.2f} mm beside the line of the other slices",
            f"slices on one straight line within {tolerance:.2f} mm",
            _AGAIN,
        )


def _gap_error(
    ordered: Sequence[SliceHeader], gaps: NDArray[np.float64], usual: float, tolerance: float
) -> IrregularSeriesError:
    odd = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if not odd.size:  # no single gap is odd, but small differences add up
        odd = np.array([int(np.abs(gaps - usual).argmax())])
    told = "; ".join(
        f"slices {index} and {index + 1} ({ordered[index].name}, {ordered[index + 1].name}) "
        f"are {gaps[index]:.2f} mm apart"
        for index in odd[:3].tolist()
    )
    missing = np.rint(gaps / usual).sum() - len(gaps)
    guess = f", as if {_count(int(missing), 'slice', 'slices')} were missing" if missing > 0 else ""
    more = f" and {odd.size - 3} more such places" if odd.size > 3 else ""
    return IrregularSeriesError(
        f"{told}{more}, the others {usual:.2f} mm{guess}",
        f"slices {usual:.2f} mm apart within {tolerance:.2f} mm",
        _AGAIN,
    )


def _one_acquisition(ordered: tuple[SliceHeader, ...]) -> tuple[tuple[SliceHeader, ...], tuple[str, ...]]:
    """The largest acquisition, if it spans all the others: then none of the patient is lost. Else all the slices."""
    acquisitions: dict[int | None, list[SliceHeader]] = {}
    for header in ordered:
        acquisitions.setdefault(header.acquisition_number, []).append(header)
    sizes = {number: len(slices) for number, slices in acquisitions.items()}
    number, largest = max(acquisitions.items(), key=lambda item: len(item[1]))
    if len(acquisitions) < 2 or list(sizes.values()).count(len(largest)) > 1:
        return ordered, ()
    places = positions_mm([*largest, ordered[0], ordered[-1]])
    if places[-2] < places[0] - SAME_PLACE_MM or places[-1] > places[-3] + SAME_PLACE_MM:
        return ordered, ()
    others = ", ".join(f"{other} ({size})" for other, size in sizes.items() if other != number)
    warning = f"The series holds several acquisitions; number {number} ({len(largest)} slices) was read, not {others}."
    return tuple(largest), (warning,)


def _step_lps(ordered: tuple[SliceHeader, ...]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """From one slice to the next in patient mm, and what has to be said of it."""
    first, last = ordered[0], ordered[-1]
    normal = _unit(np.cross(*first.orientation))
    if len(ordered) == 1:
        return _single_step(first, normal)
    step = (last.position_lps - first.position_lps) / (len(ordered) - 1)
    along = float(step @ normal)
    aside_mm = float(np.linalg.norm(step - along * normal))
    if aside_mm * (len(ordered) - 1) <= LINE_TOLERANCE_MM:
        return along * normal, ()
    degrees = float(np.degrees(np.arctan2(aside_mm, along)))
    if degrees > TILT_LIMIT_DEGREES:
        raise IrregularSeriesError(
            f"the slices are shifted sideways by {degrees:.1f} degrees to their normal",
            f"at most {TILT_LIMIT_DEGREES:g} degrees, the tilt of a gantry",
            _AGAIN,
        )
    return step, (f"The gantry is tilted by {degrees:.1f} degrees: the volume's grid is sheared by as much.",)


def _single_step(only: SliceHeader, normal: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    for label, spacing_mm in (
        ("Spacing Between Slices", only.stated_spacing_mm),
        ("Slice Thickness", only.thickness_mm),
    ):
        if spacing_mm is not None:
            return spacing_mm * normal, (
                f"The series has a single slice: it is taken as {spacing_mm:g} mm thick ({label}).",
            )
    raise IrregularSeriesError(
        f"{only.name} is the only slice and states neither Spacing Between Slices nor Slice Thickness",
        "two slices or more, or one that says how thick it is",
        _AGAIN,
    )


def _unseen(ordered: Sequence[SliceHeader], slice_spacing_mm: float) -> tuple[str, ...]:
    thickness_mm = ordered[0].thickness_mm
    if thickness_mm is None or slice_spacing_mm <= UNSEEN_SHARE * thickness_mm:
        return ()
    return (
        f"The slices are {slice_spacing_mm:.2f} mm apart and {thickness_mm:.2f} mm thick: "
        "what lies between them was not imaged.",
    )


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
