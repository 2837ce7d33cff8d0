"""The three together: whose they are, that they are whole, and that writing again changes nothing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from dicom_results import diagnosis_of, elements, faults, scanned, with_provenance
from lungsight import read_ct
from lungsight.errors import OutputError
from lungsight.findings import Region
from lungsight.report.dicom import check_source, write_dicom, write_sr
from phantom import PATIENT_NAME, lopsided_body, setting, write_enhanced
from refusals import refused
from samples import sample_ct

NAMES = {0: ["sr.dcm", "page_01.dcm"], 1: ["seg.dcm", "sr.dcm", "page_01.dcm"], 2: ["seg.dcm", "sr.dcm", "page_01.dcm"]}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_all_are_sound_and_of_the_patient_and_study(tmp_path: Path, count: int) -> None:
    source, ct = scanned(tmp_path / "ct")
    image = pydicom.dcmread(next(source.iterdir()))
    paths = write_dicom(diagnosis_of(ct, count), ct, source, tmp_path / "out")
    assert [path.name for path in paths] == NAMES[count]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES[count])
    series = set()
    for path in paths:
        assert faults(path) == []
        result = pydicom.dcmread(path)
        assert result.PatientName == PATIENT_NAME
        for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
                        "StudyID", "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
            assert result[keyword].value == image[keyword].value, keyword
        assert any("DeviceUID" in item for item in result.ContributingEquipmentSequence)
        series.add(result.SeriesInstanceUID)
    assert len(series) == len(paths)
    assert image.SeriesInstanceUID not in series


def test_without_nodules_the_report_says_that_there_is_no_seg(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    report, _ = write_dicom(diagnosis_of(ct, 0), ct, source, tmp_path / "out")
    assert any("there is no DICOM SEG" in str(value) for _, value in elements(pydicom.dcmread(report)))


def test_writing_again_changes_nothing_but_dates(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    once = [list(elements(pydicom.dcmread(path))) for path in write_dicom(diagnosis, ct, source, tmp_path / "out")]
    again = [list(elements(pydicom.dcmread(path))) for path in write_dicom(diagnosis, ct, source, tmp_path / "out")]
    assert once == again


def test_other_weights_settings_and_versions_are_other_objects(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct, 0)
    uids = []
    for number, (one, version) in enumerate([
        (diagnosis, 1),
        (diagnosis, 2),
        (with_provenance(diagnosis, weights_sha256="f" * 64), 1),
        (with_provenance(diagnosis, config={"windows": {"vote_threshold": 0.25}}), 1),
    ]):  # fmt: skip
        paths = write_dicom(one, ct, source, tmp_path / str(number), version=version)
        results = [pydicom.dcmread(path) for path in paths]
        uids += [uid for result in results for uid in (result.SOPInstanceUID, result.SeriesInstanceUID)]
    assert len(uids) == len(set(uids)) == 16
    with pytest.raises(ValueError, match="version is 0"):
        write_dicom(diagnosis, ct, source, tmp_path / "out", version=0)


def test_a_later_version_names_the_one_it_replaces(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    _, first, page = write_dicom(diagnosis, ct, source, tmp_path / "1")
    _, second, _ = write_dicom(diagnosis, ct, source, tmp_path / "2", version=2, predecessor=first)
    assert faults(second) == []
    (study,) = pydicom.dcmread(second).PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == pydicom.dcmread(first).SOPInstanceUID
    for wrong in (page, tmp_path / "absent.dcm"):
        with refused(OutputError, wrong.name, r"sr\.dcm", "file"):
            write_dicom(diagnosis, ct, source, tmp_path / "3", version=2, predecessor=wrong)
    assert not (tmp_path / "3").exists()


NAMED = [
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부 검사"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部検査"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东", "胸部 Thörax"),
    ("ISO_IR 100", "Müller^Zoë", "Thörax"),
]


@pytest.mark.parametrize(("character_set", "name", "description"), NAMED, ids=["Korean", "Japanese", "UTF-8", "Latin"])
def test_names_and_texts_survive_byte_for_byte(
    tmp_path: Path, character_set: str | list[str], name: str, description: str
) -> None:
    def edit(dataset: pydicom.Dataset, _: int) -> None:
        dataset.SpecificCharacterSet = character_set
        dataset.PatientName, dataset.StudyDescription, dataset.InstitutionName = name, description, description
        dataset.PatientComments = description
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", description
        dataset.ProcedureCodeSequence = [code]

    source, ct = scanned(tmp_path / "ct", edit=edit)
    original = pydicom.dcmread(next(source.iterdir()))
    for path in write_dicom(diagnosis_of(ct), ct, source, tmp_path / "out"):
        assert faults(path) == []
        result = pydicom.dcmread(path)
        for keyword in ("PatientName", "StudyDescription", "PatientComments"):
            tag = tag_for_keyword(keyword)
            assert tag is not None
            assert result.get_item(tag).value == original.get_item(tag).value, keyword
        assert (result.PatientName, result.StudyDescription) == (name, description)
        assert result.ProcedureCodeSequence[0].CodeMeaning == description
        assert result.ContributingEquipmentSequence[0].InstitutionName == description


def test_a_study_that_says_little_is_not_made_up(tmp_path: Path) -> None:
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
             "AccessionNumber", "ReferringPhysicianName", "Manufacturer")  # fmt: skip
    source, ct = scanned(tmp_path / "ct", edit=setting(**dict.fromkeys(names)))
    for path in write_dicom(diagnosis_of(ct), ct, source, tmp_path / "out"):
        assert faults(path) == []
        assert {pydicom.dcmread(path)[name].value or "" for name in names[:-1]} == {""}


def test_odd_values_are_copied_and_broken_ones_left_out(tmp_path: Path) -> None:
    source, _ = scanned(tmp_path / "ct", edit=setting(PatientName="Anonymous", PregnancyStatus=1))
    whole, broken = b"\x10\x00\xc0\x21US\x02\x00\x01\x00", b"\x10\x00\xc0\x21US\x03\x00\x01\x00\x00"
    for path in source.iterdir():
        content = path.read_bytes()
        assert whole in content
        path.write_bytes(content.replace(b"18151210", b"00.00.00").replace(whole, broken))
    ct = read_ct(source)
    for path in write_dicom(diagnosis_of(ct), ct, source, tmp_path / "out"):
        result = pydicom.dcmread(path)
        birth_date = result.get_item("PatientBirthDate")
        assert birth_date is not None
        assert (result.PatientName, birth_date.value) == ("Anonymous", b"00.00.00")
        assert "PregnancyStatus" not in result


def test_what_cannot_be_referred_to_is_refused(tmp_path: Path) -> None:
    source, _ = scanned(tmp_path / "ct")
    with refused(OutputError, "did not come from DICOM", "DICOM series", "leave out --dicom"):
        check_source(sample_ct(from_dicom=False))
    other, other_ct = scanned(tmp_path / "other", edit=setting(SeriesInstanceUID="1.2.3"))
    with refused(OutputError, "no series 1.2.3", "was diagnosed", "read from"):
        write_sr(diagnosis_of(other_ct), other_ct, source, tmp_path / "sr.dcm")
    for path in sorted(other.iterdir())[:1]:
        path.unlink()
    with pytest.raises(OutputError, match="holds 4 slices"):
        write_sr(diagnosis_of(other_ct), other_ct, other, tmp_path / "sr.dcm")
    bare, bare_ct = scanned(tmp_path / "bare", edit=setting(FrameOfReferenceUID=None))
    with refused(OutputError, "no Frame of Reference", "places the nodules", "Export"):
        write_sr(diagnosis_of(bare_ct), bare_ct, bare, tmp_path / "sr.dcm")
    assert not (tmp_path / "sr.dcm").exists()


def test_several_multi_frame_instances_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    write_enhanced(tmp_path / "ct" / "all.dcm", lopsided_body())
    ct = read_ct(tmp_path / "ct")
    first = dataclasses.replace(ct.instances[0], sop_instance_uid="1.2.3")
    with refused(OutputError, "2 multi-frame instances", "one multi-frame instance", "Export"):
        check_source(dataclasses.replace(ct, instances=(first, *ct.instances[1:])))


def test_a_diagnosis_of_another_ct_is_refused(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    with pytest.raises(ValueError, match=r"series 1\.2\.3"):
        write_dicom(with_provenance(diagnosis, series_uid="1.2.3"), ct, source, tmp_path / "out")
    outside = dataclasses.replace(diagnosis.nodules[1], mask=Region((4, 0, 0), np.ones((2, 1, 1), bool)))
    with pytest.raises(ValueError, match=r"not inside \(5, 7, 11\)"):
        write_dicom(dataclasses.replace(diagnosis, nodules=(outside,)), ct, source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    before = sorted(path.name for path in source.iterdir())
    with refused(OutputError, "not of a report", "earlier report", "nothing was overwritten"):
        write_dicom(diagnosis_of(ct), ct, source, source)
    assert sorted(path.name for path in source.iterdir()) == before


def test_a_zip_will_do(tmp_path: Path) -> None:
    source, _ = scanned(tmp_path / "ct")
    packed = Path(shutil.make_archive(str(tmp_path / "ct"), "zip", source))
    ct = read_ct(packed)
    assert len(write_dicom(diagnosis_of(ct), ct, packed, tmp_path / "out")) == 3
