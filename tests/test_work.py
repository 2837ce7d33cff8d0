"""How much is computed, not how long it takes: seconds depend on the machine, these numbers only on the code.

Whoever makes the program do less changes a number here on purpose, and with it the arithmetic beside it.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import shape_inference

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.windows import score_windows
from lungsight.runtime import shipped_weights
from phantom import affine_of, thorax, write_series
from stub_network import CoreNetwork, Field

SLICE = 528
"""Side of the field of a whole slice of 512 px: 47 windows, 46 steps of 10 px and 68 px."""


@dataclass(frozen=True)
class CountingNetwork(CoreNetwork):
    """Remembers the fields it was asked about."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, seen: Field) -> Field:
        self.shapes.append(seen.shape)
        return super().__call__(seen)


def flop_of_graph(height: int, width: int) -> int:
    """Products and sums of the shipped network's convolutions, from the shapes that ONNX infers for a field."""
    model = onnx.load(str(shipped_weights("windows") / "model.onnx"))
    sides = model.graph.input[0].type.tensor_type.shape.dim
    for side, size in zip(sides, (1, 1, height, width), strict=True):
        side.dim_value = size
    model.graph.output[0].type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = [*inferred.value_info, *inferred.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    flop = 0
    for node in inferred.node:
        assert node.op_type in {"Cast", "Conv", "MaxPool", "Relu", "Softmax"}  # what else would have to be counted
        if node.op_type == "Conv":
            flop += 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    return flop


def flop_by_hand(side: int) -> int:
    """The same from the network's description, for a square field."""
    conv1, conv2 = side - 2, side - 4  # 3 x 3 without padding, twice
    pooled = conv2 // 2
    conv3, conv4, conv5 = pooled - 2, pooled - 4, pooled - 6
    windows = (conv5 - 1 - 25) // 5 + 1  # pooled at stride 1; 13 x 13 of every second pixel are 25, in steps of 5
    products = (
        conv1**2 * 54 * 9
        + conv2**2 * 54 * 54 * 9
        + conv3**2 * 108 * 54 * 9
        + (conv4**2 + conv5**2) * 108 * 108 * 9
        + windows**2 * (432 * 108 * 13 * 13 + 3 * 432)
    )
    return 2 * products


def test_the_graph_asks_for_the_flop_of_the_description() -> None:
    # 526^2 * 486 + 524^2 * 26,244 + 260^2 * 52,488 + (258^2 + 256^2) * 104,976 + 47^2 * (7,884,864 + 1,296), twice
    assert flop_of_graph(SLICE, SLICE) == flop_by_hand(SLICE) == 84_352_965_840
    # One window: 66^2 * 486 + 64^2 * 26,244 + 30^2 * 52,488 + (28^2 + 26^2) * 104,976 + 7,886,160, twice
    assert flop_of_graph(68, 68) == flop_by_hand(68) == 636_005_520


def test_a_pass_over_a_slice_costs_a_sixteenth_of_its_windows() -> None:
    assert 2209 * flop_of_graph(68, 68) / flop_of_graph(SLICE, SLICE) == pytest.approx(16.66, abs=0.01)


def two_lungs() -> tuple[CTVolume, NDArray[np.bool_]]:
    """Four slices of 512 x 512 px of 0.7 mm: two with two lungs, one with the tip of one, one with none."""
    lungs = np.zeros((4, 512, 512), np.bool_)
    lungs[:2, 100:300, 60:200] = True
    lungs[:2, 140:340, 310:450] = True
    lungs[2, 255, 255] = True
    return CTVolume(np.zeros(lungs.shape, np.int16), affine_of((2.5, 0.7, 0.7), (0, 0, 0))), lungs


def test_only_windows_that_touch_lung_are_evaluated() -> None:
    ct, lungs = two_lungs()
    found = score_windows(ct, lungs, CountingNetwork())
    # Window i covers [10 i, 10 i + 50). Rows 100 to 300: 10 i < 300 and 10 i + 50 > 100, i = 6 to 29, 24 windows;
    # columns 60 to 200: j = 2 to 19, 18. The other lung: rows 140 to 340, i = 10 to 33, 24; columns 310 to 450: j = 27
    # to 44, 18. A pixel at 255 lies in the 5 windows that begin at 210 to 250, each way.
    assert found.evaluated.sum((1, 2)).tolist() == [2 * 24 * 18, 2 * 24 * 18, 5 * 5, 0]


def test_the_network_sees_no_more_than_the_box_of_the_lungs() -> None:
    ct, lungs = two_lungs()
    network = CountingNetwork()
    score_windows(ct, lungs, network)
    # Rows i = 6 to 33, 28 windows: 27 * 10 + 68 = 338 px. Columns j = 2 to 44, 43 windows: 488 px. The tip: 5: 108 px.
    # A slice without lung is not looked at.
    most = 2 * flop_of_graph(338, 488) + flop_of_graph(108, 108)
    assert most == 97_989_089_040
    assert sum(flop_of_graph(*shape) for shape in network.shapes) == most


def test_the_windows_of_a_chest_are_counted() -> None:
    # The lungs are 170 mm high, of 12 mm slices they fill 14. A box of both is 458 x 328 px in the middle, 43 GFLOP,
    # and less towards the ends.
    body = thorax(shape=(16, 128, 128), spacing_zyx_mm=(12.0, 2.8, 2.8))
    ct = CTVolume(body.hu, body.affine)
    network = CountingNetwork()
    found = score_windows(ct, segment_lungs(ct), network)
    assert len(network.shapes) == 14
    # Not to the last: the noise on the lungs' border may be rounded otherwise elsewhere.
    assert found.evaluated.sum() == pytest.approx(8984, rel=0.01)
    assert sum(flop_of_graph(*shape) for shape in network.shapes) == pytest.approx(0.492e12, rel=0.01)


@contextmanager
def most_bytes() -> Iterator[Callable[[], int]]:
    """How much memory was allocated at once, by numpy too, beyond what was there."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_keeps_one_copy_of_the_volume(tmp_path: Path) -> None:
    body = thorax(shape=(64, 256, 256), spacing_zyx_mm=(3.0, 1.4, 1.4))
    write_series(tmp_path / "scan", body)
    read_ct(tmp_path / "scan")  # imports what is only imported when it is needed
    with most_bytes() as most:
        ct = read_ct(tmp_path / "scan")
        used = most()
    assert ct.hu.nbytes == 64 * 256 * 256 * 2  # int16
    # Beside it the headers, and of each thread (at most 8) a file, its pixels and their HU: 24 slices of 64.
    assert used < 1.5 * ct.hu.nbytes, used


def test_detecting_copies_no_volume() -> None:
    ct, lungs = two_lungs()
    many = CTVolume(np.zeros((80, 512, 512), np.int16), ct.affine)
    masks = np.repeat(lungs, 20, 0)
    with most_bytes() as most:
        found = score_windows(many, masks, CountingNetwork())
        used = most()
    # The volume has 80 slices of int16; a slice of float32 is two of them. Beside the result there are a few: the slice
    # as the network sees it, the field, what is made on the way.
    assert used - found.scores.nbytes - found.evaluated.nbytes < 16 * many.hu[0].nbytes
