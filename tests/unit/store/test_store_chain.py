"""store/chain.py: whatever is done to the trail behind the node's back is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import audit, chain, migrations
from dicomnode.store.audit import Event
from dicomnode.store.chain import Break, Head
from dicomnode.store.database import Database, execute, one
from dicomnode.store.salvage import salvage
from tests.fakes import START

ENTRIES = 6
OLD = (
    "INSERT INTO events (at, kind, partner, study_instance_uid, sop_instance_uid, generation, text)"
    " VALUES (1, 'lane changed', '', '', '', 0, 'old')"
)
"""As an entry was written before there was a chain."""


@pytest.fixture
def node(here: Node) -> Node:
    """A trail of so many entries."""
    for number in range(ENTRIES):
        event = Event(START + number, "lane changed", f"entry {number + 1}", "PUBPACS", who="anna", alarm=number == 3)
        here.database.write(lambda event=event: audit.record(event))
    return here


def breaks(node: Node, noted: Head | None = None) -> list[Break]:
    with node.database.read():
        return list(chain.verify(noted))


def head(node: Node) -> Head:
    with node.database.read():
        return chain.head()


def do(node: Node, *statements: str) -> None:
    for sql in statements:
        node.database.write(lambda sql=sql: execute(sql))


def test_a_trail_is_as_it_was_written(node: Node) -> None:
    assert breaks(node) == []
    assert head(node).id == ENTRIES
    assert len(head(node).digest) == 64
    assert breaks(node, head(node)) == []


SPOILS = {  # what is done behind the node's back → the number of the entry that is named first
    "a text is changed": ("UPDATE events SET text = 'nothing' WHERE id = 3", 3),
    "who did it is changed": ("UPDATE events SET who = 'bert' WHERE id = 2", 2),
    "a time is changed": ("UPDATE events SET at = at + 1 WHERE id = 5", 5),
    "an alarm is silenced": ("UPDATE events SET alarm = 0 WHERE id = 4", 4),
    "a partner is emptied": ("UPDATE events SET partner = '' WHERE id = 1", 1),
    "a digest is emptied": ("UPDATE events SET digest = '' WHERE id = 3", 3),
    "the first digests are emptied": ("UPDATE events SET digest = '' WHERE id < 3", 1),
    "every digest is emptied": ("UPDATE events SET digest = '', text = 'nothing'", 1),
    "an entry is deleted": ("DELETE FROM events WHERE id = 3", 3),
    "the first is deleted": ("DELETE FROM events WHERE id = 1", 1),
    "the last is deleted": (f"DELETE FROM events WHERE id = {ENTRIES}", ENTRIES),
    "the end is cut off": ("DELETE FROM events WHERE id > 2", 3),
    "all is deleted": ("DELETE FROM events", 1),
    "one is added at the end": (
        "INSERT INTO events (at, kind, partner, study_instance_uid, sop_instance_uid, generation, text)"
        " VALUES (1, 'lane changed', '', '', '', 0, 'it was allowed')",
        ENTRIES + 1,
    ),
}


@pytest.mark.parametrize("what", SPOILS)
def test_what_is_done_behind_the_node_s_back_is_named(node: Node, what: str) -> None:
    sql, first = SPOILS[what]
    do(node, sql)
    assert breaks(node)[0].id == first


def test_two_that_change_places_are_named(node: Node) -> None:
    do(node, "UPDATE events SET id = 99 WHERE id = 2", "UPDATE events SET id = 2 WHERE id = 3")
    do(node, "UPDATE events SET id = 3 WHERE id = 99")
    assert breaks(node)[0].id == 2


def test_one_that_is_put_between_moves_what_follows(node: Node) -> None:
    for number in (6, 5, 4, 3):
        do(node, f"UPDATE events SET id = {number + 1} WHERE id = {number}")
    do(
        node,
        "INSERT INTO events (id, at, kind, partner, study_instance_uid, sop_instance_uid, generation, text, digest)"
        " SELECT 3, at, kind, partner, '', '', 0, 'it was allowed', digest FROM events WHERE id = 2",
    )
    assert breaks(node)[0].id == 3


def test_one_that_is_changed_with_its_digest_breaks_the_next(node: Node) -> None:
    """Whoever knows how digests are made has to make all that follow anew."""

    def forged() -> None:
        content = one("SELECT digest FROM events WHERE id = 2")[0]
        columns = [name for name in audit._COLUMNS if name not in ("digest",)]
        row = dict(zip(columns, one(f"SELECT {', '.join(columns)} FROM events WHERE id = 3"), strict=True))
        row["text"] = "forged"
        execute("UPDATE events SET text = 'forged', digest = ? WHERE id = 3", chain._digest(content, row))

    node.database.write(forged)
    assert [each.id for each in breaks(node)] == [4]


def test_what_is_written_after_a_cut_does_not_hide_it(node: Node) -> None:
    do(node, f"DELETE FROM events WHERE id = {ENTRIES}")
    node.database.write(lambda: audit.record(Event(START, "lane changed", "after")))
    assert head(node).id == ENTRIES + 1
    assert [each.id for each in breaks(node)] == [ENTRIES]


def test_a_trail_that_was_made_anew_is_not_the_one_that_was_noted(node: Node) -> None:
    noted = head(node)
    do(node, "DELETE FROM events", "DELETE FROM sqlite_sequence WHERE name = 'events'")
    for number in range(ENTRIES):
        node.database.write(lambda number=number: audit.record(Event(START, "lane changed", f"forged {number}")))
    assert breaks(node) == []
    assert [each.id for each in breaks(node, noted)] == [ENTRIES]


def test_what_was_written_before_there_was_a_chain_is_counted(here: Node) -> None:
    do(here, OLD, OLD)
    here.database.write(chain.begin)
    assert breaks(here) == []
    here.database.write(lambda: audit.record(Event(START, "lane changed", "new")))
    with here.database.read():
        assert chain.unchained() == 2
    assert breaks(here) == []
    do(here, "UPDATE events SET digest = ''")
    assert [each.id for each in breaks(here)] == [3]


def test_what_was_not_committed_leaves_no_gap(node: Node) -> None:
    def failing() -> None:
        audit.record(Event(START, "lane changed", "never"))
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        node.database.write(failing)
    node.database.write(lambda: audit.record(Event(START, "lane changed", "after")))
    assert head(node).id == ENTRIES + 1
    assert breaks(node) == []


def test_a_column_of_a_later_version_changes_no_digest(node: Node) -> None:
    do(node, "ALTER TABLE events ADD COLUMN weather TEXT NOT NULL DEFAULT ''")
    assert breaks(node) == []


def test_another_index_goes_on_from_where_it_was(build: Callable[..., Node]) -> None:
    first = build()
    first.database.write(lambda: audit.record(Event(START, "lane changed", "one")))
    second = build()
    second.database.write(lambda: audit.record(Event(START, "lane changed", "two")))
    assert breaks(second) == []
    assert head(second).id == 2


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of before there was a chain, with two entries."""
    steps = migrations.steps()
    monkeypatch.setattr(migrations, "steps", lambda: [step for step in steps if step[0] < "m0009"])
    old = Database(tmp_path / "index.sqlite")
    old.migrate()
    for _ in range(2):
        old.write(lambda: execute(OLD))
    old.close()
    monkeypatch.undo()
    return tmp_path / "index.sqlite"


@pytest.mark.parametrize("is_salvaged", [False, True])
def test_an_index_of_before_remembers_where_the_chain_begins(before: Path, tmp_path: Path, is_salvaged: bool) -> None:
    database = Database(tmp_path / "new.sqlite" if is_salvaged else before)
    database.migrate()
    if is_salvaged:
        database.write(lambda: salvage(before, START, lambda _: None))
    database.write(lambda: audit.record(Event(START, "lane changed", "new")))
    with database.read():
        assert (chain.unchained(), list(chain.verify())) == (2, [])
    database.write(lambda: execute("UPDATE events SET digest = ''"))
    with database.read():
        assert [each.id for each in chain.verify()] == [3]
    database.close()
