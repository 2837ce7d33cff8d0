"""The engines that run ONNX networks on a processor, and the precisions each has on this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import InputError

__all__ = ["ENGINES", "PRECISIONS", "EngineChoice", "OpenedNetwork", "Run", "available_choices", "open_onnx"]

ENGINES = ("openvino", "onnxruntime")
PRECISIONS = ("float32", "bfloat16", "int8")
"""From the most exact on. int8 is a file of its own, whose numbers were made whole ones when it was exported."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What runs a network, and in which precision.

    Attributes
    ----------
    engine
        ``"openvino"`` or ``"onnxruntime"``.
    precision
        ``"float32"``, ``"int8"`` or, on OpenVINO, ``"bfloat16"``.

    Examples
    --------
    >>> str(EngineChoice("openvino", "bfloat16"))
    'openvino bfloat16'
    """

    engine: str
    precision: str

    def __post_init__(self) -> None:
        if self.engine not in ENGINES or self.precision not in PRECISIONS:
            raise ValueError(f"{self.engine!r} in {self.precision!r}: expected one of {ENGINES} in one of {PRECISIONS}")
        if (self.engine, self.precision) == ("onnxruntime", "bfloat16"):
            raise ValueError("ONNX Runtime has no bfloat16 convolutions on processors")

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class OpenedNetwork:
    """A network on an engine.

    Attributes
    ----------
    run
        Takes a batch ``(n, c, h, w)``, n >= 1, and gives the network's one output.
    engine
        Name and version of the engine, and the precision it computes in.
    input_shape
        Of a batch; None where the network takes any size.
    choice
        Which engine and precision that is.
    """

    run: Run
    engine: str
    input_shape: tuple[int | None, ...]
    choice: EngineChoice


def available_choices(
    engine: str | None = None, precision: str | None = None, *, int8: bool = False
) -> tuple[EngineChoice, ...]:
    """What can run a network here.

    Parameters
    ----------
    engine, precision
        Only those; None for any.
    int8
        Whether the network has a file in int8.

    Returns
    -------
    tuple of EngineChoice
        At least one; float32 first, then bfloat16, which is there if OpenVINO has instructions for it on this
        processor, then int8.

    Raises
    ------
    InputError
        If there is none: an unknown name, an engine that is not installed, a precision that it does not have here.
    """
    _check_name("engine", engine, ENGINES)
    _check_name("precision", precision, PRECISIONS)
    if precision == "int8" and not int8:
        raise InputError(
            "int8 asked of a network that has no int8 form",
            "float32 or bfloat16, or a `windows` network exported with int8",
            "Leave the precision out.",
        )
    there = {name: [kind for kind in _precisions_of(name) if int8 or kind != "int8"] for name in ENGINES}
    found = [
        EngineChoice(name, kind)
        for kind in PRECISIONS
        for name in ENGINES
        if engine in {None, name} and precision in {None, kind} and kind in there[name]
    ]
    if not found:
        raise _none_fits(engine, precision, there)
    return tuple(found)


def open_onnx(content: bytes, choice: EngineChoice) -> OpenedNetwork:
    """Open a network with one input and one output on an engine.

    Parameters
    ----------
    content
        An ONNX file; for int8 that in int8.
    choice
        One of :func:`available_choices`.

    Returns
    -------
    OpenedNetwork
        Not to be run by two threads at once.

    Raises
    ------
    Exception
        The engine's own, of no common base, if the content is no network that it can run.
    """
    return _open_openvino(content, choice) if choice.engine == "openvino" else _open_onnxruntime(content, choice)


def _check_name(kind: str, name: str | None, known: tuple[str, ...]) -> None:
    if name is not None and name not in known:
        raise InputError(f"{kind} {name!r}", f"one of {', '.join(known)}", "Name one of these, or none.")


def _none_fits(engine: str | None, precision: str | None, there: Mapping[str, Sequence[str]]) -> InputError:
    installed = [f"{name} ({', '.join(kinds)})" for name, kinds in there.items() if kinds]
    if not installed:
        return InputError("no engine is installed", " or ".join(ENGINES), "Install one: `pip install onnxruntime`.")
    expected = "what runs here: " + ", ".join(installed)
    if engine is not None and not there[engine]:
        return InputError(
            f"the engine {engine} is not installed", expected, f"Leave it out, or `pip install {engine}`."
        )
    by = f"the engine {engine}" if engine else "any engine"
    return InputError(
        f"{precision} is not to be had of {by} on this processor", expected, "Leave the precision out, or take float32."
    )


def _precisions_of(engine: str) -> tuple[str, ...]:
    """In which precisions an engine computes here; none if it is not installed."""
    if engine == "onnxruntime":
        return () if _onnxruntime() is None else ("float32", "int8")
    openvino = _openvino()
    if openvino is None:
        return ()
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    needed = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}
    return tuple(kind for kind in PRECISIONS if needed[kind] in capabilities)


# Both libraries take 0.1 s and more to import: `lungsight --help`, or a machine that runs the other, need not spend it.
def _openvino() -> ModuleType | None:
    try:
        import openvino  # noqa: PLC0415
    except (ImportError, OSError):  # OSError: a library it needs is absent
        return None
    module: ModuleType = openvino
    return module


def _onnxruntime() -> ModuleType | None:
    try:
        import onnxruntime  # noqa: PLC0415
    except (ImportError, OSError):
        return None
    module: ModuleType = onnxruntime
    return module


def _open_onnxruntime(content: bytes, choice: EngineChoice) -> OpenedNetwork:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    # Threads that wait for work shall not keep a processor busy that could read the next CT meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run(None, {given.name: batch})[0]
        return result

    shape = tuple(size if isinstance(size, int) else None for size in given.shape)
    return OpenedNetwork(run, f"ONNX Runtime {onnxruntime.__version__}, {choice.precision}", shape, choice)


def _open_openvino(content: bytes, choice: EngineChoice) -> OpenedNetwork:
    import openvino  # noqa: PLC0415

    hint = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}[choice.precision]  # int8: of what is not quantised
    core = openvino.Core()
    wanted = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    compiled = core.compile_model(core.read_model(BytesIO(content)), "CPU", wanted)
    hinted = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    precision = "int8" if choice.precision == "int8" else _OPENVINO_NAMES.get(hinted, hinted)
    version = openvino.__version__.split("-")[0]
    request = compiled.create_infer_request()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # It gives a view of its own memory, which the next call overwrites.
        return np.array(request.infer([batch])[0])

    shape = tuple(None if size.is_dynamic else size.get_length() for size in compiled.input(0).partial_shape)
    return OpenedNetwork(run, f"OpenVINO {version}, {precision}", shape, choice)


_OPENVINO_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
