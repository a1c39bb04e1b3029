"""The audit trail of a whole node: what happened is there, chained, and at the collector, whatever befell both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import audit_schema
from tests.certificates import Authority
from tests.collector import Collector
from tests.inprocess import Here
from tests.integration.kit import events, query
from tests.node import LOCAL, Node, default_config, free_port
from tests.samples import Sample, make_instances
from tests.upper_layer import EXPLICIT_LE

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
WS = "RAD_WS"


def xml(message: bytes) -> bytes:
    return message.partition(b"\xef\xbb\xbf")[2]


def numbers(collector: Collector) -> list[int]:
    """The entries that it has read, as they came."""
    found = (re.search(rb"urn:dicomnode:REFERNODE:audit:(\d+)", message) for message in collector.messages)
    return [int(each[1]) for each in found if each]


def ask(node: Node) -> None:
    with node.associate(WS, [(FIND, [EXPLICIT_LE])]) as workstation:
        workstation.find(FIND, query("STUDY", {"PatientID": "H4711", "StudyInstanceUID": ""}))


def store(node: Node, samples: list[Sample]) -> None:
    contexts = [(samples[0].sop_class, [samples[0].transfer_syntax])]
    with node.associate("CT1", contexts, called="TO_GENERAL") as modality:
        assert {modality.send_sample(sample) for sample in samples} == {0x0000}


@pytest.fixture
def collector(authority: Authority) -> Iterator[Collector]:
    made = Collector(authority.issue("collector"), fails="reset")
    yield made
    made.close()


@pytest.fixture
def node(authority: Authority, collector: Collector, tmp_path: Path) -> Iterator[Node]:
    tls = authority.issue("audited").node(f"{LOCAL}:{free_port()}")
    audit = {"collector": f"{LOCAL}:{collector.port}"}
    it = Here(tmp_path, default_config(tls=tls, audit=audit))
    yield it.start()
    it.kill_all()


def test_what_happened_gets_to_the_collector_over_its_failures_and_ours(node: Node, collector: Collector) -> None:
    samples = make_instances(3, seed="audit", PatientID="H4711")
    store(node, samples)
    ask(node)
    node.wait_until(lambda: events(node, "instances received") and events(node, "query answered"), 10, "both entries")
    node.wait_until(lambda: events(node, "audit sending stopped"), 10, "that nothing can be sent")
    assert collector.messages == []
    node.kill_all()
    collector.fails = ""
    node.start()
    assert [row["outcome"] for row in events(node, "node started")] == [0, 4], "it was killed, and nobody says so"
    node.wait_until(lambda: events(node, "audit sending resumed"), 20, "that it goes on")
    last = events(node, "audit sending resumed")[0]["id"]
    node.wait_until(lambda: last in numbers(collector), 20, "the last entry")
    assert sorted(set(numbers(collector))) == list(range(1, max(numbers(collector)) + 1)), "an entry is missing"
    assert [fault for message in collector.messages for fault in audit_schema.faults(xml(message))] == []
    (received,) = events(node, "instances received")
    assert (received["study_instance_uid"], received["patient_id"]) == (samples[0].study, "H4711")
    assert any(b"H4711" in message for message in collector.messages)
    assert b"H4711" not in node.log.read_bytes(), "a patient is in the log"
    assert node.cli("audit", "verify").code == 0
    head = re.findall(r"audit head=(\S+)", node.log.read_text())[-1]
    assert node.cli("audit", "verify", "--head", head).code == 0, "the head that was logged is the trail's"
    node.stop()
    assert len(events(node, "node stopped")) == 1
