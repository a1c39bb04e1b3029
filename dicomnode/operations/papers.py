"""The story of certificates: they end, and are renewed under a node that runs. A person is told in time.

Of our own, of our authorities' and of the list of the revoked, an alarm of the audit trail comes 30, 14, 7 and 1 days
before the end and at the end, each once, over restarts too; of a partner's, when it is seen. New files are taken into
use by whoever needs them (net/tls.py); here it is recorded that there are new ones, or, as an alarm, that those cannot
be used and the old ones stay.

What may fail: OutOfResources, where the index cannot be read or written: the next look is soon.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator

from dicomnode.config import certificates
from dicomnode.config.model import NodeConfig
from dicomnode.config.parts import Tls
from dicomnode.errors import OutOfResources
from dicomnode.operations.ports import Node
from dicomnode.rules import validity
from dicomnode.rules.admission import Shown
from dicomnode.store import audit, space
from dicomnode.store.audit import Event

log = logging.getLogger(__name__)

_MINUTE = 60.0
_KINDS = 100
"""More than there are distances: an end and a distance are kept as one number."""


class Papers:
    """What one housekeeper knows of `node.tls`. `timer` is a clock that nobody can set, in seconds."""

    def __init__(self, node: Node, timer: Callable[[], float] = time.monotonic) -> None:
        self._node, self._timer = node, timer
        tls = node.config.node.tls
        self._known = certificates.state(tls) if tls else ()
        self._look_at = -math.inf

    def __repr__(self) -> str:
        return f"Papers({self._node.config.node.tls})"

    def look(self) -> None:
        """One round; does nothing but once a minute."""
        tls, now = self._node.config.node.tls, self._timer()
        if tls is None or now < self._look_at:
            return
        self._compare(tls)
        for paper in _ends(tls):
            tell(paper.key, str(paper), paper.until, self._node)
        self._look_at = now + _MINUTE

    def _compare(self, tls: Tls) -> None:
        """Write down that there are new files, and what is wrong with them."""
        found = certificates.state(tls)
        if found == self._known:
            return
        faults = "; ".join(f"node.tls.{key}: {why}" for key, why in certificates.faults(tls))
        kind = "certificate files refused" if faults else "certificate files renewed"
        text = f"those in use stay: {faults}" if faults else "who connects from now on is shown the new ones"
        node = self._node
        event = Event(node.clock(), kind, text, generation=node.generation, alarm=bool(faults))
        node.database.write(lambda: audit.record(event))
        self._known = found


def _ends(tls: Tls) -> list[certificates.Paper]:
    try:
        return certificates.papers(tls)
    except OSError:  # told by `_compare`, or when the configuration was read
        return []


def tell(key: str, what: str, until: int, node: Node, partner: str = "") -> None:
    """Write an alarm where the end of something (µs) has come within a distance of which nobody was told yet."""
    at = node.clock()
    step, mark = validity.step(until, at), f"end of {key} {partner}".strip()
    if step is None:
        return
    with node.database.read():
        end, told = divmod(space.mark(mark), _KINDS)
    seconds = until // 1_000_000
    if end == seconds and told <= step:
        return
    event = Event(at, "certificate ends", _said(what, until, step), partner, generation=node.generation, alarm=True)

    def written() -> None:
        space.put(mark, seconds * _KINDS + step)
        audit.record(event)

    log.warning("%s", event.text)
    node.database.write(written)


def _said(what: str, until: int, step: int) -> str:
    day = certificates.last_day(until)
    if step:
        return f"{what} ends on {day}: put a new one in its place"
    return f"{what} has ended on {day}: nobody is connected over TLS by it until there is a new one"


def seen(partner: str, shown: Shown, node: Node) -> None:
    """A partner has shown a certificate: it may have several. That this cannot be written keeps nobody out."""
    try:
        tell(f"certificate {shown.spki}", f"the certificate that {partner} shows", shown.until, node, partner)
    except OutOfResources as error:
        log.error("the end of a certificate could not be recorded: %s", error)


def needs(config: NodeConfig, at: int) -> Iterator[str]:
    """Sentences about what has ended, or soon will (within 30 days of a time in µs), each with what to do."""
    tls = config.node.tls
    if tls is None:
        return
    faults = [f"node.tls.{key}: {why}" for key, why in certificates.faults(tls)]
    if faults:
        yield f"the certificate files cannot be used, and a node that is started now will not: {'; '.join(faults)}"
        return
    for paper in _ends(tls):
        step = validity.step(paper.until, at)
        if step is not None:
            yield _said(str(paper), paper.until, step)
