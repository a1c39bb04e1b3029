"""net/storing.py: what goes on which context, and which response counts. The association is played by a list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.errors import AssociationLost, ContextMissing, Unreadable
from dicomnode.net import commands
from dicomnode.net.commands import Response
from dicomnode.net.storing import Storing
from dicomnode.operations.ports import Originator, Outgoing
from tests.samples import CT_IMAGE, make_instance

EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"
STEP = 4096


class Line:
    """What was sent, and the responses that come. `early`: the peer has spoken before everything was sent."""

    def __init__(self, *answers: Response, early: bool = False) -> None:
        self.answers, self.early = list(answers), early
        self.sent, self.ended, self.breaks = b"", "", False

    def speaks(self) -> bool:
        return self.early

    def put(self, data: memoryview) -> None:
        if self.breaks:
            raise AssociationLost("the connection broke")
        self.sent += bytes(data)

    def response(self) -> Response:
        return self.answers.pop(0)

    def end(self, why: str) -> None:
        self.ended = why


@pytest.fixture
def storing() -> Iterator[Callable[..., Storing]]:
    made: list[Storing] = []

    def make(*taken: str, decompress: bool = False) -> Storing:
        contexts = {(CT_IMAGE, syntax): 2 * n + 1 for n, syntax in enumerate(taken)}
        made.append(Storing(contexts, STEP, decompress=decompress, refusal="WS takes no"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Outgoing]:
    """An instance in a file of ours."""

    def store(number: int = 1, *, size: str = "small", damaged: bool = False, syntax: str = EXPLICIT) -> Outgoing:
        dataset = make_instance(size=size, SOPInstanceUID=f"1.2.3.{number}")
        path, digest = tmp_path / str(number), hashlib.sha256(dataset).hexdigest()
        path.write_bytes(b"header" + dataset)
        return Outgoing(CT_IMAGE, f"1.2.3.{number}", syntax, path, len(dataset), "0" * 64 if damaged else digest)

    return store


def answer(message: int = 1, status: int = 0, uid: str = "", field: int = commands.C_STORE_RSP) -> Response:
    return Response(field, message, uid, status)


def test_message_ids_begin_anew_when_they_are_used_up(
    storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    it, line = storing(EXPLICIT), Line(answer(65535), answer(1))
    it.messages = 65534
    assert it.send(line, stored(1), None, 0, None) == 0
    assert it.send(line, stored(2), None, 0, Originator("RAD_WS", 7, 1)) == 0
    assert line.sent.count(b"RAD_WS") == 1


def test_what_follows_need_not_be_what_was_announced(
    storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    it, line = storing(EXPLICIT), Line(*(answer(n) for n in (1, 2, 3)))
    first, announced, other = stored(1), stored(2, size="large"), stored(3)
    assert it.send(line, first, announced, 0, None) == 0
    line.sent = b""
    assert it.send(line, other, announced, 0, None) == 0
    assert b"1.2.3.3" in line.sent
    assert b"1.2.3.2" not in line.sent
    assert it.send(line, announced, None, 0, None) == 0
    assert not line.ended


@pytest.mark.parametrize(
    ("taken", "text"),
    [
        ((EXPLICIT, IMPLICIT), ", but in Explicit VR Little Endian or Implicit VR Little Endian"),
        ((), ""),
    ],
)
def test_who_is_refused_an_instance_is_told_what_could_go(
    taken: tuple[str, ...], text: str, storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    line = Line()
    with pytest.raises(ContextMissing) as raised:
        storing(*taken).send(line, stored(syntax=JPEG), None, 0, None)
    what = (
        "CT Image Storage in JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"
    )
    assert str(raised.value) == f"WS takes no {what}{text}"
    assert not line.sent


STRAY = [answer(2), answer(0), answer(uid="1.2.9"), answer(field=commands.C_ECHO_RSP)]


@pytest.mark.parametrize("stray", STRAY, ids=["later", "none", "instance", "operation"])
def test_a_response_to_another_request_does_not_count(
    stray: Response, storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    with pytest.raises(AssociationLost, match="another request"):
        storing(EXPLICIT).send(Line(stray), stored(), None, 0, None)


@pytest.mark.parametrize(("status", "counts"), [(0, False), (0xB007, False), (0xA700, True), (0x0110, True)])
def test_success_before_the_end_was_sent_does_not_count(
    status: int, counts: bool, storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    line = Line(answer(status=status, uid="1.2.3.1"), early=True)
    if counts:
        assert storing(EXPLICIT).send(line, stored(), None, 0, None) == status
    else:
        with pytest.raises(AssociationLost, match="had not received yet"):
            storing(EXPLICIT).send(line, stored(), None, 0, None)


@pytest.mark.parametrize(("size", "ends"), [("small", False), ("large", True)])
def test_a_damaged_file_ends_it_only_where_some_of_it_has_gone(
    size: str, ends: bool, storing: Callable[..., Storing], stored: Callable[..., Outgoing]
) -> None:
    it, line = storing(EXPLICIT), Line(answer(2))
    with pytest.raises(Unreadable):
        it.send(line, stored(1, size=size, damaged=True), stored(2), 0, None)
    assert bool(line.ended) == bool(line.sent) == ends
    assert it.send(line, stored(2), None, 0, None) == 0


def test_what_breaks_within_a_message_ends_it(storing: Callable[..., Storing], stored: Callable[..., Outgoing]) -> None:
    line = Line()
    line.breaks = True
    with pytest.raises(AssociationLost):
        storing(EXPLICIT).send(line, stored(), None, 0, None)
    assert line.ended == "the connection broke"
