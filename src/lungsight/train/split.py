"""Patients are split, never their CTs, slices or nodules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["folds"]


def folds(patients: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """Each patient's fold, 0 to ``count - 1``; who is named twice is in one fold.

    Examples
    --------
    >>> sorted(folds(["ann", "ben", "ann", "cid"], 3, seed=1).values())
    [0, 1, 2]
    """
    unique = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[k]: position % count for position, k in enumerate(order)}
