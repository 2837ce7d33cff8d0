"""Diagnose CTs in a process that is kept: a path a line in, the seconds of each as a line of JSON out.

The network is loaded once, by which the engine is chosen; each CT is read, diagnosed and written anew.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lungsight.cohort.options import Options, Study
from lungsight.cohort.study import diagnose_study, load_system, read_study


def main() -> None:
    """Diagnose until there are no more lines; results go into the folder that is named first."""
    out, system = Path(sys.argv[1]), sys.argv[2]
    options = Options(system, page=False, overwrite=True)
    pipeline = load_system(options)
    for line in sys.stdin:
        began = time.perf_counter()
        study = Study(Path(line.strip()), out)
        diagnosis, _ = diagnose_study(study, read_study(study, options), pipeline, options, lambda *_: None)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, **diagnosis.provenance.seconds}), flush=True)


if __name__ == "__main__":
    main()
