"""Syslog over TLS (RFC 5424 over RFC 5425), as PS3.15 A.6 has it: how audit messages get to who keeps them for all.

Each call is a connection of its own: mutual TLS of our one profile (tls.py), the messages with their lengths before
them, our close_notify, and the end from the other side. Syslog has no acknowledgement; that end is the nearest there is
to one: the collector has read up to ours (RFC 5425 4.4). So what `deliver` returns from has been read, and what it
raises from may or may not have been: then all of it is sent again.

Never promised: that a collector keeps what it has read, or that it had read all where its own end crossed ours. What
may fail: Unreachable, AssociationLost; and ConfigurationError where our certificate files cannot be used.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence

from dicomnode.config.model import NodeConfig
from dicomnode.errors import AssociationLost, Unreachable
from dicomnode.net import tls
from dicomnode.operations.ports import AuditMessage

_SECURITY = 10
"""The facility of audit messages (PS3.15 A.6)."""
_BOM = b"\xef\xbb\xbf"
_LONGEST_NAME = 48


class Collector:
    """The one that `node.audit` names. Implements ports.Collector."""

    def __init__(self, config: NodeConfig) -> None:
        assert config.node.audit, "there is a collector"
        assert config.node.tls, "contradictions.py wants it"
        self._place = config.node.audit.collector
        self._limits = config.node.limits
        self._tls = config.node.tls
        self._papers: tls.Papers | None = None
        self._sender = f"{_name(socket.gethostname(), 255)} {_name(config.node.ae_title, _LONGEST_NAME)} {os.getpid()}"

    def __repr__(self) -> str:
        return f"Collector({self._place[0]}:{self._place[1]})"

    def deliver(self, messages: Sequence[AuditMessage]) -> None:
        """Have it read all of these, in order. See ports.Collector."""
        connection = self._connect()
        try:
            for message in messages:
                connection.sendall(framed(self._line(message)))
            _farewell(connection)
        except OSError as error:
            raise AssociationLost(tls.reason(error)) from error
        finally:
            connection.close()

    def _connect(self) -> ssl.SSLSocket:
        """Open the connection, and know who is there: its certificate names the host."""
        self._papers = self._papers or tls.Papers(tls.client_context, self._tls)
        context = self._papers.context()
        try:
            plain = socket.create_connection(self._place, self._limits.connect)
        except (OSError, UnicodeError) as error:  # UnicodeError: it is no name that a resolver can be asked for
            raise Unreachable(getattr(error, "strerror", None) or str(error)) from error
        try:
            connection = context.wrap_socket(plain, server_hostname=self._place[0])
        except OSError as error:
            plain.close()
            raise Unreachable(tls.reason(error)) from error
        connection.settimeout(self._limits.response)
        return connection

    def _line(self, message: AuditMessage) -> bytes:
        """One message of RFC 5424 6, without structured data."""
        header = f"<{_SECURITY * 8 + message.severity}>1 {message.at} {self._sender} DICOM+RFC3881 - "
        return header.encode("ascii") + _BOM + message.xml


def framed(line: bytes) -> bytes:
    """A message as it is sent: its length before it (RFC 5425 4.3)."""
    return b"%d %s" % (len(line), line)


def _name(text: str, most: int) -> str:
    """A name in a syslog header: printable ASCII without spaces, or '-' for none."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:most] or "-"


def _farewell(connection: ssl.SSLSocket) -> None:
    """Say that nothing more comes, and wait for the other side's end. OSError where there is none in time.

    Some collectors close the connection without a close_notify of their own: that is an end, too.
    """
    try:
        connection.unwrap()
    except ssl.SSLEOFError:
        pass
    except OSError as error:
        if error.errno != 0:  # OpenSSL tells of the end of a stream as a system call that failed with no error
            raise
