"""Every setting of the node once, with its unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lungsight.errors import InputError

__all__ = ["NodeSettings", "Peer", "Tls", "Web", "peer_from_text"]

_PEER = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>\[[0-9a-fA-F:]+\]|[^@:\s]+):(?P<port>\d{1,5})")
_AET = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5, 6.2: AE, 16 characters, no backslash


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application entity: its title, host and port."""

    aet: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Web:
    """A DICOMweb service that CTs are fetched from and results are stored to.

    Attributes
    ----------
    url
        Its root, without a user or password.
    days
        Studies are looked for whose date is at most this many days ago; 0 for all there are.
    poll_s
        Pause between two looks.
    user, password
        For HTTP's basic authentication; None without.
    ca
        File with the certificates that the service's is checked against; None for the usual ones.
    """

    url: str
    days: int = 2
    poll_s: float = 10.0
    user: str | None = None
    password: str | None = None
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"Web(url={self.url!r}, days={self.days})"  # a password belongs in no log


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form for DICOM over TLS, both ways; each side must show a certificate that `ca` has signed."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Settings of the node.

    Attributes
    ----------
    store
        Folder that holds all that must survive; one node at a time.
    send_to
        Where results are sent by C-STORE; None with `web`.
    web
        DICOMweb service that is used in both directions instead of DIMSE; None with `send_to`.
    aet
        The node's own title, 1 to 16 characters.
    host
        Address to listen on; empty for every interface.
    port
        Port of the DICOM service; 0 takes a free one.
    allowed_aets
        Titles of callers that are let in; empty for all.
    tls
        DICOM over TLS; None without.
    quiet_s
        A study is complete when nothing of it has come for so long.
    max_associations
        Connections at a time; more are rejected, and their callers may try again.
    max_instance_mb
        A sender of a larger instance is cut off. Times `max_associations` it bounds the memory.
    reserve_mb
        C-STORE answers 0xA700 (out of resources) when the disk has less than this left, so that what has been
        acknowledged can still be diagnosed and sent.
    first_pause_s, longest_pause_s
        Pause before a second attempt to send; doubles with each further one up to the longest.
    diagnose_timeout_s
        A study that takes longer is set aside.
    keep_days
        A study's slices are deleted so long after its results were sent; results are kept.
    health_port
        Port on the loopback interface of ``/health`` and ``/metrics``; 0 takes a free one, None offers neither.
    """

    store: Path
    send_to: Peer | None = None
    web: Web | None = None
    aet: str = "LUNGSIGHT"
    host: str = ""
    port: int = 11112
    allowed_aets: tuple[str, ...] = ()
    tls: Tls | None = None
    quiet_s: float = 30.0
    max_associations: int = 10
    max_instance_mb: int = 512
    reserve_mb: int = 1024
    first_pause_s: float = 5.0
    longest_pause_s: float = 600.0
    diagnose_timeout_s: float = 3600.0
    keep_days: float = 7.0
    health_port: int | None = 11180

    def __post_init__(self) -> None:
        if (self.send_to is None) == (self.web is None):
            raise ValueError("a node has either send_to or web")
        for title in (self.aet, *self.allowed_aets):
            if not _AET.fullmatch(title):
                raise ValueError(f"{title!r} is no AE title of 1 to 16 characters")
        if self.quiet_s <= 0 or self.first_pause_s <= 0 or self.longest_pause_s < self.first_pause_s:
            raise ValueError("quiet_s and first_pause_s are above 0, longest_pause_s at least first_pause_s")
        if self.max_associations < 1 or self.max_instance_mb < 1 or self.reserve_mb < 0:
            raise ValueError("max_associations and max_instance_mb are 1 or more, reserve_mb 0 or more")

    def pause_s(self, attempts: int) -> float:
        """How long to wait after so many failed attempts, from 1.

        Examples
        --------
        >>> settings = NodeSettings(Path("store"), Peer("PACS", "pacs", 104))
        >>> [settings.pause_s(attempts) for attempts in (1, 2, 3, 99)]
        [5.0, 10.0, 20.0, 600.0]
        """
        doublings = min(attempts - 1, 30)  # beyond it is the longest anyway, and a float has its limits
        return float(min(self.first_pause_s * 2**doublings, self.longest_pause_s))


def peer_from_text(text: str) -> Peer:
    """``AET@HOST:PORT`` as a peer.

    Raises
    ------
    InputError
        If it has another form.

    Examples
    --------
    >>> peer_from_text("ORTHANC@localhost:4242")
    Peer(aet='ORTHANC', host='localhost', port=4242)
    """
    match = _PEER.fullmatch(text)
    if not match or not _AET.fullmatch(match["aet"]) or not 0 < int(match["port"]) < 65536:
        raise InputError(
            f"{text!r} as a DICOM peer", "AET@HOST:PORT with a title of 1 to 16 characters", "Write it in that form."
        )
    return Peer(match["aet"], match["host"].strip("[]"), int(match["port"]))
