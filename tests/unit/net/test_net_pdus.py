"""PDUs as the standard prints them, and messages cut to what a peer takes."""

from __future__ import annotations

import pytest

from dicomnode.net import pdus


@pytest.mark.parametrize(
    ("pdu", "printed"),
    [
        (pdus.release(pdus.RELEASE_RQ), "05 00 00000004 00000000"),
        (pdus.release(pdus.RELEASE_RP), "06 00 00000004 00000000"),
        (pdus.abort(), "07 00 00000004 0000 00 00"),
        (pdus.abort(2, pdus.INVALID_VALUE), "07 00 00000004 0000 02 06"),
        (pdus.reject(2, 3, 1), "03 00 00000004 00 02 03 01"),
        (pdus.data(5, pdus.COMMAND, b"abcd", 100), "04 00 0000000A 00000006 05 03 61626364"),
    ],
)
def test_a_pdu_is_as_the_standard_prints_it(pdu: bytes, printed: str) -> None:
    assert pdu == bytes.fromhex(printed)


def test_a_message_is_cut_and_its_end_is_marked() -> None:
    first, last = "04 00 0000000A 00000006 01 00 61626364", "04 00 00000008 00000004 01 02 6566"
    assert pdus.data(1, 0, b"abcdef", 4) == bytes.fromhex(first + last)
    assert pdus.data(1, 0, b"", 4) == b""


@pytest.mark.parametrize(("maximum", "fragment"), [(16384, 16378), (4097, 4090), (16, 10), (7, 10), (1, 10)])
def test_a_fragment_is_even_and_fits(maximum: int, fragment: int) -> None:
    assert pdus.longest_fragment(maximum) == fragment
