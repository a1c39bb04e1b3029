"""What is read on its way out is compared with what was received."""

from __future__ import annotations

import hashlib
import random
import zlib
from pathlib import Path

import pytest

from dicomnode.net.digests import Digest
from dicomnode.operations.ports import Outgoing

_DATA = random.Random(1).randbytes(10_000)


def _outgoing(*, cheap: bool) -> Outgoing:
    sha256 = hashlib.sha256(_DATA).hexdigest()
    return Outgoing("1", "2", "3", Path("x"), len(_DATA), sha256, zlib.crc32(_DATA) if cheap else None)


def _fits(data: bytes, *, cheap: bool) -> bool:
    digest = Digest(_outgoing(cheap=cheap))
    for start in range(0, len(data), 999):
        digest.update(data[start : start + 999])
    return digest.fits


@pytest.mark.parametrize("cheap", [True, False])
def test_what_was_received_fits(cheap: bool) -> None:
    assert _fits(_DATA, cheap=cheap)


@pytest.mark.parametrize("cheap", [True, False])
def test_whatever_is_damaged_does_not(cheap: bool) -> None:
    chance = random.Random(2)
    for _ in range(200):
        at, length = chance.randrange(len(_DATA)), chance.randint(1, 600)
        damaged = bytearray(_DATA)
        damaged[at : at + length] = chance.randbytes(len(damaged[at : at + length]))
        assert _fits(bytes(damaged), cheap=cheap) == (damaged == _DATA)
    for data in (b"", _DATA[:-1], _DATA + b"\0", b"\0" + _DATA, _DATA[::-1]):
        assert not _fits(data, cheap=cheap)


def test_every_bit_counts() -> None:
    for bit in range(0, 8 * len(_DATA), 37):
        damaged = bytearray(_DATA)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not _fits(bytes(damaged), cheap=True)


def test_where_there_is_a_checksum_the_digest_is_not_computed() -> None:
    digest = Digest(Outgoing("1", "2", "3", Path("x"), len(_DATA), "0" * 64, zlib.crc32(_DATA)))
    digest.update(_DATA)
    assert digest.fits
