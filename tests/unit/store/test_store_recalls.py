"""store/recalls.py, consents.py and rejections.py: what they keep outlives a damaged index, as its gates do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.operations import consent, withdraw
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.operations.reindex import reindex
from dicomnode.store import consents, gates, recalls, referrals, salvage
from dicomnode.store.consents import Subject
from dicomnode.store.database import execute, one, rows
from dicomnode.store.recalls import Failure, State, Withdrawal
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

HOW = Withdrawal("alice", "the wrong patient", "patient", "note")


def send(node: Node) -> Node:
    """Receive a study of three instances, and have PUBPACS take it."""
    fakes.receive_all(node, make_instances(3, seed="recalls", PatientID="A1"))
    fakes.complete(node)
    while forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False):
        pass
    return node


@pytest.fixture
def node(here: Node) -> Node:
    """A study of three instances that PUBPACS has."""
    return send(here)


def test_what_was_called_back_once_is_not_called_back_again(node: Node) -> None:
    assert node.database.write(lambda: recalls.withdraw(1, HOW, 5)) == 3
    assert node.database.write(lambda: recalls.follow(1, 6)) == 0
    with node.database.read():
        assert [each.instances for each in recalls.of(1)] == [3]


def test_what_goes_after_a_note_has_a_note_of_its_own(node: Node) -> None:
    node.database.write(lambda: execute("UPDATE transfers SET state = 'active' WHERE id = 3"))
    assert node.database.write(lambda: recalls.withdraw(1, HOW, 5)) == 2
    node.database.write(lambda: execute("UPDATE transfers SET state = 'delivered' WHERE id = 3"))
    assert node.database.write(lambda: recalls.follow(1, 6)) == 1
    with node.database.read():
        first, second = recalls.of(1)
        named = [[each.sop_instance_uid for each in recalls.instances(row.id)] for row in (first, second)]
    assert (first.state, second.state, second.reason, second.code) == ("waiting", "waiting", HOW.reason, HOW.code)
    assert first.sop_instance_uid != second.sop_instance_uid
    assert sorted(map(len, named)) == [1, 2]


def test_what_is_not_withdrawn_is_never_called_back(node: Node) -> None:
    assert node.database.write(lambda: recalls.follow(1, 6)) == 0
    with node.database.read():
        assert (recalls.of(1), recalls.is_withdrawn(1), recalls.due("PUBPACS", 9)) == ([], False, None)


def test_a_failure_is_remembered_and_the_next_is_due_then(node: Node) -> None:
    node.database.write(lambda: recalls.withdraw(1, HOW, 5))
    node.database.write(lambda: recalls.failed(1, Failure("refused", 90, 0xC000, True, 7)))
    with node.database.read():
        (row,) = recalls.of(1)
        assert (recalls.due("PUBPACS", 9), recalls.next_due("PUBPACS", 89)) == (90, None)
        assert recalls.next_due("PUBPACS", 90) == row
        assert recalls.due("ISLPACS", 9) is None
    assert (row.why, row.last_status, row.refused, row.failing_since, row.attempts) == ("refused", 0xC000, 1, 7, 1)
    node.database.write(lambda: recalls.failed(1, Failure("lost", None, None, False, 7)))
    with node.database.read():
        (row,) = recalls.of(1)
    assert (row.state, row.refused, row.attempts) == (State.HELD, 0, 2)


def test_the_index_that_is_searched_for_notes_has_only_those_that_wait(node: Node) -> None:
    with node.database.read():
        plan = rows("EXPLAIN QUERY PLAN SELECT min(due_at) FROM recalls WHERE partner = ? AND state = 'waiting'", "X")
    assert "recalls_waiting" in plan[0][3]


# -- whatever becomes of the index -----------------------------------------------------------------------------


@contextmanager
def another(folder: Path) -> Iterator[Node]:
    """A node of its own; one at a time."""
    node = fakes.make_node(folder)
    try:
        yield node
    finally:
        node.database.close()


def test_an_index_that_is_made_anew_has_all_of_it(tmp_path: Path) -> None:
    with another(tmp_path) as old:
        consent.withdraw([1], "by telephone", "bob", send(old))
        config = old.config
    reindex(config, lambda *_: None)
    with another(tmp_path) as new, new.database.read():
        known, word = referrals.get(1), consents.last([Subject("A1", "harbour", "harbour")])
        assert (known and known.gate, recalls.is_withdrawn(1), word and word.given) == ("recalling", True, False)
        assert [each.instances for each in recalls.of(1)] == [3]


@pytest.mark.parametrize("gate", ["withdrawn", "recalling", "recalled"])
def test_a_referral_of_which_only_its_gate_is_known_stays_closed(
    tmp_path: Path, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with another(tmp_path) as old:
        withdraw.withdraw([1], "the wrong patient", "alice", send(old))
        old.database.write(lambda: execute("UPDATE referrals SET gate = ?", gate))
        config = old.config
    copy = salvage._Table._copy

    def unreadable(self: salvage._Table, low: int, high: int) -> None:
        if self._name == "referrals":
            self._lost.update(range(low, high + 1))
        else:
            copy(self, low, high)

    monkeypatch.setattr(salvage._Table, "_copy", unreadable)
    reindex(config, lambda *_: None)
    with another(tmp_path) as new:
        new.database.write(lambda: gates.weigh(1))
        with new.database.read():
            assert one("SELECT gate, withdrawn != '' FROM referrals WHERE id = 1") == (gate, 1)


def test_an_index_of_before_is_brought_up_to_date(tmp_path: Path) -> None:
    with another(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "data/index.sqlite") as old:
        for table in ("consents", "recall_instances", "recalls", "rejections"):
            old.execute(f"DROP TABLE {table}")
        old.execute("ALTER TABLE referrals DROP COLUMN sent_as")
        old.execute("DELETE FROM migrations WHERE name = 'm0008_recall'")
    old.close()
    with another(tmp_path) as again, again.database.read():
        assert recalls.of(1) == consents.of(1) == []
