"""A training run as a folder: cases, checkpoints, log and curves, and in the end a network that Lungsight can use.

.. code-block:: text

    run/
    ├── recipe.toml, run.json   what was asked for
    ├── cases/                  see lungsight.train.store; may be deleted when the run is done
    ├── stage1/ …               checkpoint.pt, from which an interrupted run goes on; weights-000400.pt, early ones
    ├── log.jsonl, curves.png, tensorboard/
    └── model.onnx, card.json, weights.pt
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lungsight import __version__
from lungsight.detect.windows import FIELD_PX, STEP_PX, WINDOW_PX
from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.errors import InputError
from lungsight.runtime import DENSE, INT8
from lungsight.train.build import build_cases
from lungsight.train.draw import PatchDrawer
from lungsight.train.export import export_windows, form_of, write_networks
from lungsight.train.fit import Batch, fit
from lungsight.train.grid import WindowDrawer
from lungsight.train.journal import Journal
from lungsight.train.networks import WindowModule, network_of
from lungsight.train.quantize import calibration_fields, quantize_windows
from lungsight.train.recipe import PatchDraw, Recipe
from lungsight.train.recipes import recipe_from_toml, recipe_to_toml
from lungsight.train.run_folder import Fold, begin_run, recipe_and_fold, save_weights, split_patients, tell_of
from lungsight.train.store import Cases
from lungsight.train.truth import read_truth

__all__ = ["train_windows"]

_VALIDATION = 1
"""Told to the drawers' seeds: what the patients kept aside are drawn with."""


def train_windows(
    truth: Path,
    run: Path,
    recipe: Recipe | None = None,
    fold: Fold | None = None,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, float], None] = lambda _step, _share: None,
) -> Path:
    """Train a window network on a dataset.

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
        Told of the reading of the CTs: the step's name and the share done.

    Returns
    -------
    Path
        The run's folder; ``load_pipeline(weights=folder)`` takes it.

    Raises
    ------
    InputError
        If the dataset has no outlines or lacks a class, see :func:`~lungsight.train.build.build_cases`.
    OutputError
        If the folder holds another run, or what is resumed was begun with another recipe, fold or dataset.
    """
    recipe, fold = recipe_and_fold(run, "windows", recipe, fold, recipe_from_toml, resume=resume)
    patients = read_truth(truth)
    with begin_run(run, "windows", recipe_to_toml(recipe), fold, resume=resume):
        cases = build_cases(patients, recipe, run / "cases", lambda share: progress("cases", share))
        learned, aside = split_patients(cases.patient_ids, fold, recipe.validation, recipe.seed)
    tell_of(cases.warnings, learned, aside, say)
    journal = Journal(run, tuple(stage.fit.batches for stage in recipe.stages), say)
    torch.manual_seed(recipe.stages[0].fit.seed)
    network = network_of(recipe.network, recipe.padding)
    for number, stage in enumerate(recipe.stages):
        drawer = _drawer(cases, learned, recipe, number)
        keep = {"drawer": drawer.lungs} if isinstance(drawer, PatchDrawer) else {}
        network = fit(
            network,
            drawer,
            stage.fit,
            run / f"stage{number + 1}",
            journal.stage(number),
            keep=keep,
            validation=_validation(cases, aside, recipe, number),
        )
    journal.close()
    _export(network, run, recipe, cases, learned, journal)
    return run


def _drawer(cases: Cases, patients: frozenset[str], recipe: Recipe, number: int) -> PatchDrawer | WindowDrawer:
    stage = recipe.stages[number]
    seed = (recipe.seed, number)
    lungs = cases.lungs_of(patients)
    try:
        if isinstance(stage.draw, PatchDraw):
            return PatchDrawer(cases.nodules_of(patients), lungs, stage.draw, stage.augment, seed)
        return WindowDrawer(lungs, stage.draw, stage.augment, seed)
    except ValueError as error:
        raise InputError(
            f"{len(patients)} patients to learn from: {error}",
            "benign and malignant nodules, and lungs, among the patients to learn from",
            "Add patients, keep fewer aside, or correct the labels.",
        ) from error


def _validation(cases: Cases, patients: frozenset[str], recipe: Recipe, number: int) -> Callable[[], Iterable[Batch]]:
    """Batches of the patients kept aside, the same ones each time, without augmentation; none if they lack a class."""
    draw = recipe.stages[number].draw
    seed = (recipe.seed, number, _VALIDATION)
    nodules, lungs = cases.nodules_of(patients), cases.lungs_of(patients)
    drawer: PatchDrawer | WindowDrawer
    if isinstance(draw, PatchDraw):
        benign, malignant = (int(chances.any()) for chances in nodules.class_chances())
        if not (benign or malignant or lungs):
            return tuple
        draw = dataclasses.replace(
            draw,
            benign=benign * draw.benign,
            malignant=malignant * draw.malignant,
            lungs=draw.lungs if lungs else 0,
            far=0,
        )
        drawer = PatchDrawer(nodules, lungs, draw, None, seed)
    else:
        try:
            drawer = WindowDrawer(lungs, draw, None, seed)
        except ValueError:
            return tuple
    drawn = drawer.draw if isinstance(drawer, PatchDrawer) else drawer
    return lambda: (drawn(step) for step in range(recipe.validation_batches))


def _export(
    network: WindowModule, run: Path, recipe: Recipe, cases: Cases, learned: frozenset[str], journal: Journal
) -> None:
    save_weights(network, run)
    networks = {"model": export_windows(network)}
    fields = calibration_fields(cases.lungs_of(learned)) if form_of(network) == DENSE else []
    if fields:
        networks[INT8] = quantize_windows(network, fields)
    write_networks(run, networks, run_card(network, recipe, cases, learned, journal.records))


def run_card(
    network: WindowModule, recipe: Recipe, cases: Cases, learned: frozenset[str], records: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is known of a network that a user trained. Patients are counted, not named."""
    table = json.loads(json.dumps(asdict(recipe)))
    scored = [record for record in records if "validation_loss" in record]
    return {
        "name": "windows",
        "task": "says of a 50 x 50 px window of a chest CT slice: not ROI, benign ROI or malignant ROI",
        "score": "a score, not a probability: it was not calibrated",
        "architecture": recipe.network,
        "padding": network.padding,
        "form": form_of(network),
        "input": {
            "window_px": WINDOW_PX,
            "step_px": STEP_PX,
            "field_px": FIELD_PX,
            "pixel_mm": None if recipe.pixel == "native" else PIXEL_MM,
            "hu_range": list(HU_RANGE),
        },
        "data": {
            "patients": len(learned),
            "nodules": sum(nodule["patient_id"] in learned for nodule in cases.nodules),
            "patients kept aside": len({patient["patient_id"] for patient in cases.patients} - learned),
        },
        "validation": {key: scored[-1][key] for key in ("validation_loss", "validation_accuracy")} if scored else None,
        "recipe": table,
        "made_by": f"lungsight train windows, version {__version__}",
        "limits": "Research use only, not a medical device.",
    }
