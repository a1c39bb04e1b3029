"""The A-ASSOCIATE-RQ as it was received (PS3.8 9.3.2): looked over before pynetdicom decodes it, and then by it.

`examine` reads what admission asks for and counts the items, so that a stranger's request costs nothing and nobody's
costs much; `decode` hands pynetdicom a request that it can read: titles as they were admitted, without the items and
sub-items that nobody knows, which are to be skipped (PS3.8 9.3.1), and without the user's identity, which is nobody
else's to read. Both raise Broken on what is no request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicomnode.net.pdus import ASSOCIATE_RQ, HEADER, INVALID_VALUE
from dicomnode.net.reactor import Broken
from dicomnode.rules.admission import Caller, Claim

_FIXED = 74
_APPLICATION, _CONTEXT, _USER = 0x10, 0x20, 0x50
_KNOWN = frozenset(range(0x51, 0x58))
"""Sub-items of user information that a request may have (PS3.7 D.3.3), but for the user's identity."""
_IDENTITY = 0x58
_ITEM = struct.Struct(">BxH")
_ITEMS = 8192
"""Items and sub-items of contexts in one request: 128 contexts with 60 transfer syntaxes each have fewer."""
_SYNTAXES = 128
"""Sub-items of one context: the standard has sixty transfer syntaxes."""
_USER_ITEMS = 512
"""Sub-items of user information: a role and two extended negotiations for each of 128 SOP classes are fewer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has the right form. Titles without padding, as they came; `items` are those that are known."""

    called_ae_title: str
    calling_ae_title: str
    version: int
    application_context: str
    items: bytes
    claim: Claim | None


def examine(pdu: bytes | bytearray) -> Request:
    """Look a whole PDU over. Broken: lengths that do not fit, a context id that is even or there twice, too many items,
    two identities.

    So there are 128 contexts at most: there are no more odd ids in a byte.
    """
    if len(pdu) < _FIXED:
        raise _invalid("is too short")
    kept, claims, application, ids = [], list[Claim](), "", set[int]()
    left, few = iter(range(_ITEMS)), iter(range(_USER_ITEMS))
    for kind, item, value in _items(bytes(pdu[_FIXED:]), left):
        if kind == _APPLICATION:
            application = value.rstrip(b"\0 ").decode("ascii", "replace")
        elif kind == _CONTEXT:
            number = value[0] if len(value) >= 4 else 0
            if number % 2 == 0 or number in ids:
                raise _invalid("has a context id that is even, or there twice")
            ids.add(number)
            if sum(1 for _ in _items(value[4:], left)) > _SYNTAXES:
                raise _invalid("proposes too many transfer syntaxes for a context")
        elif kind == _USER:
            subs = list(_items(value, few))
            claims += [_claim(body) for known, _, body in subs if known == _IDENTITY]
            item = _packed(_USER, b"".join(sub for known, sub, _ in subs if known in _KNOWN))
        else:
            continue
        kept.append(item)
    if len(claims) > 1:
        raise _invalid("says twice who its user is")
    (version,) = struct.unpack_from(">H", pdu, 6)
    claim = claims[0] if claims else None
    return Request(_title(pdu[10:26]), _title(pdu[26:42]), version, application, b"".join(kept), claim)


def decode(request: Request, caller: Caller) -> A_ASSOCIATE:
    """The request as pynetdicom's primitive, with the titles of a caller that was admitted."""
    titles = caller.called_ae_title.encode("ascii").ljust(16) + caller.calling_ae_title.encode("ascii").ljust(16)
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + request.items
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(HEADER.pack(ASSOCIATE_RQ, len(body)) + body)
        return pdu.to_primitive()
    except Exception as error:  # whatever the library makes of hostile items
        raise _invalid(f"cannot be read ({type(error).__name__})") from error


def _claim(value: bytes) -> Claim:
    """The value of a User Identity sub-item (PS3.7 D.3.3.7.1): type, whether to answer, and two fields with lengths."""
    try:
        kind, wants_answer, length = struct.unpack_from(">BBH", value)
        (rest,) = struct.unpack_from(">H", value, 4 + length)
    except struct.error:
        raise _invalid("has a user identity that ends within") from None
    if len(value) != 6 + length + rest:
        raise _invalid("has a user identity whose lengths do not fit")
    return Claim(kind, wants_answer == 1, value[4 : 4 + length], value[6 + length :])


def _invalid(what: str) -> Broken:
    return Broken(f"an A-ASSOCIATE-RQ that {what}", INVALID_VALUE)


def _items(data: bytes, left: Iterator[int]) -> Iterator[tuple[int, bytes, bytes]]:
    """Type, all bytes and value of each item (PS3.8 9.3.2), while any are left that a request may have."""
    offset = 0
    while offset < len(data):
        if next(left, None) is None:
            raise _invalid("has too many items")
        if offset + _ITEM.size > len(data):
            raise _invalid("ends within an item")
        kind, length = _ITEM.unpack_from(data, offset)
        end = offset + _ITEM.size + length
        if end > len(data):
            raise _invalid("ends within an item")
        yield kind, data[offset:end], data[offset + _ITEM.size : end]
        offset = end


def _packed(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _title(raw: bytes | bytearray) -> str:
    return raw.decode("latin-1").strip(" \0")
