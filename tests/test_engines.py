"""What runs networks here: what is refused, and that the engines and the precisions agree."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from lungsight import engines
from lungsight.engines import ENGINES, EngineChoice, available_choices, open_onnx
from lungsight.errors import InputError
from lungsight.fastest import TOLERANCE
from lungsight.runtime import shipped_weights
from refusals import refused

openvino = pytest.importorskip("openvino", reason="ONNX Runtime alone has nothing to agree with")
HAS_BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
CONTENT = (shipped_weights("windows") / "model.onnx").read_bytes()


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without bfloat16."""

    class Core:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Core)


def test_both_engines_are_there_and_the_most_exact_choice_comes_first() -> None:
    expected = [("openvino", "float32"), ("onnxruntime", "float32")]
    expected += [("openvino", "bfloat16")] * HAS_BFLOAT16
    assert available_choices() == tuple(itertools.starmap(EngineChoice, expected))
    expected += [("openvino", "int8"), ("onnxruntime", "int8")]
    assert available_choices(int8=True) == tuple(itertools.starmap(EngineChoice, expected))
    assert available_choices("openvino", "int8", int8=True) == (EngineChoice("openvino", "int8"),)
    with refused(InputError, "int8 asked of a network that has no int8 form", "float32 or bfloat16", "Leave"):
        available_choices(precision="int8")


@pytest.mark.usefixtures("old_processor")
def test_an_old_processor_has_no_bfloat16() -> None:
    assert {choice.precision for choice in available_choices()} == {"float32"}
    with refused(
        InputError,
        "bfloat16 is not to be had of any engine on this processor",
        r"what runs here: openvino \(float32\), onnxruntime \(float32\)",
        "take float32",
    ):
        available_choices(precision="bfloat16")


def test_onnx_runtime_has_no_bfloat16() -> None:
    with refused(InputError, "bfloat16 is not to be had of the engine onnxruntime", "what runs here: ", "float32"):
        available_choices("onnxruntime", "bfloat16")
    with pytest.raises(ValueError, match="no bfloat16"):
        EngineChoice("onnxruntime", "bfloat16")


@pytest.mark.parametrize("absent", ENGINES)
def test_an_engine_that_is_not_installed_is_refused(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (other,) = set(ENGINES) - {absent}
    monkeypatch.setitem(sys.modules, absent, None)
    assert {choice.engine for choice in available_choices()} == {other}
    with refused(InputError, f"{absent} is not installed", rf"what runs here: {other} \(float32", f"install {absent}"):
        available_choices(absent)


def test_without_any_engine_the_remedy_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENGINES:
        monkeypatch.setitem(sys.modules, name, None)
    with refused(InputError, "no engine is installed", "openvino or onnxruntime", "pip install onnxruntime"):
        available_choices()


@pytest.mark.parametrize(
    ("engine", "precision", "found", "expected"),
    [
        ("abacus", None, "engine 'abacus'", "openvino, onnxruntime"),
        (None, "int4", "precision 'int4'", "float32, bfloat16, int8"),
    ],
)
def test_an_unknown_name_is_refused(engine: str | None, precision: str | None, found: str, expected: str) -> None:
    with refused(InputError, found, f"one of {expected}", "Name one of these"):
        available_choices(engine, precision)
    with pytest.raises(ValueError, match="expected one of"):
        EngineChoice(engine or "openvino", precision or "float32")


def test_engines_agree_in_float32_and_bfloat16_within_its_tolerance() -> None:
    field = np.random.default_rng(4).random((2, 1, 108, 88), np.float32)
    opened = {str(choice): open_onnx(CONTENT, choice) for choice in available_choices()}
    exact = opened["openvino float32"].run(field)
    assert exact.shape == (2, 3, 5, 3)
    np.testing.assert_allclose(opened["onnxruntime float32"].run(field), exact, atol=1e-5)
    for name, network in opened.items():
        assert network.input_shape == (None, 1, None, None)
        assert network.engine.endswith(f", {name.split()[1]}")
    if HAS_BFLOAT16:
        rough = opened["openvino bfloat16"].run(field)
        np.testing.assert_allclose(rough, exact, atol=TOLERANCE["bfloat16"])
        assert np.abs(rough - exact).max() > 1e-5, "computed in float32 after all"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_is_read_as_what_it_shows_and_the_answer_stays(engine: str) -> None:
    run = open_onnx(CONTENT, EngineChoice(engine, "float32")).run
    field = np.random.default_rng(5).random((1, 1, 78, 68), np.float32)
    answer = run(field)
    kept = answer.copy()
    # Every second column is a view with strides of its own.
    np.testing.assert_allclose(run(np.repeat(field, 2, 3)[..., ::2]), kept, atol=1e-6)
    run(np.zeros_like(field))
    np.testing.assert_array_equal(answer, kept)


def test_a_library_that_lacks_another_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "openvino":
                raise OSError("libtbb.so.12: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "openvino")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert [str(choice) for choice in engines.available_choices()] == ["onnxruntime float32"]
