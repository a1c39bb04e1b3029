"""The porch on a listening socket of its own: who is let in, who is sent away, and that nobody waits for another."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.config.parts import Tls
from dicomnode.net import pdus, porch
from dicomnode.net.porch import Porch, Visitor
from dicomnode.net.tls import server_context
from tests.certificates import Authority, Identity
from tests.fakes import FakeSlots
from tests.node import wait_until
from tests.patience import patient

_REQUEST = struct.pack(">BxI", 1, 200) + bytes(200)
_LATE = 0.5
_SILENT = 3


class Hall:
    """A porch, who was admitted, and who only rang."""

    def __init__(self, context: ssl.SSLContext | None = None, *, first: float = 60.0) -> None:
        self.slots = FakeSlots()
        self.admitted: queue.Queue[Visitor] = queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listener.getsockname()
        self.failed: list[tuple[str, str]] = []
        listeners = [(self.listener, (lambda: context) if context else None)]
        self.porch = Porch(listeners, self.admitted.put, self._fail, self.slots, first=first, silent=_SILENT)
        self.porch.start()

    def _fail(self, address: str, why: str) -> None:
        self.failed.append((address, why))

    def connect(self, said: bytes = b"", host: str = "127.0.0.1") -> socket.socket:
        connection = socket.create_connection(self.address, 5, source_address=(host, 0))
        connection.sendall(said)
        return connection

    def is_admitted(self, *, within: float = 5) -> Visitor:
        return self.admitted.get(timeout=within)


@pytest.fixture
def hall() -> Iterator[Callable[..., Hall]]:
    with contextlib.ExitStack() as stack:

        def build(*arguments: Any, **options: Any) -> Hall:
            built = Hall(*arguments, **options)
            stack.callback(lambda: built.porch.close(0.1))
            return built

        yield build


def _ending(connection: socket.socket) -> bytes:
    """What is said on a connection until it is closed."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(100):
            said += piece
    return said


def test_a_whole_request_is_handed_on_and_no_byte_more(hall: Callable[..., Hall]) -> None:
    at = hall()
    with at.connect(_REQUEST + b"what follows"):
        visitor = at.is_admitted()
        assert bytes(visitor.request) == _REQUEST
        assert visitor.address == "127.0.0.1"
        assert visitor.socket.recv(100) == b"what follows"
        visitor.socket.close()


def test_a_request_may_come_in_as_many_pieces_as_it_likes(hall: Callable[..., Hall]) -> None:
    at = hall()
    with at.connect() as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in _REQUEST:
            slow.sendall(bytes([byte]))
        with at.is_admitted().socket as served:
            assert served.gettimeout() is None


_NONE = {
    "data": struct.pack(">BxI", 4, 10),
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "TLS on the clear port": bytes.fromhex("16030100"),
    "2 GB": struct.pack(">BxI", 1, 0x7FFFFFFF),
    "4 GB": struct.pack(">BxI", 1, 0xFFFFFFFF),
}


@pytest.mark.parametrize("said", _NONE.values(), ids=_NONE)
def test_what_is_no_request_is_answered_with_an_abort(said: bytes, hall: Callable[..., Hall]) -> None:
    at = hall()
    with at.connect(said) as stranger:
        assert _ending(stranger) == pdus.abort(2, 2)
    assert at.admitted.empty()


@pytest.mark.parametrize("said", [b"", b"\1", _REQUEST[:-1]], ids=["nothing", "a byte", "all but one"])
def test_whoever_says_nothing_for_too_long_is_sent_away(said: bytes, hall: Callable[..., Hall]) -> None:
    at = hall(first=_LATE)
    with at.connect(said) as silent:
        begin = time.monotonic()
        assert _ending(silent) == b""
        assert _LATE / 2 < time.monotonic() - begin < patient(5)


def test_of_too_many_silent_ones_of_an_address_the_oldest_goes(hall: Callable[..., Hall]) -> None:
    at = hall()
    with contextlib.ExitStack() as stack:
        elsewhere = stack.enter_context(at.connect(host="127.0.0.2"))
        silent = [stack.enter_context(at.connect(b"\1")) for _ in range(_SILENT + 2)]
        assert [_ending(connection) for connection in silent[:2]] == [b"", b""]
        for connection in (*silent[2:], elsewhere):
            connection.sendall(_REQUEST[1:] if connection is not elsewhere else _REQUEST)
            at.is_admitted().socket.close()


def test_in_ipv6_an_address_is_a_network() -> None:
    assert porch._network("2001:db8::1") == porch._network("2001:db8::ffff:1") != porch._network("2001:db8:0:1::1")
    assert porch._network("fe80::1%eth0") == porch._network("fe80::2%eth0")
    assert porch._network("192.0.2.1") == "192.0.2.1"


def test_of_too_many_silent_ones_of_all_addresses_the_oldest_goes(
    hall: Callable[..., Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(porch, "_MOST", 4)
    at = hall()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(at.connect(b"\1", host=f"127.0.0.{n}")) for n in range(1, 7)]
        assert [_ending(connection) for connection in silent[:2]] == [b"", b""]
        silent[2].sendall(_REQUEST[1:])
        at.is_admitted().socket.close()


def test_without_a_descriptor_left_the_oldest_silent_one_makes_room(hall: Callable[..., Hall]) -> None:
    at = hall()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(at.connect(b"\1"))
        stack.enter_context(at.connect(_REQUEST))
        at.is_admitted().socket.close()  # so the silent one is there
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stack.enter_context(client)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        taken = _take_all_descriptors()
        try:
            client.connect(at.address)
            client.sendall(_REQUEST)
            at.is_admitted().socket.close()
        finally:
            for descriptor in taken:
                os.close(descriptor)
        assert _ending(silent) == b""


def test_an_abort_in_the_place_of_a_request_is_not_answered(hall: Callable[..., Hall]) -> None:
    at = hall()
    with at.connect(pdus.abort()) as gone:
        assert _ending(gone) == b""  # AA-2: no answer to an A-ABORT
    with at.connect(_REQUEST):
        at.is_admitted().socket.close()


def test_whoever_comes_while_many_are_silent_is_served(hall: Callable[..., Hall]) -> None:
    at = hall()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(at.connect(b"\1"))
        stack.enter_context(at.connect(_REQUEST))
        at.is_admitted(within=patient(2)).socket.close()


def test_a_health_check_leaves_a_counter_and_nothing_else(
    hall: Callable[..., Hall], caplog: pytest.LogCaptureFixture
) -> None:
    at = hall()
    for _ in range(5):
        at.connect().close()
    with at.connect(_REQUEST):
        at.is_admitted().socket.close()  # so all that came before has been dealt with
    assert at.slots.touches == 5
    assert not caplog.records


def test_every_connection_is_counted_once_and_a_burdened_process_takes_it_all_the_same(
    hall: Callable[..., Hall],
) -> None:
    at = hall()
    at.slots.is_burdened = True
    with at.connect(_REQUEST), at.connect(b"no request") as stranger:
        _ending(stranger)
        at.is_admitted().socket.close()
        assert at.slots.connections == 1  # whoever serves it says when it is gone
    assert at.slots.is_accepting
    at.porch.close(5)
    assert not at.slots.is_accepting


def test_without_a_descriptor_left_it_rests_and_goes_on(hall: Callable[..., Hall]) -> None:
    at = hall()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        taken = _take_all_descriptors()
        before = time.process_time()
        client.connect(at.address)
        client.sendall(_REQUEST)
        with pytest.raises(queue.Empty):
            at.is_admitted(within=0.7)
        assert time.process_time() - before < 0.3, "it spins"
        for descriptor in taken:
            os.close(descriptor)
        at.is_admitted().socket.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.close()


def _take_all_descriptors() -> list[int]:
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    return taken


def test_a_porch_that_closes_serves_whom_it_let_in_and_nobody_else(hall: Callable[..., Hall]) -> None:
    at = hall()
    with at.connect(_REQUEST[:50]) as inside:
        with at.connect(_REQUEST):
            at.is_admitted().socket.close()
        at.porch.close(0.05)
        with pytest.raises(ConnectionRefusedError):
            at.connect()
        inside.sendall(_REQUEST[50:])
        at.is_admitted().socket.close()
        at.porch.close(5)
        assert not at.porch._thread.is_alive()


# -- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("porch")


@pytest.fixture
def secure(hall: Callable[..., Hall], identity: Identity) -> Hall:
    tls = Tls(bind_host="127.0.0.1", bind_port=1, certificate=identity.certificate, key=identity.key, ca=identity.ca)
    return hall(server_context(tls))


def test_a_request_comes_over_tls(secure: Hall, identity: Identity) -> None:
    with identity.context().wrap_socket(secure.connect()) as caller:
        caller.sendall(_REQUEST + b"what follows")
        visitor = secure.is_admitted()
        assert isinstance(visitor.socket, ssl.SSLSocket)
        assert bytes(visitor.request) == _REQUEST
        assert visitor.socket.recv(100) == b"what follows"
        visitor.socket.close()


@pytest.mark.parametrize("said", [b"", bytes.fromhex("16030100c8010000"), b"\1"], ids=["silent", "half", "clear"])
def test_a_handshake_that_stalls_holds_nobody_up(said: bytes, secure: Hall, identity: Identity) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(secure.connect(said))
        begin = time.monotonic()
        with identity.context().wrap_socket(secure.connect()) as caller:
            caller.sendall(_REQUEST)
            secure.is_admitted(within=patient(2)).socket.close()
        assert time.monotonic() - begin < patient(2)


def test_a_health_check_of_the_tls_port_leaves_a_counter_and_nothing_else(
    secure: Hall, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        secure.connect().close()
    with identity.context().wrap_socket(secure.connect()) as caller:
        caller.sendall(_REQUEST)
        secure.is_admitted().socket.close()
    assert secure.slots.touches == 5
    assert not caplog.records


def test_a_certificate_that_nobody_vouches_for_is_noted_as_that(
    secure: Hall, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger")
    context = stranger.context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(secure.connect()) as caller, contextlib.suppress(OSError):
        caller.sendall(_REQUEST)
        caller.recv(100)
    _noted(caplog, secure)
    assert secure.admitted.empty()


def _noted(caplog: pytest.LogCaptureFixture, secure: Hall) -> None:
    def found() -> bool:
        return any("no TLS handshake from=127.0.0.1" in record.getMessage() for record in caplog.records)

    wait_until(found, 5, "the failed handshake to be noted")
    wait_until(lambda: secure.failed, 5, "it to be told")
    assert [address for address, _ in secure.failed] == ["127.0.0.1"]


def test_whoever_fails_the_handshake_is_noted(
    secure: Hall, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with secure.connect(b"GET / HTTP/1.1\r\n\r\n") as stranger:
        _ending(stranger)
    _noted(caplog, secure)
    assert secure.admitted.empty()
