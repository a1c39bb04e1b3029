"""The tests' own DICOM client: associations on a raw socket, and the client-side truth for crash tests.

It uses neither pynetdicom nor dicomnode, and sends datasets byte for byte as it is given them (storescu rewrites what
it sends). Everything that ends an exchange early is an exception: Rejected, Aborted, Closed, or TimeoutError.
The other side of the wire, `Receiver`, and the proxies that break it are at hand from here too.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.proxy import ChaosProxy, DelayProxy
from tests.receiver import Received, Receiver
from tests.samples import Sample, read_sample
from tests.upper_layer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    C_CANCEL,
    C_ECHO,
    C_FIND,
    C_GET,
    C_MOVE,
    C_STORE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RELEASE_RP,
    RELEASE_RQ,
    RESPONSE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Aborted,
    Associate,
    Channel,
    Closed,
    Command,
    Message,
    Rejected,
    Value,
    WireError,
    is_storage,
    pdu,
)

__all__ = [
    "EXPLICIT_LE",
    "IMPLICIT_LE",
    "STUDY_ROOT_FIND",
    "STUDY_ROOT_GET",
    "STUDY_ROOT_MOVE",
    "VERIFICATION",
    "Aborted",
    "Association",
    "ChaosProxy",
    "Closed",
    "DelayProxy",
    "Entry",
    "Journal",
    "Message",
    "NotAccepted",
    "Received",
    "Receiver",
    "Rejected",
    "Response",
    "WireError",
    "contexts_for",
    "echo",
    "is_storage",
    "send_file",
    "send_files",
]

Contexts = Sequence[tuple[str, Sequence[str]]]
_PENDING = (0xFF00, 0xFF01)


class NotAccepted(WireError):
    """The peer accepted no presentation context for this SOP class (and transfer syntax)."""


@dataclass(frozen=True)
class Response:
    """One DIMSE response: status, the request it answers, the whole command set, and a dataset if there is one."""

    message_id: int
    status: int
    command: Command
    dataset: bytes | None = None


@dataclass(frozen=True)
class Entry:
    """One C-STORE of a journal; `status` is None while it is unanswered."""

    number: int
    uid: str
    sha256: str
    status: int | None

    @property
    def acknowledged(self) -> bool:
        """The peer took custody: Success, or a Warning (PS3.7 C.1, C.3)."""
        return self.status is not None and (self.status == 0 or self.status & 0xF000 == 0xB000)


class Journal:
    """An append-only file of what was sent and how it was answered; every line is synced before the method returns.

    It is written before the first byte of a C-STORE leaves, and again once the answer was read: what `acknowledged()`
    lists, the peer has answered for. It may be read back by another process than the one that wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._numbers = itertools.count(len(self.entries()))

    def sent(self, uid: str, dataset: bytes) -> int:
        """Note that `dataset` is about to be sent; the number is for `answered`."""
        digest = hashlib.sha256(dataset).hexdigest()
        with self._lock:
            number = next(self._numbers)
            self._append({"sent": number, "uid": uid, "sha256": digest})
        return number

    def answered(self, number: int, status: int) -> None:
        with self._lock:
            self._append({"answered": number, "status": status})

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[Entry]:
        """Every C-STORE in the order of sending; a torn last line, of a client that was killed, is passed over."""
        if not self.path.exists():
            return []
        lines = [json.loads(raw) for raw in self.path.read_bytes().split(b"\n")[:-1]]
        status = {line["answered"]: line["status"] for line in lines if "answered" in line}
        return [Entry(x["sent"], x["uid"], x["sha256"], status.get(x["sent"])) for x in lines if "sent" in x]

    def acknowledged(self) -> list[Entry]:
        """What the peer has answered with Success or a Warning: it may never be lost from here on."""
        return [entry for entry in self.entries() if entry.acknowledged]

    def unanswered(self) -> list[Entry]:
        """What was sent without an answer: the peer may have it, or not."""
        return [entry for entry in self.entries() if entry.status is None]

    def refused(self) -> list[Entry]:
        """What the peer answered with a failure."""
        return [entry for entry in self.entries() if entry.status is not None and not entry.acknowledged]


class Association:
    """One association as its requestor; a context manager that releases, or aborts where the block fails.

    `contexts`: (abstract syntax, [transfer syntaxes]), numbered 1, 3, 5 … in this order. Negotiated: `accepted`
    maps context ids to transfer syntaxes, `results` every id to its result (0 accepted, 1 user, 2 no reason,
    3 abstract, 4 transfer syntax), `max_pdu` is the most the peer takes. A `journal` records every C-STORE. `more` are
    further fields of the request, such as `extended`, SOP class → features; `answer.extended` has what was agreed on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        called: str,
        calling: str,
        contexts: Contexts = ((VERIFICATION, (IMPLICIT_LE,)),),
        *,
        roles: Mapping[str, tuple[int, int]] | None = None,
        source_address: str | None = None,
        timeout: float = 30,
        max_pdu: int = 65536,
        user: tuple[str, str] | None = None,
        journal: Journal | None = None,
        wrap: Callable[[socket.socket], socket.socket] | None = None,
        **more: Any,
    ) -> None:
        self.proposed = {2 * n + 1: (abstract, list(syntaxes)) for n, (abstract, syntaxes) in enumerate(contexts)}
        self.journal, self.calling, self.last_error_comment = journal, calling, ""
        self._ids = itertools.cycle(range(1, 0x10000))
        self._journal_numbers: dict[int, int] = {}  # by message id, while unanswered
        source = (source_address, 0) if source_address else None
        sock = socket.create_connection((host, port), timeout, source)
        self.channel = Channel(wrap(sock) if wrap else sock, timeout)
        try:
            self._negotiate(
                Associate(called, calling, self.proposed, roles=dict(roles or {}), max_pdu=max_pdu, user=user, **more)
            )
        except BaseException:
            self.channel.close()
            raise

    def _negotiate(self, request: Associate) -> None:
        self.channel.send_raw(request.encode(ASSOCIATE_RQ))
        kind, body = self.channel.recv_pdu()
        if kind == ASSOCIATE_RJ:
            raise Rejected(body[1], body[2], body[3])
        if kind != ASSOCIATE_AC:
            raise WireError(f"PDU type {kind:02X}H in answer to an A-ASSOCIATE-RQ")
        self.answer = Associate.decode(body)
        self.results = {n: result for n, (result, _) in self.answer.results.items()}
        self.accepted = {n: syntax for n, (result, syntax) in self.answer.results.items() if result == 0}
        self.roles = self.answer.roles
        self.max_pdu = self.channel.max_pdu = self.answer.max_pdu

    def __enter__(self) -> Association:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.channel.socket.fileno() == -1:
            return
        if kind is None:
            self.release()
        else:
            self.abort()

    # -- contexts --

    def context_of(self, abstract: str, syntax: str | None = None) -> int:
        """The id of an accepted context for this abstract (and transfer) syntax; NotAccepted if there is none."""
        for number, accepted in self.accepted.items():
            if self.proposed[number][0] == abstract and syntax in (None, accepted):
                return number
        raise NotAccepted(f"no accepted context for {abstract} {syntax or ''}")

    # -- requests and answers --

    def send(self, context: int, field_: int, command: Mapping[str, Value | None], dataset: bytes | None = None) -> int:
        """Send one request; returns its message id."""
        number = next(self._ids)
        self.channel.send_message(context, {"CommandField": field_, "MessageID": number, **command}, dataset)
        return number

    def read_response(self) -> Response:
        """The next response, whichever request it answers; a release asked for by the peer is Closed."""
        message = self._read()
        response = Response(
            int(message["MessageIDBeingRespondedTo"]), int(message["Status"]), message.command, message.dataset
        )
        self.last_error_comment = str(message.command.get("ErrorComment", ""))
        number = self._journal_numbers.pop(response.message_id, None)
        if number is not None and self.journal:
            self.journal.answered(number, response.status)
        return response

    def _read(self) -> Message:
        message = self.channel.read_message()
        if message is None:
            self.channel.send_raw(pdu(RELEASE_RP, bytes(4)))
            self.channel.close()
            raise Closed("the peer released the association")
        return message

    def request(
        self, context: int, field_: int, command: Mapping[str, Value | None], dataset: bytes | None = None
    ) -> Response:
        """One request and its one response: C-ECHO, N-ACTION and the like."""
        self.send(context, field_, command, dataset)
        return self.read_response()

    def echo(self) -> int:
        return self.request(self.context_of(VERIFICATION), C_ECHO, {"AffectedSOPClassUID": VERIFICATION}).status

    # -- C-STORE --

    def send_store(
        self,
        dataset: bytes,
        sop_class: str,
        sop_instance: str,
        context_id: int | None = None,
        *,
        command_uid: str | None = None,
        command_class: str | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> int:
        """Send a C-STORE and do not wait; returns its message id.

        `command_uid` and `command_class` replace what the command set says; the context may be one that was refused.
        """
        context = self.context_of(sop_class) if context_id is None else context_id
        number = self.journal.sent(sop_instance, dataset) if self.journal else None
        originator, originator_id = move_originator or (None, None)
        command = {
            "AffectedSOPClassUID": command_class if command_class is not None else sop_class,
            "AffectedSOPInstanceUID": command_uid if command_uid is not None else sop_instance,
            "Priority": 0,
            "MoveOriginatorApplicationEntityTitle": originator,
            "MoveOriginatorMessageID": originator_id,
        }
        message_id = next(self._ids)
        if number is not None:
            self._journal_numbers[message_id] = number
        self.channel.send_message(context, {"CommandField": C_STORE, "MessageID": message_id, **command}, dataset)
        return message_id

    def store(
        self,
        dataset: bytes,
        sop_class: str,
        sop_instance: str,
        context_id: int | None = None,
        *,
        command_uid: str | None = None,
        command_class: str | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> int:
        """Send a C-STORE and return its status; the Error Comment is in `last_error_comment`."""
        self.send_store(
            dataset,
            sop_class,
            sop_instance,
            context_id,
            command_uid=command_uid,
            command_class=command_class,
            move_originator=move_originator,
        )
        return self.read_response().status

    def send_sample(self, sample: Sample) -> int:
        """Store a sample in its own transfer syntax; NotAccepted when the peer took it in no such context."""
        context = self.context_of(sample.sop_class, sample.transfer_syntax)
        return self.store(sample.dataset, sample.sop_class, sample.sop_instance, context)

    # -- query and retrieve --

    def find(self, model_uid: str, identifier: bytes, *, cancel_after: int | None = None) -> list[tuple[int, bytes]]:
        """Every response in order, the final one included: (status, Identifier, or b"" where there is none)."""
        asked = self._query(C_FIND, model_uid, identifier)
        responses: list[tuple[int, bytes]] = []
        while True:
            response = self.read_response()
            responses.append((response.status, response.dataset or b""))
            if response.status not in _PENDING:
                return responses
            if len(responses) == cancel_after:
                self.cancel(asked, model_uid)

    def move(self, model_uid: str, identifier: bytes, destination: str) -> list[dict[str, Any]]:
        """Every response in order: status, remaining, completed, failed, warning (or None), identifier, comment."""
        self._query(C_MOVE, model_uid, identifier, MoveDestination=destination)
        responses = []
        while True:
            responses.append(_progress(self.read_response()))
            if responses[-1]["status"] not in _PENDING:
                return responses

    def get(
        self, model_uid: str, identifier: bytes, answer: Callable[[Message], int] | None = None
    ) -> tuple[list[dict[str, Any]], list[Message]]:
        """C-GET: the responses as for `move`, and the C-STORE requests that arrived, answered by `answer` (0000H)."""
        self._query(C_GET, model_uid, identifier)
        responses: list[dict[str, Any]] = []
        stored: list[Message] = []
        while True:
            message = self._read()
            if message["CommandField"] == C_STORE:
                stored.append(message)
                self._answer_store(message, answer(message) if answer else 0)
                continue
            responses.append(_progress(Response(0, int(message["Status"]), message.command, message.dataset)))
            if responses[-1]["status"] not in _PENDING:
                return responses, stored

    def _answer_store(self, message: Message, status: int) -> None:
        command = {
            "CommandField": C_STORE | RESPONSE,
            "MessageIDBeingRespondedTo": message["MessageID"],
            "AffectedSOPClassUID": message["AffectedSOPClassUID"],
            "AffectedSOPInstanceUID": message["AffectedSOPInstanceUID"],
            "Status": status,
        }
        self.channel.send_message(message.context, command)

    def _query(self, field_: int, model_uid: str, identifier: bytes, **more: Value) -> int:
        command = {"AffectedSOPClassUID": model_uid, "Priority": 0, **more}
        return self.send(self.context_of(model_uid), field_, command, identifier)

    def cancel(self, message_id: int, model_uid: str | None = None) -> None:
        """C-CANCEL of a request in flight, on the context of `model_uid` (default: the first one accepted)."""
        context = self.context_of(model_uid) if model_uid else min(self.accepted)
        self.channel.send_message(context, {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": message_id})

    # -- ends --

    def release(self) -> None:
        """Release in good order; what the peer still sends before it confirms is read and dropped."""
        self.channel.send_raw(pdu(RELEASE_RQ, bytes(4)))
        with contextlib.suppress(Closed):
            while self.channel.recv_pdu()[0] != RELEASE_RP:
                pass
        self.channel.close()

    def abort(self, *, reset: bool = False) -> None:
        """A-ABORT and close; with `reset`, no A-ABORT but a TCP RST, as when a machine's power fails."""
        if not reset:
            with contextlib.suppress(WireError, OSError):
                self.channel.send_raw(pdu(ABORT, bytes(4)))
        self.channel.close(reset=reset)

    def send_raw(self, raw: bytes) -> None:
        self.channel.send_raw(raw)

    def recv_pdu(self) -> tuple[int, bytes]:
        return self.channel.recv_pdu()


def _progress(response: Response) -> dict[str, Any]:
    counts = {
        name.lower(): response.command.get(f"NumberOf{name}Suboperations")
        for name in ("Remaining", "Completed", "Failed", "Warning")
    }
    comment = response.command.get("ErrorComment", "")
    return {"status": response.status, **counts, "identifier": response.dataset or b"", "comment": comment}


def echo(host: str, port: int, called: str, calling: str = "TESTWIRE", **options: Any) -> int:
    """Associate, C-ECHO, release: the status."""
    with Association(host, port, called, calling, **options) as association:
        return association.echo()


def contexts_for(samples: Iterable[Sample]) -> list[tuple[str, list[str]]]:
    """One context for each pair of SOP class and transfer syntax among the samples, in the order they appear."""
    pairs = dict.fromkeys((sample.sop_class, sample.transfer_syntax) for sample in samples)
    return [(sop_class, [syntax]) for sop_class, syntax in pairs]


def send_file(host: str, port: int, called: str, calling: str, path: Path, **options: Any) -> int:
    """Send one file in exactly its own class and syntax, its dataset byte for byte; returns the status."""
    return send_files(host, port, called, calling, [path], **options)[path]


def send_files(
    host: str, port: int, called: str, calling: str, paths: Sequence[Path], **options: Any
) -> dict[Path, int]:
    """Send files over one association, each in its own class and syntax (128 pairs at most): path → status."""
    samples = {path: read_sample(path) for path in paths}
    with Association(host, port, called, calling, contexts_for(samples.values()), **options) as association:
        return {path: association.send_sample(sample) for path, sample in samples.items()}
