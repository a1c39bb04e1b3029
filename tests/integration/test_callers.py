"""Who is calling, over TLS: title, address, certificate and user have to be one partner's, all of them together.

T60–T62, T67, T74 and T75 of the fault table; the certificates that end in the handshake are in test_tls.py (interop).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.certificates import Authority, Identity
from tests.integration.kit import STORAGE_CT, refusals, rows, state
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.upper_layer import ASSOCIATE_RQ, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, Associate
from tests.wire import Aborted, Association, Rejected

_ELSEWHERE = "127.0.0.2"
_CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (STORAGE_CT, (EXPLICIT_LE,)))
_SECRET = "c0rrect-hörse"
NOT_ITS_USER = (1, 2, 1)
UNKNOWN = (1, 1, 3)


@dataclass(frozen=True)
class Papers:
    """The certificates: each partner's own, and those of nobody in particular."""

    node: Identity
    ct: Identity
    other: Identity
    nobody: Identity
    named: Identity
    common: Identity


@pytest.fixture(scope="module")
def papers(authority: Authority) -> Papers:
    return Papers(
        node=authority.issue("callers-node"),
        ct=authority.issue("callers-ct"),
        other=authority.issue("callers-other"),
        nobody=authority.issue("callers-nobody"),
        named=authority.issue("callers-named", hosts=["DNS:ws.peak.example"]),
        common=authority.issue("ws.peak.example", hosts=()),
    )


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node(
    start_node: Callable[..., Node], papers: Papers, tls_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Node:
    secret = tmp_path_factory.mktemp("secret") / "passcode"
    secret.touch(0o600)
    secret.write_text(_SECRET + "\n")
    user = {"name": "pubws", "passcode": str(secret)}
    partners: dict[str, Any] = {
        "CT9": {"site": "harbour", "address": LOCAL, "may": ["store"], "tls": {"spki": papers.ct.spki}},
        "PEAK_CT": {"address": None, "tls": {"spki": papers.other.spki}},
        "NAMED": {"site": "peak", "may": ["find"], "tls": {"names": ["ws.peak.example"]}},
        "PUB_WS": {"site": "general", "address": LOCAL, "may": ["find"], "tls": True, "user": user},
    }
    tls = papers.node.node(f"{LOCAL}:{tls_port}")
    return start_node(changed(default_config(tls=tls), {"partners": partners}))


@pytest.fixture(autouse=True)
def _nothing_is_kept(node: Node) -> Iterator[None]:
    before = state(node)
    yield
    assert state(node) == before


@pytest.fixture
def call(node: Node, tls_port: int) -> Callable[..., Association]:
    def associate(calling: str, paper: Identity | None, **options: Any) -> Association:
        """Over TLS with a certificate, or in clear without."""
        wrap = paper.context().wrap_socket if paper else None
        port = tls_port if paper else node.port
        return Association(LOCAL, port, "REFERNODE", calling, _CONTEXTS, wrap=wrap, **options)

    return associate


def rejected(call: Callable[..., Association], *who: Any, **options: Any) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as caught:
        call(*who, **options)
    return caught.value.result, caught.value.source, caught.value.reason


def test_each_partner_with_its_own(call: Callable[..., Association], papers: Papers) -> None:
    for calling, paper, options in (
        ("CT9", papers.ct, {}),
        ("PEAK_CT", papers.other, {}),
        ("PEAK_CT", papers.other, {"source_address": _ELSEWHERE}),  # it has no address: its certificate will do
        ("NAMED", papers.named, {}),
        ("PUB_WS", papers.nobody, {"user": ("pubws", _SECRET)}),
        ("RAD_WS", papers.nobody, {}),
        ("RAD_WS", None, {}),
    ):
        with call(calling, paper, **options) as association:
            assert association.echo() == 0


OTHERS, STRANGE = "the certificate is another partner's", "the certificate is not this partner's"
TURNED_AWAY: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("STRANGER", "ct", {}, "unknown calling AE title", ""),
    ("CT9", "ct", {"source_address": _ELSEWHERE}, "address not allowed", ""),
    ("CT9", "other", {}, OTHERS, "CT9"),
    ("PEAK_CT", "ct", {}, OTHERS, "PEAK_CT"),
    ("CT9", "nobody", {}, STRANGE, "CT9"),
    ("RAD_WS", "ct", {}, OTHERS, "RAD_WS"),
    ("NAMED", "common", {}, STRANGE, "NAMED"),
    ("CT9", "", {}, "this partner may call over TLS only", ""),
    ("PUB_WS", "", {"user": ("pubws", _SECRET)}, "this partner may call over TLS only", ""),
]


@pytest.mark.parametrize(("calling", "paper", "options", "why", "alarmed"), TURNED_AWAY)
def test_a_caller_is_turned_away(
    node: Node,
    call: Callable[..., Association],
    papers: Papers,
    calling: str,
    paper: str,
    options: dict[str, Any],
    why: str,
    alarmed: str,
) -> None:
    shown = getattr(papers, paper) if paper else None
    assert rejected(call, calling, shown, **options) == UNKNOWN
    caller = {"calling_ae_title": calling, "address": options.get("source_address", LOCAL), "why": why}
    node.wait_until(lambda: refusals(node, caller), 5, "the refusal to be recorded")
    (row,) = [row for row in node.cli("partners", "refused", json=True) if caller.items() <= row.items()]
    assert row["spki"] == (shown.spki if shown else None)
    assert bool(alarmed) == (why in (OTHERS, STRANGE))
    sql = "SELECT partner FROM events WHERE kind = 'certificate refused' AND alarm AND outcome = 8 AND address = ?"
    assert not alarmed or alarmed in {row["partner"] for row in rows(node, sql, caller["address"])}


@pytest.mark.parametrize(
    "user", [None, ("pubws", ""), ("pubws", _SECRET + "x"), ("other", _SECRET), ("pubws", "x" * 60_000)]
)
def test_without_its_user_it_is_nobody(
    node: Node, call: Callable[..., Association], papers: Papers, user: tuple[str, str] | None
) -> None:
    assert rejected(call, "PUB_WS", papers.nobody, user=user) == NOT_ITS_USER


def _identity(kind: int, name: bytes, secret: bytes, answer: int = 0) -> bytes:
    body = bytes((kind, answer)) + len(name).to_bytes(2, "big") + name + len(secret).to_bytes(2, "big") + secret
    return b"\x58\0" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 77])
def test_a_user_of_another_kind_is_nobody(
    call: Callable[..., Association], papers: Papers, kind: int
) -> None:
    """Type 2 is name and passcode; a ticket is none, and a name alone proves nothing."""
    further = _identity(kind, b"pubws", _SECRET.encode())
    assert rejected(call, "PUB_WS", papers.nobody, further=further) == NOT_ITS_USER


@pytest.mark.parametrize("garbage", [b"\2", b"\2\1\xff\xff" + b"x" * 90, bytes(64)], ids=["short", "lying", "zeros"])
def test_garbage_for_an_identity_is_no_request(
    call: Callable[..., Association], papers: Papers, garbage: bytes
) -> None:
    with pytest.raises(Aborted):
        call("PUB_WS", papers.nobody, further=b"\x58\0" + len(garbage).to_bytes(2, "big") + garbage)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_user_is_answered_when_it_asks_for_that(
    call: Callable[..., Association], papers: Papers, wanted: bool
) -> None:
    further = _identity(2, b"pubws", _SECRET.encode(), answer=wanted)
    with call("PUB_WS", papers.nobody, further=further) as association:
        answered = [body for kind, body in association.answer.sub_items if kind == 0x59]
        assert answered == ([b"\0\0"] if wanted else [])


def test_nobody_else_is_asked_who_its_user_is(call: Callable[..., Association], papers: Papers) -> None:
    with call("CT9", papers.ct, user=("anybody", "anything")) as association:
        assert association.echo() == 0


def test_what_was_heard_in_clear_is_of_no_use(node: Node, tls_port: int) -> None:
    """T75: a session that somebody has recorded, said again: in clear, and to the port for TLS."""
    said = Associate("REFERNODE", "CT9", {1: (VERIFICATION, [IMPLICIT_LE])}).encode(ASSOCIATE_RQ)
    for port in (node.port, tls_port):
        with socket.create_connection((LOCAL, port), 5) as connection:
            connection.sendall(said)
            assert _first(connection) in (b"", b"\3", b"\x15")  # nothing, A-ASSOCIATE-RJ, an alert of TLS


def _first(connection: socket.socket) -> bytes:
    """The first byte of an answer; b'' where the connection was ended without one."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1)
    return b""


def test_who_cannot_speak_tls_is_on_record(node: Node, tls_port: int) -> None:
    with socket.create_connection((LOCAL, tls_port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        _first(connection)
    caller = {"calling_ae_title": "", "called_ae_title": "", "address": LOCAL}
    node.wait_until(lambda: refusals(node, caller), 5, "the handshake to be recorded")
    rows = [row for row in node.cli("partners", "refused", json=True) if caller.items() <= row.items()]
    assert all(row["why"].startswith("TLS: ") for row in rows)


def test_no_passcode_is_written_down(node: Node) -> None:
    """After all of the above."""
    files = [node.log, *node.data.rglob("index.sqlite*")]
    assert len(files) >= 2
    for file in files:
        content = file.read_bytes()
        assert _SECRET.encode() not in content
        assert b"xxxxxxxxxxxxxxxx" not in content


def test_what_partners_refused_shows_lets_a_certificate_in(
    node: Node, call: Callable[..., Association], papers: Papers
) -> None:
    """For a new one, its key is added to the old; a stranger is admitted with its key."""
    config = node.config
    for calling in ("CT9", "NEWCT"):
        assert rejected(call, calling, papers.nobody) == UNKNOWN
        caller = {"calling_ae_title": calling, "spki": papers.nobody.spki}
        node.wait_until(lambda it=caller: refusals(node, it), 5, "the refusal to be recorded")
        rows = [row for row in node.cli("partners", "refused", json=True) if caller.items() <= row.items()]
        config = changed(config, yaml.safe_load(rows[0]["yaml"]))
    assert config["partners"]["CT9"]["tls"]["spki"] == [papers.ct.spki, papers.nobody.spki]
    assert config["partners"]["NEWCT"]["tls"] == {"spki": papers.nobody.spki}
    # one key may be two partners'
    node.configure(config)
    assert node.cli("reload").code == 0

    def admitted(calling: str, paper: Identity) -> bool:
        try:
            with call(calling, paper) as association:
                return association.echo() == 0
        except Rejected:
            return False  # an acceptor of the old configuration was asked before it was told to stop

    for calling, paper in (("CT9", papers.nobody), ("CT9", papers.ct), ("NEWCT", papers.nobody)):
        node.wait_until(lambda it=(calling, paper): admitted(*it), 10, f"{calling} to be let in")
