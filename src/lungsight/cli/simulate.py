"""``lungsight simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungsight.cli.program import app
from lungsight.terminal import progress_bars, tell

__all__ = ["simulate"]


@app.command()
def simulate(  # noqa: PLR0913 (a command has an argument for each of its options)
    hosts: Annotated[
        Path, typer.Argument(metavar="HOSTS", help="Folder of chest CTs: <patient>_ct.nii.gz, or <patient>/ct.")
    ],
    nodules: Annotated[
        Path, typer.Argument(metavar="NODULES", help="Folder with image/, nodule_mask/ and a table; or a dataset.")
    ],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the patients; should not exist.")],
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")],
    malignant: Annotated[float, typer.Option(min=0, max=1, help="Share of them with a malignant nodule.")] = 0.67,
    none: Annotated[float, typer.Option(min=0, max=1, help="Share of them without a nodule, labelled benign.")] = 0.0,
    slice_thickness: Annotated[
        float, typer.Option(min=0, metavar="MM", help="Slices are averaged to it; 0 keeps those of the hosts.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 1,
    controls: Annotated[int, typer.Option(min=0, help="Blocks of lung set into each patient as nodules are.")] = 0,
    lesions: Annotated[
        list[Path] | None, typer.Option(metavar="CSV", help="ct,z0,z1,y0,y1,x0,x1: where the hosts hold no nodule.")
    ] = None,
    nodule_table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Ratings of the nodules.", show_default="NODULES/nodules.csv")
    ] = None,
    patients_of: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Column patient_id: hosts and nodules of these patients only.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Column patient_id: hosts and nodules of others only.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation in OUT.")] = False,
) -> None:
    """Set real nodules into real lungs, and write virtual patients with their truth into OUT."""
    from lungsight.report.staging import check_folder
    from lungsight.train.cohort import OWNED, write_virtual_patients
    from lungsight.train.hosts import find_hosts, read_lesions
    from lungsight.train.rated import read_donors
    from lungsight.train.simulate import SimulationConfig
    from lungsight.train.tables import read_patient_ids

    try:
        config = SimulationConfig(seed, malignant, none, slice_thickness or None, controls)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--malignant") from error
    check_folder(out, overwrite, OWNED)
    only = None if patients_of is None else read_patient_ids(patients_of)
    unwanted = frozenset() if exclude is None else read_patient_ids(exclude)
    donors, warnings = read_donors(nodules, nodule_table, only, unwanted)
    found = find_hosts(hosts, read_lesions(lesions or ()), only, unwanted)
    with progress_bars() as progress:
        told = write_virtual_patients(out, found, donors, patients, config, overwrite=overwrite, progress=progress)
    tell((*warnings, *told), f"{patients} virtual patients: {out}")
