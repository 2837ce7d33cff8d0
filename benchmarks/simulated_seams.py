"""Does the seam give a simulated nodule away? Blocks of lung, set in as nodules are, scored by a network.

    python -m benchmarks.simulated_seams ../shared/data VOIs --places 100 --weights runs/windows/fold0

A control is a block of lung of another CT with the shape of a nodule, set into a lung. A network that never saw a
simulated patient should score its place as it scores the same place untouched. Prints a Markdown table: nodule scores
of controls, of their places untouched, of lung anywhere, and of nodules set in, and the paired difference between the
first two with a 95 % interval from a bootstrap over the CTs and over the places in them: of all, of blocks that hold no
vessel, where the seam is all there is to see, and of those that do, where a vessel ends at it.

HOSTS are the whole CTs of the data folder without those in --exclude; give the weights of a fold that trained on none
of the CTs that are left.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungsight.ct.volume import CTVolume
from lungsight.diagnose.points import judge_point
from lungsight.runtime import Network, load_network, shipped_weights
from lungsight.train.donors import Donor, read_vois
from lungsight.train.hosts import find_hosts, load_host, read_lesions
from lungsight.train.paste import Host, find_place, hu_step, paste, thicken
from lungsight.train.simulate import cut_control
from lungsight.train.stamp import TISSUE_HU, Piece, cut_stamp

RECIPES = Path(__file__).parents[1] / "recipes"
LESIONS = (RECIPES / "lesions.csv", RECIPES / "host_nodules.csv")
PARTS = {"all": (True, False), "no vessel in the block": (False,), "a vessel ends at it": (True,)}
"""Blocks that are told apart, by whether they hold a vessel."""
BOOTSTRAPS = 2000
VESSEL_SHARE = 0.005
"""Share of tissue in a block, from which on it holds a vessel."""
KINDS = ("control set in", "the same place untouched", "lung anywhere", "nodule set in")


def score(hu: NDArray[np.int16], host: Host, point_zyx: NDArray[np.float64], network: Network, mm: float) -> float:
    """Nodule score of a place, with slices made thick if `mm` is over 0."""
    ct = CTVolume(hu, host.ct.affine)
    point_lps = ct.to_lps(point_zyx)
    if mm > 0:
        ct = thicken(ct, mm)
    return judge_point(ct, ct.to_zyx(point_lps), network).candidate.detection_score


def set_in(rng: np.random.Generator, host: Host, piece: Piece) -> tuple[NDArray[np.int16], NDArray[np.float64]] | None:
    """The host's HU with a piece in them, and the middle of its mask."""
    stamp = cut_stamp(piece, host.ct.spacing_zyx_mm)
    hu = np.array(host.ct.hu, np.int16)
    box = find_place(rng, host, hu, host.closed, stamp)
    if box is None:
        return None
    paste(hu, host.lungs, stamp, box, hu_step(hu))
    return hu, np.argwhere(stamp.mask).mean(0) + [side.start for side in box]


def scores_of(
    rng: np.random.Generator,
    host: Host,
    other: Host,
    donors: Sequence[Donor],
    places: int,
    judge: tuple[Network, float],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of each kind, shape ``(places, 4)``, and whether the block holds a vessel."""
    found: list[list[float]] = []
    vessel: list[bool] = []
    clean = np.array(host.ct.hu, np.int16)
    lung = np.argwhere(host.lungs & ~host.closed)
    while len(found) < places:
        shape = donors[int(rng.integers(len(donors)))].piece()
        block = cut_control(rng, other, shape)
        control = None if block is None else set_in(rng, host, block)
        nodule = set_in(rng, host, shape)
        if block is None or control is None or nodule is None:
            continue
        anywhere = lung[int(rng.integers(len(lung)))].astype(np.float64)
        looked_at = (control, (clean, control[1]), (clean, anywhere), nodule)
        found.append([score(hu, host, point, *judge) for hu, point in looked_at])
        vessel.append(bool((block.hu[block.mask] > TISSUE_HU).mean() >= VESSEL_SHARE))
    return np.array(found), np.array(vessel)


def interval(differences: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> tuple[float, float]:
    """95 % of the means of a bootstrap over CTs and over the places in them."""
    means = []
    for _ in range(BOOTSTRAPS):
        cts = [differences[int(at)] for at in rng.integers(len(differences), size=len(differences))]
        means.append(np.concatenate([ct[rng.integers(len(ct), size=len(ct))] for ct in cts]).mean())
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return low, high


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("nodules", type=Path, help="the unpacked VOIs, with the table of recipes.vois")
    parser.add_argument("--weights", type=Path, help="folder of a network; default: the shipped one")
    parser.add_argument("--places", type=int, default=50, help="in all CTs together")
    parser.add_argument("--exclude", nargs="*", default=["LCTSC-005"], help="CTs that are no hosts")
    parser.add_argument("--slice-thickness", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    network = load_network(arguments.weights or shipped_weights("windows"))
    donors, _ = read_vois(arguments.nodules)
    files = find_hosts(arguments.data / "chest_ct", read_lesions(LESIONS), exclude=set(arguments.exclude))
    rng = np.random.default_rng(arguments.seed)
    each = max(1, arguments.places // len(files))
    host, found = load_host(files[-1]), []
    for at in files:
        host, other = load_host(at), host
        found.append(scores_of(rng, host, other, donors, each, (network, arguments.slice_thickness)))
    scores = np.concatenate([each for each, _ in found])
    print("| what | places | mean nodule score | median | score 0.5 or more |")
    print("|---|--:|--:|--:|--:|")
    for kind, column in zip(KINDS, scores.T, strict=True):
        print(
            f"| {kind} | {len(column)} | {column.mean():.3f} | {np.median(column):.3f} | {(column >= 0.5).mean():.0%} |"
        )
    print(f"\nControl less the same place untouched, {len(found)} CTs:\n")
    for name, wanted in PARTS.items():
        apart = [(each[:, 0] - each[:, 1])[np.isin(vessel, wanted)] for each, vessel in found]
        low, high = interval(apart, rng)
        together = np.concatenate(apart)
        print(f"- {name}, {len(together)}: {together.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    print()
    print(f"Network {network.sha256[:12]}, slices {arguments.slice_thickness or 'as they are'}, seed {arguments.seed}.")


if __name__ == "__main__":
    main()
