"""Storage Commitment, R216 to R229 (PS3.4 J.3, PS3.3 C.14)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import ContextMissing, PartnerError
from dicomnode.operations.ports import Reference, Report
from tests.conformance.archive import CT, MR
from tests.conformance.kit import CALLER, case, configuration
from tests.integration.kit import query, rows
from tests.node import Node
from tests.receiver import Receiver
from tests.samples import Dataset, Sample, decode, encode, make_instances
from tests.script import INSTANCE, Script, row, scripted
from tests.upper_layer import (
    C_FIND,
    COMMITMENT,
    EXPLICIT_LE,
    N_ACTION,
    N_EVENT_REPORT,
    RESPONSE,
    STUDY_ROOT_FIND,
    Message,
)
from tests.wire import Association, Response, contexts_for

ASKING: dict[str, Any] = {"RequestedSOPClassUID": COMMITMENT, "RequestedSOPInstanceUID": INSTANCE, "ActionTypeID": 1}
TELLING: dict[str, Any] = {"AffectedSOPClassUID": COMMITMENT, "AffectedSOPInstanceUID": INSTANCE, "EventTypeID": 1}
CONTEXT = [(COMMITMENT, [EXPLICIT_LE])]
UNKNOWN = "1.2.3.4.5.6"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def source() -> Iterator[Receiver]:
    """The source, where it is called back: it takes every context."""
    with Receiver(accept=lambda abstract, syntaxes: syntaxes[0]) as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], source: Receiver) -> Node:
    return start_node(configuration(caller=source.port, limits={"retry_first": "1s", "retry_most": "1s"}))


@pytest.fixture(scope="module")
def stored(node: Node) -> list[Sample]:
    made = make_instances(3, seed="conformance commitment")
    with node.associate(CALLER, contexts_for(made)) as association:
        assert {association.send_sample(each) for each in made} == {0}
    return made


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    with node.associate(CALLER, CONTEXT) as it:
        yield it


@pytest.fixture
def transaction() -> str:
    return f"2.25.7.{next(_numbers)}"


def _item(sop_class: str, sop_instance: str) -> Dataset:
    return row(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=sop_instance)


def request(transaction: str | None, *pairs: tuple[str, str]) -> bytes:
    """The Action Information."""
    asked = row(ReferencedSOPSequence=[_item(*pair) for pair in pairs])
    if transaction is not None:
        asked.TransactionUID = transaction
    return encode(asked)


def ask(node: Node, data: bytes, **command: Any) -> Response:
    """By one that hangs up when it has its answer."""
    with node.associate(CALLER, CONTEXT) as one:
        return one.request(1, N_ACTION, ASKING | command, data)


def told(source: Receiver, transaction: str) -> tuple[Message, Dataset]:
    """The one report of a transaction."""

    def found() -> list[tuple[Message, Dataset]]:
        reports = [(each, decode(each.dataset or b"")) for each in source.events]
        return [each for each in reports if each[1].TransactionUID == transaction]

    source.wait_until(lambda: bool(found()), 20, "the report")
    (report,) = found()
    return report


def references(report: Dataset) -> dict[str, int]:
    """SOP Instance UID → Failure Reason; 0 where it is committed to."""
    good = {each.ReferencedSOPInstanceUID: 0 for each in report.get("ReferencedSOPSequence", [])}
    bad = {each.ReferencedSOPInstanceUID: each.FailureReason for each in report.get("FailedSOPSequence", [])}
    assert not good.keys() & bad.keys()
    return good | bad


# -- as SCP ------------------------------------------------------------------------------------------------------


@case("R216+R218+R220+R221+R222+R224-C01-two-that-are-stored")
def test_what_is_stored_is_committed_to(node: Node, source: Receiver, stored: list[Sample], transaction: str) -> None:
    pairs = [(each.sop_class, each.sop_instance) for each in stored[:2]]
    answer = ask(node, request(transaction, *pairs))
    assert (answer.status, answer.dataset) == (0, None)
    event, report = told(source, transaction)
    assert event["EventTypeID"] == 1
    assert references(report) == {uid: 0 for _, uid in pairs}
    assert "FailedSOPSequence" not in report
    assert report.RetrieveAETitle == "REFERNODE"
    assert not any("RetrieveAETitle" in each for each in report.ReferencedSOPSequence)
    (called,) = [each for each in source.requests if each.roles]
    assert called.roles == {COMMITMENT: (0, 1)}


@case("R221-C01-on-the-same-association-while-it-is-open")
def test_a_source_that_waits_is_told_where_it_is(node: Node, stored: list[Sample], transaction: str) -> None:
    with node.associate(CALLER, CONTEXT, timeout=20) as one:
        pairs = [(stored[0].sop_class, stored[0].sop_instance)]
        assert one.request(1, N_ACTION, ASKING, request(transaction, *pairs)).status == 0
        event = one.channel.read_message()
        assert event is not None
        assert (event["CommandField"], event["EventTypeID"], event.context) == (N_EVENT_REPORT, 1, 1)
        assert decode(event.dataset or b"").TransactionUID == transaction
        command = {"CommandField": N_EVENT_REPORT | RESPONSE, "MessageIDBeingRespondedTo": event["MessageID"]}
        one.channel.send_message(1, command | {"Status": 0, "EventTypeID": 1})


@case("R218+R219-C02+C03-one-unknown-and-one-of-another-class")
def test_what_failed_says_why(node: Node, source: Receiver, stored: list[Sample], transaction: str) -> None:
    uid, other = stored[0].sop_instance, stored[1].sop_instance
    assert ask(node, request(transaction, (CT, uid), (CT, UNKNOWN), (MR, other))).status == 0
    event, report = told(source, transaction)
    assert event["EventTypeID"] == 2
    assert references(report) == {uid: 0, UNKNOWN: 0x0112, other: 0x0119}


@case("R219+R223-a-damaged-file")
def test_a_file_that_is_damaged_is_not_committed_to(
    node: Node, source: Receiver, stored: list[Sample], transaction: str
) -> None:
    uid = stored[2].sop_instance
    (found,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ?", uid)
    path = node.data / str(found["file"])
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert ask(node, request(transaction, (CT, uid))).status == 0
    assert references(told(source, transaction)[1]) == {uid: 0x0110}


ONE = (CT, UNKNOWN)
WRONG: list[tuple[str, tuple[int, ...], dict[str, Any], str | None, tuple[tuple[str, str], ...]]] = [
    ("C04-another-SOP-instance", (0x0112,), {"RequestedSOPInstanceUID": "1.2.3"}, "2.25.8.1", (ONE,)),
    ("C05-another-action", (0x0123,), {"ActionTypeID": 2}, "2.25.8.2", (ONE,)),
    ("C06-no-instances", (0x0114, 0x0115, 0x0120, 0x0121), {}, "2.25.8.3", ()),
    ("C06-no-transaction", (0x0114, 0x0115, 0x0120, 0x0121), {}, None, (ONE,)),
    ("C06-an-empty-transaction", (0x0114, 0x0115, 0x0120, 0x0121), {}, "", (ONE,)),
]


@pytest.mark.parametrize(
    ("statuses", "command", "transaction_uid", "pairs"), [pytest.param(*it[1:], id=f"R217-{it[0]}") for it in WRONG]
)
def test_a_wrong_request_is_refused(
    statuses: tuple[int, ...],
    command: dict[str, Any],
    transaction_uid: str | None,
    pairs: tuple[tuple[str, str], ...],
    association: Association,
) -> None:
    answer = association.request(1, N_ACTION, ASKING | command, request(transaction_uid, *pairs))
    assert answer.status in statuses, f"{answer.status:04X}H"


@case("R219+R225-C07-a-transaction-that-is-active-and-one-that-is-over")
def test_a_transaction_uid_is_in_use_until_it_is_reported(
    node: Node, source: Receiver, stored: list[Sample], transaction: str
) -> None:
    source.stop()
    one, two = ((each.sop_class, each.sop_instance) for each in stored[:2])
    assert ask(node, request(transaction, one)).status == 0
    assert ask(node, request(transaction, two)).status == 0x0131
    source.start()
    told(source, transaction)
    over = "SELECT 1 FROM commitments WHERE transaction_uid = ? AND state = 'reported'"
    node.wait_until(lambda: rows(node, over, transaction), 20, "the transaction to be over")
    source.events.clear()
    assert ask(node, request(transaction, two)).status == 0
    assert references(told(source, transaction)[1]) == {two[1]: 0}


@case("R229-C08-both-roles-offered")
def test_both_roles_are_answered_with_what_is_supported(node: Node) -> None:
    with node.associate(CALLER, CONTEXT, roles={COMMITMENT: (1, 1)}) as one:
        assert one.results == {1: 0}
        assert one.roles in ({COMMITMENT: (1, 1)}, {COMMITMENT: (1, 0)})


# -- as SCU ------------------------------------------------------------------------------------------------------

REFERENCES = [Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")]


def report(transaction: str, failed: int = 0) -> bytes:
    """The Event Information on the two; the last `failed` of them have failed."""
    items = [_item(each.sop_class_uid, each.sop_instance_uid) for each in REFERENCES]
    good, bad = items[: 2 - failed], items[2 - failed :]
    for each in bad:
        each.FailureReason = 0x0112
    said = row(TransactionUID=transaction)
    if good:
        said.ReferencedSOPSequence = good
    if bad:
        said.FailedSOPSequence = bad
    return encode(said)


@case("R226+R228-a-result-on-the-same-association")
def test_a_result_is_taken_in_part(tmp_path: Path) -> None:
    """Only what is in the list of success counts as safe."""

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == N_ACTION:
            script.respond(message, 0)
            script.tell(message, report("1.2.9", failed=1), 2)

    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        result = requestor.commit(partner, "1.2.9", REFERENCES, lambda: False)
    assert result == Report("1.2.9", (REFERENCES[0],), ((REFERENCES[1], 0x0112),))
    assert script.messages[1]["Status"] == 0


@pytest.mark.parametrize(
    "roles",
    [
        pytest.param({COMMITMENT: (0, 1)}, id="R226+R227-with-the-role"),
        pytest.param(None, id="R226+R227-without-a-role"),
    ],
)
def test_a_result_of_what_was_never_asked_is_refused(roles: dict[str, tuple[int, int]] | None, node: Node) -> None:
    """On a new association, which is accepted with the role and without."""
    before = rows(node, "SELECT * FROM transfers")
    with node.associate("PUBPACS", CONTEXT, roles=roles) as one:
        assert one.results == {1: 0}
        assert one.request(1, N_EVENT_REPORT, TELLING, report("1.2.99")).status in (0x0110, 0x0115)
    assert rows(node, "SELECT * FROM transfers") == before


EVENTS: list[tuple[str, dict[str, Any], int]] = [
    ("an-unknown-event", {"EventTypeID": 3}, 0x0113),
    ("another-instance", {"AffectedSOPInstanceUID": "1.2.3"}, 0x0112),
    ("another-class", {"AffectedSOPClassUID": CT}, 0x0118),
]


@pytest.mark.parametrize(("command", "status"), [pytest.param(*it[1:], id=f"R240-{it[0]}") for it in EVENTS])
def test_an_event_that_is_none_is_refused(command: dict[str, Any], status: int, node: Node) -> None:
    with node.associate("PUBPACS", CONTEXT, roles={COMMITMENT: (0, 1)}) as one:
        answer = one.request(1, N_EVENT_REPORT, TELLING | command, report("1.2.99"))
    said = TELLING | command
    assert answer.status == status
    assert {key: answer.command[key] for key in said} == said


@case("R241-an-event-while-something-else-runs")
def test_an_event_during_another_operation_is_answered(node: Node) -> None:
    contexts = [*CONTEXT, (STUDY_ROOT_FIND, [EXPLICIT_LE])]
    asked = query("STUDY", {"StudyInstanceUID": ""})
    with node.associate("CASEPUB", contexts, roles={COMMITMENT: (0, 1)}) as one:
        finding = one.send(3, C_FIND, {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}, asked)
        telling = one.send(1, N_EVENT_REPORT, TELLING, report("1.2.99"))
        statuses = {response.message_id: response.status for response in (one.read_response(), one.read_response())}
    assert statuses == {finding: 0, telling: 0x0115}


@case("R217-a-request-of-ours-that-is-refused")
def test_a_request_that_is_refused(tmp_path: Path) -> None:
    with Script(lambda script, message: script.respond(message, 0x0213)) as script:
        requestor, partner = scripted(script, tmp_path)
        with pytest.raises(PartnerError, match="0213H"):
            requestor.commit(partner, "1.2.9", REFERENCES, lambda: False)
    with Script(lambda script, message: None, accepts=None) as script:
        requestor, partner = scripted(script, tmp_path)
        with pytest.raises(ContextMissing):
            requestor.commit(partner, "1.2.9", REFERENCES, lambda: False)
