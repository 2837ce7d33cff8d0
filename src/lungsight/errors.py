"""The error tree. Every error says what was found, what was expected and what to do.

.. code-block:: text

    LungsightError
    ├── InputError               what was given cannot be used
    │   ├── NoCTSeriesError      there is no CT in it
    │   ├── AmbiguousSeriesError more than one CT fits and none may be chosen
    │   ├── IrregularSeriesError the slices do not make one regular volume
    │   └── CorruptFileError     a file is truncated or contradicts itself
    ├── WeightsError             a network's file is absent, altered or does not fit
    └── OutputError              the result cannot be written

The caller's own mistakes (a wrong type, a threshold of 3) are ``TypeError`` and ``ValueError``.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousSeriesError",
    "CorruptFileError",
    "InputError",
    "IrregularSeriesError",
    "LungsightError",
    "NoCTSeriesError",
    "OutputError",
    "WeightsError",
]


class LungsightError(Exception):
    """Anything that Lungsight refuses, in three parts.

    Parameters
    ----------
    found
        What is there, with names and numbers.
    expected
        What would have been accepted.
    remedy
        What the user can do about it, as a sentence.

    Examples
    --------
    >>> print(LungsightError("slice 3 is absent", "slices every 2.5 mm", "Send the series again."))
    Found: slice 3 is absent. Expected: slices every 2.5 mm. Remedy: Send the series again.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        return f"Found: {self.found}. Expected: {self.expected}. Remedy: {self.remedy}"


class InputError(LungsightError):
    """What was given cannot be used."""


class NoCTSeriesError(InputError):
    """There is no CT series in what was given."""


class AmbiguousSeriesError(InputError):
    """More than one CT series fits, and choosing would be a guess."""


class IrregularSeriesError(InputError):
    """The slices of the series do not make one regular volume."""


class CorruptFileError(InputError):
    """A file is truncated, contradicts itself or is not what it claims to be."""


class WeightsError(LungsightError):
    """A network's file is absent, altered, or does not fit the system."""


class OutputError(LungsightError):
    """The result cannot be written where or as it was asked for."""
