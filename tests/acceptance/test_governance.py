"""How many associations a node takes: over all its processes, through crashes and reloads, in clear and over TLS."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.run.scoreboard import Scoreboard
from tests.certificates import Authority
from tests.integration.kit import rows
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.samples import make_instances
from tests.upper_layer import IMPLICIT_LE, VERIFICATION
from tests.wire import Aborted, Association, Closed, Rejected, contexts_for

LIGHT = [(VERIFICATION, [IMPLICIT_LE])]
STORING = contexts_for(make_instances(1))
FULL = (2, 3, 2)
"""Rejected-transient, by the presentation-related provider, local limit exceeded (PS3.8 9.3.4)."""
KEPT = "the last are kept for echo and query"
made: list[Association] = []
"""What the test that is running has open."""


@pytest.fixture(scope="module")
def secure() -> int:
    """The port for TLS."""
    return free_port()


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], authority: Authority, secure: int) -> Node:
    """Three acceptors and six slots, of which one is kept; PEAK_CT may have two of them."""
    tls = authority.issue("node").node(f"{LOCAL}:{secure}")
    changes = {"node": {"limits": {"associations": 6, "drain": "1s"}}, "partners": {"PEAK_CT": {"max_associations": 2}}}
    return start_node(changed(default_config(acceptors=3, tls=tls), changes))


@pytest.fixture
def it(node: Node) -> Iterator[Node]:
    """The node, without any association; what a test leaves open is closed with the test."""
    node.wait_until(is_empty(node), 15, "the associations of others to be over")
    yield node
    for each in made:
        each.channel.close()
    made.clear()


@contextmanager
def scoreboard(node: Node) -> Iterator[Scoreboard]:
    """The scoreboard of a running node, found among the descriptors of its supervisor."""
    assert node.process
    folder = Path(f"/proc/{node.process.pid}/fd")
    memory = next(link for link in folder.iterdir() if "memfd:scoreboard" in os.readlink(link))
    descriptor = os.open(memory, os.O_RDWR)
    yield Scoreboard(descriptor)
    os.close(descriptor)


def is_empty(node: Node) -> Callable[[], bool]:
    def nobody() -> bool:
        with scoreboard(node) as board:
            return not board.counts

    return nobody


def rejected(node: Node, contexts: Any = STORING, calling: str = "CT1", **options: Any) -> tuple[int, int, int] | None:
    """How an association was rejected; None: it was not, and is open."""
    try:
        made.append(node.associate(calling, contexts, **options))
    except Rejected as error:
        return error.result, error.source, error.reason
    return None


def fill(node: Node) -> None:
    """All slots but the one that is kept."""
    assert [rejected(node) for _ in range(5)] == [None] * 5


def test_all_acceptors_count_together_and_keep_room_for_an_echo(it: Node) -> None:
    fill(it)
    assert rejected(it) == FULL
    assert rejected(it, LIGHT) is None
    assert made[-1].echo() == 0
    assert rejected(it, LIGHT) == FULL
    it.wait_until(lambda: len(rows(it, "SELECT 1 FROM refusals")) == 2, 5, "the refusals to be recorded")
    whys = {row["why"]: row["yaml"] for row in it.cli("partners", "refused", json=True)}
    assert whys == dict.fromkeys(("too many associations", f"too many associations: {KEPT}"))
    for each in made[:2]:
        each.release()
    it.wait_until(lambda: rejected(it) is None, 5, "a slot that was given back")


def test_a_partner_has_no_more_than_its_own(it: Node) -> None:
    assert [rejected(it, calling="PEAK_CT") for _ in range(2)] == [None, None]
    assert rejected(it, LIGHT, "PEAK_CT") == FULL
    assert rejected(it) is None


def test_both_sockets_count_together(it: Node, secure: int, authority: Authority) -> None:
    line = f"serving REFERNODE on {LOCAL}:{it.port} and {LOCAL}:{secure} (TLS)"
    it.wait_until(lambda: line in it.log.read_text(), 5, "the line that says where it listens")
    peer = authority.issue("peer").context()

    def over_tls() -> Association:
        return Association(LOCAL, secure, it.ae_title, "CT1", STORING, wrap=peer.wrap_socket)

    made.extend(over_tls() for _ in range(3))
    assert [rejected(it), rejected(it), rejected(it)] == [None, None, FULL]
    with pytest.raises(Rejected):
        over_tls()


def test_what_a_killed_acceptor_had_open_is_nobody_s(it: Node) -> None:
    """And the housekeeper, who sleeps, hears of it."""
    fill(it)
    locks = _locks(it)
    before = it.kill("acceptor")
    it.wait_until(lambda: len(locks - _locks(it)) == 3, 5, "the burial of three")
    it.wait_until(lambda: _others(it, before), 15, "other acceptors")
    fill(it)
    assert rejected(it) == FULL


def _locks(node: Node) -> set[Path]:
    return set((node.data / "run").glob("*.lock"))


def _others(node: Node, before: list[int]) -> bool:
    now = node.pids().get("acceptor", [])
    return len(now) == len(before) and not set(now) & set(before)


def test_what_is_open_with_an_acceptor_that_drains_counts(it: Node) -> None:
    fill(it)
    before = it.pids()["acceptor"]
    assert it.cli("reload").code == 0
    assert rejected(it) == FULL
    it.wait_until(lambda: _others(it, before), 15, "the end of the drain")
    with pytest.raises((Aborted, Closed)):
        made[0].recv_pdu()
    it.wait_until(lambda: rejected(it) is None, 5, "the slots of those who were aborted")


def test_who_only_connects_leaves_no_trace_but_a_counter(it: Node) -> None:
    with scoreboard(it) as board:
        log, before = _heard_by_acceptors(it), board.touches
        for _ in range(5):
            socket.create_connection((LOCAL, it.port)).close()
        it.wait_until(lambda: board.touches == before + 5, 5, "five touches")
    assert _heard_by_acceptors(it) == log


def _heard_by_acceptors(node: Node) -> list[str]:
    """Their lines in the log, but those of their own beginning and end, which may come late after a reload."""
    lines = [line for line in node.log.read_text().splitlines() if " acceptor[" in line]
    return [line for line in lines if " started worker=" not in line and " ended " not in line]


def test_where_a_node_listens_is_changed_by_a_restart(it: Node) -> None:
    sound = it.config
    for tls in ({"bind": f"{LOCAL}:{free_port()}"}, None):
        it.configure(changed(sound, {"node": {"tls": tls}}))
        done = it.cli("reload")
        assert done.code == 2
        assert "node.tls.bind" in done.err
        assert "restart" in done.err
    it.configure(sound)
