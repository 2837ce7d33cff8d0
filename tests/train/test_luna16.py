from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungsight.ct.volume import CTVolume
from lungsight.errors import CorruptFileError, InputError
from lungsight.train.patient import PointMark, PointMarks
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth
from phantom import lopsided_body
from refusals import refused

UIDS = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{n}" for n in (100225, 100332, 979083)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for fold, uid in ((0, UIDS[0]), (0, UIDS[1]), (9, UIDS[2])):
        folder = tmp_path / f"subset{fold}"
        folder.mkdir(exist_ok=True)
        (folder / f"{uid}.mhd").touch()
        (folder / f"{uid}.raw").touch()
    head = "seriesuid,coordX,coordY,coordZ"
    (tmp_path / "annotations.csv").write_text(
        f"{head},diameter_mm\n{UIDS[0]},-128.69,-175.31,-298.38,5.651\n{UIDS[0]},103.78,-211.9,-227.1,4.22\n"
        f"{UIDS[2]},1,2,3,30\n1.2.3,1,2,3,4\n",
        "utf-8",
    )
    (tmp_path / "annotations_excluded.csv").write_text(f"{head},diameter_mm\n{UIDS[1]},1,2,3,-1\n{UIDS[1]},4,5,6,7.5\n")
    (tmp_path / "candidates_V2.csv").write_text(f"{head},class\n{UIDS[1]},7,8,9,0\n{UIDS[1]},-7,-8,-9,1\n")
    return tmp_path


def test_subsets_are_folds(root: Path) -> None:
    patients = read_truth(root)
    assert [(p.patient_id, p.series_uid, p.fold, p.label) for p in patients] == [
        (UIDS[0], UIDS[0], 0, None),
        (UIDS[1], UIDS[1], 0, None),
        (UIDS[2], UIDS[2], 9, None),
    ]
    assert patients[2].ct_path == root / "subset9" / f"{UIDS[2]}.mhd"


def test_marks_are_points_in_the_patient(root: Path) -> None:
    first, second, _ = read_truth(root)
    body = lopsided_body()
    truth = read_ct_truth(first, CTVolume(body.hu, body.affine))
    assert truth.nodules is not None
    assert [(n.centre_lps_mm, n.diameter_mm, n.region) for n in truth.nodules] == [
        ((-128.69, -175.31, -298.38), 5.651, None),
        ((103.78, -211.9, -227.1), 4.22, None),
    ]
    assert truth.excluded == ()
    marks = second.marks
    assert isinstance(marks, PointMarks)
    assert marks.nodules == ()
    assert marks.excluded == (PointMark((1, 2, 3), None), PointMark((4, 5, 6), 7.5))
    assert marks.candidates_lps_mm.tolist() == [[7, 8, 9], [-7, -8, -9]]
    assert marks.candidate_is_nodule.tolist() == [False, True]


def test_tables_of_exclusions_and_candidates_may_be_absent(root: Path) -> None:
    (root / "annotations_excluded.csv").unlink()
    (root / "candidates_V2.csv").unlink()
    marks = read_truth(root)[1].marks
    assert isinstance(marks, PointMarks)
    assert marks.excluded == ()
    assert marks.candidates_lps_mm.shape == (0, 3)


def test_the_ct_and_the_points_share_a_frame(root: Path) -> None:
    """A world coordinate computed by SimpleITK (which LUNA16 used) is the same voxel for us."""
    sitk = pytest.importorskip("SimpleITK")
    body = lopsided_body()
    image = sitk.GetImageFromArray(body.hu)
    x, y, z = (body.affine[:3, axis] for axis in (2, 1, 0))
    image.SetSpacing([float(np.linalg.norm(v)) for v in (x, y, z)])
    image.SetDirection(np.stack([v / np.linalg.norm(v) for v in (x, y, z)], 1).ravel().tolist())
    image.SetOrigin(body.affine[:3, 3].tolist())
    sitk.WriteImage(image, str(root / "subset0" / f"{UIDS[0]}.mhd"))
    point = image.TransformIndexToPhysicalPoint((9, 5, 3))
    (root / "annotations.csv").write_text(
        f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{UIDS[0]},{point[0]},{point[1]},{point[2]},5\n", "utf-8"
    )
    patient = read_truth(root)[0]
    ct = read_patient_ct(patient)
    nodules = read_ct_truth(patient, ct).nodules
    assert nodules is not None
    assert ct.hu[tuple(np.rint(ct.to_zyx(nodules[0].centre_lps_mm)).astype(int))] == body.hu[3, 5, 9]


@pytest.mark.parametrize(
    ("table", "text", "kind", "found"),
    [
        ("annotations.csv", "seriesuid,coordX\n", InputError, "coordY, coordZ, diameter_mm is missing"),
        ("annotations.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,1,2,3,4\n", InputError, "none of the 1"),
        (
            "annotations.csv",
            f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{UIDS[0]},1,x,3,4\n",
            CorruptFileError,
            "line 2: coordY is 'x'",
        ),
        (
            "annotations.csv",
            f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{UIDS[0]},1,2,3,\n",
            CorruptFileError,
            "without diameter",
        ),
        (
            "annotations.csv",
            f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{UIDS[0]},1,nan,3,4\n",
            CorruptFileError,
            "coordY is 'nan'",
        ),
        (
            "candidates_V2.csv",
            f"seriesuid,coordX,coordY,coordZ,class\n{UIDS[0]},1,2,3,\n",
            CorruptFileError,
            "class is empty",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    root: Path, table: str, text: str, kind: type[InputError], found: str
) -> None:
    (root / table).write_text(text, "utf-8")
    with refused(kind, found, ".", "."):
        read_truth(root)


def test_a_ct_in_two_subsets_and_none_at_all_are_refused(root: Path) -> None:
    (root / "subset9" / f"{UIDS[0]}.mhd").touch()
    with refused(CorruptFileError, "lies in subset0 and in subset9", "one place", "Keep"):
        read_truth(root)
    for path in root.glob("*/*.mhd"):
        path.unlink()
    with refused(InputError, "no subset0 to subset9", "folders", "Keep"):
        read_truth(root)
