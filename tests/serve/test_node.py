"""A whole node against Orthanc, with DCMTK's storescu as the one that sends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from lungsight.errors import WeightsError
from lungsight.serve.entry import State
from lungsight.serve.node import Node
from lungsight.serve.queue import QUEUE_FILE, Queue
from lungsight.serve.store import Store
from orthanc import Orthanc, free_port, told_by
from small_studies import SLICES, Study, storescu, wait_for, wait_until, write_study
from stub_diagnosis import DIES_HU, EMPTY_HU, HANGS_HU, RAISES_HU, load_without_weights

Start = Callable[..., Node]
ONE_SET = Counter({"SEG": 1, "SR": 1, "OT": 1})


def send(node: Node, study: Study, paths: slice = slice(None)) -> None:
    assert node.receiver is not None
    assert storescu(node.receiver.port, study.paths[paths]).returncode == 0


def results(orthanc: Orthanc, study: Study) -> Counter[str]:
    """Modalities of the study's series but the CT."""
    return orthanc.modalities(study.uid) - Counter({"CT": 1})


def reports(orthanc: Orthanc, study: Study, folder: Path) -> list[Path]:
    """The study's structured reports, as the PACS has them."""
    found = [one for one in orthanc.series(study.uid) if one["MainDicomTags"]["Modality"] == "SR"]
    ids = [identifier for one in found for identifier in one["Instances"]]
    return [orthanc.download(identifier, folder / f"{identifier}.dcm") for identifier in ids]


def test_the_results_of_a_study_come_back_into_it(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    study = write_study(tmp_path, "found")
    assert storescu(pacs.dicom_port, study.paths, called="ORTHANC").returncode == 0
    node = start()
    send(node, study)
    wait_for(node, study.uid, State.SENT)
    assert pacs.modalities(study.uid) == ONE_SET + Counter({"CT": 1})
    # DCMTK, which knows nothing of ours, finds them by a query and reads the report.
    keys = ["-k", f"StudyInstanceUID={study.uid}", "-k", "Modality=SEG", "-k", "SeriesInstanceUID"]
    level = ["-k", "QueryRetrieveLevel=SERIES"]
    asked = told_by("findscu", "-S", "-aec", "ORTHANC", *level, *keys, "localhost", str(pacs.dicom_port))
    assert asked.count("(0020,000e) UI") == 1
    (report,) = reports(pacs, study, tmp_path)
    told = told_by("dsrdump", report)
    assert "Nodule" in told


def test_a_study_without_nodules_has_its_report_too(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    study = write_study(tmp_path, "empty", EMPTY_HU)
    node = start()
    send(node, study)
    wait_for(node, study.uid, State.SENT)
    assert results(pacs, study) == Counter({"SR": 1, "OT": 1})


def test_sending_again_changes_nothing_and_what_is_late_makes_a_version(
    start: Start, pacs: Orthanc, tmp_path: Path
) -> None:
    study = write_study(tmp_path, "late")
    node = start()
    send(node, study, slice(0, SLICES - 1))
    wait_for(node, study.uid, State.SENT)
    (first,) = reports(pacs, study, tmp_path)
    send(node, study, slice(0, SLICES - 1))
    assert node.queue.next_due(State.RECEIVING, 1e12) is None
    assert [one.version for one in node.queue.entries()] == [1]

    send(node, study)
    wait_for(node, study.uid, State.SENT, version=2)
    assert results(pacs, study) == ONE_SET + ONE_SET
    (second,) = set(reports(pacs, study, tmp_path)) - {first}
    (named,) = dcmread(second).PredecessorDocumentsSequence
    (series,) = named.ReferencedSeriesSequence
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == [dcmread(first).SOPInstanceUID]


def test_a_bad_study_is_set_aside_and_the_rest_goes_on(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    bad = write_study(tmp_path, "raises", RAISES_HU)
    deadly = write_study(tmp_path, "dies", DIES_HU)
    gap = write_study(tmp_path, "gap")
    good = write_study(tmp_path, "good")
    node = start()
    for study in (bad, deadly, good):
        send(node, study)
    send(node, Study(gap.uid, (*gap.paths[:2], *gap.paths[3:])))
    wait_for(node, good.uid, State.SENT)
    for study, said in ((bad, "nobody thought of"), (deadly, "died"), (gap, "missing")):
        assert said in wait_for(node, study.uid, State.SET_ASIDE).note
        assert results(pacs, study) == Counter()

    send(node, gap)  # the missing slice comes
    wait_for(node, gap.uid, State.SENT, version=2)
    assert results(pacs, gap) == ONE_SET


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_while_the_pacs_is_away_nothing_is_dropped(start: Start, tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    node = start(send_to=orthanc.peer)
    studies = [write_study(tmp_path, word) for word in ("away", "away too")]
    for study in studies:
        send(node, study)
    for study in studies:
        wait_until(
            lambda uid=study.uid: any(one.study_uid == uid and one.attempts > 1 for one in node.queue.entries()),  # type: ignore[misc]
            "it is not tried again",
        )
        assert "does not answer" in wait_for(node, study.uid, State.DIAGNOSED).note
    assert node.look()["pacs_away"]
    try:
        orthanc.start()
        for study in studies:
            wait_for(node, study.uid, State.SENT)
            assert results(orthanc, study) == ONE_SET
        assert not node.look()["pacs_away"]
    finally:
        orthanc.stop()


def test_an_association_that_breaks_loses_nothing_it_was_told(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    study = write_study(tmp_path, "aborted")
    node = start(quiet_s=1.5)
    assert node.receiver is not None
    assert storescu(node.receiver.port, study.paths[:3], "--abort").returncode == 0
    wait_until(lambda: len(node.queue.every_slice(study.uid)) == 3, "slices are lost")
    send(node, study, slice(3, None))
    wait_for(node, study.uid, State.SENT)
    assert len(node.queue.slices(study.uid, 1)) == SLICES
    assert results(pacs, study) == ONE_SET


def test_when_results_find_no_room_they_are_tried_again(
    start: Start, pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tmp_path, "no room")
    node = start()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "keep_results", _no_space)
        send(node, study)
        wait_until(lambda: any(one.attempts for one in node.queue.entries()), "it is not tried")
        assert "No space left" in wait_for(node, study.uid, State.COMPLETE).note
    wait_for(node, study.uid, State.SENT)
    assert results(pacs, study) == ONE_SET


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_slices_go_some_days_after_their_results(start: Start, tmp_path: Path) -> None:
    study = write_study(tmp_path, "tidied")
    node = start(keep_days=0)
    send(node, study)
    wait_for(node, study.uid, State.SENT)
    node._tidied_at = float("-inf")
    wait_until(lambda: not list(node.store.instances()), "the slices stay")
    assert node.store.results(study.uid, 1)
    send(node, study)
    assert [one.state for one in node.queue.entries()] == [State.SENT], "the same again changes nothing"


def test_what_is_on_the_disk_but_not_in_the_queue_is_taken_up(start: Start, pacs: Orthanc, tmp_path: Path) -> None:
    study = write_study(tmp_path, "adopted")
    store = Store(tmp_path / "store")
    for path in study.paths:
        store.write(study.uid, dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID, b"", path.read_bytes())
    store.close()
    node = start()
    wait_for(node, study.uid, State.SENT)
    assert results(pacs, study) == ONE_SET


def test_a_node_without_weights_does_not_start(start: Start, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no network"):
        start(load=load_without_weights)
    Store(tmp_path / "store").close()  # it lets go of its folder


def test_a_node_that_is_closed_lets_go_of_all(start: Start) -> None:
    first = start(health_port=free_port())
    assert first.health is not None
    port = first.health.port
    first.close()
    assert start(health_port=port).health is not None


def test_a_study_under_way_when_its_node_is_closed_is_left_to_the_next(start: Start, tmp_path: Path) -> None:
    study = write_study(tmp_path, "hangs", HANGS_HU)
    node = start()
    send(node, study)
    wait_for(node, study.uid, State.COMPLETE)
    wait_until(lambda: any((tmp_path / "store").glob("tmp/*/ct/*.dcm")), "it is never diagnosed")
    time.sleep(0.5)
    node.close()
    queue = Queue(tmp_path / "store" / QUEUE_FILE)
    (left,) = queue.entries()
    queue.close()
    assert (left.state, left.attempts, left.note) == (State.COMPLETE, 0, "")
