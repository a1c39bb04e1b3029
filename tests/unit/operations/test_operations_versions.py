"""Whatever arrives, and whatever people say of it: one version is current, no other is on its way, and none is lost."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from dicomnode.dicom import part10
from dicomnode.errors import DicomnodeError
from dicomnode.operations import quarantine, resend
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import doubts, ledger, queue
from dicomnode.store.database import rows
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, decode, encode, make_instances

IMPLICIT = "1.2.840.10008.1.2"
OTHER = "1.2.826.0.1.3680043.8.498.78"
FIRST = make_instances(2, seed="versions", PatientName="TESTER^ANNA")
CHANGES: dict[str, dict[str, object]] = {
    "first": {},
    "variant": {},
    "renamed": {"PatientName": "ANNA^TESTER"},
    "renamed again": {"PatientName": "TESTER^ANNA^MARIA"},
    "another image": {"Rows": 5},
    "another study": {"StudyInstanceUID": OTHER},
}


@cache
def sample(number: int, change: str) -> Sample:
    """One instance as somebody may send it."""
    dataset = decode(FIRST[number].dataset)
    for keyword, value in CHANGES[change].items():
        setattr(dataset, keyword, value)
    syntax = IMPLICIT if change == "variant" else FIRST[number].transfer_syntax
    return replace(FIRST[number], transfer_syntax=syntax, dataset=encode(dataset, syntax))


arrivals = st.tuples(
    st.just("arrive"),
    st.sampled_from([0, 1]),
    st.sampled_from(sorted(CHANGES)),
    st.sampled_from(["CT1", "CT1", "CT1", "PEAK_CT"]),
    st.sampled_from(["TO_GENERAL", "REFERNODE"]),
)
subjects = st.sampled_from(["1", "2", *(each.sop_instance for each in FIRST)])
words = st.one_of(
    st.tuples(st.just("release"), subjects, st.sampled_from([2, 2, 1, 3])),
    st.tuples(st.just("reject"), subjects),
    st.tuples(st.just("resend"), st.sampled_from([1, 2])),
)
others = st.sampled_from([("complete",), ("send",), ("claim",), ("give back",), ("fail",), ("reclaim",)])
stories = st.lists(st.one_of(arrivals, words, others), min_size=10, max_size=16)
BEGUN = [("arrive", number, change, "CT1", "TO_GENERAL") for change in ("first", "renamed") for number in (0, 1)]
"""What a study begins with: two instances, and both of them corrected."""


class World:
    """A node, the hospital's PACS, and what has happened so far."""

    def __init__(self, node: Node) -> None:
        self.node, self.fake = node, FakePartner()
        self.claimed: list[int] = []
        self.received: dict[tuple[str, str], set[str]] = {}
        self.settled: set[tuple[str, str]] = set()

    def do(self, step: tuple[object, ...]) -> None:
        what, *given = step
        try:
            getattr(self, str(what).replace(" ", "_"))(*given)
        except DicomnodeError:
            assert what in ("release", "reject", "resend")  # a decision that cannot be made changes nothing

    def arrive(self, number: int, change: str, partner: str, called: str) -> None:
        made = sample(number, change)
        fakes.receive(self.node, made, partner, called)
        site = self.node.config.partners[partner].site
        self.received.setdefault((made.sop_instance, site), set()).add(made.sha256)

    def release(self, name: str, version: int) -> None:
        quarantine.release(name, version, "why not", "anna", self.node)

    def reject(self, name: str) -> None:
        quarantine.reject(name, "why", "anna", self.node)

    def resend(self, referral: int) -> None:
        resend.resend([referral], "", "anna", self.node, everything=True)

    def complete(self) -> None:
        fakes.complete(self.node)

    def send(self) -> None:
        while forward(self.node.config.partners["PUBPACS"], self.fake, self.node, lambda: False):
            pass

    def claim(self) -> None:
        node, at = self.node, self.node.clock()
        if batch := node.database.write(lambda: queue.claim("PUBPACS", 1, "dead", at)):
            self.claimed += [each.transfer for each in batch.transfers]

    def give_back(self) -> None:
        self.node.database.write(lambda: queue.give_back(self.claimed))
        self.claimed.clear()

    def fail(self) -> None:
        at = self.node.clock()
        states = (queue.State.QUEUED, queue.State.HELD)
        results = [queue.Result(each, states[each % 2], at, 0xC000, "no", at) for each in self.claimed]
        self.node.database.write(lambda: queue.finish(results))
        self.claimed.clear()

    def reclaim(self) -> None:
        self.node.database.write(lambda: queue.reclaim("dead"))
        self.claimed.clear()

    # -- what always holds -----------------------------------------------------------------------------------------

    def check(self) -> None:
        with self.node.database.read():
            self._check_versions()
            self._check_transfers()
            self._check_doubts()

    def _check_versions(self) -> None:
        kept = rows("SELECT sop_instance_uid, site, sha256, file, current, kind FROM instances")
        current = Counter((uid, site) for uid, site, _, _, now, _ in kept if now)
        assert set(current.values()) <= {1}
        self.settled |= {(uid, site) for uid, site, *_, kind in kept if kind == "new"} | set(current)
        assert set(current) == self.settled  # what was current once, or acceptable, is not without a version later
        for key, digests in self.received.items():
            assert {sha256 for uid, site, sha256, *_ in kept if (uid, site) == key} == digests
        assert {file for *_, file, _, _ in kept} == fakes.files(self.node)
        for _, _, sha256, file, *_ in kept:
            raw = self.node.archive.path(file).read_bytes()
            assert hashlib.sha256(raw[part10.parse(raw).offset :]).hexdigest() == sha256

    def _check_transfers(self) -> None:
        waiting = rows(
            "SELECT i.current, i.site FROM transfers t JOIN instances i ON i.id = t.instance"
            " WHERE t.state IN ('queued', 'held')"
        )
        assert all(now and site == "harbour" for now, site in waiting)

    def _check_doubts(self) -> None:
        for study, site, doubted in rows("SELECT id, site, quarantine != '' OR correction != '' FROM studies"):
            assert bool(doubted) is any(v.undecided for v in doubts.of_study(study, site))
            progress = "progress NOT IN ('sent', 'confirmed')"
            gates = {gate for (gate,) in rows(f"SELECT gate FROM referrals WHERE study = ? AND {progress}", study)}
            assert gates <= ({"held", "quarantined"} if doubted else {"open"})

    def end(self) -> None:
        """Every doubt is ended, and everything sent: what the partner got last of each instance is what is current."""
        self.give_back()
        with self.node.database.read():
            doubtful = [str(each.study) for each in doubts.listed(9)]
        for study in doubtful:
            self.do(("reject", study))
        self.node.database.write(lambda: queue.release([t.transfer for t in ledger.listed(99, state="held")], 0))
        self.complete()
        self.send()
        self.check()
        with self.node.database.read():
            assert rows("SELECT 1 FROM transfers WHERE state IN ('queued', 'active', 'held')") == []
            got = rows(
                "SELECT i.sop_instance_uid, i.sha256 FROM transfers t JOIN instances i ON i.id = t.instance"
                " WHERE i.current AND t.state = 'delivered'"
            )
        last = {each.sop_instance_uid: hashlib.sha256(each.dataset).hexdigest() for each in self.fake.sent}
        assert {uid: last[uid] for uid, _ in got} == dict(got)


@contextmanager
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        node = fakes.make_node(Path(folder))
        try:
            yield World(node)
        finally:
            node.database.close()


_QUICK = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # to find a shorter story would take minutes
    suppress_health_check=list(HealthCheck),
)


IN_FLIGHT = [("reject", "1"), ("complete",), ("claim",), ("release", "1", 2)]
"""A version that is on its way when another one is chosen."""


@_QUICK
@given(stories)
@example([*IN_FLIGHT, ("give back",)])
@example([*IN_FLIGHT, ("reclaim",)])
@example([*IN_FLIGHT, ("fail",)])
def test_one_version_is_current_and_nothing_is_lost(story: list[tuple[object, ...]]) -> None:
    with world() as it:
        for step in (*BEGUN, *story):
            it.do(step)
            it.check()
        it.end()
