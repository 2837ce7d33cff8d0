"""How fast, and how much memory: one command, one table (Markdown and JSON), and a plot of the growth.

    python -m benchmarks.speed DEMO_CT --out speed/

DEMO_CT is the folder of the demo patient's DICOM files (133 slices of 2.5 mm), as `lungsight demo` unpacks them; each
row is also measured on its 5 mm version, pairs of slices averaged. Every row is measured once a round, the rows in
turns; a first round does not count.

1. Window by window: PyTorch, float32, channels last, all windows of a slice (2,209), batches of 256; a slice a round,
   another each time, times the slices of the CT.
2. MONAI's `sliding_window_inference` over the same slices with the same network, steps and batches. MONAI is no
   dependency: `pip install --no-deps monai`, else the row says so.
3. Dense, PyTorch: one pass over the same slice.
4. Ours, end to end: `lungsight diagnose CT -o OUT --no-report`, the start of the process included; and the same in a
   process that has loaded its network.
5. The arithmetic of a 3D RetinaNet-ResNet50-FPN nodule detector: a block, times the CT's voxels
   (:mod:`benchmarks.speed.retinanet` says what is assumed).
6. and 7. `--system segments` and `both`, as 4; if the command refuses them the rows say so.

With it: a plain matrix product, the FLOP of row 4 and how fast they were done, growth with the number of slices
(:mod:`benchmarks.speed.growth`), and training (:mod:`benchmarks.speed.training`). Run it on a machine that does nothing
else, with 1 GB free for temporary files; `--rounds 1 --growth 30 60 --growth-rounds 1` only tries it out. PyTorch uses
as many threads as there are cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from benchmarks.speed import networks, retinanet, training
from benchmarks.speed.cts import pairs_averaged, upright, write_dicom
from benchmarks.speed.growth import draw_growth, measure_growth
from benchmarks.speed.ours import NotAvailableError, WarmProcess, diagnose, engine_of
from benchmarks.speed.page import Measured, Row, page
from benchmarks.speed.samples import Measure, Sample, in_turns, machine, timed, write_json

from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume

GROWTH = (30, 60, 133, 300, 600)
SAMPLED_SLICES = 5
TRAINING_BATCHES, PLAIN_BATCHES = 3, 1
WINDOWS_A_BATCH = 216  # as many as the recipe's first stage: 24 patches of 9
_BLOCK = "a block of the 3D detector, "


def slices_in_turn(work: Callable[[torch.Tensor], object], fields: list[torch.Tensor]) -> Measure:
    """One slice after the other, one each time."""
    following = cycle(fields)
    return timed(lambda: work(next(following)))


def matrix_product(precision: torch.dtype) -> Measure:
    """2048 x 2048 times 2048 x 2048; the seconds of one of several."""
    one, other = torch.rand(2, 2048, 2048).to(precision)
    times = 10

    def measure() -> Sample:
        return {"seconds": timed(lambda: [one @ other for _ in range(times)])()["seconds"] / times}

    return measure


def pytorch_measures(fields: list[torch.Tensor], block: tuple[int, int, int]) -> dict[str, Measure]:
    """Rows 1 to 3 and 5, and the matrix products."""
    network = networks.shipped_network()
    networks.check_agreement(network, fields[0])
    measures = {"a slice, window by window": slices_in_turn(partial(networks.by_window, network), fields)}
    merge = networks.monai_sliding_window(network)
    if merge is not None:
        measures["a slice, MONAI"] = slices_in_turn(merge, fields)
    measures["a slice, dense"] = slices_in_turn(partial(networks.dense, network), fields)
    for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        measures[_BLOCK + name] = timed(retinanet.detect_block(block, precision))
        measures[f"2048 x 2048 product, {name}"] = matrix_product(precision)
    return measures


def program_measures(sources: dict[int, Path], out: Path, warm: WarmProcess) -> dict[str, Measure]:
    """Rows 4 and 6; without 6 if the command refuses the system, which is printed."""
    measures: dict[str, Measure] = {}
    for count, source in sources.items():
        measures[f"end to end, {count} slices"] = partial(diagnose, source, out / "windows")
        measures[f"warm, {count} slices"] = partial(warm.diagnose, source)
    try:
        diagnose(next(reversed(sources.values())), out / "segments", "segments")
    except NotAvailableError as error:
        print(f"no rows 6 and 7: {error}", flush=True)
        return measures
    for count, source in sources.items():
        for system in ("segments", "both"):
            measures[f"{system}, {count} slices"] = partial(diagnose, source, out / system, system)
    return measures


def table_rows(cts: tuple[CTVolume, CTVolume], measures: dict[str, Measure], block: tuple[int, int, int]) -> list[Row]:
    """What the first table shows of all that is measured."""
    first, second = slices = len(cts[0].hu), len(cts[1].hu)
    blocks = (retinanet.blocks_in(cts[0], block), retinanet.blocks_in(cts[1], block))

    def each_slice(name: str, key: str) -> Row:
        return Row(name, (key, key), slices, absent="" if key in measures else "not installed")

    def each_ct(name: str, key: str) -> Row:
        keys = (f"{key}, {first} slices", f"{key}, {second} slices")
        return Row(name, keys, absent="" if keys[0] in measures else "not available")

    return [
        each_slice("1. window by window, PyTorch float32", "a slice, window by window"),
        each_slice("2. MONAI `sliding_window_inference`, float32", "a slice, MONAI"),
        each_slice("3. dense, PyTorch float32", "a slice, dense"),
        each_ct("4. `lungsight diagnose`, end to end", "end to end"),
        each_ct("4. the same in a warm process", "warm"),
        Row("5. 3D RetinaNet's arithmetic, float32", (_BLOCK + "float32",) * 2, blocks),
        Row("5. 3D RetinaNet's arithmetic, bfloat16", (_BLOCK + "bfloat16",) * 2, blocks),
        each_ct("6. `lungsight diagnose --system segments`", "segments"),
        each_ct("7. `lungsight diagnose --system both`", "both"),
    ]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, help="the demo CT's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for speed.md, speed.json and growth.png")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--growth", type=int, nargs="*", default=GROWTH, help="numbers of slices, two or more; none: left out"
    )
    parser.add_argument("--growth-rounds", type=int, default=3)
    parser.add_argument(
        "--block", type=int, nargs=3, default=retinanet.BLOCK_XYZ, help="voxels x y z of row 5, multiples of 16 16 8"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    asked = parsed()
    asked.out.mkdir(parents=True, exist_ok=True)
    block: tuple[int, int, int] = tuple(asked.block)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    told = machine()

    def tell(line: str) -> None:
        print(line, flush=True)

    ct = read_ct(asked.ct)
    thick = pairs_averaged(ct)
    cts = (upright(ct), upright(thick))
    places = np.linspace(0, len(ct.hu) - 1, SAMPLED_SLICES + 2)[1:-1].astype(int).tolist()
    fields = [networks.whole_field(cts[0], z) for z in places]
    with tempfile.TemporaryDirectory() as name, ExitStack() as open_until_done:
        folder = Path(name)
        sources = {len(ct.hu): asked.ct, len(thick.hu): write_dicom(thick, folder / "thick")}
        warm = open_until_done.enter_context(WarmProcess(folder / "warm"))
        ours = program_measures(sources, folder, warm)
        cases = training.cases_of(cts[0])
        measures = pytorch_measures(fields, block) | ours
        measures["training, ours"] = training.ours(cases, TRAINING_BATCHES)
        measures["training, plain"] = training.plain(cases, WINDOWS_A_BATCH, PLAIN_BATCHES)
        samples = in_turns(measures, asked.rounds, tell)
        told["engine"] = engine_of(folder / "windows")
    growth = measure_growth(ct, asked.growth, asked.growth_rounds, tell) if asked.growth else None
    rows = table_rows(cts, measures, block)
    flop = retinanet.block_flop(block)
    measured = Measured(
        rows=rows,
        slices=(len(cts[0].hu), len(cts[1].hu)),
        samples=samples,
        work=(networks.work_of(cts[0]), networks.work_of(cts[1])),
        detector_flop=(flop * retinanet.blocks_in(cts[0], block), flop * retinanet.blocks_in(cts[1], block)),
        machine=told,
        growth=growth,
    )
    text = page(measured)
    write_json(asked.out / "speed.json", dataclasses.asdict(measured))
    (asked.out / "speed.md").write_text(text, "utf-8")
    if growth:
        draw_growth(growth, asked.out / "growth.png")
    print("\n" + text)


if __name__ == "__main__":
    main()
