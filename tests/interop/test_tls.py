"""The node's TLS socket, by DCMTK and the `openssl` command: who gets in, who does not, and what a person is told."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import dcmtk, wire
from tests.certificates import Authority, Identity
from tests.inprocess import Here
from tests.interop.transport import Transport
from tests.node import LOCAL, Node, changed, default_config
from tests.samples import make_study, read_sample


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Somebody who is vouched for by an authority of their own."""
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere").issue("stranger")


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Transport:
    return Transport(authority.issue("door-node"), authority.issue("door-peer"))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, stranger: Identity) -> Iterator[dcmtk.StoreSCP]:
    """A PACS over TLS whose certificate nobody vouches for."""
    with dcmtk.storescp(tmp_path_factory.mktemp("hospital"), "PUBPACS", papers=stranger) as it:
        yield it


@dataclass(frozen=True)
class Others:
    """Further certificates of the same authority: a modality's own, and one that it has revoked since."""

    ct: Identity
    revoked: Identity
    crl: Path


@pytest.fixture(scope="module")
def others(authority: Authority) -> Others:
    revoked = authority.issue("door-revoked")
    return Others(authority.issue("door-ct"), revoked, authority.revoked(revoked, name="door"))


@pytest.fixture(scope="module")
def node(
    start_node: Callable[..., Node],
    tls: Transport,
    hospital: dcmtk.StoreSCP,
    others: Others,
    tmp_path_factory: pytest.TempPathFactory,
) -> Node:
    secret = tmp_path_factory.mktemp("secret") / "passcode"
    secret.touch(0o600)
    secret.write_text("s3cret\n")
    partners = {
        "PEAK_CT": {"tls": {"spki": others.ct.spki}},
        "PEAK_WS": {"may": ["store"], "user": {"name": "peak", "passcode": str(secret)}},
    }
    config = tls.configured(default_config(pubpacs=hospital.port))
    return start_node(changed(config, {"node": {"tls": {"crl": str(others.crl)}}, "partners": partners}))


def echo(port: int, options: tuple[object, ...] = (), calling: str = "CT1") -> dcmtk.Done:
    return dcmtk.echoscu(port, calling=calling, called="REFERNODE", options=options)


def test_with_a_certificate_that_the_authority_vouches_for(node: Node, tls: Transport) -> None:
    assert tls.peer
    assert echo(tls.port(node), tls.peer.dcmtk).code == 0
    assert echo(tls.port(node), tls.peer.dcmtk, "RAD_WS").code == 0


def test_the_clear_socket_speaks_no_tls(node: Node, tls: Transport) -> None:
    assert tls.peer
    assert echo(node.port, tls.peer.dcmtk).code != 0
    assert echo(node.port).code == 0


def test_one_that_speaks_tls_only_is_refused_in_clear(node: Node) -> None:
    assert echo(node.port).code == 0, "a modality may call either way"
    done = echo(node.port, calling="RAD_WS")
    assert done.code != 0
    assert "Calling AE Title Not Recognized" in done.text
    (row,) = [row for row in node.cli("partners", "refused", json=True) if row["calling_ae_title"] == "RAD_WS"]
    assert row["why"] == "this partner may call over TLS only"


def test_the_line_that_would_admit_it_from_elsewhere(node: Node, tls: Transport) -> None:
    with pytest.raises(wire.Rejected):
        wire.echo(LOCAL, tls.port(node), "REFERNODE", "RAD_WS", wrap=tls.wrap, source_address="127.0.0.2")
    rows = node.cli("partners", "refused", json=True)
    (row,) = [row for row in rows if row["address"] == "127.0.0.2"]
    assert row["why"] == "address not allowed"
    assert yaml.safe_load(row["yaml"]) == {"partners": {"RAD_WS": {"address": [LOCAL, "127.0.0.2"]}}}


@pytest.mark.parametrize("who", ["nobody", "a stranger", "in clear"])
def test_without_a_certificate_there_is_nothing_to_be_had(
    node: Node, tls: Transport, stranger: Identity, who: str
) -> None:
    assert tls.node
    other = ("+tls", stranger.key, stranger.certificate, "+cf", tls.node.ca)
    options = {"nobody": ("+tla", "+cf", tls.node.ca), "a stranger": other, "in clear": ()}[who]
    assert echo(tls.port(node), options).code != 0
    assert tls.peer
    assert echo(tls.port(node), tls.peer.dcmtk).code == 0, "and the others are served"


def test_a_partner_comes_with_its_own_certificate(
    node: Node, tls: Transport, others: Others, tmp_path: Path
) -> None:
    """Another's is good, and of no use; and where a partner needs none, it does not come with somebody else's."""
    assert tls.peer
    paths, port = make_study(tmp_path, slices=1, seed="own"), tls.port(node)
    for paper, is_its_own in ((tls.peer, False), (others.ct, True)):
        done = dcmtk.storescu(port, paths, calling="PEAK_CT", called="REFERNODE", options=paper.dcmtk)
        assert (done.code == 0) == is_its_own, done.text
        assert ("Calling AE Title Not Recognized" in done.text) != is_its_own
        kept = [row["study_instance_uid"] for row in node.cli("studies", "list", json=True)]
        assert (read_sample(paths[0]).study in kept) == is_its_own
    assert "Calling AE Title Not Recognized" in echo(port, others.ct.dcmtk, "CT1").text


def test_a_user_says_name_and_passcode(node: Node, tls: Transport, tmp_path: Path) -> None:
    assert tls.peer
    paths = make_study(tmp_path, slices=1, seed="user")
    for user, code in (
        (("-usr", "peak", "-pwd", "s3cret"), 0),
        (("-usr", "peak", "-pwd", "s3cret", "-rsp"), 0),
        (("-usr", "peak", "-pwd", "wrong"), 1),
        (("-usr", "peak"), 1),
        ((), 1),
    ):
        options = (*tls.peer.dcmtk, *user)
        done = dcmtk.storescu(tls.port(node), paths, calling="PEAK_WS", called="REFERNODE", options=options)
        assert bool(done.code) == bool(code), done.text
    assert "s3cret" not in node.log.read_text()


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("revoked", "it has been revoked"),
        ("expired", "it has expired"),
        ("not yet", "it is not valid yet"),
        ("self-signed", "does not have the certificate of its issuer"),
        ("for servers", "unsuitable certificate purpose"),
    ],
)
def test_a_certificate_that_is_not_accepted_ends_in_the_handshake(
    node: Node, tls: Transport, others: Others, authority: Authority, tmp_path: Path, who: str, why: str
) -> None:
    port, alone = tls.port(node), Authority(tmp_path, "self-signed")
    paper = {
        "revoked": lambda: others.revoked,
        "expired": lambda: authority.issue("door-expired", days=-1),
        "not yet": lambda: authority.issue("door-not-yet", begins="20990101000000Z"),
        "self-signed": lambda: Identity(alone.certificate, tmp_path / "self-signed.ca.key", authority.certificate),
        "for servers": lambda: authority.issue("door-server", extensions=["extendedKeyUsage=serverAuth"]),
    }[who]()
    assert echo(port, paper.dcmtk).code != 0
    assert tls.peer
    assert echo(port, tls.peer.dcmtk).code == 0, "and the others are served"

    def noted() -> bool:
        return any(why in row["why"] for row in node.cli("partners", "refused", json=True))

    node.wait_until(noted, 5, "the failed handshake to be on record")


OLD = ("-cipher", "ALL:@SECLEVEL=0")


@pytest.mark.parametrize(
    ("options", "version"),
    [
        (("-tls1_3",), "TLSv1.3"),
        (("-tls1_2",), "TLSv1.2"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "TLSv1.2"),
        (("-tls1_1", *OLD), None),
        (("-tls1", *OLD), None),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"), None),
        (("-tls1_2", "-cipher", "DHE:kRSA:@SECLEVEL=0"), None),
        (("-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"), None),
    ],
)
def test_what_openssl_can_agree_on(node: Node, tls: Transport, options: tuple[str, ...], version: str | None) -> None:
    found = s_client(tls, node, *options)
    if version is None:
        assert "Cipher is (NONE)" in found
    else:
        assert f"New, {version}, Cipher is" in found
        assert "Compression: NONE" in found
    assert "session ticket" not in found


def test_nothing_is_renegotiated(node: Node, tls: Transport) -> None:
    found = s_client(tls, node, "-tls1_2", said=b"R\n")
    assert "New, TLSv1.2, Cipher is" in found
    assert "no renegotiation" in found


def s_client(tls: Transport, node: Node, *options: str, said: bytes = b"") -> str:
    assert tls.peer
    papers = ("-cert", tls.peer.certificate, "-key", tls.peer.key, "-CAfile", tls.peer.ca)
    command = ["openssl", "s_client", "-connect", f"{LOCAL}:{tls.port(node)}", *map(str, papers), *options]
    done = subprocess.run(
        command, input=said, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False
    )
    return done.stdout.decode(errors="replace")


def test_a_stalled_handshake_keeps_nobody_waiting(node: Node, tls: Transport) -> None:
    """Some say nothing, some half a ClientHello: a good partner is served all the same."""
    assert tls.peer
    hello = bytes.fromhex("1603010200010001fc0303")
    silent = [socket.create_connection((LOCAL, tls.port(node))) for _ in range(10)]
    try:
        for each in silent[::2]:
            each.sendall(hello)
        assert wire.echo(LOCAL, tls.port(node), "REFERNODE", "CT1", timeout=2, wrap=tls.wrap) == 0
    finally:
        for each in silent:
            each.close()


def test_a_hospital_that_nobody_vouches_for_waits_with_a_reason(
    node: Node, hospital: dcmtk.StoreSCP, tmp_path: Path
) -> None:
    """Nothing is charged and nothing is sent: the lane is paused until somebody has put it right."""
    paths = make_study(tmp_path, slices=3)
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}

    def paused() -> dict[str, Any] | None:
        (shape,) = node.cli("queue", "shape", json=True)
        return dict(shape) if shape["reason"] and shape["queued"] == 3 else None

    shape = node.wait_until(paused, 20, "the lane to be paused")
    assert "no connection over TLS: TLS: the peer's certificate is not accepted: node.tls.ca" in shape["reason"]
    assert {row["attempts"] for row in node.cli("queue", "list", "--state", "queued", json=True)} == {0}
    assert hospital.files() == []
    assert read_sample(paths[0]).sop_instance not in hospital.log.read_text(errors="replace")


def test_faulty_papers_are_named_by_check_and_refused_at_a_start(tls: Transport, tmp_path: Path) -> None:
    assert tls.node
    good = tls.configured(default_config())
    node = Here(tmp_path, good)
    told = node.cli("check")
    assert told.code == 0, told
    assert f"Over TLS it answers on {LOCAL}:{tls.port(node)}, with a certificate that is valid until" in told.out
    node.configure(changed(good, {"node": {"tls": {"key": str(tmp_path / "none.key")}}}))
    for command in ("check", "serve"):
        told = node.cli(command)
        assert told.code == 2, told
        assert f"node.tls.key: there is no file {tmp_path / 'none.key'}" in told.err


def test_renewed_papers_count_within_seconds_and_end_nothing(
    node: Node, tls: Transport, authority: Authority
) -> None:
    """Those that do not fit are refused: the node goes on as it is, and says so."""
    assert tls.node
    before = served(tls, node)
    with wire.Association(LOCAL, tls.port(node), "REFERNODE", "CT1", _ECHO, wrap=tls.wrap) as open_:
        assert authority.issue("door-node") == tls.node
        renewed = lambda: all(served(tls, node) != before for _ in range(12))  # noqa: E731 - by each acceptor
        node.wait_until(renewed, 20, "the new certificate to be shown")
        assert open_.echo() == 0
        now = served(tls, node)
        tls.node.key.write_bytes(authority.issue("unfit").key.read_bytes())
        stays = "the certificate files in use stay: node.tls.key: is not the key of"
        node.wait_until(lambda: served(tls, node) == now and stays in node.log.read_text(), 20, "the refusal")
        assert open_.echo() == 0
    told = node.cli("reload")
    assert told.code == 2
    assert "node.tls.key: is not the key of" in told.err
    assert "the certificate files cannot be used" in node.cli("status").out
    assert served(tls, node) == now


_ECHO = [(wire.VERIFICATION, [wire.IMPLICIT_LE])]


def served(tls: Transport, node: Node) -> str:
    """The serial number of the certificate that the node shows."""
    assert tls.peer
    connection = socket.create_connection((LOCAL, tls.port(node)), 5)
    with tls.peer.context().wrap_socket(connection) as encrypted:
        return str((encrypted.getpeercert() or {})["serialNumber"])
