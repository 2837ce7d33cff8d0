"""What is exported says what PyTorch says, and is written whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from lungsight.errors import WeightsError
from lungsight.runtime import load_network
from lungsight.train.export import export_windows, form_of, write_networks
from lungsight.train.networks import VGG16, PatchCNN, WindowModule
from refusals import refused

SIZE_MB = {False: 33, True: 17}


@pytest.fixture(scope="module")
def network() -> PatchCNN:
    torch.manual_seed(7)
    network = PatchCNN().eval()
    for layer in (*network.convolutions, network.hidden, network.output):
        torch.nn.init.normal_(layer.bias, std=0.1)
    return network


@pytest.fixture(scope="module")
def half(network: PatchCNN) -> onnx.ModelProto:
    return export_windows(network)


def by_pytorch(network: WindowModule, field: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        scores: NDArray[np.float32] = torch.softmax(network.dense(torch.from_numpy(field)), 1).numpy()
    return scores


@pytest.mark.parametrize(("stored_half", "tolerance"), [(False, 1e-5), (True, 1e-3)])
def test_onnx_says_what_pytorch_says(
    stored_half: bool, tolerance: float, network: PatchCNN, half: onnx.ModelProto
) -> None:
    model = half if stored_half else export_windows(network, half=False)
    content = model.SerializeToString()
    assert SIZE_MB[stored_half] - 1 < len(content) / 1e6 < SIZE_MB[stored_half]
    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 68, 68), (2, 1, 88, 99)):
        field = np.random.default_rng(8).random(shape, np.float32)
        (found,) = session.run(None, {"field": field})
        expected = by_pytorch(network, field)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=tolerance)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_network_is_left_as_it_was(network: PatchCNN, half: onnx.ModelProto) -> None:
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    stored = {weight.data_type for weight in half.graph.initializer}
    assert stored == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("make", [lambda: PatchCNN("zero"), VGG16], ids=["zero", "vgg16"])
def test_a_zero_padded_network_is_run_window_by_window(make: Callable[[], WindowModule], tmp_path: Path) -> None:
    torch.manual_seed(7)
    network = make().eval()
    given = {"form": form_of(network), "input": {"field_px": 68, "step_px": 10}}
    assert given["form"] == "window by window"
    write_networks(tmp_path, {"model": export_windows(network, half=False)}, given)
    field = np.random.default_rng(9).random((88, 79), np.float32)
    expected = by_pytorch(network, field[None, None])[0]
    assert expected.shape == (3, 3, 2)
    np.testing.assert_allclose(load_network(tmp_path, precision="float32")(field), expected, atol=1e-5)
    write_networks(tmp_path, {"model": export_windows(network, half=False)}, {**given, "input": {}})
    with refused(WeightsError, "does not tell field_px and step_px", "both", "Export"):
        load_network(tmp_path)


def test_what_was_written_is_loaded(tmp_path: Path, network: PatchCNN, half: onnx.ModelProto) -> None:
    folder = tmp_path / "new" / "windows"
    sha256 = write_networks(folder, {"model": half}, {"name": "Prüfling", "patients": 12})["model"]
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.onnx"]
    assert hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() == sha256
    card = json.loads((folder / "card.json").read_text("utf-8"))
    assert card == {"name": "Prüfling", "patients": 12, "networks": {"model": sha256}}
    loaded = load_network(folder)
    assert (loaded.sha256, loaded.card) == (sha256, card)
    field = np.random.default_rng(9).random((78, 68), np.float32)
    np.testing.assert_allclose(loaded(field), by_pytorch(network, field[None, None])[0], atol=1e-3)
    assert write_networks(tmp_path / "again", {"model": half}, {}) == {"model": sha256}


def test_a_killed_writer_leaves_the_old_network(
    tmp_path: Path, half: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"old")
    write_bytes: Callable[[Path, bytes], int] = Path.write_bytes

    def killed(path: Path, data: bytes) -> int:
        write_bytes(path, data[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        write_networks(tmp_path, {"model": half}, {})
    assert (tmp_path / "model.onnx").read_bytes() == b"old"
