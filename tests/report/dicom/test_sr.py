from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_results import MEASURED, diagnosis_of, dumped, faults, scanned, with_provenance
from lungsight import write_seg, write_sr
from lungsight.findings import Verdict
from samples import without_nodule


def value_of(item: Dataset) -> Any:
    """What a content item says, as plain values."""
    if item.ValueType == "CODE":
        return coded(item.ConceptCodeSequence[0])
    if item.ValueType == "NUM":
        number = item.MeasuredValueSequence[0]
        return float(number.NumericValue), number.MeasurementUnitsCodeSequence[0].CodeValue
    if item.ValueType == "IMAGE":
        reference = item.ReferencedSOPSequence[0]
        return reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber
    return item.get("TextValue", item.get("UID"))


def coded(code: Dataset) -> tuple[str, str]:
    return code.CodingSchemeDesignator, code.CodeValue


def told(group: Dataset) -> dict[tuple[str, str], Any]:
    """What a group says by concept, each said once (but comments)."""
    return {coded(item.ConceptNameCodeSequence[0]): value_of(item) for item in group.ContentSequence}


def groups_of(report: Dataset) -> list[Dataset]:
    (measured,) = [
        item for item in report.ContentSequence if coded(item.ConceptNameCodeSequence[0]) == ("DCM", "126010")
    ]
    return list(measured.ContentSequence)


def template(group: Dataset) -> str:
    return str(group.ContentTemplateSequence[0].TemplateIdentifier)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_report_has_a_group_for_the_patient_and_for_each_nodule(tmp_path: Path, count: int) -> None:
    source, ct = scanned(tmp_path / "ct")
    path = write_sr(diagnosis_of(ct, count), ct, source, tmp_path / "sr.dcm")
    assert faults(path) == []
    report = pydicom.dcmread(path)
    assert (report.SOPClassUID, report.Modality, template(report)) == (Comprehensive3DSRStorage, "SR", "1500")
    assert [template(group) for group in groups_of(report)] == ["1501", *["1411"] * count]
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )


def test_a_ct_without_nodules_has_a_report_that_says_so(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    path = write_sr(diagnosis_of(ct, 0), ct, source, tmp_path / "sr.dcm")
    (group,) = groups_of(pydicom.dcmread(path))
    says = told(group)
    assert says["SCT", "27925004"] == ("SCT", "272519000")  # Nodule: Absent
    assert says["99LUNGSIGHT", "VERDICT"] == ("99LUNGSIGHT", "NO_NODULE")
    assert ("99LUNGSIGHT", "MALIGNANCY_SCORE") not in says
    text = dumped(path)
    assert re.search(r'CODE:\(27925004,SCT,"Nodule"\)=\(272519000,SCT,"Absent"\)', text)


def test_lungs_that_were_not_seen_are_not_said_to_be_free(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    path = write_sr(without_nodule(ct, Verdict.INDETERMINATE), ct, source, tmp_path / "sr.dcm")
    (group,) = groups_of(pydicom.dcmread(path))
    assert told(group)["SCT", "27925004"] == ("SCT", "373068000")  # Undetermined
    assert told(group)["99LUNGSIGHT", "VERDICT"] == ("99LUNGSIGHT", "INDETERMINATE")


def test_the_verdict_the_score_and_the_warnings_are_told_of_the_patient(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct, warnings=("Slice ä.dcm was left out.",))
    group = groups_of(pydicom.dcmread(write_sr(diagnosis, ct, source, tmp_path / "sr.dcm")))[0]
    says = told(group)
    assert says["SCT", "27925004"] == ("SCT", "52101004")  # Nodule: Present
    assert says["99LUNGSIGHT", "VERDICT"] == ("99LUNGSIGHT", "MALIGNANT")
    assert says["99LUNGSIGHT", "MALIGNANCY_SCORE"] == (0.8125, "1")
    comments = [item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"]
    assert comments[-1] == "Slice ?.dcm was left out."  # the phantom's character set has no umlaut
    assert "not a medical device" in comments[-2]


def test_a_measured_nodule_is_told_whole(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    path = write_sr(diagnosis, ct, source, tmp_path / "sr.dcm")
    seg = hd.seg.segread(write_seg(diagnosis, ct, source, tmp_path / "seg.dcm"))
    group = groups_of(pydicom.dcmread(path))[2]
    says = told(group)
    assert says["DCM", "121071"] == ("SCT", "27925004")  # Finding: Nodule
    assert says["SCT", "363698007"] == ("SCT", "39607008")  # Finding Site: Lung
    (site,) = [item for item in group.ContentSequence if coded(item.ConceptNameCodeSequence[0])[1] == "363698007"]
    assert told(site) == {("SCT", "272741003"): ("SCT", "24028007")}  # Laterality: Right
    assert says["SCT", "103339001"] == (MEASURED.long_axis_mm, "mm")
    assert says["SCT", "103340004"] == (MEASURED.short_axis_mm, "mm")
    assert says["SCT", "81827009"] == (9.7, "mm")
    assert says["SCT", "118565006"] == (533.123, "mm3")
    assert says["DCM", "112031"] == (MEASURED.mean_hu, "[hnsf'U]")
    assert says["99LUNGSIGHT", "SOLID_DIAMETER"] == (3.5, "mm")
    assert says["99LUNGSIGHT", "NODULE_DENSITY"] == ("99LUNGSIGHT", "PART_SOLID")
    assert says["99LUNGSIGHT", "MALIGNANCY_SCORE"] == (0.875, "1")
    assert says["99LUNGSIGHT", "DETECTION_SCORE"] == (0.75, "1")
    # The same nodule in both objects.
    assert says["DCM", "121191"] == (seg.SOPInstanceUID, 2)
    assert says["DCM", "112040"] == seg.get_segment_description(2).tracking_uid
    assert says["DCM", "112039"] == seg.get_segment_description(2).tracking_id
    assert says["DCM", "121232"] == ct.series_uid


def test_a_nodule_that_was_not_measured_has_no_diameter_and_no_side(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    group = groups_of(pydicom.dcmread(write_sr(diagnosis_of(ct, 1), ct, source, tmp_path / "sr.dcm")))[1]
    numbers = [name for name, value in told(group).items() if isinstance(value, tuple) and isinstance(value[0], float)]
    assert numbers == [("99LUNGSIGHT", "MALIGNANCY_SCORE"), ("99LUNGSIGHT", "DETECTION_SCORE")]
    (site,) = [item for item in group.ContentSequence if coded(item.ConceptNameCodeSequence[0])[1] == "363698007"]
    assert "ContentSequence" not in site


def test_only_a_calibrated_score_is_a_probability_of_cancer(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    calibrated = with_provenance(diagnosis_of(ct), calibrated=True)
    path = write_sr(calibrated, ct, source, tmp_path / "sr.dcm")
    patient, _, nodule = groups_of(pydicom.dcmread(path))
    assert told(patient)["DCM", "111047"] == (81.25, "%")
    assert told(nodule)["DCM", "111047"] == (87.5, "%")
    assert ("99LUNGSIGHT", "MALIGNANCY_SCORE") not in {*told(patient), *told(nodule)}
    assert faults(path) == []


def test_the_observer_is_a_device_that_changes_with_the_weights(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    other = with_provenance(diagnosis, weights_sha256="f" * 64)
    devices = []
    for number, one in enumerate((diagnosis, other)):
        report = pydicom.dcmread(write_sr(one, ct, source, tmp_path / f"{number}.dcm"))
        says = {coded(item.ConceptNameCodeSequence[0]): value_of(item) for item in report.ContentSequence[:-1]}
        assert says["DCM", "121005"] == ("DCM", "121007")  # Observer Type: Device
        assert says["DCM", "121016"] == one.provenance.weights_sha256
        (ours,) = [item for item in report.ContributingEquipmentSequence if "DeviceUID" in item]
        assert ours.DeviceUID == says["DCM", "121012"]
        assert ours.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
        scanner = report.ContributingEquipmentSequence[0]
        assert (scanner.Manufacturer, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("Phantom", "109101")
        devices.append(ours.DeviceUID)
    assert len(set(devices)) == 2


def test_all_images_are_named_as_evidence(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    report = hd.sr.srread(write_sr(diagnosis, ct, source, tmp_path / "sr.dcm"))
    seg = pydicom.dcmread(write_seg(diagnosis, ct, source, tmp_path / "seg.dcm"))
    evidence = {sop_instance_uid for _, _, sop_instance_uid, _ in report.get_evidence(current_procedure_only=True)}
    assert evidence == {seg.SOPInstanceUID, *(instance.sop_instance_uid for instance in ct.instances)}
    content = report.content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_volumetric_roi_measurement_groups(tracking_uid=seg.SegmentSequence[1].TrackingUID)
    assert group.referenced_segment is not None
    assert group.referenced_segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber == 2


def test_dcmtk_reads_what_was_written(tmp_path: Path) -> None:
    source, ct = scanned(tmp_path / "ct")
    text = dumped(write_sr(diagnosis_of(ct), ct, source, tmp_path / "sr.dcm"))
    assert text.count('CODE:(121071,DCM,"Finding")=(27925004,SCT,"Nodule")') == 2
    assert 'NUM:(103339001,SCT,"Long axis")="12.3" (mm,UCUM,"mm")' in text
    assert 'CODE:(272741003,SCT,"Laterality")=(24028007,SCT,"Right")' in text
    assert "IMAGE:(121191,DCM," in text
    assert "99LUNGSIGHT" in text


def concepts(item: Dataset) -> set[tuple[str, str]]:
    """The names of all content items under one."""
    return {
        name
        for child in item.get("ContentSequence", [])
        for name in {coded(child.ConceptNameCodeSequence[0]), *concepts(child)}
    }


def test_the_codes_are_those_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "dicom.md").read_text("utf-8")
    described = re.findall(r"(?m)^\| (DCM|SCT|99LUNGSIGHT) (\w+) \| ([^|]+) \|", page)
    source, ct = scanned(tmp_path / "ct")
    diagnosis = diagnosis_of(ct)
    calibrated = with_provenance(diagnosis, calibrated=True)
    groups = [
        group
        for number, one in enumerate((diagnosis, calibrated))
        for group in groups_of(pydicom.dcmread(write_sr(one, ct, source, tmp_path / f"{number}.dcm")))
    ]
    assert set().union(*map(concepts, groups)) == {(scheme, code) for scheme, code, _ in described}
    meanings = {}
    for element in (e for group in groups for e in group.iterall() if e.keyword == "ConceptNameCodeSequence"):
        meanings[coded(element.value[0])] = element.value[0].CodeMeaning
    assert {(scheme, code): meaning for scheme, code, meaning in described}.items() <= meanings.items()
