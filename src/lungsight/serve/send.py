"""Results go to the PACS by C-STORE."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from lungsight.errors import OutputError
from lungsight.serve.receive import tls_context
from lungsight.serve.settings import NodeSettings, Peer

__all__ = ["DimseSender", "Sender"]

_CONNECT_S = 10.0
_ANSWER_S = 60.0
_log = logging.getLogger(__name__)


class Sender(Protocol):
    """What takes results to a PACS."""

    def send(self, files: Sequence[Path]) -> str:
        """Return when the PACS has the files.

        Parameters
        ----------
        files
            DICOM files of one study. Sending them again must change nothing.

        Returns
        -------
        str
            What should be known, as a sentence; empty if there is nothing.

        Raises
        ------
        OutputError
            If it has not taken all; it is to be tried again.
        """
        ...


class DimseSender:
    """Sends by C-STORE.

    Parameters
    ----------
    settings
        Of the node, with `send_to`.
    """

    def __init__(self, settings: NodeSettings, peer: Peer) -> None:
        self._peer = peer
        self._entity = AE(ae_title=settings.aet)
        self._entity.connection_timeout = _CONNECT_S
        self._entity.acse_timeout = _ANSWER_S
        self._entity.dimse_timeout = _ANSWER_S
        self._tls = tls_context(settings.tls, server=False) if settings.tls else None

    def send(self, files: Sequence[Path]) -> str:
        """As :meth:`Sender.send`; a class of objects that the PACS does not take at all is told, not tried again."""
        metas = [read_file_meta_info(path) for path in files]
        offered = {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas}
        association = self._entity.associate(
            self._peer.host,
            self._peer.port,
            [build_context(sop_class, syntax) for sop_class, syntax in sorted(offered)],
            ae_title=self._peer.aet,
            tls_args=(self._tls, self._peer.host) if self._tls else None,
        )
        if not association.is_established:
            raise _not_sent(self._peer, "rejected the association" if association.is_rejected else "does not answer")
        try:
            taken = {str(context.abstract_syntax) for context in association.accepted_contexts}
            for path, meta in zip(files, metas, strict=True):
                if meta.MediaStorageSOPClassUID in taken:
                    self._store(association, path)
        finally:
            association.release()
        untaken = sorted(
            {meta.MediaStorageSOPClassUID.name for meta in metas if meta.MediaStorageSOPClassUID not in taken}
        )
        if not taken:
            raise _not_sent(self._peer, f"takes none of {', '.join(untaken)}")
        return f"The PACS does not take {', '.join(untaken)}." if untaken else ""

    def _store(self, association: Association, path: Path) -> None:
        status: Dataset = association.send_c_store(path)
        if "Status" not in status:
            raise _not_sent(self._peer, f"did not answer when {path.name} was sent")
        code = int(status.Status)
        if code == 0x0000:
            return
        if code >> 12 == 0xB:  # it was stored, with a warning: PS3.4, table B.2-1
            _log.warning("%s stored %s with the warning 0x%04X", self._peer, path.name, code)
            return
        raise _not_sent(self._peer, f"refused {path.name} with 0x{code:04X} {status.get('ErrorComment', '')}".rstrip())


def _not_sent(peer: Peer, what: str) -> OutputError:
    return OutputError(f"{peer} {what}", "a PACS that takes the results", "It is tried again; see to the PACS.")
