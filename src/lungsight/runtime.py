"""Networks ready to run: ONNX files, checked against the hash in their card, on ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import WeightsError

__all__ = ["Network", "load_network", "shipped_weights"]


class Network(Protocol):
    """A loaded network."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its ONNX file."""

    @property
    def card(self) -> dict[str, Any]:
        """Its model card."""

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one array without batch and channel axes, give one without batch axis."""


@dataclass(frozen=True, slots=True)
class _OnnxNetwork:
    sha256: str
    card: dict[str, Any]
    session: Any

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self.session.run(None, {"field": field[None, None]})[0][0]
        return result


def shipped_weights(name: str) -> Path:
    """The folder of a network that comes with Lungsight: ``model.onnx`` and ``card.json``."""
    return Path(str(resources.files("lungsight") / "weights" / name))


def load_network(folder: Path) -> Network:
    """Load ``model.onnx`` of a folder, after checking it against the SHA-256 in ``card.json``.

    Parameters
    ----------
    folder
        Of a shipped network or of your own.

    Returns
    -------
    Network
        On ONNX Runtime, in float32. Nothing is unpickled.

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
    return _open(content, sha256, card, onnx)


def _open(content: bytes, sha256: str, card: dict[str, Any], path: Path) -> Network:
    import onnxruntime  # noqa: PLC0415 - takes 0.1 s that `lungsight --help` does not need
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    # ONNX Runtime's exceptions have no base of their own.
    refusals = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
    try:
        return _OnnxNetwork(sha256, card, onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]))
    except (*refusals, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be loaded: {error}", "an ONNX network", "Export the network again."
        ) from error
