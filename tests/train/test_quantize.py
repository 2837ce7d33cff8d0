"""A network in int8: what its scales are taken from, and that it still says what it said."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from lungsight.detect.windows import field_of_windows
from lungsight.detect.working import working_slice
from lungsight.engines import EngineChoice, open_onnx
from lungsight.train.mining import LungCase
from lungsight.train.networks import PatchCNN
from lungsight.train.quantize import calibration_fields, quantize_windows


def case_of(slices: int, with_lungs: range) -> LungCase:
    """Noise, in each slice around another HU."""
    noise = np.random.default_rng(slices).normal(0, 20, (slices, 120, 140))
    hu = (noise + 10 * np.arange(slices)[:, None, None] - 900).astype(np.int16)
    lungs = np.zeros(hu.shape, bool)
    lungs[with_lungs.start : with_lungs.stop, 70:80, 70:80] = True
    return LungCase("a", hu, lungs, np.zeros(hu.shape, bool), (0.7, 0.7), np.zeros((0, 3), np.int16))


def test_slices_are_spread_over_the_lungs_of_each_ct() -> None:
    one, other, none = case_of(40, range(10, 30)), case_of(9, range(4, 5)), case_of(5, range(0))
    fields = calibration_fields([one, other, none], 8)
    # Four each: the middle of each fourth of 20 slices, and the other's only one once.
    shown = [(one, z) for z in (12, 17, 22, 27)] + [(other, 4)]
    assert len(fields) == len(shown)
    for field, (case, z) in zip(fields, shown, strict=True):
        # Windows that reach row or column 70 to 79: those that begin at 30 to 70.
        expected = field_of_windows(working_slice(case.hu[z].astype(np.float32), (0.7, 0.7)), slice(3, 8), slice(3, 8))
        np.testing.assert_allclose(field, expected, atol=1e-6)
    assert calibration_fields([none], 8) == []


def test_it_says_what_the_network_says_from_weights_of_a_byte() -> None:
    torch.manual_seed(5)
    network = PatchCNN().eval()
    fields = list(np.random.default_rng(6).random((3, 88, 78), np.float32))
    model = quantize_windows(network, fields)
    large = [weight for weight in model.graph.initializer if np.prod(weight.dims) > 20_000]
    assert {weight.data_type for weight in large} == {onnx.TensorProto.INT8}
    assert len(large) == 5  # all layers but the first and the last
    found = open_onnx(model.SerializeToString(), EngineChoice("onnxruntime", "int8")).run(fields[0][None, None])
    with torch.inference_mode():
        expected = network.dense(torch.from_numpy(fields[0])[None, None]).softmax(1).numpy()
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert np.abs(found - expected).max() > 1e-5


def test_without_a_field_there_is_no_scale() -> None:
    with pytest.raises(ValueError, match="no field"):
        quantize_windows(PatchCNN(), [])
