"""Instances read ahead of who sends them: from the file to P-DATA-TF PDUs, on a thread of its own, in reused buffers.

A dataset goes as it is stored, or where it must coerced, or in another transfer syntax (converting.py). Promises: its
last PDV comes out only after all of its bytes were seen to have the digest with which they were received, and
Unreadable in the place of it otherwise; about 1 MB of memory, however large the object is. The thread digests while its
partner sends, and while he waits for a response: what costs most is done by then.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import BinaryIO

from dicomnode.dicom.classes import DEFLATED
from dicomnode.errors import Unreadable
from dicomnode.net import converting
from dicomnode.net.decoding import Decoder
from dicomnode.net.digests import Digest
from dicomnode.net.pdus import DATA, LAST, PDV
from dicomnode.operations.ports import Outgoing

_BUFFERS = 4
_SIZE = 262144
"""Bytes of PDUs in one buffer, and so in one call of the kernel; one PDU where that is longer."""
_MANY = 1024
"""The most PDUs in one buffer: as many as one call of the kernel can read into (IOV_MAX)."""
_FRONT = 1024
"""Room for a C-STORE-RQ in front of the dataset, so that both leave in one segment."""


class Buffer:
    """P-DATA-TF PDUs of one PDV each, in one piece of memory; room for the command's in front of them."""

    def __init__(self, step: int) -> None:
        self._stride = PDV.size + step
        count = min(max(1, _SIZE // self._stride), _MANY)
        self.capacity = count * step
        self._memory = memoryview(bytearray(_FRONT + count * self._stride))
        starts = range(_FRONT + PDV.size, len(self._memory), self._stride)
        self._fragments = [self._memory[start : start + step] for start in starts]
        self._end = _FRONT

    def fragments(self, length: int) -> list[memoryview]:
        """The places of so many bytes of a dataset; one that is empty where there are none."""
        whole, rest = divmod(length, len(self._fragments[0]))
        return self._fragments[:whole] + ([self._fragments[whole][:rest]] if rest or not whole else [])

    def write(self, at: int, data: memoryview) -> int:
        """Put some of the data behind the `at` bytes of a dataset that are there; how many of it."""
        begin = at
        step = len(self._fragments[0])
        while data and at < self.capacity:
            number, within = divmod(at, step)
            count = min(step - within, len(data))
            self._fragments[number][within : within + count] = data[:count]
            data, at = data[count:], at + count
        return at - begin

    def frame(self, length: int, context: int, last: bool) -> None:
        """Write the PDUs' headers around so many bytes; `last`: they end the dataset."""
        at = _FRONT
        fragments = self.fragments(length)
        for number, fragment in enumerate(fragments, 1):
            control = LAST if last and number == len(fragments) else 0
            PDV.pack_into(self._memory, at, DATA, len(fragment) + 6, len(fragment) + 2, context, control)
            self._end = at + PDV.size + len(fragment)
            at += self._stride

    def behind(self, command: bytes) -> memoryview:
        """The PDUs, with those of a command in front of them."""
        start = _FRONT - len(command)
        self._memory[start:_FRONT] = command
        return self._memory[start : self._end]


class _Closed(Exception):
    """Nobody wants any more."""


class Reader:
    """Reads what it is told to `expect`, in that order; `buffers` hands out in the same. What fails ends it."""

    def __init__(self, step: int) -> None:
        self._asked: SimpleQueue[tuple[Outgoing, int, str] | None] = SimpleQueue()
        self._empty: SimpleQueue[Buffer | None] = SimpleQueue()
        self._full: SimpleQueue[tuple[Buffer, bool] | BaseException] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._empty.put(Buffer(step))
        self._thread: threading.Thread | None = None
        self._closed = False
        self._decoder = Decoder()
        self.expected: deque[Outgoing] = deque()
        """What was asked for, and not handed out yet."""

    def expect(self, instance: Outgoing, context: int, syntax: str) -> None:
        """Begin to read an instance that goes out on this presentation context, in this transfer syntax."""
        self.expected.append(instance)
        self._asked.put((instance, context, syntax))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
            self._thread.start()

    def buffers(self) -> Iterator[Buffer]:
        """The first that is expected, a buffer at a time.

        Unreadable: our file is not what was received. ContextMissing: it cannot be had in that transfer syntax.
        NotCoerced: nor can the copy that the partner is to have.
        """
        self.expected.popleft()
        last = False
        while not last:
            found = self._full.get()
            if isinstance(found, BaseException):
                raise found
            buffer, last = found
            yield buffer
            self._empty.put(buffer)

    def close(self) -> None:
        """End the thread, and forget what it has read and was to read."""
        self._closed = True
        self._decoder.close()
        self._asked.put(None)
        self._empty.put(None)

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) and not self._closed:
                self._read(*asked)
        except _Closed:
            pass
        except BaseException as error:
            self._full.put(error)
        finally:
            self._decoder.close()

    def _read(self, instance: Outgoing, context: int, syntax: str) -> None:
        try:
            with instance.path.open("rb") as file:
                if syntax == instance.transfer_syntax_uid and not instance.coercion:
                    self._fill(file.fileno(), instance, context)
                else:
                    self._convert(file, instance, context, syntax)
        except OSError as error:
            raise Unreadable(f"our own file {instance.path.name} cannot be read: {error.strerror}") from error

    def _convert(self, file: BinaryIO, instance: Outgoing, context: int, syntax: str) -> None:
        """The dataset made into something else; its end stays here until all of it is known to be well."""
        buffer, used = self._unused(), 0

        def put(data: bytes) -> None:
            nonlocal buffer, used
            view = memoryview(data)
            while view:
                if used == buffer.capacity:
                    buffer.frame(used, context, False)
                    self._full.put((buffer, False))
                    buffer, used = self._unused(), 0
                written = buffer.write(used, view)
                view, used = view[written:], used + written

        converting.convert(file, instance, syntax, self._decoder, put)
        buffer.frame(used, context, True)
        self._full.put((buffer, True))

    def _unused(self) -> Buffer:
        buffer = self._empty.get()
        if buffer is None:
            raise _Closed
        return buffer

    def _fill(self, file: int, instance: Outgoing, context: int) -> None:
        """The dataset is the end of the file, as long as it was: if anything was cut or added, its digest differs."""
        offset, left, running = os.fstat(file).st_size - instance.size, instance.size, Digest(instance)
        last = False
        while not last:
            buffer = self._unused()
            length = min(left, buffer.capacity)
            fragments = buffer.fragments(length)
            got = os.preadv(file, fragments, offset) if offset >= 0 else -1
            for fragment in fragments:
                running.update(fragment)
            offset, left = offset + length, left - length
            last = not left
            if got < length or (last and not running.fits):
                raise Unreadable(f"our own file {instance.path.name} is not what was received")
            buffer.frame(length + (last and _padded(buffer, length, instance)), context, last)
            self._full.put((buffer, last))


def _padded(buffer: Buffer, length: int, instance: Outgoing) -> int:
    """A zero byte behind a deflated dataset of odd length (PS3.5 A.5); how many that is."""
    if not length % 2 or instance.transfer_syntax_uid not in DEFLATED:
        return 0
    buffer.fragments(length + 1)[-1][-1:] = b"\0"
    return 1
