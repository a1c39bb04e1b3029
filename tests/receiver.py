"""A small storage SCP of the tests' own: it plays a partner, and remembers exactly what it was told.

It answers C-ECHO, C-STORE and N-EVENT-REPORT; a thread per association. What it refuses, delays or aborts is set by
attributes that a test may change while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.patience import patient
from tests.upper_layer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    C_ECHO,
    C_STORE,
    IMPLICIT_LE,
    N_EVENT_REPORT,
    RELEASE_RP,
    RESPONSE,
    VERIFICATION,
    Associate,
    Channel,
    Message,
    Value,
    WireError,
    is_storage,
    pdu,
)

Accept = Callable[[str, Sequence[str]], str | None]


def first_proposed(abstract: str, syntaxes: Sequence[str]) -> str | None:
    """The default acceptance: any storage class, and Verification, in the first syntax that was proposed."""
    return syntaxes[0] if syntaxes and (is_storage(abstract) or abstract == VERIFICATION) else None


@dataclass(frozen=True)
class Received:
    """One C-STORE as it arrived. `status` is what it was answered; None when it was aborted instead."""

    sop_class: str
    sop_instance: str
    sha256: str
    transfer_syntax: str
    calling: str
    called: str
    association: int
    """The associations of a receiver are numbered from 1 in the order of their arrival."""
    move_originator: str | None
    move_message_id: int | None
    priority: int
    status: int | None
    content: bytes | Path

    @property
    def dataset(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


class Receiver:
    """A context manager: listens on `host`:`port` (a free one) while it is open; `stop` and `start` keep the port.

    - `answer(uid)` gives the status of an instance (default 0000H).
    - `reject=(result, source, reason)` refuses every association; `accept(abstract, syntaxes)` picks a syntax or None.
    - `abort_after=n`: an association gets n answers, and an A-ABORT in place of the next one.
    - `delay`: an Event; a C-STORE is answered (and counted) once it is set.
    - with a `folder`, datasets are kept there and not in memory; with `over`, it speaks TLS.
    `received` has what was answered, `aborted` what got no answer, `requests` every A-ASSOCIATE-RQ, `events` every
    N-EVENT-REPORT, `faults` what went wrong in a thread of its own.
    """

    def __init__(
        self,
        *,
        answer: Callable[[str], int] | None = None,
        reject: tuple[int, int, int] | None = None,
        accept: Accept = first_proposed,
        abort_after: int | None = None,
        delay: threading.Event | None = None,
        folder: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        max_pdu: int = 65536,
        over: ssl.SSLContext | None = None,
    ) -> None:
        self.over = over
        self.answer, self.reject, self.accept = answer, reject, accept
        self.abort_after, self.delay, self.folder = abort_after, delay, folder
        self.host, self.port, self.max_pdu = host, port, max_pdu
        self.received: list[Received] = []
        self.aborted: list[Received] = []
        self.requests: list[Associate] = []
        self.events: list[Message] = []
        self.faults: list[Exception] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._open: dict[int, Channel] = {}
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    # -- life --

    def start(self) -> Receiver:
        """Listen; the port is known when this returns."""
        self._stopping = threading.Event()
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._listen, self._listener)
        return self

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads."""
        self._stopping.set()
        if self._listener:
            _shut(self._listener)
        with self._changed:
            for channel in self._open.values():
                _shut(channel.socket)
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def __enter__(self) -> Receiver:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop()

    def _spawn(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- what a test waits for --

    def wait_for(self, count: int, timeout: float = 10) -> list[Received]:
        """Return what was received once it is `count` instances or more; AssertionError after `timeout` seconds."""
        return self.wait_until(lambda: len(self.received) >= count, timeout, f"{count} instances")

    def wait_until(self, holds: Callable[[], bool], timeout: float = 10, what: str = "it") -> list[Received]:
        """Return what was received once `holds()`, which is asked whenever something has happened here."""
        with self._changed:
            if not self._changed.wait_for(holds, patient(timeout)):
                raise AssertionError(
                    f"waited {timeout} s for {what}: {len(self.received)} received, {len(self.aborted)} aborted, "
                    f"{len(self.requests)} associations, faults {self.faults}"
                )
            return list(self.received)

    @property
    def open_associations(self) -> int:
        """How many connections are open now."""
        with self._changed:
            return len(self._open)

    def _note(self, act: Callable[..., object], *arguments: object) -> None:
        with self._changed:
            act(*arguments)
            self._changed.notify_all()

    # -- associations --

    def _listen(self, listener: socket.socket) -> None:
        with listener:
            while not self._stopping.is_set():
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                self._spawn(self._serve, sock, next(self._numbers))

    def _serve(self, sock: socket.socket, number: int) -> None:
        if self.over:
            sock = self.over.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        channel = Channel(sock, None)
        self._note(self._open.__setitem__, number, channel)
        try:
            if not self._stopping.is_set():
                if isinstance(sock, ssl.SSLSocket):
                    sock.do_handshake()
                self._associate(channel, number)
        except (WireError, OSError) as error:
            if not self._stopping.is_set():
                self._note(self.faults.append, error)
        finally:
            self._note(self._open.pop, number)
            channel.close()

    def _associate(self, channel: Channel, number: int) -> None:
        kind, body = channel.recv_pdu()
        if kind != ASSOCIATE_RQ:
            raise WireError(f"PDU type {kind:02X}H in place of an A-ASSOCIATE-RQ")
        request = Associate.decode(body)
        self._note(self.requests.append, request)
        if self.reject:
            channel.send_raw(pdu(ASSOCIATE_RJ, bytes((0, *self.reject))))
            with contextlib.suppress(WireError, OSError):
                channel.recv_pdu()  # the peer closes first, so that the PDU is read before the RST
            return
        channel.max_pdu = request.max_pdu
        answer = Associate(request.called, request.calling, max_pdu=self.max_pdu, results=self._results(request))
        channel.send_raw(answer.encode(ASSOCIATE_AC))
        self._messages(channel, _Peer(number, request, answer))

    def _results(self, request: Associate) -> dict[int, tuple[int, str]]:
        chosen = {n: self.accept(*context) for n, context in request.contexts.items()}
        # A refused context carries a syntax without meaning. 3: abstract syntax, 4: transfer syntaxes (PS3.8 9.3.3.2)
        refused = {n: (4 if is_storage(abstract) else 3, IMPLICIT_LE) for n, (abstract, _) in request.contexts.items()}
        return {n: (0, syntax) if syntax else refused[n] for n, syntax in chosen.items()}

    def _messages(self, channel: Channel, peer: _Peer) -> None:
        answered = 0
        while (message := channel.read_message()) is not None:
            command = message["CommandField"]
            if command != C_STORE:
                self._other(channel, message)
                continue
            if self.delay:
                self._wait(self.delay)
            if self.abort_after is not None and answered >= self.abort_after:
                self._note(self.aborted.append, self._received(peer, message, None))
                channel.send_raw(pdu(ABORT, bytes(4)))
                return
            status = self.answer(str(message["AffectedSOPInstanceUID"])) if self.answer else 0
            self._note(self.received.append, self._received(peer, message, status))
            self._respond(channel, message, status)
            answered += 1
        channel.send_raw(pdu(RELEASE_RP, bytes(4)))

    def _wait(self, delay: threading.Event) -> None:
        while not delay.wait(0.02):
            if self._stopping.is_set():
                raise WireError("stopped while an answer was delayed")

    def _other(self, channel: Channel, message: Message) -> None:
        if message["CommandField"] == N_EVENT_REPORT:
            self._note(self.events.append, message)
        known = message["CommandField"] in (C_ECHO, N_EVENT_REPORT)
        self._respond(channel, message, 0 if known else 0x0211)  # unrecognized operation (PS3.7 C.5.23)

    def _respond(self, channel: Channel, message: Message, status: int) -> None:
        echoed = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID")
        command: dict[str, Value | None] = {keyword: message.command.get(keyword) for keyword in echoed}
        command["CommandField"] = int(message["CommandField"]) | RESPONSE
        command["MessageIDBeingRespondedTo"] = message["MessageID"]
        channel.send_message(message.context, command | {"Status": status})

    def _received(self, peer: _Peer, message: Message, status: int | None) -> Received:
        dataset = message.dataset or b""
        digest = hashlib.sha256(dataset).hexdigest()
        originator, message_id = (message.command.get(f"MoveOriginator{x}") for x in _ORIGINATOR)
        return Received(
            sop_class=str(message["AffectedSOPClassUID"]),
            sop_instance=str(message["AffectedSOPInstanceUID"]),
            sha256=digest,
            transfer_syntax=peer.answer.results[message.context][1],
            calling=peer.request.calling,
            called=peer.request.called,
            association=peer.number,
            move_originator=None if originator is None else str(originator),
            move_message_id=None if message_id is None else int(message_id),
            priority=int(message.command.get("Priority", 0)),
            status=status,
            content=self._keep(dataset, digest),
        )

    def _keep(self, dataset: bytes, digest: str) -> bytes | Path:
        if self.folder is None:
            return dataset
        path = self.folder / digest
        path.write_bytes(dataset)
        return path


_ORIGINATOR = ("ApplicationEntityTitle", "MessageID")


@dataclass(frozen=True)
class _Peer:
    number: int
    request: Associate
    answer: Associate


def _shut(sock: socket.socket) -> None:
    """Wake the thread that waits on a socket; the thread closes it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
