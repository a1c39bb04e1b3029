"""C-MOVE and C-GET, R167 to R207: what is selected, where it goes, and how that is told (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pydicom
import pydicom.data
import pytest
from pynetdicom.dimse_primitives import C_MOVE as C_MOVE_Message

from dicomnode.net import suboperations
from dicomnode.operations.account import SubOperation
from tests.conformance.archive import J2K, JPEG_LS, RLE, labels, sample, uid_of
from tests.conformance.kit import CALLER, CONTEXTS, case
from tests.conformance.retrievals import GETS, MODELS, MOVES, OF_SERIES, RELATIONAL, STUDY, Get, Move
from tests.integration.kit import query, rows
from tests.node import Node
from tests.receiver import first_proposed
from tests.samples import decode, make_instances, read_sample, uid
from tests.upper_layer import C_MOVE, EXPLICIT_LE, STUDY_ROOT_GET, STUDY_ROOT_MOVE, Message
from tests.wire import Association, Receiver, Response, contexts_for


@pytest.fixture(scope="module")
def movers(node: Node, association: Association) -> Iterator[dict[bytes, Association]]:
    """Features → an association on which they were agreed."""
    with node.associate(CALLER, CONTEXTS, extended=dict.fromkeys(MODELS, RELATIONAL), timeout=30) as relational:
        yield {b"": association, RELATIONAL: relational}


@pytest.mark.parametrize("it", [pytest.param(each, id=each.id) for each in MOVES])
def test_a_move(it: Move, movers: dict[bytes, Association], destination: Receiver) -> None:
    statuses = {uid_of(label): status for label, status in it.answers.items()}
    destination.answer, destination.accept = lambda uid: statuses.get(uid, 0), it.takes
    *pending, final = movers[it.features].move(it.model, query(it.level, it.keys), it.destination)
    assert _counts(final)[: len(it.expected)] == it.expected
    assert final["remaining"] is None
    assert _failed(final) == sorted(it.failed.split())
    assert labels(each.sop_instance for each in destination.received) == sorted(it.arrived)
    for each in pending:
        assert (each["status"], each["identifier"]) == (0xFF00, b"")
        assert sum(each[key] for key in ("remaining", "completed", "failed", "warning")) == sum(it.expected[1:])
    if final["status"] in (0xA801, 0xA900):
        assert final["comment"], "it says what is wrong"
    if not it.arrived and it.takes is first_proposed:
        assert destination.requests == [], "nobody is called for nothing"
    destination.wait_until(lambda: destination.open_associations == 0, what="the release of its association")
    assert len(destination.requests) <= 1
    for received in destination.received:
        _check_dataset(received.sop_instance, received.dataset, received.transfer_syntax)
        assert (received.calling, received.called) == ("REFERNODE", it.destination)


def _counts(final: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(final[key] for key in ("status", "completed", "failed", "warning"))


def _failed(final: dict[str, Any]) -> list[str]:
    """The labels of the Failed SOP Instance UID List."""
    if not final["identifier"]:
        return []
    value = decode(final["identifier"]).FailedSOPInstanceUIDList
    return labels([value] if isinstance(value, str) else value or [])


def _check_dataset(sop_instance: str, dataset: bytes, syntax: str) -> None:
    """The bytes as they were stored; in another syntax, the same elements, and the pixels of the image."""
    stored = sample(labels([sop_instance])[0])
    if syntax == stored.transfer_syntax:
        assert dataset == stored.dataset
        return
    came, was = decode(dataset, syntax), decode(stored.dataset, stored.transfer_syntax)
    for it in (came, was):
        it.pop("DataSetTrailingPadding", None)
    if stored.transfer_syntax in (RLE, J2K, JPEG_LS):
        plain = pydicom.dcmread(str(pydicom.data.get_testdata_file("MR_small.dcm")))
        assert came.PixelData == plain.PixelData
        del came.PixelData, was.PixelData
    assert {str(each.tag): each.value for each in came} == {str(each.tag): each.value for each in was}


# -- C-MOVE, step by step ----------------------------------------------------------------------------------------


def _send_move(association: Association, number: int, keys: dict[str, str | bytes], priority: int = 0) -> None:
    command = {"AffectedSOPClassUID": STUDY_ROOT_MOVE, "Priority": priority, "MoveDestination": "CASEDST"}
    context = association.context_of(STUDY_ROOT_MOVE)
    fields = {"CommandField": C_MOVE, "MessageID": number, **command}
    association.channel.send_message(context, fields, query("STUDY", keys))


def _final(association: Association) -> tuple[list[Response], Response]:
    """The Pending responses that come, and the final one."""
    pending: list[Response] = []
    while (response := association.read_response()).status == 0xFF00:
        pending.append(response)
    return pending, response


def _sums(response: Response) -> int:
    names = ("Remaining", "Completed", "Failed", "Warning")
    return sum(int(response.command.get(f"NumberOf{name}Suboperations", 0)) for name in names)


@case("R095+R179+R180+R197-M26-two-moves-one-after-the-other")
def test_sub_operations_name_their_originator(association: Association, destination: Receiver) -> None:
    keys: dict[str, str | bytes] = {"StudyInstanceUID": uid_of("3.1")}
    for number in (77, 78):
        _send_move(association, number, keys, priority=1)
        _, final = _final(association)
        assert (final.status, final.message_id, final.dataset) == (0, number, None)
        assert final.command["AffectedSOPClassUID"] == STUDY_ROOT_MOVE
    origins = [(each.move_originator, each.move_message_id, each.priority) for each in destination.received]
    assert origins == [(CALLER, 77, 1), (CALLER, 78, 1)]


@case("R197-moves-at-the-same-time")
def test_two_move_at_once(node: Node, destination: Receiver) -> None:
    with node.associate(CALLER, CONTEXTS) as one, node.associate(CALLER, CONTEXTS) as two:
        for number, each in enumerate((one, two), 1):
            _send_move(each, number, dict(STUDY))
        assert [_final(each)[1].status for each in (one, two)] == [0, 0]
    assert len(destination.received) == 8


@case("R190-M24-a-cancel")
def test_a_move_is_cancelled(association: Association, destination: Receiver) -> None:
    destination.delay = threading.Event()
    _send_move(association, 9, dict(STUDY))
    destination.wait_until(lambda: bool(destination.requests), what="the association")
    association.cancel(9, STUDY_ROOT_MOVE)
    destination.delay.set()
    _, final = _final(association)
    assert final.status == 0xFE00
    assert _sums(final) == 4
    assert int(final.command["NumberOfRemainingSuboperations"]) >= 1
    assert association.echo() == 0


@case("R182+R183+R184-M25-pending-while-it-takes-long")
def test_pending_says_how_far_it_is(association: Association, destination: Receiver) -> None:
    """A destination that takes its time: the caller hears of it meanwhile."""
    destination.delay = threading.Event()
    _send_move(association, 11, dict(STUDY))
    early = [association.read_response() for _ in range(2)]
    destination.delay.set()
    for each in early:
        assert (each.status, each.dataset, _sums(each)) == (0xFF00, None, 4)
    pending, final = _final(association)
    assert {_sums(each) for each in pending} <= {4}
    assert (final.status, final.command["NumberOfCompletedSuboperations"]) == (0, 4)
    assert "NumberOfRemainingSuboperations" not in final.command


@case("R195-the-caller-is-gone")
def test_a_move_whose_caller_is_gone_leaves_nothing_open(node: Node, destination: Receiver) -> None:
    destination.delay = threading.Event()
    caller = node.associate(CALLER, CONTEXTS)
    _send_move(caller, 1, dict(STUDY))
    destination.wait_until(lambda: bool(destination.requests), what="the association")
    caller.abort()
    destination.delay.set()
    node.wait_until(lambda: destination.open_associations == 0, 20, "the sub-operations to end")
    assert node.echo(CALLER) == 0


@case("R192-a-file-that-is-gone")
def test_a_file_that_is_gone_has_failed(node: Node, elsewhere: Receiver) -> None:
    """Of another site, whose studies no other test sees."""
    made = make_instances(3, seed="conformance gone")
    with node.associate("PEAK_CT", contexts_for(made)) as modality:
        assert {modality.send_sample(each) for each in made} == {0}
    (row,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ?", made[1].sop_instance)
    (node.data / str(row["file"])).unlink()
    with node.associate("PEAK_WS", [(STUDY_ROOT_MOVE, [EXPLICIT_LE])], timeout=30) as caller:
        final = caller.move(STUDY_ROOT_MOVE, query("STUDY", {"StudyInstanceUID": made[0].study}), "PEAK_WS")[-1]
    assert _counts(final) == (0xB000, 2, 1, 0)
    assert _failed(final) == [made[1].sop_instance]
    assert len(elsewhere.received) == 2


@case("R091+R092-M19-what-was-lossy-stays-marked")
def test_a_lossy_image_is_never_recompressed(node: Node, elsewhere: Receiver) -> None:
    """A destination that takes JPEG, but another kind, gets it decompressed, with the word that it was lossy."""
    lossy = read_sample(Path(str(pydicom.data.get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))))
    with node.associate("PEAK_CT", contexts_for([lossy])) as modality:
        assert modality.send_sample(lossy) == 0
    elsewhere.accept = lambda abstract, syntaxes: next(iter({EXPLICIT_LE, RLE} & set(syntaxes)), None)
    keys = query("STUDY", {"StudyInstanceUID": lossy.study})
    with node.associate("PEAK_WS", [(STUDY_ROOT_MOVE, [EXPLICIT_LE])], timeout=30) as caller:
        final = caller.move(STUDY_ROOT_MOVE, keys, "PEAK_WS")[-1]
    assert _counts(final) == (0, 1, 0, 0)
    (received,) = elsewhere.received
    assert received.transfer_syntax == EXPLICIT_LE
    came = decode(received.dataset)
    assert came.LossyImageCompression == "01"
    assert len(came.PixelData) == came.Rows * came.Columns * 3


# -- more than a response can say --------------------------------------------------------------------------------


class Line:
    """In place of an association: what it would send."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.dimse = SimpleNamespace(cancel_req={}, send_msg=lambda message, context: self.sent.append(message))
        self.requestor = SimpleNamespace(ae_title=CALLER)


@pytest.mark.parametrize(
    "count", [pytest.param(70_000, id="R188+R189-70000-fail"), pytest.param(1500, id="R188-1500-fail")]
)
def test_what_is_beyond_a_response_is_cut(count: int) -> None:
    request, line = C_MOVE_Message(), Line()
    request.MessageID, request.AffectedSOPClassUID = 7, STUDY_ROOT_MOVE
    context = SimpleNamespace(context_id=1, transfer_syntax=[EXPLICIT_LE])
    plan = SimpleNamespace(instances=[None] * count, destination=SimpleNamespace(display="CASEDST"))
    responses = suboperations.Responses(cast(Any, line), request, cast(Any, context), cast(Any, plan))
    responses.follow(
        SubOperation(uid("conformance", number), completed=False, warning=False) for number in range(count)
    )
    final = line.sent[-1]
    assert (final.Status, final.NumberOfFailedSuboperations) == (0xA702, min(count, 65535))
    raw = final.Identifier.getvalue()
    assert raw[:6] == b"\x08\x00\x58\x00UI"
    length = int.from_bytes(raw[6:8], "little")
    assert 60_000 < length == len(raw) - 8 <= 65534
    assert decode(raw).FailedSOPInstanceUIDList[0] == uid("conformance", 0)


# -- C-GET -------------------------------------------------------------------------------------------------------


def _getter(node: Node, it: Get) -> Association:
    contexts = [(it.model, [EXPLICIT_LE]), *((uid, list(syntaxes)) for uid, syntaxes in it.classes.items())]
    roles = dict.fromkeys(it.classes, (0, 1)) if it.scp else None
    extended = {it.model: it.features} if it.features else {}
    return node.associate(it.calling, contexts, roles=roles, extended=extended, timeout=30)


@pytest.mark.parametrize("it", [pytest.param(each, id=each.id) for each in GETS])
def test_a_get(it: Get, node: Node) -> None:
    statuses = {uid_of(label): status for label, status in it.answers.items()}
    with _getter(node, it) as association:
        responses, stored = association.get(
            it.model, query(it.level, it.keys), lambda message: statuses.get(str(message["AffectedSOPInstanceUID"]), 0)
        )
        *pending, final = responses
        accepted = association.accepted
    assert _counts(final)[: len(it.expected)] == it.expected
    assert final["remaining"] is None
    assert _failed(final) == sorted(it.failed.split())
    assert labels(message["AffectedSOPInstanceUID"] for message in stored) == sorted(it.arrived)
    for each in pending:
        assert (each["status"], each["identifier"]) == (0xFF00, b"")
    for message in stored:
        assert "MoveOriginatorApplicationEntityTitle" not in message.command
        _check_dataset(str(message["AffectedSOPInstanceUID"]), message.dataset or b"", accepted[message.context])


@case("R204-G10-a-cancel-before-the-answer")
def test_a_get_is_cancelled(node: Node) -> None:
    """The cancel comes before the response of the first sub-operation, which is the first message of its side."""
    cancelled = Get("", "SERIES", OF_SERIES, ())
    with _getter(node, cancelled) as association:

        def cancel(message: Message) -> int:
            association.cancel(1, STUDY_ROOT_GET)
            return 0

        responses, stored = association.get(STUDY_ROOT_GET, query("SERIES", OF_SERIES), cancel)
    assert responses[-1]["status"] == 0xFE00
    assert len(stored) < 3
    counts = [responses[-1][key] or 0 for key in ("remaining", "completed", "failed", "warning")]
    assert sum(counts) == 3
