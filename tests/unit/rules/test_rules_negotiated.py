"""rules/negotiated.py: what is answered to the extended negotiation of query and retrieve."""

from __future__ import annotations

import pytest

from dicomnode.rules import negotiated
from dicomnode.rules.negotiated import Features

ALL = Features(relational=True, date_time=True, fuzzy=True, empty_value=True, multiple_value=True)


@pytest.mark.parametrize(
    ("offered", "answer", "features"),
    [
        (b"", b"", Features()),
        (b"\1", b"\1", Features(relational=True)),
        (b"\0\1", b"\0\1", Features(date_time=True)),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\0\0\1\1", ALL),
        (b"\2\xff", b"\0\0", Features()),
        (b"\0" * 9 + b"\1", b"\0" * 10, Features()),
    ],
)
def test_a_query_is_answered_with_a_byte_for_each_that_was_offered(
    offered: bytes, answer: bytes, features: Features
) -> None:
    assert negotiated.find(offered) == (features, answer)


@pytest.mark.parametrize(
    ("offered", "answer", "features"),
    [
        (b"\1", b"\1", Features(relational=True)),
        (b"\1\1", b"\1\0", Features(relational=True)),
        (b"\0", b"\0", Features()),
    ],
)
def test_a_retrieve_may_be_relational(offered: bytes, answer: bytes, features: Features) -> None:
    assert negotiated.retrieve(offered) == (features, answer)
