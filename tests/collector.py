"""A syslog receiver over TLS (RFC 5425), as small as it can be: what it has read, and a switch for each way to fail."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import suppress

from tests.certificates import Identity

_QUIET = 30.0


class Collector:
    """Listens on a port of its own from the moment it is made; `close` ends it.

    `fails`: '' for none; 'deaf' reads nothing and closes; 'reset' reads half and resets; 'rude' ends without a
    close_notify, as some do; 'silent' never ends.
    """

    def __init__(self, identity: Identity, fails: str = "") -> None:
        self.fails = fails
        self.messages: list[bytes] = []
        """All messages that it has read, without their lengths."""
        self.connections = 0
        self._context = identity.context(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                plain.settimeout(_QUIET)
                with suppress(OSError):
                    self._serve(plain)
                plain.close()

    def _serve(self, plain: socket.socket) -> None:
        connection = self._context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)
        self.connections += 1
        data = b""
        with connection:
            if self.fails == "deaf":
                return
            while piece := connection.recv(65536):
                data += piece
                if self.fails == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
            self.messages += _messages(data)
            if self.fails == "silent":
                self._closing.wait(_QUIET)
            elif self.fails != "rude":
                connection.unwrap()


def _messages(data: bytes) -> list[bytes]:
    """What octet counting keeps apart (RFC 5425 4.3)."""
    found = []
    while data:
        length, _, rest = data.partition(b" ")
        found.append(rest[: int(length)])
        assert len(found[-1]) == int(length), "the last message is cut short"
        data = rest[int(length) :]
    return found
