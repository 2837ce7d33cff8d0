"""Networks ready to run: ONNX files, checked against the hash in their card, on the engine that is fastest here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lungsight.engines import OpenedNetwork, Run
from lungsight.errors import LungsightError, WeightsError
from lungsight.fastest import open_fastest

__all__ = [
    "DENSE",
    "INT8",
    "WINDOW_BY_WINDOW",
    "BatchNetwork",
    "LoadedNetwork",
    "Network",
    "NetworkFolder",
    "load_network",
    "open_network",
    "open_networks",
    "sha256_of",
    "shipped_weights",
    "takes_own_pixels",
]

DENSE, WINDOW_BY_WINDOW = "dense", "window by window"
"""A card's ``form``: the network takes a whole field (also where the card has none), or each window by itself."""

INT8 = "model-int8"
"""Name of a window network's form in int8, which its card may list among ``networks``."""

_TIMED_WINDOWS = 12
"""So many windows are about as much to compute as the dense field that the engines are timed with."""


class Network(Protocol):
    """A loaded window network."""

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
class BatchNetwork:
    """A network that takes batches.

    Attributes
    ----------
    sha256
        Of its ONNX file.
    card
        Its folder's model card.
    engine
        What runs it, and in which precision.
    run
        Takes a batch ``(n, c, h, w)`` float32, n >= 1, and gives the network's output, as it is. Not for two threads at
        once.
    """

    sha256: str
    card: dict[str, Any]
    engine: str
    run: Run


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """Several networks that belong together.

    Attributes
    ----------
    networks
        In the order they were asked for.
    sha256
        Of the lines that ``sha256sum`` writes of their files, in that order.
    card
        Their model card.
    """

    networks: tuple[BatchNetwork, ...]
    sha256: str
    card: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A window network on an engine, see :class:`Network`.

    Attributes
    ----------
    sha256, card, engine
        Of ``model.onnx``, also where its form in int8 runs; its folder's; what runs it.
    run
        Takes a batch of one field.
    exact
        The same network in float32; None if this one computes in float32.
    """

    sha256: str
    card: dict[str, Any]
    engine: str
    run: Run
    exact: LoadedNetwork | None = None

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of a field's windows."""
        result: NDArray[np.float32] = self.run(field[None, None])[0]
        return result


def takes_own_pixels(network: Network) -> bool:
    """Whether a network was trained on the CTs' own pixels, whatever their size: its card then gives none in mm."""
    given = network.card.get("input")
    return isinstance(given, dict) and "pixel_mm" in given and given["pixel_mm"] is None


def shipped_weights(name: str) -> Path:
    """The folder of a network that comes with Lungsight: ``model.onnx`` and ``card.json``."""
    return Path(str(resources.files("lungsight") / "weights" / name))


def open_network(
    folder: Path,
    name: str = "model",
    *,
    engine: str | None = None,
    precision: str | None = None,
    typical_shape: tuple[int, ...] | None = None,
) -> BatchNetwork:
    """Open ``<name>.onnx`` of a folder, after checking it against the SHA-256 in ``card.json``.

    Parameters
    ----------
    folder
        Of a shipped network or of your own. Its card has ``"networks": {"<name>": "<sha256>", ...}``, or, if there is
        only ``model.onnx``, ``"sha256"``.
    name
        Which network of the folder. It has one input of shape ``(n, c, h, w)`` and one output.
    engine
        ``"openvino"`` or ``"onnxruntime"``; None for the faster, see :func:`~lungsight.fastest.open_fastest`.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"int8"``; None for the fastest of those that agree with float32. Only a
        `windows` network may have an int8 form.
    typical_shape
        Of a usual batch, for timing the engines; None for about 256 x 256 pixels.

    Returns
    -------
    BatchNetwork
        Nothing is unpickled.

    Raises
    ------
    InputError
        If the engine is not installed or does not have the precision on this processor.
    WeightsError
        If a file is absent, unreadable or not the one its card describes.
    """
    card, content, sha256 = _read_checked(folder, name)
    opened = _opened(folder / f"{name}.onnx", content, _Wanted(engine, precision, typical_shape))
    return BatchNetwork(sha256, card, opened.engine, opened.run)


def open_networks(
    folder: Path, names: tuple[str, ...], *, engine: str | None = None, precision: str | None = None
) -> NetworkFolder:
    """Open several networks of a folder, one or more, see :func:`open_network`."""
    opened = tuple(open_network(folder, name, engine=engine, precision=precision) for name in names)
    lines = [f"{each.sha256}  {name}.onnx" for name, each in zip(names, opened, strict=True)]
    return NetworkFolder(opened, sha256_of(lines), opened[0].card)


def sha256_of(lines: Sequence[str]) -> str:
    """The hash of a text of these lines."""
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def load_network(folder: Path, *, engine: str | None = None, precision: str | None = None) -> LoadedNetwork:
    """Load the window network ``model.onnx`` of a folder, or ``model-int8.onnx`` where that is faster.

    Parameters
    ----------
    folder, engine, precision
        As in :func:`open_network`.

    Returns
    -------
    LoadedNetwork
        Called with one field, whether the network takes whole fields or each window by itself.

    Raises
    ------
    InputError, WeightsError
        As :func:`open_network`.
    """
    card, content, sha256 = _read_checked(folder, "model")
    dense = card.get("form", DENSE) != WINDOW_BY_WINDOW
    field_px, step_px = (0, 0) if dense else _window_sides(card, folder / "card.json")
    shape = None if dense else (_TIMED_WINDOWS, 1, field_px, field_px)
    int8 = _read_checked(folder, INT8)[1] if INT8 in _hashes(card) else None
    model = folder / "model.onnx"

    def loaded(opened: OpenedNetwork, exact: LoadedNetwork | None) -> LoadedNetwork:
        run = opened.run if dense else _window_by_window(opened.run, field_px, step_px)
        return LoadedNetwork(sha256, card, opened.engine, run, exact)

    opened = _opened(model, content, _Wanted(engine, precision, shape), int8)
    if opened.choice.precision == "float32":
        return loaded(opened, None)
    exact = _opened(model, content, _Wanted(opened.choice.engine, "float32", shape))
    return loaded(opened, loaded(exact, None))


@dataclass(frozen=True, slots=True)
class _Wanted:
    engine: str | None
    precision: str | None
    typical_shape: tuple[int, ...] | None


def _opened(onnx: Path, content: bytes, wanted: _Wanted, int8: bytes | None = None) -> OpenedNetwork:
    try:
        return open_fastest(content, wanted.engine, wanted.precision, wanted.typical_shape, int8)
    except LungsightError:
        raise
    except Exception as error:  # the engines' errors share no base
        raise WeightsError(
            f"{onnx} cannot be loaded: {error}", "an ONNX network", "Export the network again."
        ) from error


def _read_checked(folder: Path, name: str) -> tuple[dict[str, Any], bytes, str]:
    """The card, the network's file and its SHA-256, which is that of the card."""
    onnx, card_path = folder / f"{name}.onnx", folder / "card.json"
    try:
        card = json.loads(card_path.read_text("utf-8"))
        content = onnx.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"weights in {folder}: {error}",
            f"{onnx.name} and card.json",
            "Install Lungsight again or name another folder.",
        ) from error
    if not isinstance(card, dict):
        raise WeightsError(
            f"{card_path} holds a {type(card).__name__}",
            "a JSON object",
            "Install Lungsight again or export the network again.",
        )
    described = _hashes(card).get(name)
    sha256 = hashlib.sha256(content).hexdigest()
    if described != sha256:
        raise WeightsError(
            f"{onnx} has SHA-256 {sha256}",
            f"{described}, as its card says",
            "The file was altered or cut short: install Lungsight again or export the network again.",
        )
    return card, content, sha256


def _hashes(card: dict[str, Any]) -> dict[str, Any]:
    """SHA-256 of each network of a folder, as its card tells."""
    networks = card.get("networks", {})
    return {"model": card.get("sha256"), **networks} if isinstance(networks, dict) else {}


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
