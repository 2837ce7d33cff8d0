from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from lungsight.errors import InputError, OutputError
from lungsight.serve.entry import State
from lungsight.serve.health import Meters
from lungsight.serve.intake import Intake
from lungsight.serve.queue import Queue
from lungsight.serve.receive import CT_CLASSES, Receiver
from lungsight.serve.settings import NodeSettings, Peer, Tls
from lungsight.serve.store import Store
from orthanc import told_by
from phantom import setting
from refusals import refused
from small_studies import SLICES, Study, storescu, wait_until, write_study

Listen = Callable[..., Receiver]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def queue(store: Store) -> Iterator[Queue]:
    opened = Queue(store.folder / "queue.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def listen(store: Store, queue: Queue) -> Iterator[Listen]:
    receivers = []

    def start(**given: Any) -> Receiver:
        settings = NodeSettings(
            store.folder, Peer("PACS", "localhost", 1), port=0, host="localhost", **{"reserve_mb": 1} | given
        )
        receivers.append(Receiver(settings, Intake(store, queue, settings, Meters())))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("ct"), "received")


def connect(port: int, title: str = "SENDER") -> Association:
    entity = AE(ae_title=title)
    for sop_class in (*CT_CLASSES, uid.MRImageStorage):
        entity.add_requested_context(sop_class, uid.ExplicitVRLittleEndian)
    return entity.associate("localhost", port)


def send(association: Association, dataset: Dataset) -> int:
    return int(association.send_c_store(dataset).Status)


def test_it_answers_an_echo(listen: Listen) -> None:
    told = told_by("echoscu", "-v", "-aec", "LUNGSIGHT", "localhost", str(listen().port))
    assert "Received Echo Response (Success)" in told


def test_what_is_acknowledged_is_in_store_and_queue(listen: Listen, study: Study, store: Store, queue: Queue) -> None:
    sent = storescu(listen().port, study.paths)
    assert (sent.returncode, sent.stderr.count("Received Store Response (Success)")) == (0, SLICES)
    (entry,) = queue.entries()
    assert (entry.study_uid, entry.version, entry.state) == (study.uid, 1, State.RECEIVING)
    kept = [dcmread(store.path_of(one)) for one in queue.slices(study.uid, 1)]
    assert sorted(kept, key=_number) == sorted(map(dcmread, study.paths), key=_number)


def _number(dataset: Dataset) -> int:
    return int(dataset.InstanceNumber)


def test_the_same_again_is_acknowledged_and_changes_nothing(listen: Listen, study: Study, queue: Queue) -> None:
    receiver = listen()
    storescu(receiver.port, study.paths)
    queue.complete_quiet(1e12, 1e12)
    before = queue.entries()
    assert storescu(receiver.port, study.paths).returncode == 0
    assert queue.entries() == before


@pytest.mark.parametrize("syntax", ["--propose-implicit", "--propose-deflated"])
def test_other_transfer_syntaxes_are_kept_as_they_are(
    listen: Listen, study: Study, store: Store, queue: Queue, syntax: str
) -> None:
    assert storescu(listen().port, study.paths[:1], syntax).returncode == 0
    (one,) = queue.slices(study.uid, 1)
    kept = dcmread(store.path_of(one))
    assert kept.file_meta.TransferSyntaxUID != uid.ExplicitVRLittleEndian
    assert kept.pixel_array.tolist() == dcmread(study.paths[0]).pixel_array.tolist()


def test_it_takes_ct_and_nothing_else(listen: Listen) -> None:
    association = connect(listen().port)
    taken = {context.abstract_syntax for context in association.accepted_contexts}
    association.release()
    assert taken == set(CT_CLASSES)


def test_only_named_callers_are_let_in(listen: Listen, study: Study, queue: Queue) -> None:
    port = listen(allowed_aets=("SCANNER", "PACS")).port
    refused_one = connect(port, "STRANGER")
    assert refused_one.is_rejected
    assert storescu(port, study.paths, "-aet", "STRANGER").returncode != 0
    assert queue.entries() == []
    assert storescu(port, study.paths, "-aet", "SCANNER").returncode == 0


def test_no_more_callers_than_allowed(listen: Listen) -> None:
    receiver = listen(max_associations=2)
    open_ones = [connect(receiver.port) for _ in range(2)]
    assert receiver.associations == 2
    assert connect(receiver.port).is_rejected
    for one in open_ones:
        one.release()
    wait_until(lambda: receiver.associations == 0, "the associations stay")
    again = connect(receiver.port)
    assert again.is_established
    again.release()


@pytest.mark.parametrize("full", ["reserve", "disk"])
def test_a_full_disk_is_said_and_nothing_is_lost(
    listen: Listen, study: Study, store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    receiver = listen()
    association = connect(receiver.port)
    first, second = (dcmread(path) for path in study.paths[:2])
    assert send(association, first) == 0x0000
    with monkeypatch.context() as patched:
        if full == "reserve":
            patched.setattr(Store, "free_mb", lambda _: 0.5)
        else:
            patched.setattr(os, "fsync", _no_space)
        assert send(association, second) == 0xA700
        assert [one.sop_uid for one in queue.slices(study.uid, 1)] == [first.SOPInstanceUID]
    assert send(association, second) == 0x0000
    association.release()
    kept = [dcmread(store.path_of(one)) for one in queue.slices(study.uid, 1)]
    assert kept == [first, second]


def _no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_under_the_queue_is_said(listen: Listen, study: Study, queue: Queue) -> None:
    association = connect(listen().port)
    queue._database.execute("PRAGMA max_page_count = 1")  # SQLite then says that the disk is full
    pages = queue._database.execute("PRAGMA max_page_count").fetchone()[0]
    answers = [send(association, dcmread(path)) for path in study.paths]
    queue._database.execute(f"PRAGMA max_page_count = {pages + 1000}")
    acknowledged = answers.count(0x0000)
    assert len(queue.every_slice(study.uid)) == acknowledged
    assert set(answers) <= {0x0000, 0xA700}
    association.release()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "edit",
    [setting(StudyInstanceUID=None), setting(StudyInstanceUID=".."), setting(SOPInstanceUID="1.2.3")],
    ids=["without a study", "a path as study", "another instance than announced"],
)
def test_what_contradicts_itself_is_refused(listen: Listen, study: Study, queue: Queue, edit: Any) -> None:
    dataset = dcmread(study.paths[0])
    edit(dataset, 0)
    association = connect(listen().port)
    original = dcmread(study.paths[0])
    original.StudyInstanceUID = dataset.get("StudyInstanceUID", "")
    if dataset.SOPInstanceUID != original.SOPInstanceUID:
        # The command announces what the file's meta information says; the data set says something else.
        association.dimse_timeout = 10
        status = _send_announced_as(association, dataset, "1.2.4")
    else:
        status = send(association, dataset)
    association.release()
    assert status == 0xA900
    assert queue.entries() == []


def _send_announced_as(association: Association, dataset: Dataset, announced: str) -> int:
    from io import BytesIO  # noqa: PLC0415

    from pynetdicom.dimse_primitives import C_STORE  # noqa: PLC0415
    from pynetdicom.dsutils import encode  # noqa: PLC0415

    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = uid.CTImageStorage
    request.AffectedSOPInstanceUID = uid.UID(announced)
    request.Priority = 2
    request.DataSet = BytesIO(encode(dataset, False, True) or b"")
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == uid.CTImageStorage)
    assert context.context_id is not None
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(answer, C_STORE)
    return int(answer.Status or 0)


def test_who_sends_too_much_is_cut_off(listen: Listen, study: Study, queue: Queue) -> None:
    association = connect(listen(max_instance_mb=1).port)
    for path in study.paths[:3]:  # together they may be larger
        assert send(association, dcmread(path)) == 0x0000
    large = dcmread(study.paths[3])
    large.Rows = large.Columns = 1024
    large.PixelData = b"\0" * 2 * 1024 * 1024
    assert "Status" not in association.send_c_store(large)
    wait_until(lambda: association.is_aborted, "the association goes on")
    assert len(queue.every_slice(study.uid)) == 3


def test_a_port_that_is_taken_is_told(listen: Listen) -> None:
    taken = listen().port
    with refused(OutputError, f"port {taken} cannot be listened on", "a free port", "--port"):
        listen_settings = NodeSettings(Path("store"), Peer("PACS", "localhost", 1), port=taken, host="localhost")
        Receiver(listen_settings, None)  # type: ignore[arg-type]


def _certificates(folder: Path) -> Tls:
    """A certificate that signs itself: it is its own authority."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    told_by("openssl", *made, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)
    return Tls(certificate, key, certificate)


def test_tls_lets_in_who_shows_a_certificate(listen: Listen, study: Study, queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    tls = _certificates(tmp_path / "ours")
    port = listen(tls=tls).port
    strangers = _certificates(tmp_path / "theirs")
    assert storescu(port, study.paths).returncode != 0, "without TLS"
    for shown, returncode in ((strangers, False), (tls, True)):
        options = ["+tls", str(shown.key), str(shown.certificate), "+cf", str(tls.ca)]
        assert (storescu(port, study.paths, *options).returncode == 0) is returncode
    assert len(queue.every_slice(study.uid)) == SLICES


def test_a_certificate_that_is_none_is_told(listen: Listen, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("", "utf-8")
    with refused(InputError, "empty.pem", "a certificate, its key", "Check"):
        listen(tls=Tls(empty, empty, empty))
