"""A clear port that leads over TLS to another: for tools that do not speak TLS themselves (movescu, dcmsend)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from types import TracebackType


class Tunnel:
    """A context manager: what connects to `port` (a free one, on 127.0.0.1) speaks TLS with `host`:`target`.

    When one side ends its connection, the other's is ended too.
    """

    def __init__(self, host: str, target: int, context: ssl.SSLContext) -> None:
        self.port = 0
        self._host, self._target, self._context = host, target, context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tunnel", daemon=True)

    def __enter__(self) -> Tunnel:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._carry, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        with contextlib.suppress(OSError):  # that the other end refuses is seen as an end of ours
            back, there = await asyncio.open_connection(self._host, self._target, ssl=self._context)
            pumps = [asyncio.ensure_future(_pump(reader, there)), asyncio.ensure_future(_pump(back, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        for end in (writer, there):
            if end:
                end.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(1 << 16):
            sink.write(chunk)
            await sink.drain()
