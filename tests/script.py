"""A partner as a script on a socket: it answers what a test says, however wrong that is."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.config.model import Partner
from dicomnode.net.requestor import Requestor
from tests import fakes
from tests.upper_layer import (
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    COMMITMENT,
    EXPLICIT_LE,
    IMPLICIT_LE,
    N_EVENT_REPORT,
    RELEASE_RP,
    RESPONSE,
    Associate,
    Channel,
    Message,
    Value,
    WireError,
    pdu,
)

INSTANCE = "1.2.840.10008.1.20.1.1"
PENDING = 0xFF00

Says = Callable[["Script", Message], None]


class Script:
    """A partner that answers each message as `says` does; a context manager that listens.

    `accepts` picks a syntax of those that are proposed, or None; `roles` are in the acceptance. `messages` and
    `requests` are what it was told; `ended` is set when an association is over, `ends` says how each was.
    """

    def __init__(
        self, says: Says, *, accepts: str | None = EXPLICIT_LE, roles: Mapping[str, Any] | None = None
    ) -> None:
        self.says, self.accepts, self.roles = says, accepts, dict(roles or {})
        self.messages: list[Message] = []
        self.requests: list[Associate] = []
        self.ends: list[str] = []
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.channel: Channel
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Script:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if hasattr(self, "channel"):
            with contextlib.suppress(OSError):
                self.channel.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                try:
                    self._serve(Channel(sock, 10))
                except (WireError, OSError) as error:
                    self.ends.append(type(error).__name__)
                sock.close()
                self.ended.set()

    def _serve(self, channel: Channel) -> None:
        self.channel = channel
        kind, body = channel.recv_pdu()
        assert kind == ASSOCIATE_RQ
        request = Associate.decode(body)
        self.requests.append(request)
        channel.max_pdu = request.max_pdu
        results = dict.fromkeys(request.contexts, (0, self.accepts) if self.accepts else (3, IMPLICIT_LE))
        answer = Associate(request.called, request.calling, results=results, roles=self.roles)
        channel.send_raw(answer.encode(ASSOCIATE_AC))
        while (message := channel.read_message()) is not None:
            self.messages.append(message)
            self.says(self, message)
        channel.send_raw(pdu(RELEASE_RP, bytes(4)))
        self.ends.append("released")

    def respond(self, message: Message, status: int, dataset: bytes | None = None, **more: Value) -> None:
        command = {
            "CommandField": int(message["CommandField"]) | RESPONSE,
            "MessageIDBeingRespondedTo": message.command.get("MessageID"),
            "Status": status,
            **more,
        }
        self.channel.send_message(message.context, command, dataset)

    def tell(self, message: Message, dataset: bytes, kind: int = 1, number: int = 77, **more: Value) -> None:
        """An N-EVENT-REPORT on the context of a message."""
        command = {
            "CommandField": N_EVENT_REPORT,
            "MessageID": number,
            "AffectedSOPClassUID": COMMITMENT,
            "AffectedSOPInstanceUID": INSTANCE,
            "EventTypeID": kind,
            **more,
        }
        self.channel.send_message(message.context, command, dataset)


def scripted(
    script: Script, folder: Path, response: str = "5s", may: str = "[find, move]"
) -> tuple[Requestor, Partner]:
    """A requestor, and the partner that a script plays."""
    text = fakes.CONFIG.replace(
        "PUBPACS:  {site: general, host: 10.9.0.5, port: 104, may: [find, move]}",
        f"PUBPACS:  {{site: general, host: 127.0.0.1, port: {script.port}, may: {may}}}",
    ).replace("retry_first: 30s", f"retry_first: 30s, response: {response}")
    config = fakes.configuration(text, folder)
    return Requestor(config), config.partners["PUBPACS"]


def row(**values: Any) -> Dataset:
    """An answer, or what else is a dataset, by keywords."""
    it = Dataset()
    for keyword, value in values.items():
        setattr(it, keyword, value)
    return it
