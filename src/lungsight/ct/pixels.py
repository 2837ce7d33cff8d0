"""Stored pixels become HU: decode, rescale, and turn padding into air."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import Decoder, get_decoder

from lungsight.ct.attributes import SEND_AGAIN, open_dataset
from lungsight.ct.instance import SliceHeader
from lungsight.errors import CorruptFileError, InputError

__all__ = ["AIR_HU", "LOWEST_HU", "padding_to_air", "read_hu", "same_pixels"]

AIR_HU = -1000
"""What padding becomes."""

LOWEST_HU = -1024
"""Nothing in a CT is less dense than vacuum; what is under the lowest value of a 12 bit scanner is padding
(-2000, -2048 and -3024 are usual) or noise around air."""

HIGHEST_HU = 3071
"""The highest value of a 12 bit scanner. A declared padding value above it is padding; between the two it could as well
be tissue, and the pixels stay as they are."""

_MAX_THREADS = 8  # decoding and copying; more only wait for memory

_PIXEL_TAGS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
    "Rows",
    "SamplesPerPixel",
)

# What pydicom and the decoders behind it raise at a broken stream.
_DECODING_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError, OSError, struct.error)


# GDCM, which pydicom would turn to when these refuse, cuts an image that does not fit Rows x Columns without a word.
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_STRICT_PLUGINS = {uid.RLELossless: "pydicom"} | dict.fromkeys(_JPEG_LS, "pyjpegls")

_END_OF_IMAGE = b"\xff\xd9"  # ITU-T T.87, table C.1


class _NotInt16Error(Exception):
    """A value that int16 cannot hold turned up."""


def read_hu(slices: Sequence[SliceHeader]) -> NDArray[np.int16] | NDArray[np.float32]:
    """The HU of slices that have one size.

    Parameters
    ----------
    slices
        One or more, in the order wanted.

    Returns
    -------
    ndarray
        Shape ``(slices, rows, columns)``. int16 if that holds every value exactly (each slope and intercept is a whole
        number, and no value is out of range), else float32. Values under -1024 are -1000, and so are pixels of a
        declared padding value outside -1024 to 3071.

    Raises
    ------
    InputError
        If no installed decoder knows the transfer syntax.
    CorruptFileError
        If a file ends early, or its pixels do not fit Rows x Columns or cannot be decoded.
    """
    decoders = {syntax: _decoder(syntax) for syntax in {header.transfer_syntax_uid for header in slices}}
    shape = (len(slices), slices[0].rows, slices[0].columns)
    files: dict[Any, list[tuple[int, SliceHeader]]] = {}
    for index, header in enumerate(slices):
        files.setdefault(header.path, []).append((index, header))

    def fill(hu: NDArray[Any]) -> NDArray[Any]:
        def read_file(members: list[tuple[int, SliceHeader]]) -> None:
            _read_file(members, decoders[members[0][1].transfer_syntax_uid], hu)

        with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
            for _ in pool.map(read_file, files.values()):
                pass
        return hu

    if all(float(value).is_integer() for header in slices for value in (header.slope, header.intercept)):
        try:
            return fill(np.empty(shape, np.int16))
        except _NotInt16Error:
            pass
    return fill(np.empty(shape, np.float32))


def padding_to_air(hu: NDArray[Any]) -> None:
    """Set every value under -1024 HU to -1000, in place; any shape and type, empty too."""
    if np.can_cast(np.int16, hu.dtype):  # else no value can be that low
        hu[hu < LOWEST_HU] = AIR_HU


def same_pixels(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two files hold the same bytes of pixel data, rescaled alike."""
    if (one.slope, one.intercept) != (other.slope, other.intercept):
        return False
    first, second = (
        open_dataset(header.path, header.file_name, _PIXEL_TAGS, pixels=True)[0] for header in (one, other)
    )
    return bool(first == second)


def _decoder(syntax: str) -> Decoder:
    name = uid.UID(syntax).name
    expected = "a transfer syntax that an installed decoder reads"
    remedy = "Convert the series to Explicit VR Little Endian, for example with `gdcmconv --raw` or `dcmdjpeg`."
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(f"pixels in the transfer syntax {name}", expected, remedy) from error
    if not decoder.is_available:
        lacking = "; ".join(decoder.missing_dependencies)
        raise InputError(f"pixels in {name}, for which no decoder is installed ({lacking})", expected, remedy)
    return decoder


def _read_file(members: list[tuple[int, SliceHeader]], decoder: Decoder, hu: NDArray[Any]) -> None:
    """Decode the slices of one file into their places in `hu`."""
    header = members[0][1]
    name = header.file_name
    dataset, _ = open_dataset(header.path, name, _PIXEL_TAGS, pixels=True)
    _check_pixel_data(dataset, name, encapsulated=uid.UID(decoder.UID).is_encapsulated)
    dataset.PhotometricInterpretation = dataset.get("PhotometricInterpretation") or "MONOCHROME2"
    dataset.SamplesPerPixel = dataset.get("SamplesPerPixel") or 1
    for index, member in members:
        frame = 0 if member.frame_number is None else member.frame_number - 1
        try:
            if decoder.UID in _JPEG_LS:
                _check_end(dataset, frame)
            stored, _ = decoder.as_array(
                dataset, index=frame, raw=True, decoding_plugin=_STRICT_PLUGINS.get(decoder.UID, "")
            )
        except _DECODING_ERRORS as error:
            raise CorruptFileError(
                f"the pixels of {member.name} cannot be decoded as {uid.UID(decoder.UID).name}: {_first_line(error)}",
                f"an image of {member.rows} x {member.columns} pixels",
                SEND_AGAIN,
            ) from error
        if stored.shape != hu.shape[1:]:
            raise CorruptFileError(
                f"the pixels of {member.name} have shape {stored.shape}", f"shape {hu.shape[1:]}", SEND_AGAIN
            )
        _rescale(_align(stored, dataset, decoder), member, _padding_range(dataset, stored.dtype), hu[index])


def _check_pixel_data(dataset: Dataset, name: str, *, encapsulated: bool) -> None:
    """Raise if the file ends early or the size of its pixel data does not fit what its header says."""
    if "PixelData" not in dataset:
        raise CorruptFileError(f"{name} has no pixel data: it ends before", "a whole CT image", SEND_AGAIN)
    for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation"):
        if dataset.get(keyword) is None:
            raise CorruptFileError(f"{name} has no {keyword}", "a header that tells how to read its pixels", SEND_AGAIN)
    element: Any = dataset.get_item("PixelData")
    stated, there = getattr(element, "length", len(element.value)), len(element.value or b"")
    if stated not in (there, 0xFFFFFFFF):
        raise CorruptFileError(
            f"{name} is truncated: it ends after {there} of {stated} bytes of pixel data", "the whole file", SEND_AGAIN
        )
    if encapsulated:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = dataset.Rows * dataset.Columns * frames * dataset.BitsAllocated // 8
    if there not in (size, size + size % 2):
        raise CorruptFileError(
            f"{name} has {there} bytes of pixel data",
            f"{size} for {frames} x {dataset.Rows} x {dataset.Columns} pixels of {dataset.BitsAllocated} bits",
            SEND_AGAIN,
        )


def _check_end(dataset: Dataset, frame: int) -> None:
    """Raise if a JPEG-LS stream was cut: the decoder may take minutes to find out by itself."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not get_frame(dataset.PixelData, frame, number_of_frames=frames).rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("the stream has no end marker")


def _align(stored: NDArray[Any], dataset: Dataset, decoder: Decoder) -> NDArray[Any]:
    """Shift values whose high bit is not Bits Stored - 1; the decoder has cut them as if it were.

    The standard has forbidden such files since 2011 (PS3.5, 8.1.1). Only uncompressed pixels still have all their bits.
    """
    high_bit = dataset.get("HighBit")
    if high_bit is None or high_bit == dataset.BitsStored - 1:
        return stored
    if uid.UID(decoder.UID).is_compressed or dataset.get("NumberOfFrames") not in (None, 1):
        raise InputError(
            f"High Bit {high_bit} with {dataset.BitsStored} Bits Stored in pixels that are compressed or multi-frame",
            f"High Bit {dataset.BitsStored - 1}",
            "Convert the series to Explicit VR Little Endian.",
        )
    whole: Any = np.frombuffer(dataset.PixelData, stored.dtype, count=stored.size).reshape(stored.shape)
    left, right = dataset.BitsAllocated - 1 - high_bit, dataset.BitsAllocated - dataset.BitsStored
    aligned: NDArray[Any] = (whole << left) >> right
    return aligned


def _padding_range(dataset: Dataset, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Lowest and highest stored value of the declared padding; None if none is declared (PS3.3, C.7.5.1.1.2)."""
    ends = [dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    values = [int(np.array(int(end), np.int64).astype(dtype)) for end in ends if isinstance(end, int)]
    return (min(values), max(values)) if ends[0] is not None and values else None


def _rescale(stored: NDArray[Any], header: SliceHeader, padding: tuple[int, int] | None, out: NDArray[Any]) -> None:
    """HU of one slice into `out`; raises `_NotInt16Error` if its type cannot hold them."""
    if out.dtype == np.int16:
        wide = np.dtype(np.int64 if stored.dtype.itemsize > 2 else np.int32)
        values = stored.astype(wide) * wide.type(header.slope) + wide.type(header.intercept)
    else:
        values = stored * header.slope + header.intercept
    padding_to_air(values)
    if padding is not None:
        ends_hu = [end * header.slope + header.intercept for end in padding]
        if min(ends_hu) > HIGHEST_HU:
            values[(stored >= padding[0]) & (stored <= padding[1])] = AIR_HU
    if out.dtype == np.int16 and values.max() > np.iinfo(np.int16).max:
        raise _NotInt16Error
    out[...] = values


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
