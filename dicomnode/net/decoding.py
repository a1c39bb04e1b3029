"""A process that decompresses pixels for this one: what it is given may have been made to do harm, and does it there.

Promises bounds on each instance: address space, processor time, the time on the clock, the size of what is made. The
process begins when it is first needed, ends when nothing was asked of it for a while, when its parent has gone, and
when it was given something that was too much for it; the next instance has a new one. It gets two open files, and knows
no path. ContextMissing, with the reason: this instance cannot be decompressed. InstanceError: not just now.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from dicomnode.errors import ContextMissing, InstanceError

_ADDRESSES = 4 << 30
_LARGEST = (1 << 32) + (64 << 20)
"""Bytes of what is made: Pixel Data cannot have more than the first term, and what is around it has no reason to."""
_PROCESSOR = 120
"""Seconds."""
_CLOCK = 180.0
"""Seconds: no verdict on an instance, for others may have had the processors."""
_ROOM = 2 << 30
"""Bytes of the disk that are left for what is received meanwhile."""
_NICE = 10
"""Below those who receive and send."""
_IDLE = 30.0
"""Seconds after which it ends."""
_PLEASE, _DONE, _CANNOT, _LATER = b"!", b"+", b"-", b"?"
_ANSWER = 4096
_LONGEST_REASON = 200
_TRIES = 2
"""It may have ended for want of work just when there was some."""
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
_CRASHES = {-number for number in (*_FAULTS, signal.SIGXCPU)}
"""How a process ends because of what it was given."""


class Decoder:
    """One such process; for one thread, but for `close`."""

    def __init__(self, clock: float = _CLOCK) -> None:
        self._clock = clock
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = False
        self._program = "import sys; from dicomnode.net import decoding; decoding.serve(int(sys.argv[1]))"

    def __repr__(self) -> str:
        return f"Decoder({self._running[0].pid if self._running else 'not running'})"

    def decompress(self, source: int, target: int) -> None:
        """Write the dataset of the open Part 10 file `source` to the open file `target`. Errors: see the module."""
        for _ in range(_TRIES):
            if not self._closed and (answer := self._asked(source, target)):
                return _heed(answer)
        raise InstanceError("the process that decompresses ends before its time")

    def close(self) -> None:
        """End the process, whatever it is at; there will be no other."""
        self._closed = True
        if running := self._running:
            running[0].kill()
            running[0].wait()

    def _asked(self, source: int, target: int) -> bytes:
        """What the process answers; b'' where it has ended, and not over this."""
        self._running = self._running or self._begun()
        connection = self._running[1]
        try:
            socket.send_fds(connection, [_PLEASE], [source, target])
            answer = connection.recv(_ANSWER)
        except TimeoutError as error:
            self._end()
            raise InstanceError(f"it was not decompressed in {self._clock:g} seconds") from error
        except OSError:
            answer = b""
        if not answer and (status := self._end()) in _CRASHES:
            raise ContextMissing(f"it cannot be decompressed: the decoder ended with {signal.Signals(-status).name}")
        return answer

    def _begun(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self._clock)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", self._program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C that is meant for the node is no verdict on an instance
            )
        return process, ours

    def _end(self) -> int:
        """Be done with the process, which may have ended; minus the number of the signal that ended it."""
        assert self._running
        process, connection = self._running
        self._running = None
        connection.close()
        process.kill()
        return process.wait()


def _heed(answer: bytes) -> None:
    kind, reason = answer[:1], answer[1:].decode()
    if kind == _CANNOT:
        raise ContextMissing(f"it cannot be decompressed: {reason}")
    if kind == _LATER:
        raise InstanceError(f"it cannot be decompressed just now: {reason}")


# -- the process -------------------------------------------------------------------------------------------------------


def serve(connection: int) -> None:
    """Decompress what comes in on a socket, until nothing does."""
    sys.modules.pop("gdcm", None)  # which is kept out of every other process: see dicomnode/__init__.py
    from dicomnode.dicom.decompress import decompress

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its parent does
    os.nice(_NICE)
    for kind, most in ((resource.RLIMIT_AS, _ADDRESSES), (resource.RLIMIT_FSIZE, _LARGEST), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))
    with socket.socket(fileno=connection) as asked, suppress(TimeoutError):
        asked.settimeout(_IDLE)
        while files := socket.recv_fds(asked, len(_PLEASE), 2)[1]:
            with open(files[0], "rb") as source, open(files[1], "wb") as target:
                asked.send(_answer(source, target, decompress))


def _answer(source: BinaryIO, target: BinaryIO, decompress: Callable[[BinaryIO, BinaryIO], None]) -> bytes:
    used, disk = resource.getrusage(resource.RUSAGE_SELF), os.fstatvfs(target.fileno())
    bound = int(used.ru_utime + used.ru_stime) + _PROCESSOR
    most = min(_LARGEST, disk.f_bavail * disk.f_frsize - _ROOM)
    if most <= 0:
        return _LATER + b"the disk is nearly full"
    resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, _LARGEST))
    try:
        source.seek(0)
        target.truncate(target.seek(0))
        decompress(source, target)
        target.flush()
    except (InstanceError, MemoryError) as error:
        return _CANNOT + (str(error) or "it needs too much memory").encode()
    except OSError as error:
        is_too_large = error.errno == errno.EFBIG and most == _LARGEST
        return (_CANNOT if is_too_large else _LATER) + str(error.strerror).encode()
    except Exception as error:  # pydicom's, about a dataset that it cannot make sense of
        return _CANNOT + repr(error)[:_LONGEST_REASON].encode()
    return _DONE
