"""The published windows: labels against loops, epochs that balance, pixels that are the CT's own."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lungsight.train.grid import NEITHER, WindowDrawer, label_windows_of_slice
from lungsight.train.mining import LungCase
from lungsight.train.recipe import AugmentConfig, WindowDraw

SPACING = (0.7, 0.7)
AUGMENT = AugmentConfig(angles_deg=(30.0, 45.0), zoom=1.5)


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:120, :140]
    inside: NDArray[np.bool_] = np.hypot(rows - y, columns - x) <= radius
    return inside


def by_loops(nodules: list[tuple[NDArray[np.bool_], int]], others: NDArray[np.bool_]) -> list[list[int]]:
    found = []
    for i in range(8):
        row = []
        for j in range(10):
            window = np.s_[10 * i : 10 * i + 50, 10 * j : 10 * j + 50]
            held = [(int(mask[window].sum()), kind, int(mask.sum())) for mask, kind in nodules]
            rois = [(n, kind) for n, kind, area in held if n >= 0.5 * area or n >= 0.25 * 2500]
            touched = others[window].any() or any(n for n, _, _ in held)
            row.append(max(rois)[1] if rois else NEITHER if touched else 0)
        found.append(row)
    return found


@pytest.mark.parametrize(
    "nodules",
    [
        [],
        [(disc(60, 70, 8), 1)],
        [(disc(20, 30, 5), 2)],
        [(disc(60, 70, 45), 2)],  # a mass that no window holds half of
        [(disc(40, 40, 8), 1), (disc(62, 62, 12), 2)],
    ],
)
def test_labels_are_those_of_the_rule(nodules: list[tuple[NDArray[np.bool_], int]]) -> None:
    others = disc(100, 20, 3)
    label = label_windows_of_slice(nodules, others, SPACING)
    assert label.tolist() == by_loops(nodules, others)
    assert {kind for _, kind in nodules} | {NEITHER} <= set(label.ravel().tolist())


def case(name: str, value: int, counts: tuple[int, int, int]) -> LungCase:
    """Every window of a slice of random HU; the first so many are not ROI, benign, malignant."""
    hu = np.random.default_rng(value).integers(-1000, 500, (2, 120, 140)).astype(np.int16)
    windows = np.array([(z, i, j) for z in (0, 1) for i in range(8) for j in range(10)], np.int16)
    nothing = np.zeros(hu.shape, bool)
    return LungCase(name, hu, nothing, nothing, SPACING, windows[: sum(counts) + 1], counts)


CASES = [case("ann", 1, (9, 0, 2)), case("ben", 2, (0, 1, 0)), case("cid", 3, (40, 1, 3))]


def epoch(drawer: WindowDrawer, number: int) -> list[Any]:
    per_epoch = drawer.config.epoch_batches
    batches = [drawer(number * per_epoch + k) for k in range(per_epoch)]
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def test_an_epoch_balances_the_classes() -> None:
    drawer = WindowDrawer(CASES, WindowDraw(epoch_windows=31, batch_windows=8), AUGMENT, (1,))
    field, target, weight = epoch(drawer, 0)
    assert field.shape == (31, 1, 68, 68)
    assert target.sum((0, 2, 3)).tolist() == [10, 10, 11]
    assert weight.min() == 1
    again, later = epoch(drawer, 0), epoch(drawer, 1)
    assert torch.equal(again[0], field)
    assert not torch.equal(later[0], field)


def test_windows_are_the_cts_own_pixels_and_each_is_drawn_first_as_it_is() -> None:
    drawer = WindowDrawer(CASES, WindowDraw(epoch_windows=30, batch_windows=30), AUGMENT, (1,))
    field, target, _ = drawer(0)
    kinds = target[:, :, 0, 0].argmax(1).tolist()
    seen: Counter[tuple[int, int, int]] = Counter()
    for one, kind in zip(field[:, 0, 9:59, 9:59].numpy(), kinds, strict=True):
        for number, of in enumerate(CASES):
            assert of.counts is not None
            first = sum(of.counts[:kind])
            for row in range(first, first + of.counts[kind]):
                z, i, j = of.windows[row].tolist()
                window = (of.hu[z, 10 * i : 10 * i + 50, 10 * j : 10 * j + 50].clip(-1000, 500) + 1000) / 1500
                if np.abs(window - one).max() < 1e-3:
                    seen[kind, number, row] += 1
    # Ten windows that are not ROI (of 49), the two benign ones once, the five malignant ones once; the rest changed.
    assert Counter(kind for kind, _, _ in seen) == {0: 10, 1: 2, 2: 5}
    assert set(seen.values()) == {1}


def test_without_augmentation_all_are_as_they_are() -> None:
    drawer = WindowDrawer(CASES[1:2] + CASES[:1], WindowDraw(epoch_windows=9, batch_windows=9), None, (1,))
    field, target, _ = drawer(0)
    benign = field[target[:, 1, 0, 0] == 1]
    assert len(benign) == 3
    assert torch.equal(benign[0], benign[1])


def test_a_class_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="no window is benign"):
        WindowDrawer(CASES[:1], WindowDraw(), AUGMENT, (1,))
