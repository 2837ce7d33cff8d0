"""Loading networks: what is refused and why, and what a loaded one gives."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lungsight import fastest
from lungsight.detect.exact import MARGIN
from lungsight.detect.windows import field_of_windows
from lungsight.detect.working import working_slice
from lungsight.engines import EngineChoice, OpenedNetwork, available_choices, open_onnx
from lungsight.errors import InputError, WeightsError
from lungsight.pipeline import WindowsPipeline, load_pipeline
from lungsight.runtime import Network, load_network, open_network, shipped_weights
from phantom import Sphere, thorax
from refusals import refused

LABELS = {"onnxruntime": "ONNX Runtime ", "openvino": "OpenVINO "}
INSTALLED = sorted({choice.engine for choice in available_choices()})


def weights(folder: Path, content: bytes, card: str | None = None) -> Path:
    """A folder with a network's file; without a card given, one that describes it."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    own_card = json.dumps({"sha256": hashlib.sha256(content).hexdigest()})
    (folder / "card.json").write_text(own_card if card is None else card, "utf-8")
    return folder


@pytest.fixture(scope="module")
def thorax_field() -> NDArray[np.float32]:
    """Lungs with nodules, as a network sees a slice of them."""
    nodules = tuple(Sphere((-75.0, -50.0 + 25 * k, 0.0), 5.0 + 4 * k) for k in range(5))
    body = thorax(nodules, (1, 400, 460), (2.5, 0.7, 0.7))
    return field_of_windows(working_slice(body.hu[0], (0.7, 0.7)), slice(2, 30), slice(2, 30))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_weights("windows"), tmp_path / "weights"))


def test_an_altered_network_is_refused(copied: Path) -> None:
    path = copied / "model.onnx"
    content = bytearray(path.read_bytes())
    described = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    altered = hashlib.sha256(content).hexdigest()
    with refused(WeightsError, f"model.onnx has SHA-256 {altered}", f"{described}, as its card says", "altered or cut"):
        load_network(copied)


def test_a_network_cut_short_is_refused(copied: Path) -> None:
    path = copied / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with refused(WeightsError, "has SHA-256 [0-9a-f]{64}", "[0-9a-f]{64}, as its card says", "install Lungsight again"):
        load_network(copied)


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_an_absent_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = weights(tmp_path / "mine", b"network")
    (folder / name).unlink()
    with refused(WeightsError, f"mine: .*No such file.*{name}", "model.onnx and card.json", "name another folder"):
        load_network(folder)


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with refused(WeightsError, "nowhere: .*No such file", "model.onnx and card.json", "name another folder"):
        load_network(tmp_path / "nowhere")


@pytest.mark.parametrize("card", ["", "{", '{"sha256": ', "\udcff"])
def test_a_card_that_is_not_json_is_refused(card: str, tmp_path: Path) -> None:
    folder = weights(tmp_path / "mine", b"network", "")
    (folder / "card.json").write_bytes(card.encode("utf-8", "surrogateescape"))
    with refused(WeightsError, "mine: ", "model.onnx and card.json", "name another folder"):
        load_network(folder)


@pytest.mark.parametrize(("card", "kind"), [("[]", "list"), ("null", "NoneType"), ('"x"', "str")])
def test_a_card_that_is_no_object_is_refused(card: str, kind: str, tmp_path: Path) -> None:
    folder = weights(tmp_path / "mine", b"network", card)
    with refused(WeightsError, f"card.json holds a {kind}", "a JSON object", "export the network again"):
        load_network(folder)


@pytest.mark.parametrize("card", ['{"name": "of another"}', '{"sha256": null}', '{"sha256": "00ff"}'])
def test_the_card_of_another_network_is_refused(card: str, tmp_path: Path) -> None:
    folder = weights(tmp_path / "mine", b"network", card)
    with refused(WeightsError, "model.onnx has SHA-256 ", "as its card says", "install Lungsight again"):
        load_network(folder)


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" + b"x" * 50], ids=["empty", "text", "bytes"])
def test_what_is_not_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = weights(tmp_path / "mine", content)
    with refused(WeightsError, "model.onnx cannot be loaded: .+", "an ONNX network", "Export the network again"):
        load_network(folder)


def test_the_shipped_network_is_described_by_its_card(shipped_network: Network) -> None:
    content = (shipped_weights("windows") / "model.onnx").read_bytes()
    assert shipped_network.sha256 == hashlib.sha256(content).hexdigest() == shipped_network.card["networks"]["model"]


def test_a_field_gives_three_scores_a_window_that_sum_to_1(shipped_network: Network) -> None:
    field = np.random.default_rng(3).random((88, 99), np.float32)
    scores = shipped_network(field)
    assert scores.dtype == np.float32
    assert scores.shape == (3, 3, 4)
    assert scores.min() >= 0
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-5)
    # Every second column is a view with strides of its own: it must be read as what it shows.
    np.testing.assert_allclose(shipped_network(np.repeat(field, 2, 1)[:, ::2]), scores, atol=1e-6)


@pytest.mark.parametrize("engine", INSTALLED)
def test_engine_and_precision_can_be_chosen(shipped_network: Network, engine: str) -> None:
    network = load_network(shipped_weights("windows"), engine=engine, precision="float32")
    assert network.engine.startswith(LABELS[engine])
    assert network.engine.endswith(", float32")
    field = np.random.default_rng(4).random((78, 88), np.float32)
    np.testing.assert_allclose(network(field), shipped_network(field), atol=1e-5)


def test_a_pipeline_hands_the_choice_on() -> None:
    for engine in INSTALLED:
        pipeline = load_pipeline(engine=engine, precision="float32")
        assert isinstance(pipeline, WindowsPipeline)
        network = pipeline.network
        assert network.engine.startswith(LABELS[engine])
        assert network.engine.endswith(", float32")


def test_an_engine_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with refused(InputError, "onnxruntime is not installed|no engine is installed", "openvino", "pip install"):
        load_network(shipped_weights("windows"), engine="onnxruntime")


def test_without_openvino_onnx_runtime_runs_it(
    shipped_network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = load_network(shipped_weights("windows"))
    assert network.engine.startswith("ONNX Runtime")
    field = np.random.default_rng(4).random((78, 88), np.float32)
    np.testing.assert_allclose((network.exact or network)(field), shipped_network(field), atol=1e-5)


@pytest.mark.parametrize("engine", INSTALLED)
def test_in_int8_it_is_the_same_network_and_keeps_an_exact_one(
    shipped_network: Network, engine: str, thorax_field: NDArray[np.float32]
) -> None:
    network = load_network(shipped_weights("windows"), engine=engine, precision="int8")
    assert network.engine.startswith(LABELS[engine])
    assert network.engine.endswith(", int8")
    assert (network.sha256, network.card) == (shipped_network.sha256, shipped_network.card)
    exact = shipped_network(thorax_field)
    assert np.ptp(exact[0]) > 0.5, "the field tells nothing apart"
    rough = network(thorax_field)
    np.testing.assert_allclose(rough, exact, atol=MARGIN)
    assert np.abs(rough - exact).max() > 1e-4, "computed in float32 after all"
    assert network.exact is not None
    assert network.exact.engine.endswith(", float32")
    assert network.exact.exact is None
    np.testing.assert_allclose(network.exact(thorax_field), exact, atol=1e-5)


def test_a_network_without_int8_is_not_run_in_it(copied: Path) -> None:
    card = json.loads((copied / "card.json").read_text("utf-8"))
    (copied / "model-int8.onnx").write_bytes(b"of another")
    with refused(WeightsError, "model-int8.onnx has SHA-256", card["networks"]["model-int8"], "install Lungsight"):
        load_network(copied)
    del card["networks"]["model-int8"]
    (copied / "card.json").write_text(json.dumps(card), "utf-8")
    assert not load_network(copied).engine.endswith("int8")
    with refused(InputError, "int8 asked of a network that has no int8 form", "float32 or bfloat16", "Leave"):
        load_network(copied, precision="int8")


def test_the_second_load_measures_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened: list[EngineChoice] = []

    def open_it(content: bytes, choice: EngineChoice) -> OpenedNetwork:
        opened.append(choice)
        return open_onnx(content, choice)

    monkeypatch.setattr(fastest, "open_onnx", open_it)
    first = load_network(shipped_weights("windows"))
    assert opened[: len(available_choices(int8=True))] == list(available_choices(int8=True))
    opened.clear()
    second = load_network(shipped_weights("windows"))
    assert [choice.precision for choice in opened[1:]] == ["float32"] * (second.exact is not None)
    assert second.engine == first.engine


@pytest.fixture
def two_networks(tmp_path: Path) -> Path:
    """A folder of two: `twice` and `thrice`, which do that to 2 channels."""
    contents = {}
    for factor, name in ((2, "twice"), (3, "thrice")):
        contents[name] = multiplying(factor)
        (tmp_path / f"{name}.onnx").write_bytes(contents[name])
    networks = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (tmp_path / "card.json").write_text(json.dumps({"task": "to multiply", "networks": networks}), "utf-8")
    return tmp_path


def multiplying(factor: int) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["field", "factor"], ["product"])],
        "multiply",
        [value("field", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [value("product", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_folder_may_hold_several_networks(two_networks: Path, engine: str) -> None:
    batch = np.random.default_rng(6).random((3, 2, 5, 7), np.float32)
    for factor, name in ((2, "twice"), (3, "thrice")):
        network = open_network(two_networks, name, engine=engine, precision="float32")
        np.testing.assert_array_equal(network.run(batch), batch * np.float32(factor))
        assert network.sha256 == hashlib.sha256((two_networks / f"{name}.onnx").read_bytes()).hexdigest()
        assert network.card["task"] == "to multiply"
        assert network.engine.startswith(LABELS[engine])
        assert network.engine.endswith(", float32")


def test_each_of_several_networks_is_held_against_its_own_hash(two_networks: Path) -> None:
    shutil.copy(two_networks / "thrice.onnx", two_networks / "twice.onnx")
    with refused(WeightsError, "twice.onnx has SHA-256 ", "[0-9a-f]{64}, as its card says", "altered or cut short"):
        open_network(two_networks, "twice")
    shutil.copy(two_networks / "thrice.onnx", two_networks / "once.onnx")
    with refused(WeightsError, "once.onnx has SHA-256 ", "None, as its card says", "export the network again"):
        open_network(two_networks, "once")
    with refused(WeightsError, "No such file.*model.onnx", "model.onnx and card.json", "name another folder"):
        open_network(two_networks)


@pytest.mark.parametrize("networks", ["[]", "null", '"x"', "3"])
def test_a_card_whose_networks_are_no_object_is_refused(two_networks: Path, networks: str) -> None:
    (two_networks / "card.json").write_text(f'{{"networks": {networks}}}', "utf-8")
    with refused(WeightsError, "twice.onnx has SHA-256 ", "None, as its card says", "export the network again"):
        open_network(two_networks, "twice")


def test_to_use_a_network_needs_no_torch() -> None:
    code = (
        "import sys, numpy, lungsight, lungsight.runtime as runtime, lungsight.pipeline\n"
        "network = runtime.load_network(runtime.Path(sys.argv[1]))\n"
        "assert network(numpy.zeros((68, 68), numpy.float32)).shape == (3, 1, 1)\n"
        "print([name for name in ('torch', 'onnx', 'sklearn', 'matplotlib') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(shipped_weights("windows"))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
