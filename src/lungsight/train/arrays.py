"""A .npy file that grows: rows are appended, and its header tells their number when it is closed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

__all__ = ["ArrayWriter"]


class ArrayWriter:
    """Writes an array row by row, in the memory of one row.

    Parameters
    ----------
    path
        Of the file, which is replaced.
    row_shape
        Shape of a row.
    dtype
        Of the array.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ArrayWriter(Path(folder) / "a.npy", (2,), np.int16) as writer:
    ...         writer.append(np.array([1, 2]))
    ...         writer.append(np.array([3, 4]))
    ...     np.load(Path(folder) / "a.npy").tolist()
    [[1, 2], [3, 4]]
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._file = path.open("wb")
        self._row_shape, self._dtype, self._rows = row_shape, np.dtype(dtype), 0
        self._write_header()

    def append(self, row: NDArray[Any]) -> None:
        """Write one row.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        if row.shape != self._row_shape:
            raise ValueError(f"a row has shape {row.shape}, expected {self._row_shape}")
        self._file.write(np.ascontiguousarray(row, self._dtype).tobytes())
        self._rows += 1

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        # NumPy pads the header so that its first number may grow.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        shape = (self._rows, *self._row_shape)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
