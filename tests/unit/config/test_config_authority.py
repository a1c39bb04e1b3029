"""config/authority.py: what it vouches for, by OpenSSL's judgement and by that of our own contexts."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from dicomnode.config import certificates
from dicomnode.config.authority import Authority
from dicomnode.config.parts import Tls
from dicomnode.errors import UsageError
from dicomnode.net import tls
from tests.certificates import Authority as Openssl
from tests.certificates import Identity, greet, openssl


@pytest.fixture
def it(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "tls")


def settings(it: Authority, name: str = "node", *hosts: str) -> tuple[Tls, Identity, str]:
    """Somebody whom it vouches for: as `node.tls`, as the tests' own client, and the digest that was told."""
    made = it.issue(it.key.parent / name, name, hosts or ("127.0.0.1", "node.example"))
    files = {"certificate": made.certificate, "key": made.key, "ca": made.ca, "crl": it.crl}
    return Tls(bind_host="127.0.0.1", bind_port=1, **files), Identity(made.certificate, made.key, made.ca), made.spki


def test_it_is_what_openssl_takes_for_an_authority(it: Authority) -> None:
    for name, purpose in (("one", "sslclient"), ("two", "sslserver")):
        _, peer, spki = settings(it, name)
        openssl("verify", "-x509_strict", "-CAfile", it.certificate, "-purpose", purpose, peer.certificate)
        assert spki == peer.spki
    openssl("crl", "-in", it.crl, "-CAfile", it.certificate, "-noout")


def test_both_sides_of_the_node_take_it(it: Authority) -> None:
    node, _, _ = settings(it)
    assert list(certificates.faults(node)) == []
    _, peer, _ = settings(it, "peer", "pacs.example", "::1")
    called, _ = greet(tls.server_context(node), peer.context())
    assert called.getpeercert()
    for host in ("pacs.example", "::1"):
        greet(peer.context(ssl.PROTOCOL_TLS_SERVER), tls.client_context(node), host)
    with pytest.raises(ssl.SSLError, match=r"not valid for .other\.example."):
        greet(peer.context(ssl.PROTOCOL_TLS_SERVER), tls.client_context(node), "other.example")


def test_every_file_is_its_owners_alone(it: Authority) -> None:
    settings(it)
    files = [path for path in it.key.parent.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(it.key.parent.stat().st_mode) == 0o700


def test_nothing_is_overwritten(it: Authority) -> None:
    settings(it)
    before = {path: path.read_bytes() for path in it.key.parent.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"there is .*ca.key already, and it is never overwritten"):
        Authority.make(it.key.parent)
    with pytest.raises(UsageError, match=r"there is .*node.key already"):
        settings(it)
    assert {path: path.read_bytes() for path in it.key.parent.rglob("*") if path.is_file()} == before


def test_who_is_revoked_is_refused_and_stays_so(it: Authority) -> None:
    node, _, _ = settings(it)
    _, one, _ = settings(it, "one")
    _, two, _ = settings(it, "two")
    for revoked, refused in (([one.certificate], {one}), ([], {one}), ([two.certificate, one.certificate], {one, two})):
        Authority.of(it.key.parent).revoke(revoked)
        assert list(certificates.faults(node)) == []
        server = tls.server_context(node)
        for peer in (one, two):
            if peer in refused:
                with pytest.raises(ssl.SSLError) as caught:
                    greet(server, peer.context())
                assert tls.reason(caught.value).endswith("it has been revoked")
            else:
                greet(server, peer.context())


def test_only_its_own_are_revoked(it: Authority, tmp_path: Path) -> None:
    stranger = Openssl(tmp_path / "elsewhere").issue("stranger")
    with pytest.raises(UsageError, match=r"is not vouched for by this authority"):
        it.revoke([stranger.certificate])
    with pytest.raises(UsageError, match="cannot be read"):
        it.revoke([stranger.key])


def test_where_there_is_no_authority(tmp_path: Path, it: Authority) -> None:
    with pytest.raises(UsageError, match="has no authority"):
        Authority.of(tmp_path)
    it.key.write_text("junk")
    with pytest.raises(UsageError, match="has no authority"):
        Authority.of(it.key.parent)
