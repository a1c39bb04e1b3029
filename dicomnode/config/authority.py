"""An authority of one's own in a folder, for a pilot or wherever there is no other: it vouches, and it revokes.

Keys are of the curve P-256. A certificate is good for both sides of TLS, by its alternative names, for two years; the
authority itself for ten; its list of the revoked (CRL) for one, and it is made anew each time that somebody is revoked.
Every file is its owner's alone, and none is ever overwritten, but that list. What may fail: UsageError, where there is
such a file already, or no authority; DicomnodeError, where a file cannot be written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dicomnode.errors import DicomnodeError, UsageError

_SLOW = timedelta(hours=1)
"""That a peer's clock may be behind ours."""
_AUTHORITY, _CERTIFICATE, _LIST = timedelta(days=3650), timedelta(days=730), timedelta(days=365)
_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of one whom the authority vouches for, and SHA-256 of its public key."""

    certificate: Path
    key: Path
    ca: Path
    spki: str


class Authority:
    """The authority in a folder. `make` one, or take the one that is there (`of`)."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self.key, self.crl = folder / "ca.pem", folder / "ca.key", folder / "ca.crl"
        self._certificate, self._signs = certificate, key

    def __repr__(self) -> str:
        return f"Authority({self.certificate})"

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """A new one, whose name nobody else has, with an empty list of the revoked."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _called(f"dicomnode authority {_spki(key)[:8]}")
        builder = _builder(subject, subject, key, _AUTHORITY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_may("key_cert_sign", "crl_sign"), critical=True)
        it = cls(folder, builder.sign(key, hashes.SHA256()), key)
        _write(it.key, _secret(key))
        _write(it.certificate, it._certificate.public_bytes(Encoding.PEM))
        _write(it.crl, it._list(()))
        return it

    @classmethod
    def of(cls, folder: Path) -> Authority:
        """The one that `make` has made in this folder."""
        try:
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{folder} has no authority (ca.pem and ca.key) that `tls init` has made") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise UsageError(f"{folder / 'ca.key'} is not the key of an authority that `tls init` has made")
        return cls(folder, certificate, key)

    def issue(self, folder: Path, name: str, hosts: Sequence[str]) -> Issued:
        """Vouch for somebody by these names (DNS names or IP addresses): `name`.pem and .key, and ca.pem, in a folder.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_called(name), self._certificate.subject, key, _CERTIFICATE)
        for extension, critical in self._extensions(hosts):
            builder = builder.add_extension(extension, critical=critical)
        made = Issued(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem", _spki(key))
        _write(made.key, _secret(key))
        _write(made.certificate, builder.sign(self._signs, hashes.SHA256()).public_bytes(Encoding.PEM))
        if made.ca != self.certificate:
            _write(made.ca, self._certificate.public_bytes(Encoding.PEM))
        return made

    def _extensions(self, hosts: Sequence[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
        yield x509.BasicConstraints(ca=False, path_length=None), True
        yield _may("digital_signature"), True
        yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        yield x509.SubjectAlternativeName(list(map(_name, hosts))), False
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signs.public_key()), False

    def revoke(self, certificates: Sequence[Path]) -> None:
        """Put these on the list, which is made anew: without any, it is only good for longer."""
        try:
            found = [x509.load_pem_x509_certificate(path.read_bytes()) for path in certificates]
            old = x509.load_pem_x509_crl(self.crl.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"what is to be revoked, or {self.crl}, cannot be read: {error}") from error
        if strange := [each for each in found if each.issuer != self._certificate.subject]:
            raise UsageError(f"{strange[0].subject.rfc4514_string()} is not vouched for by this authority")
        listed = {each.serial_number for each in old}
        fresh = [_revoked(each.serial_number) for each in found if each.serial_number not in listed]
        anew = self.crl.with_suffix(".new")
        anew.unlink(missing_ok=True)  # of somebody who was interrupted
        _write(anew, self._list([*old, *fresh]))
        anew.replace(self.crl)

    def _list(self, revoked: Iterable[x509.RevokedCertificate]) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now - _SLOW).next_update(now + _LIST)
        builder = builder.add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signs.public_key())
        builder = builder.add_extension(by, critical=False)
        for each in revoked:
            builder = builder.add_revoked_certificate(each)
        return builder.sign(self._signs, hashes.SHA256()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, good: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - _SLOW).not_valid_after(now + good)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _may(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def _revoked(serial: int) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(serial, datetime.now(UTC))
    return builder.build()


def _spki(key: ec.EllipticCurvePrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _secret(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """A new file that is its owner's alone, in a folder that is."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"there is {path} already, and it is never overwritten: choose another folder") from None
    except OSError as error:
        raise DicomnodeError(f"{path} cannot be written: {error.strerror}") from error
