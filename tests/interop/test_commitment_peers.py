"""Orthanc and dcmqrscp, asked what they have of a study; and Storage Commitment with Orthanc, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dicomnode.config.model import Partner
from dicomnode.net import commitment
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Reference
from tests import dcmtk, fakes
from tests.node import LOCAL, Node, changed, default_config, wait_until
from tests.orthanc import Orthanc
from tests.receiver import Receiver
from tests.samples import Sample, make_study, read_sample
from tests.wire import send_files

TITLE = "ORTHANC"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One whose peers are known when it starts: it tells results to those alone."""
    with Orthanc(tmp_path_factory.mktemp("archive"), ae_title=TITLE) as it:
        yield it


@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with dcmtk.qrscp(tmp_path_factory.mktemp("dcmqrscp"), TITLE) as port:
        yield port


def ask(folder: Path, port: int) -> tuple[Requestor, Partner]:
    """A requestor, and the partner that listens there."""
    text = fakes.CONFIG.replace("host: 10.9.0.5, port: 104", f"ae_title: {TITLE}, host: {LOCAL}, port: {port}")
    config = fakes.configuration(text, folder)
    return Requestor(config), config.partners["PUBPACS"]


def studies(folder: Path, seed: str) -> list[list[Sample]]:
    """Two series of one study, and another study, of which nobody asks."""
    paths = make_study(folder / "1", slices=3, seed=seed)
    uid = read_sample(paths[0]).study
    more = make_study(folder / "2", slices=4, seed=seed, modality="MR", study_uid=uid)
    other = make_study(folder / "3", slices=2, seed=f"{seed} other", patient_id="H0002")
    return [[read_sample(path) for path in found] for found in (paths + more, other)]


def uids(samples: Sequence[Sample]) -> set[str]:
    return {each.sop_instance for each in samples}


@pytest.mark.parametrize("which", ["Orthanc", "dcmqrscp"])
def test_what_a_partner_has_of_a_study(tmp_path: Path, request: pytest.FixtureRequest, which: str) -> None:
    port = request.getfixturevalue("archive").port if which == "Orthanc" else request.getfixturevalue("dcmqrscp")
    wanted, _ = studies(tmp_path, "questions")
    paths = sorted(tmp_path.rglob("*.dcm"))
    assert set(send_files(LOCAL, port, TITLE, "REFERNODE", paths).values()) == {0}
    requestor, partner = ask(tmp_path, port)
    assert requestor.instances(partner, wanted[0].study) == uids(wanted)
    counted = requestor.count(partner, wanted[0].study)
    assert counted == 7 if which == "Orthanc" else counted in (7, None)  # dcmqrscp need not say
    assert requestor.instances(partner, "1.2.3.4") == frozenset()
    assert requestor.count(partner, "1.2.3.4") == 0


def test_orthanc_tells_what_it_commits_to(archive: Orthanc, tmp_path: Path) -> None:
    wanted, _ = studies(tmp_path, "commitment")
    paths = sorted(tmp_path.rglob("*.dcm"))
    assert set(send_files(LOCAL, archive.port, TITLE, "REFERNODE", paths).values()) == {0}
    missing = Reference(wanted[0].sop_class, "1.2.3.4.5")
    asked = [*(Reference(each.sop_class, each.sop_instance) for each in wanted), missing]
    requestor, partner = ask(tmp_path, archive.port)
    with Receiver(accept=lambda abstract, syntaxes: syntaxes[0]) as receiver:
        archive.add_modality("REFERNODE", "REFERNODE", LOCAL, receiver.port)
        result = requestor.commit(partner, "1.2.3.9", asked, lambda: False)
        if result is None:  # it opens an association for it
            receiver.wait_until(lambda: bool(receiver.events), 20, "the result")
            (event,), (called,) = receiver.events, receiver.requests
            (context,) = called.contexts.values()
            result = commitment.reported(event.dataset or b"", implicit=context[1][0] == "1.2.840.10008.1.2")
    assert (result.transaction_uid, result.failed) == ("1.2.3.9", ((missing, 0x0112),))
    assert {each.sop_instance_uid for each in result.committed} == uids(wanted)


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], archive: Orthanc) -> Node:
    """Orthanc is a private PACS that has us commit."""
    pacs = {"site": "harbour", "ae_title": TITLE, "host": LOCAL, "port": archive.port, "may": ["store", "commit"]}
    return start_node(changed(default_config(), {"partners": {"PACS": pacs}}))


@pytest.fixture
def in_the_archive(archive: Orthanc, node: Node, tmp_path: Path) -> list[Sample]:
    """A study that Orthanc has, which knows the node."""
    paths = make_study(tmp_path, slices=5, seed=str(tmp_path))
    assert set(send_files(LOCAL, archive.port, TITLE, "ANYBODY", paths).values()) == {0}
    archive.add_modality("NODE", node.ae_title, LOCAL, node.port)
    return [read_sample(path) for path in paths]


def committed(archive: Orthanc, samples: Sequence[Sample]) -> dict[str, Any]:
    """What Orthanc learns when it asks the node to commit to these."""
    body = {"DicomInstances": [[each.sop_class, each.sop_instance] for each in samples], "Timeout": 10}
    path = archive.post("/modalities/NODE/storage-commitment", body)["Path"]
    wait_until(lambda: archive.get(path)["Status"] != "Pending", 20, "the result at Orthanc", archive.log)
    return dict(archive.get(path))


def test_orthanc_asks_us_to_commit(archive: Orthanc, node: Node, in_the_archive: list[Sample]) -> None:
    study = archive.studies()[in_the_archive[0].study]["ID"]
    archive.store_to("NODE", study)
    result = committed(archive, in_the_archive)
    assert result["Status"] == "Success", result
    assert {each["SOPInstanceUID"] for each in result["Success"]} == uids(in_the_archive)


def test_orthanc_learns_what_we_have_not(archive: Orthanc, node: Node, in_the_archive: list[Sample]) -> None:
    archive.store_to("NODE", archive.instances(in_the_archive[0].study)[in_the_archive[0].sop_instance])
    result = committed(archive, in_the_archive)
    assert result["Status"] == "Failure", result
    assert {each["SOPInstanceUID"] for each in result["Success"]} == {in_the_archive[0].sop_instance}
    assert {each["FailureReason"] for each in result["Failures"]} == {0x0112}
    assert len(result["Failures"]) == 4


def test_what_orthanc_commits_to_is_confirmed(
    start_node: Callable[..., Node], archive: Orthanc, tmp_path: Path
) -> None:
    hospital = {"ae_title": TITLE, "confirm": {"by": "commitment"}}
    config = default_config(pubpacs=archive.port, limits={"retry_first": "1s"})
    own = {"ae_title": "CUSTODY"}  # Orthanc tells the result to whom it knows under the title that asked
    node = start_node(changed(config, {"node": own, "partners": {"PUBPACS": hospital}}))
    archive.add_modality("CUSTODY", node.ae_title, LOCAL, node.port)
    paths = make_study(tmp_path, slices=3, seed="confirmed", patient_id="CONFIRM1")
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}
    study = read_sample(paths[0]).study

    def row() -> dict[str, Any]:
        (found,) = [each for each in node.cli("referrals", "list", json=True) if each["study_instance_uid"] == study]
        return dict(found)

    node.wait_until(lambda: row()["progress"] == "confirmed", 30, "the referral to be confirmed")
    assert row()["proof"] == "commitment"
