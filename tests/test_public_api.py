"""The front door: a dozen names, pinned; importing is quiet and light."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lungsight

NAMES = [
    "CTVolume",
    "Candidate",
    "Config",
    "Diagnosis",
    "LungsightError",
    "Nodule",
    "Verdict",
    "load_pipeline",
    "read_ct",
    "segment_lungs",
    "write_report",
    "write_seg",
    "write_sr",
]
ONLY_WHEN_NEEDED = ["torch", "highdicom", "matplotlib", "SimpleITK", "openvino", "sklearn", "onnx"]


def in_a_new_process(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own code
    assert done.stderr == ""
    return done.stdout


def modules() -> list[str]:
    """Every module of the package that has to work without the training extra."""
    root = Path(lungsight.__file__).parent
    names = (".".join(path.relative_to(root.parent).with_suffix("").parts) for path in root.rglob("*.py"))
    return sorted(
        n.removesuffix(".__init__") for n in names if not n.startswith("lungsight.train") and not n.endswith("__main__")
    )


def test_the_public_names_are_these() -> None:
    assert lungsight.__all__ == NAMES
    assert set(NAMES) <= set(dir(lungsight))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_used_and_is_described(name: str) -> None:
    home = lungsight._HOMES[name]
    value = getattr(lungsight, name)
    assert (value.__name__, value.__module__) == (name, home)
    assert len(inspect.getdoc(value) or "") > 20


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lungsight' has no attribute 'reed_ct'"):
        lungsight.reed_ct  # noqa: B018


def test_importing_is_light_and_says_nothing() -> None:
    # No seconds are taken here: a busy machine is no bug. What is not loaded takes no time.
    code = "import sys; before = set(sys.modules); import lungsight; print(*set(sys.modules) - before)"
    loaded = set(in_a_new_process(code).split())
    assert "lungsight" in loaded
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {"lungsight"}
    assert not loaded & {"asyncio", "dataclasses", "inspect", "json", "pathlib", "subprocess", "tomllib"}


def test_no_module_loads_what_only_some_runs_need() -> None:
    # Static contracts (lint-imports) see where a library is imported, not when: this sees it.
    names = [name for name in modules() if not name.startswith("lungsight.report.dicom")]  # highdicom's own door
    assert len(names) > 8
    code = f"import sys, importlib; [importlib.import_module(n) for n in {names}]; print(*sys.modules)"
    loaded = in_a_new_process(code).split()
    assert set(names) <= set(loaded)
    assert not set(loaded) & set(ONLY_WHEN_NEEDED)


@pytest.mark.parametrize("module", modules())
def test_every_public_name_of_every_module_is_described(module: str) -> None:
    loaded = __import__(module, fromlist=["_"])
    assert loaded.__doc__
    for name in getattr(loaded, "__all__", []) if module != "lungsight" else []:
        value = getattr(loaded, name)
        if callable(value) and getattr(value, "__module__", "").startswith("lungsight"):
            # A dataclass without a docstring is given its signature for one.
            described = value.__doc__ and not value.__doc__.startswith(f"{name}(")
            assert described, f"{module}.{name}"
