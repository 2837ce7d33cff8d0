"""Put the networks trained on everything into the package, with the card that says what is known of them.

    python -m recipes.segments.ship --runs runs/segments

Needs `figures.json` of recipes.segments.evaluate and `patients.json` of benchmarks.segments. Writes four networks and
card.json into the package and docs/segments-card.md, all from the same numbers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from recipes.segments import train_detection, train_malignancy, train_unet
from recipes.segments.networks import export_fold
from recipes.segments.sheaves import VIRTUAL_SHARE

from lungsight.detect.working import HU_RANGE, PIXEL_MM
from lungsight.diagnose.cuts import BLOCK_SLICES, BLOCK_STEP_MM, CUT_PX, SHEAF_PLACES
from lungsight.runtime import shipped_weights
from lungsight.train.cut_draw import CUT_AUGMENT
from lungsight.train.unet import WIDTHS

PAGE = Path("docs/segments-card.md")


def make_card(figures: dict[str, Any], patients: dict[str, Any], kind: str) -> dict[str, Any]:
    """Everything a user should know before trusting the networks."""
    judge = f"{kind} kind, 128 features"
    return {
        "name": "segments",
        "architecture": {
            "unet": f"2D U-Net of widths {', '.join(map(str, WIDTHS))}: which pixels of a slice are of a nodule",
            "detection": f"{judge}, {BLOCK_SLICES} slices together: nodule or not",
            "malignancy": f"{judge}, the mean over {len(SHEAF_PLACES)} slices: how malignant readers would rate it",
            "outline": "the U-Net after its second stage: how far a nodule reaches",
        },
        "score": (
            "A nodule's malignancy score is the probability that readers rate it over 3 and not under 3, calibrated on "
            "folds; a patient's score was fitted to virtual patients whose label is such a rating. The nodule score is "
            "no probability. None is a probability of cancer."
        ),
        "malignancy_weighing": figures["malignancy_weighing"],
        "nodule_weighing": patients["nodule_weighing"],
        "patient_scaling": patients["patient_scaling"],
        "both": {"nodules": figures["both_nodules"], **patients["both"]},
        "input": {
            "pixel_mm": PIXEL_MM,
            "hu_range": list(HU_RANGE),
            "cut_px": CUT_PX,
            "block": {"slices": BLOCK_SLICES, "step_mm": BLOCK_STEP_MM},
            "sheaf": {"places": list(SHEAF_PLACES)},
        },
        "data": {
            "LIDC-IDRI": "2D crops of nodules of 671 patients, 3D cuts of some, 2 whole CTs (CC BY 3.0, TCIA)",
            "QIN LUNG CT": "3 whole CTs (CC BY 3.0, TCIA)",
            "LCTSC": "4 whole CTs (CC BY 3.0, TCIA)",
            "virtual": "nodules of LIDC-IDRI set into these CTs, for three of the networks and the scaling",
            "never trained on": "LIDC-IDRI-0001, the demo patient",
        },
        "training": {
            "unet": asdict(train_unet.RECIPE.unet),
            "outline": {**asdict(train_unet.RECIPE.outline), "virtual_share": train_unet.VIRTUAL_SHARE},
            "detection": {
                "drawn": train_detection.DRAWN,
                "augment": asdict(CUT_AUGMENT),
                "fit": asdict(train_detection.FIT),
            },
            "malignancy": {
                "draw": asdict(train_malignancy.DRAW),
                "virtual_share": VIRTUAL_SHARE,
                "augment": asdict(CUT_AUGMENT),
                "fit": asdict(train_malignancy.FIT),
            },
        },
        "figures": {key: figures[key] for key in ("nodules_exact_hu", "nodules_all", "outlines")},
        "limits": (
            "Trained on CTs of adults with slices of 0.6 to 5 mm; the detection network mostly, the "
            "malignancy network by half and the outline network by a quarter, on nodules set into the lungs of nine "
            "hosts. Research use only, not a medical device."
        ),
        "licence": "Apache-2.0",
    }


def card_page(card: dict[str, Any], hashes: dict[str, str]) -> str:
    """The card for people."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, keep_trailing_newline=True, autoescape=False)  # noqa: S701 (Markdown)
    environment.filters["interval"] = lambda f: f"{f['value']:.3f} ({f['low']:.3f} to {f['high']:.3f})"
    kept = ("input", "nodule_weighing", "malignancy_weighing", "patient_scaling", "both", "training")
    made = json.dumps({key: card[key] for key in kept}, indent=1)
    return environment.get_template("card.md.j2").render(card=card, hashes=hashes, made=made)


def main() -> None:
    """Write the weights and both cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/segments"))
    parser.add_argument("--kind", default="resnet")
    a = parser.parse_args()
    figures, patients = (json.loads((a.runs / name).read_text("utf-8")) for name in ("figures.json", "patients.json"))
    card = json.loads(json.dumps(make_card(figures, patients, a.kind)))
    folder = shipped_weights("segments")
    export_fold(a.runs / "all", card, folder, a.kind)
    hashes = json.loads((folder / "card.json").read_text("utf-8"))["networks"]
    PAGE.write_text(card_page(card, hashes), "utf-8")
    print(hashes)


if __name__ == "__main__":
    main()
