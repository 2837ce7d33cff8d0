"""The door through which a CT comes in: a folder, a zip, a file -> :class:`CTVolume`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungsight.ct.archive import is_zip, unpacked
from lungsight.ct.attributes import is_dicom
from lungsight.ct.files import files_of_dicomdir, find_files, is_dicomdir, not_dicom, read_headers
from lungsight.ct.grid import plausible_hu
from lungsight.ct.instance import Instance
from lungsight.ct.metaimage import METAIMAGE_SUFFIXES, read_metaimage
from lungsight.ct.nifti import NIFTI_SUFFIXES, read_nifti
from lungsight.ct.pixels import read_hu
from lungsight.ct.series import (
    Series,
    SeriesInfo,
    UnusableSeries,
    UsableSeries,
    choose_series,
    group_series,
    orientation_name,
)
from lungsight.ct.slices import SliceStack
from lungsight.ct.volume import CTVolume, SourceInstance
from lungsight.errors import CorruptFileError, InputError, NoCTSeriesError

__all__ = ["Inspection", "SeriesInfo", "inspect_series", "open_series", "read_ct"]


_CHECK = "Check the path, the permissions and the space left for temporary files."


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a folder, zip or file, and what would be read.

    Attributes
    ----------
    series
        Every series found, also those that are no CT.
    chosen
        The one that `read_ct` would read; None if there is none or no choice can be made.
    reason
        Why that one, or why none, as sentences.
    warnings
        What `read_ct` would say of it before it sees a pixel.
    """

    series: tuple[SeriesInfo, ...]
    chosen: SeriesInfo | None
    reason: str
    warnings: tuple[str, ...] = ()


def read_ct(path: str | Path, series_uid: str | None = None) -> CTVolume:
    """Read one chest CT.

    Parameters
    ----------
    path
        A folder (searched through; what is no DICOM is ignored), a DICOM file, a DICOMDIR, a zip of those, a NIfTI file
        (``.nii``, ``.nii.gz``) or, with the extra ``metaimage``, a MetaImage file (``.mhd``, ``.mha``).
    series_uid
        Series Instance UID of the series to read; None chooses by the rule of
        :func:`~lungsight.ct.series.choose_series` and says which in the warnings if there was a choice.

    Returns
    -------
    CTVolume
        HU on the grid of the files: slices ascend along their normal, rows and columns as stored. int16 where that is
        exact, else float32. Padding (under -1024 HU, or a declared value over 3071 HU) is -1000. What was repaired,
        left out or assumed is in `warnings`.

    Raises
    ------
    NoCTSeriesError
        If there is no CT, or none with that UID.
    AmbiguousSeriesError
        If several CT series fit equally well.
    IrregularSeriesError
        If the slices do not make one regular volume: one is missing, two lie at one place, sizes, spacings or
        orientations differ.
    CorruptFileError
        If a file is truncated, contradicts itself or is not DICOM though its name says so.
    InputError
        If `path` is absent or of no known kind, a zip is encrypted or dangerous, or a decoder is missing.

    Examples
    --------
    >>> read_ct("no/such/place")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lungsight.errors.InputError: Found: no/such/place, which does not exist. Expected: a folder, ...
    """
    path = Path(path)
    reader = _volume_reader(path)
    if reader is not None:
        if series_uid is not None:
            raise InputError(f"series UID {series_uid} for {path}", "DICOM files", "Leave out the series UID.")
        return reader(path)
    with _dicom_series(path) as found:
        chosen, reason = choose_series(found, series_uid)
        stack = chosen.stack
        hu = read_hu(stack.slices)
        choice = _told_choice(found, chosen, reason) if series_uid is None else ()
        return CTVolume(
            hu,
            stack.affine,
            chosen.info.uid,
            tuple(SourceInstance(s.sop_instance_uid, s.instance_number, s.frame_number) for s in stack.slices),
            (*choice, *chosen.warnings, *plausible_hu(hu)),
        )


@contextmanager
def open_series(path: str | Path, series_uid: str) -> Iterator[SliceStack]:
    """The slices of one DICOM series, as long as their files are there: those of a zip are removed afterwards.

    Parameters
    ----------
    path
        A folder, DICOM file, DICOMDIR or zip, as for :func:`read_ct`.
    series_uid
        Series Instance UID.

    Yields
    ------
    SliceStack
        The slices that :func:`read_ct` reads for that series, in its order.

    Raises
    ------
    InputError
        As :func:`read_ct`.
    """
    with _dicom_series(Path(path)) as found:
        chosen, _ = choose_series(found, series_uid)
        yield chosen.stack


def inspect_series(path: str | Path, series_uid: str | None = None) -> Inspection:
    """Look at what a path holds without decoding a pixel (NIfTI and MetaImage files are read whole).

    Parameters
    ----------
    path, series_uid
        As for :func:`read_ct`.

    Returns
    -------
    Inspection
        The series, and which would be read or why none. That no CT can be chosen is a result here.

    Raises
    ------
    NoCTSeriesError
        If there is no DICOM file at all.
    CorruptFileError
        If a file's header cannot be read so far that its series is known.
    InputError
        If `path` is absent, of no known kind, or a zip that is refused.
    """
    path = Path(path)
    reader = _volume_reader(path)
    if reader is not None:
        return _inspect_volume(reader(path), "NIfTI" if reader is read_nifti else "MetaImage")
    with _dicom_series(path) as found:
        infos = tuple(one.info for one in found)
        try:
            chosen, reason = choose_series(found, series_uid)
        except InputError as error:
            return Inspection(infos, None, str(error))
        return Inspection(infos, chosen.info, reason, chosen.warnings)


def _inspect_volume(ct: CTVolume, modality: str) -> Inspection:
    slices, rows, columns = ct.shape
    slice_spacing_mm, row_spacing_mm, column_spacing_mm = ct.spacing_zyx_mm
    info = SeriesInfo(
        uid=None,
        modality=modality,
        series_number=None,
        slices=slices,
        rows=rows,
        columns=columns,
        row_spacing_mm=row_spacing_mm,
        column_spacing_mm=column_spacing_mm,
        slice_spacing_mm=slice_spacing_mm,
        orientation=orientation_name(np.cross(ct.affine[:3, 2], ct.affine[:3, 1])),
        usable=True,
    )
    return Inspection((info,), info, "It is the only volume.", ct.warnings)


def _told_choice(found: Sequence[Series], chosen: Series, reason: str) -> tuple[str, ...]:
    """What to say of the choice: nothing if there was none."""
    rivals = [one for one in found if one is not chosen and isinstance(one, UsableSeries)]
    broken = [one for one in found if isinstance(one, UnusableSeries) and one.error]
    told = [f"Series {chosen.info.uid} was read. {reason}"] if rivals or broken else []
    told += [f"Series {one.info.uid} cannot be used: {one.info.reason}." for one in broken]
    return tuple(told)


def _volume_reader(path: Path) -> Callable[[Path], CTVolume] | None:
    """The reader for a file that is a volume by its name; None if DICOM or a zip has to be looked for."""
    if not path.exists():
        raise InputError(f"{path}, which does not exist", "a folder, zip or file that holds a chest CT", _CHECK)
    if path.is_file():
        name = path.name.lower()
        if name.endswith(NIFTI_SUFFIXES):
            return read_nifti
        if name.endswith(METAIMAGE_SUFFIXES):
            return read_metaimage
    return None


@contextmanager
def _dicom_series(path: Path) -> Iterator[tuple[Series, ...]]:
    """The series below a path, as long as its files are there."""
    # pydicom warns of every odd value; those that matter here are checked here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if path.is_file() and is_zip(path):
                with unpacked(path) as folder:
                    yield group_series(_in_folder(folder, path))
            else:
                yield group_series(_in_folder(path, path) if path.is_dir() else _in_file(path))
        except OSError as error:
            raise InputError(f"{error.filename or path}: {error.strerror}", "files that can be read", _CHECK) from error


def _in_folder(folder: Path, given: Path) -> tuple[Instance, ...]:
    files = find_files(folder)
    if not files:
        others = sum(path.is_file() for path in folder.rglob("*"))
        raise NoCTSeriesError(
            f"no DICOM file in {given}, {others} others",
            "the DICOM files of a chest CT",
            "Give the folder that holds them; a NIfTI or MetaImage file has to be named itself.",
        )
    return read_headers(files, folder)


def _in_file(path: Path) -> tuple[Instance, ...]:
    if not is_dicom(path):
        if path.suffix.lower() == ".zip":
            raise CorruptFileError(f"{path} is not a zip", "a whole zip", "Copy or download it again.")
        raise not_dicom(str(path), path.stat().st_size)
    files = files_of_dicomdir(path) if is_dicomdir(path) else (path,)
    return read_headers(files, path.parent)
