"""Networks ready to run: ONNX files, checked against the hash in their card, on the engine that is fastest there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lungsight.errors import WeightsError

__all__ = ["DENSE", "WINDOW_BY_WINDOW", "Network", "load_network", "shipped_weights", "takes_own_pixels"]

DENSE, WINDOW_BY_WINDOW = "dense", "window by window"
"""A card's ``form``: the network takes a whole field (also where the card has none), or each window by itself."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Network(Protocol):
    """A loaded network."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its ONNX file."""

    @property
    def engine(self) -> str:
        """What runs it, and in which precision."""

    @property
    def card(self) -> dict[str, Any]:
        """Its model card."""

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one array without batch and channel axes, give one without batch axis."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    sha256: str
    card: dict[str, Any]
    engine: str
    run: Run

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self.run(np.ascontiguousarray(field[None, None]))[0]
        return result


def takes_own_pixels(network: Network) -> bool:
    """Whether a network was trained on the CTs' own pixels, whatever their size: its card then gives none in mm."""
    given = network.card.get("input")
    return isinstance(given, dict) and "pixel_mm" in given and given["pixel_mm"] is None


def shipped_weights(name: str) -> Path:
    """The folder of a network that comes with Lungsight: ``model.onnx`` and ``card.json``."""
    return Path(str(resources.files("lungsight") / "weights" / name))


def load_network(folder: Path, *, exact: bool = False) -> Network:
    """Load ``model.onnx`` of a folder, after checking it against the SHA-256 in ``card.json``.

    Parameters
    ----------
    folder
        Of a shipped network or of your own.
    exact
        Compute in float32. Otherwise the engine may choose bfloat16 where the processor has it, which is twice as fast;
        scores then differ in the third decimal.

    Returns
    -------
    Network
        On OpenVINO where that is installed (it is, on x86-64), else on ONNX Runtime. Nothing is unpickled.

    Raises
    ------
    WeightsError
        If a file is absent, unreadable or not the one its card describes.
    """
    onnx, card_path = folder / "model.onnx", folder / "card.json"
    try:
        card = json.loads(card_path.read_text("utf-8"))
        content = onnx.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"weights in {folder}: {error}",
            "model.onnx and card.json",
            "Install Lungsight again or name another folder.",
        ) from error
    if not isinstance(card, dict):
        raise WeightsError(
            f"{card_path} holds a {type(card).__name__}",
            "a JSON object",
            "Install Lungsight again or export the network again.",
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if card.get("sha256") != sha256:
        raise WeightsError(
            f"{onnx} has SHA-256 {sha256}",
            f"{card.get('sha256')}, as its card says",
            "The file was altered or cut short: install Lungsight again or export the network again.",
        )
    try:
        run, engine = _open_openvino(content, exact=exact) if find_spec("openvino") else _open_onnxruntime(content)
    except Exception as error:  # the engines' errors share no base
        raise WeightsError(
            f"{onnx} cannot be loaded: {error}", "an ONNX network", "Export the network again."
        ) from error
    if card.get("form", DENSE) == WINDOW_BY_WINDOW:
        run = _window_by_window(run, *_window_sides(card, card_path))
    return _Loaded(sha256, card, engine, run)


def _window_sides(card: dict[str, Any], card_path: Path) -> tuple[int, int]:
    try:
        return int(card["input"]["field_px"]), int(card["input"]["step_px"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{card_path} does not tell field_px and step_px of its input",
            "both, for a network that sees its windows one by one",
            "Export the network again.",
        ) from error


def _window_by_window(run: Run, field_px: int, step_px: int) -> Run:
    """Run a network on each window of a field, a row of windows at a time; the answer has the form of a dense one."""

    def run_each(field: NDArray[np.float32]) -> NDArray[np.float32]:
        windows = sliding_window_view(field[0, 0], (field_px, field_px))[::step_px, ::step_px]
        rows = [run(np.ascontiguousarray(row[:, None]))[:, :, 0, 0].T for row in windows]
        return np.stack(rows, 1)[None]

    return run_each


def _open_onnxruntime(content: bytes) -> tuple[Run, str]:
    import onnxruntime  # noqa: PLC0415 - takes 0.1 s that `lungsight --help` does not need

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda field: session.run(None, {"field": field})[0], f"ONNX Runtime {onnxruntime.__version__}, float32"


def _open_openvino(content: bytes, *, exact: bool) -> tuple[Run, str]:
    import openvino  # noqa: PLC0415 - heavy

    core = openvino.Core()
    wanted = {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_PRECISION_HINT": "f32"} if exact else {})
    compiled = core.compile_model(core.read_model(BytesIO(content)), "CPU", wanted)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    version = openvino.__version__.split("-")[0]
    request = compiled.create_infer_request()
    return lambda field: np.array(request.infer([field])[0]), f"OpenVINO {version}, {_PRECISIONS[precision]}"


_PRECISIONS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
