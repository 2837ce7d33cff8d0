"""A window network in int8: its numbers as whole ones from 0 to 255, scaled so that they hold what real slices give.

Jacob B et al. Quantization and training of neural networks for efficient integer-arithmetic-only inference. CVPR 2018.
Weights have a scale for each of their output maps, features one a layer, from the smallest and the largest number that
the layer gave on slices of training CTs. The first and the last layer stay as they are: they cost next to nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from lungsight.detect.windows import field_of_windows, window_extent, windows_touching
from lungsight.detect.working import working_slice
from lungsight.train.export import export_windows
from lungsight.train.mining import LungCase
from lungsight.train.networks import WindowModule

__all__ = ["CALIBRATION_SLICES", "calibration_fields", "quantize_windows"]

CALIBRATION_SLICES = 36
"""Slices of whole lungs that the scales are taken from."""


def calibration_fields(lungs: Sequence[LungCase], count: int = CALIBRATION_SLICES) -> list[NDArray[np.float32]]:
    """What the network sees of some slices, spread over the CTs.

    Parameters
    ----------
    lungs
        Whole CTs of patients that the network was trained on.
    count
        How many slices in all, at least one of each CT with lungs.

    Returns
    -------
    list of ndarray
        Shape ``(h, w)`` each, as :func:`~lungsight.detect.windows.field_of_windows` gives them; empty without lungs.
    """
    fields = []
    with_lungs = [case for case in lungs if case.lungs.any()]
    for case in with_lungs:
        there = np.flatnonzero(case.lungs.any((1, 2)))
        # The middle of as many equal parts.
        some = max(1, count // len(with_lungs))
        for z in np.unique(there[((np.arange(some) + 0.5) * len(there) / some).astype(int)]):
            touching = windows_touching(np.asarray(case.lungs[z]), case.spacing_mm)
            image = working_slice(np.asarray(case.hu[z], np.float32), case.spacing_mm)
            fields.append(field_of_windows(image, window_extent(touching, 0), window_extent(touching, 1)))
    return fields


def quantize_windows(network: WindowModule, fields: Sequence[NDArray[np.float32]]) -> onnx.ModelProto:
    """The dense network in int8.

    Parameters
    ----------
    network
        One that sees whole fields (context padding).
    fields
        What the scales are taken from, one or more.

    Returns
    -------
    onnx.ModelProto
        Input and output as of :func:`~lungsight.train.export.export_windows`.

    Raises
    ------
    ValueError
        If there is no field.
    """
    if not fields:
        raise ValueError("no field to take scales from, expected one or more")
    model = export_windows(network, half=False)
    for node in model.graph.node:
        node.name = node.output[0]
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        place, quantized = Path(folder) / "model.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, place)
        quantize_static(
            place,
            quantized,
            _Fields(fields),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Processors without instructions for it add up pairs of products in 16 bits: weights of 7 bits cannot
            # overflow them.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
        )
        return onnx.load(quantized)


class _Fields(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Hands the fields to the calibration, one after the other."""

    def __init__(self, fields: Sequence[NDArray[np.float32]]) -> None:
        self._left = iter(fields)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        field = next(self._left, None)
        return None if field is None else {"field": field[None, None]}
