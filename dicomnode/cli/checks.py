"""What `doctor` looks at: a table of small functions, each of which says what it has found, and what to do about it.

None changes anything, but that `disk` keeps and removes one small file, and that `--deep` marks an index that it finds
damaged. None raises for what may be wrong with a node, a machine or a partner: to find that is what they are for.
"""

from __future__ import annotations

import resource
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dicomnode.cli import lane
from dicomnode.config import certificates
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.errors import DicomnodeError, OutOfResources, PartnerError
from dicomnode.operations import outbox, scrub
from dicomnode.operations.ports import Node, now
from dicomnode.rules import space
from dicomnode.run import premises
from dicomnode.store import damaged, integrity, lanes, ledger, overview
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database
from dicomnode.store.migrations import steps

_SOON = timedelta(days=30)
_DAY = 86_400_000_000
_BACK = 60_000_000
"""µs that the clock may be behind the newest instance: a minute of setting is no harm."""
_SAMPLE = 20
_SPARE = 256
"""Descriptors that a process needs besides those of its callers."""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, in words, and what to do; nothing where it is well."""

    check: str
    state: State
    text: str
    advice: str = ""


Said = tuple[State, str, str] | tuple[State, str]


@dataclass(frozen=True, slots=True)
class Patient:
    """The node that is looked at. `index` is None where there is none; `deep`: take your time."""

    config: NodeConfig
    archive: Archive
    index: Database | None
    deep: bool
    partners: bool


def disk(it: Patient) -> Iterator[Said]:
    """Space, and whether what is written there is kept."""
    if not it.archive.root.is_dir():
        yield State.WARNING, f"there is no folder {it.archive.root} yet", "the node makes it at its first start"
        return
    free, marks = it.archive.volume.free(), it.config.node.watermarks
    said = f"{space.amount(free)} free in {it.archive.root}"
    if space.room(marks, free) is space.Room.PLENTY:
        yield State.OK, said
    else:
        taken = "nothing is taken" if space.room(marks, free) is space.Room.NONE else "no new study is taken"
        yield State.PROBLEM, f"{said}: {taken}", "make room, or set node.retention"
    try:
        it.archive.volume.probe()
        yield State.OK, "it can be written to, syncs, and is one file system"
    except DicomnodeError as error:
        yield State.PROBLEM, str(error), "until then no instance can be taken"


def clock(it: Patient) -> Iterator[Said]:
    """Whether the clock was set back. Who keeps it right nobody here can know."""
    latest = 0
    if it.index:
        with it.index.read():
            latest = integrity.latest()
    at = datetime.fromtimestamp(now() / 1e6, UTC)
    if latest > now() + _BACK:
        text = f"it is {at:%Y-%m-%d %H:%M:%S} UTC, and the newest instance came later than that"
        yield State.PROBLEM, text, "set the clock, and have it kept by NTP (timedatectl)"
    else:
        yield State.OK, f"it is {at:%Y-%m-%d %H:%M:%S} UTC; see with timedatectl that NTP keeps it"


def sockets(it: Patient) -> Iterator[Said]:
    """Whether the node runs, and answers where it should; or whether it could."""
    serving = premises.running(it.config.node.data)
    if serving is None:
        yield State.WARNING, "the node is not running: nothing is received or sent", "`dicomnode serve` starts it"
    else:
        yield State.OK, f"the node is running (process {serving[0]}, generation {serving[1]})"
    for key, (host, port) in it.config.node.binds.items():
        yield _listens(host, port) if serving else _is_free(key, host, port)


def _listens(host: str, port: int) -> Said:
    try:
        with socket.create_connection((_local(host), port), timeout=2):
            return State.OK, f"it listens on {host}:{port}"
    except OSError as error:
        advice = "look at its log; if node.bind was changed, restart it"
        return State.PROBLEM, f"it does not answer on {host}:{port}: {error.strerror or error}", advice


def _local(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _is_free(key: str, host: str, port: int) -> Said:
    try:
        premises.bind(key, host, port).close()
    except DicomnodeError as error:
        return State.PROBLEM, str(error), "end what is there (`ss -ltnp` names it), or choose another port"
    return State.OK, f"{host}:{port} is free"


def papers(it: Patient) -> Iterator[Said]:
    """How long certificates are valid, and whether a start would take them."""
    if (tls := it.config.node.tls) is None:
        return
    for key, why in certificates.faults(tls):
        yield State.PROBLEM, f"node.tls.{key}: {why}", "the files in use stay until the node is started again"
    for paper in certificates.papers(tls):
        yield _valid(paper)


def _valid(paper: certificates.Paper) -> Said:
    until = certificates.last_day(paper.until)
    left, said = until - datetime.now(UTC).date(), f"{paper.what} ({paper.file.name}) is valid until {until}"
    if left > _SOON:
        return State.OK, said
    state = State.WARNING if left >= timedelta(0) else State.PROBLEM
    return state, f"{said}, {left.days} days from now", "put a new one in its place"


def schema(it: Patient) -> Iterator[Said]:
    """Whether the index is sound and of this version."""
    version = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < (3, 51, 3):
        version += " (has the WAL-reset fault, which the node goes round: let no other program write to the index)"
    yield State.OK, version
    if not it.index:
        yield State.WARNING, "there is no index yet", "the node makes one at its first start"
        return
    if why := damaged.reason(it.index.path):
        yield State.PROBLEM, f"the index is damaged: {why}", "stop the node and run `dicomnode reindex`"
        return
    known = {name for name, _ in steps()}
    with it.index.read():
        applied = set(integrity.steps_applied())
    if applied - known:
        yield State.PROBLEM, "the index is of a newer version of dicomnode", "run that version"
    elif known - applied:
        yield State.WARNING, f"{len(known - applied)} schema steps are to be applied", "the next start does it"
    else:
        yield State.OK, f"all {len(applied)} schema steps are applied"
    if it.deep:
        yield _index_deep(it.index)


def _index_deep(index: Database) -> Said:
    if wrong := scrub.fault(index):
        return State.PROBLEM, f"the index is damaged: {wrong}", "stop the node and run `dicomnode reindex`"
    return State.OK, "SQLite can read all of the index"


def queues(it: Patient) -> Iterator[Said]:
    """What waits, since when, and what waits for a person."""
    if not it.index:
        return
    node = Node(it.config, 0, it.archive, it.index)
    with it.index.read():
        shapes = [(each, lanes.paused(each.partner)) for each in ledger.shape()]
    for each, pause in shapes:
        waits = (now() - each.oldest) if each.oldest else 0
        said = f"{each.partner}: {each.queued + each.active} wait" + (f", the oldest {_span(waits)}" if waits else "")
        advice = f"`dicomnode queue list --partner {each.partner}` names them"
        yield (State.WARNING, said, advice) if waits > _DAY else (State.OK, said)
        if each.held:
            advice = f"`dicomnode queue list --partner {each.partner} --state held` says why"
            yield State.WARNING, f"{each.partner}: {each.held} are held, and wait for a person", advice
        if advice := lane.advice(each.partner, pause, node):
            said = f"{each.partner}: its lane is {lane.words(each.partner, pause, node)}: {lane.why(pause)}"
            yield State.WARNING, said, advice
    if not shapes:
        yield State.OK, "nothing was ever queued"


def _span(microseconds: int) -> str:
    return space.span(microseconds / 1e6)


def trail(it: Patient) -> Iterator[Said]:
    """Whether the audit trail gets to its collector."""
    if not it.index or not it.config.node.audit:
        return
    with it.index.read():
        waiting = outbox.backlog()
    said = f"{waiting.entries} entries wait for the collector"
    if waiting.failing_since:
        advice = "the node's log says why: its address, its certificate, or ours"
        yield State.PROBLEM, f"{said}, which has taken none for {_span(now() - waiting.failing_since)}", advice
    else:
        yield State.OK, said


def archive(it: Patient) -> Iterator[Said]:
    """Whether files are what was received: of all what the scrubber knows, and some again now."""
    if not it.index:
        return
    with it.index.read():
        known, some = overview.damaged(), integrity.sample(_SAMPLE * (50 if it.deep else 1))
    advice = "send their studies again from their sources; `dicomnode audit list` names them"
    if known:
        yield State.PROBLEM, f"{known} files are known to be damaged", advice
    for kept in some:
        wrong = integrity.look(kept, it.archive, lambda _: True)
        if wrong and not kept.damage:
            yield State.PROBLEM, f"{kept.file} is damaged: {wrong}", "send its study again from its source"
    yield State.OK, f"{len(some)} files were read, taken by chance"


def limits(it: Patient) -> Iterator[Said]:
    """Whether a process may have as many descriptors as callers may cost."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4 * it.config.node.limits.associations + _SPARE
    if most != resource.RLIM_INFINITY and most < needed:
        advice = f"give the node's user more (LimitNOFILE={needed} in its unit, or limits.conf)"
        yield State.WARNING, f"a process may open {most} files, and {needed} may be needed", advice
    else:
        yield State.OK, f"a process may open {most} files"


def partners(it: Patient) -> Iterator[Said]:
    """Whether everyone whom we call answers; all at once."""
    called = [each for each in it.config.partners.values() if each.is_destination] if it.partners else []
    every = [at for each in called for at in _places(each)]
    if every:
        with ThreadPoolExecutor(len(every)) as pool:
            yield from pool.map(lambda at: _call(at, it.config), every)


def _places(partner: Partner) -> list[Partner]:
    """The partner at each AE that we call: for storing, query and commitment."""
    return [partner, *(partner.at(called) for called in (partner.confirm.find, partner.confirm.commit) if called)]


def _call(partner: Partner, config: NodeConfig) -> Said:
    from dicomnode.net.requestor import Requestor  # loads slowly: only who calls pays

    who, (host, port) = f"{partner.name} ({partner.display})", (partner.host or "", partner.port or 0)
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        return State.PROBLEM, f"{who}: its host has no address: {error.strerror}", "correct partners.*.host, or DNS"
    began = time.monotonic()
    try:
        with closing(socket.create_connection((address, port), timeout=min(5.0, config.node.limits.connect))):
            connected = time.monotonic()
    except OSError as error:
        advice = "see that it runs, that its port is right, and that no firewall is between"
        return State.PROBLEM, f"{who}: no connection to {address}: {error.strerror or error}", advice
    try:
        Requestor(config).echo(partner)
    except PartnerError as error:
        advice = f"see that it knows {config.node.ae_title}, and answers to {partner.ae_title}"
        return State.PROBLEM, f"{who}: it can be reached, and does not answer a C-ECHO: {error}", advice
    times = f"TCP {1000 * (connected - began):.0f} ms, C-ECHO {1000 * (time.monotonic() - connected):.0f} ms"
    return State.OK, f"{who} answers: {times}"


CHECKS: dict[str, Callable[[Patient], Iterator[Said]]] = {
    "disk": disk,
    "clock": clock,
    "node": sockets,
    "limits": limits,
    "TLS": papers,
    "index": schema,
    "queue": queues,
    "audit": trail,
    "archive": archive,
    "partners": partners,
}


def examine(it: Patient) -> Iterator[Finding]:
    """All of it, in this order, as it is found."""
    for name, check in CHECKS.items():
        try:
            for state, text, *advice in check(it):
                yield Finding(name, state, text, *advice)
        except OutOfResources as error:
            yield Finding(name, State.PROBLEM, str(error), "see the lines above")
        except OSError as error:
            yield Finding(name, State.PROBLEM, f"cannot be looked at: {error}")
