from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lungsight.errors import OutputError
from lungsight.serve.entry import State
from lungsight.serve.node import Node
from lungsight.serve.settings import Web
from lungsight.serve.web import WebSender
from orthanc import Orthanc, free_port
from phantom import setting
from small_studies import SLICES, Study, storescu, wait_for, write_study

Start = Callable[..., Node]
WITH_RESULTS = Counter({"CT": 1, "SEG": 1, "SR": 1, "OT": 1})


def into_pacs(pacs: Orthanc, study: Study, paths: slice = slice(None)) -> None:
    assert storescu(pacs.dicom_port, study.paths[paths], called="ORTHANC").returncode == 0


def today(word: str, folder: Path) -> Study:
    return write_study(folder, word, edit=setting(StudyDate=f"{datetime.date.today():%Y%m%d}"))


def test_studies_are_fetched_diagnosed_and_stored_back(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    old, new = write_study(tmp_path, "old"), today("new", tmp_path)
    into_pacs(pacs, old)
    into_pacs(pacs, new, slice(0, SLICES - 1))
    node = start(web=Web(pacs.dicomweb, days=1, poll_s=0.2))
    wait_for(node, new.uid, State.SENT)
    assert node.receiver is None
    assert pacs.modalities(new.uid) == WITH_RESULTS
    # One more slice makes a version that takes all.
    into_pacs(pacs, new)
    wait_for(node, new.uid, State.SENT, version=2)
    assert len(node.queue.slices(new.uid, 2)) == SLICES
    assert pacs.modalities(new.uid) == WITH_RESULTS + WITH_RESULTS - Counter({"CT": 1})
    assert {one.study_uid for one in node.queue.entries()} == {new.uid}, "a study of another day is not looked for"


def test_storing_again_changes_nothing(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    study = today("stored twice", tmp_path)
    into_pacs(pacs, study)
    web = Web(pacs.dicomweb, days=1, poll_s=0.2)
    node = start(web=web)
    wait_for(node, study.uid, State.SENT)
    WebSender(web).send(node.store.results(study.uid, 1))
    assert pacs.modalities(study.uid) == WITH_RESULTS


def test_while_the_service_is_away_it_is_asked_again(start: Start, tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    node = start(web=Web(orthanc.dicomweb, days=0, poll_s=0.2))
    study = write_study(tmp_path, "any day")
    try:
        orthanc.start()
        into_pacs(orthanc, study)
        wait_for(node, study.uid, State.SENT)
        assert orthanc.modalities(study.uid) == WITH_RESULTS
    finally:
        orthanc.stop()


def test_a_service_that_does_not_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "sr.dcm").write_bytes(b"")
    sender = WebSender(Web(f"http://localhost:{free_port()}/dicom-web"))
    with pytest.raises(OutputError, match=r"does not answer \(ConnectionError\)"):
        sender.send([])


def test_a_service_that_refuses_is_told(pacs: Orthanc) -> None:
    sender = WebSender(Web(f"http://localhost:{pacs.http_port}/no/such/service"))
    with pytest.raises(OutputError, match="answered 404"):
        sender.send([])
