"""Association negotiation and Verification, R001 to R051 (PS3.8 9.3, PS3.7 annex D)."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.certificates import Authority, Identity
from tests.conformance.archive import CT, STUDIES, sample, uid_of
from tests.conformance.kit import CALLER, CONTEXTS, PATIENT_ROOT_MOVE, ask, case, configuration
from tests.integration.kit import query
from tests.node import LOCAL, Node, free_port
from tests.receiver import Receiver
from tests.upper_layer import (
    C_ECHO,
    C_FIND,
    C_GET,
    C_MOVE,
    C_STORE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    NO_DATASET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RESPONSE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Aborted,
    Channel,
    Closed,
    Rejected,
    encode_command,
    pdu,
)
from tests.wire import Association, WireError, echo

ECHO = [(VERIFICATION, [IMPLICIT_LE])]
ECHOING = {"AffectedSOPClassUID": VERIFICATION}
JPEG, J2K, BIG_ENDIAN = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
WORKLIST, GE = "1.2.840.10008.5.1.4.31", "1.2.840.113619.5.2"
ANOTHER_CONTEXT = b"1.2.840.10008.3.1.1.99"


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("conformance")


@pytest.fixture(scope="module")
def strict(start_node: Callable[..., Node], identity: Identity) -> Node:
    """A node that has little patience, no room for images, and a second socket that speaks TLS."""
    limits = {"idle": "3s", "first": "3s"}
    config = configuration(limits=limits, watermarks={"associations": "900TB", "instances": "1MB"})
    config["node"]["tls"] = identity.node(f"{LOCAL}:{free_port()}")
    return start_node(config)


def _sub_item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _user(kind: int, asks: bool, first: bytes, second: bytes = b"") -> bytes:
    """A user identity sub-item (PS3.7 D.3.3.7.1)."""
    fields = struct.pack(">BBH", kind, asks, len(first)) + first + struct.pack(">H", len(second)) + second
    return _sub_item(0x58, fields)


# -- who is let in -----------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("R001-E02-an-unknown-called-title", {"called": "NOBODY"}, (1, 1, 7)),
    ("R002-E03-an-unknown-calling-title", {"calling": "NOBODY"}, (1, 1, 3)),
    ("R003-A24-titles-are-case-sensitive", {"called": "refernode"}, (1, 1, 7)),
    ("R004-A01-a-protocol-version-without-bit-0", {"protocol": 2}, (1, 2, 2)),
    ("R006-A03-an-unknown-application-context", {"application_context": ANOTHER_CONTEXT}, (1, 1, 2)),
]


@pytest.mark.parametrize(("options", "reason"), [pytest.param(*it[1:], id=it[0]) for it in REFUSED])
def test_who_is_turned_away(options: dict[str, Any], reason: tuple[int, int, int], node: Node) -> None:
    with pytest.raises(Rejected) as refused:
        node.associate(**{"calling": CALLER, "contexts": ECHO} | options)
    assert (refused.value.result, refused.value.source, refused.value.reason) == reason


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("R003-A24-spaces-around-titles", {"calling": f"  {CALLER} ", "called": " REFERNODE "}),
    ("R005-A02-other-bits-of-the-protocol-version", {"protocol": 3}),
    ("R017+R018-A25-an-unknown-sub-item-before-the-others", {"further": _sub_item(0x7F, b"what is this")}),
    ("R020-A11-no-implementation-class-uid", {"implementation": b""}),
    ("R021-A11-no-maximum-length", {"max_pdu": 0}),
    ("R029-A09-an-asynchronous-window", {"further": _sub_item(0x53, struct.pack(">HH", 8, 8))}),
    ("R039-E04-a-user-without-a-response", {"user": ("reader", "secret")}),
    ("R040+R041-E05-a-user-with-a-response", {"further": _user(1, True, b"reader")}),
    ("R042-a-kerberos-ticket", {"further": _user(3, True, b"ticket")}),
    ("R042-a-SAML-assertion", {"further": _user(4, True, b"<saml/>")}),
    ("R042-a-web-token", {"further": _user(5, True, b"e30.e30.")}),
    ("R038-common-extended-negotiation", {"further": _sub_item(0x57, b"\0\x04" + b"1.2\0" + bytes(4))}),
]


@pytest.mark.parametrize("options", [pytest.param(options, id=number) for number, options in ACCEPTED])
def test_who_is_let_in_and_what_is_not_answered(options: dict[str, Any], node: Node) -> None:
    """No window but the default, no common negotiation, and no word on a user whose identity proves nothing."""
    with node.associate(**{"calling": CALLER, "contexts": ECHO} | options) as association:
        assert association.results == {1: 0}
        assert association.echo() == 0
        assert {0x53, 0x57, 0x59} & {kind for kind, _ in association.answer.sub_items} == set()


@case("R019+R022-A10-the-acceptance-says-who-we-are")
def test_what_an_acceptance_has(node: Node) -> None:
    with node.associate(CALLER, ECHO) as association:
        items = dict(association.answer.sub_items)
    assert association.max_pdu == 1 << 20
    assert items[0x52].startswith(b"2.25."), "a root of its own, and none of a library"
    assert 1 <= len(items[0x55]) <= 16


# -- contexts ----------------------------------------------------------------------------------------------------

CONTEXT_CASES: list[tuple[str, list[tuple[str, list[str]]], dict[int, tuple[int, str]]]] = [
    (
        "R009+R046-A04-an-unsupported-abstract-syntax",
        [*ECHO, (WORKLIST, [IMPLICIT_LE])],
        {1: (0, IMPLICIT_LE), 3: (3, "")},
    ),
    ("R010-A05-an-unsupported-transfer-syntax", [*ECHO, (CT, [GE])], {1: (0, IMPLICIT_LE), 3: (4, "")}),
    ("R011-A06-no-context-that-can-be-accepted", [(WORKLIST, [IMPLICIT_LE])], {1: (3, "")}),
    (
        "R012-A07-one-class-in-several-contexts",
        [(CT, [syntax]) for syntax in (IMPLICIT_LE, EXPLICIT_LE, JPEG, J2K, BIG_ENDIAN)],
        {1: (0, IMPLICIT_LE), 3: (0, EXPLICIT_LE), 5: (0, JPEG), 7: (0, J2K), 9: (0, BIG_ENDIAN)},
    ),
    (
        "R014+R015+R016-A26-the-first-syntax-of-a-storage-class",
        [(CT, [IMPLICIT_LE, EXPLICIT_LE]), (CT, [GE, J2K, EXPLICIT_LE])],
        {1: (0, IMPLICIT_LE), 3: (0, J2K)},
    ),
    ("R078-S15-deflated-where-it-is-configured", [(CT, [DEFLATED])], {1: (0, DEFLATED)}),
    (
        "R014+R015+R016-A26-explicit-vr-for-queries",
        [(STUDY_ROOT_FIND, [IMPLICIT_LE, EXPLICIT_LE]), (STUDY_ROOT_FIND, [IMPLICIT_LE])],
        {1: (0, EXPLICIT_LE), 3: (0, IMPLICIT_LE)},
    ),
]


@pytest.mark.parametrize(("contexts", "expected"), [pytest.param(*it[1:], id=it[0]) for it in CONTEXT_CASES])
def test_each_context_gets_an_answer(
    contexts: list[tuple[str, list[str]]], expected: dict[int, tuple[int, str]], node: Node
) -> None:
    with node.associate(CALLER, contexts) as association:
        results = association.answer.results
        assert {n: (result, syntax if result == 0 else "") for n, (result, syntax) in results.items()} == expected


@case("R013-A08-128-contexts")
def test_as_many_contexts_as_there_are_ids(node: Node) -> None:
    with node.associate(CALLER, [(CT, [EXPLICIT_LE])] * 128) as association:
        assert association.results == dict.fromkeys(range(1, 256, 2), 0)


# -- roles and extended negotiation ------------------------------------------------------------------------------

ROLES: list[tuple[str, tuple[int, int] | None, tuple[int, int] | None]] = [
    ("R030-A12-as-SCP-alone", (0, 1), (0, 1)),
    ("R030+R031-A27-as-SCU-alone", (1, 0), (1, 0)),
    ("R030+R032-A28-as-both", (1, 1), (1, 1)),
    ("R030+R033-A27-none-asked", None, None),
]


@pytest.mark.parametrize(("asked", "answered"), [pytest.param(*it[1:], id=it[0]) for it in ROLES])
def test_roles_are_answered_as_they_were_asked(
    asked: tuple[int, int] | None, answered: tuple[int, int] | None, node: Node
) -> None:
    with node.associate(CALLER, [(CT, [EXPLICIT_LE])], roles={CT: asked} if asked else None) as association:
        assert association.results == {1: 0}
        assert association.roles.get(CT) == answered


FEATURES: list[tuple[str, str, bytes, bytes | None]] = [
    ("R034-A13-all-of-a-query", STUDY_ROOT_FIND, b"\1" * 7, b"\1\1\1\0\0\1\1"),
    ("R034+R035-A13-some-of-a-query", STUDY_ROOT_FIND, b"\0\1\0\0\0\0\0", b"\0\1\0\0\0\0\0"),
    ("R034-A14-one-byte-of-a-query", STUDY_ROOT_FIND, b"\1", b"\1"),
    ("R034-A14-none-wanted", STUDY_ROOT_FIND, b"\0", b"\0"),
    ("R034-A13-bytes-that-nobody-knows", STUDY_ROOT_FIND, b"\1" * 9, b"\1\1\1\0\0\1\1\0\0"),
    ("R036-A15-a-move", STUDY_ROOT_MOVE, b"\1\1", b"\1\0"),
    ("R036-A15-a-move-of-patient-root", PATIENT_ROOT_MOVE, b"\1", b"\1"),
    ("R036-A15-a-get", STUDY_ROOT_GET, b"\1", b"\1"),
    ("R037-A16-storage", CT, b"\2\0\0\0\0\0", None),
]


@pytest.mark.parametrize(("sop_class", "asked", "answered"), [pytest.param(*it[1:], id=it[0]) for it in FEATURES])
def test_features_are_answered_byte_for_byte(sop_class: str, asked: bytes, answered: bytes | None, node: Node) -> None:
    with node.associate(CALLER, [(sop_class, [EXPLICIT_LE])], extended={sop_class: asked}) as association:
        assert association.results == {1: 0}
        assert association.answer.extended.get(sop_class) == answered


# -- messages and PDUs -------------------------------------------------------------------------------------------


@case("R048+R046+R050-E01-an-echo")
def test_an_echo_is_answered(node: Node) -> None:
    with node.associate(CALLER, ECHO) as association:
        answer = association.request(1, C_ECHO, ECHOING)
    assert (answer.status, answer.dataset) == (0, None)
    assert answer.command["CommandField"] == C_ECHO | RESPONSE
    assert answer.command["CommandDataSetType"] == NO_DATASET
    assert answer.command["AffectedSOPClassUID"] == VERIFICATION


@case("R043+R049+R050-E06-any-message-id")
def test_message_ids_come_back(node: Node) -> None:
    with node.associate(CALLER, ECHO) as association:
        for number in (65533, 65534, 65535, 0, *range(1, 17)):
            association.channel.send_message(1, {"CommandField": C_ECHO, "MessageID": number, **ECHOING})
            assert (association.read_response().message_id) == number
        association.send_raw(pdu(RELEASE_RQ, bytes(4)))
        assert association.recv_pdu()[0] == RELEASE_RP
        with pytest.raises(Closed):
            association.recv_pdu()


@case("R023-A21-fragments-of-20-bytes")
def test_a_message_may_come_in_crumbs(node: Node) -> None:
    with node.associate(CALLER, ECHO) as association:
        association.channel.max_pdu = 26
        assert association.echo() == 0


@case("R021-A23-no-pdu-over-the-maximum-length")
def test_no_pdu_is_longer_than_the_peer_takes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    label = "1.2.1.2"
    contexts = [(STUDY_ROOT_GET, [EXPLICIT_LE]), (STUDY_ROOT_FIND, [EXPLICIT_LE])]
    contexts.append((sample(label).sop_class, [sample(label).transfer_syntax]))
    roles = {sample(label).sop_class: (0, 1)}
    with node.associate(CALLER, contexts, roles=roles, max_pdu=4096) as association:
        lengths: list[int] = []
        receive = association.channel.recv_pdu

        def measured() -> tuple[int, bytes]:
            kind, body = receive()
            lengths.append(len(body))
            return kind, body

        monkeypatch.setattr(association.channel, "recv_pdu", measured)
        keys = {
            "StudyInstanceUID": uid_of("1.2"),
            "SeriesInstanceUID": uid_of("1.2.1"),
            "SOPInstanceUID": uid_of(label),
        }
        _, stored = association.get(STUDY_ROOT_GET, query("IMAGE", keys))
        association.find(STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": "", "PatientName": ""}))
    assert [message.dataset for message in stored] == [sample(label).dataset]
    assert 4000 < max(lengths) <= 4096


WRONG: list[tuple[str, Callable[[Association], object]]] = [
    ("R024-A17-an-unknown-pdu", lambda it: it.send_raw(pdu(0x99, bytes(4)))),
    ("R024-A17-a-second-request", lambda it: it.send_raw(pdu(1, bytes(68)))),
    ("R026-A19-a-context-that-was-not-accepted", lambda it: it.send(77, C_ECHO, ECHOING)),
    ("R027-A20-an-unknown-command", lambda it: it.send(1, 0x0777, ECHOING)),
]


@pytest.mark.parametrize("act", [pytest.param(act, id=number) for number, act in WRONG])
def test_what_breaks_the_protocol_ends_the_association(act: Callable[[Association], object], node: Node) -> None:
    association = node.associate(CALLER, ECHO)
    act(association)
    with pytest.raises(Aborted) as aborted:
        association.recv_pdu()
    assert aborted.value.source == 2
    association.channel.close()
    assert node.echo(CALLER) == 0


@case("R025-A18-data-before-a-request")
def test_data_before_an_association_is_the_end(node: Node) -> None:
    echo_rq = encode_command({"CommandField": C_ECHO, "MessageID": 1, "CommandDataSetType": NO_DATASET, **ECHOING})
    with socket.create_connection((LOCAL, node.port), 10) as sock:
        channel = Channel(sock, 10)
        channel.send_raw(b"".join(channel.fragments(1, echo_rq, command=True)))
        with pytest.raises((Aborted, Closed)):
            channel.recv_pdu()
    assert node.echo(CALLER) == 0


@pytest.mark.parametrize("operation", [C_FIND, C_MOVE, C_STORE])
@case("R028-A22-another-operation-on-a-verification-context")
def test_an_operation_of_another_service_is_not_executed(operation: int, node: Node) -> None:
    command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0, "AffectedSOPInstanceUID": "1.2.3"}
    with node.associate(CALLER, ECHO) as association:
        identifier = query("STUDY", {"StudyInstanceUID": ""})
        assert association.request(1, operation, command | {"MoveDestination": CALLER}, identifier).status in (
            0x0122,
            0x0211,
        )
        assert association.echo() == 0


# -- limits, ends and time ---------------------------------------------------------------------------------------


@case("R007-too-many-associations")
def test_one_association_too_many_may_come_again(node: Node) -> None:
    with node.associate("CASEONE", ECHO) as first:
        with pytest.raises(Rejected) as refused:
            node.associate("CASEONE", ECHO)
        assert (refused.value.result, refused.value.source, refused.value.reason) == (2, 3, 2)
        assert first.echo() == 0
    assert node.wait_until(lambda: _echoes(node, "CASEONE"), 10, "room for another")


def _echoes(node: Node, calling: str) -> bool:
    with contextlib.suppress(Rejected):
        return node.echo(calling) == 0
    return False


@case("R008-too-little-room-on-the-disk")
def test_whoever_would_store_may_come_again(strict: Node) -> None:
    with pytest.raises(Rejected) as refused:
        strict.associate(CALLER, [*ECHO, (CT, [EXPLICIT_LE])])
    assert (refused.value.result, refused.value.source, refused.value.reason) == (2, 3, 1)
    assert strict.echo(CALLER) == 0


@case("R045-silence-before-an-association-and-in-it")
def test_whoever_says_nothing_is_sent_away(strict: Node) -> None:
    """Both at once, so that it is waited for once."""
    idle = strict.associate(CALLER, ECHO, timeout=30)
    with socket.create_connection((LOCAL, strict.port), 30) as sock, pytest.raises((Aborted, Closed)):
        Channel(sock, 30).recv_pdu()
    with pytest.raises((Aborted, Closed)):
        idle.recv_pdu()


@case("R047-an-echo-over-TLS")
def test_an_echo_over_tls(strict: Node, identity: Identity) -> None:
    port = int(strict.config["node"]["tls"]["bind"].rpartition(":")[2])
    assert echo(LOCAL, port, strict.ae_title, CALLER, wrap=identity.context().wrap_socket) == 0
    with pytest.raises((WireError, OSError)):
        echo(LOCAL, port, strict.ae_title, CALLER)


ABORTED: list[tuple[str, Callable[[Association], object]]] = [
    ("find", lambda it: it.send(it.context_of(STUDY_ROOT_FIND), C_FIND, _asks(STUDY_ROOT_FIND), _everything())),
    ("move", lambda it: it.send(it.context_of(STUDY_ROOT_MOVE), C_MOVE, _asks(STUDY_ROOT_MOVE), _first())),
    ("get", lambda it: it.send(it.context_of(STUDY_ROOT_GET), C_GET, _asks(STUDY_ROOT_GET), _first())),
    ("store", lambda it: _half_a_store(it)),
]


def _asks(model: str) -> dict[str, Any]:
    return {"AffectedSOPClassUID": model, "Priority": 0, "MoveDestination": "CASEDST"}


def _everything() -> bytes:
    return query("STUDY", {"StudyInstanceUID": ""})


def _first() -> bytes:
    return query("STUDY", {"StudyInstanceUID": uid_of("1.1")})


def _half_a_store(association: Association) -> None:
    command = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": "1.2.3", "Priority": 0, "CommandField": C_STORE}
    raw = encode_command(command | {"MessageID": 1, "CommandDataSetType": 0})
    context = association.context_of(CT)
    association.send_raw(b"".join(association.channel.fragments(context, raw, command=True)))
    part = sample("1.1.1.1").dataset[:500]
    association.send_raw(pdu(P_DATA, struct.pack(">LBB", len(part) + 2, context, 0) + part))


@pytest.mark.usefixtures("destination")
@pytest.mark.parametrize("act", [pytest.param(act, id=f"R044-an-abort-in-a-{what}") for what, act in ABORTED])
def test_an_abort_leaves_nothing_behind(act: Callable[[Association], object], node: Node) -> None:
    contexts = [*CONTEXTS, (CT, [EXPLICIT_LE])]
    association = node.associate(CALLER, contexts, roles={CT: (1, 1)})
    act(association)
    association.abort()
    with node.associate(CALLER, CONTEXTS) as another:
        found = ask(another, query("STUDY", {"StudyInstanceUID": ""})).found
    assert found == sorted(STUDIES)
    node.wait_until(lambda: not list(node.data.rglob("*.part")), 10, "the part file to be gone")


ECHOED: list[tuple[str, str, tuple[int, int, int] | None, int, str]] = [
    ("R051-an-echo-of-ours", "CASEDST", None, 0, ""),
    ("R051-an-echo-of-ours-is-rejected", "CASEDST", (1, 1, 7), 1, "reject"),
    ("R051-an-echo-of-ours-reaches-nobody", "CASEDEAD", None, 1, "refused"),
]


@pytest.mark.parametrize(("name", "reject", "code", "says"), [pytest.param(*it[1:], id=it[0]) for it in ECHOED])
def test_our_echo_says_what_went_wrong(
    name: str, reject: tuple[int, int, int] | None, code: int, says: str, node: Node, destination: Receiver
) -> None:
    destination.reject = reject
    done = node.cli("partners", "echo", name)
    assert done.code == code
    assert says in (done.out + done.err).lower()
    if name == "CASEDST":
        assert (destination.requests[-1].calling, destination.requests[-1].called) == ("REFERNODE", "CASEDST")
