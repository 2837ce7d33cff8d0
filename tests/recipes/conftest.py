"""The drawn crops, as a folder and as the recipes read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes.windows.collection import Crops, load_crops

from drawn_crops import write_crops


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data folder, and the readers' database."""
    return write_crops(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def crops(folder: tuple[Path, Path]) -> Crops:
    return load_crops(*folder)
