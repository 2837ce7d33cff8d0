from pathlib import Path

import pytest

from lungsight.errors import InputError
from lungsight.guidelines.patient import Patient, SeenNodule, read_patient
from refusals import refused

FULL = """
age_years = 66
sex = "female"
family_history = false
emphysema = true
risk = "high"
nodule_count = 2

[nodules.1]
spiculation = true
[nodules.12]
upper_lobe = false
"""


def test_a_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "patient.toml"
    path.write_text(FULL, "utf-8")
    seen = {1: SeenNodule(spiculation=True), 12: SeenNodule(upper_lobe=False)}
    assert read_patient(path) == Patient(66, "female", False, True, "high", 2, seen)


def test_an_empty_file_knows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "patient.toml"
    path.write_text("", "utf-8")
    assert read_patient(path) == Patient()


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("name = 'Ada'", "patient.toml: name", "one of age_years, sex"),
        ("age_years = true", "age_years = True", "int or float"),
        ("age_years = 166", "age_years is 166", "in range"),
        ("sex = 'f'", "sex is 'f'", "in range"),
        ("risk = 'middle'", "risk is 'middle'", "in range"),
        ("nodule_count = 0", "nodule_count is 0", "in range"),
        ("emphysema = 1", "emphysema = 1", "bool"),
        ("nodules = 2", "nodules", "tables"),
        ("[nodules.first]\nspiculation = true", "nodules", "numbered"),
        ("[nodules]\n1 = true", "nodules.1", "a table"),
        ("[nodules.1]\nspiculated = true", "nodules.1: spiculated", "one of spiculation, upper_lobe"),
        ("age_years = ", "patient.toml", "a TOML file"),
    ],
)
def test_what_is_not_known_is_refused(text: str, found: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "patient.toml"
    path.write_text(text, "utf-8")
    with refused(InputError, found, expected, "README"):
        read_patient(path)
