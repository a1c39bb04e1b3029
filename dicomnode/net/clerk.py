"""Who writes down whom the door has turned away, and what else happened there that is a security event.

`Clerk` does it for the porch, which waits for nobody, while the index may keep a writer waiting: one thread, and a
short queue. Of a flood it writes what it can: the rest is in the log alone. What is in the queue when it is told to end
is written if that is quick. A refusal stands, whether or not it could be written down.
"""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress

from dicomnode.config.model import Partner
from dicomnode.errors import DicomnodeError
from dicomnode.operations.ports import Node
from dicomnode.rules.admission import Caller, Refusal
from dicomnode.store import audit
from dicomnode.store.audit import Event, Refused

log = logging.getLogger(__name__)

_MOST = 100
_LAST_WORDS = 1.0
"""Seconds that its end may take."""


def refused(caller: Caller, refusal: Refusal, node: Node) -> None:
    """Somebody was turned away."""
    at, address = node.clock(), caller.address
    calling, called = _printed(caller.calling_ae_title), _printed(caller.called_ae_title)
    spki = caller.shown.spki if caller.shown else ""
    log.warning("refused from=%s@%s called=%s: %s", calling, address, called, refusal.why)
    _write(Refused(calling, called, address, refusal.why, 1, at, at, spki), node, _security(caller, refusal, node))


def _security(caller: Caller, refusal: Refusal, node: Node) -> Event | None:
    """The security event that a refusal is: of the partner that the caller says it is."""
    if not refusal.event:
        return None
    claimed = next(p.name for p in node.config.partners.values() if p.ae_title == caller.calling_ae_title)
    return Event(
        node.clock(),
        refusal.event,
        f"{caller.address} called as {claimed}, and {refusal.why}",
        claimed,
        generation=node.generation,
        alarm=True,
        address=caller.address,
        outcome=8,
    )


def storage_refused(partner: Partner, node: Node) -> None:
    """A partner without the right proposed to store: a security event (the contexts are refused), once an hour."""
    text = f"{partner.name} of {partner.site} proposed to store, and may not"
    name = partner.name
    event = Event(node.clock(), "storage refused", text, name, generation=node.generation, who=name)
    node.database.write(lambda: audit.record_seldom(event))


def _write(refused: Refused, node: Node, event: Event | None = None) -> None:
    def noted() -> None:
        audit.refuse(refused, node.generation)
        if event:
            audit.record_seldom(event)

    try:
        node.database.write(noted)
    except DicomnodeError as error:
        log.error("a refusal could not be recorded: %s", error)


class Clerk:
    """Notes those who failed to speak TLS, from `start` to `stop`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._noted: queue.Queue[Refused | None] = queue.Queue(_MOST)
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)

    def __repr__(self) -> str:
        return f"Clerk({self._noted.qsize()} to write)"

    def start(self) -> None:
        """Begin to write; returns at once."""
        self._thread.start()

    def note(self, address: str, why: str) -> None:
        """A handshake failed; returns at once."""
        at = self._node.clock()
        with suppress(queue.Full):
            self._noted.put_nowait(Refused("", "", address, why, 1, at, at))

    def stop(self) -> None:
        """Write what is left, for a moment."""
        with suppress(queue.Full):
            self._noted.put_nowait(None)
        self._thread.join(_LAST_WORDS)

    def _run(self) -> None:
        while refused := self._noted.get():
            _write(refused, self._node)


def _printed(title: str) -> str:
    """An AE title of a stranger, safe to print."""
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in title)[:16]
