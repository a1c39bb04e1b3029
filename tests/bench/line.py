"""A long line: a proxy through which every byte arrives half a round trip later, however many are under way.

What is delayed is what is said on a connection; TCP's own handshake is not. It throttles nothing, loses nothing, and
runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
from multiprocessing.process import BaseProcess
from types import TracebackType

from tests.node import LOCAL

_CHUNK = 1 << 20


class Line:
    """A context manager: `port`, a free one, leads to `target` of this machine."""

    def __init__(self, target: int, round_trip: float) -> None:
        self._target, self._late = target, round_trip / 2
        self._process: BaseProcess | None = None
        self.port = 0

    def __enter__(self) -> Line:
        with socket.create_server((LOCAL, 0), backlog=128) as listener:
            self.port = listener.getsockname()[1]
            context = multiprocessing.get_context("fork")
            self._process = context.Process(target=self._run, args=(listener,), daemon=True)
            self._process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.join()

    def _run(self, listener: socket.socket) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._connect, sock=listener)
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(LOCAL, self._target)
        await asyncio.gather(self._carry(reader, onward[1]), self._carry(onward[0], writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction, its end included."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(_deliver(under_way, sink))
        chunk = b"-"
        while chunk:
            try:
                chunk = await source.read(_CHUNK)
            except ConnectionError:
                chunk = b""
            under_way.put_nowait((asyncio.get_running_loop().time() + self._late, chunk))
        await delivery


async def _deliver(under_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
    """Write each chunk when it is due; an empty one is the end."""
    with contextlib.suppress(ConnectionError):
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not chunk:
                break
            sink.write(chunk)
            await sink.drain()
    sink.close()
