"""net/reading.py: a dataset as PDUs, of any size in any step; the last PDV only once all of it was verified."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.errors import Unreadable
from dicomnode.net import reading
from dicomnode.net.reading import Reader
from dicomnode.operations.ports import Outgoing
from tests.node import wait_until

CT, EXPLICIT, DEFLATED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
STEP = 16378
COMMAND = b"the PDUs of a command"

Put = Callable[..., Outgoing]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """A file with a header of some length, and what is known of it."""

    def make(dataset: bytes, *, syntax: str = EXPLICIT, header: int = 622) -> Outgoing:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        path.write_bytes(bytes(header) + dataset)
        return Outgoing(CT, "1.2.3", syntax, path, len(dataset), hashlib.sha256(dataset).hexdigest())

    return make


@pytest.fixture
def reader() -> Iterator[Callable[[int], Reader]]:
    """A factory of readers; afterwards all their threads have ended."""
    made: list[Reader] = []

    def make(step: int = STEP) -> Reader:
        made.append(Reader(step))
        return made[-1]

    yield make
    for it in made:
        it.close()
        if it._thread:
            it._thread.join(10)
            assert not it._thread.is_alive()


def sent(reader: Reader, instance: Outgoing) -> Iterator[bytes]:
    """What would go out for an instance, call by call."""
    reader.expect(instance, 7, instance.transfer_syntax_uid)
    command = COMMAND
    for buffer in reader.buffers():
        yield bytes(buffer.behind(command))
        command = b""


def fragments(raw: bytes) -> list[tuple[int, bytes]]:
    """(control, fragment) of the PDVs that follow the command; each is alone in its P-DATA-TF, on context 7."""
    assert raw.startswith(COMMAND)
    found, at = [], len(COMMAND)
    while at < len(raw):
        kind, length, inner, context, control = struct.unpack_from(">BxIIBB", raw, at)
        assert (kind, inner, context) == (4, length - 4, 7)
        found.append((control, raw[at + 12 : at + 6 + length]))
        at += 6 + length
    return found


SIZES = [(STEP, size) for size in (1, 2, STEP - 1, STEP, STEP + 1, 15 * STEP, 16 * STEP, 200_001, 3_000_000)]
STEPS = [(step, 300_000) for step in (10, 122, 1018, 65530, 262132, 1 << 20)]


@pytest.mark.parametrize(("step", "size"), SIZES + STEPS)
def test_a_dataset_goes_out_whole_in_full_pdus(
    put: Put, reader: Callable[[int], Reader], step: int, size: int
) -> None:
    dataset = os.urandom(size)
    found = fragments(b"".join(sent(reader(step), put(dataset))))
    assert b"".join(fragment for _, fragment in found) == dataset
    assert [control for control, _ in found] == [0] * (len(found) - 1) + [2]
    assert {len(fragment) for _, fragment in found[:-1]} <= {step}


def test_what_is_small_leaves_in_one_call_with_its_command(put: Put, reader: Callable[[], Reader]) -> None:
    assert len(list(sent(reader(), put(bytes(200_000))))) == 1


def test_one_reader_reads_many(put: Put, reader: Callable[[], Reader]) -> None:
    it = reader()
    for size in (10, 2_000_000, 500_000, 3, 1_000_000):
        dataset = os.urandom(size)
        assert b"".join(f for _, f in fragments(b"".join(sent(it, put(dataset))))) == dataset


def test_a_deflated_dataset_of_odd_length_is_padded(put: Put, reader: Callable[[], Reader]) -> None:
    it = reader()
    list(sent(it, put(b"\xff" * 400_000)))  # so that no zero is left over in a buffer
    list(sent(it, put(b"\xff" * 400_000)))
    for syntax, expected in ((DEFLATED, b"\xff" * 99_999 + b"\0"), (EXPLICIT, b"\xff" * 99_999)):
        found = fragments(b"".join(sent(it, put(b"\xff" * 99_999, syntax=syntax))))
        assert b"".join(fragment for _, fragment in found) == expected
        assert found[-1][0] == 2


# -- a file that is not what was received -----------------------------------------------------------------------


def until_it_fails(pieces: Iterator[bytes]) -> bytes:
    """What came out before the reader noticed."""
    came = b""
    try:
        for piece in pieces:
            came += piece
    except Unreadable:
        return came
    pytest.fail("nobody noticed")


def _flip(at: int) -> Callable[[Path], object]:
    def flipped(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)

    return flipped


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte": _flip(622),
    "last byte": _flip(-1),
    "cut by one": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut to its header": lambda path: os.truncate(path, 622),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("size", [1000, 3_000_000])
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_last_pdv_of_a_damaged_file_never_comes_out(
    put: Put, reader: Callable[[], Reader], damage: str, size: int
) -> None:
    instance = put(os.urandom(size))
    DAMAGES[damage](instance.path)
    came = until_it_fails(sent(reader(), instance))
    if size == 1000:
        assert not came, "nothing need be sent of what fits into one buffer"
    elif damage not in ("cut to its header", "empty", "gone"):
        assert {control for control, _ in fragments(came)} == {0}


def test_of_a_file_that_shrinks_meanwhile_nothing_else_comes_out(put: Put, reader: Callable[[], Reader]) -> None:
    """No more than it had: above all nothing that a buffer had before."""
    it, dataset = reader(), os.urandom(3_000_000)
    list(sent(it, put(os.urandom(3_000_000))))
    instance = put(dataset)
    it.expect(instance, 7, instance.transfer_syntax_uid)
    wait_until(lambda: it._full.qsize() == reading._BUFFERS, 10, "the reader to wait")
    os.truncate(instance.path, 622 + 1_500_000)
    came = until_it_fails(bytes(buffer.behind(b"")) for buffer in it.buffers())
    found = b"".join(fragment for _, fragment in fragments(COMMAND + came))
    assert 1_000_000 < len(found) < 1_500_001
    assert dataset.startswith(found)


# -- ahead, and little memory -----------------------------------------------------------------------------------


def test_the_next_one_is_read_before_it_is_asked_for(put: Put, reader: Callable[[], Reader]) -> None:
    it, first, second = reader(), put(b"first!"), put(b"second")
    for instance in (first, second):
        it.expect(instance, 7, instance.transfer_syntax_uid)
    wait_until(lambda: it._full.qsize() == 2, 10, "both to be read")
    for instance in (first, second):
        instance.path.unlink()
    whole = [b"".join(bytes(buffer.behind(COMMAND)) for buffer in it.buffers()) for _ in range(2)]
    assert [fragments(raw) for raw in whole] == [[(2, b"first!")], [(2, b"second")]]


def test_memory_stays_flat_and_the_reader_waits(tmp_path: Path, reader: Callable[[], Reader]) -> None:
    """The largest object costs what any does."""
    path, size = tmp_path / "large.dcm", 64 << 20
    with path.open("wb") as file:
        file.truncate(622 + size)
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(bytes(1 << 20))
    instance = Outgoing(CT, "1.2.3", EXPLICIT, path, size, digest.hexdigest())
    tracemalloc.start()
    try:
        it = reader()
        it.expect(instance, 7, instance.transfer_syntax_uid)
        for _ in it.buffers():
            assert it._full.qsize() <= reading._BUFFERS
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def test_an_end_in_the_middle_ends_the_thread_and_closes_the_file(put: Put, reader: Callable[[], Reader]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    it = reader()
    it.expect(put(bytes(3_000_000)), 7, EXPLICIT)
    next(it.buffers())
    it.close()
    assert it._thread
    it._thread.join(10)
    assert not it._thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) == before
    assert "reader" not in {thread.name for thread in threading.enumerate() if thread is it._thread}


def test_an_end_in_the_middle_is_the_end_of_what_follows_too(put: Put, reader: Callable[[], Reader]) -> None:
    """The next one, asked for already, is not begun: nobody would empty a buffer for it, ever."""
    before = len(os.listdir("/proc/self/fd"))
    it = reader()
    for instance in (put(bytes(3_000_000)), put(bytes(3_000_000))):
        it.expect(instance, 7, instance.transfer_syntax_uid)
    next(it.buffers())
    it.close()
    assert it._thread
    it._thread.join(10)
    assert not it._thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) == before
