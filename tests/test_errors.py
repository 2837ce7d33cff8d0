"""The error tree: what a caller may catch, and the three parts of each message."""

from __future__ import annotations

import pickle
import re

import pytest

from lungsight import errors
from lungsight.errors import InputError, LungsightError

CLASSES = [getattr(errors, name) for name in errors.__all__]


def drawn_tree(docstring: str) -> dict[str, str]:
    """Child -> parent, read from the docstring's drawing by the indentation of its names."""
    parents: dict[str, str] = {}
    open_branches: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        name = re.match(r"[ │├└─]*(\w+Error)\b", line)
        if name is None:
            continue
        depth = name.start(1)
        while open_branches and open_branches[-1][0] >= depth:
            open_branches.pop()
        if open_branches:
            parents[name[1]] = open_branches[-1][1]
        open_branches.append((depth, name[1]))
    return parents


def test_the_drawing_is_the_tree() -> None:
    tree = {error.__name__: error.__bases__[0].__name__ for error in CLASSES if error is not LungsightError}
    assert drawn_tree(errors.__doc__ or "") == tree
    assert len(tree) == 7


def test_every_error_of_the_module_is_public_and_has_one_parent() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }
    assert defined == set(errors.__all__)
    assert all(len(error.__bases__) == 1 for error in CLASSES)
    assert LungsightError.__bases__ == (Exception,)


@pytest.mark.parametrize("error", CLASSES)
def test_the_three_parts_are_kept_and_told_in_order(error: type[LungsightError]) -> None:
    raised = error("slices 41 and 42 are 5.00 mm apart", "2.50 mm as elsewhere", "Send series 1.2.3 again.")
    assert (raised.found, raised.expected, raised.remedy) == (
        "slices 41 and 42 are 5.00 mm apart",
        "2.50 mm as elsewhere",
        "Send series 1.2.3 again.",
    )
    assert str(raised) == (
        "Found: slices 41 and 42 are 5.00 mm apart. Expected: 2.50 mm as elsewhere. Remedy: Send series 1.2.3 again."
    )


def test_an_error_is_not_raised_without_its_three_parts() -> None:
    with pytest.raises(TypeError, match="remedy"):
        InputError("a folder", "a CT")  # type: ignore[call-arg]


@pytest.mark.parametrize("error", CLASSES)
def test_errors_cross_process_borders_whole(error: type[LungsightError]) -> None:
    raised = error("a", "b", "c")
    again = pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own bytes
    assert type(again) is error
    assert (again.found, again.expected, again.remedy) == ("a", "b", "c")


def test_a_callers_mistake_is_no_lungsight_error() -> None:
    assert not issubclass(ValueError, LungsightError)
    assert not issubclass(LungsightError, (ValueError, TypeError, OSError))
