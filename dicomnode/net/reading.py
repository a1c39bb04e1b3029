"""Instances read ahead of who sends them: from the file to P-DATA-TF PDUs, on a thread of its own, in reused buffers.

Promises: the last PDV of a dataset comes out only after all of its bytes were seen to have the digest with which they
were received, and Unreadable in the place of it otherwise; about 1 MB of memory, however large the object is. The
thread digests while its partner sends, and while he waits for a response: what costs most is done by then.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue

from dicomnode.dicom.classes import DEFLATED
from dicomnode.errors import Unreadable
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


class Reader:
    """Reads what it is told to `expect`, in that order; `buffers` hands out in the same. What fails ends it."""

    def __init__(self, step: int) -> None:
        self._asked: SimpleQueue[tuple[Outgoing, int] | None] = SimpleQueue()
        self._empty: SimpleQueue[Buffer | None] = SimpleQueue()
        self._full: SimpleQueue[tuple[Buffer, bool] | BaseException] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._empty.put(Buffer(step))
        self._thread: threading.Thread | None = None
        self._closed = False
        self.expected: deque[Outgoing] = deque()
        """What was asked for, and not handed out yet."""

    def expect(self, instance: Outgoing, context: int) -> None:
        """Begin to read an instance that goes out on this presentation context."""
        self.expected.append(instance)
        self._asked.put((instance, context))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
            self._thread.start()

    def buffers(self) -> Iterator[Buffer]:
        """The first that is expected, a buffer at a time. Unreadable: our file is not what was received."""
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
        self._asked.put(None)
        self._empty.put(None)

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) and not self._closed:
                self._read(*asked)
        except BaseException as error:
            self._full.put(error)

    def _read(self, instance: Outgoing, context: int) -> None:
        try:
            file = os.open(instance.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._fill(file, instance, context)
            finally:
                os.close(file)
        except OSError as error:
            raise Unreadable(f"our own file {instance.path.name} cannot be read: {error.strerror}") from error

    def _fill(self, file: int, instance: Outgoing, context: int) -> None:
        """The dataset is the end of the file, as long as it was: if anything was cut or added, its digest differs."""
        offset, left, running = os.fstat(file).st_size - instance.size, instance.size, hashlib.sha256()
        last = False
        while not last and (buffer := self._empty.get()):
            length = min(left, buffer.capacity)
            fragments = buffer.fragments(length)
            got = os.preadv(file, fragments, offset) if offset >= 0 else -1
            for fragment in fragments:
                running.update(fragment)
            offset, left = offset + length, left - length
            last = not left
            if got < length or (last and running.hexdigest() != instance.sha256):
                raise Unreadable(f"our own file {instance.path.name} is not what was received")
            buffer.frame(length + (last and _padded(buffer, length, instance)), context, last)
            self._full.put((buffer, last))


def _padded(buffer: Buffer, length: int, instance: Outgoing) -> int:
    """A zero byte behind a deflated dataset of odd length (PS3.5 A.5); how many that is."""
    if not length % 2 or instance.transfer_syntax_uid not in DEFLATED:
        return 0
    buffer.fragments(length + 1)[-1][-1:] = b"\0"
    return 1
