"""store/testimony.py: what patients have said is told again by the audit trail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.operations import consent
from dicomnode.operations.ports import Node
from dicomnode.rules import patients
from dicomnode.store import consents, testimony
from dicomnode.store.consents import Subject, Word
from dicomnode.store.database import execute, rows
from tests import fakes
from tests.samples import make_instances

SITES = ["harbour", "peak"]


@pytest.fixture
def said(here: Node) -> Node:
    """A patient has withdrawn consent, and given it again."""
    fakes.receive_all(here, make_instances(1, seed="said", PatientID="A1"))
    fakes.complete(here)
    consent.withdraw([1], "no", "bob", here)
    fakes.receive_all(here, make_instances(1, seed="said later", PatientID="A1"))
    fakes.complete(here)
    consent.give([2], "form 7", "anna", here)
    return here


def words(node: Node) -> list[tuple[object, ...]]:
    with node.database.read():
        return rows("SELECT at, referral, patient, issuer, site, given, text, who FROM consents ORDER BY id")


def restore(node: Node) -> int:
    return node.database.write(lambda: testimony.restore(SITES))


def forget(node: Node, which: str) -> None:
    node.database.write(lambda: execute(f"DELETE FROM consents WHERE {which}"))


@pytest.mark.parametrize(("lost", "count"), [("1", 2), ("given", 1), ("NOT given", 1), ("0", 0)])
def test_what_was_said_is_said_again_in_its_order(said: Node, lost: str, count: int) -> None:
    before = words(said)
    forget(said, lost)
    assert restore(said) == count
    assert words(said) == before
    assert restore(said) == 0


def test_whose_site_nobody_knows_is_everybody_s(said: Node) -> None:
    forget(said, "1")
    with said.database.read():
        execute("PRAGMA foreign_keys = OFF")
        execute("UPDATE studies SET study_instance_uid = 'lost ' || id")
        execute("UPDATE referrals SET id = id + 100")
        assert testimony.restore(SITES) == 2
    assert [site for *_, site, _, _, _ in words(said)] == [*SITES, *SITES]
    with said.database.read():
        about = [Subject(patients.id_key("A1"), patients.issuer_key("HARBOUR"), site) for site in SITES]
        assert [consents.last([each]) for each in about] == [Word(2, said.clock(), True, "form 7", "anna")] * 2


def test_a_withdrawal_is_about_all_whom_the_study_names(here: Node) -> None:
    for at, patient in enumerate(("A1", "B1"), 1):
        fakes.receive(here, make_instances(at, seed="both", PatientID=patient)[-1])
    fakes.complete(here)
    consent.withdraw([1], "no", "bob", here)
    before = words(here)
    assert len(before) == 2
    forget(here, "patient = 'B1'")
    assert restore(here) == 1
    assert words(here) == before


def test_only_what_is_not_sent_is_held(said: Node) -> None:
    def held(concerns: Callable[[int, str, list[str]], bool]) -> list[int]:
        return said.database.write(lambda: testimony.hold(concerns, "why"))

    assert held(lambda study, partner, routes: (study, partner, routes) == (2, "PUB", [])) == []
    assert held(lambda study, partner, routes: (partner, routes) == ("PUBPACS", ["referrals"])) == [2]
    said.database.write(lambda: execute("UPDATE referrals SET progress = 'sent', hold = ''"))
    assert held(lambda *_: True) == []
