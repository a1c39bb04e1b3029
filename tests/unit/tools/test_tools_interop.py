"""The tests' own wire tools against DCMTK and Orthanc: both sides were written from the same standard."""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dcmtk, samples, wire
from tests.node import LOCAL
from tests.orthanc import Orthanc

pytestmark = pytest.mark.interop


@pytest.fixture
def receiver() -> Iterator[wire.Receiver]:
    with wire.Receiver() as it:
        yield it


def test_echoscu_reaches_the_receiver(receiver: wire.Receiver) -> None:
    assert dcmtk.echoscu(receiver.port, calling="ME", called="YOU").code == 0
    assert [(request.calling, request.called) for request in receiver.requests] == [("ME", "YOU")]


def test_storescu_reaches_the_receiver(receiver: wire.Receiver, tmp_path: Path) -> None:
    paths = samples.make_study(tmp_path, slices=3)
    done = dcmtk.storescu(receiver.port, paths)
    assert (done.code, done.status) == (0, 0), done.text
    assert [r.sop_instance for r in receiver.received] == [samples.read_sample(path).sop_instance for path in paths]


def test_dcmsend_reaches_the_receiver_in_compressed_syntaxes(receiver: wire.Receiver) -> None:
    paths = [path for path in samples.real_files() if path.name in ("MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm")]
    done, report = dcmtk.dcmsend(receiver.port, paths)
    assert done.code == 0, done.text
    assert "with status SUCCESS  : 2" in report
    sent = {(s.sop_instance, s.transfer_syntax) for s in map(samples.read_sample, paths)}
    assert {(r.sop_instance, r.transfer_syntax) for r in receiver.received} == sent


def test_storescu_reads_our_statuses_rejections_and_aborts(receiver: wire.Receiver, tmp_path: Path) -> None:
    paths = samples.make_study(tmp_path, slices=2)
    receiver.answer = lambda uid: 0xA700
    done = dcmtk.storescu(receiver.port, paths)
    assert (done.code, done.status, len(receiver.received)) == (0xA7, 0xA700, 1)
    _, report = dcmtk.dcmsend(receiver.port, paths)
    assert "with status REFUSED  : 2" in report
    receiver.abort_after = 0
    assert "Peer aborted Association" in dcmtk.storescu(receiver.port, paths).text
    receiver.reject = (1, 1, 7)
    assert "Called AE Title Not Recognized" in dcmtk.storescu(receiver.port, paths).text


def test_storescp_gets_every_real_file_byte_for_byte(tmp_path: Path) -> None:
    files = [samples.read_sample(path) for path in samples.real_files(distinct=True)]
    even = [sample for sample in files if len(sample.dataset) % 2 == 0]
    assert len(files) - len(even) == 1  # image_dfl.dcm, deflated without its padding (PS3.5 A.5)
    with dcmtk.storescp(tmp_path / "in", "STORE") as scp:
        for sample in even:
            assert sample.path is not None
            assert wire.send_file(LOCAL, scp.port, "STORE", "TESTER", sample.path) == 0
        kept = {stored.sop_instance: stored for stored in map(samples.read_sample, scp.wait_for(len(even)))}
    assert {uid: (stored.sha256, stored.transfer_syntax) for uid, stored in kept.items()} == {
        sample.sop_instance: (sample.sha256, sample.transfer_syntax) for sample in even
    }


def test_storescp_is_asked_for_several_at_once(tmp_path: Path) -> None:
    made = samples.make_instances(5)
    with (
        dcmtk.storescp(tmp_path / "in") as scp,
        wire.Association(LOCAL, scp.port, "STORESCP", "TESTER", wire.contexts_for(made)) as association,
    ):
        ids = [association.send_store(x.dataset, x.sop_class, x.sop_instance) for x in made]
        responses = [association.read_response() for _ in ids]
        assert [(r.message_id, r.status) for r in responses] == [(message_id, 0) for message_id in ids]


def test_dcmdump_reads_what_was_made(tmp_path: Path) -> None:
    (path,) = samples.make_study(tmp_path, slices=1, patient_id="Q9", modality="MR", AccessionNumber="A17")
    text = dcmtk.dcmdump(path, "+P", "PatientID", "+P", "AccessionNumber", "+P", "SOPClassUID")
    assert "[Q9]" in text
    assert "[A17]" in text
    assert "MRImageStorage" in text


def test_a_namesake_in_the_virtual_environment_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
    assert Path(dcmtk.binary("storescu")).parent != Path(sys.prefix) / "bin"


def test_a_missing_tool_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install dcmtk"):
        dcmtk.run("echoscu")


# -- Orthanc ---------------------------------------------------------------------------------------------------


def put(orthanc: Orthanc, folder: Path, **options: object) -> tuple[str, list[Path]]:
    """Store a study of three slices, and return its UID and files."""
    paths = samples.make_study(folder, slices=3, **options)
    statuses = wire.send_files(LOCAL, orthanc.port, "ORTHANC", "TESTER", paths)
    assert set(statuses.values()) == {0}
    return samples.read_sample(paths[0]).study, paths


def test_orthanc_keeps_what_it_is_sent(orthanc: Orthanc, tmp_path: Path) -> None:
    study, paths = put(orthanc, tmp_path, patient_id="KEEP")
    sent = {sample.sop_instance: sample.dataset for sample in map(samples.read_sample, paths)}
    kept = {uid: orthanc.dicom_file(its_id) for uid, its_id in orthanc.instances(study).items()}
    assert kept.keys() == sent.keys()
    assert all(kept[uid].endswith(dataset) for uid, dataset in sent.items())
    assert orthanc.studies()[study]["PatientMainDicomTags"]["PatientID"] == "KEEP"


def test_find_by_both_clients(orthanc: Orthanc, tmp_path: Path) -> None:
    study, _ = put(orthanc, tmp_path, patient_id="FIND")
    found = dcmtk.find(orthanc.port, "STUDY", {"PatientID": "FIND", "StudyInstanceUID": ""})
    assert ([match.StudyInstanceUID for match in found.matches], found.status) == ([study], 0)
    query = samples.identifier(QueryRetrieveLevel="STUDY", PatientID="FIND", StudyInstanceUID="")
    with associate(orthanc, wire.STUDY_ROOT_FIND) as association:
        (pending, match), final = association.find(wire.STUDY_ROOT_FIND, query)
    assert (pending, final) == (0xFF00, (0, b""))
    assert samples.decode(match).StudyInstanceUID == study


def test_a_failed_find_is_seen_though_findscu_exits_0(orthanc: Orthanc) -> None:
    found = dcmtk.find(orthanc.port, "BOGUS", {"PatientID": "FIND"})
    assert (found.done.code, found.matches, found.status) == (0, [], 0xC000)


def associate(orthanc: Orthanc, model: str, *more: str, **options: object) -> wire.Association:
    contexts = [(uid, [wire.EXPLICIT_LE]) for uid in (model, *more)]
    return wire.Association(LOCAL, orthanc.port, "ORTHANC", "TESTER", contexts, **options)


def test_move_by_both_clients(orthanc: Orthanc, receiver: wire.Receiver, tmp_path: Path) -> None:
    study, paths = put(orthanc, tmp_path, patient_id="MOVE")
    orthanc.add_modality("receiver", "RECEIVER", LOCAL, receiver.port)
    assert dcmtk.movescu(orthanc.port, "RECEIVER", "STUDY", {"StudyInstanceUID": study}).status == 0
    query = samples.identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    with associate(orthanc, wire.STUDY_ROOT_MOVE) as association:
        responses = association.move(wire.STUDY_ROOT_MOVE, query, "RECEIVER")
    assert (responses[-1]["status"], responses[-1]["completed"]) == (0, 3)
    assert [response["remaining"] for response in responses[:-1]] == [2, 1, 0][: len(responses) - 1]
    assert {(r.move_originator, r.calling, r.called) for r in receiver.received[3:]} == {
        ("TESTER", "ORTHANC", "RECEIVER")
    }
    assert len(receiver.received) == 2 * len(paths)


def test_get_by_both_clients(orthanc: Orthanc, tmp_path: Path) -> None:
    study, paths = put(orthanc, tmp_path / "sent", patient_id="GET")
    (tmp_path / "got").mkdir()
    assert dcmtk.getscu(orthanc.port, tmp_path / "got", "STUDY", {"StudyInstanceUID": study}).code == 0
    assert len(list((tmp_path / "got").iterdir())) == 3
    query = samples.identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    roles = {samples.CT_IMAGE: (0, 1)}
    with associate(orthanc, wire.STUDY_ROOT_GET, samples.CT_IMAGE, roles=roles) as association:
        responses, stored = association.get(wire.STUDY_ROOT_GET, query)
    assert (responses[-1]["status"], responses[-1]["completed"]) == (0, 3)
    assert {message.dataset for message in stored} == {samples.read_sample(path).dataset for path in paths}


def test_orthanc_goes_down_and_comes_back_with_its_studies(tmp_path: Path, receiver: wire.Receiver) -> None:
    with Orthanc(tmp_path / "own", modalities={"peer": ("PEER", LOCAL, receiver.port)}) as own:
        put(own, tmp_path / "study")
        own.stop()
        with pytest.raises(ConnectionRefusedError):
            wire.echo(LOCAL, own.port, "ORTHANC")
        own.start()
        assert (own.count(), wire.echo(LOCAL, own.port, "ORTHANC")) == (3, 0)
        assert own.store_to("peer")["FailedInstancesCount"] == 0
        receiver.answer = lambda uid: 0xA700
        with pytest.raises(urllib.error.HTTPError):
            own.store_to("peer")
        own.delete(next(iter(own.studies())))
        assert own.count() == 0
