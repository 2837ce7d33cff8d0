"""The door through which virtual patients go out: as many as asked for, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from lungsight.errors import InputError
from lungsight.evaluate.intervals import ignore_progress
from lungsight.report.staging import staged_folder
from lungsight.train.donors import Donor
from lungsight.train.hosts import HostFiles, load_host
from lungsight.train.paste import Host
from lungsight.train.simulate import SimulationConfig, host_of, simulate_patient
from lungsight.train.virtual import Kind, VirtualPatient
from lungsight.train.virtual_dicom import patient_id_of, write_patient, write_tables

__all__ = ["OWNED", "write_virtual_patients"]

LEAST_OPEN = 0.1
"""Share of its lungs that must be free of lesions, or a CT hosts nothing."""

OWNED = re.compile(r"(labels|patients|nodules)\.csv|SIM-\d{4,}/(ct|mask|lesions)/\d{4}\.dcm")
"""Every file of an earlier simulation; nothing else is ever replaced."""

Progress = Callable[[str, float], None]


def write_virtual_patients(
    out: Path,
    hosts: Sequence[HostFiles],
    donors: Sequence[Donor],
    patients: int,
    config: SimulationConfig,
    *,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> tuple[str, ...]:
    """Simulate patients and write them in the contest's layout.

    Parameters
    ----------
    out
        Gets ``SIM-0001/ct/``, ``mask/`` and ``lesions/`` and so on, and the tables ``labels.csv``, ``patients.csv`` and
        ``nodules.csv``.
    hosts
        CTs to draw from; one at a time is in memory, and the next if there are controls.
    donors
        Nodules to draw from.
    patients
        How many; over 0.
    config
        Settings. The first of 100 patients are the same as those of 10.
    overwrite
        Whether an earlier simulation in `out` may be replaced.
    progress
        Told the step's name and its share done, 0 to 1.

    Returns
    -------
    tuple of str
        Warnings: hosts that were passed over.

    Raises
    ------
    ValueError
        If `patients` is not over 0.
    InputError
        If no host has free lungs, or as :func:`~lungsight.train.simulate.simulate_patient`.
    OutputError
        If `out` cannot be written, or exists.
    """
    if patients < 1:
        raise ValueError(f"patients is {patients}, expected over 0")
    if not hosts:
        raise InputError("no CT to set nodules into", "at least one", "Give more hosts, or exclude fewer patients.")
    stable = _Stable(hosts)
    chosen = sorted((host_of(number, len(hosts), config.seed), number) for number in range(1, patients + 1))
    rows = {}
    with staged_folder(out, overwrite, OWNED) as staged:
        for done, (index, number) in enumerate(chosen):
            progress("simulate", done / patients)
            at = stable.usable(index)

            def other(at: int = at) -> Host:
                return stable.load(stable.usable((at + 1) % len(hosts)))

            patient = simulate_patient(number, stable.load(at), donors, config, other)
            write_patient(staged / patient_id_of(number), patient)
            rows[number] = (patient_id_of(number), _line(patient, config), patient.insertions)
        write_tables(staged, [rows[number] for number in sorted(rows)])
    progress("simulate", 1.0)
    return stable.warnings


class _Stable:
    """Hosts, read when needed."""

    def __init__(self, hosts: Sequence[HostFiles]) -> None:
        self._hosts = hosts
        self._open: dict[int, bool] = {}
        self.load: Callable[[int], Host] = lru_cache(maxsize=2)(lambda index: load_host(hosts[index]))

    def usable(self, index: int) -> int:
        """The first host from an index on that has free lungs."""
        order: list[int] = [*range(index, len(self._hosts)), *range(index)]
        for at in order:
            if at not in self._open:
                host = self.load(at)
                self._open[at] = bool((host.lungs & ~host.closed).sum() >= LEAST_OPEN * host.lungs.sum())
            if self._open[at]:
                return at
        raise InputError(
            f"none of {len(self._hosts)} CTs has lungs of which {LEAST_OPEN:.0%} are free of lesions",
            "at least one that has",
            "Give more hosts.",
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        closed = [self._hosts[at].patient_id for at, is_open in sorted(self._open.items()) if not is_open]
        return tuple(f"{name} hosts nothing: its lungs are full of lesions." for name in closed)


def _line(patient: VirtualPatient, config: SimulationConfig) -> dict[str, object]:
    return {
        "label": patient.label,
        "host_patient_id": patient.host_patient_id,
        "nodules": sum(each.kind is Kind.NODULE for each in patient.insertions),
        "slice_thickness_mm": f"{patient.ct.spacing_zyx_mm[0]:g}",
        "seed": config.seed,
    }
