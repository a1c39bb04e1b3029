"""TLS for both sides of the node: the BCP 195 profile of PS3.15 B.12 (RFC 8996, RFC 9325), with mutual authentication.

Promises: nothing below TLS 1.2 and no suite without forward secrecy and authenticated encryption; whoever has no
certificate that `node.tls.ca` vouches for gets no further than the handshake, on either side; the system's own
authorities are never asked; nothing is compressed, renegotiated or resumed by a ticket. A partner that we call must be
whom its certificate names. Never: a socket is touched here. A context is read from its files once: what is renewed on
the disk counts from the next reload.
"""

from __future__ import annotations

import ssl

from dicomnode.config import certificates
from dicomnode.config.model import Tls
from dicomnode.errors import ConfigurationError, Fault

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
    try:
        certificates.load_own(context, tls)
        context.load_verify_locations(tls.ca)
    except OSError as error:
        found = tuple(Fault(f"node.tls.{key}", 0, text) for key, text in certificates.faults(tls))
        raise ConfigurationError(found or (Fault("node.tls", 0, str(error)),)) from error
    return context


_UNKNOWN = "node.tls.ca does not have the certificate of its issuer"
_UNVERIFIED = {10: "it has expired", 9: "it is not valid yet"} | dict.fromkeys((18, 19, 20, 21), _UNKNOWN)
"""By X509_V_ERR_…; OpenSSL's own words will do for the others."""
_OTHER_LANGUAGE = "the peer does not speak TLS there: DICOM over TLS has a port of its own, such as 2762"
_NOTHING_IN_COMMON = "the peer and we have no way in common: we speak TLS 1.3, and 1.2 with ECDHE and AES-GCM"
_WORDS = (
    ("DID_NOT_RETURN_A_CERTIFICATE", "the peer shows no certificate"),
    ("ALERT_UNKNOWN_CA", "the peer does not know who issued our certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "the peer holds our certificate for expired"),
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
