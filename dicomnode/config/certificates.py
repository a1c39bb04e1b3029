"""The files that `node.tls` names: is everything there that a TLS connection needs, and does it fit together?

They are tried, not parsed: the node speaks TLS with itself, in memory, as both sides, and what stops that would stop
every partner. A list of whom an authority has revoked (CRL) is parsed: that it is one of our authorities', and until
when it counts. Here and in net/tls.py alone files of keys are read. Nothing here touches the network; nobody is ever
asked for a passphrase.
"""

from __future__ import annotations

import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.config.parts import Tls

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

_EXPIRED, _NOT_YET, _PURPOSE = 10, 9, 26  # of X509_V_ERR_…
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_FILES = ("certificate", "key", "ca", "crl")


def faults(tls: Tls) -> Iterator[tuple[str, str]]:
    """(key of `node.tls`, what is wrong with its file, and what to do). Nothing where TLS can be spoken."""
    paths = [(key, path) for key in _FILES if (path := getattr(tls, key))]
    closed = [(key, why) for key, path in paths if (why := _unreadable(path))]
    yield from closed or _contents(tls)
    if tls.key.is_file() and tls.key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield "key", f"is open to others than its owner: chmod 600 {tls.key}"


def state(tls: Tls) -> tuple[object, ...]:
    """What changes when one of the files does; nothing is read."""
    return tuple(_stamp(path) for key in _FILES if (path := getattr(tls, key)))


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def load_own(context: ssl.SSLContext, tls: Tls) -> None:
    """Put our certificate and key into a context. OSError (ssl.SSLError among them) where that cannot be done."""
    context.load_cert_chain(tls.certificate, tls.key, password="")  # without one, OpenSSL asks on the terminal


@dataclass(frozen=True, slots=True)
class Paper:
    """Something of `node.tls` that ends: the key of its file, what it is, and when (µs)."""

    key: str
    what: str
    file: Path
    until: int

    def __str__(self) -> str:
        return f"{self.what} ({self.file})"


def last_day(until: int) -> date:
    """The day (UTC) of such an end."""
    return datetime.fromtimestamp(until / 1e6, UTC).date()


def papers(tls: Tls) -> list[Paper]:
    """Our certificate, that of our authorities that ends first, and the list of whom they have revoked.

    OSError where one of the files cannot be read. That something has ended is no reason not to say so.
    """
    found = [
        Paper("certificate", "our certificate", tls.certificate, _end(_certificates(tls.certificate)[0])),
        Paper("ca", "an authority's certificate", tls.ca, min(map(_end, _certificates(tls.ca)))),
    ]
    if tls.crl:
        found.append(Paper("crl", "the list of the revoked", tls.crl, min(map(_until, _lists(tls.crl)))))
    return found


def _certificates(path: Path) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates  # loads slowly: only who looks pays

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise OSError(None, f"{path} has a certificate that cannot be read") from error


def _end(certificate: Certificate) -> int:
    return round(certificate.not_valid_after_utc.timestamp() * 1e6)


def _unreadable(path: Path) -> str | None:
    try:
        path.read_bytes()
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None


def _contents(tls: Tls) -> Iterator[tuple[str, str]]:
    """What is wrong with files that can be read."""
    empty = [key for key in ("certificate", "ca") if not _has_certificates(getattr(tls, key))]
    for key in empty:
        yield key, f"{getattr(tls, key)} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    if tls.crl and "ca" not in empty and (why := _not_listed(tls.crl, tls.ca)):
        yield "crl", why
    if "certificate" in empty:
        return
    try:
        load_own(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
    except ssl.SSLError as error:
        yield _not_loaded(error, tls)
        return
    try:
        _greet(tls)
    except ssl.SSLError as error:
        yield "certificate", _not_spoken(error)


def _has_certificates(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


def _not_loaded(error: ssl.SSLError, tls: Tls) -> tuple[str, str]:
    if error.reason == "EE_KEY_TOO_SMALL":
        return "certificate", "has too short a key: RSA of 2048 bits or more, or a curve of 256 bits or more"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "key", f"is not the key of {tls.certificate}"
    if b"ENCRYPTED" in tls.key.read_bytes():
        return "key", f"is encrypted, and nobody types a passphrase when a node starts: openssl pkey -in {tls.key}"
    return "key", f"{tls.key} has no private key in PEM form (-----BEGIN PRIVATE KEY-----)"


def _not_spoken(error: ssl.SSLError) -> str:
    code = getattr(error, "verify_code", None)
    if code in (_EXPIRED, _NOT_YET):
        return "has expired" if code == _EXPIRED else "is not valid yet"
    if code == _PURPOSE:
        return "is not for both sides: its extended key usage must have serverAuth and clientAuth, or be absent"
    return f"cannot be used: {getattr(error, 'verify_message', None) or error.reason or error}"


def _greet(tls: Tls) -> None:
    """A handshake of the node with itself, in memory, each side verifying the other."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _side(ssl.PROTOCOL_TLS_CLIENT, tls).wrap_bio(back, there)
    server = _side(ssl.PROTOCOL_TLS_SERVER, tls).wrap_bio(there, back, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass


def _side(protocol: int, tls: Tls) -> ssl.SSLContext:
    """A context that is our certificate, and trusts nothing but that, whoever may have issued it."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(tls.certificate)
    load_own(context, tls)
    return context


# -- whom an authority has revoked -----------------------------------------------------------------------------


def _lists(path: Path) -> list[CertificateRevocationList]:
    """The lists in a file. OSError where it has none, or one that cannot be read."""
    from cryptography.x509 import load_pem_x509_crl  # loads slowly: only who has a list pays

    try:
        found = [load_pem_x509_crl(block) for block in _LIST.findall(path.read_bytes())]
    except ValueError as error:
        raise OSError(None, f"{path} has a list that cannot be read") from error
    if not found:
        raise OSError(None, f"{path} has no list in PEM form (-----BEGIN X509 CRL-----)")
    return found


def _until(revoked: CertificateRevocationList) -> int:
    """When a list ends (µs); one that says nothing of it (RFC 5280 5.1.2.5 wants that it does) has ended."""
    end = revoked.next_update_utc
    return round(end.timestamp() * 1e6) if end else 0


def _not_listed(path: Path, ca: Path) -> str:
    """Why a file is no list that an authority of ours has made; '' where it is. One that has ended is one still."""
    try:
        lists, authorities = _lists(path), _certificates(ca)
    except OSError as error:
        return str(error.strerror)
    if not all(any(_made(each, authority) for authority in authorities) for each in lists):
        return f"{path} has a list that no authority in {ca} has signed: nobody would get in"
    return ""


def _made(revoked: CertificateRevocationList, authority: Certificate) -> bool:
    try:
        return revoked.issuer == authority.subject and revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a key that signs no lists
        return False
