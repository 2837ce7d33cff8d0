"""Tables of ground truth (CSV): read whole, each value checked, each refusal with file and line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import CorruptFileError, InputError

__all__ = ["Row", "read_labels", "read_patient_ids", "read_table"]

_REMEDY = "Take the table that came with the dataset, or correct that line."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    place
        File and line, for messages.
    values
        Text by column, without spaces around it.
    """

    place: str
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """A value that has to be there.

        Raises
        ------
        CorruptFileError
            If it is empty.
        """
        if not self.values[column]:
            raise CorruptFileError(f"{self.place}: {column} is empty", "a value", _REMEDY)
        return self.values[column]

    def number(self, column: str) -> float:
        """A finite number.

        Raises
        ------
        CorruptFileError
            If it is none.
        """
        try:
            number = float(self.text(column))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise CorruptFileError(
                f"{self.place}: {column} is {self.values[column]!r}", "a finite number", _REMEDY
            ) from None
        return number

    def flag(self, column: str) -> int | None:
        """0 or 1; None where the value is empty.

        Raises
        ------
        CorruptFileError
            If it is anything else.
        """
        text = self.values[column]
        if text not in ("", "0", "1"):
            raise CorruptFileError(f"{self.place}: {column} is {text!r}", "0, 1 or nothing", _REMEDY)
        return int(text) if text else None


def read_table(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    """The lines of a CSV file with a header.

    Parameters
    ----------
    path
        UTF-8, with or without byte order mark, separated by commas.
    columns
        Those that must be there, in any order; others are kept and not needed.

    Returns
    -------
    tuple
        One row a line, empty lines left out; empty if there is only a header.

    Raises
    ------
    InputError
        If the file cannot be read or a column is missing.
    CorruptFileError
        If it is no text, or a line has more or fewer values than the header.
    """
    expected = f"a table with the columns {', '.join(columns)}"
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", expected, _REMEDY) from error
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path}: {error}", "a table in UTF-8", _REMEDY) from error
    reader = csv.reader(text.splitlines())
    header = [name.strip() for name in next(reader, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        found = f"{path} has the columns {', '.join(header) or 'none'}; {', '.join(missing)} is missing"
        raise InputError(found, expected, _REMEDY)
    rows = []
    for values in reader:
        place = f"{path}, line {reader.line_num}"
        if not values:
            continue
        if len(values) != len(header):
            raise CorruptFileError(f"{place} has {len(values)} values", f"{len(header)}, as its header", _REMEDY)
        rows.append(Row(place, dict(zip(header, (value.strip() for value in values), strict=True))))
    return tuple(rows)


def read_labels(path: Path, patient_column: str, label_column: str) -> dict[str, int | None]:
    """Each patient's label: 0, 1, or None where it is left empty.

    Raises
    ------
    InputError
        If the table cannot be read, see :func:`read_table`.
    CorruptFileError
        If a patient is named twice or a label is neither 0 nor 1.
    """
    labels: dict[str, int | None] = {}
    for row in read_table(path, (patient_column, label_column)):
        patient_id = row.text(patient_column)
        if patient_id in labels:
            raise CorruptFileError(f"{row.place}: {patient_id} for the second time", "one line a patient", _REMEDY)
        labels[patient_id] = row.flag(label_column)
    return labels


def read_patient_ids(path: Path) -> frozenset[str]:
    """The patients a table names, in the column ``patient_id``; a patient may have many lines.

    Raises
    ------
    InputError
        If the table cannot be read, see :func:`read_table`.
    CorruptFileError
        If a line names none.
    """
    return frozenset(row.text("patient_id") for row in read_table(path, ("patient_id",)))
