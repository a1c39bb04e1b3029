"""A-ASSOCIATE-RQs as they may come: what is read of them, what is skipped, what is none."""

from __future__ import annotations

import contextlib
import struct

import pytest

from dicomnode.net import request as requests
from dicomnode.net.reactor import Broken
from dicomnode.rules.admission import Caller, Claim

_CALLER = Caller("CT1", "REFERNODE", "127.0.0.1")
_APPLICATION = b"1.2.840.10008.3.1.1.1"
_VERIFICATION, _IMPLICIT_LE = b"1.2.840.10008.1.1", b"1.2.840.10008.1.2"


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _context(number: int, *syntaxes: bytes) -> bytes:
    items = _item(0x30, _VERIFICATION) + b"".join(_item(0x40, syntax) for syntax in syntaxes or (_IMPLICIT_LE,))
    return _item(0x20, bytes((number, 0, 0, 0)) + items)


_USER = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3"))


def _request(
    *items: bytes, called: bytes = b"REFERNODE", calling: bytes = b"CT1", version: int = 1
) -> bytes:
    body = struct.pack(">HH", version, 0) + called.ljust(16) + calling.ljust(16) + bytes(32) + b"".join(items)
    return struct.pack(">BxI", 1, len(body)) + body


def _usual(*contexts: bytes, **more: bytes) -> bytes:
    return _request(_item(0x10, _APPLICATION), *(contexts or (_context(1),)), _USER, **more)  # type: ignore[arg-type]


def test_a_usual_request_is_read() -> None:
    found = requests.examine(_usual(_context(1), _context(3, b"1.2.840.10008.1.2.1", _IMPLICIT_LE)))
    assert (found.called_ae_title, found.calling_ae_title, found.version) == ("REFERNODE", "CT1", 1)
    assert found.application_context == _APPLICATION.decode()
    primitive = requests.decode(found, _CALLER)
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("REFERNODE", "CT1")
    proposed = [(c.context_id, c.transfer_syntax) for c in primitive.presentation_context_definition_list]
    assert proposed == [(1, ["1.2.840.10008.1.2"]), (3, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])]
    assert primitive.maximum_length_received == 16384


def test_items_that_nobody_knows_are_skipped() -> None:
    user = _item(0x50, _item(0x51, struct.pack(">I", 4096)) + _item(0x6F, b"what?") + _item(0x52, b"1.2.3"))
    raw = _request(_item(0x10, _APPLICATION), _item(0x77, b"what?"), _context(1), user)
    primitive = requests.decode(requests.examine(raw), _CALLER)
    assert primitive.maximum_length_received == 4096
    assert len(primitive.presentation_context_definition_list) == 1


@pytest.mark.parametrize(
    ("title", "read"),
    [(b" AET", "AET"), (b"AET\0\0", "AET"), (bytes(16), ""), (b" " * 16, ""), (b"\xff\n/..", "\xff\n/..")],
)
def test_a_title_is_read_without_its_padding(title: bytes, read: str) -> None:
    assert requests.examine(_usual(calling=title)).calling_ae_title == read


def test_the_version_is_read_as_it_is() -> None:
    assert requests.examine(_request(_item(0x10, _APPLICATION), version=0x8002)).version == 0x8002


_BROKEN = {
    "too short": _usual()[:70],
    "an item that ends beyond the end": _usual()[:-1],
    "an item's header cut": _usual() + b"\x20",
    "a length that lies": _request(_item(0x10, _APPLICATION), b"\x20\0\xff\xff" + bytes(10)),
    "129 contexts": _usual(*(_context(n % 256) for n in range(129))),
    "20,000 contexts": _usual(*[_context(1)] * 20_000),
    "an even id": _usual(_context(2)),
    "an id of 0": _usual(_context(0)),
    "an id twice": _usual(_context(1), _context(1)),
    "200 transfer syntaxes for a context": _usual(_context(1, *[b"1.2"] * 200)),
    "12,800 transfer syntaxes": _usual(*(_context(n, *[b"1.2"] * 100) for n in range(1, 256, 2))),
    "10,000 items that nobody knows": _usual() + _item(0x99, b"") * 10_000,
    "1,000 roles": _request(_item(0x10, _APPLICATION), _context(1), _item(0x50, _item(0x54, b"\0\0031.2\1\0") * 1000)),
    "a context without an id": _request(_item(0x10, _APPLICATION), _item(0x20, b"\1")),
}


@pytest.mark.parametrize("raw", _BROKEN.values(), ids=_BROKEN)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(Broken):
        requests.examine(raw)


_ID = bytes((1, 0, 0, 0))


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("item", [_item(0x20, _ID), _item(0x20, _ID + _item(0x30, b"9" * 200)), _item(0x50, b"")])
def test_what_pynetdicom_cannot_read_is_broken_and_nothing_worse(item: bytes) -> None:
    found = requests.examine(_request(_item(0x10, _APPLICATION), item))
    with contextlib.suppress(Broken):
        assert requests.decode(found, _CALLER).calling_ae_title == "CT1"


# -- who its user is -------------------------------------------------------------------------------------------


def _identity(kind: int, name: bytes, passcode: bytes = b"", *, answer: int = 0) -> bytes:
    fields = struct.pack(">BBH", kind, answer, len(name)) + name + struct.pack(">H", len(passcode)) + passcode
    return _item(0x58, fields)


def _said(*identities: bytes) -> bytes:
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3") + b"".join(identities))
    return _request(_item(0x10, _APPLICATION), _context(1), user)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 255])
def test_a_user_identity_is_read_and_handed_to_nobody(kind: int) -> None:
    name, secret = "prüfer".encode(), bytes(range(256)) * 255
    found = requests.examine(_said(_identity(kind, name, secret, answer=1)))
    assert found.claim == Claim(kind, True, name, secret)
    assert secret[:256] not in found.items
    assert not [x for x in requests.decode(found, _CALLER).user_information if "UserIdentity" in type(x).__name__]
    assert repr(secret)[2:20] not in repr(found.claim)


def test_who_says_nothing_of_a_user_claims_nothing() -> None:
    assert requests.examine(_usual()).claim is None
    claim = requests.examine(_said(_identity(2, b"", b""))).claim
    assert claim == Claim(2, False, b"", b"")


@pytest.mark.parametrize(
    "identities",
    [
        (_item(0x58, b""),),
        (_item(0x58, b"\2\0\0"),),
        (_item(0x58, b"\2\0\0\4name"),),
        (_item(0x58, b"\2\0\xff\xffname\0\1p"),),
        (_item(0x58, b"\2\0\0\4name\0\2p"),),
        (_item(0x58, b"\2\0\0\4name\0\1pq"),),
        (_identity(2, b"name", b"p"), _identity(2, b"name", b"p")),
    ],
    ids=["empty", "short", "no second", "lying first", "lying second", "more", "two"],
)
def test_an_identity_that_does_not_add_up_is_none(identities: tuple[bytes, ...]) -> None:
    with pytest.raises(Broken):
        requests.examine(_said(*identities))
