"""What the node survives: kills, a crowd of senders, broken associations, a PACS that is away, a full disk.

.. code-block:: sh

    python benchmarks/node_faults.py --kills 100 --write benchmarks/node_faults.md

Needs Debian's orthanc, orthanc-dicomweb and dcmtk; the full disk also the right to mount a tmpfs. The studies are small
phantoms and the diagnosis is a stub, so that the faults and not the network fill the time; with ``--demo`` the demo
patient goes through the shipped network too.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from lungsight.demo import fetch_demo_patient
from lungsight.serve.entry import State
from node_process import NodeProcess, send_until_acknowledged, sets_of_results
from orthanc import Orthanc, free_port, program
from small_studies import SLICES, Study, storescu, write_study

_ONE_SET = {"SEG": 1, "SR": 1, "OT": 1}
_DONE_S = 900


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    fault: str
    studies: int
    faults: str
    lost: int
    doubled: int
    versions: int
    seconds: float


def main() -> None:
    """Try every fault, print the table, and fail if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Markdown file for the table.")
    parser.add_argument("--demo", action="store_true", help="Also the demo patient, through the shipped network.")
    given = parser.parse_args()
    rows: list[Outcome] = []
    trials: list[Callable[[Path], Outcome | None]] = [
        lambda folder: kills(folder, given.kills, given.seed),
        crowd,
        broken_associations,
        pacs_away,
        full_disk,
        *([demo_patient] if given.demo else []),
    ]
    for trial in trials:
        with tempfile.TemporaryDirectory(prefix="node-faults-") as folder:
            row = trial(Path(folder))
        if row is not None:
            rows.append(row)
            print(row, flush=True)
    text = table(rows)
    print(text)
    if given.write:
        given.write.write_text(text, "utf-8")
    sys.exit(any(row.lost or row.doubled for row in rows))


def kills(folder: Path, wanted: int, seed: int) -> Outcome:
    """SIGKILL while two senders send study after study; half of the kills while the node is starting."""
    moments = random.Random(seed)  # noqa: S311 (no secret)
    studies: list[Study] = []
    enough = threading.Event()

    def send(word: str) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            study = write_study(folder, f"{word} {number}")
            studies.append(study)
            send_until_acknowledged(node.port, study)
            enough.wait(moments.uniform(5, 10))

    with _Running(folder, quiet_s=5.0) as (orthanc, node), ThreadPoolExecutor(2) as senders:
        sending = [senders.submit(send, word) for word in ("a", "b")]
        for kill in range(wanted):
            if kill % 2:
                node.wait_ready()
            time.sleep(moments.uniform(0, 5))
            node.kill()
            node.start()
            if not kill % 20:
                print(f"{kill} kills, {len(studies)} studies", flush=True)
        enough.set()
        node.wait_ready()
        for one in sending:
            one.result()
        return _outcome("SIGKILL at random moments", f"{wanted} kills", studies, orthanc, node)


def crowd(folder: Path) -> Outcome:
    """20 studies at once over 8 associations."""
    studies = [write_study(folder, f"crowd {number}") for number in range(20)]
    with _Running(folder) as (orthanc, node), ThreadPoolExecutor(8) as senders:
        node.wait_ready()
        list(senders.map(lambda study: send_until_acknowledged(node.port, study), studies))
        return _outcome("many at once", "8 associations", studies, orthanc, node)


def broken_associations(folder: Path) -> Outcome:
    """Half of a study, A-ABORT, then the whole study."""
    studies = [write_study(folder, f"aborted {number}") for number in range(10)]
    with _Running(folder, quiet_s=5.0) as (orthanc, node):
        node.wait_ready()
        for study in studies:
            storescu(node.port, study.paths[: SLICES // 2], "--abort")
            send_until_acknowledged(node.port, study)
        return _outcome("association aborted half-way", "10 aborts", studies, orthanc, node)


def pacs_away(folder: Path) -> Outcome:
    """The PACS is stopped while studies come, and started half a minute later."""
    studies = [write_study(folder, f"away {number}") for number in range(10)]
    with _Running(folder) as (orthanc, node):
        node.wait_ready()
        orthanc.stop()
        for study in studies:
            send_until_acknowledged(node.port, study)
        time.sleep(30)
        orthanc.start()
        return _outcome("PACS away", "30 s", studies, orthanc, node)


def full_disk(folder: Path) -> Outcome | None:
    """A tmpfs that fills up; what was refused is sent again when it has been made larger."""
    disk = folder / "disk"
    disk.mkdir()
    mount, unmount = (shutil.which(name) for name in ("mount", "umount"))
    if os.geteuid() != 0 or mount is None or unmount is None:
        print("a full disk was not tried: it takes the right to mount a tmpfs")
        return None
    _run(mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))
    try:
        studies = [write_study(folder, f"full {number}") for number in range(20)]
        with _Running(folder, store=disk / "store", reserve_mb=0) as (orthanc, node):
            node.wait_ready()
            answers = [storescu(node.port, study.paths) for study in studies]
            refused = [study for study, answer in zip(studies, answers, strict=True) if answer.returncode]
            assert any("OutOfResources" in answer.stderr for answer in answers), answers[-1].stderr
            _run(mount, "-o", "remount,size=200m", str(disk))
            for study in refused:
                send_until_acknowledged(node.port, study)
            return _outcome("disk full, later enlarged", f"{len(refused)} refused", studies, orthanc, node)
    finally:
        _run(unmount, "-l", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 (our own words)


def demo_patient(folder: Path) -> Outcome:
    """A real CT, the shipped network, and the program as it is started by hand."""
    ct = fetch_demo_patient(None, tell=print)
    import pydicom  # noqa: PLC0415 (only here)

    paths = tuple(path for path in sorted(ct.rglob("*")) if path.is_file() and pydicom.misc.is_dicom(path))
    header = pydicom.dcmread(paths[0], stop_before_pixels=True)
    study = Study(str(header.StudyInstanceUID), paths)
    with _Running(folder, node=False) as (orthanc, node):
        command = [
            sys.executable,
            "-c",
            "from lungsight.cli import main; main()",
            "serve",
            "--store",
            str(node.store),
            "--host",
            "localhost",
        ]
        options = ["--port", str(node.port), "--send-to", str(orthanc.peer), "--quiet", "5"]
        options += ["--health-port", str(free_port())]
        serving = subprocess.Popen([*command, *options])  # noqa: S603 (our own words)
        try:
            node.wait_ready()
            return _outcome("none: the demo patient", "", [study], orthanc, node, send=True)
        finally:
            serving.terminate()
            serving.wait()


class _Running:
    """A PACS and a node, as long as the block runs."""

    def __init__(self, folder: Path, *, store: Path | None = None, node: bool = True, **settings: float) -> None:
        program("storescu")
        self._orthanc = Orthanc(folder / "orthanc")
        self._node = NodeProcess(store or folder / "store", self._orthanc, **{"quiet_s": 2.0} | settings)
        self._starts_node = node

    def __enter__(self) -> tuple[Orthanc, NodeProcess]:
        self._orthanc.start()
        if self._starts_node:
            self._node.start()
        return self._orthanc, self._node

    def __exit__(self, *_: object) -> None:
        if self._starts_node:
            self._node.kill()
        self._orthanc.stop()


def _outcome(
    fault: str, faults: str, studies: list[Study], orthanc: Orthanc, node: NodeProcess, *, send: bool = False
) -> Outcome:
    """Wait until the node has nothing left to do, then ask the PACS what it has."""
    began = time.monotonic()
    if send:
        for study in studies:
            send_until_acknowledged(node.port, study)
    while {one.state for one in node.entries()} - {State.SENT, State.SET_ASIDE} or not node.entries():
        if time.monotonic() - began > _DONE_S:
            print(f"not done after {_DONE_S} s: {node.entries()}")
            break
        time.sleep(1)
    seconds = time.monotonic() - began
    versions = Counter(one.study_uid for one in node.entries() if one.state == State.SENT)
    came = {study.uid: sets_of_results(orthanc, study) for study in studies}
    lost = [uid for uid, found in came.items() if not all(found[kind] for kind in _ONE_SET)]
    doubled = [uid for uid, found in came.items() if any(found[kind] > max(versions[uid], 1) for kind in _ONE_SET)]
    return Outcome(fault, len(studies), faults, len(lost), len(doubled), sum(versions.values()), seconds)


def table(rows: list[Outcome]) -> str:
    """The Markdown page."""
    lines = [
        "# Faults of the node",
        "",
        f"Printed by `benchmarks/node_faults.py` on {date.today().isoformat()}: small phantom studies of six",
        "slices, sent by DCMTK's `storescu`, against Debian's Orthanc; the diagnosis is a stub. *Lost*: a study whose",
        "slices were acknowledged and whose SEG, SR or page the PACS lacks. *Doubled*: a study with more sets of",
        "results than versions. Slices that come after the quiet time make a version, also when a killed node has kept",
        "the sender from going on for so long.",
        "",
        "| fault | how much | studies sent | versions sent | lost | doubled | s until done |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        counts = f"{row.studies} | {row.versions} | {row.lost} | {row.doubled} | {row.seconds:.0f}"
        lines.append(f"| {row.fault} | {row.faults} | {counts} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
