"""The DICOM service: C-ECHO, and C-STORE for CT."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from typing import Any

from pydicom import uid
from pynetdicom import AE, evt
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.presentation import build_context
from pynetdicom.transport import ThreadedAssociationServer

from lungsight.errors import CorruptFileError, InputError, OutputError
from lungsight.serve.intake import Intake
from lungsight.serve.settings import NodeSettings, Tls
from lungsight.serve.store import is_uid

__all__ = ["CT_CLASSES", "Receiver", "tls_context"]

CT_CLASSES = (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
_VERIFICATION = "1.2.840.10008.1.1"
_SYNTAXES: list[str | uid.UID] = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
]

# Status codes of C-STORE: PS3.4, table B.2-1.
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_MISMATCH = 0xA900
_CANNOT_UNDERSTAND = 0xC000

_log = logging.getLogger(__name__)


class Receiver:
    """Listens until it is closed.

    Parameters
    ----------
    settings
        Of the node.
    intake
        Takes what comes.

    Raises
    ------
    OutputError
        If the port cannot be listened on.
    InputError
        If a file for TLS cannot be used.
    """

    def __init__(self, settings: NodeSettings, intake: Intake) -> None:
        self._intake = intake
        self._max_bytes = settings.max_instance_mb * 1_000_000
        self._unfinished: Counter[int] = Counter()  # bytes of the message that an association is sending
        entity = AE(ae_title=settings.aet)
        entity.supported_contexts = [
            build_context(_VERIFICATION, _SYNTAXES[:2]),
            *(build_context(ct_class, _SYNTAXES) for ct_class in CT_CLASSES),
        ]
        entity.maximum_associations = settings.max_associations
        entity.require_calling_aet = list(settings.allowed_aets)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._measure),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_CONN_CLOSE, self._whole),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            server = entity.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=tls_context(settings.tls, server=True) if settings.tls else None,
                evt_handlers=handlers,
            )
        except OSError as error:
            where = f"{settings.host or 'every interface'}, port {settings.port}"
            raise OutputError(
                f"{where} cannot be listened on: {error.strerror or error}", "a free port", "Choose another --port."
            ) from error
        assert isinstance(server, ThreadedAssociationServer)  # noqa: S101 (because of block=False)
        self._server = server

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def associations(self) -> int:
        """How many there are now."""
        return len(self._server.active_associations)

    def close(self) -> None:
        """Abort what is open and stop listening."""
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request  # a C_STORE
        sop_uid = str(request.AffectedSOPInstanceUID)
        try:
            study_uid = _study_uid(event, sop_uid)
            meta = create_file_meta(
                sop_class_uid=request.AffectedSOPClassUID,
                sop_instance_uid=request.AffectedSOPInstanceUID,
                transfer_syntax=event.context.transfer_syntax,
            )
            preamble = b"\0" * 128 + b"DICM" + encode_file_meta(meta)
            self._intake.take(study_uid, sop_uid, preamble, request.DataSet.getbuffer())
        except OutputError as error:
            _log.error("C-STORE refused: %s", error)
            return _OUT_OF_RESOURCES
        except CorruptFileError as error:
            _log.warning("C-STORE refused: %s", error)
            return _CANNOT_UNDERSTAND
        except InputError as error:
            _log.warning("C-STORE refused: %s", error)
            return _MISMATCH
        return _SUCCESS

    def _measure(self, event: evt.Event) -> None:
        """Cut off who sends an instance larger than the memory may hold."""
        association = event.assoc
        self._unfinished[id(association)] += len(event.pdu)
        if self._unfinished[id(association)] > self._max_bytes:
            _log.error("an instance of over %d MB is being sent: the association is aborted", self._max_bytes // 10**6)
            self._unfinished[id(association)] = 0
            # Aborting waits for the thread that this handler runs in.
            threading.Thread(target=association.abort, daemon=True).start()

    def _whole(self, event: evt.Event) -> None:
        self._unfinished.pop(id(event.assoc), None)

    def _rejected(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        _log.warning("an association of %s from %s was rejected", requestor.ae_title, requestor.address)


def tls_context(tls: Tls, *, server: bool) -> ssl.SSLContext:
    """The context for one direction; the other side has to show a certificate.

    Raises
    ------
    InputError
        If a file is absent or no certificate or key.
    """
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    try:
        context = ssl.create_default_context(purpose, cafile=str(tls.ca))
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # ssl.SSLError is one
        files = f"{tls.certificate}, {tls.key}, {tls.ca}"
        raise InputError(
            f"{files}: {error}", "a certificate, its key and those it trusts, as PEM", "Check them."
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _study_uid(event: evt.Event, sop_uid: str) -> str:
    """The study an instance belongs to, after the check that it is what was announced.

    Raises
    ------
    CorruptFileError
        If it cannot be parsed.
    InputError
        If it lacks its study, or is another instance than announced.
    """
    try:
        dataset = event.dataset
        study_uid, found = str(dataset.get("StudyInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
    except Exception as error:  # pydicom raises whatever the bytes lead to
        raise CorruptFileError(f"a data set that cannot be parsed: {error}", "DICOM", "Send it again.") from error
    if not is_uid(study_uid) or not is_uid(sop_uid) or found != sop_uid:
        raise InputError(
            f"instance {found!r} of study {study_uid!r}, announced as {sop_uid!r}",
            "valid UIDs, the same in command and data set",
            "Correct them where the CT was made.",
        )
    return study_uid
