"""Train the network of `segments` that tells nodules from what looks like them: one a fold, one to ship.

    python -m recipes.segments.train_detection --out runs/segments --kinds resnet

On the blocks that recipes.segments.blocks made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from recipes.runs import add_runs, runs_of
from recipes.segments.blocks import GROUPS
from recipes.windows.collection import FOLD_SEED

from lungsight.detect.working import PIXEL_MM
from lungsight.diagnose.cuts import BLOCK_SLICES
from lungsight.train.blocks import block_reader
from lungsight.train.cut_draw import CutCases, CutDraw, CutDrawer
from lungsight.train.fit import fit
from lungsight.train.journal import Journal
from lungsight.train.nodule_networks import KINDS, NoduleNetwork
from lungsight.train.segments_recipe import DetectionRecipe

RECIPE = DetectionRecipe()
DRAWN = {"nodule": RECIPE.draw.nodules, "alarm": RECIPE.draw.alarms, "control": 5, "bright": RECIPE.draw.bright}
"""Blocks a batch of each kind; the CTs' own nodules are drawn among the nodules."""
OWN_CHANCE = 6.0
"""How often one of them is drawn beside one that was set in: there are few, and they have no seam."""
FIT = RECIPE.fit


def block_cases(run: Path) -> CutCases:
    """The blocks of a fold."""
    with np.load(run / "blocks.npz") as saved:
        hu, made = saved["hu"], saved["group"]
    own, nodule = GROUPS.index("own"), GROUPS.index("nodule")
    names = list(DRAWN)
    group = np.array([names.index(GROUPS[g] if g != own else "nodule") for g in made])
    is_nodule = np.isin(made, (own, nodule))

    return CutCases(
        read=block_reader(hu),
        spacing_mm=np.full(len(hu), PIXEL_MM, np.float32),
        target=is_nodule.astype(np.float32)[:, None],
        weight=np.ones((len(hu), 1), np.float32),
        group=group,
        chance=np.where(made == own, OWN_CHANCE, 1.0),
    )


def train(kind: str, fold: Path) -> NoduleNetwork:
    """Fit to the blocks of a fold; a run that is done is left alone."""
    run = fold / f"detection-{kind}"
    run.mkdir(parents=True, exist_ok=True)
    drawer = CutDrawer(block_cases(fold), CutDraw(tuple(DRAWN.values())), RECIPE.augment, (FOLD_SEED, 30))
    journal = Journal(run, (FIT.batches,), lambda line: print(f"{run}: {line}", flush=True))
    torch.manual_seed(FIT.seed)
    network = fit(NoduleNetwork(kind, BLOCK_SLICES), drawer, FIT, run, journal.stage(0))
    journal.close()
    torch.save(network.state_dict(), run / "weights.pt")
    return network


def main() -> None:
    """Train what is asked for; a fold that is done is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_runs(parser, Path("runs/segments"))
    parser.add_argument("--kinds", choices=KINDS, nargs="*", default=["resnet"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for fold, _ in runs_of(arguments):
        for kind in arguments.kinds:
            train(kind, fold)


if __name__ == "__main__":
    main()
