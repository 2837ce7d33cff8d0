"""One way to say what an error must tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lungsight.errors import LungsightError


@contextmanager
def refused(kind: type[LungsightError], found: str, expected: str, remedy: str) -> Iterator[None]:
    """Hold that the body raises exactly `kind` and that its three parts match the three patterns."""
    with pytest.raises(LungsightError) as caught:
        yield
    assert type(caught.value) is kind, caught.value
    parts = (caught.value.found, caught.value.expected, caught.value.remedy)
    for pattern, part in zip((found, expected, remedy), parts, strict=True):
        assert re.search(pattern, part), f"{pattern!r} is not in {part!r}"
