"""An instance otherwise than it is stored: coerced, in another transfer syntax, or both.

It is rewritten, or decompressed in a process apart, and edited on the way where it is coerced. Promises that `convert`
returns only when every byte of the file was seen to have the digest with which it was received; what it has put by then
is the whole dataset. Unreadable: the file is not what was received. ContextMissing, with the reason: there is no such
dataset; NotCoerced, where it is not the transfer syntax that is in the way. InstanceError: not just now. OSError: the
file cannot be read.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import BinaryIO

from dicomnode.dicom import deflate, edit, part10, rewrite, stream, syntaxes
from dicomnode.dicom.classes import DEFLATED, NATIVE, syntax_name
from dicomnode.dicom.deflate import File
from dicomnode.dicom.instance import Written
from dicomnode.dicom.rewrite import Put
from dicomnode.dicom.splice import Splice, Spliced
from dicomnode.dicom.vrs import Hint
from dicomnode.errors import ContextMissing, InstanceError, NotCoerced, Unreadable
from dicomnode.net.decoding import Decoder
from dicomnode.net.digests import Digest
from dicomnode.operations.ports import Outgoing
from dicomnode.rules import coercion
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.contexts import EXPLICIT_LE

_CHUNK = 256 * 1024


def convert(file: BinaryIO, instance: Outgoing, syntax: str, decoder: Decoder, put: Put) -> None:
    """Put the dataset of an instance, whose Part 10 file this is, in a transfer syntax. Errors: see the module."""
    if instance.transfer_syntax_uid in NATIVE or instance.transfer_syntax_uid == syntax:
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
        way = _Way(made.seek(0, os.SEEK_END), EXPLICIT_LE, syntax)
        way.look(made, 0, _edits(instance))
        made.seek(0)
        way.write(made, put)


def _rewrite(file: BinaryIO, instance: Outgoing, syntax: str, put: Put) -> None:
    start, way = _start(file, instance), _Way(instance.size, instance.transfer_syntax_uid, syntax)
    try:
        way.look(file, start, _edits(instance))
    except ContextMissing:
        _verify(file, instance)
        raise
    file.seek(start)
    digested = _Digested(file, instance)
    way.write(digested, put)
    digested.check()


class _Edits:
    """What is to be changed in an instance, and how its text is to be read where it does not say."""

    def __init__(self, wanted: Coercion, assumed: str) -> None:
        self._wanted, self._assumed = wanted, assumed

    def splices(self, file: BinaryIO, start: int, size: int, syntax: str) -> Sequence[Splice]:
        """Where bytes are changed in the dataset of so many that begins there. Raises NotCoerced."""
        try:
            file.seek(start)
            written = Written(syntaxes.of(syntax), self._assumed)
            survey = edit.survey(stream.opened(file, size, syntax), written, coercion.READS)
            changes = coercion.changes(self._wanted, survey.found)
            file.seek(start)
            return edit.splices(stream.opened(file, size, syntax), survey, changes)
        except Unreadable as error:
            raise NotCoerced(f"the copy that the partner is to have cannot be made: {error}") from error


def _edits(instance: Outgoing) -> _Edits | None:
    if instance.coercion is None:
        return None
    origin = part10.read(instance.path).origin
    return _Edits(instance.coercion, instance.coercion.assumed(origin.partner) if origin else "")


class _Way:
    """From a dataset of `size` bytes in one transfer syntax to what is sent in another, edited in between."""

    def __init__(self, size: int, source: str, target: str) -> None:
        self._size, self._source, self._target = size, source, target
        self._hint: Hint = {}
        self._edited = False
        self._splices: Sequence[Splice] = ()

    def look(self, file: BinaryIO, start: int, edits: _Edits | None) -> None:
        """Go over the dataset, which begins there, and see that it can be done. Raises ContextMissing."""
        if edits:
            self._edited = True
            self._splices = edits.splices(file, start, self._size, self._source)
        file.seek(start)
        try:
            if self._source != self._target:
                self._hint = rewrite.survey(file, self._size, self._source, self._target)
        except Unreadable as error:
            raise ContextMissing(f"it cannot be sent in {syntax_name(self._target)}: {error}") from error

    def write(self, file: File, put: Put) -> None:
        """Put the dataset that begins here."""
        if not self._edited:
            rewrite.rewrite(file, self._size, self._source, self._target, self._hint, put)
            return
        made = Spliced(stream.inflated(file, self._size, self._source), self._splices)
        with io.BufferedReader(made, _CHUNK) as edited:
            if self._target in DEFLATED:
                deflate.deflate(edited, put)
            else:
                source = EXPLICIT_LE if self._source in DEFLATED else self._source
                rewrite.rewrite(edited, sys.maxsize, source, self._target, self._hint, put)


def _verify(file: BinaryIO, instance: Outgoing) -> None:
    file.seek(_start(file, instance))
    _Digested(file, instance).check()


def _start(file: BinaryIO, instance: Outgoing) -> int:
    """Where the dataset begins: it is the end of the file, as long as it was."""
    return max(0, os.fstat(file.fileno()).st_size - instance.size)


class _Digested:
    """A file that is read from here to its end, and the digest of what was read."""

    def __init__(self, file: BinaryIO, instance: Outgoing) -> None:
        self._file, self._instance = file, instance
        self._digest = Digest(instance)

    def read(self, size: int) -> bytes:
        """As a file does."""
        found = self._file.read(size)
        self._digest.update(found)
        return found

    def seekable(self) -> bool:
        """It is not: all of it is to be read."""
        return False

    def seek(self, offset: int, whence: int) -> int:
        """It is not: see `seekable`."""
        raise io.UnsupportedOperation

    def check(self) -> None:
        """Read what is left. Unreadable: it was not what was received."""
        while self.read(_CHUNK):
            pass
        if not self._digest.fits:
            raise Unreadable(f"our own file {self._instance.path.name} is not what was received")
