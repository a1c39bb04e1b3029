"""The yardstick, which is no product: a bare socket in Python that does all the durable work, and nothing else.

`python -m tests.bench.yardstick PORT FOLDER PROCESSES` takes C-STOREs and answers 0000H once the dataset is hashed
(SHA-256), in a synced file of a synced folder, and in one indexed commit (SQLite, WAL, FULL) that is grouped over the
threads that wait: what this node promises. It checks nothing, parses no dataset, and drops a connection at the first
thing that is not as it expects. How near this node comes to it is what its checks, rules and index cost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import socket
import sqlite3
import struct
import sys
import threading
from pathlib import Path

from tests.upper_layer import (
    ASSOCIATE_AC,
    C_ECHO,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RESPONSE,
    Associate,
    Channel,
    Command,
    WireError,
    decode_command,
    pdu,
)

_MOST = 1 << 20
"""The longest PDU that is taken."""
_HEADER, _VALUE = struct.Struct(">BxL"), struct.Struct(">LBB")
_TABLES = """PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS instances (uid TEXT PRIMARY KEY, sha256 TEXT, size INTEGER);
    CREATE TABLE IF NOT EXISTS transfers (id INTEGER PRIMARY KEY, uid TEXT, state TEXT);"""


class Ledger:
    """One writer of a process: whoever waits meanwhile shares the next commit."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._waiting: queue.SimpleQueue[tuple[tuple[str, str, int], threading.Lock]] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def note(self, uid: str, sha256: str, size: int) -> None:
        """Returns when it is durable."""
        done = threading.Lock()
        done.acquire()
        self._waiting.put(((uid, sha256, size), done))
        done.acquire()

    def _write(self) -> None:
        database = connected(self._file)
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            database.execute("BEGIN IMMEDIATE")
            for row, _ in group:
                database.execute("INSERT OR REPLACE INTO instances VALUES (?, ?, ?)", row)
                database.execute("INSERT INTO transfers (uid, state) VALUES (?, 'queued')", row[:1])
            database.execute("COMMIT")
            for _, done in group:
                done.release()


def connected(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=30, isolation_level=None)
    database.executescript(_TABLES)
    return database


class Taking:
    """One association, from its request to its end."""

    def __init__(self, sock: socket.socket, folder: Path, ledger: Ledger) -> None:
        self._channel, self._folder, self._ledger = Channel(sock, None), folder, ledger
        self._buffer = memoryview(bytearray(_MOST))
        self._directory = os.open(folder, os.O_RDONLY)
        self._part = f"{folder}/.{os.getpid()}-{id(self)}"
        self._command: Command = {}

    def run(self) -> None:
        with contextlib.suppress(OSError, EOFError, WireError), self._channel.socket:
            self._associate()
            kind, body = self._pdu()
            while kind == P_DATA:
                self._values(body)
                kind, body = self._pdu()
            if kind == RELEASE_RQ:
                self._channel.send_raw(pdu(RELEASE_RP, bytes(4)))
        os.close(self._directory)

    def _pdu(self) -> tuple[int, memoryview]:
        kind, length = _HEADER.unpack(self._exactly(_HEADER.size))
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> memoryview:
        at = 0
        while at < length:
            got = self._channel.socket.recv_into(self._buffer[at:length])
            if not got:
                raise EOFError
            at += got
        return self._buffer[:length]

    def _associate(self) -> None:
        asked = Associate.decode(bytes(self._pdu()[1]))
        answer = Associate(asked.called, asked.calling, max_pdu=_MOST)
        answer.results = {number: (0, syntaxes[0]) for number, (_, syntaxes) in asked.contexts.items()}
        self._channel.send_raw(answer.encode(ASSOCIATE_AC))

    def _values(self, body: memoryview) -> None:
        at = 0
        while at < len(body):
            length, context, flags = _VALUE.unpack_from(body, at)
            self._fragment(context, flags, body[at + _VALUE.size : at + 4 + length])
            at += 4 + length

    def _fragment(self, context: int, flags: int, part: memoryview) -> None:
        if flags & 1:
            self._command = decode_command(bytes(part))
            if self._command["CommandField"] == C_ECHO:
                return self._answer(context)
            self._file = os.open(self._part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            self._digest, self._size = hashlib.sha256(), os.write(self._file, bytes(128) + b"DICM")
            return None
        self._size += os.write(self._file, part)
        self._digest.update(part)
        return self._keep(context) if flags & 2 else None

    def _keep(self, context: int) -> None:
        uid = str(self._command["AffectedSOPInstanceUID"])
        os.fdatasync(self._file)
        os.close(self._file)
        os.rename(self._part, f"{self._folder}/{uid}")
        os.fsync(self._directory)
        self._ledger.note(uid, self._digest.hexdigest(), self._size)
        self._answer(context)

    def _answer(self, context: int) -> None:
        answer = {name: value for name, value in self._command.items() if name.startswith("AffectedSOP")}
        answer |= {"CommandField": int(self._command["CommandField"]) | RESPONSE, "Status": 0}
        answer["MessageIDBeingRespondedTo"] = self._command["MessageID"]
        self._channel.send_message(context, answer)


def main(port: int, folder: Path, processes: int) -> None:
    file = folder.with_suffix(".sqlite")
    folder.mkdir(parents=True, exist_ok=True)
    connected(file).close()
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    for _ in range(processes - 1):
        if not os.fork():
            break
    ledger = Ledger(file)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=Taking(sock, folder, ledger).run, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
