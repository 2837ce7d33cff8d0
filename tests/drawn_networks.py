"""Weights of `segments` whose answers can be worked out by hand: each network compares grey with a nodule's.

The drawn nodules of :mod:`phantom` have one HU each, which neither lung nor chest wall has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NODULE_HU = 200
"""What the U-Net marks, by 60 HU more or less."""


def level_of(hu: float) -> float:
    """HU as the networks see them."""
    return (hu + 1000) / 1500


def write_segments(
    folder: Path,
    nodule_hu: float = NODULE_HU,
    malignancy: float = 0.75,
    outline_hu: float | None = None,
    fitted: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """A folder for ``--weights``: every nodule of `nodule_hu` is found, what is near `outline_hu` (None: the same) of
    it is outlined, and its network says that malignancy; what was fitted stands in the card.
    """
    folder.mkdir(parents=True)
    logit = float(np.log(malignancy / (1 - malignancy)))
    networks = {
        "unet": _unet(nodule_hu),
        "detection": _of_centre(20.0, -20.0 * level_of(nodule_hu - 500)),
        "malignancy": _of_centre(0.0, logit),
        "outline": _unet(nodule_hu if outline_hu is None else outline_hu),
    }
    hashes = {}
    for name, network in networks.items():
        content = network.SerializeToString(deterministic=True)
        (folder / f"{name}.onnx").write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps({"name": "drawn", "networks": hashes, **(fitted or {})}), "utf-8")
    return folder


def sha256_of(folder: Path) -> str:
    """What ``sha256sum unet.onnx detection.onnx malignancy.onnx outline.onnx | sha256sum`` says."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("unet.onnx", "detection.onnx", "malignancy.onnx", "outline.onnx")
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _unet(nodule_hu: float) -> onnx.ModelProto:
    """1 where the grey is within 60 HU of the nodule's."""
    steps = [
        helper.make_node("Sub", ["field", "level"], ["off"]),
        helper.make_node("Abs", ["off"], ["apart"]),
        helper.make_node("Sub", ["width", "apart"], ["inside"]),
        helper.make_node("Mul", ["inside", "steep"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
    ]
    numbers = {"level": level_of(nodule_hu), "width": 60 / 1500, "steep": 500.0}
    return _model(steps, numbers, ["n", 1, "h", "w"], ["n", 1, "h", "w"])


def _of_centre(slope: float, offset: float) -> onnx.ModelProto:
    """Judges the mean grey of a cut's middle, in its brightest slice."""
    steps = [
        helper.make_node("Slice", ["field", "starts", "ends", "axes"], ["middle"]),
        helper.make_node("ReduceMean", ["middle"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["means"], ["brightest"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["brightest", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["moved"]),
        helper.make_node("Sigmoid", ["moved"], ["score"]),
        helper.make_node("Reshape", ["score", "column"], ["scores"]),
    ]
    indices = {"starts": [30, 30], "ends": [34, 34], "axes": [2, 3], "column": [-1, 1]}
    return _model(steps, {"slope": slope, "offset": offset}, ["n", "s", 64, 64], ["n", 1], indices)


def _model(
    steps: list[onnx.NodeProto],
    numbers: dict[str, float],
    shape_in: list[str | int],
    shape_out: list[str | int],
    indices: dict[str, list[int]] | None = None,
) -> onnx.ModelProto:
    held = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in numbers.items()]
    held += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (indices or {}).items()]
    field = helper.make_tensor_value_info("field", TensorProto.FLOAT, shape_in)
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape_out)
    graph = helper.make_graph(steps, "drawn", [field], [scores], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
