"""net/commit_scp.py and commit_scu.py in an acceptor: who may ask and tell, and what they are answered."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dicomnode.errors import InvalidArgument
from dicomnode.net import commit_scp, commit_scu, commitment
from dicomnode.net.acceptor import Acceptor
from dicomnode.net.reactor import Reactor
from dicomnode.operations import commit
from dicomnode.operations.ports import Node, Reference, Report
from dicomnode.store.database import rows
from tests import fakes, wire
from tests.fakes import FakeSlots
from tests.node import LOCAL, wait_until
from tests.patience import patient
from tests.samples import Sample, make_instances
from tests.upper_layer import COMMITMENT, EXPLICIT_LE, IMPLICIT_LE, N_ACTION, N_EVENT_REPORT, RESPONSE, VERIFICATION

INSTANCE = "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
TRANSACTION = "1.2.3.4.5"
PORTS = iter(range(104, 200))
CONFIG = re.sub(r"10\.\d\.0\.\d+(/\d+)?", LOCAL, fakes.CONFIG).replace(
    f"CT1:      {{site: harbour, address: {LOCAL}, may: [store]}}",
    f"CT1:      {{site: harbour, host: {LOCAL}, port: 104, may: [store, commit]}}",
)
CONFIG = re.sub(r"port: (11112|104)", lambda _: f"port: {next(PORTS)}", CONFIG)
"""Everybody is here, at a port of his own."""


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    return build(CONFIG)


@pytest.fixture
def port(node: Node) -> Iterator[int]:
    """Where an acceptor of the node listens."""
    listener = socket.create_server((LOCAL, 0))
    acceptor = Acceptor([(listener, None)], node, FakeSlots())
    acceptor.start()
    yield listener.getsockname()[1]
    acceptor.drain(0)


@pytest.fixture
def samples(node: Node) -> list[Sample]:
    """Three instances that CT1 has sent."""
    made = make_instances(3, seed="commit scp")
    fakes.receive_all(node, made)
    return made


def reference(sample: Sample) -> Reference:
    return Reference(sample.sop_class, sample.sop_instance)


@contextlib.contextmanager
def associated(
    port: int, title: str = "CT1", *, roles: tuple[int, int] | None = None, syntax: str = EXPLICIT_LE, **more: Any
) -> Iterator[wire.Association]:
    contexts = ((COMMITMENT, (syntax,)), (VERIFICATION, (IMPLICIT_LE,)))
    negotiated = {COMMITMENT: roles} if roles else None
    with wire.Association(LOCAL, port, "REFERNODE", title, contexts, roles=negotiated, **more) as association:
        yield association


ASKING: dict[str, Any] = {"RequestedSOPClassUID": COMMITMENT, "RequestedSOPInstanceUID": INSTANCE, "ActionTypeID": 1}
TELLING: dict[str, Any] = {"AffectedSOPClassUID": COMMITMENT, "AffectedSOPInstanceUID": INSTANCE, "EventTypeID": 1}


def ask(
    association: wire.Association, *references: Reference, transaction: str = TRANSACTION, **command: Any
) -> wire.Response:
    implicit = association.accepted[1] == IMPLICIT_LE
    data = commitment.request(transaction, references, implicit=implicit)
    return association.request(1, N_ACTION, ASKING | command, data)


def tell(association: wire.Association, result: Report, **command: Any) -> wire.Response:
    return association.request(1, N_EVENT_REPORT, TELLING | command, commitment.report(result, "", implicit=False))


def answer(association: wire.Association, event: wire.Message, status: int = 0) -> None:
    said = {"MessageIDBeingRespondedTo": event["MessageID"], "Status": status}
    association.channel.send_message(event.context, {"CommandField": N_EVENT_REPORT | RESPONSE, **said})


def states(node: Node) -> list[tuple[str, str]]:
    with node.database.read():
        return [tuple(row) for row in rows("SELECT transaction_uid, state FROM commitments ORDER BY id")]


def reported(node: Node) -> None:
    wait_until(lambda: states(node) == [(TRANSACTION, "reported")], 5, "the transaction to be over")


def handed_over(node: Node) -> None:
    def is_due() -> bool:
        with node.database.read():
            return commit.due(node.config.partners["CT1"], node.clock()) == node.clock()

    wait_until(is_due, 5, "the result to be due")


# -- who asks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("roles", [None, (1, 0), (1, 1)])
def test_a_source_that_stays_is_told_on_its_association(
    node: Node, port: int, samples: list[Sample], roles: tuple[int, int] | None, syntax: str
) -> None:
    missing = Reference(CT, "1.2.3")
    with associated(port, roles=roles, syntax=syntax) as association:
        assert association.roles == ({COMMITMENT: (1, 0)} if roles else {})
        response = ask(association, *map(reference, samples), missing)
        assert response.status == 0
        assert response.command["CommandField"] == N_ACTION | RESPONSE
        assert response.command["AffectedSOPClassUID"] == COMMITMENT
        assert response.command["AffectedSOPInstanceUID"] == INSTANCE
        assert response.command["ActionTypeID"] == 1
        begun = time.monotonic()
        event = association._read()
        assert time.monotonic() - begun > 0.4, "a source that does not wait had a moment to leave"
        assert (event["CommandField"], event["EventTypeID"]) == (N_EVENT_REPORT, 2)
        assert (event["AffectedSOPClassUID"], event["AffectedSOPInstanceUID"]) == (COMMITMENT, INSTANCE)
        result = commitment.reported(event.dataset or b"", implicit=syntax == IMPLICIT_LE)
        assert {*result.committed} == {*map(reference, samples)}
        assert (result.transaction_uid, result.failed) == (TRANSACTION, ((missing, 0x0112),))
        assert states(node) == [(TRANSACTION, "judged")]
        answer(association, event)
        assert association.echo() == 0
        reported(node)


def test_a_source_that_leaves_is_the_forwarders(
    node: Node, port: int, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_scp, "_MOMENT", 60.0)
    with associated(port) as association:
        begun = time.monotonic()
        assert ask(association, reference(samples[0])).status == 0
    assert time.monotonic() - begun < patient(5), "its release was answered at once"
    handed_over(node)
    assert states(node) == [(TRANSACTION, "taken")]


def test_the_request_is_on_disk_before_it_is_answered(
    node: Node, port: int, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_scp, "_MOMENT", 5.0)
    with associated(port) as association:
        assert ask(association, reference(samples[0])).status == 0
        assert states(node) == [(TRANSACTION, "taken")]
        association.abort()


def test_a_request_upon_a_request_is_served_first(node: Node, port: int, samples: list[Sample]) -> None:
    with associated(port) as association:
        for number in (1, 2, 3):
            assert ask(association, reference(samples[0]), transaction=f"1.2.{number}").status == 0
        event = association._read()  # for the last, the association being silent then
        assert commitment.reported(event.dataset or b"", implicit=False).transaction_uid == "1.2.3"
        answer(association, event)
        assert association.echo() == 0
    assert [state for _, state in states(node)] == ["taken", "taken", "reported"]


def test_a_result_that_the_source_does_not_take_is_told_again(
    node: Node, port: int, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_scp, "_MOMENT", 0.1)
    with associated(port) as association:
        ask(association, reference(samples[0]))
        answer(association, association._read(), 0x0110)
        assert association.echo() == 0
    assert states(node) == [(TRANSACTION, "judged")]
    with node.database.read():
        assert commit.due(node.config.partners["CT1"], node.clock()) is not None


def test_an_answer_to_what_was_not_said_changes_nothing(node: Node, port: int, samples: list[Sample]) -> None:
    commit.take(TRANSACTION, [reference(samples[0])], node.config.partners["CT1"], node)
    with associated(port) as association:
        for number in (1, 2, 0xFFFF):
            said = {"CommandField": N_EVENT_REPORT | RESPONSE, "MessageIDBeingRespondedTo": number, "Status": 0}
            association.channel.send_message(1, said)
        assert association.echo() == 0
    assert states(node) == [(TRANSACTION, "taken")]


def test_files_that_take_long_are_the_forwarders(
    node: Node, port: int, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_scp, "_MOMENT", 0.1)
    monkeypatch.setattr(commit_scp, "_QUICK", -1.0)
    with associated(port) as association:
        assert ask(association, reference(samples[0])).status == 0
        handed_over(node)
        assert association.echo() == 0  # nothing else was said
    assert states(node) == [(TRANSACTION, "taken")]


WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "another SOP instance": ({"RequestedSOPInstanceUID": "1.2.3"}, 0x0112),
    "a SOP instance that is no UID": ({"RequestedSOPInstanceUID": "x" * 200}, 0x0112),
    "no SOP instance": ({"RequestedSOPInstanceUID": None}, 0x0112),
    "another SOP class": ({"RequestedSOPClassUID": CT}, 0x0118),
    "another action": ({"ActionTypeID": 2}, 0x0123),
    "no action": ({"ActionTypeID": None}, 0x0123),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_request_is_answered_so(node: Node, port: int, samples: list[Sample], what: str) -> None:
    command, status = WRONG[what]
    with associated(port) as association:
        assert ask(association, reference(samples[0]), **command).status == status
        assert association.echo() == 0
    assert states(node) == []


def test_a_request_without_a_dataset(node: Node, port: int) -> None:
    with associated(port) as association:
        assert association.request(1, N_ACTION, ASKING).status == 0x0120
        assert association.request(1, N_ACTION, ASKING, b"\xff" * 300).status == 0x0115
        assert "cannot be read" in association.last_error_comment
    assert states(node) == []


def test_a_transaction_that_is_in_use(node: Node, port: int, samples: list[Sample]) -> None:
    with associated(port) as association:
        assert ask(association, reference(samples[0])).status == 0
        assert ask(association, reference(samples[1])).status == 0x0131
        assert ask(association, reference(samples[0])).status == 0
        event = association._read()
        assert commitment.reported(event.dataset or b"", implicit=False).committed == (reference(samples[0]),)
    assert len(states(node)) == 1


def test_too_many_instances(node: Node, port: int) -> None:
    many = [Reference("1.2", f"1.{number}") for number in range(commitment.MOST + 1)]
    with associated(port) as association:
        assert ask(association, *many).status == 0x0213
        assert association.echo() == 0
    assert states(node) == []


def test_a_dataset_over_its_cap_is_the_end(node: Node, port: int) -> None:
    with associated(port) as association, pytest.raises((wire.Aborted, wire.Closed)):
        association.request(1, N_ACTION, ASKING, bytes(4 * 1024 * 1024 + 2))
    assert states(node) == []


@pytest.mark.parametrize("title", ["RAD_WS", "PEAK_CT"])
def test_who_may_not_ask_gets_no_context(port: int, title: str) -> None:
    with associated(port, title) as association:
        assert association.results[1] == 3
        with pytest.raises(wire.Aborted):
            association.request(1, N_ACTION, ASKING, b"")


def test_an_action_on_another_context(node: Node, port: int, samples: list[Sample]) -> None:
    with associated(port) as association:
        data = commitment.request(TRANSACTION, [reference(samples[0])], implicit=True)
        response = association.request(3, N_ACTION, ASKING, data)
        assert (response.status, response.command["CommandField"]) == (0x0211, N_ACTION | RESPONSE)
        assert association.request(3, N_EVENT_REPORT, TELLING, data).status == 0x0211
    assert states(node) == []


# -- who tells -----------------------------------------------------------------------------------------------------

Heard = list[tuple[Report, str]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """What was handed to who knows what we asked; he knows of one transaction."""
    found: Heard = []

    def hear(report: Report, partner: Any, node: Node) -> None:
        if report.transaction_uid != TRANSACTION:
            raise InvalidArgument("not ours")
        found.append((report, partner.name))

    monkeypatch.setattr(commit_scu.confirm, "hear", hear)
    return found


@pytest.mark.parametrize("roles", [None, (0, 1), (1, 1)])
def test_a_destination_is_heard(port: int, heard: Heard, roles: tuple[int, int] | None) -> None:
    result = Report(TRANSACTION, (Reference(CT, "1.2.3"),), ((Reference(CT, "1.2.4"), 0x0112),))
    with associated(port, "PUBPACS", roles=roles) as association:
        assert association.roles == ({COMMITMENT: (0, 1)} if roles else {})
        response = tell(association, result, EventTypeID=2)
        assert response.status == 0
        assert response.command["CommandField"] == N_EVENT_REPORT | RESPONSE
        assert (response.command["AffectedSOPClassUID"], response.command["AffectedSOPInstanceUID"]) == (
            COMMITMENT,
            INSTANCE,
        )
        assert response.command["EventTypeID"] == 2
    assert heard == [(result, "PUBPACS")]


def test_what_is_wrong_with_a_result_is_answered(port: int, heard: Heard) -> None:
    result = Report(TRANSACTION, (Reference(CT, "1.2.3"),))
    with associated(port, "PUBPACS") as association:
        assert tell(association, Report("1.2.9", result.committed)).status == 0x0115
        assert association.last_error_comment == "not ours"
        assert tell(association, result, EventTypeID=3).status == 0x0113
        assert tell(association, result, EventTypeID=None).status == 0x0113
        assert tell(association, result, AffectedSOPInstanceUID="1.2").status == 0x0112
        assert tell(association, result, AffectedSOPClassUID=CT).status == 0x0118
        assert association.request(1, N_EVENT_REPORT, TELLING, b"\xff" * 99).status == 0x0115
        assert association.request(1, N_EVENT_REPORT, TELLING).status == 0x0120
        assert heard == []
        assert tell(association, result).status == 0
    assert len(heard) == 1


def test_a_bug_of_ours_is_no_success(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_scu.confirm, "hear", lambda *_: 1 / 0)
    with associated(port, "PUBPACS") as association:
        assert tell(association, Report(TRANSACTION, (Reference(CT, "1.2.3"),))).status == 0x0110
        assert association.echo() == 0


def test_a_destination_may_not_ask(node: Node, port: int, heard: Heard) -> None:
    with associated(port, "PUBPACS", roles=(1, 0)) as association:
        assert association.results[1] == 1  # it would only be the SCU
    with associated(port, "PUBPACS") as association:
        assert ask(association, Reference(CT, "1.2.3")).status == 0x0211
    assert states(node) == []


def test_a_source_may_not_tell(port: int, heard: Heard) -> None:
    result = Report(TRANSACTION, (Reference(CT, "1.2.3"),))
    with associated(port, roles=(0, 1)) as association:
        assert association.results[1] == 1
    for roles in (None, (1, 0), (1, 1)):
        with associated(port, roles=roles) as association:
            assert tell(association, result).status == 0x0211
    assert heard == []


def test_silence_is_that_nothing_has_come() -> None:
    ours, theirs = socket.socketpair()
    reactor = Reactor(ours, lambda *_: None, idle=5, pdu=5)
    with theirs, ours:
        begun = time.monotonic()
        assert reactor.is_silent(0.2)
        assert time.monotonic() - begun >= 0.19
        reactor.end = "over"
        assert not reactor.is_silent()
        reactor.end = ""
        theirs.send(b"x")
        assert not reactor.is_silent(5)
