"""C-FIND on an archive that is not small: many answers, callers who read slowly or stop, and Identifiers that harm."""

from __future__ import annotations

import socket
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.bench import hoard
from tests.inprocess import Here
from tests.integration.kit import query
from tests.node import Node, default_config, wait_until
from tests.samples import decode, make_instances
from tests.upper_layer import C_FIND, EXPLICIT_LE, STUDY_ROOT_FIND, Aborted, Closed
from tests.wire import Association, Response, contexts_for

STUDIES = 1500
KNOWN = list(hoard.studies(STUDIES))
IMAGES = STUDIES * hoard.INSTANCES
LIMIT = IMAGES - 1
CONTEXTS = [(STUDY_ROOT_FIND, [EXPLICIT_LE])]
RELATIONAL = {STUDY_ROOT_FIND: b"\1"}
EVERY_STUDY = query("STUDY", {"StudyInstanceUID": "", "PatientName": "", "PatientID": "", "StudyDate": ""})
_WORDY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientName", "PatientID")
_WORDY += ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "Modality", "Rows")
EVERY_IMAGE = query("IMAGE", dict.fromkeys(_WORDY, ""))
PENDING = (0xFF00, 0xFF01)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with an index of many studies, one acceptor, and a limit that only all images exceed."""
    config = default_config(acceptors=1)
    config["node"]["limits"]["answers"] = LIMIT
    it = Here(tmp_path_factory.mktemp("hoard"), config)
    hoard.make(it.data, STUDIES)
    try:
        yield it.start()
    finally:
        it.kill_all()


@pytest.fixture
def workstation(node: Node) -> Iterator[Association]:
    with node.associate("RAD_WS", CONTEXTS, extended=RELATIONAL, timeout=60) as it:
        yield it


def ask(association: Association, identifier: bytes) -> int:
    """Ask, and read nothing yet."""
    command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
    return association.send(association.context_of(STUDY_ROOT_FIND), C_FIND, command, identifier)


def hold(association: Association, room: int = 32 * 1024) -> None:
    """What is sent is soon more than this machine takes before it is read."""
    association.channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)


def rest(association: Association) -> tuple[int, Response]:
    """How many answers are still read, and the final response."""
    answers = 0
    while (response := association.read_response()).status in PENDING:
        answers += 1
    return answers, response


# -- many ------------------------------------------------------------------------------------------------------


def test_each_study_is_answered_once_and_always_in_the_same_order(workstation: Association) -> None:
    asked = [workstation.find(STUDY_ROOT_FIND, EVERY_STUDY) for _ in range(2)]
    *found, (final, _) = asked[0]
    assert final == 0
    assert [decode(raw).StudyInstanceUID for _, raw in found] == [study.uid for study in KNOWN]
    assert asked[0] == asked[1]


@pytest.mark.parametrize("longest", [128, 1024, 0])
def test_no_pdu_is_longer_than_its_reader_takes(longest: int, node: Node) -> None:
    with node.associate("RAD_WS", CONTEXTS, max_pdu=longest) as association:
        ask(association, query("STUDY", {"PatientName": "C*", "StudyInstanceUID": "", "StudyDescription": ""}))
        read, lengths = association.channel.recv_pdu, []

        def measured() -> tuple[int, bytes]:
            kind, body = read()
            lengths.append(len(body))
            return kind, body

        association.channel.recv_pdu = measured  # type: ignore[method-assign]
        answers, final = rest(association)
    assert final.status == 0
    assert answers > 10
    assert max(lengths) <= (longest or 1 << 20)


def test_at_a_limit_what_was_given_is_said(workstation: Association) -> None:
    ask(workstation, EVERY_IMAGE)
    answers, final = rest(workstation)
    assert (answers, final.status) == (LIMIT, 0xA700)
    assert str(LIMIT) in workstation.last_error_comment
    assert "narrow" in workstation.last_error_comment
    assert rest_of_one(workstation) == 1


def rest_of_one(association: Association) -> int:
    """The answers to a question for one study: the association goes on."""
    asked = query("STUDY", {"AccessionNumber": KNOWN[-1].accession})
    *found, (final, _) = association.find(STUDY_ROOT_FIND, asked)
    assert final == 0
    return len(found)


# -- slow, and no more -----------------------------------------------------------------------------------------


def test_who_reads_slowly_holds_nothing(node: Node) -> None:
    """No memory, no connection to the index: it can be written, and its log of writes be emptied."""
    (acceptor,) = node.pids()["acceptor"]
    with node.associate("RAD_WS", CONTEXTS, extended=RELATIONAL, timeout=60) as slow:
        before = _memory(acceptor)
        hold(slow)
        ask(slow, EVERY_IMAGE)
        assert slow.read_response().status == 0xFF00
        (sample,) = make_instances(1, seed="meanwhile")
        with node.associate("PEAK_CT", contexts_for([sample])) as modality:
            assert modality.send_sample(sample) == 0
        wait_until(lambda: _is_emptied(node.data / "index.sqlite"), 20, "nobody reads the index", node.log)
        assert _memory(acceptor) - before < 8_000_000
        hold(slow, 4_000_000)
        answers, final = rest(slow)
    assert (answers + 1, final.status) == (LIMIT, 0xA700)
    assert _memory(acceptor) - before < 8_000_000


def _memory(pid: int) -> int:
    """The most that a process has had in memory (bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _is_emptied(index: Path) -> bool:
    with closing(sqlite3.connect(index, timeout=0)) as connection, suppress(sqlite3.OperationalError):
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    return False


def test_a_query_can_be_cancelled_while_its_answers_are_sent(workstation: Association) -> None:
    hold(workstation)
    asked = ask(workstation, EVERY_IMAGE)
    assert workstation.read_response().status == 0xFF00
    workstation.cancel(asked, STUDY_ROOT_FIND)
    answers, final = rest(workstation)
    assert (final.status, final.dataset) == (0xFE00, None)
    assert answers < LIMIT // 2
    assert rest_of_one(workstation) == 1


def test_a_query_can_be_cancelled_while_the_index_is_searched(workstation: Association) -> None:
    """It finds nothing, so nothing is sent between its request and its end: who is told of a cancel was interrupted."""
    nothing = query("STUDY", {"SOPClassesInStudy": "1.2.3", "StudyInstanceUID": ""})
    send, sent = workstation.channel.send_raw, bytearray()
    workstation.channel.send_raw = sent.extend  # type: ignore[method-assign]
    workstation.cancel(ask(workstation, nothing), STUDY_ROOT_FIND)
    send(bytes(sent))  # both at once: the cancel is there before the search begins
    workstation.channel.send_raw = send  # type: ignore[method-assign]
    assert rest(workstation)[1].status == 0xFE00
    ask(workstation, nothing)
    assert (rest(workstation)[1].status, rest_of_one(workstation)) == (0, 1)


def test_a_cancel_of_another_request_stops_nothing(workstation: Association) -> None:
    asked = ask(workstation, EVERY_STUDY)
    for other in (asked + 1, asked - 1, *range(2000, 2030)):
        workstation.cancel(other, STUDY_ROOT_FIND)
    answers, final = rest(workstation)
    assert (answers, final.status) == (STUDIES, 0)


# -- what harms ------------------------------------------------------------------------------------------------

_LONG = ("OB", "OW", "SQ", "UC", "UN", "UR", "UT")


def _element(tag: int, vr: str, raw: bytes) -> bytes:
    length = struct.pack("<xxL", len(raw)) if vr in _LONG else struct.pack("<H", len(raw))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + raw


def _asked(*elements: bytes) -> bytes:
    return _element(0x00080052, "CS", b"STUDY ") + b"".join(elements)


def _uids(count: int) -> bytes:
    many = "\\".join(
        [
            *(study.uid for study in KNOWN[:3]),
            *(f"2.25.{number:040}"[:44].replace(".0", ".1") for number in range(count)),
        ]
    ).encode()
    return many + b"\0" * (len(many) % 2)


_HARMFUL: list[tuple[str, bytes, int | None, tuple[int, ...]]] = [
    # what it asks, how many answers it has (None: it does not matter), and what the final status may be
    ("percent", query("STUDY", {"PatientName": "%"}), 0, (0,)),
    ("underscores", query("STUDY", {"AccessionNumber": "A_____________"}), 0, (0,)),
    ("a quote", query("STUDY", {"PatientName": "'"}), 0, (0,)),
    ("two quotes", query("STUDY", {"PatientID": '"'}), 0, (0,)),
    ("an injection", query("STUDY", {"PatientName": "'; DROP TABLE studies; --*"}), 0, (0,)),
    ("many wild cards", query("STUDY", {"PatientName": "*?" * 30 + "Q"}), None, (0,)),
    ("only wild cards", query("STUDY", {"StudyDescription": "*" * 64}), STUDIES, (0,)),
    ("brackets", query("STUDY", {"PatientName": "[A-Z]*"}), 0, (0,)),
    ("nul in a name", query("STUDY", {"PatientName": b"A\0B*"}), 0, (0,)),
    ("escape sequences", query("STUDY", {"PatientName": b"\x1b$B\x1b(J\x1b"}), 0, (0,)),
    ("bytes of no set", query("STUDY", {"PatientName": b"\xff\xfe\xfd*"}), 0, (0,)),
    (
        "bytes of another set",
        query("STUDY", {"SpecificCharacterSet": "ISO_IR 192", "PatientName": b"\xc3("}),
        *(0, (0,)),
    ),
    (
        "an unknown set",
        query("STUDY", {"SpecificCharacterSet": "KLINGON", "PatientName": "Q\xf6".encode("latin-1")}),
        *(0, (0,)),
    ),
    ("a date that is none", query("STUDY", {"StudyDate": "yesterday"}), None, (0, 0xA900)),
    ("a UID that is none", query("STUDY", {"StudyInstanceUID": "1.2.x"}), 0, (0xA900,)),
    ("a number as a UID", _asked(_element(0x0020000D, "US", b"\1\2")), None, (0, 0xA900)),
    ("a date as a sequence", _asked(_element(0x00080020, "SQ", b"")), None, (0, 0xA900)),
    ("a name as bytes", _asked(_element(0x00100010, "OB", b"Q" * 40)), None, (0, 0xA900)),
    ("a sequence as text", _asked(_element(0x00081032, "LO", b"CODE")), None, (0, 0xA900)),
    ("the level as a UID", _element(0x00080052, "UI", b"STUDY\0"), STUDIES, (0,)),
    ("the level alone", _asked(), STUDIES, (0,)),
    ("nothing", b"", 0, (0xA900,)),
    ("a list of 80,000 UIDs", query("STUDY", {}) + _element(0x0020000D, "UN", _uids(80_000)), 3, (0,)),
]


@pytest.mark.parametrize(
    ("identifier", "answers", "statuses"), [it[1:] for it in _HARMFUL], ids=[it[0] for it in _HARMFUL]
)
def test_no_identifier_harms(
    identifier: bytes, answers: int | None, statuses: tuple[int, ...], workstation: Association
) -> None:
    *found, (final, dataset) = workstation.find(STUDY_ROOT_FIND, identifier)
    assert final in statuses, f"{final:04X}H {workstation.last_error_comment}"
    assert dataset == b""
    assert answers is None or len(found) == answers
    assert final == 0 or workstation.last_error_comment
    assert rest_of_one(workstation) == 1


def test_an_identifier_of_ten_megabytes_is_not_read_to_its_end(node: Node) -> None:
    with node.associate("RAD_WS", CONTEXTS, timeout=60) as association:
        with pytest.raises((Aborted, Closed)):
            association.find(STUDY_ROOT_FIND, query("STUDY", {}) + _element(0x0020000D, "UN", _uids(230_000)))
        association.abort()
    with node.associate("RAD_WS", CONTEXTS) as association:
        assert rest_of_one(association) == 1
