"""store/damaged.py: an index that was found damaged is not written to, by anybody, until it was made anew."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from dicomnode.errors import IndexDamaged, OutOfResources
from dicomnode.operations import forward
from dicomnode.operations.ports import Node
from dicomnode.store import damaged
from dicomnode.store.database import Database, execute, one, rows
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

_SENTENCE = "the index is damaged: stop the node and run `dicomnode reindex`"


@pytest.fixture
def harmed(build: Callable[..., Node]) -> Node:
    """A node in whose index the page is lost that every instance is looked up in; nobody has met it yet."""
    node = build()
    fakes.receive_all(node, make_instances(3))
    fakes.complete(node)
    with node.database.read():
        (root,) = one("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_instances_2'")
    node.database.checkpoint()
    with node.database.path.open("r+b") as index:
        index.seek((root - 1) * 4096)
        index.write(os.urandom(4096))
    return build()  # with what is in no cache


def test_the_first_error_refuses_with_what_to_do(harmed: Node) -> None:
    kept = fakes.files(harmed)
    with pytest.raises(IndexDamaged) as refused:
        fakes.receive(harmed, make_instances(1, seed="new")[0])
    assert str(refused.value) == _SENTENCE
    assert len(_SENTENCE) <= 64  # an Error Comment (0000,0902) is LO
    assert refused.value.status == 0xA700
    assert fakes.files(harmed) == kept
    assert damaged.reason(harmed.database.path) == "database disk image is malformed"


def test_from_then_on_nothing_is_taken_or_sent(harmed: Node) -> None:
    with pytest.raises(OutOfResources):
        fakes.receive(harmed, make_instances(1, seed="new")[0])
    with pytest.raises(IndexDamaged):
        harmed.database.write(lambda: execute("UPDATE studies SET remark = 'what touches no damaged page'"))
    peer = FakePartner()
    with pytest.raises(IndexDamaged):
        forward.forward(harmed.config.partners["PUBPACS"], peer, harmed, lambda: False)
    assert peer.uids == []
    with harmed.database.read():
        assert rows("SELECT count(*) FROM studies") == [(1,)]  # what can be read is answered


def test_another_process_and_the_next_start_know_it(harmed: Node) -> None:
    with pytest.raises(IndexDamaged):
        fakes.receive(harmed, make_instances(1, seed="new")[0])
    again = Database(harmed.database.path)
    with pytest.raises(IndexDamaged):
        again.migrate()
    with pytest.raises(IndexDamaged):
        damaged.check_start(again.path)
    again.close()


def test_no_database_at_all(here: Node) -> None:
    here.database.path.write_bytes(b"overwritten by a backup tool" * 500)
    again = Database(here.database.path)
    with pytest.raises(IndexDamaged), again.read():
        rows("SELECT 1 FROM instances")
    assert damaged.reason(again.path) == "file is not a database"
    again.close()


def test_an_error_that_is_no_damage_marks_nothing(here: Node) -> None:
    with pytest.raises(OutOfResources):
        here.database.write(lambda: execute("INSERT INTO nothing VALUES (1)"))
    with pytest.raises(OutOfResources), here.database.read():
        rows("SELECT no_column FROM studies")
    assert damaged.reason(here.database.path) == ""


def test_a_first_start_and_one_without_instances_are_let_through(here: Node) -> None:
    damaged.check_start(here.database.path)
    here.database.path.unlink()
    damaged.check_start(here.database.path)
