"""The label map of the shipped precision against float32 window by window. Prints Markdown.

    python -m benchmarks.label_agreement DEMO_CT

The reference is the shipped network in PyTorch: float32, each window of 68 px by itself. Both go through the whole
system, so the label maps are those of which regions are made, and the diagnoses can be compared. That takes half an
hour; with `--dense` the reference sees a slice at once, in two minutes (the same numbers, as a test holds). `--every
10` looks at every tenth slice only: with the slices between left out, the CT is another one, for both alike.

At least 99.9 % of the windows evaluated and 99 % of those that either calls 1 or 2 shall agree, and the diagnosis shall
be the same: the verdict, and as many nodules, each within a voxel of its fellow. If not, the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed.networks import by_window, dense, shipped_network
from numpy.typing import NDArray

from lungsight.config import Config
from lungsight.ct.read import read_ct
from lungsight.ct.upright import turn_upright
from lungsight.ct.volume import CTVolume
from lungsight.detect.lungs import segment_lungs
from lungsight.detect.windows import WindowMap, label_windows
from lungsight.findings import Diagnosis
from lungsight.pipeline import WindowsPipeline
from lungsight.runtime import LoadedNetwork, load_network, shipped_weights

Labels = NDArray[np.uint8]
LEAST_OF_EVALUATED, LEAST_OF_CALLED = 0.999, 0.99


@dataclass(frozen=True, slots=True)
class Remembering:
    """A network that does not compute the same field twice: the label map and the diagnosis ask for the same ones."""

    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    engine: str
    sha256: str
    card: dict[str, Any]
    known: dict[bytes, NDArray[np.float32]] = field(default_factory=dict)

    def __call__(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of a field's windows."""
        key = field.tobytes() + str(field.shape).encode()
        if key not in self.known:
            self.known[key] = self.run(field)
        return self.known[key]


def remembering(network: LoadedNetwork) -> Remembering:
    """The same network, that does not compute the same field twice."""
    return Remembering(network, network.engine, network.sha256, network.card)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What one of the two says of a CT."""

    engine: str
    windows: WindowMap
    labels: Labels
    diagnosis: Diagnosis


def every_nth(ct: CTVolume, step: int) -> CTVolume:
    """Some slices of a CT."""
    affine = ct.affine.copy()
    affine[:3, 0] *= step
    return CTVolume(ct.hu[::step], affine)


def judge(ct: CTVolume, network: Remembering, config: Config, exact: Remembering | None = None) -> Judged:
    """The label map and the diagnosis."""
    upright, pipeline = turn_upright(ct).volume(ct), WindowsPipeline(network, config, exact)
    windows = pipeline.look(upright, segment_lungs(upright, config.lungs), lambda _: None)
    labels = label_windows(windows, config.windows.roi_score)
    return Judged(network.engine, windows, labels, pipeline(ct))


@dataclass(frozen=True, slots=True)
class Agreement:
    """On how many windows of how many the two agree."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """1 if there are no windows."""
        return self.right / self.total if self.total else 1.0

    def __str__(self) -> str:
        # Rounded down, or a figure could pass that does not.
        return f"{self.right} of {self.total} | {np.floor(1e5 * self.share) / 1e3:.3f} %"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The shipped network against the reference.

    Attributes
    ----------
    evaluated, called
        Of all windows that were evaluated, and of those that either calls 1 or 2.
    score_difference
        The largest.
    same_verdict, same_nodules
        Of the diagnoses.
    """

    evaluated: Agreement
    called: Agreement
    score_difference: float
    same_verdict: bool
    same_nodules: bool

    @property
    def is_enough(self) -> bool:
        """Whether it is what the module asks for."""
        labels = self.evaluated.share >= LEAST_OF_EVALUATED and self.called.share >= LEAST_OF_CALLED
        return labels and self.same_verdict and self.same_nodules


def compare(ct: CTVolume, shipped: Judged, exact: Judged) -> Comparison:
    """Two judgements of one CT."""
    evaluated = exact.windows.evaluated
    assert np.array_equal(evaluated, shipped.windows.evaluated)
    agreeing = shipped.labels == exact.labels
    called = (shipped.labels > 0) | (exact.labels > 0)
    return Comparison(
        evaluated=Agreement(int(agreeing[evaluated].sum()), int(evaluated.sum())),
        called=Agreement(int(agreeing[called].sum()), int(called.sum())),
        score_difference=float(np.abs(shipped.windows.scores - exact.windows.scores).max()),
        same_verdict=shipped.diagnosis.verdict == exact.diagnosis.verdict,
        same_nodules=_same_nodules(shipped.diagnosis, exact.diagnosis, float(np.linalg.norm(ct.spacing_zyx_mm))),
    )


def _same_nodules(one: Diagnosis, other: Diagnosis, within_mm: float) -> bool:
    """As many, each near its fellow, in the same order."""
    places = [np.array([n.candidate.location.lps_mm for n in each.nodules]).reshape(-1, 3) for each in (one, other)]
    if len(places[0]) != len(places[1]):
        return False
    return bool((np.linalg.norm(places[0] - places[1], axis=1) <= within_mm).all())


def told(slices: int, shipped: Judged, exact: Judged, compared: Comparison) -> list[str]:
    """The comparison as Markdown."""
    both = (shipped, exact)
    rows = {
        "verdict": [str(each.diagnosis.verdict) for each in both],
        "patient's score": [_score(each.diagnosis) for each in both],
        "nodules": [_nodules(each.diagnosis) for each in both],
    }
    return [
        f"| label map, {slices} slices | agreeing | share |",
        "|---|--:|--:|",
        f"| all windows evaluated | {compared.evaluated} |",
        f"| windows that either calls 1 or 2 | {compared.called} |",
        "",
        f"Largest difference of a score: {compared.score_difference:.5f}.",
        "",
        f"| diagnosis | {shipped.engine} | {exact.engine} |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
        "",
        f"The verdict is {'the same' if compared.same_verdict else 'ANOTHER'}, "
        f"the nodules are {'the same' if compared.same_nodules else 'OTHERS'}.",
    ]


def _score(diagnosis: Diagnosis) -> str:
    return "none" if diagnosis.malignancy_score is None else f"{diagnosis.malignancy_score:.4f}"


def _nodules(diagnosis: Diagnosis) -> str:
    found = (
        f"slice {n.candidate.location.slice_index}, {n.candidate.roi_diameter_mm:.1f} mm, {n.malignancy_score:.4f}"
        for n in diagnosis.nodules
    )
    return "; ".join(found) or "none"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, help="the demo CT's folder")
    parser.add_argument("--every", type=int, default=1, help="look at every n-th slice only")
    parser.add_argument("--dense", action="store_true", help="the reference sees all windows of a slice at once")
    parser.add_argument("--engine", help="of the shipped network; the fastest here")
    parser.add_argument("--precision", help="of the shipped network; the fastest here")
    asked = parser.parse_args()
    ct = read_ct(asked.ct)
    ct = every_nth(ct, asked.every) if asked.every > 1 else ct
    shipped = load_network(shipped_weights("windows"), engine=asked.engine, precision=asked.precision)
    in_pytorch = partial(dense if asked.dense else by_window, shipped_network())
    name = f"PyTorch, float32, {'slice by slice' if asked.dense else 'window by window'}"
    by_itself = Remembering(lambda seen: in_pytorch(torch.from_numpy(seen)).numpy(), name, "", shipped.card)
    config = Config()
    found = judge(ct, remembering(shipped), config, remembering(shipped.exact) if shipped.exact else None)
    reference = judge(ct, by_itself, config)
    compared = compare(ct, found, reference)
    print("\n".join(told(len(ct.hu), found, reference, compared)))
    sys.exit(0 if compared.is_enough else 1)


if __name__ == "__main__":
    main()
