"""What every connection of the node is set to, whoever has opened it; where a system lacks an option, without it."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
import termios

_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def tune(connection: socket.socket, vanished: float) -> None:
    """Send at once; and notice who has gone: nobody acknowledges for `vanished` seconds, or answers a keepalive."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {**_ALIVE, "TCP_USER_TIMEOUT": round(vanished * 1000)}.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Let the kernel acknowledge what comes next without delay: a peer with Nagle's algorithm waits for that."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def untaken(connection: socket.socket) -> int:
    """Bytes that were sent and that the peer's machine has not taken (0 where the system cannot tell)."""
    count = bytearray(4)
    with contextlib.suppress(OSError, ValueError):  # ValueError: closed
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)
    return int.from_bytes(count, sys.byteorder)
