"""Cases on disk: what was drawn is where the truth says, each CT is read once, memory does not grow with the data."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from contest_phantom import SHAPE, SPACING_MM, write_contest
from lungsight.ct.volume import CTVolume
from lungsight.demo import PATIENT
from lungsight.errors import InputError, OutputError
from lungsight.findings import Region
from lungsight.train import build as build_module
from lungsight.train.build import DEMO_PATIENT, build_cases
from lungsight.train.draw import PatchDrawer
from lungsight.train.marks import known_kind, mark_upright
from lungsight.train.networks import PatchCNN
from lungsight.train.patient import CTTruth, PatientTruth, PointMark, PointMarks, TrueNodule
from lungsight.train.recipe import AugmentConfig, PatchDraw, Recipe
from lungsight.train.recipes import RECIPES
from lungsight.train.store import Cases
from lungsight.train.truth import read_ct_truth, read_patient_ct, read_truth
from phantom import affine_of
from refusals import refused

nifti: Any = nibabel  # its functions carry no types
DEFAULT = RECIPES["default"]
EVERYONE = frozenset(f"patient{k}" for k in range(6))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_contest(tmp_path_factory.mktemp("contest"), 2)


@pytest.fixture(scope="module")
def cases(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return build_cases(read_truth(dataset), DEFAULT, tmp_path_factory.mktemp("run") / "cases")


def test_tiles_show_the_nodules_and_nothing_else(cases: Cases, dataset: Path) -> None:
    nodules = cases.nodules_of(EVERYONE)
    patients = read_truth(dataset)
    assert nodules.target.tolist() == [[1, 1], [1, 0]]  # patient0 is malignant, patient1 benign
    drawn = 0
    for number, patient in enumerate(patients):
        ct = read_patient_ct(patient)
        (nodule,) = read_ct_truth(patient, ct).nodules or ()
        assert nodule.region is not None
        k = np.flatnonzero(nodules.nodule == number)
        hu, inside, unknown = nodules.read(k)
        assert len(k) == len(nodule.region.mask)  # a tile for each of its slices
        assert inside.sum() == nodule.region.mask.sum()
        assert not unknown.any()
        # The nodule's own HU, wherever the tile was cut.
        assert np.sort(hu[inside]).tolist() == np.sort(ct.hu[nodule.region.box][nodule.region.mask]).tolist()
        middle_off = np.abs(np.argwhere(inside.any(0)).mean(0) - 64)
        assert (middle_off < 2).all()
        drawn += len(k)
    assert drawn == len(nodules.spacing_mm)
    assert np.allclose(nodules.spacing_mm, SPACING_MM[1])


def test_what_is_told_of_a_nodule_is_where_the_ct_shows_it(cases: Cases, dataset: Path) -> None:
    drawn = cases.nodules_of(EVERYONE)
    assert drawn.z_mm is not None
    assert drawn.at_px is not None
    for number, (told, patient) in enumerate(zip(cases.nodules, read_truth(dataset), strict=True)):
        ct = read_patient_ct(patient)
        (nodule,) = read_ct_truth(patient, ct).nodules or ()
        assert nodule.region is not None
        kept = cases.ct(told["ct"])
        assert np.array_equal(kept.hu, ct.hu)
        assert kept.spacing_zyx_mm == pytest.approx(ct.spacing_zyx_mm)
        centre = np.argwhere(nodule.region.mask).mean(0) + nodule.region.start_zyx
        assert told["centre_zyx"] == pytest.approx(centre)
        first, end = nodule.region.start_zyx[0], nodule.region.stop_zyx[0]
        # 5 mm beyond its ends are less than a slice, of which there is one at least.
        assert told["slices"] == list(range(first - 1, end + 1))
        assert told["shown"] == [False, *[True] * (end - first), False]
        assert told["diameter_mm"] == pytest.approx(24 + 2 * number, rel=0.1)
        assert told["ratings"] == []
        # A tile's middle is the pixel it was cut round.
        k = np.flatnonzero(drawn.nodule == number)
        hu, _, _ = drawn.read(k)
        assert hu[:, 64, 64].tolist() == [
            ct.hu[z, y, x] for z, (y, x) in zip(told["slices"][1:-1], told["places"][1:-1], strict=True)
        ]
        assert np.diff(drawn.z_mm[k]) == pytest.approx(SPACING_MM[0])
        assert drawn.at_px[k].tolist() == told["places"][1:-1]


def test_what_lies_next_to_a_nodules_ends_is_read_on_demand(cases: Cases, dataset: Path) -> None:
    drawn = cases.nodules_of(EVERYONE, ends=True)
    assert drawn.z_mm is not None
    assert drawn.at_px is not None
    for number, (told, patient) in enumerate(zip(cases.nodules, read_truth(dataset), strict=True)):
        ct = read_patient_ct(patient)
        k = np.flatnonzero(drawn.nodule == number)
        hu, inside, unknown = drawn.read(k)
        assert inside.any((1, 2)).tolist() == told["shown"]
        assert not unknown.any()
        assert (drawn.z_mm[k] / SPACING_MM[0]).round().astype(int).tolist() == told["slices"]
        # Cut where the nearest slice that shows the nodule was.
        assert drawn.at_px[k[0]].tolist() == drawn.at_px[k[1]].tolist()
        for tile, z, (y, x) in zip(hu, told["slices"], told["places"], strict=True):
            assert tile[64, 64] == ct.hu[z, y, x]


def test_lung_cases_are_the_ct_itself(cases: Cases, dataset: Path) -> None:
    lungs = cases.lungs_of(frozenset({"patient1"}))
    assert len(lungs) == 1
    (case,) = lungs
    patient = read_truth(dataset)[1]
    ct = read_patient_ct(patient)
    assert isinstance(case.hu, np.memmap)
    assert case.hu.shape == SHAPE
    (nodule,) = read_ct_truth(patient, ct).nodules or ()
    assert nodule.region is not None
    assert case.lesions[nodule.region.box][nodule.region.mask].all()
    assert 1.5 * nodule.region.mask.sum() < case.lesions.sum() < 8 * nodule.region.mask.sum()
    # 5 mm farther than the outline, and no more: 2 slices up (16 mm) nothing is closed.
    z = nodule.region.stop_zyx[0]
    assert case.lesions[z + 1 :].sum() == 0
    assert case.counts is not None
    assert case.counts[1] > 0 == case.counts[2]
    assert case.lungs.mean() > 0.02


def test_what_a_virtual_patients_lungs_bring_along_is_no_negative(tmp_path: Path) -> None:
    """`lungsight simulate` writes it as `lesions` beside the mask: no window that is not ROI may touch it."""
    root = write_contest(tmp_path / "contest", 1)
    image = nifti.load(root / "patient0" / "ct.nii.gz")
    lesions = np.zeros(image.shape, np.uint8)
    lesions[6:18, 50:70, 25:45] = 1  # in a lung
    touched = {}
    for name in ("before", "after"):
        (case,) = build_cases(read_truth(root), RECIPES["asan"], tmp_path / name).lungs_of(EVERYONE)
        assert case.counts is not None
        touched[name] = 0
        for z, i, j in case.windows[: case.counts[0]].tolist():
            shown = lesions[z, 10 * i : 10 * i + 50, 10 * j : 10 * j + 50]
            touched[name] += bool(shown.any())
        nifti.save(nifti.Nifti1Image(lesions, image.affine), root / "patient0" / "lesions.nii.gz")
    assert touched["before"] > 0 == touched["after"]


def test_other_patients_are_never_drawn(cases: Cases) -> None:
    nodules = cases.nodules_of(frozenset({"patient0"}))
    benign, malignant = nodules.class_chances()
    assert (benign.tolist(), malignant.tolist()) == ([0, 0], [1, 0])
    with pytest.raises(ValueError, match="2 patches a batch of a benign nodule are wanted"):
        PatchDrawer(nodules, cases.lungs_of(frozenset({"patient0"})), PatchDraw(benign=2), None, (1,))


def test_batches_hold_what_was_asked_for(cases: Cases) -> None:
    draw = PatchDraw(side_px=68, benign=2, malignant=3, lungs=4, far=2, far_shift_px=60.0)
    lungs = cases.lungs_of(EVERYONE)
    drawer = PatchDrawer(cases.nodules_of(EVERYONE), lungs, draw, AugmentConfig(shift_px=0.0, zoom=1.0), (1, 2))
    field, target, weight = drawer.draw(0)
    assert field.shape == (9, 1, 68, 68)
    assert target.shape == (9, 3, 1, 1)
    assert target[:3].argmax(1).flatten().tolist() == [1, 2, 2]  # what is centred is a ROI of its kind
    assert weight[:3].tolist() == [[[1]]] * 3
    assert target[3:7].argmax(1).flatten().tolist() == [0] * 4
    again, other = drawer.draw(0), drawer.draw(1)
    assert all((a == b).all() for a, b in zip((field, target, weight), again, strict=True))
    assert not (field == other[0]).all()


def test_hard_windows_are_mined_and_kept(cases: Cases) -> None:
    mining = {"first": 1, "every": 2, "rounds": 2, "share_of_slices": 0.2, "score": 0.0, "share": 1.0}
    draw = PatchDraw(benign=1, malignant=1, lungs=2, mining=build_mining(mining))
    drawer = PatchDrawer(cases.nodules_of(EVERYONE), cases.lungs_of(EVERYONE), draw, None, (3,))
    network = Everything()
    drawer(0, network)
    assert drawer.lungs.found == []
    drawer(1, network)
    (first,) = drawer.lungs.found
    assert len(first)
    drawer(2, network)
    assert len(drawer.lungs.found) == 1
    copy = PatchDrawer(cases.nodules_of(EVERYONE), cases.lungs_of(EVERYONE), draw, None, (3,))
    copy.lungs.load_state_dict(drawer.lungs.state_dict())
    for one, other in zip(copy(3, network), drawer(3, network), strict=True):
        assert (one == other).all()
    assert len(drawer.lungs.found) == 2
    # Nothing near a lesion is a false alarm.
    volumes = [np.asarray(case.lesions) for case in cases.lungs_of(EVERYONE)]
    for number, z, y, x in np.concatenate(drawer.lungs.found):
        lesions = volumes[int(number)][int(z)]
        assert not lesions[max(0, round(y) - 25) : round(y) + 25, max(0, round(x) - 25) : round(x) + 25].any()


class Everything(PatchCNN):
    """Takes every window for a nodule, at no cost."""

    def dense(self, field: Any) -> Any:
        rows, columns = ((size - 68) // 10 + 1 for size in field.shape[2:])
        return field.new_zeros(1, 3, rows, columns)


def build_mining(values: dict[str, Any]) -> Any:
    return type(PatchDraw().mining)(**values)


def test_cases_are_made_once(cases: Cases, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "read_patient_ct", lambda _patient: pytest.fail("read again"))
    again = build_cases(read_truth(dataset), DEFAULT, cases.folder)
    assert again.nodules == cases.nodules
    with refused(OutputError, "made from other data", "the dataset and the recipe", "delete"):
        build_cases(read_truth(dataset), RECIPES["asan"], cases.folder)
    with refused(OutputError, "made from other data", "the dataset and the recipe", "delete"):
        build_cases(read_truth(dataset)[:1], DEFAULT, cases.folder)


def test_half_made_cases_are_made_anew(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = read_truth(dataset)[:1]
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "segment_lungs", lambda _ct: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_cases(patients, DEFAULT, tmp_path / "cases")
    assert not (tmp_path / "cases").exists()
    build_cases(patients, DEFAULT, tmp_path / "cases")
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, building, and drawing: what NumPy holds at most, for two patients and for six."""
    monkeypatch.setattr(build_module, "segment_lungs", lambda ct: ct.hu < -500)

    def peak(count: int) -> int:
        root = write_contest(tmp_path / f"of{count}", count)
        patients = read_truth(root)
        tracemalloc.start()
        made = build_cases(patients, DEFAULT, tmp_path / f"cases{count}")
        nodules, lungs = made.nodules_of(EVERYONE), made.lungs_of(EVERYONE)
        drawer = PatchDrawer(nodules, lungs, PatchDraw(benign=2, malignant=2, lungs=6), None, (1,))
        for step in range(3):
            drawer.draw(step)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(2), peak(6)
    a_ct = 2 * int(np.prod(SHAPE))
    assert few > a_ct  # it is measured
    assert many - few < a_ct / 4


def nothing(patient_id: str = "ann", **known: Any) -> PatientTruth:
    return PatientTruth(patient_id, Path("absent"), **known)


def test_datasets_without_outlines_are_refused(tmp_path: Path) -> None:
    points = PointMarks((), (), np.zeros((0, 3)), np.zeros(0, bool))
    with refused(InputError, "1 of 2 patients with nodules marked as points, first ann", "outlines", "LIDC-IDRI"):
        build_cases([nothing(marks=points), nothing("ben")], DEFAULT, tmp_path / "cases")
    with refused(InputError, "2 patients, of whom none has nodules outlined", "outlines of nodules", "mask"):
        build_cases([nothing(label=1), nothing("ben")], DEFAULT, tmp_path / "cases")
    assert list(tmp_path.iterdir()) == []


def test_the_patient_of_the_demo_is_never_learned_from(dataset: Path, tmp_path: Path) -> None:
    assert DEMO_PATIENT == PATIENT
    patient = read_truth(dataset)[0]
    root = tmp_path / "truth"
    root.mkdir()
    for name, source in ((PATIENT, "patient0"), ("ben", "patient1"), ("cid", "patient1")):
        (root / name).symlink_to(dataset / source)
    (root / "cid").unlink()
    (root / "cid").mkdir()
    (root / "cid" / "ct.nii.gz").symlink_to(dataset / "patient1" / "ct.nii.gz")
    (root / "labels.csv").write_text(f"patient_id,label\n{PATIENT},1\nben,0\n", "utf-8")
    made = build_cases(read_truth(root), DEFAULT, tmp_path / "cases")
    assert {p["patient_id"] for p in made.patients} == {"ben"}
    assert [w for w in made.warnings if PATIENT in w]
    assert [w for w in made.warnings if "1 of 3 patients have no outlines" in w]
    table = json.loads((tmp_path / "cases" / "cases.json").read_text("utf-8"))
    assert patient.patient_id not in json.dumps(table)


def rated(*ratings: int, readers: int | None = None) -> TrueNodule:
    each = tuple({"malignancy": rating} for rating in ratings)
    return TrueNodule((0, 0, 0), 5.0, None, readers, each)


@pytest.mark.parametrize(
    ("nodule", "label", "soft", "hard"),
    [
        (rated(), 1, (1, 1), (1, 1)),
        (rated(), 0, (1, 0), (1, 0)),
        (rated(), None, None, None),
        (rated(5, 5, 4, readers=3), 0, (1, (0.97 * 2 + 0.8) / 3), (1, 1)),
        (rated(1, readers=1), 1, (0.6, 0.03), (1, 0)),
        (rated(2, 4, readers=2), 1, (0.8, 0.5), None),  # a median of 3 says nothing
    ],
)
def test_kinds(nodule: TrueNodule, label: int | None, soft: Any, hard: Any) -> None:
    for labels, expected in (("soft", soft), ("hard", hard)):
        found = known_kind(nodule, label, labels)
        assert found is None if expected is None else found == pytest.approx(expected)


def test_marks_turn_with_the_ct() -> None:
    rng = np.random.default_rng(2)
    hu = rng.integers(-900, 100, (9, 8, 7)).astype(np.int16)
    affine = affine_of((2.0, 1.0, 1.0), (0, 0, 0))
    affine[:3, 0] *= -1  # feet last: slices descend
    ct = CTVolume(hu, affine)
    mask = np.zeros((2, 2, 3), bool)
    mask[0, 0] = mask[1, 1, 2] = True
    nodule = TrueNodule((0, 0, 0), None, Region((1, 2, 3), mask))
    unknown = TrueNodule(tuple(ct.to_lps((6, 4, 3)).tolist()), 2.0, None)
    excluded = Region((0, 0, 0), np.ones((1, 1, 2), np.bool_))
    marks = mark_upright(ct, CTTruth(nothing(label=1), (nodule, unknown), (), 0.5, excluded), "soft")
    assert [(known.label, known.malignancy) for known in marks.nodules] == [(1, 1.0)]
    inside = marks.labels == 1
    assert np.array_equal(np.sort(marks.ct.hu[inside]), np.sort(hu[1:3, 2:4, 3:6][mask]))
    assert marks.ct.affine[2, 0] > 0
    # A radius of 1 mm and 5 mm around it: 3 slices of 2 mm to either side.
    z = np.flatnonzero(marks.places[:, 4, 3])
    assert z.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.argwhere(marks.places[6:]).tolist() == [[2, 0, 0], [2, 0, 1]]
    assert marks.lesions[marks.places].all()
    assert mark_upright(ct, CTTruth(nothing(), (), (PointMark((99, 99, 99)),), 0.5), "soft").lesions.sum() == 0


def test_pixels_that_are_not_square_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Path) -> None:
    patient = read_truth(dataset)[0]
    ct = read_patient_ct(patient)
    wide = CTVolume(ct.hu, ct.affine @ np.diag([1, 1, 1.1, 1]))
    monkeypatch.setattr(build_module, "read_patient_ct", lambda _patient: wide)
    monkeypatch.setattr(build_module, "read_ct_truth", lambda one, _ct: CTTruth(one, (), (), 0.5))
    with refused(InputError, "patient0 has pixels of 2.800 x 3.080 mm", "square pixels", "Resample"):
        build_cases([patient], Recipe(), tmp_path / "cases")
