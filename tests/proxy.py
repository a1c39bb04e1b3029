"""A TCP proxy that fails on demand, between a node and a partner, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_CHUNK = 1 << 16
_TICK = 0.1  # how long a thread may sit in a call before it looks whether its connection was reset

_Pair = tuple[socket.socket, socket.socket]


class ChaosProxy:
    """Forwards `port` (a free one) to `target`; a context manager.

    `refuse()`: connections are refused, those that are open go on. `blackhole()`: connections are taken and nothing
    passes, either way. `reset()`: every open connection ends by RST. `vanish()`: every open connection is dead for
    ever, and neither end is told, as when a host loses its power; new ones pass. `resume()`: all as usual again, what a
    black hole held back included. `reset_after(n)`: RST once n more bytes went to the target. `seconds` delays every
    chunk.
    """

    def __init__(self, host: str, port: int, *, seconds: float = 0) -> None:
        self.target, self.seconds, self.port = (host, port), seconds, 0
        self.connections = 0
        """How many were taken since the start."""
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._dead: set[_Pair] = set()
        self._threads: list[threading.Thread] = []
        self._passing, self._stopping = threading.Event(), threading.Event()
        self._passing.set()
        self._listener: socket.socket | None = None
        self._budget: int | None = None

    def __enter__(self) -> ChaosProxy:
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._passing.set()
        self.refuse()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    # -- what a test does --

    def refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()

    def blackhole(self) -> None:
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()
        if self._listener is None:
            self._listen()

    def reset(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._drop(pair)

    def vanish(self) -> None:
        with self._lock:
            self._dead |= self._pairs

    def reset_after(self, count: int) -> None:
        """Let `count` more bytes through to the target, then reset every open connection; once."""
        with self._lock:
            self._budget = count

    # -- how --

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def _spawn(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._spawn(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        self.connections += 1
        self._passing.wait()
        if self._stopping.is_set():
            return _reset(client)
        try:
            server = socket.create_connection(self.target, 10)
        except OSError:
            return _reset(client)
        pair = (client, server)
        for sock in pair:
            sock.settimeout(_TICK)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
        self._spawn(self._pump, pair, server, client)
        self._pump(pair, client, server)
        return None

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction until it ends; a FIN is passed on, an error ends both directions."""
        try:
            while chunk := self._read(pair, source):
                if pair in self._dead:
                    continue
                if source is pair[0] and self._spent(len(chunk)):
                    return self.reset()
                self._write(pair, sink, chunk)
            if pair in self._pairs - self._dead:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(pair)
        return None

    def _read(self, pair: _Pair, source: socket.socket) -> bytes:
        chunk = b""
        while pair in self._pairs:
            self._passing.wait()
            with contextlib.suppress(TimeoutError):
                chunk = source.recv(_CHUNK)
                break
        if self.seconds:
            self._stopping.wait(self.seconds)
        self._passing.wait()
        return chunk

    def _write(self, pair: _Pair, sink: socket.socket, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest and pair in self._pairs:
            with contextlib.suppress(TimeoutError):
                rest = rest[sink.send(rest) :]

    def _drop(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for sock in pair:
            _reset(sock)

    def _spent(self, count: int) -> bool:
        with self._lock:
            if self._budget is None:
                return False
            self._budget -= count
            over = self._budget < 0
            if over:
                self._budget = None
            return over


class DelayProxy(ChaosProxy):
    """A slow line: every chunk arrives `seconds` later."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        super().__init__(host, port, seconds=seconds)


def _reset(sock: socket.socket) -> None:
    """End a connection by RST (SO_LINGER 0), also where another thread waits in it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)  # wakes a reader, and sends nothing; SHUT_RDWR would send a FIN first
    sock.close()
