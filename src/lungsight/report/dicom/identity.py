"""Who made a result and what it is called: UIDs that are worked out, so that writing again changes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from highdicom import ContributingEquipment
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from lungsight.findings import Diagnosis
from lungsight.report.dicom.source import SourceSeries

__all__ = ["MANUFACTURER", "Device", "Identity", "identify"]

MANUFACTURER = "Lungsight developers"

SERIES_NUMBERS = {"SEG": 9101, "SR": 9102, "PICTURE": 9103}
"""Beyond those of scanners and workstations, so that the results come last in a list."""


@dataclass(frozen=True, slots=True)
class Device:
    """The system that made a diagnosis, as a device.

    Attributes
    ----------
    system
        ``"windows"`` or ``"segments"``.
    version
        Lungsight's.
    weights_sha256
        Of the network; it is the device's serial number (64 characters, as many as a Long String may have).
    """

    system: str
    version: str
    weights_sha256: str

    @property
    def uid(self) -> UID:
        """Device UID: other weights are another device."""
        return _uid("device", self.system, self.weights_sha256)

    @property
    def model(self) -> str:
        """Manufacturer's Model Name."""
        return f"Lungsight {self.system}"

    def contribution(self) -> ContributingEquipment:
        """The device's item for the Contributing Equipment Sequence."""
        item = ContributingEquipment(
            MANUFACTURER,
            codes.DCM.ProcessingEquipment,
            manufacturer_model_name=self.model,
            software_versions=self.version,
            device_serial_number=self.weights_sha256,
            contribution_description="Found and judged the nodules. Research use only.",
        )
        item.DeviceUID = self.uid
        return item


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of one set of results.

    Attributes
    ----------
    device
        What made it.
    seed
        Study, series, weights, configuration and version: all that the UIDs derive from.
    """

    device: Device
    seed: tuple[str, ...]

    def series_uid(self, kind: str) -> UID:
        """Series Instance UID of the ``"SEG"``, ``"SR"`` or ``"PICTURE"`` series."""
        return _uid("series", kind, *self.seed)

    def instance_uid(self, kind: str, number: int = 1) -> UID:
        """SOP Instance UID of the instance with that Instance Number."""
        return _uid("instance", kind, str(number), *self.seed)

    def dimensions_uid(self) -> UID:
        """Dimension Organization UID of the SEG."""
        return _uid("dimensions", *self.seed)

    def tracking_uid(self, what: str) -> UID:
        """Tracking UID of a nodule, or of the patient's verdict."""
        return _uid("tracking", what, *self.seed)

    def instance(self, kind: str, number: int = 1) -> dict[str, Any]:
        """What names an instance and what made it, as highdicom's constructors call it."""
        return {
            "series_instance_uid": self.series_uid(kind),
            "series_number": SERIES_NUMBERS[kind],
            "sop_instance_uid": self.instance_uid(kind, number),
            "instance_number": number,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.device.model,
            "software_versions": self.device.version,
            "device_serial_number": self.device.weights_sha256,
        }


def identify(diagnosis: Diagnosis, source: SourceSeries, version: int = 1) -> Identity:
    """The names of the results of a diagnosis.

    Parameters
    ----------
    diagnosis
        Of `source`.
    source
        The series.
    version
        1, or more if slices arrived after an earlier version was written.

    Returns
    -------
    Identity
        The same for the same study, series, weights, configuration and version, on any machine.

    Raises
    ------
    ValueError
        If `version` is under 1.
    """
    if version < 1:
        raise ValueError(f"version is {version}, expected 1 or more")
    provenance = diagnosis.provenance
    config = json.dumps(_plain(provenance.config), sort_keys=True, allow_nan=False)
    device = Device(diagnosis.system, provenance.version, provenance.weights_sha256)
    return Identity(device, (source.study_uid, source.series_uid, provenance.weights_sha256, config, str(version)))


def _uid(*words: str) -> UID:
    """A UID derived from a name-based UUID (PS3.5, B.2; RFC 9562, version 5)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(['lungsight', *words])).int}")


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
