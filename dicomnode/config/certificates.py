"""The files that `node.tls` names: is everything there that a TLS connection needs, and does it fit together?

They are tried, not parsed: the node speaks TLS with itself, in memory, as both sides, and what stops that would stop
every partner. Here and in net/tls.py alone files of keys are read. Nothing here touches the network; nobody is ever
asked for a passphrase.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from dicomnode.config.model import Tls

_EXPIRED, _NOT_YET, _PURPOSE = 10, 9, 26  # of X509_V_ERR_…


def faults(tls: Tls) -> Iterator[tuple[str, str]]:
    """(key of `node.tls`, what is wrong with its file, and what to do). Nothing where TLS can be spoken."""
    closed = [(key, why) for key in ("certificate", "key", "ca") if (why := _unreadable(getattr(tls, key)))]
    yield from closed or _contents(tls)
    if tls.key.is_file() and tls.key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield "key", f"is open to others than its owner: chmod 600 {tls.key}"


def load_own(context: ssl.SSLContext, tls: Tls) -> None:
    """Put our certificate and key into a context. OSError (ssl.SSLError among them) where that cannot be done."""
    context.load_cert_chain(tls.certificate, tls.key, password="")  # without one, OpenSSL asks on the terminal


def valid_until(tls: Tls) -> date:
    """The last day (UTC) of our certificate. OSError where the files have faults."""
    seen = _greet(tls).getpeercert()
    assert seen, "the client of a greeting has verified it"
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(seen["notAfter"])), UTC).date()


def authorities_until(tls: Tls) -> date | None:
    """The last day (UTC) of that of our authorities that ends first; None where each vouches for itself alone.

    OSError where the file has faults.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tls.ca)
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    return datetime.fromtimestamp(min(ends), UTC).date() if ends else None


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


def _greet(tls: Tls) -> ssl.SSLObject:
    """A handshake of the node with itself, in memory, each side verifying the other: the client, when it is done."""
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
    return client


def _side(protocol: int, tls: Tls) -> ssl.SSLContext:
    """A context that is our certificate, and trusts nothing but that, whoever may have issued it."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(tls.certificate)
    load_own(context, tls)
    return context
