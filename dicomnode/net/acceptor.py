"""The AE that listens: pynetdicom's server on a socket that somebody else has bound, with associations of ours.

Several processes may serve one inherited socket, so a crash or a reload of one of them drops no waiting connection.
`drain` stops accepting, lets what is open come to its end, and aborts it at the deadline.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicomnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.net.association import Reception
from dicomnode.operations.ports import Node

log = logging.getLogger(__name__)

_MAXIMUM_LENGTH = 131072
_SLACK = 1024
_FIRST_PDU = 1 << 20
"""The longest A-ASSOCIATE-RQ (bytes): 128 contexts with every transfer syntax need a tenth of it."""
_FIRST_WAIT = 15.0
"""Seconds in which the association request must have come."""


class Acceptor:
    """Serves one listening socket with the associations of one node."""

    def __init__(self, listener: socket.socket, node: Node) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # nothing of a peer's is logged but by us
        ae = AE(ae_title=node.config.node.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = _MAXIMUM_LENGTH
        ae.acse_timeout, ae.network_timeout = _FIRST_WAIT, node.config.node.limits.idle
        self._server = _Server(ae, listener, node)
        self._thread = threading.Thread(target=self._server.serve_forever, name="acceptor", args=(0.1,))

    def __repr__(self) -> str:
        return f"Acceptor({self._server.server_address}, {len(self._server.open)} associations)"

    def start(self) -> None:
        """Begin to accept; returns at once."""
        self._thread.start()

    def drain(self, seconds: float) -> int:
        """Accept nothing more, wait for what is open, abort the rest; how many were aborted.

        A connection that was accepted is served: its caller cannot know that another process would have been better.
        """
        self._server._BaseServer__shutdown_request = True  # serve_forever ends at its next look
        self._thread.join()
        self._server.socket.close()
        deadline = time.monotonic() + seconds
        with self._server.changed:
            self._server.changed.wait_for(lambda: self._server.is_idle, timeout=max(0.0, deadline - time.monotonic()))
            left = list(self._server.open)
        for assoc in left:
            assoc.abort(block=False)
        return len(left)


class _Server(ThreadedAssociationServer):
    """pynetdicom's threaded server, without its own binding, and with our associations."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(self, ae: AE, listener: socket.socket, node: Node) -> None:
        self._listener = listener
        self.node = node
        self.open: set[Reception] = set()
        self._beginning = 0
        self.changed = threading.Condition()
        limits = node.config.node
        self._most = math.ceil(limits.limits.associations / limits.acceptors)
        super().__init__(ae, listener.getsockname()[:2], node.config.node.ae_title, [], request_handler=_Connection)

    def server_bind(self) -> None:
        """Adopt the socket that the supervisor has bound. Non-blocking: another process may have been quicker."""
        self.socket.close()
        self.socket: socket.socket = self._listener
        self.socket.setblocking(False)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens already."""

    def service_actions(self) -> None:
        """Nothing to do between connections."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve a connection, in a thread of its own; it counts from here on."""
        with self.changed:
            self._beginning += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make the association of a connection, and start it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.changed:
                self._beginning -= 1
                self.changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """Whether no association is open, nor about to be."""
        return not self.open and not self._beginning

    @property
    def is_full(self) -> bool:
        """Whether this process has its share of associations, the one that asks not counted."""
        return len(self.open) > self._most

    def entered(self, assoc: Reception) -> None:
        """Count an association from its first byte on."""
        with self.changed:
            self.open.add(assoc)

    def left(self, assoc: Reception) -> None:
        """An association is over."""
        with self.changed:
            self.open.discard(assoc)
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that could not even begin."""
        log.exception("a connection from=%s failed", client_address)


class _Connection(RequestHandler):
    """Makes the association of one connection."""

    def _create_association(self) -> Reception:
        node, server = self.server.node, self.server
        self.request.setblocking(True)
        self.request.settimeout(node.config.node.limits.idle)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assoc = Reception(server, node)
        assoc.name = f"association-{self.client_address[0]}:{self.client_address[1]}"
        assoc.set_socket(_Socket(assoc, client_socket=self.request))
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.requestor.address_info = self.remote
        server.entered(assoc)
        return assoc


class _Socket(AssociationSocket):
    """An association's socket that reads whole PDUs at once, refuses to allocate for impossible ones, and polls."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer where the connection ended. OSError: over the cap, or silent too long."""
        cap = _MAXIMUM_LENGTH + _SLACK if self.assoc.is_established else _FIRST_PDU
        if nr_bytes > cap:
            raise OSError(f"a PDU of {nr_bytes} bytes is announced, and at most {cap} were agreed")
        data = bytearray(nr_bytes)
        view, got = memoryview(data), 0
        end = time.monotonic() + (self.socket.gettimeout() if self.assoc.is_established else _FIRST_WAIT)
        while got < nr_bytes:
            left = end - time.monotonic()
            if left <= 0 or not self._readable(left):
                raise OSError("a PDU did not come whole in time")
            count = self.socket.recv_into(view[got:])
            if not count:
                break
            got += count
        view.release()
        del data[got:]
        return data

    @property
    def ready(self) -> bool:
        """Whether there is something to read; by poll, which has no limit on descriptors."""
        if self.socket is None or not self._is_connected:
            return False
        with suppress(OSError, ValueError):
            return self._readable(0)
        self.event_queue.put("Evt17")
        return False

    def _readable(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
