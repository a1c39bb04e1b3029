"""store/doubts.py: what is in doubt about a study, whether or not it is referred, and which versions wait."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import database, doubts, ledger, migrations
from dicomnode.store.database import execute, rows
from tests import fakes
from tests.samples import make_instances

MADE = make_instances(2, seed="doubts")
RENAMED = make_instances(2, seed="doubts", PatientName="NEW^NAME")


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances that nobody refers."""
    fakes.receive_all(here, MADE, called="REFERNODE")
    return here


def test_a_doubt_keeps_its_first_reason(node: Node) -> None:
    for doubt in (doubts.quarantine, doubts.correct):
        for reason in ("first", "second"):
            node.database.write(lambda doubt=doubt, why=f"{doubt.__name__} {reason}": doubt(1, why))
    node.database.write(lambda: doubts.remark(1, "look"))
    with node.database.read():
        found = doubts.of(1)
        assert doubts.is_corrected(1)
    assert found
    assert (found.state, found.reason) == ("quarantined", "quarantine first; correct first; look")


def test_what_is_in_doubt_is_listed_the_newest_first_referred_or_not(node: Node) -> None:
    with node.database.read():
        assert doubts.listed(9) == []
        assert doubts.of(1) is None
    fakes.receive_all(node, make_instances(1, seed="more"))
    fakes.receive_all(node, make_instances(1, seed="more", PatientID="X"))
    fakes.receive_all(node, RENAMED, called="REFERNODE")
    with node.database.read():
        found = doubts.listed(9)
        assert doubts.listed(1) == found[:1]
    assert [(each.study, each.undecided, each.versions, each.referrals) for each in found] == [
        (2, 1, (2,), 1),
        (1, 2, (2,), 0),
    ]


def test_a_doubt_does_not_end_while_a_version_is_undecided(node: Node) -> None:
    fakes.receive_all(node, RENAMED, called="REFERNODE")
    assert not node.database.write(lambda: doubts.end(1))
    with node.database.read():
        versions = doubts.of_study(1, "harbour")
        assert versions == sorted(versions, key=lambda each: (each.version, each.id))
    undecided = [each for each in versions if each.undecided]
    assert [each.version for each in undecided] == [2, 2]
    node.database.write(lambda: [doubts.reject(each) for each in undecided])
    assert node.database.write(lambda: doubts.end(1))
    with node.database.read():
        assert doubts.of(1) is None


def test_the_studies_of_an_instance(node: Node) -> None:
    with node.database.read():
        assert doubts.studies_of(MADE[0].sop_instance, None) == {1: "harbour"}
        assert doubts.studies_of("1.2.3", 1) == {1: "harbour"}


def test_a_version_that_a_partner_has_is_not_led_again(node: Node) -> None:
    """It is the last that the partner got."""
    fakes.receive_all(node, MADE)
    node.database.write(lambda: execute("UPDATE transfers SET state = 'delivered', finished_at = 5"))
    with node.database.read():
        (version,) = doubts.of_instance(MADE[0].sop_instance)
    assert not node.database.write(lambda: doubts.lead_again(version, "PUBPACS", 9))
    with node.database.read():
        assert {each.state for each in ledger.listed(9)} == {"delivered"}


def test_what_an_older_version_quarantined_is_undecided(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was held by a person stays so, apart from what no partner was found for."""
    folder = node.archive.root / "older"
    old = [step for step in migrations.steps() if step[0] < "m0003"]
    monkeypatch.setattr(migrations, "steps", lambda: old)
    older = database.Database(folder / "index.sqlite")
    assert older.migrate() == [name for name, _ in old]
    monkeypatch.undo()

    def filled() -> None:
        for table, values in (
            ("studies", {"study_instance_uid": "1.2", "quarantine": "which?"}),
            ("series", {"study": 1, "series_instance_uid": "1.2.1"}),
            ("instances", {"series": 1, "sop_instance_uid": "1.2.3", "version": 1, "kind": "new", "file": "a"}),
            ("instances", {"series": 1, "sop_instance_uid": "1.2.3", "version": 2, "kind": "correction", "file": "b"}),
            ("referrals", {"study": 1, "partner": "A", "gate": "held", "reason": "wait"}),
            ("referrals", {"study": 1, "partner": "B", "gate": "held", "reason": "no partner B in the configuration"}),
        ):
            insert(table, values)

    older.write(filled)
    older.migrate()
    with older.read():
        assert rows("SELECT undecided FROM instances ORDER BY id") == [(0,), (1,)]
        assert rows("SELECT hold, stranded FROM referrals ORDER BY id") == [("wait", 0), ("", 1)]
    older.close()
    fakes.make_node(node.archive.root.parent).database.close()  # the index that the fixture has is open again


def insert(table: str, values: dict[str, object]) -> None:
    """A row in which all that is not given is 0, which SQLite takes for text too."""
    needed = [row[1] for row in rows(f"PRAGMA table_info({table})") if row[3] and row[4] is None]
    given = dict.fromkeys(needed, 0) | values
    marks = ", ".join("?" * len(given))
    execute(f"INSERT INTO {table} ({', '.join(given)}) VALUES ({marks})", *given.values())
