"""config/certificates.py: files that `node.tls` names, tried before they are trusted."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from dicomnode.config import certificates
from dicomnode.config.parts import Tls
from tests.certificates import Authority, Identity, openssl


def settings(identity: Identity, **changed: Path) -> Tls:
    files = {"certificate": identity.certificate, "key": identity.key, "ca": identity.ca, **changed}
    return Tls(bind_host="127.0.0.1", bind_port=2762, **files)


@pytest.fixture(scope="module")
def node(authority: Authority) -> Identity:
    return authority.issue("node-files")


def faults(tls: Tls) -> dict[str, str]:
    found = list(certificates.faults(tls))
    assert len(found) == len(dict(found)), found
    return dict(found)


def test_good_files_have_no_faults(node: Identity, authority: Authority) -> None:
    assert faults(settings(node)) == {}
    both = authority.issue("both", extensions=["extendedKeyUsage=serverAuth,clientAuth"])
    assert faults(settings(both)) == {}
    in_a_month = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=30)
    for paper in certificates.papers(settings(node)):
        assert abs(certificates.last_day(paper.until) - in_a_month) <= datetime.timedelta(days=1)


def test_who_vouches_for_partners_need_not_vouch_for_us(node: Identity, tmp_path: Path) -> None:
    assert faults(settings(node, ca=Authority(tmp_path, "other").certificate)) == {}


def test_missing_and_unreadable_files_are_told_all_at_once(node: Identity, tmp_path: Path) -> None:
    found = faults(settings(node, certificate=tmp_path / "a", key=tmp_path / "b", ca=tmp_path))
    assert found == {
        "certificate": f"there is no file {tmp_path}/a",
        "key": f"there is no file {tmp_path}/b",
        "ca": f"{tmp_path} cannot be read: Is a directory",
    }


def test_a_file_without_pem_in_it(node: Identity, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_text("no certificate")
    junk.chmod(0o600)
    found = faults(settings(node, certificate=junk, ca=junk))
    assert set(found) == {"certificate", "ca"}
    assert all("no certificate in PEM form" in text for text in found.values())
    assert "no private key in PEM form" in faults(settings(node, key=junk))["key"]
    junk.write_bytes(node.certificate.read_bytes()[:200])
    assert set(faults(settings(node, certificate=junk))) == {"certificate"}


def test_a_key_of_another_certificate(node: Identity, authority: Authority) -> None:
    other = authority.issue("other-key")
    assert faults(settings(node, key=other.key)) == {"key": f"is not the key of {node.certificate}"}


def test_an_encrypted_key_is_a_fault_and_asks_nobody(node: Identity, tmp_path: Path) -> None:
    closed = tmp_path / "closed.key"
    openssl("pkey", "-in", node.key, "-aes128", "-passout", "pass:secret", "-out", closed)
    closed.chmod(0o600)
    assert "nobody types a passphrase" in faults(settings(node, key=closed))["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_key_that_others_can_read(node: Identity, tmp_path: Path, mode: int) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(node.key.read_bytes())
    key.chmod(mode)
    assert faults(settings(node, key=key)) == {"key": f"is open to others than its owner: chmod 600 {key}"}


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("gone", {"days": -1}, "has expired"),
        ("server-only", {"extensions": ["extendedKeyUsage=serverAuth"]}, "not for both sides"),
        ("client-only", {"extensions": ["extendedKeyUsage=clientAuth"]}, "not for both sides"),
        ("short", {"key": ("-newkey", "rsa:1024")}, "too short a key"),
    ],
)
def test_a_certificate_that_no_partner_would_take(
    authority: Authority, name: str, options: dict[str, object], text: str
) -> None:
    found = faults(settings(authority.issue(name, **options)))  # type: ignore[arg-type]
    assert set(found) == {"certificate"}
    assert text in found["certificate"]


# -- whom an authority has revoked -----------------------------------------------------------------------------


def test_a_list_of_ours_has_no_faults_though_it_has_ended(node: Identity, authority: Authority) -> None:
    for path in (authority.revoked(), authority.revoked(name="ended", ends="20210101000000Z")):
        assert faults(settings(node, crl=path)) == {}
    both = authority.folder / "both.crl"
    both.write_bytes(authority.revoked().read_bytes() + authority.revoked(name="more").read_bytes())
    assert faults(settings(node, crl=both)) == {}


def test_a_list_that_is_none_or_somebody_elses(node: Identity, authority: Authority, tmp_path: Path) -> None:
    """Nobody would get in."""
    assert faults(settings(node, crl=tmp_path / "none"))["crl"] == f"there is no file {tmp_path}/none"
    assert "no list in PEM form" in faults(settings(node, crl=node.certificate))["crl"]
    junk = tmp_path / "junk"
    junk.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    assert "has a list that cannot be read" in faults(settings(node, crl=junk))["crl"]
    other = Authority(tmp_path, "other").revoked()
    assert "that no authority in" in faults(settings(node, crl=other))["crl"]
    both = tmp_path / "both.crl"
    both.write_bytes(authority.revoked().read_bytes() + other.read_bytes())
    assert "that no authority in" in faults(settings(node, crl=both))["crl"]


def test_a_list_that_somebody_else_has_signed_in_our_name(node: Identity, tmp_path: Path) -> None:
    forged = Authority(tmp_path, "authority").revoked()
    assert "that no authority in" in faults(settings(node, crl=forged))["crl"]


def test_papers_say_when_each_ends(authority: Authority) -> None:
    """Of several authorities, the one that ends first; and what has ended says so too."""
    gone = authority.issue("papers", days=-1)
    crl = authority.revoked(name="papers", ends="20210101000000Z")
    found = {paper.key: paper for paper in certificates.papers(settings(gone, crl=crl))}
    today = datetime.datetime.now(datetime.UTC).date()
    assert certificates.last_day(found["certificate"].until) == today - datetime.timedelta(days=1)
    assert certificates.last_day(found["ca"].until) == today + datetime.timedelta(days=30)
    assert certificates.last_day(found["crl"].until) == datetime.date(2021, 1, 1)
    two = authority.folder / "two.pem"
    two.write_bytes(authority.certificate.read_bytes() + authority.issue("soon", days=3).certificate.read_bytes())
    found = {paper.key: paper for paper in certificates.papers(settings(gone, ca=two))}
    assert certificates.last_day(found["ca"].until) == today + datetime.timedelta(days=3)
    assert set(found) == {"certificate", "ca"}


def test_the_state_is_another_when_a_file_is(node: Identity, authority: Authority, tmp_path: Path) -> None:
    crl = tmp_path / "list.crl"
    crl.write_bytes(authority.revoked().read_bytes())
    tls = settings(node, crl=crl)
    seen = [certificates.state(tls), certificates.state(tls)]
    crl.write_bytes(b"another")
    seen.append(certificates.state(tls))
    crl.unlink()
    seen.append(certificates.state(tls))
    assert [seen.index(each) for each in seen] == [0, 0, 2, 3]
