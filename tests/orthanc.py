"""Debian's Orthanc as a PACS on the loopback interface, with a configuration and a database of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lungsight.serve.settings import Peer

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian has Orthanc, and most users' PATH has not
_START_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Path of a program; skips the test where it is absent."""
    found = shutil.which(name, path=_SBIN)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: orthanc, orthanc-dicomweb, dcmtk)")
    return found


def told_by(name: str, *arguments: str | Path) -> str:
    """What a program says, on both channels; it must end well."""
    command = [program(name), *map(str, arguments)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    return ran.stdout


class Orthanc:
    """Runs from `start` to `stop`; may be started again with what it held."""

    def __init__(self, folder: Path) -> None:
        self.binary = program("Orthanc")
        if not _PLUGIN.is_file():
            pytest.skip("Orthanc's DICOMweb plugin is not installed (Debian: orthanc-dicomweb)")
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomThreadsCount": 4,
            "StableAge": 2,
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration), "utf-8")

    @property
    def peer(self) -> Peer:
        return Peer("ORTHANC", "localhost", self.dicom_port)

    @property
    def dicomweb(self) -> str:
        return f"http://localhost:{self.http_port}/dicom-web"

    def start(self) -> Orthanc:
        with (self.folder / "orthanc.log").open("ab") as log:
            command = [self.binary, str(self.folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 (our own words)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                self.ask("/system")
            except OSError:
                assert self._process.poll() is None, (self.folder / "orthanc.log").read_text("utf-8")
                time.sleep(0.1)
            else:
                return self
        raise AssertionError("Orthanc does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def ask(self, path: str, query: dict[str, Any] | None = None) -> Any:
        data = None if query is None else json.dumps(query).encode()
        request = urllib.request.Request(f"http://localhost:{self.http_port}{path}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def series(self, study_uid: str) -> list[dict[str, Any]]:
        """The study's series: tags and ids of their instances."""
        query = {"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
        found: list[dict[str, Any]] = self.ask("/tools/find", query)
        return found

    def modalities(self, study_uid: str) -> Counter[str]:
        """How many series of each modality the study has."""
        return Counter(one["MainDicomTags"]["Modality"] for one in self.series(study_uid))

    def download(self, instance_id: str, path: Path) -> Path:
        with urllib.request.urlopen(f"http://localhost:{self.http_port}/instances/{instance_id}/file") as answer:
            path.write_bytes(answer.read())
        return path
