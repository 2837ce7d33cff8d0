"""DICOM files and their attributes, as far as they can be trusted: nothing is read that was not asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from lungsight.errors import CorruptFileError

__all__ = [
    "SEND_AGAIN",
    "first_value",
    "image_type",
    "integer",
    "is_dicom",
    "numbers",
    "open_dataset",
    "positive",
]

SEND_AGAIN = "Export or send the series again; lungsight repairs no pixels."

_BARE_VALUE_REPRESENTATIONS = {b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"DT", b"SH", b"LO"}
_LONGEST_FIRST_VALUE = 1024  # bytes; the first element of a data set is a length, a character set or a UID

# What pydicom raises at a broken file; zlib's where it is deflated.
_PARSING_ERRORS = (
    InvalidDicomError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    struct.error,
    zlib.error,
)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes: the prefix ``DICM``, or without preamble a first element that fits.

    Parameters
    ----------
    path
        A file; an empty one is no DICOM.
    """
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    group, element, length = struct.unpack("<HHI", head[:8])
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    return head[4:6] in _BARE_VALUE_REPRESENTATIONS or 0 < length < _LONGEST_FIRST_VALUE


def open_dataset(path: Path, name: str, tags: Sequence[str], *, pixels: bool) -> tuple[Dataset, str]:
    """A file's data set, only the attributes asked for, and its Transfer Syntax UID.

    Parameters
    ----------
    path, name
        The file and what to call it.
    tags
        Keywords of the attributes to read.
    pixels
        Whether to read on to the pixel data.

    Raises
    ------
    CorruptFileError
        If it cannot be parsed.
    """
    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels, specific_tags=list(tags))
    except _PARSING_ERRORS as error:
        raise CorruptFileError(f"{name} cannot be read as DICOM: {error}", "a whole DICOM file", SEND_AGAIN) from error
    stated = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if stated:
        return dataset, str(stated)
    implicit, _ = dataset.original_encoding
    return dataset, str(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)


def first_value(sources: Sequence[Dataset], keyword: str) -> Any:
    """The attribute in the first data set that has a value for it; None if none has.

    Parameters
    ----------
    sources
        A data set, or the functional groups of a frame, those of its instance and the instance.
    keyword
        The attribute.
    """
    for source in sources:
        try:
            value = source.get(keyword)
        except (ValueError, TypeError, ArithmeticError):  # a number that is no number; told as if it were absent
            value = None
        if value is not None and value != "":
            return value
    return None


def numbers(sources: Sequence[Dataset], keyword: str, count: int, where: str) -> NDArray[np.float64]:
    """A required attribute's numbers, shape ``(count,)``.

    Raises
    ------
    CorruptFileError
        If it is absent, has another count, or is not finite; `where` says in which image.
    """
    value = first_value(sources, keyword)
    try:
        numbers = np.array(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if value is None or numbers.size != count or not np.isfinite(numbers).all():
        label = dictionary_description(keyword)
        found = f"{where} has no readable {label}" if value is None else f"{where} has {label} {value}"
        raise CorruptFileError(found, f"{count} finite number{'s' if count > 1 else ''}", SEND_AGAIN)
    return numbers


def positive(sources: Sequence[Dataset], keyword: str) -> float | None:
    """An optional length, without its sign; None if it is absent, 0 or no number."""
    value = first_value(sources, keyword)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    # Spacing Between Slices is negative in some files (PS3.3 allows it in nuclear medicine only).
    return abs(number) if np.isfinite(number) and number else None


def integer(sources: Sequence[Dataset], keyword: str) -> int | None:
    """An optional whole number; None if it is absent or none."""
    try:
        return int(first_value(sources, keyword))
    except (TypeError, ValueError):
        return None


def image_type(sources: Sequence[Dataset]) -> tuple[str, ...]:
    """Image Type, or Frame Type where there is one; empty if it is absent."""
    value = first_value(sources, "FrameType") or first_value(sources, "ImageType") or ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))
