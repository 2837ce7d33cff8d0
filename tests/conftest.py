"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from lungsight import runtime

# A busy machine is no bug: examples may take as long as they take.
settings.register_profile("lungsight", deadline=None)
settings.load_profile("lungsight")


@pytest.fixture(scope="session")
def shipped_network() -> runtime.Network:
    """The window network that comes with Lungsight, loaded once, in float32."""
    return runtime.load_network(runtime.shipped_weights("windows"), exact=True)
