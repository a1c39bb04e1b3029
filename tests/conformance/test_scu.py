"""C-FIND, C-MOVE and C-GET as SCU, R208 to R215: asked of this very node, and of a partner that answers as it likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import Partner
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Arriving, Retrieved, Suboperations, Waiting
from dicomnode.rules.admission import Command
from tests import fakes
from tests.conformance.archive import BUC, CT, SR, below, labels, sample, uid_of
from tests.conformance.kit import CALLER, case
from tests.node import Node
from tests.samples import decode, encode
from tests.script import Script, row, scripted
from tests.upper_layer import C_CANCEL, EXPLICIT_LE, IMPLICIT_LE, Message
from tests.wire import Receiver

LEVELS = {"PATIENT": 0x00100020, "STUDY": 0x0020000D, "SERIES": 0x0020000E, "IMAGE": 0x00080018}
NAME, INSTANCES = 0x00100010, 0x00201208


def identifier(level: str, **values: str) -> Identifier:
    """Unique keys by the names of their levels, and the Patient's Name as `name`."""
    keys = [
        Key(LEVELS[key], "LO" if key == "PATIENT" else "UI", value) for key, value in values.items() if key in LEVELS
    ]
    keys += [Key(NAME, "PN", values["name"])] if "name" in values else []
    return Identifier(level, tuple(keys), "")


def never() -> bool:
    return False


class Kept:
    """Takes what a C-GET brings, and has it."""

    def __init__(self) -> None:
        self.datasets: dict[str, bytes] = {}
        self.syntaxes: set[str] = set()

    def open(self, command: Command, syntax: str) -> Arriving:
        self.syntaxes.add(syntax)
        return _Arriving(self, command.sop_instance_uid)


class _Arriving:
    def __init__(self, kept: Kept, uid: str) -> None:
        self._kept, self._uid, self._raw = kept, uid, bytearray()

    def write(self, fragment: bytes) -> None:
        self._raw += fragment

    def keep(self) -> tuple[int, str]:
        self._kept.datasets[self._uid] = bytes(self._raw)
        return 0, ""

    def discard(self) -> None:
        """Nothing is left to be thrown away."""


@pytest.fixture
def asks(node: Node, tmp_path: Path) -> tuple[Requestor, Partner]:
    """As CASESCU, which the node knows; the node is its partner."""
    lines = ["node:", f"  ae_title: {CALLER}", "sites:", "  harbour: {sector: private}", "partners:"]
    lines.append(f"  REFERNODE: {{site: harbour, host: 127.0.0.1, port: {node.port}}}")
    config = fakes.configuration("\n".join(lines), tmp_path)
    return Requestor(config), config.partners["REFERNODE"]


QUESTIONS = [
    pytest.param("PATIENT", {"PATIENT": "CONF-P1"}, ["CONF-P1"], id="R208-patients"),
    pytest.param("STUDY", {"STUDY": "", "name": "BUC*"}, ["3.1"], id="R208-studies"),
    pytest.param("STUDY", {"STUDY": "", "name": "Buc^Jérôme"}, ["3.1"], id="R208+R209-a-name-beyond-ASCII"),
    pytest.param("SERIES", {"STUDY": uid_of("1.1"), "SERIES": ""}, ["1.1.1", "1.1.2"], id="R208-series"),
    pytest.param(
        "IMAGE",
        {"STUDY": uid_of("1.1"), "SERIES": uid_of("1.1.2"), "IMAGE": ""},
        ["1.1.2.1"],
        id="R208-images",
    ),
]


@pytest.mark.parametrize(("level", "values", "found"), QUESTIONS)
def test_a_question_is_understood(
    level: str, values: dict[str, str], found: list[str], asks: tuple[Requestor, Partner]
) -> None:
    requestor, partner = asks
    answers = list(requestor.find(partner, identifier(level, **values), never))
    assert labels(answer.value(LEVELS[level]) for answer in answers) == found
    if values.get("name"):
        assert {answer.value(NAME) for answer in answers} == {BUC}


@pytest.mark.parametrize(
    "syntax", [pytest.param(EXPLICIT_LE, id="R208-explicit"), pytest.param(IMPLICIT_LE, id="R208-implicit")]
)
def test_an_identifier_of_ours(syntax: str, tmp_path: Path) -> None:
    """It has its level, and its character set where a value is not ASCII; no group lengths."""
    with Script(lambda script, message: script.respond(message, 0), accepts=syntax) as script:
        requestor, partner = scripted(script, tmp_path)
        assert list(requestor.find(partner, identifier("STUDY", name="王*"), never)) == []
    asked = decode(script.messages[0].dataset or b"", syntax)
    assert (asked.QueryRetrieveLevel, asked.PatientName, asked.SpecificCharacterSet) == ("STUDY", "王*", "ISO_IR 192")
    assert not [element for element in asked if element.tag.element == 0]


@case("R209+R210-answers-of-all-kinds")
def test_answers_are_not_trusted(tmp_path: Path) -> None:
    """In their own character sets, with more, with less, with nothing; FF00 and FF01 are both answers."""

    def says(script: Script, message: Message) -> None:
        script.respond(message, 0xFF00, encode(row(SpecificCharacterSet="ISO_IR 100", PatientName=BUC)))
        script.respond(message, 0xFF01, encode(row(SpecificCharacterSet="ISO_IR 192", PatientName="王^小东")))
        script.respond(message, 0xFF00, encode(row(StudyDate="", PatientComments="not asked for")))
        script.respond(message, 0xFF00)
        script.respond(message, 0)

    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        answers = list(requestor.find(partner, identifier("STUDY", name=""), never))
    assert [answer.value(NAME) for answer in answers] == [BUC, "王^小东", "", ""]


@case("R211-a-cancel-of-ours")
def test_a_question_is_cancelled(tmp_path: Path) -> None:
    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            script.respond(message, 0xFE00, CommandField=0x8020, MessageIDBeingRespondedTo=1)
        else:
            script.respond(message, 0xFF00, encode(row(PatientName="A")))

    seen: list[Identifier] = []
    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        seen.extend(requestor.find(partner, identifier("STUDY", name=""), lambda: bool(seen)))
    asked, cancel = script.messages
    assert (cancel.context, cancel["MessageIDBeingRespondedTo"]) == (asked.context, asked["MessageID"])
    assert cancel.dataset is None


def _watch() -> Waiting:
    return Waiting(never, lambda counts: None)


@case("R212-a-move-without-pending-and-without-counters")
def test_a_move_of_which_nothing_is_said(tmp_path: Path) -> None:
    with Script(lambda script, message: script.respond(message, 0)) as script:
        requestor, partner = scripted(script, tmp_path)
        retrieved = requestor.move(partner, identifier("STUDY", STUDY="1.2.3"), "REFERNODE", _watch())
    assert retrieved == Retrieved(0, "", Suboperations(), ())


@case("R212+R213-a-move-by-this-node")
def test_a_move(asks: tuple[Requestor, Partner], destination: Receiver) -> None:
    requestor, partner = asks
    told: list[Suboperations] = []
    watch = Waiting(never, told.append, lambda: len(destination.received))
    retrieved = requestor.move(partner, identifier("STUDY", STUDY=uid_of("1.1")), "CASEDST", watch)
    assert (retrieved.status, retrieved.counts.completed, retrieved.counts.failed) == (0, 4, 0)
    assert labels(each.sop_instance for each in destination.received) == below("1.1")
    assert {each.move_originator for each in destination.received} == {CALLER}


@case("R213-a-move-to-one-that-is-not-there")
def test_a_move_to_a_stranger(asks: tuple[Requestor, Partner]) -> None:
    requestor, partner = asks
    retrieved = requestor.move(partner, identifier("STUDY", STUDY=uid_of("1.1")), "NOBODY", _watch())
    assert retrieved.status == 0xA801


@case("R214-a-get-from-this-node")
def test_a_get(asks: tuple[Requestor, Partner]) -> None:
    requestor, partner = asks
    kept = Kept()
    pairs = [(CT, IMPLICIT_LE), (CT, EXPLICIT_LE), (SR, EXPLICIT_LE)]
    retrieved = requestor.get(partner, identifier("STUDY", STUDY=uid_of("1.1")), pairs, kept.open, _watch())
    assert (retrieved.status, retrieved.counts.completed) == (0, 4)
    assert kept.datasets == {uid_of(label): sample(label).dataset for label in below("1.1")}
    assert kept.syntaxes == {EXPLICIT_LE}, "each syntax has a context of its own"


@case("R214-roles-of-a-get")
def test_a_get_takes_the_role_of_an_scp(tmp_path: Path) -> None:
    with Script(lambda script, message: script.respond(message, 0)) as script:
        requestor, partner = scripted(script, tmp_path, may="[find, move, get]")
        pairs = [(CT, IMPLICIT_LE), (CT, EXPLICIT_LE)]
        requestor.get(partner, identifier("STUDY", STUDY="1.2.3"), pairs, Kept().open, _watch())
    (request,) = script.requests
    assert request.roles == {CT: (0, 1)}
    assert [syntaxes for abstract, syntaxes in request.contexts.values() if abstract == CT] == [
        [IMPLICIT_LE],
        [EXPLICIT_LE],
    ]


FAILURES = [pytest.param(status, id=f"R215-{status:04X}") for status in (0xB000, 0xA702)]


@pytest.mark.parametrize("status", FAILURES)
def test_what_failed_is_told_one_by_one(status: int, tmp_path: Path) -> None:
    failed = encode(row(FailedSOPInstanceUIDList=["1.2.3.4", "1.2.3.5"]))

    def says(script: Script, message: Message) -> None:
        script.respond(message, status, failed, NumberOfFailedSuboperations=2)

    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        retrieved = requestor.move(partner, identifier("STUDY", STUDY="1.2.3"), "REFERNODE", _watch())
    assert (retrieved.status, retrieved.counts.failed) == (status, 2)
    assert retrieved.failed == ("1.2.3.4", "1.2.3.5")
