"""Where connections wait that have not said yet who they are: one thread for all of them, on the listening sockets.

It accepts, does the TLS handshake, and collects the A-ASSOCIATE-RQ, all without ever waiting for one peer (Sta1 and
Sta2 of PS3.8 9.2.1). A connection that has brought its whole request is handed on; from there it has a thread of its
own. Until then it costs a descriptor and what it has sent. It has `first` seconds; beyond `silent` of them from one
address the oldest is closed; what cannot be a request is answered by A-ABORT (AA-1).

What only connects and goes is counted by `slots.touched`, and leaves no other trace. Of a handshake that fails,
`failed` is told from which address, and why; it keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from ipaddress import ip_network

from dicomnode.net import pdus, tls
from dicomnode.net.sockets import tune
from dicomnode.operations.ports import Slots

log = logging.getLogger(__name__)

Listener = tuple[socket.socket, Callable[[], ssl.SSLContext] | None]
"""A socket that listens, and what gives the TLS that is spoken with the next one there; None: it is in clear."""

_HEADER = pdus.HEADER.size
_VANISHED = 120.0
"""Seconds without an acknowledgement after which a peer is given up."""
_LONGEST = 1 << 19
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with every transfer syntax there is need half of it."""
_PIECE = 1 << 16
_MOST = 1000
"""Connections that wait, from all addresses together: of more, the oldest is closed."""
_COURTESY = 0.001
"""Seconds for which a connection is left to a process that has fewer."""
_REST = 0.5
"""Seconds without accepting, when the process has no descriptor left."""


class Visitor:
    """A connection whose request is not whole yet."""

    def __init__(self, connection: socket.socket, address: str, deadline: float) -> None:
        self.socket = connection
        self.address = address
        self.deadline = deadline
        self.request = bytearray()
        self.shakes_hands = isinstance(connection, ssl.SSLSocket)

    def __repr__(self) -> str:
        return f"Visitor({self.address}, {len(self.request)} bytes)"

    def hear(self) -> None:
        """Take in what it has sent, to the end of its request. ValueError: that is none; OSError: gone, or not yet."""
        if self.shakes_hands:
            self.socket.do_handshake()  # type: ignore[attr-defined]
            self.shakes_hands = False
        while (wanted := self._wanted()) > 0:
            piece = self.socket.recv(min(wanted, _PIECE))
            if not piece:
                raise ConnectionResetError("closed")
            self.request += piece

    def _wanted(self) -> int:
        """How many bytes are missing: of the header, and then of what it announces."""
        have = len(self.request)
        if have and self.request[0] == pdus.ABORT:  # AA-2
            raise ConnectionAbortedError("aborted")
        if have and self.request[0] != pdus.ASSOCIATE_RQ:
            raise ValueError(f"began with a PDU of type {self.request[0]:02X}H")
        if have < _HEADER:
            return _HEADER - have
        (length,) = struct.unpack_from(">I", self.request, 2)
        if length > _LONGEST:
            raise ValueError(f"announced an A-ASSOCIATE-RQ of {length} bytes")
        return int(_HEADER + length - have)


class Porch:
    """The connections of one acceptor that wait, from `start` to `close`. `admit` begins to serve one."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        admit: Callable[[Visitor], None],
        failed: Callable[[str, str], None],
        slots: Slots,
        *,
        first: float,
        silent: int,
    ) -> None:
        self._admit, self._failed, self._slots, self._first, self._silent = admit, failed, slots, first, silent
        self._selector = selectors.DefaultSelector()
        self._listeners = list(listeners)
        self._visitors: dict[Visitor, None] = {}  # in the order of their coming, which is that of their deadlines
        self._of_address: defaultdict[str, dict[Visitor, None]] = defaultdict(dict)
        self._bell, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest_until = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="porch", daemon=True)

    def __repr__(self) -> str:
        return f"Porch({len(self._visitors)} waiting{', closing' if self._closing else ''})"

    def start(self) -> None:
        """Begin to accept; returns at once."""
        self._selector.register(self._bell, selectors.EVENT_READ)
        for connection, _ in self._listeners:
            connection.setblocking(False)
        self._listen()
        self._slots.accepts(True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Accept nothing more; whoever was let in may still say who it is, for so long. Returns when all are served."""
        self._closing = True
        os.write(self._wake, b"\1")
        self._thread.join(seconds)

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._attend()
        except BaseException:
            log.critical("the porch failed by our own fault", exc_info=True)
            os._exit(70)  # the supervisor starts an acceptor that knows nothing of what went wrong here

    def _attend(self) -> None:
        while self._listeners or self._visitors:
            for key, _ in self._selector.select(self._patience()):
                if key.fd == self._bell:
                    os.read(self._bell, 64)
                elif isinstance(key.data, Visitor):
                    self._hear(key.data)
                else:
                    self._accept(key.data)
            self._look_round()

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = [visitor.deadline for visitor in self._visitors][:1] + [self._rest_until] * bool(self._rest_until)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _look_round(self) -> None:
        """What time has brought: visitors that are late, an end to the rest, the end of it all."""
        now = time.monotonic()
        for visitor in [*self._visitors]:
            if visitor.deadline > now:
                break
            self._dismiss(visitor, "said nothing for too long")
        if self._closing and self._listeners:
            self._slots.accepts(False)
            self._rest()
            for connection, _ in self._listeners:
                connection.close()  # closed and never shut down: other processes listen on it
            self._listeners.clear()
        elif self._rest_until and now >= self._rest_until:
            self._listen()

    def _listen(self) -> None:
        self._rest_until = 0.0
        for listener in self._listeners:
            self._selector.register(listener[0], selectors.EVENT_READ, listener)

    def _rest(self) -> None:
        if not self._rest_until:
            for connection, _ in self._listeners:
                self._selector.unregister(connection)

    def _accept(self, listener: Listener) -> None:
        """Let one in, if it is still there: another process may have been quicker, which has less to do."""
        connection, contexts = listener
        if self._slots.is_burdened:
            time.sleep(_COURTESY)
        try:
            accepted, address = connection.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("cannot accept connections: %s", error.strerror)
            self._make_room()
            return
        try:
            self._let_in(accepted, contexts() if contexts else None, address[0].removeprefix("::ffff:"))
        except OSError:  # gone already
            accepted.close()

    def _let_in(self, accepted: socket.socket, context: ssl.SSLContext | None, address: str) -> None:
        accepted.setblocking(False)
        tune(accepted, _VANISHED)
        if context:
            accepted = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        visitor = Visitor(accepted, address, time.monotonic() + self._first)
        self._selector.register(accepted, selectors.EVENT_READ, visitor)
        self._slots.arrived()
        self._visitors[visitor] = self._of_address[_network(address)][visitor] = None
        for crowd, most in ((self._of_address[_network(address)], self._silent), (self._visitors, _MOST)):
            if len(crowd) > most:
                self._dismiss(next(iter(crowd)), "was the oldest of too many that say nothing")
        self._hear(visitor)

    def _make_room(self) -> None:
        """No descriptor is left: whoever has been silent for the longest has to go, or all have to wait a moment."""
        if self._visitors:
            self._dismiss(next(iter(self._visitors)), "was the oldest that says nothing, and there is no room")
        else:
            self._rest()
            self._rest_until = time.monotonic() + _REST

    def _hear(self, visitor: Visitor) -> None:
        if visitor not in self._visitors:
            return  # dismissed while its event waited
        try:
            visitor.hear()
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(visitor.socket, selectors.EVENT_READ, visitor)
        except ssl.SSLWantWriteError:
            self._selector.modify(visitor.socket, selectors.EVENT_WRITE, visitor)
        except OSError as error:
            self._gone(visitor, error)
        except ValueError as error:
            self._dismiss(visitor, str(error), pdus.abort(2, pdus.UNEXPECTED))
        else:
            self._forget(visitor)
            visitor.socket.setblocking(True)
            self._admit(visitor)

    def _gone(self, visitor: Visitor, error: OSError) -> None:
        if visitor.shakes_hands and isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            why = tls.reason(error)
            log.warning("no TLS handshake from=%s: %s", visitor.address, why)
            self._failed(visitor.address, why)
        elif not visitor.request:
            self._slots.touched()
        self._dismiss(visitor)

    def _dismiss(self, visitor: Visitor, why: str = "", last_words: bytes = b"") -> None:
        if why:
            log.warning("closed a connection from=%s: it %s", visitor.address, why)
        self._forget(visitor)
        self._slots.gone()
        with contextlib.suppress(OSError):
            if last_words:
                visitor.socket.send(last_words)
                visitor.socket.recv(_LONGEST)  # what is unread would make the kernel reset the connection
        visitor.socket.close()

    def _forget(self, visitor: Visitor) -> None:
        self._selector.unregister(visitor.socket)
        del self._visitors[visitor]
        of_address = self._of_address[_network(visitor.address)]
        del of_address[visitor]
        if not of_address:
            del self._of_address[_network(visitor.address)]


def _network(address: str) -> str:
    """Whom an address belongs to: in IPv6 everybody has 2⁶⁴ of them."""
    return str(ip_network(f"{address.partition('%')[0]}/64", strict=False)) if ":" in address else address
