"""From stored pixels to HU, against pydicom's own rescaling."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import Decoder
from pydicom.pixels.processing import apply_rescale

import phantom
from lungsight import read_ct
from lungsight.errors import CorruptFileError, InputError
from phantom import Body, Encoding, lopsided_body, setting, write_series
from refusals import refused


def by_pydicom(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    dataset = pydicom.dcmread(path)
    return np.asarray(apply_rescale(dataset.pixel_array, dataset), np.float64)


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        (Encoding(), np.int16),
        (Encoding(intercept=0, signed=True), np.int16),
        (Encoding(bits_stored=12), np.int16),
        (Encoding(bits_stored=12, intercept=0, signed=True), np.int16),
        (Encoding(bits_allocated=32, bits_stored=32), np.int16),
        (Encoding(slope=2, intercept=-1025), np.int16),
        (Encoding(slope=0.5), np.float32),
        (Encoding(slope=1.25, intercept=-1000.5), np.float32),
        (Encoding(slope=-1, intercept=3000), np.int16),
    ],
    ids=str,
)
def test_hu_as_pydicom_says(tmp_path: Path, encoding: Encoding, dtype: type) -> None:
    paths = write_series(tmp_path, lopsided_body(), encoding=encoding)
    ct = read_ct(tmp_path)
    assert ct.hu.dtype == dtype
    np.testing.assert_array_equal(ct.hu, np.stack([by_pydicom(path) for path in paths]).astype(np.float32))
    assert np.abs(ct.hu - lopsided_body().hu).max() <= abs(encoding.slope) / 2


def test_slope_and_intercept_are_each_slices_own(tmp_path: Path) -> None:
    body = lopsided_body()
    slopes, intercepts = (1, 2, 1, 4, 1), (-1024, -1000, -512, -1024, 0)

    def own(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[index], intercepts[index]

    paths = write_series(tmp_path, body, edit=own)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.hu, np.stack([by_pydicom(path) for path in paths]))
    stored = body.hu.astype(int) + 1024
    for index, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        np.testing.assert_array_equal(ct.hu[index], stored[index] * slope + intercept)


def test_one_fraction_makes_the_volume_float(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(only=(3,), RescaleSlope="1.0009765625"))
    ct = read_ct(tmp_path)
    assert ct.hu.dtype == np.float32
    assert ct.hu[3, 0, 0] == np.float32((lopsided_body().hu[3, 0, 0] + 1024) * 1.0009765625 - 1024)
    np.testing.assert_array_equal(ct.hu[:3], lopsided_body().hu[:3])


def test_values_beyond_int16_make_the_volume_float(tmp_path: Path) -> None:
    write_series(tmp_path, lopsided_body(), edit=setting(only=(2,), RescaleSlope="100"))
    ct = read_ct(tmp_path)
    assert ct.hu.dtype == np.float32
    assert ct.hu.max() == (int(lopsided_body().hu[2].max()) + 1024) * 100 - 1024 > np.iinfo(np.int16).max


def test_unused_bits_are_not_part_of_the_value(tmp_path: Path) -> None:
    """An overlay in the four bits above the value, as scanners once wrote it (PS3.5, 8.1.1)."""

    def overlay(dataset: Dataset, _: int) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2") | np.uint16(0x5000)
        dataset.PixelData = stored.tobytes()

    body = lopsided_body()
    write_series(tmp_path, body, encoding=Encoding(bits_stored=12), edit=overlay)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)


@pytest.mark.parametrize("signed", [False, True])
def test_high_bit_at_the_top(tmp_path: Path, signed: bool) -> None:
    def at_the_top(dataset: Dataset, _: int) -> None:
        dataset.HighBit = 15
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") << 4 | np.uint16(0x9)).astype("<u2").tobytes()

    body = lopsided_body()
    encoding = Encoding(bits_stored=12, signed=signed, intercept=0 if signed else -1024)
    write_series(tmp_path, body, encoding=encoding, edit=at_the_top)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, body.hu)


def test_high_bit_at_the_top_of_compressed_pixels(tmp_path: Path) -> None:
    encoding = Encoding(uid.RLELossless, bits_stored=12)
    for path in write_series(tmp_path, lopsided_body(), encoding=encoding):
        dataset = pydicom.dcmread(path)
        dataset.HighBit = 15
        dataset.save_as(path)
    with refused(InputError, "High Bit 15 with 12 Bits Stored", "High Bit 11", "Convert"):
        read_ct(tmp_path)


@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -1025])
def test_padding_becomes_air(tmp_path: Path, padding: int) -> None:
    body = lopsided_body()
    hu = body.hu.copy()
    hu[:, 0, :3] = padding
    write_series(tmp_path, Body(hu, body.affine), encoding=Encoding(intercept=0, signed=True))
    ct = read_ct(tmp_path)
    assert (ct.hu[:, 0, :3] == -1000).all()
    np.testing.assert_array_equal(ct.hu[:, 1:], body.hu[:, 1:])


def test_lowest_value_of_a_scanner_is_no_padding(tmp_path: Path) -> None:
    body = lopsided_body()
    hu = body.hu.copy()
    hu[0, 0, 0] = -1024
    write_series(tmp_path, Body(hu, body.affine))
    assert read_ct(tmp_path).hu[0, 0, 0] == -1024


@pytest.mark.parametrize(
    ("value", "limit", "stored", "air"),
    [
        (63536, None, 63536, True),
        (60000, 65535, 65535, True),
        (60000, 65535, 59999, False),
        (1024, None, 1024, False),  # 0 HU is water, whatever the header says
    ],
)
def test_declared_padding(tmp_path: Path, value: int, limit: int | None, stored: int, air: bool) -> None:
    def pad(dataset: Dataset, _: int) -> None:
        dataset.PixelPaddingValue = value
        if limit is not None:
            dataset.PixelPaddingRangeLimit = limit
        dataset.PixelData = struct.pack("<H", stored) + dataset.PixelData[2:]

    body = lopsided_body()
    write_series(tmp_path, body, edit=pad)
    ct = read_ct(tmp_path)
    assert (ct.hu[:, 0, 0] == (-1000 if air else stored - 1024)).all()
    np.testing.assert_array_equal(ct.hu[:, 1:], body.hu[:, 1:])


def test_declared_padding_written_as_signed(tmp_path: Path) -> None:
    """-2000 in signed pixels whose padding value was written as unsigned 63536."""
    body = lopsided_body()
    hu = body.hu.copy()
    hu[1, 1, 1] = -2000
    write_series(
        tmp_path,
        Body(hu, body.affine),
        encoding=Encoding(uid.ImplicitVRLittleEndian, intercept=0, signed=True),
        edit=setting(PixelPaddingValue=-2000),
    )
    assert read_ct(tmp_path).hu[1, 1, 1] == -1000


def test_values_that_are_no_hu_are_told(tmp_path: Path) -> None:
    body = lopsided_body()
    write_series(tmp_path, Body(body.hu + np.int16(1000), body.affine))
    assert "No value is under 0 (they run from 100 to " in read_ct(tmp_path).warnings[0]


@pytest.mark.parametrize("lines", [1, 3], ids=["in the last row", "in the middle"])
def test_truncated_file(tmp_path: Path, lines: int) -> None:
    path = write_series(tmp_path, lopsided_body())[3]
    path.write_bytes(path.read_bytes()[: -22 * lines])
    found = rf"{path.name} is truncated: it ends after {154 - 22 * lines} of 154 bytes"
    with refused(CorruptFileError, found, "the whole file", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.7, 0.9, 0.99])
def test_file_cut_anywhere(tmp_path: Path, syntax: str, share: float) -> None:
    paths = write_series(tmp_path, lopsided_body((3, 40, 44)), encoding=Encoding(syntax))
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: int(len(whole) * share)])
    with refused(CorruptFileError, paths[1].name, ".", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless])
@pytest.mark.parametrize(
    "spoil", [lambda code: code[: -(len(code) // 4)], lambda code: b"\0" * len(code)], ids=["cut", "0"]
)
def test_spoilt_code_stream(tmp_path: Path, syntax: str, spoil: Callable[[bytes], bytes]) -> None:
    paths = write_series(tmp_path, phantom.thorax((), (3, 64, 64)), encoding=Encoding(syntax, bits_stored=12))
    dataset = pydicom.dcmread(paths[1])
    (code,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([spoil(code)])
    dataset.save_as(paths[1])
    found = rf"the pixels of {paths[1].name} cannot be decoded as {uid.UID(syntax).name.split('(')[0]}"
    with refused(CorruptFileError, found, "64 x 64 pixels", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize(("rows", "size"), [(6, 132), (8, 176), (70, 1540)])
def test_pixels_that_do_not_fit_rows_and_columns(tmp_path: Path, rows: int, size: int) -> None:
    paths = write_series(tmp_path, lopsided_body(), edit=setting(Rows=rows))
    found = rf"{min(path.name for path in paths)[:2]}.*.dcm has 154 bytes of pixel data"
    with refused(CorruptFileError, found, f"{size} for 1 x {rows} x 11 pixels of 16 bits", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("rows", [39, 41])
def test_compressed_pixels_that_do_not_fit(tmp_path: Path, syntax: str, rows: int) -> None:
    paths = write_series(tmp_path, lopsided_body((2, 40, 44)), encoding=Encoding(syntax))
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.Rows = rows
        dataset.save_as(path)
    with refused(CorruptFileError, "the pixels of IM000..dcm", f"{rows} x 44", "again"):
        read_ct(tmp_path)


@pytest.mark.parametrize("keyword", ["PixelData", "BitsAllocated", "BitsStored", "PixelRepresentation"])
def test_missing_pixel_attribute(tmp_path: Path, keyword: str) -> None:
    path = write_series(tmp_path, lopsided_body())[1]
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    with refused(CorruptFileError, f"{path.name} has no (pixel data|{keyword})", ".", "again"):
        read_ct(tmp_path)


def test_missing_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, lopsided_body(), encoding=Encoding(uid.JPEGLSLossless))
    monkeypatch.setattr(Decoder, "is_available", False)
    with refused(InputError, r"JPEG-LS Lossless.* no decoder is installed \(", "installed decoder reads", "Convert"):
        read_ct(tmp_path)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, "1.2.3.4"])
def test_unknown_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    for path in write_series(tmp_path, lopsided_body(), encoding=Encoding(uid.RLELossless)):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dataset.save_as(path, implicit_vr=False, little_endian=True)
    with refused(InputError, f"transfer syntax {uid.UID(syntax).name}", "installed decoder", "Convert the series"):
        read_ct(tmp_path)
