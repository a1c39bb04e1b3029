"""Certificates for tests, made by the `openssl` command at test time: an authority, and those whom it vouches for.

Keys are of the curve P-256: made in a hundredth of a second. `openssl` missing is a failure that names the remedy.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = "apt-get install openssl"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Identity:
    """A certificate, its key, and the authority's certificate: files in PEM form, the key readable by nobody else."""

    certificate: Path
    key: Path
    ca: Path

    @property
    def dcmtk(self) -> tuple[object, ...]:
        """As options of DCMTK's tools: both sides show their certificates, and verify."""
        return ("+tls", self.key, self.certificate, "+cf", self.ca, "-rc")

    def node(self, bind: str, crl: Path | None = None) -> dict[str, str]:
        """As the value of `node.tls`."""
        files = {"certificate": self.certificate, "key": self.key, "ca": self.ca} | ({"crl": crl} if crl else {})
        return {"bind": bind, **{key: str(path) for key, path in files.items()}}

    @property
    def spki(self) -> str:
        """SHA-256 of its public key, as OpenSSL writes that."""
        public = self.certificate.with_suffix(".public")
        openssl("x509", "-in", self.certificate, "-pubkey", "-noout", "-out", public)
        openssl("pkey", "-pubin", "-in", public, "-outform", "DER", "-out", public.with_suffix(".der"))
        return hashlib.sha256(public.with_suffix(".der").read_bytes()).hexdigest()

    def context(self, protocol: int = ssl.PROTOCOL_TLS_CLIENT) -> ssl.SSLContext:
        """A plain context with it; without host names, so that a test may change what it likes."""
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.ca)
        return context


def greet(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory: (server, client) when both are done. ssl.SSLError of whichever side refuses first."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    called = server.wrap_bio(there, back, server_side=True)
    caller = client.wrap_bio(back, there, server_hostname=host)
    waiting = [caller, called]
    while waiting:
        for side in tuple(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                waiting.remove(side)
    return called, caller


class Authority:
    """Issues certificates, all kept in `folder`; two authorities do not know each other."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate, self._key = folder / f"{name}.ca.pem", folder / f"{name}.ca.key"
        out = ("-keyout", self._key, "-out", self.certificate)
        openssl("req", "-x509", *_CURVE, "-nodes", *out, "-days", 30, "-subj", f"/CN={name}")

    def issue(
        self,
        name: str,
        *,
        hosts: Sequence[str] = ("IP:127.0.0.1", "DNS:localhost"),
        days: int = 30,
        extensions: Sequence[str] = (),
        key: Sequence[str] = _CURVE,
        begins: str = "",
    ) -> Identity:
        """One that it vouches for, by those names, for so many days from now (of the past, when negative).

        `begins`: not before then (YYYYMMDDHHMMSSZ).
        """
        made = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key", self.certificate)
        request, said = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        openssl("req", "-new", *key, "-nodes", "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        names = (f"subjectAltName={','.join(hosts)}",) if hosts else ()
        said.write_text("\n".join(("basicConstraints=CA:FALSE", *names, *extensions)))
        if begins:
            when = ("-startdate", begins, "-enddate", f"{int(begins[:4]) + 1}{begins[4:]}")
            self._ca("-in", request, *when, "-extfile", said, "-out", made.certificate, "-notext")
        else:
            by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
            openssl("x509", "-req", "-in", request, *by, "-days", days, "-extfile", said, "-out", made.certificate)
        made.key.chmod(0o600)
        return made

    def revoked(self, *revoked: Identity, name: str = "list", ends: str = "") -> Path:
        """A list of the revoked: of these, and all before; good for a month, or until then (YYYYMMDDHHMMSSZ)."""
        for each in revoked:
            self._ca("-revoke", each.certificate)
        path, begins = self.folder / f"{name}.crl", ("-crl_lastupdate", "20200101000000Z")
        self._ca("-gencrl", "-out", path, *((*begins, "-crl_nextupdate", ends) if ends else ("-crldays", 30)))
        return path

    def _ca(self, *arguments: object) -> None:
        """`openssl ca`, which remembers in files whom it has revoked."""
        settings, known = self.folder / "ca.cnf", self.folder / "ca.index"
        known.touch()
        settings.write_text(
            f"[ca]\ndefault_ca = it\n[it]\ndatabase = {known}\nnew_certs_dir = {self.folder}\ndefault_md = sha256\n"
            "rand_serial = yes\nunique_subject = no\npolicy = any\n[any]\ncommonName = supplied\n"
        )
        openssl("ca", "-config", settings, "-batch", "-cert", self.certificate, "-keyfile", self._key, *arguments)


def openssl(*arguments: object) -> None:
    """Run `openssl` to its end; AssertionError with what it said where it fails."""
    if shutil.which("openssl") is None:
        raise FileNotFoundError(f"openssl is missing: {INSTALL}")
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
