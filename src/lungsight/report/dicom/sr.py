"""A diagnosis as a structured report: TID 1500 "Measurement Report" (PS3.16) in a Comprehensive 3D SR."""

from __future__ import annotations

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

from lungsight.findings import Diagnosis, Nodule
from lungsight.report.dicom.codes import (
    DENSITIES,
    DETECTION_SCORE,
    MALIGNANCY_SCORE,
    NODULE_DENSITY,
    NODULE_PRESENCE,
    NODULE_VERDICT,
    SIDES,
    SOLID_DIAMETER,
    VERDICTS,
    private_scheme,
)
from lungsight.report.dicom.identity import MANUFACTURER, Device, Identity
from lungsight.report.dicom.seg import nodule_label
from lungsight.report.dicom.source import SourceSeries

__all__ = ["make_sr"]

_Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations

_PATIENT = "Patient"
_RESEARCH = "Research use only. Lungsight is not a medical device."


def make_sr(
    diagnosis: Diagnosis, source: SourceSeries, identity: Identity, predecessor: Dataset | None = None
) -> sr.Comprehensive3DSR:
    """The report of a diagnosis.

    Parameters
    ----------
    diagnosis
        Each nodule becomes a group of TID 1411 that refers to its segment. The patient's verdict is a group of
        TID 1501, which says *Nodule: Absent* if there is none.
    source
        The series it was made from.
    identity
        Of the results; the SEG that is referred to is the one with that identity.
    predecessor
        The header of the report that this one replaces; None if it is the first.

    Returns
    -------
    Comprehensive3DSR
        Complete, preliminary and not verified by anyone.
    """
    groups: list[_Group] = [_patient_group(diagnosis, identity)]
    for number, nodule in enumerate(diagnosis.nodules, start=1):
        groups.append(_nodule_group(number, nodule, diagnosis, source, identity))
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(identity.device)),
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=[*source.instances(), *([_seg_header(source, identity)] if diagnosis.nodules else [])],
        content=content,
        is_complete=True,
        previous_versions=None if predecessor is None else [predecessor],
        coding_schemes=[private_scheme()],
        series_description="Lungsight report (research use only)",
        contributing_equipment=[*source.scanner(), identity.device.contribution()],
        **identity.instance("SR"),
    )
    source.describe(report)
    return report


def _observer(device: Device) -> sr.ObserverContext:
    return sr.ObserverContext(
        observer_type=codes.cid270.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=device.uid,
            name="Lungsight",
            manufacturer_name=MANUFACTURER,
            model_name=device.model,
            serial_number=device.weights_sha256,
        ),
    )


def _patient_group(diagnosis: Diagnosis, identity: Identity) -> sr.MeasurementsAndQualitativeEvaluations:
    score = diagnosis.malignancy_score
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identity.tracking_uid(_PATIENT), _PATIENT),
        algorithm_id=_algorithm(identity.device),
        finding_sites=[sr.FindingSite(codes.SCT.Lung)],
        measurements=[] if score is None else [_malignancy(score, diagnosis)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.SCT.Nodule, NODULE_PRESENCE[diagnosis.verdict]),
            sr.QualitativeEvaluation(NODULE_VERDICT, VERDICTS[diagnosis.verdict]),
        ],
    )
    group[0].ContentSequence.extend(_comment(text) for text in (_RESEARCH, *diagnosis.warnings))
    return group


def _nodule_group(
    number: int, nodule: Nodule, diagnosis: Diagnosis, source: SourceSeries, identity: Identity
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    measured = nodule.measurements
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identity.tracking_uid(nodule_label(number)), nodule_label(number)),
        # Not ReferencedSegment.from_segmentation: it takes a lone segment's number for a list.
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=identity.instance_uid("SEG"),
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(source.series_uid),
        ),
        finding_type=codes.SCT.Nodule,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_sites=[sr.FindingSite(codes.SCT.Lung, laterality=SIDES[measured.side] if measured else None)],
        algorithm_id=_algorithm(identity.device),
        measurements=[
            *_sizes(nodule),
            _malignancy(nodule.malignancy_score, diagnosis),
            sr.Measurement(DETECTION_SCORE, _number(nodule.candidate.detection_score), codes.UCUM.NoUnits),
        ],
        qualitative_evaluations=(
            [sr.QualitativeEvaluation(NODULE_DENSITY, DENSITIES[measured.density])] if measured else None
        ),
    )


def _sizes(nodule: Nodule) -> list[sr.Measurement]:
    measured = nodule.measurements
    if measured is None:
        return []
    mm, mean = codes.UCUM.Millimeter, codes.SCT.Mean
    sizes = [
        sr.Measurement(codes.SCT.LongAxis, _number(measured.long_axis_mm), mm),
        sr.Measurement(codes.SCT.ShortAxis, _number(measured.short_axis_mm), mm),
        sr.Measurement(codes.SCT.Diameter, _number(measured.mean_diameter_mm), mm, derivation=mean),
        sr.Measurement(codes.SCT.Volume, _number(measured.volume_mm3), codes.UCUM.CubicMillimeter),
        sr.Measurement(
            codes.DCM.AttenuationCoefficient, _number(measured.mean_hu), codes.UCUM.HounsfieldUnit, derivation=mean
        ),
    ]
    if measured.solid_diameter_mm is not None:
        sizes.append(sr.Measurement(SOLID_DIAMETER, _number(measured.solid_diameter_mm), mm))
    return sizes


def _malignancy(score: float, diagnosis: Diagnosis) -> sr.Measurement:
    """A probability only if the scores were calibrated to be one."""
    if diagnosis.provenance.calibrated:
        return sr.Measurement(codes.DCM.ProbabilityOfCancer, _number(100 * score), codes.UCUM.Percent)
    return sr.Measurement(MALIGNANCY_SCORE, _number(score), codes.UCUM.NoUnits)


def _algorithm(device: Device) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=device.model,
        version=device.version,
        manufacturer=MANUFACTURER,
        parameters=[f"weights SHA-256 {device.weights_sha256}"],
    )


def _seg_header(source: SourceSeries, identity: Identity) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = SegmentationStorage, identity.instance_uid("SEG")
    header.StudyInstanceUID, header.SeriesInstanceUID = source.study_uid, identity.series_uid("SEG")
    return header


def _comment(text: str) -> sr.TextContentItem:
    # The source's character set need not have every letter of a file's name.
    return sr.TextContentItem(
        name=codes.DCM.Comment,
        value=text.encode("ascii", "replace").decode("ascii"),
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )


def _number(value: float) -> float:
    """Six digits: a decimal string has 16 characters, and no measurement more meaning."""
    return float(f"{value:.6g}")
