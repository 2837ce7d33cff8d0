"""The commands of the PACS node."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import threading
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungsight.cli.options import DEFAULT_SYSTEM, SettingsOption, SystemOption, WeightsOption, settings_of
from lungsight.cli.program import app
from lungsight.cohort.options import Options
from lungsight.errors import InputError
from lungsight.serve.settings import NodeSettings, Tls, Web, peer_from_text
from lungsight.terminal import setting_help

if TYPE_CHECKING:
    from lungsight.serve.entry import Entry
    from lungsight.serve.work import Diagnose

__all__ = ["queue", "serve"]

_PASSWORD = "LUNGSIGHT_DICOMWEB_PASSWORD"  # noqa: S105 (where it is, not what it is)
_DEFAULT = NodeSettings(Path("store"), peer_from_text("PACS@localhost:104"))
_WEB = Web("http://localhost")

_Store = Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds all that must survive; made if absent.")]


@app.command()
def serve(  # noqa: PLR0913 (each option is an argument)
    *,
    store: _Store,
    aet: Annotated[str, typer.Option(help="The node's own AE title.")] = _DEFAULT.aet,
    port: Annotated[int, typer.Option(min=0, max=65535, help=setting_help(NodeSettings, "port"))] = _DEFAULT.port,
    host: Annotated[str, typer.Option(help=setting_help(NodeSettings, "host"))] = _DEFAULT.host,
    send_to: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="The PACS that results are sent to.")
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Instead of DIMSE: fetch CTs from this DICOMweb service, store results to it."
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=0, help=setting_help(Web, "days"))] = _WEB.days,
    user: Annotated[
        str | None,
        typer.Option(
            "--dicomweb-user", metavar="NAME", help=f"For the service; its password is read from {_PASSWORD}."
        ),
    ] = None,
    quiet_s: Annotated[
        float, typer.Option("--quiet", metavar="SECONDS", help=setting_help(NodeSettings, "quiet_s"))
    ] = _DEFAULT.quiet_s,
    allow_aet: Annotated[
        list[str] | None,
        typer.Option(metavar="AET", help="A caller that is let in; may be repeated; without, all are."),
    ] = None,
    max_associations: Annotated[
        int, typer.Option(min=1, help=setting_help(NodeSettings, "max_associations"))
    ] = _DEFAULT.max_associations,
    max_instance_mb: Annotated[
        int, typer.Option(min=1, help=setting_help(NodeSettings, "max_instance_mb"))
    ] = _DEFAULT.max_instance_mb,
    reserve_mb: Annotated[
        int, typer.Option(min=0, help=setting_help(NodeSettings, "reserve_mb"))
    ] = _DEFAULT.reserve_mb,
    keep_days: Annotated[float, typer.Option(min=0, help=setting_help(NodeSettings, "keep_days"))] = _DEFAULT.keep_days,
    health_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Loopback port of /health and /metrics; 0 takes a free one.")
    ] = _DEFAULT.health_port or 0,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The node's certificate, for DICOM over TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its key.")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificates that those of the other side are checked against.")
    ] = None,
    system: SystemOption = DEFAULT_SYSTEM,
    weights: WeightsOption = None,
    config: SettingsOption = None,
) -> None:
    """Be a PACS node: take CTs, diagnose each study once, send SEG, SR and pages back. Stop it with Ctrl-C."""
    try:
        settings = NodeSettings(
            store=store,
            send_to=peer_from_text(send_to) if send_to else None,
            web=Web(dicomweb, days, user=user, password=os.environ.get(_PASSWORD), ca=tls_ca) if dicomweb else None,
            aet=aet,
            host=host,
            port=port,
            allowed_aets=tuple(allow_aet or ()),
            tls=_tls(tls_cert, tls_key, tls_ca),
            quiet_s=quiet_s,
            max_associations=max_associations,
            max_instance_mb=max_instance_mb,
            reserve_mb=reserve_mb,
            keep_days=keep_days,
            health_port=health_port,
        )
    except ValueError as error:
        raise InputError(str(error), "options that fit together", "See `lungsight serve --help`.") from error
    _run(settings, Options(system, weights, settings_of(config, system, {})))


@app.command()
def queue(
    store: _Store,
    retry: Annotated[
        list[str] | None, typer.Option(metavar="STUDY", help="Try this study again now; may be repeated.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="STUDY", help="Give up what is not sent of this study; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the studies of a node in STORE, retry or drop some. The node may be running."""
    from lungsight.serve.queue import QUEUE_FILE, Queue

    path = store / QUEUE_FILE
    if not path.is_file():
        raise InputError(f"no {QUEUE_FILE} in {store}", "the --store of a node", "Name the folder of the node.")
    opened = Queue(path)
    try:
        for verb, studies, change in (("retry", retry, opened.retry), ("drop", drop, opened.drop)):
            for study_uid in studies or ():
                if not change(study_uid, time.time()):
                    known = "a study that `lungsight queue` lists as not sent"
                    raise InputError(f"nothing to {verb} of study {study_uid}", known, "Check the UID.")
        entries = opened.entries()
    finally:
        opened.close()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
    else:
        typer.echo("\n".join(map(_line, entries)) if entries else "The queue is empty.")


def _line(entry: Entry) -> str:
    when = datetime.fromtimestamp(entry.changed_at).isoformat(" ", "seconds")
    tries = f", {entry.attempts} attempts failed" if entry.attempts else ""
    note = f"\n    {entry.note}" if entry.note else ""
    return f"{entry.state:<9}  {when}  {entry.study_uid}, version {entry.version}{tries}{note}"


def _tls(certificate: Path | None, key: Path | None, ca: Path | None) -> Tls | None:
    if certificate and key and ca:
        return Tls(certificate, key, ca)
    if certificate or key:
        raise InputError(
            "some of --tls-cert, --tls-key and --tls-ca", "all three for DICOM over TLS", "Name the others too."
        )
    return None


def _run(settings: NodeSettings, options: Options) -> None:
    try:
        from lungsight.serve.node import Node
    except ModuleNotFoundError as error:
        if str(error.name).startswith("lungsight"):
            raise
        raise InputError(
            f"no {error.name}, which the node needs", "the extra `serve`", "pip install 'lungsight[serve]'"
        ) from error

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    for chatty in ("pynetdicom", "dicomweb_client", "retrying"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # what matters of it the node says itself
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node = Node(settings, partial(_load, options))
    log = logging.getLogger(__name__)
    if node.receiver:
        log.info("%s listens on port %d and sends to %s", settings.aet, node.receiver.port, settings.send_to)
    elif settings.web:
        log.info("fetches from and stores to %s", settings.web.url)
    if node.health:
        log.info("http://localhost:%d/health and /metrics tell how it is", node.health.port)
    stop.wait()
    log.info("stopping; what is under way is done again by the next node")
    node.close()


def _load(options: Options) -> Diagnose:
    """In the process that diagnoses."""
    from lungsight.cohort.study import load_system

    return load_system(options)
