"""A training run of `segments` as a folder: cases, four networks one after the other, and what Lungsight can use.

.. code-block:: text

    run/
    ├── recipe.toml, run.json   what was asked for
    ├── cases/, blocks/         see lungsight.train.store and .blocks; may be deleted when the run is done
    ├── unet/, detection/, malignancy/, outline/   (the U-Net's second stage)
    │       checkpoint.pt, from which an interrupted run goes on; early weights; weights.pt
    ├── log.jsonl, curves.png, tensorboard/
    └── unet.onnx, detection.onnx, malignancy.onnx, outline.onnx, card.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lungsight import __version__
from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.diagnose.cuts import BLOCK_SLICES, BLOCK_STEP_MM, CUT_PX, SHEAF_PLACES
from lungsight.errors import InputError
from lungsight.train.blocks import BLOCK_GROUPS, Blocks, build_blocks
from lungsight.train.build import build_cases
from lungsight.train.export import write_networks
from lungsight.train.export_segments import export_nodule_network, export_unet
from lungsight.train.journal import Journal, duration
from lungsight.train.pretrained import installed_source
from lungsight.train.run_folder import Fold, begin_run, recipe_and_fold, split_patients, tell_of
from lungsight.train.segments_recipe import SegmentsRecipe
from lungsight.train.segments_recipes import segments_recipe_from_toml, segments_recipe_to_toml
from lungsight.train.segments_stages import NETWORKS, Stages, malignancy_network, slice_network
from lungsight.train.sheaves import SHEAF_GROUPS, group_of
from lungsight.train.store import Cases
from lungsight.train.truth import read_truth
from lungsight.train.unet import UNet

__all__ = ["train_segments"]

_BLOCKS = 2
"""Told to the seed of the bright places."""


def train_segments(
    truth: Path,
    run: Path,
    recipe: SegmentsRecipe | None = None,
    fold: Fold | None = None,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, float], None] = lambda _step, _share: None,
) -> Path:
    """Train the networks of `segments` on a dataset.

    Parameters
    ----------
    truth
        Any dataset with outlines that :func:`~lungsight.train.truth.read_truth` knows.
    run
        Folder of the run; should not exist unless it is resumed.
    recipe
        None: that of the run that is resumed.
    fold
        The patients kept aside for validation; None takes the recipe's share, or the resumed run's fold.
    resume
        Go on where the run was interrupted; on the same machine with as many threads it ends with the same weights.
    say
        Takes lines for people.
    progress
        Told of the reading of the CTs and the cutting of blocks: the step's name and the share done.

    Returns
    -------
    Path
        The run's folder; ``load_pipeline("segments", folder)`` takes it.

    Raises
    ------
    InputError
        If the dataset has no outlines, or no benign or no malignant nodule among the patients to learn from; nothing is
        trained then.
    OutputError
        If the folder holds another run, or what is resumed was begun with another recipe, fold or dataset.
    WeightsError
        If the recipe begins with weights that are not installed; nothing is read then.
    """
    recipe, fold = recipe_and_fold(run, "segments", recipe, fold, segments_recipe_from_toml, resume=resume)
    malignancy_network(recipe.malignancy)  # weights to begin with that are absent are refused now, not hours later
    patients = read_truth(truth)
    with begin_run(run, "segments", segments_recipe_to_toml(recipe), fold, resume=resume):
        cases = build_cases(patients, recipe, run / "cases", lambda share: progress("cases", share))
        learned, aside = split_patients(cases.patient_ids, fold, recipe.validation, recipe.seed)
        _check_classes(cases, learned)
    tell_of(cases.warnings, learned, aside, say)
    journal = Journal(run, tuple(fit.batches for fit in recipe.fits), say)
    stages = Stages(run, recipe, cases, learned, aside, journal, say)
    unet = stages.train_unet()
    blocks = _cut_blocks(stages, unet, progress)
    detection, malignancy = stages.train_detection(blocks), stages.train_malignancy()
    outline = stages.train_outline(unet)
    journal.close()
    judges = (export_nodule_network(detection), export_nodule_network(malignancy))
    networks = (export_unet(unet), *judges, export_unet(outline))
    write_networks(run, dict(zip(NETWORKS, networks, strict=True)), _card(stages, blocks))
    return run


def _check_classes(cases: Cases, learned: frozenset[str]) -> None:
    groups = group_of(np.array([n["malignancy"] for n in cases.nodules if n["patient_id"] in learned], np.float64))
    benign, malignant = (int((groups == SHEAF_GROUPS.index(name)).sum()) for name in ("benign", "malignant"))
    if not (benign and malignant):
        raise InputError(
            f"{benign} benign and {malignant} malignant nodules of {len(learned)} patients to learn from",
            "nodules of both kinds: the malignancy network would have nothing to tell apart",
            "Add patients, keep fewer aside, or correct the labels.",
        )
    if not len(cases.lungs_of(learned)):
        raise InputError(
            f"no lung in the CTs of {len(learned)} patients to learn from", "chest CTs", "Check that they show lungs."
        )


def _cut_blocks(stages: Stages, unet: UNet, progress: Callable[[str, float], None]) -> Blocks:
    began = time.monotonic()
    count = len(stages.cases.patients)

    def told(share: float) -> None:
        progress("blocks", share)
        done = round(share * count)
        if done * 10 // count > (done - 1) * 10 // count:  # ten lines, however many CTs
            left_s = (time.monotonic() - began) / share * (1 - share)
            stages.say(f"blocks: {done}/{count} CTs, {duration(left_s)} left in this step")

    recipe = stages.recipe
    seed = (recipe.seed, NETWORKS.index("detection"), _BLOCKS)
    folder = stages.folder / "blocks"
    return build_blocks(stages.cases, slice_network(unet), recipe.detection.draw, seed, folder, told)


def _card(stages: Stages, blocks: Blocks) -> dict[str, Any]:
    """What is known of networks that a user trained. Patients are counted, not named."""
    recipe, cases, learned = stages.recipe, stages.cases, stages.learned
    groups = [BLOCK_GROUPS[g] for g, p in zip(blocks.group.tolist(), blocks.patient_id, strict=True) if p in learned]
    return {
        "name": "segments",
        "task": "unet: says of a pixel whether it is of a nodule; detection: of a candidate whether it is a nodule; "
        "malignancy: of a nodule how malignant it looks",
        "score": "a score, not a probability: it was not calibrated",
        "architecture": {
            "unet": "U-Net",
            "detection": recipe.detection.kind,
            "malignancy": recipe.malignancy.kind,
        },
        "initial_weights": {"malignancy": installed_source()} if recipe.malignancy.pretrained else {},
        "input": {
            "pixel_mm": PIXEL_MM,
            "hu_range": list(HU_RANGE),
            "cut_px": CUT_PX,
            "block_slices": BLOCK_SLICES,
            "block_step_mm": BLOCK_STEP_MM,
            "sheaf_places": list(SHEAF_PLACES),
        },
        "data": {
            "patients": len(learned),
            "nodules": sum(nodule["patient_id"] in learned for nodule in cases.nodules),
            "blocks": {name: groups.count(name) for name in BLOCK_GROUPS},
            "patients kept aside": len(stages.aside),
        },
        "validation": _validation(stages.journal.records),
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "made_by": f"lungsight train segments, version {__version__}",
        "limits": "Research use only, not a medical device.",
    }


def _validation(records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The last figures of each stage on patients kept aside; of those that have any."""
    found = {}
    for record in records:
        scored = {key: value for key, value in record.items() if key.startswith("validation_")}
        if scored:
            found[NETWORKS[record["stage"] - 1]] = scored
    return found
