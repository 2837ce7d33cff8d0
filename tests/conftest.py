"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no bug: examples may take as long as they take.
settings.register_profile("lungsight", deadline=None)
settings.load_profile("lungsight")
