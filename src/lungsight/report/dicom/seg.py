"""The nodules as a DICOM Segmentation: binary, a segment each, on the planes of the source."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from lungsight.findings import Diagnosis, Nodule, Region
from lungsight.report.dicom.identity import MANUFACTURER, Identity
from lungsight.report.dicom.source import SourceSeries
from lungsight.report.overlay import ROI_RED, slice_mask

__all__ = ["make_seg", "nodule_label", "nodule_region"]


def make_seg(diagnosis: Diagnosis, source: SourceSeries, identity: Identity) -> Segmentation:
    """The SEG of a diagnosis.

    Parameters
    ----------
    diagnosis
        With one nodule or more; segment ``n`` is nodule ``n``. Nodules may overlap.
    source
        The series it was made from.
    identity
        Of the results.

    Returns
    -------
    Segmentation
        Has a frame for each plane and nodule that meet, and no other. Of a nodule that was not outlined it holds the
        detected region.

    Raises
    ------
    ValueError
        If there is no nodule: a SEG cannot be empty (PS3.3, C.8.20.2).
    """
    if not diagnosis.nodules:
        raise ValueError("a diagnosis without nodules has no segments")
    regions = [nodule_region(nodule) for nodule in diagnosis.nodules]
    planes = sorted({index for region in regions for index in _planes(region)})
    images = source.images(planes)
    seg = Segmentation(
        source_images=images,
        pixel_array=_segments(regions, planes, (source.slices[0].rows, source.slices[0].columns)),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(diagnosis.nodules, identity),
        content_label="NODULES",
        content_description="Lung nodules found by Lungsight",
        series_description="Lungsight nodules (research use only)",
        contributing_equipment=[*source.scanner(), identity.device.contribution()],
        **identity.instance("SEG"),
    )
    source.describe(seg)
    # highdicom draws a new one each time.
    for item in [*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence]:
        item.DimensionOrganizationUID = identity.dimensions_uid()
    if source.is_multiframe:
        _name_frames(seg, [source.slices[index].frame_number for index in planes])
    return seg


def nodule_region(nodule: Nodule) -> Region:
    """The nodule's own voxels; of one that was not outlined, those of the detected region."""
    return nodule.candidate.region if nodule.mask is None else nodule.mask


def nodule_label(number: int) -> str:
    """What a nodule is called in SEG, SR and pictures; numbers count from 1."""
    return f"Nodule {number}"


def _planes(region: Region) -> list[int]:
    indices: list[int] = (region.start_zyx[0] + np.flatnonzero(region.mask.any(axis=(1, 2)))).tolist()
    return indices


def _segments(regions: Sequence[Region], planes: Sequence[int], shape: tuple[int, int]) -> NDArray[np.generic]:
    """Shape ``(planes, rows, columns)`` with the segment's number, or with one more axis where segments overlap."""
    labels = np.zeros((len(planes), *shape), np.uint16)
    for number, region in enumerate(regions, start=1):
        for position, plane in enumerate(planes):
            mask = slice_mask([region], plane, shape)
            if labels[position][mask].any():
                return _stacked(regions, planes, shape)
            labels[position][mask] = number
    return labels


def _stacked(regions: Sequence[Region], planes: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.stack([np.stack([slice_mask([region], plane, shape) for region in regions], axis=-1) for plane in planes])


def _descriptions(nodules: Sequence[Nodule], identity: Identity) -> list[SegmentDescription]:
    algorithm = AlgorithmIdentificationSequence(
        name=identity.device.model,
        family=codes.DCM.ArtificialIntelligence,
        version=identity.device.version,
        source=MANUFACTURER,
    )
    descriptions = []
    for number, nodule in enumerate(nodules, start=1):
        description = SegmentDescription(
            segment_number=number,
            segment_label=nodule_label(number),
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=identity.tracking_uid(nodule_label(number)),
            tracking_id=nodule_label(number),
            anatomic_regions=[codes.SCT.Lung],
            display_color=hd.color.CIELabColor.from_rgb(*ROI_RED),
        )
        if nodule.mask is None:
            description.SegmentDescription = "The detected region; the nodule itself was not outlined"
        descriptions.append(description)
    return descriptions


def _name_frames(seg: Segmentation, frame_numbers: Sequence[int | None]) -> None:
    """Put back the numbers of the frames that `SourceSeries.images` counted from 1."""
    frames = seg.PerFrameFunctionalGroupsSequence
    images = [image for frame in frames for image in frame.DerivationImageSequence[0].SourceImageSequence]
    for image in {id(image): image for image in images}.values():  # segments of one plane share it
        image.ReferencedFrameNumber = frame_numbers[int(image.ReferencedFrameNumber) - 1]
