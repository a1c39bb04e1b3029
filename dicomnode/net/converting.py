"""An instance in another transfer syntax than it is stored in: rewritten, or decompressed in a process apart.

Promises that `convert` returns only when every byte of the file was seen to have the digest with which it was received;
what it has put by then is the whole dataset. Unreadable: the file is not what was received. ContextMissing, with the
reason: there is no such dataset. InstanceError: not just now. OSError: the file cannot be read.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from typing import BinaryIO

from dicomnode.dicom import rewrite
from dicomnode.dicom.classes import NATIVE, syntax_name
from dicomnode.dicom.rewrite import Put
from dicomnode.errors import ContextMissing, InstanceError, Unreadable
from dicomnode.net.decoding import Decoder
from dicomnode.operations.ports import Outgoing
from dicomnode.rules.contexts import EXPLICIT_LE

_CHUNK = 256 * 1024


def convert(file: BinaryIO, instance: Outgoing, syntax: str, decoder: Decoder, put: Put) -> None:
    """Put the dataset of an instance, whose Part 10 file this is, in a transfer syntax. Errors: see the module."""
    if instance.transfer_syntax_uid in NATIVE:
        _rewrite(file, instance, syntax, put)
        return
    _verify(file, instance)
    try:
        _decompress(file, instance, syntax, decoder, put)
    except OSError as error:
        raise InstanceError(f"it cannot be decompressed just now: {error.strerror}") from error


def _decompress(file: BinaryIO, instance: Outgoing, syntax: str, decoder: Decoder, put: Put) -> None:
    with tempfile.TemporaryFile(dir=instance.path.parent) as made:  # has no name: nothing is left of it after a kill
        decoder.decompress(file.fileno(), made.fileno())
        size = made.seek(0, os.SEEK_END)
        made.seek(0)
        try:
            hint = rewrite.survey(made, size, EXPLICIT_LE, syntax)
        except Unreadable as error:
            raise _impossible(syntax, error) from error
        made.seek(0)
        rewrite.rewrite(made, size, EXPLICIT_LE, syntax, hint, put)


def _rewrite(file: BinaryIO, instance: Outgoing, syntax: str, put: Put) -> None:
    stored, start = instance.transfer_syntax_uid, _start(file, instance)
    file.seek(start)
    try:
        hint = rewrite.survey(file, instance.size, stored, syntax)
    except Unreadable as error:
        _verify(file, instance)
        raise _impossible(syntax, error) from error
    file.seek(start)
    digested = _Digested(file)
    rewrite.rewrite(digested, instance.size, stored, syntax, hint, put)
    digested.check(instance)


def _impossible(syntax: str, error: Unreadable) -> ContextMissing:
    return ContextMissing(f"it cannot be sent in {syntax_name(syntax)}: {error}")


def _verify(file: BinaryIO, instance: Outgoing) -> None:
    file.seek(_start(file, instance))
    _Digested(file).check(instance)


def _start(file: BinaryIO, instance: Outgoing) -> int:
    """Where the dataset begins: it is the end of the file, as long as it was."""
    return max(0, os.fstat(file.fileno()).st_size - instance.size)


class _Digested:
    """A file that is read from here to its end, and the digest of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._running = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """As a file does."""
        found = self._file.read(size)
        self._running.update(found)
        return found

    def seekable(self) -> bool:
        """It is not: all of it is to be read."""
        return False

    def seek(self, offset: int, whence: int) -> int:
        """It is not: see `seekable`."""
        raise io.UnsupportedOperation

    def check(self, instance: Outgoing) -> None:
        """Read what is left. Unreadable: it was not what was received."""
        while self.read(_CHUNK):
            pass
        if self._running.hexdigest() != instance.sha256:
            raise Unreadable(f"our own file {instance.path.name} is not what was received")
