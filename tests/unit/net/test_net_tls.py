"""net/tls.py: what is spoken and with whom, on both sides; handshakes in memory, against plain contexts of OpenSSL."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.config.parts import Tls
from dicomnode.errors import ConfigurationError
from dicomnode.net import tls
from tests.certificates import Authority, Identity, greet

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SERVER, CLIENT = ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT
HOST = "127.0.0.1"
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # that the old ones are old
GOOD_12 = {
    f"ECDHE-{key}-AES{bits}" for key in ("ECDSA", "RSA") for bits in ("128-GCM-SHA256", "256-GCM-SHA384")
}


def settings(identity: Identity, crl: Path | None = None) -> Tls:
    files = {"certificate": identity.certificate, "key": identity.key, "ca": identity.ca, "crl": crl}
    return Tls(bind_host=HOST, bind_port=2762, **files)


@pytest.fixture(scope="module")
def node(authority: Authority) -> Tls:
    return settings(authority.issue("node"))


@pytest.fixture(scope="module")
def peer(authority: Authority) -> Identity:
    return authority.issue("peer")


@pytest.fixture(scope="module")
def rsa(authority: Authority) -> Identity:
    return authority.issue("rsa", key=("-newkey", "rsa:2048"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere").issue("stranger")


def plain(identity: Identity, protocol: int, **changes: object) -> ssl.SSLContext:
    """What another implementation may come with: everything that OpenSSL still has, unless it is changed."""
    context = identity.context(protocol)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    for name, value in changes.items():
        setattr(context, name, value)
    return context


# -- what is spoken --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V12, V13])
def test_both_sides_speak_tls_1_2_and_1_3(node: Tls, peer: Identity, version: ssl.TLSVersion) -> None:
    for called, caller in (
        greet(tls.server_context(node), plain(peer, CLIENT, maximum_version=version)),
        greet(plain(peer, SERVER, maximum_version=version), tls.client_context(node), HOST),
    ):
        assert called.version() == caller.version() == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
        assert (caller.cipher() or ("",))[0] in GOOD_12 | {"TLS_AES_256_GCM_SHA384"}
        assert caller.compression() is None
        assert called.getpeercert()
        assert caller.getpeercert()


def test_the_four_suites_and_no_other(node: Tls, peer: Identity, rsa: Identity) -> None:
    """Each of the four is taken; of everything else that OpenSSL can propose for TLS 1.2, nothing is."""
    servers = [tls.server_context(node), tls.server_context(settings(rsa))]
    clients = [tls.client_context(node), tls.client_context(settings(rsa))]
    taken: set[str] = set()
    every = {str(each["name"]) for each in plain(peer, CLIENT).get_ciphers()} - {
        str(each["name"]) for each in ssl.create_default_context().get_ciphers() if each["protocol"] == "TLSv1.3"
    }
    assert len(every) > 40
    for name in every:
        for context in servers:
            taken |= _agreed(context, _only(plain(peer, CLIENT, maximum_version=V12), name))
        for identity in (peer, rsa):
            taken |= _agreed(_only(plain(identity, SERVER, maximum_version=V12), name), clients[0])
    assert taken == GOOD_12
    assert all({str(c["name"]) for c in x.get_ciphers() if c["protocol"] != "TLSv1.3"} == GOOD_12 for x in clients)


def _only(context: ssl.SSLContext, suite: str) -> ssl.SSLContext:
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    return context


def _agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> set[str]:
    try:
        _, caller = greet(server, client, HOST)
    except ssl.SSLError:
        return set()
    return {(caller.cipher() or ("",))[0]}


def test_the_server_chooses_the_strongest(node: Tls, peer: Identity) -> None:
    client = plain(peer, CLIENT, maximum_version=V12)
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    _, caller = greet(tls.server_context(node), client)
    assert (caller.cipher() or ("",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize("version", [V12, V13])
def test_nothing_is_resumed_by_a_ticket_nor_renegotiated(node: Tls, peer: Identity, version: ssl.TLSVersion) -> None:
    server = tls.server_context(node)
    called, caller = greet(server, plain(peer, CLIENT, maximum_version=version))
    called.write(b"x")
    assert caller.read(1) == b"x"  # tickets of TLS 1.3 would have come before it
    assert not caller.session or not caller.session.has_ticket
    for context in (server, tls.client_context(node)):
        assert context.minimum_version == V12  # the suites alone would see to it, too
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


# -- and with whom ---------------------------------------------------------------------------------------------

OLD = {"maximum_version": ssl.TLSVersion.TLSv1_1}
NOTHING_IN_COMMON = "no way in common: we speak TLS 1.3, and 1.2"


def refused(server: ssl.SSLContext, client: ssl.SSLContext, host: str = HOST) -> str:
    with pytest.raises(ssl.SSLError) as caught:
        greet(server, client, host)
    return tls.reason(caught.value)


@pytest.mark.parametrize("version", [V12, V13])
def test_the_server_refuses(
    node: Tls, peer: Identity, stranger: Identity, authority: Authority, version: ssl.TLSVersion
) -> None:
    server = tls.server_context(node)
    naked = ssl.SSLContext(CLIENT)
    naked.check_hostname, naked.verify_mode, naked.maximum_version = False, ssl.CERT_NONE, version
    assert "shows no certificate" in refused(server, naked)
    other = plain(stranger, CLIENT, verify_mode=ssl.CERT_NONE, maximum_version=version)
    assert "node.tls.ca does not have the certificate of its issuer" in refused(server, other)
    expired = plain(authority.issue("expired", days=-1), CLIENT, maximum_version=version)
    assert "it has expired" in refused(server, expired)
    served = plain(authority.issue("served", extensions=["extendedKeyUsage=serverAuth"]), CLIENT)
    assert "unsuitable certificate purpose" in refused(server, served)
    not_yet = plain(authority.issue("not-yet", begins="20990101000000Z"), CLIENT, maximum_version=version)
    assert "it is not valid yet" in refused(server, not_yet)
    assert NOTHING_IN_COMMON in refused(server, plain(peer, CLIENT, **OLD))


@pytest.mark.parametrize("version", [V12, V13])
def test_the_client_refuses(
    node: Tls, peer: Identity, stranger: Identity, authority: Authority, version: ssl.TLSVersion
) -> None:
    client = tls.client_context(node)
    other = plain(stranger, SERVER, verify_mode=ssl.CERT_NONE, maximum_version=version)
    assert "node.tls.ca does not have the certificate of its issuer" in refused(other, client)
    expired = plain(authority.issue("expired", days=-1), SERVER, maximum_version=version)
    assert "it has expired" in refused(expired, client)
    elsewhere = plain(authority.issue("elsewhere", hosts=["DNS:pacs.example"]), SERVER, maximum_version=version)
    assert "not valid for '127.0.0.1'" in refused(elsewhere, client)
    assert "not valid for 'ris.example'" in refused(elsewhere, client, "ris.example")
    greet(elsewhere, client, "pacs.example")
    named = authority.issue("common.example", hosts=())
    assert "not valid for 'common.example'" in refused(plain(named, SERVER), client, "common.example")
    calling = authority.issue("calling", extensions=["extendedKeyUsage=clientAuth"])
    assert "unsuitable certificate purpose" in refused(plain(calling, SERVER), client)
    assert NOTHING_IN_COMMON in refused(plain(peer, SERVER, **OLD), client)


def test_a_weak_key_is_refused_on_both_sides(node: Tls, authority: Authority) -> None:
    weak = authority.issue("weak", key=("-newkey", "rsa:1024"))
    for protocol in (CLIENT, SERVER):
        context = ssl.SSLContext(protocol)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(weak.certificate, weak.key)
        pair = (tls.server_context(node), context) if protocol == CLIENT else (context, tls.client_context(node))
        assert "EE certificate key too weak" in refused(*pair)


def test_the_systems_authorities_are_never_asked(
    node: Tls, stranger: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca))
    for context in (tls.server_context(node), tls.client_context(node)):
        assert context.cert_store_stats()["x509"] == 1
    other = plain(stranger, SERVER, verify_mode=ssl.CERT_NONE)
    assert "does not have the certificate" in refused(other, tls.client_context(node))


# -- whom its authority has revoked ----------------------------------------------------------------------------


def test_who_is_revoked_is_refused_on_both_sides(authority: Authority, node: Tls, peer: Identity) -> None:
    gone = authority.issue("gone")
    listed = node.model_copy(update={"crl": authority.revoked(gone)})
    server, client = tls.server_context(listed), tls.client_context(listed)
    assert refused(server, plain(gone, CLIENT)).endswith("it has been revoked")
    assert refused(plain(gone, SERVER), client).endswith("it has been revoked")
    greet(server, plain(peer, CLIENT))
    greet(plain(peer, SERVER), client, HOST)


def test_a_list_that_has_ended_keeps_everybody_out(authority: Authority, node: Tls, peer: Identity) -> None:
    """Who has been revoked since, nobody knows."""
    listed = node.model_copy(update={"crl": authority.revoked(name="ended", ends="20210101000000Z")})
    for pair in (
        (tls.server_context(listed), plain(peer, CLIENT)),
        (plain(peer, SERVER), tls.client_context(listed)),
    ):
        assert "node.tls.crl has ended: until there is a new one" in refused(*pair)


def test_one_whose_issuer_has_no_list_is_refused(tmp_path: Path, node: Tls, peer: Identity) -> None:
    other = Authority(tmp_path, "other")
    both = tmp_path / "both.pem"
    both.write_bytes(node.ca.read_bytes() + other.certificate.read_bytes())
    server = tls.server_context(node.model_copy(update={"ca": both, "crl": other.revoked()}))
    assert refused(server, plain(peer, CLIENT)).endswith("node.tls.crl has no list of its issuer")
    known = other.issue("known")
    greet(server, plain(Identity(known.certificate, known.key, node.ca), CLIENT))


# -- renewed under a node that runs ----------------------------------------------------------------------------


class Renewal:
    """Papers of a node, whose files are changed, and a clock that nobody can set."""

    def __init__(self, authority: Authority, make: Callable[[Tls], ssl.SSLContext]) -> None:
        self.authority, self.now, self.count = authority, 0.0, 0
        self.own = authority.issue("renewed")
        self.papers = tls.Papers(make, settings(self.own), lambda: self.now)

    def renew(self) -> None:
        self.authority.issue("renewed")

    def later(self, seconds: float = 6) -> ssl.SSLContext:
        self.now += seconds
        return self.papers.context()


@pytest.mark.parametrize("make", [tls.server_context, tls.client_context])
def test_new_files_count_within_seconds(authority: Authority, make: Callable[[Tls], ssl.SSLContext]) -> None:
    it = Renewal(authority, make)
    first = it.papers.context()
    assert it.later() is first
    it.renew()
    assert it.later(1) is first, "they are not looked at each time"
    second = it.later()
    assert second is not first
    assert it.later() is second


def test_what_is_shown_is_the_new_one(authority: Authority, peer: Identity) -> None:
    it = Renewal(authority, tls.server_context)

    def serial() -> object:
        _, caller = greet(it.later(), peer.context())
        return (caller.getpeercert() or {})["serialNumber"]

    before = serial()
    open_ = greet(it.papers.context(), peer.context())
    it.renew()
    assert serial() != before
    open_[0].write(b"goes on")
    assert open_[1].read(7) == b"goes on"


def test_files_that_cannot_be_used_change_nothing_and_are_told_once(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    it = Renewal(authority, tls.server_context)
    first = it.papers.context()
    it.own.key.write_bytes(authority.issue("unfit").key.read_bytes())
    for _ in range(3):
        assert it.later() is first
    (told,) = [record.getMessage() for record in caplog.records]
    assert "the certificate files in use stay: node.tls.key: is not the key of" in told
    it.own.key.unlink()
    assert it.later() is first
    assert "there is no file" in caplog.records[-1].getMessage()
    authority.issue("renewed", days=-1)
    assert it.later() is first
    assert "has expired" in caplog.records[-1].getMessage()
    it.renew()
    assert it.later() is not first


# -- what is shown ---------------------------------------------------------------------------------------------


def test_a_certificate_is_told_by_its_key_and_its_names(node: Tls, authority: Authority, rsa: Identity) -> None:
    """The digest is OpenSSL's, of whatever key; a common name is none of the names."""
    named = authority.issue("common.example", hosts=["DNS:WS.Peak.Example", "IP:10.1.0.7", "IP:fd00::5", "URI:x:y"])
    ed = authority.issue("ed25519", key=("-newkey", "ed25519"), hosts=())
    for peer, names in (
        (named, {"ws.peak.example", "10.1.0.7", "fd00::5"}),
        (rsa, {"127.0.0.1", "localhost"}),
        (ed, set()),
    ):
        with over_a_socket(tls.server_context(node), peer.context()) as connection:
            found = tls.shown(connection)
        assert found
        assert (found.spki, found.names) == (peer.spki, names)
        in_a_month = time.time() + 30 * 86400
        assert abs(found.until / 1e6 - in_a_month) < 3600


@contextlib.contextmanager
def over_a_socket(server: ssl.SSLContext, client: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """The server's end of a connection."""
    one, two = socket.socketpair()
    with one, two:
        calling = threading.Thread(target=lambda: client.wrap_socket(two).recv(1), daemon=True)
        calling.start()
        with server.wrap_socket(one, server_side=True) as connection:
            yield connection
        calling.join(5)


def test_in_clear_nothing_is_shown() -> None:
    with socket.socket() as connection:
        assert tls.shown(connection) is None


def test_a_key_that_cannot_be_read_is_nobodys() -> None:
    assert tls._spki(b"no certificate") == ""


# -- in words --------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_used_are_named(node: Tls, peer: Identity, tmp_path: Path) -> None:
    for make in (tls.server_context, tls.client_context):
        for key, path, text in (
            ("ca", tmp_path / "none", "there is no file"),
            ("key", peer.key, f"is not the key of {node.certificate}"),
            ("certificate", tmp_path, "Is a directory"),
        ):
            with pytest.raises(ConfigurationError, match=f"node.tls.{key}: .*{text}"):
                make(node.model_copy(update={key: path}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know who issued our certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "holds our certificate for expired"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "holds our certificate for revoked"),
        ("SSL/TLS_ALERT_BAD_CERTIFICATE", "does not accept our certificate"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "does not accept our certificate"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS there"),
        ("UNEXPECTED_EOF_WHILE_READING", "does not speak TLS there"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", NOTHING_IN_COMMON),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "or it wants another certificate of us"),
        ("SOMETHING_NEW", "TLS: SOMETHING_NEW"),
    ],
)
def test_openssls_names_become_words(name: str, text: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {name}]")
    error.reason = name
    assert text in tls.reason(error)


def test_other_errors_keep_their_words() -> None:
    assert tls.reason(ConnectionResetError(104, "Connection reset by peer")) == "Connection reset by peer"
    assert tls.reason(TimeoutError("timed out")) == "timed out"
    assert tls.reason(ssl.SSLEOFError(8, "EOF occurred")) .startswith("TLS: the peer ended the connection")
