"""operations/papers.py: a person is told in time that a certificate ends, once at each distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.config import certificates
from dicomnode.config.certificates import Paper
from dicomnode.operations import papers
from dicomnode.operations.papers import Papers
from dicomnode.operations.ports import Node
from dicomnode.rules.admission import Shown
from dicomnode.store import audit
from dicomnode.store.audit import Event
from tests import fakes
from tests.certificates import Authority, Identity
from tests.fakes import SECOND, FakeClock

DAY = 86400


@pytest.fixture(scope="module")
def own(authority: Authority) -> Identity:
    return authority.issue("papers-node", days=40)


@pytest.fixture
def node(build: Callable[..., Node], own: Identity) -> Node:
    files = f"certificate: {own.certificate}, key: {own.key}, ca: {own.ca}"
    return build(fakes.CONFIG.replace("data: ./data,", f"data: ./data, tls: {{bind: '127.0.0.1:2762', {files}}},"))


def told(node: Node, kind: str = "certificate") -> list[Event]:
    with node.database.read():
        return [event for event in audit.events() if event.kind.startswith(kind)]


class House:
    """A housekeeper's look at papers that end at the moments that a test gives them."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch, **ends: float) -> None:
        """`ends`: days from now."""
        self.node, self.now, at = node, 0.0, node.clock()
        self.ends = {key: at + round(days * DAY * SECOND) for key, days in ends.items()}
        monkeypatch.setattr(certificates, "papers", lambda _: [
            Paper(key, f"the {key}", Path(f"/{key}.pem"), until) for key, until in self.ends.items()
        ])  # fmt: skip
        self.papers = self.begin()

    def begin(self) -> Papers:
        return Papers(self.node, lambda: self.now)

    def lives(self, days: float) -> None:
        """In steps of half a day, with a look at each."""
        assert isinstance(self.node.clock, FakeClock)
        for _ in range(round(days * 2)):
            self.now += DAY / 2
            self.node.clock.advance(DAY / 2)
            self.papers.look()


def test_each_distance_is_told_once_over_restarts_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    it = House(node, monkeypatch, certificate=40)
    seen = []
    for days in (9, 2, 15, 2, 7, 4, 2):
        it.lives(days)
        it.papers = it.begin()
        it.papers.look()
        seen.append(len(told(node)))
    assert seen == [0, 1, 2, 2, 3, 4, 5]
    events = told(node)
    assert all(event.alarm for event in events)
    assert "the certificate (/certificate.pem) ends on" in events[0].text
    assert "put a new one in its place" in events[0].text
    assert "has ended on" in events[-1].text


def test_a_renewed_one_begins_anew(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    it = House(node, monkeypatch, certificate=5)
    it.papers.look()
    assert len(told(node)) == 1
    it.ends["certificate"] += 60 * DAY * SECOND
    it.lives(30)
    assert len(told(node)) == 1
    it.lives(6)
    assert len(told(node)) == 2


def test_each_paper_is_told_of_by_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    it = House(node, monkeypatch, certificate=29, ca=6, crl=0.5)
    it.papers.look()
    assert [event.text.partition(" (")[0] for event in told(node)] == ["the certificate", "the ca", "the crl"]
    needs = list(papers.needs(node.config, node.clock()))
    assert [text.partition(" (")[0] for text in needs] == ["the certificate", "the ca", "the crl"]
    it.ends["crl"] = node.clock() - 1
    assert "has ended on" in list(papers.needs(node.config, node.clock()))[-1]


def test_files_that_are_renewed_or_cannot_be_used_are_on_record(node: Node, authority: Authority) -> None:
    it, now = None, 0.0
    it = Papers(node, lambda: now)
    it.look()
    authority.issue("papers-node", days=40)
    now += 61
    it.look()
    it.look()
    (renewed,) = told(node)
    assert (renewed.kind, renewed.alarm) == ("certificate files renewed", False)
    tls = node.config.node.tls
    assert tls
    good = tls.key.read_bytes()
    tls.key.chmod(0o644)
    tls.key.write_text("junk")
    for _ in range(3):
        now += 61
        it.look()
    (_, refused) = told(node)
    assert (refused.kind, refused.alarm) == ("certificate files refused", True)
    assert "those in use stay: node.tls.key" in refused.text
    (need,) = papers.needs(node.config, node.clock())
    assert "a node that is started now will not" in need
    tls.key.write_bytes(good)
    tls.key.chmod(0o600)
    now += 61
    it.look()
    assert [event.kind for event in told(node)][2:] == ["certificate files renewed"]
    assert list(papers.needs(node.config, node.clock())) == []


def test_a_partners_is_told_of_when_it_is_seen(node: Node) -> None:
    at = node.clock()
    for partner, days in (("CT1", 31), ("CT1", 6), ("CT1", 6), ("PUBPACS", 6), ("CT1", 0.5)):
        papers.seen(partner, shown(at, days), node)
    assert [event.partner for event in told(node)] == ["CT1", "PUBPACS", "CT1"]


def test_a_partner_with_two_is_told_of_each_once(node: Node) -> None:
    at = node.clock()
    for _ in range(5):
        papers.seen("CT1", shown(at, 10, "aa"), node)
        papers.seen("CT1", shown(at, 12, "bb"), node)
    assert len(told(node)) == 2


def shown(at: int, days: float, spki: str = "aa") -> Shown:
    return Shown(spki, frozenset(), at + round(days * DAY * SECOND))


def test_without_tls_there_is_nothing_to_tell(here: Node) -> None:
    Papers(here).look()
    assert told(here) == []
    assert list(papers.needs(here.config, here.clock())) == []
