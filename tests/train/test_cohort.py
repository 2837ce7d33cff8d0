from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lungsight.cli import main
from lungsight.ct.read import read_ct
from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.train.donors import read_vois
from lungsight.train.hosts import LESION_MARGIN_MM, find_hosts, load_host, read_lesions
from lungsight.train.masks import read_mask
from lungsight.train.tables import read_patient_ids
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth
from phantom import affine_of
from refusals import refused
from virtual import SPACING_ZYX_MM, lopsided_piece, phantom_host, save_nifti

NODULES = (
    ("P-1", "1", 1, 3),
    ("P-1", "2", 2, 4),
    ("P-2", "1", 5, 4),
    ("P-3", "1", 3, 4),
    ("P-4", "1", 4, 2),
    ("P-5", "1", 4, 3),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HOSTS and NODULES as a user has them: hosts/, nodules/, lesions.csv."""
    root = tmp_path_factory.mktemp("sources")
    (root / "hosts").mkdir()
    for patient_id, seed in (("H-1", 7), ("H-2", 8)):
        host = phantom_host(patient_id, 20.0, seed)
        save_nifti(host.ct.hu, host.ct.affine, root / "hosts" / f"{patient_id}_ct.nii.gz")
    spot = np.zeros(host.ct.shape, np.uint8)
    spot[40, 60, 36] = 1
    save_nifti(spot, host.ct.affine, root / "hosts" / "H-2_tumour.nii.gz")
    save_nifti(spot, host.ct.affine, root / "hosts" / "H-2_lungs.nii.gz")
    (root / "lesions.csv").write_text("ct,z0,z1,y0,y1,x0,x1,what\nH-1,0,80,0,128,64,128,the left lung\n")
    piece = lopsided_piece()
    affine = affine_of(SPACING_ZYX_MM, (10.0, -20.0, 30.0))
    lines = ["patient_id,nodule_id,Malignancy_value,len_mal_details"]
    for folder in ("image", "nodule_mask"):
        (root / "nodules" / folder).mkdir(parents=True)
    for patient_id, nodule_id, rating, readers in NODULES:
        lines.append(f"{patient_id},{nodule_id},{rating},{readers}")
        name = f"{patient_id}_R_{nodule_id}.nii.gz"
        save_nifti(piece.mask.astype(np.uint8), affine, root / "nodules" / "nodule_mask" / name)
        if patient_id != "P-5":
            save_nifti(np.rint(piece.hu).astype(np.int16), affine, root / "nodules" / "image" / name)
    (root / "nodules" / "nodules.csv").write_text("\n".join(lines) + "\n")
    return root


def run(sources: Path, out: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(sources / "hosts"), str(sources / "nodules"), "-o", str(out), *options])
    return int(ended.value.code or 0)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "cohort"
    options = ("--patients", "4", "--none", "0.25", "--controls", "1", "--lesions", str(sources / "lesions.csv"))
    assert run(sources, out, *options) == 0
    return out


def test_the_truth_reader_reads_what_was_written(cohort: Path) -> None:
    patients = read_truth(cohort)
    assert [(one.patient_id, one.label) for one in patients] == [
        (row["patient_id"], int(row["label"])) for row in table(cohort / "labels.csv")
    ]
    assert sum(one.label or 0 for one in patients) == 2
    nodules = [row for row in table(cohort / "nodules.csv") if row["kind"] == "nodule"]
    for one in patients:
        ct = read_patient_ct(one)
        assert ct.warnings == ()
        assert ct.spacing_zyx_mm == pytest.approx((5.0, *SPACING_ZYX_MM[1:]))
        truth = read_ct_truth(one, ct)
        told = [row for row in nodules if row["patient_id"] == one.patient_id]
        assert truth.nodules is not None
        assert len(truth.nodules) == len(told)
        for row in told:
            centre = [float(row[f"{axis}_lps_mm"]) for axis in "xyz"]
            assert min(np.linalg.norm(np.subtract(n.centre_lps_mm, centre)) for n in truth.nodules) < 2.5
        assert (one.label == 1) == any(row["label"] == "1" for row in told)


def test_each_file_says_that_it_is_simulated_and_nothing_of_the_source(cohort: Path) -> None:
    files = sorted(cohort.rglob("*.dcm"))
    datasets = [pydicom.dcmread(path) for path in files]
    assert len({d.SOPInstanceUID for d in datasets}) == len(files) > 300
    for dataset in datasets:
        assert dataset.ImageType[0] == "DERIVED"
        assert "Simulated" in dataset.DerivationDescription
        assert dataset.PatientID.startswith("SIM-000")
        assert not {"H-1", "H-2"} & {str(element.value) for element in dataset.iterall()}
    ct = [d for d in datasets if d.Modality == "CT"]
    assert {(float(d.SliceThickness), float(d.SpacingBetweenSlices)) for d in ct} == {(5.0, 5.0)}
    names = {d.SOPInstanceUID for d in ct}
    masks = [d for d in datasets if d.Modality != "CT"]
    assert {d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in masks} <= names


def test_lesions_of_the_host_are_told_and_hold_no_nodule(cohort: Path) -> None:
    rows = [row for row in table(cohort / "patients.csv") if row["host_patient_id"] == "H-1"]
    assert rows
    for row in rows:
        ct = read_ct(cohort / row["patient_id"] / "ct")
        lesions = read_mask(cohort / row["patient_id"] / "lesions", ct)
        assert lesions[:, :, 64:].all()
        assert not lesions[:, :, :64].any()
        assert not (read_mask(cohort / row["patient_id"] / "mask", ct) & lesions).any()


def test_the_same_seed_gives_the_same_files(sources: Path, cohort: Path, tmp_path: Path) -> None:
    options = ("--none", "0.25", "--controls", "1", "--lesions", str(sources / "lesions.csv"))
    assert run(sources, tmp_path / "again", "--patients", "2", *options) == 0
    again, first = digests(tmp_path / "again"), digests(cohort)
    images = {name: digest for name, digest in again.items() if name.endswith(".dcm")}
    assert len(images) > 100
    assert images == {name: first[name] for name in images}


def test_only_the_patients_asked_for_are_used(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "fold.csv").write_text("patient_id,fold\nH-2,1\nP-1,1\nP-2,1\n")
    (tmp_path / "not.csv").write_text("patient_id\nP-2\n")
    options = ("--patients-of", str(tmp_path / "fold.csv"), "--exclude", str(tmp_path / "not.csv"))
    assert (
        run(sources, tmp_path / "out", "--patients", "2", "--malignant", "0", "--slice-thickness", "0", *options) == 0
    )
    rows = table(tmp_path / "out" / "nodules.csv")
    assert {row["source_patient_id"] for row in rows} == {"P-1"}
    assert {row["host_patient_id"] for row in rows} == {"H-2"}
    assert read_ct(tmp_path / "out" / "SIM-0001" / "ct").spacing_zyx_mm == pytest.approx(SPACING_ZYX_MM)


def test_a_failure_leaves_nothing_behind(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "only.csv").write_text("patient_id\nH-1\nP-1\n")
    assert run(sources, tmp_path / "out", "--patients", "3", "--patients-of", str(tmp_path / "only.csv")) == 2
    assert "any of 0 malignant nodules" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["only.csv"]


def test_nodules_that_cannot_be_used_are_left_out(sources: Path) -> None:
    donors, warnings = read_vois(sources / "nodules")
    assert [(d.patient_id, d.nodule_id, d.is_malignant) for d in donors] == [
        ("P-1", "1", False),
        ("P-1", "2", False),
        ("P-2", "1", True),
    ]
    assert warnings == ("1 nodules of the table have no image or mask, first P-5_R_1.nii.gz.",)
    assert np.array_equal(donors[0].piece().mask, lopsided_piece().mask)


def test_of_readers_ratings_the_median_counts(sources: Path, tmp_path: Path) -> None:
    table = tmp_path / "nodules.csv"
    # 2|3|4|5: 3.5, malignant, where the lowest of the most frequent would be 2; 1|3|3: 3 is neither; two readers.
    rows = {"1": "2|3|4|5", "2": "1|3|3"}
    lines = [f"P-1,{nodule_id},{ratings}" for nodule_id, ratings in rows.items()]
    table.write_text("\n".join(["patient_id,nodule_id,malignancy", *lines, "P-2,1,5|5", "P-3,1,1|2|2"]) + "\n")
    donors, _ = read_vois(sources / "nodules", table)
    assert [(d.patient_id, d.malignancy, d.is_malignant) for d in donors] == [("P-1", 3.5, True), ("P-3", 2.0, False)]
    every, _ = read_vois(sources / "nodules", table, unclear=True)
    assert [d.malignancy for d in every] == [3.5, 3.0, 5.0, 2.0]


@pytest.mark.parametrize("ratings", ["4|six", "0|3|3", "4|4|"])
def test_ratings_that_are_none_are_refused(sources: Path, tmp_path: Path, ratings: str) -> None:
    table = tmp_path / "nodules.csv"
    table.write_text(f"patient_id,nodule_id,malignancy\nP-1,1,{ratings}\n")
    with refused(CorruptFileError, "line 2: malignancy is", "from 1 to 5, separated", "patient>_R_<nodule>"):
        read_vois(sources / "nodules", table)


def test_a_lesion_mask_beside_the_ct_is_widened(sources: Path) -> None:
    files = find_hosts(sources / "hosts", read_lesions([]))
    assert [(f.patient_id, [m.name for m in f.lesion_masks]) for f in files] == [
        ("H-1", []),
        ("H-2", ["H-2_tumour.nii.gz"]),
    ]
    closed = load_host(files[1]).closed
    away_mm = np.linalg.norm((np.argwhere(closed) - (40, 60, 36)) * SPACING_ZYX_MM, axis=1)
    assert away_mm.max() <= LESION_MARGIN_MM
    # 5 mm: two slices up and down, one pixel each way in the plane and its corners, 2.5 mm up with those beside
    assert closed.sum() == 5 + 3 * 8


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with refused(InputError, "no chest CT in", "at least one", "_ct.nii.gz"):
        find_hosts(tmp_path, {})
    with refused(InputError, "has no image/ and nodule_mask/", "the two folders", "image/<patient>_R_<nodule>"):
        read_vois(tmp_path)
    (tmp_path / "ids.csv").write_text("patient_id,fold\n,1\n")
    with refused(CorruptFileError, "line 2: patient_id is empty", "a value", "that line"):
        read_patient_ids(tmp_path / "ids.csv")
    empty = CTVolume(np.zeros((9, 64, 64), np.int16), np.eye(4))
    save_nifti(empty.hu, empty.affine, tmp_path / "X_ct.nii.gz")
    with refused(InputError, "no lung is seen in .*X_ct", "a chest CT", "out of the hosts"):
        load_host(find_hosts(tmp_path, {})[0])
