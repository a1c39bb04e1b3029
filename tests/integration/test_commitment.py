"""Storage Commitment with a whole node: a source is told the result, wherever it is; a stranger proves nothing."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import wire
from tests.integration.kit import events, rows
from tests.node import LOCAL, Node, changed, default_config, wait_until
from tests.patience import patient
from tests.receiver import Receiver
from tests.samples import Dataset, Sample, decode, encode, make_study, read_sample
from tests.upper_layer import COMMITMENT, EXPLICIT_LE, N_ACTION, N_EVENT_REPORT, Message
from tests.wire import Response

INSTANCE = "1.2.840.10008.1.20.1.1"
ASKING: dict[str, Any] = {"RequestedSOPClassUID": COMMITMENT, "RequestedSOPInstanceUID": INSTANCE, "ActionTypeID": 1}
TELLING: dict[str, Any] = {"AffectedSOPClassUID": COMMITMENT, "AffectedSOPInstanceUID": INSTANCE, "EventTypeID": 1}
_NUMBERS = itertools.count(100)
_CONTEXT = [(COMMITMENT, (EXPLICIT_LE,))]


def everything(abstract: str, syntaxes: Sequence[str]) -> str | None:
    return syntaxes[0]


@pytest.fixture(scope="module")
def called_back() -> Iterator[Receiver]:
    """Where the source of them all is called back."""
    with Receiver(accept=everything) as it:
        yield it


@pytest.fixture
def source(called_back: Receiver) -> Receiver:
    """The same; it is there when a test begins, and has forgotten what others did."""
    called_back.events.clear()
    called_back.requests.clear()
    return called_back


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], called_back: Receiver) -> Node:
    config = default_config(limits={"retry_first": "1s", "retry_most": "1s"})
    asking = {"host": LOCAL, "port": called_back.port, "may": ["store", "commit"]}
    return start_node(changed(config, {"partners": {"CT1": asking}}))


@pytest.fixture
def study(node: Node, tmp_path: Path) -> list[Sample]:
    """Four instances that the node has, of a study that no other test knows."""
    paths = make_study(tmp_path / "study", slices=4, seed=str(tmp_path))
    assert set(node.send(paths).values()) == {0}
    return [read_sample(path) for path in paths]


@pytest.fixture
def transaction() -> str:
    return f"1.2.{next(_NUMBERS)}"


def request(transaction: str, *instances: tuple[str, str], sequence: str = "ReferencedSOPSequence") -> bytes:
    """The dataset of a request, or of a result: written by pydicom."""
    asked, items = Dataset(), []
    for sop_class, sop_instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    asked.TransactionUID = transaction
    setattr(asked, sequence, items)
    return encode(asked)


def ask(node: Node, transaction: str, samples: Sequence[Sample], *more: tuple[str, str]) -> Response:
    """As a modality does that closes the association once its request was taken."""
    with node.associate("CT1", _CONTEXT) as association:
        pairs = [(each.sop_class, each.sop_instance) for each in samples]
        return association.request(1, N_ACTION, ASKING, request(transaction, *pairs, *more))


def told(source: Receiver, count: int = 1, timeout: float = 10) -> list[Message]:
    source.wait_until(lambda: len(source.events) >= count, timeout, "the result")
    return list(source.events)


def committed(node: Node, study: Sequence[Sample]) -> set[str]:
    found = rows(node, "SELECT sop_instance_uid FROM instances WHERE committed_at IS NOT NULL")
    return {row["sop_instance_uid"] for row in found} & uids(study)


def uids(study: Sequence[Sample]) -> set[str]:
    return {each.sop_instance for each in study}


def is_over(node: Node, *transactions: str) -> None:
    def over() -> bool:
        found = rows(node, "SELECT transaction_uid FROM commitments WHERE state = 'reported'")
        return {row["transaction_uid"] for row in found} >= set(transactions)

    wait_until(over, 5, "the transaction to be over", node.log)


def test_a_source_is_called_back(node: Node, source: Receiver, study: list[Sample], transaction: str) -> None:
    assert ask(node, transaction, study).status == 0
    (event,) = told(source)
    assert (event["CommandField"], event["EventTypeID"]) == (N_EVENT_REPORT, 1)
    result = decode(event.dataset or b"")
    assert result.TransactionUID == transaction
    assert {each.ReferencedSOPInstanceUID for each in result.ReferencedSOPSequence} == uids(study)
    assert committed(node, study) == uids(study)
    assert "FailedSOPSequence" not in result
    (called,) = [each for each in source.requests if each.roles]
    assert called.roles == {COMMITMENT: (0, 1)}
    assert (called.calling, called.called) == ("REFERNODE", "CT1")
    is_over(node, transaction)


def test_what_is_not_here_or_damaged_is_not_committed_to(
    node: Node, source: Receiver, study: list[Sample], transaction: str
) -> None:
    uid = study[2].sop_instance
    (row,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ?", uid)
    path = node.data / row["file"]
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 4
    path.write_bytes(raw)
    other = ("1.2.840.10008.5.1.4.1.1.4", study[3].sop_instance)
    missing = (study[0].sop_class, "1.2.3.4.5.6")
    assert ask(node, transaction, study[:3], other, missing).status == 0
    (event,) = told(source)
    assert event["EventTypeID"] == 2
    result = decode(event.dataset or b"")
    failed = {each.ReferencedSOPInstanceUID: each.FailureReason for each in result.FailedSOPSequence}
    assert failed == {uid: 0x0110, other[1]: 0x0119, missing[1]: 0x0112}
    assert committed(node, study) == uids(study[:2])
    assert f"file={row['file']}" in node.log.read_text()


def test_a_source_that_is_away_is_told_when_it_is_back(
    node: Node, source: Receiver, study: list[Sample], transaction: str
) -> None:
    source.stop()
    assert ask(node, transaction, study).status == 0
    tried = "SELECT 1 FROM commitments WHERE attempts > 0 AND transaction_uid = ?"
    wait_until(lambda: rows(node, tried, transaction), 10, "an attempt in vain", node.log)
    assert committed(node, study) == uids(study)
    source.start()
    told(source)
    is_over(node, transaction)


def test_a_request_that_was_taken_survives_a_kill(
    node: Node, source: Receiver, study: list[Sample], transaction: str
) -> None:
    source.stop()
    assert ask(node, transaction, study).status == 0
    node.kill_all()
    source.start()
    node.start()
    (event,) = told(source, timeout=30)
    assert len(decode(event.dataset or b"").ReferencedSOPSequence) == 4


def test_the_same_request_again_is_one_result(
    node: Node, source: Receiver, study: list[Sample], transaction: str
) -> None:
    source.stop()
    for _ in range(3):
        assert ask(node, transaction, study).status == 0
    assert ask(node, transaction, study[1:]).status == 0x0131
    source.start()
    told(source)
    is_over(node, transaction)
    assert ask(node, f"{transaction}.1", study).status == 0
    said = [decode(event.dataset or b"").TransactionUID for event in told(source, 2)]
    assert said == [transaction, f"{transaction}.1"]


ABUSES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "bytes": lambda: b"\xff" * 3_000_000,
    "sequences in sequences": lambda: b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 150_000,
    "items without end": lambda: b"\x08\0\x99\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * 400_000,
    "a length that lies": lambda: b"\x08\0\x95\x11UI\xf0\xff1.2.3",
    "more instances than are taken": lambda: request("1.2.3", *(("1.2", f"1.{number}") for number in range(26_000))),
}
"""Made where they are used: the last takes a while."""


@pytest.mark.parametrize("what", ABUSES)
def test_whatever_is_asked_it_is_answered_and_the_next_is_served(
    node: Node, source: Receiver, study: list[Sample], transaction: str, what: str
) -> None:
    before, abuse = rows(node, "SELECT count(*) FROM commitments"), ABUSES[what]()
    with node.associate("CT1", _CONTEXT) as association, contextlib.suppress(wire.Aborted, wire.Closed):
        begun = time.monotonic()
        assert association.request(1, N_ACTION, ASKING, abuse).status in (0x0115, 0x0120, 0x0121, 0x0213)
        assert time.monotonic() - begun < patient(5)
        assert association.request(1, N_ACTION, ASKING, request("")).status in (0x0120, 0x0121)
    assert rows(node, "SELECT count(*) FROM commitments") == before
    assert ask(node, transaction, study).status == 0
    told(source)


def test_a_result_of_what_was_never_asked_proves_nothing(node: Node, study: list[Sample], transaction: str) -> None:
    before = rows(node, "SELECT * FROM transfers")
    pairs = [(each.sop_class, each.sop_instance) for each in study]
    for roles in ({COMMITMENT: (0, 1)}, {COMMITMENT: (1, 1)}, None):
        with node.associate("PUBPACS", _CONTEXT, roles=roles) as association:
            response = association.request(1, N_EVENT_REPORT, TELLING, request(transaction, *pairs))
            assert response.status == 0x0115
    assert rows(node, "SELECT * FROM transfers") == before
    (*_, event) = events(node, "commitment result refused")
    assert event["partner"] == "PUBPACS"
