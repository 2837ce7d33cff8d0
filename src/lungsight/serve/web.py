"""DICOMweb instead of DIMSE: CTs are looked for by QIDO-RS, fetched by WADO-RS, results stored by STOW-RS."""

from __future__ import annotations

import contextlib
import datetime
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from lungsight.errors import OutputError
from lungsight.serve.intake import Intake
from lungsight.serve.queue import Queue
from lungsight.serve.receive import CT_CLASSES
from lungsight.serve.settings import Web
from lungsight.serve.store import is_uid

__all__ = ["WebFetcher", "WebSender"]

_ANSWER_S = (10.0, 120.0)  # to connect, to answer
_PAGE = 1000
_Found = dict[str, dict[str, Any]]  # a match in DICOM JSON
_ALREADY_THERE = 0x0111  # Failure Reason of STOW-RS: duplicate SOP instance
_log = logging.getLogger(__name__)


class WebFetcher:
    """Takes over every CT instance of the service that has not come yet.

    Parameters
    ----------
    web
        The service.
    intake
        Takes what comes.
    queue
        Knows what has come.
    """

    def __init__(self, web: Web, intake: Intake, queue: Queue) -> None:
        self._web = web
        self._client = _client(web)
        self._intake = intake
        self._queue = queue
        self._sizes: dict[str, int] = {}  # study -> instances when it was last looked through

    def fetch(self) -> int:
        """Look once; return how many instances came.

        Raises
        ------
        OutputError
            If the service or the disk refuses. What came until then stays.
        """
        with _told(self._web):
            sizes = {}
            came = 0
            for study in self._studies():
                uid, size = _value(study, "StudyInstanceUID"), int(_value(study, "NumberOfStudyRelatedInstances") or 0)
                if is_uid(uid) and (size == 0 or self._sizes.get(uid) != size):
                    came += self._fetch_study(uid)
                sizes[uid] = size
            self._sizes = sizes
            return came

    def _studies(self) -> list[_Found]:
        filters = {"ModalitiesInStudy": "CT"}
        if self._web.days:
            first = datetime.date.today() - datetime.timedelta(days=self._web.days)
            filters["StudyDate"] = f"{first:%Y%m%d}-"
        fields = ["NumberOfStudyRelatedInstances"]
        search = partial(self._client.search_for_studies, search_filters=filters, fields=fields)
        return _every(search, "StudyInstanceUID")

    def _fetch_study(self, study_uid: str) -> int:
        known = {stored.sop_uid for stored in self._queue.every_slice(study_uid)}
        came = 0
        search = partial(self._client.search_for_instances, study_uid, search_filters={"Modality": "CT"})
        for one in _every(search, "SOPInstanceUID"):
            sop_uid, sop_class = _value(one, "SOPInstanceUID"), _value(one, "SOPClassUID")
            if sop_uid in known or sop_class not in CT_CLASSES:
                continue
            self._intake.check_room()
            dataset = self._client.retrieve_instance(study_uid, _value(one, "SeriesInstanceUID"), sop_uid)
            self._intake.take(study_uid, sop_uid, b"", _encoded(dataset))
            came += 1
        return came


class WebSender:
    """Stores by STOW-RS.

    Parameters
    ----------
    web
        The service.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self._client = _client(web)

    def send(self, files: Sequence[Path]) -> str:
        """As :meth:`lungsight.serve.send.Sender.send`."""
        with _told(self._web):
            answer = self._client.store_instances([pydicom.dcmread(path) for path in files])
        failed = [one for one in answer.get("FailedSOPSequence") or () if one.get("FailureReason") != _ALREADY_THERE]
        if failed:
            reasons = ", ".join(sorted({f"0x{int(one.get('FailureReason') or 0):04X}" for one in failed}))
            raise _refused(self._web, f"refused {len(failed)} of {len(files)} files with {reasons}")
        return ""


def _every(search: Callable[..., list[_Found]], keyword: str) -> list[_Found]:
    """Everything a search finds, page by page, until a page holds nothing new.

    dicomweb-client's ``get_remaining`` asks until a page is empty; Orthanc 1.10 answers an offset beyond the end with
    what it has answered before, and would be asked for ever.
    """
    found: dict[str, _Found] = {}
    while True:
        page = {_value(one, keyword): one for one in search(limit=_PAGE, offset=len(found))}
        if page.keys() <= found.keys():
            return list(found.values())
        found |= page


@contextlib.contextmanager
def _told(web: Web) -> Iterator[None]:
    """What requests raises, as our error; a password in an address is not repeated."""
    try:
        yield
    except requests.HTTPError as error:
        raise _refused(web, f"answered {error}") from error
    except requests.RequestException as error:
        raise _refused(web, f"does not answer ({type(error).__name__})") from error


def _refused(web: Web, what: str) -> OutputError:
    return OutputError(f"{web.url} {what}", "a DICOMweb service", "It is tried again; see to the service.")


def _client(web: Web) -> DICOMwebClient:
    session = requests.Session()
    if web.user is not None:
        session.auth = (web.user, web.password or "")
    if web.ca is not None:
        session.verify = str(web.ca)
    client = DICOMwebClient(web.url, session=session, timeout=_ANSWER_S)
    client.set_http_retry_params(retry=False)  # the node has growing pauses of its own
    return client


def _value(found: _Found, keyword: str) -> str:
    """The first value of an attribute in DICOM JSON; empty if there is none."""
    element = Dataset.from_json(found).get(keyword)
    return "" if element is None else str(element)


def _encoded(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()
