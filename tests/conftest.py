"""What holds for all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from lungsight import runtime

# A busy machine is no bug: examples may take as long as they take.
settings.register_profile("lungsight", deadline=None)
settings.load_profile("lungsight")


@pytest.fixture(scope="session", autouse=True)
def own_cache() -> Iterator[None]:
    """Which engine is fastest is measured for the tests anew, and the user's own cache stays as it is."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_CACHE_HOME", folder)
        yield


@pytest.fixture(scope="session")
def shipped_network() -> runtime.Network:
    """The window network that comes with Lungsight, loaded once, in float32."""
    return runtime.load_network(runtime.shipped_weights("windows"), precision="float32")
