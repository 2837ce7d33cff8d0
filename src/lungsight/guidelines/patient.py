"""The door for what a CT does not tell: a TOML file with the patient's age, sex, history, and what a reader saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lungsight.config import read_toml
from lungsight.errors import InputError

__all__ = ["Patient", "SeenNodule", "read_patient"]

_REMEDY = "See `--patient` in README for what such a file may hold."


@dataclass(frozen=True, slots=True)
class SeenNodule:
    """What a reader saw of one nodule; None where nobody said.

    Attributes
    ----------
    spiculation
        Whether it is spiculated.
    upper_lobe
        Whether it lies in an upper lobe.
    """

    spiculation: bool | None = None
    upper_lobe: bool | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """What is known of the patient besides the CT; None where nobody said. No name, no number.

    Attributes
    ----------
    age_years
        0 to 120.
    sex
        ``"female"`` or ``"male"``.
    family_history
        Of lung cancer.
    emphysema
        Seen on this CT.
    risk
        The risk group of the Fleischner guideline, ``"low"`` or ``"high"``.
    nodule_count
        How many nodules a reader counts; else the measured ones are counted.
    nodules
        By number, from 1, as in the report.
    """

    age_years: float | None = None
    sex: Literal["female", "male"] | None = None
    family_history: bool | None = None
    emphysema: bool | None = None
    risk: Literal["low", "high"] | None = None
    nodule_count: int | None = None
    nodules: Mapping[int, SeenNodule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.age_years is not None and not 0 <= self.age_years <= 120:
            raise ValueError(f"age_years is {self.age_years}, expected 0 to 120")
        if self.sex not in (None, "female", "male"):
            raise ValueError(f"sex is {self.sex!r}, expected female or male")
        if self.risk not in (None, "low", "high"):
            raise ValueError(f"risk is {self.risk!r}, expected low or high")
        if self.nodule_count is not None and self.nodule_count < 1:
            raise ValueError(f"nodule_count is {self.nodule_count}, expected 1 or more")


_KINDS: dict[str, tuple[type, ...]] = {
    "age_years": (int, float),
    "sex": (str,),
    "family_history": (bool,),
    "emphysema": (bool,),
    "risk": (str,),
    "nodule_count": (int,),
}
_SEEN_KINDS: dict[str, tuple[type, ...]] = {"spiculation": (bool,), "upper_lobe": (bool,)}


def read_patient(path: Path) -> Patient:
    r"""The patient of a TOML file.

    Parameters
    ----------
    path
        Every key may be left out. What was seen of nodule 1 stands in the table ``[nodules.1]``.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or has a key or value that is not known.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "patient.toml"
    ...     _ = path.write_text('age_years = 66\nsex = "female"\n[nodules.1]\nspiculation = true\n')
    ...     read_patient(path).nodules[1].spiculation
    True
    """
    table = dict(read_toml(path, _REMEDY))
    nodules = table.pop("nodules", {})
    _check(table, _KINDS, str(path))
    if not isinstance(nodules, dict) or not all(key.isdecimal() and int(key) for key in nodules):
        raise InputError(f"{path}: nodules", "tables [nodules.1], [nodules.2], …, numbered as in the report", _REMEDY)
    seen = {}
    for key, facts in nodules.items():
        place = f"{path}: nodules.{key}"
        if not isinstance(facts, dict):
            raise InputError(place, "a table", _REMEDY)
        _check(facts, _SEEN_KINDS, place)
        seen[int(key)] = SeenNodule(**facts)
    try:
        return Patient(**table, nodules=seen)
    except ValueError as error:
        raise InputError(f"{path}: {error}", "a value in range", _REMEDY) from error


def _check(table: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]], place: str) -> None:
    for key, value in table.items():
        if key not in kinds:
            raise InputError(f"{place}: {key}", f"one of {', '.join(kinds)}", _REMEDY)
        # True is an int to Python and no age to anybody.
        if not isinstance(value, kinds[key]) or (isinstance(value, bool) and bool not in kinds[key]):
            names = " or ".join(kind.__name__ for kind in kinds[key])
            raise InputError(f"{place}: {key} = {value!r}", f"a value of type {names}", _REMEDY)
