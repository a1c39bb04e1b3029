"""TLS for both sides of the node: the BCP 195 profile of PS3.15 B.12 (RFC 8996, RFC 9325), with mutual authentication.

Promises: nothing below TLS 1.2 and no suite without forward secrecy and authenticated encryption; whoever has no
certificate that `node.tls.ca` vouches for gets no further than the handshake, on either side, and where there is a list
of the revoked (`node.tls.crl`), nobody whom it names, nor anybody at all once it has ended; the system's own
authorities are never asked; nothing is compressed, renegotiated or resumed by a ticket. A partner that we call must be
whom its certificate names, by its alternative names alone. Files that are renewed on the disk count within seconds for
whoever comes next (`Papers`); what is open goes on. Never: a socket is touched here.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from dicomnode.config import certificates
from dicomnode.config.parts import Tls
from dicomnode.errors import ConfigurationError, Fault
from dicomnode.rules.admission import Shown, plain

log = logging.getLogger(__name__)

_APART = 5.0
"""Seconds between two looks at the files."""
_SUITES = ":".join(
    f"ECDHE-{key}-{cipher}" for cipher in ("AES256-GCM-SHA384", "AES128-GCM-SHA256") for key in ("ECDSA", "RSA")
)
"""The four of RFC 9325 4.2 for TLS 1.2; those of TLS 1.3 are all good, and OpenSSL's own choice."""
_STRENGTH = "@SECLEVEL=2"  # RSA of 2048 bits, curves of 224, no SHA-1: whatever the system's default is


def server_context(tls: Tls) -> ssl.SSLContext:
    """For those who call us. ConfigurationError where the files are not to be used."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """For those whom we call: `wrap_socket` wants `server_hostname`, which the certificate must name (a host name, or
    an IP address among its alternative names). ConfigurationError as above."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def _context(protocol: int, tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{_SUITES}:{_STRENGTH}")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.verify_mode = ssl.CERT_REQUIRED
    context.hostname_checks_common_name = False  # RFC 9525 2: a common name is no identity
    try:
        certificates.load_own(context, tls)
        context.load_verify_locations(tls.ca)
        if tls.crl:
            context.load_verify_locations(tls.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        found = tuple(Fault(f"node.tls.{key}", 0, text) for key, text in certificates.faults(tls))
        raise ConfigurationError(found or (Fault("node.tls", 0, str(error)),)) from error
    return context


class Papers:
    """The contexts of one process, from `server_context` or `client_context`: another as soon as the files are others.

    It is looked whether they are when a context is needed, every few seconds at most. New ones that cannot be used are
    logged, and change nothing. ConfigurationError where the first cannot be used.
    """

    def __init__(
        self, make: Callable[[Tls], ssl.SSLContext], tls: Tls, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._tls, self._timer = make, tls, timer
        self._lock = threading.Lock()
        self._taken = self._seen = certificates.state(tls)
        self._context = make(tls)
        self._look_at = timer() + _APART

    def __repr__(self) -> str:
        return f"Papers({self._tls.certificate})"

    def context(self) -> ssl.SSLContext:
        """The one for whoever comes now."""
        with self._lock:
            if self._timer() >= self._look_at:
                self._look()
                self._look_at = self._timer() + _APART
            return self._context

    def _look(self) -> None:
        found = certificates.state(self._tls)
        if found == self._taken:
            return
        is_told, self._seen = found == self._seen, found
        try:
            faults = [f"node.tls.{key}: {why}" for key, why in certificates.faults(self._tls)]
            fresh = None if faults else self._make(self._tls)
        except (ConfigurationError, OSError) as error:  # another file again, between two looks at it
            faults, fresh = [str(error)], None
        if fresh:
            self._context, self._taken = fresh, found
            log.info("the renewed certificate files are in use")
        elif not is_told:
            log.error("the certificate files in use stay: %s", "; ".join(faults))


def shown(connection: socket.socket) -> Shown | None:
    """What the peer showed in the handshake, and OpenSSL has verified; None in clear."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    whole, said = connection.getpeercert(binary_form=True), connection.getpeercert()
    assert whole, "there is no handshake without a certificate"
    assert said, "it was verified"
    names = frozenset(plain(name) for kind, name in _alternative(said) if kind in ("DNS", "IP Address"))
    return Shown(_spki(whole), names, ssl.cert_time_to_seconds(str(said["notAfter"])) * 1_000_000)


def _alternative(said: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The kind and the value of each alternative name, as `getpeercert` has them."""
    found: Iterable[tuple[str, str]] = said.get("subjectAltName", ())
    return found


def _spki(certificate: bytes) -> str:
    """SHA-256 of the public key of a certificate in DER; '', which is nobody's, where the key is of an unknown kind."""
    try:
        key = load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


_UNKNOWN = "node.tls.ca does not have the certificate of its issuer"
_UNVERIFIED = {
    3: "node.tls.crl has no list of its issuer",
    9: "it is not valid yet",
    10: "it has expired",
    12: "node.tls.crl has ended: until there is a new one, nobody's is accepted",
    23: "it has been revoked",
} | dict.fromkeys((18, 19, 20, 21), _UNKNOWN)
"""By X509_V_ERR_…; OpenSSL's own words will do for the others."""
_OTHER_LANGUAGE = "the peer does not speak TLS there: DICOM over TLS has a port of its own, such as 2762"
_NOTHING_IN_COMMON = "the peer and we have no way in common: we speak TLS 1.3, and 1.2 with ECDHE and AES-GCM"
_WORDS = (
    ("DID_NOT_RETURN_A_CERTIFICATE", "the peer shows no certificate"),
    ("ALERT_UNKNOWN_CA", "the peer does not know who issued our certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "the peer holds our certificate for expired"),
    ("ALERT_CERTIFICATE_REVOKED", "the peer holds our certificate for revoked"),
    ("CERTIFICATE", "the peer does not accept our certificate"),
    ("WRONG_VERSION_NUMBER", _OTHER_LANGUAGE),
    ("UNEXPECTED_EOF", _OTHER_LANGUAGE),
    ("PROTOCOL", _NOTHING_IN_COMMON),
    ("NO_SHARED_CIPHER", _NOTHING_IN_COMMON),
    ("HANDSHAKE_FAILURE", _NOTHING_IN_COMMON + ", or it wants another certificate of us"),
)
"""A part of OpenSSL's name for a failure (which differs between versions) → what it means; the first that fits."""


def reason(error: OSError) -> str:
    """Why a handshake failed, or a connection broke, in words from which a person can act."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _UNVERIFIED.get(error.verify_code, error.verify_message.rstrip("."))
        return f"TLS: the peer's certificate is not accepted: {why}"
    if isinstance(error, ssl.SSLError):
        name = getattr(error, "reason", None) or ""
        if isinstance(error, ssl.SSLEOFError) and not name:  # in TLS 1.3 a client's certificate is judged afterwards
            return "TLS: the peer ended the connection; it may not accept our certificate"
        return "TLS: " + next((words for part, words in _WORDS if part in name), name or str(error))
    return error.strerror or str(error)
