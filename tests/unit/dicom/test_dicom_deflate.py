"""dicom/deflate.py: inflating within bounds."""

import time
import zlib

import pytest

from dicomnode.dicom.deflate import inflate
from dicomnode.errors import Unreadable


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, 5_000_001])
def test_round_trip(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert inflate(deflated(data)) == data
    assert inflate(memoryview(deflated(data) + b"\0")) == data  # PS3.5 A.5: one byte of padding


def test_the_cap_is_kept_and_reached() -> None:
    data = deflated(bytes(1000))
    assert len(inflate(data, cap=1000)) == 1000
    with pytest.raises(Unreadable, match="too big"):
        inflate(data, cap=999)


def test_a_bomb_is_refused_long_before_the_cap() -> None:
    bomb = deflated(bytes(200_000_000))
    began = time.process_time()
    with pytest.raises(Unreadable, match="too big"):
        inflate(bomb)
    assert time.process_time() - began < 1


def test_every_cut_is_refused() -> None:
    data = deflated(bytes(range(256)) * 20)
    for cut in range(len(data)):
        with pytest.raises(Unreadable):
            inflate(data[:cut])


def test_garbage_is_refused() -> None:
    with pytest.raises(Unreadable):
        inflate(b"\xff" * 100)
