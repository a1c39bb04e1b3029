"""Abuse by who is not who it says: other people's certificates, worthless ones, and identities that are none (T62, T63,
T74). What each is answered with is tested in test_callers.py, and with real tools in test_tls.py.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from tests.abuse import raw
from tests.abuse.siege import Abuse, Field
from tests.abuse.targets import FIRST, Target
from tests.certificates import Authority, Identity
from tests.upper_layer import ASSOCIATE_AC, ASSOCIATE_RJ

_EACH = 15
_SECRET = b"abuse-s3cret"
_LATE = 1.5


def _first(target: Target, context: ssl.SSLContext, request: bytes) -> int:
    """The type of the PDU that answers a request over TLS; 0 where there is none."""
    with raw.dial(target) as sock:
        try:
            with context.wrap_socket(sock) as encrypted:
                return raw.answer(encrypted, 5) if raw.push(encrypted, request) else 0
        except OSError:
            return 0


@contextlib.contextmanager
def somebody_elses(field: Field) -> Iterator[None]:
    """T62: a partner's title and address, and the good certificate of another."""
    target = field.target
    request = raw.request(target, calling=target.pinned)
    paper = target.authority.issue("peer-of-another").context()
    with raw.meanwhile(raw.again(lambda: _first(target, paper, request) == ASSOCIATE_RJ, 200)):
        yield
        answers = {_first(target, paper, request) for _ in range(_EACH)}
        assert answers == {ASSOCIATE_RJ}, f"with another's certificate: PDUs of type {answers}"
    own = _first(target, target.own.context(), request)
    assert own == ASSOCIATE_AC, "and with its own certificate it is not let in"


def _worthless(authority: Authority, folder: Path) -> Iterator[tuple[str, Identity | None]]:
    yield "none", None
    yield "expired", authority.issue("abuse-expired", days=-1)
    yield "not yet valid", authority.issue("abuse-not-yet", begins="20990101000000Z")
    yield "for servers", authority.issue("abuse-server", extensions=["extendedKeyUsage=serverAuth"])
    alone = Authority(folder / "abuse-alone", "alone")
    yield "self-signed", Identity(alone.certificate, alone.folder / "alone.ca.key", authority.certificate)
    yield "of another authority", alone.issue("abuse-other")


@contextlib.contextmanager
def worthless_certificates(field: Field) -> Iterator[None]:
    """T63: no certificate, and every kind that is worth nothing, again and again."""
    target, folder = field.target, field.target.log.parent.parent
    request, let_in = raw.request(target), []
    yield
    for what, paper in _worthless(target.authority, folder):
        context = paper.context() if paper else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        let_in += [what for _ in range(_EACH) if _first(target, context, request)]
    assert not let_in, f"answered: {', '.join(sorted(set(let_in)))}"
    field.is_free_within(FIRST + _LATE)


def _identities() -> Iterator[bytes]:
    """User Identity sub-items (PS3.7 D.3.3.7): each type, very long ones, and ones that do not add up."""
    for kind in (0, 1, 2, 3, 4, 5, 255):
        for secret in (_SECRET, _SECRET * 5000):
            lengths = len(_SECRET).to_bytes(2, "big"), len(secret).to_bytes(2, "big")
            yield raw.item(0x58, bytes((kind, 1)) + lengths[0] + _SECRET + lengths[1] + secret)
    for body in (b"", b"\2", b"\2\1\xff\xff" + _SECRET, b"\2\1\0\1" + _SECRET, bytes(60_000)):
        yield raw.item(0x58, body)
    yield raw.item(0x58, b"\2\0\0\0\0\0") * 400
    yield raw.item(0x58, b"\2\0", length=0xFFFF)


@contextlib.contextmanager
def impossible_identities(field: Field) -> Iterator[None]:
    """T74: user identities of all types, right and wrong; nothing of them is in the log."""
    with contextlib.ExitStack() as stack:
        for identity in _identities():
            sock = stack.enter_context(raw.dial(field.target))
            if raw.push(sock, raw.request(field.target, further=identity)):
                raw.answer(sock, 5)
        yield
    assert _SECRET not in field.target.log.read_bytes(), "a secret is in the log"


ABUSES = (
    Abuse("T62", "TLS port: another partner's certificate", somebody_elses, tls=True),
    Abuse("T63", "TLS port: worthless certificates", worthless_certificates, tls=True),
    Abuse("T74", "user identities", impossible_identities),
)
