"""operations/commit.py: what a source asks us to commit to, what we find, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.config.model import Partner
from dicomnode.errors import DuplicateTransaction, ResourceLimitation
from dicomnode.operations import commit, housekeep
from dicomnode.operations.ports import Node, Reference, Report
from dicomnode.store import audit, commitments
from dicomnode.store.database import execute, rows
from tests import fakes
from tests.fakes import FakeClock, FakePartner
from tests.samples import Sample, make_instances

CONFIG = fakes.CONFIG.replace(
    "CT1:      {site: harbour, address: 10.1.0.0/24, may: [store]}",
    "CT1:      {site: harbour, host: 10.1.0.9, port: 104, may: [store, commit]}",
)
TRANSACTION = "1.2.3.4.5"
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    assert "commit" in CONFIG
    return build(CONFIG)


@pytest.fixture
def source(node: Node) -> Partner:
    return node.config.partners["CT1"]


@pytest.fixture
def samples(node: Node) -> list[Sample]:
    """Three instances that the source has sent."""
    made = make_instances(3, seed="commit")
    fakes.receive_all(node, made)
    return made


def reference(sample: Sample) -> Reference:
    return Reference(sample.sop_class, sample.sop_instance)


def references(samples: list[Sample]) -> tuple[Reference, ...]:
    return tuple(sorted(map(reference, samples), key=lambda each: each.sop_instance_uid))


def judged(node: Node, source: Partner, *asked: Reference, transaction: str = TRANSACTION) -> Report:
    report = commit.judge(commit.take(transaction, asked, source, node), source, node, lambda: False)
    assert report is not None
    return report


def committed(node: Node) -> set[str]:
    with node.database.read():
        return {uid for (uid,) in rows("SELECT sop_instance_uid FROM instances WHERE committed_at IS NOT NULL")}


def file_of(node: Node, sample: Sample) -> Path:
    with node.database.read():
        ((file,),) = rows("SELECT file FROM instances WHERE sop_instance_uid = ?", sample.sop_instance)
    return node.archive.path(file)


def alarms(node: Node, kind: str) -> list[str]:
    with node.database.read():
        return [event.text for event in audit.events() if event.kind == kind]


def later(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)


def told(node: Node, source: Partner, peer: FakePartner) -> bool:
    return commit.report(source, peer, node, lambda: False)  # type: ignore[arg-type]


# -- what we find --------------------------------------------------------------------------------------------------


def test_what_is_here_as_it_came_is_committed_to(node: Node, source: Partner, samples: list[Sample]) -> None:
    assert judged(node, source, *map(reference, samples)) == Report(TRANSACTION, references(samples))
    assert committed(node) == {each.sop_instance for each in samples}


def test_nothing_is_committed_to_before_it_was_looked_at(node: Node, source: Partner, samples: list[Sample]) -> None:
    commit.take(TRANSACTION, references(samples), source, node)
    assert committed(node) == set()


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


HARMS: dict[str, Callable[[Path], None]] = {
    "a bit that was flipped": damage,
    "a file that was cut": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "a file that is gone": Path.unlink,
    "no DICOM at all": lambda path: path.write_bytes(b"x" * 4000) and None,
}


@pytest.mark.parametrize("how", HARMS)
def test_a_file_that_is_not_what_was_received_is_not(
    node: Node, source: Partner, samples: list[Sample], how: str
) -> None:
    HARMS[how](file_of(node, samples[1]))
    report = judged(node, source, *map(reference, samples))
    assert report.failed == ((reference(samples[1]), 0x0110),)
    assert committed(node) == {samples[0].sop_instance, samples[2].sop_instance}
    (text,) = alarms(node, "file damaged")
    assert str(file_of(node, samples[1]).relative_to(node.archive.root)) in text


def test_what_is_known_to_be_damaged_is_not(node: Node, source: Partner, samples: list[Sample]) -> None:
    uid = samples[0].sop_instance
    node.database.write(lambda: execute("UPDATE instances SET damage = 'seen' WHERE sop_instance_uid = ?", uid))
    assert judged(node, source, *map(reference, samples)).failed == ((reference(samples[0]), 0x0110),)


def test_what_was_never_here_is_not(node: Node, source: Partner, samples: list[Sample]) -> None:
    unknown = Reference(samples[0].sop_class, "1.2.3.999")
    report = judged(node, source, unknown, *map(reference, samples))
    assert (report.committed, report.failed) == (references(samples), ((unknown, 0x0112),))


def test_what_another_site_has_sent_is_as_what_was_never_here(node: Node, samples: list[Sample]) -> None:
    stranger = node.config.partners["PEAK_CT"]
    assert judged(node, stranger, reference(samples[0])).failed == ((reference(samples[0]), 0x0112),)
    assert committed(node) == set()


def test_what_another_partner_of_the_site_has_sent_is(node: Node, samples: list[Sample]) -> None:
    assert judged(node, node.config.partners["RAD_WS"], *map(reference, samples)).failed == ()


def test_what_retention_has_removed_is_not(node: Node, source: Partner, samples: list[Sample]) -> None:
    uid = samples[0].sop_instance
    file_of(node, samples[0]).unlink()
    node.database.write(lambda: execute("UPDATE instances SET evicted_at = 1 WHERE sop_instance_uid = ?", uid))
    assert judged(node, source, reference(samples[0])).failed == ((reference(samples[0]), 0x0112),)


def test_what_retention_removes_while_we_look_is_not(
    node: Node, source: Partner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, looked = samples[0].sop_instance, commit._is_intact

    def evicted(*given: object) -> bool:
        node.database.write(lambda: execute("UPDATE instances SET evicted_at = 1 WHERE sop_instance_uid = ?", uid))
        return looked(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(commit, "_is_intact", evicted)
    assert judged(node, source, reference(samples[0])).failed == ((reference(samples[0]), 0x0112),)
    assert committed(node) == set()


def test_another_class_is_a_conflict(node: Node, source: Partner, samples: list[Sample]) -> None:
    asked = Reference(MR, samples[0].sop_instance)
    assert judged(node, source, asked).failed == ((asked, 0x0119),)
    assert committed(node) == set()


def test_every_version_that_is_kept_must_be_what_it_was(node: Node, source: Partner, samples: list[Sample]) -> None:
    other = make_instances(1, seed="commit", PatientComments="another")[0]
    assert other.sop_instance == samples[0].sop_instance
    fakes.receive(node, other)
    with node.database.read():
        files = [file for (file,) in rows("SELECT file FROM instances WHERE sop_instance_uid = ?", other.sop_instance)]
    assert len(files) == 2
    assert judged(node, source, reference(other)).failed == ()
    for file in files:
        path = node.archive.path(file)
        whole = path.read_bytes()
        damage(path)
        assert judged(node, source, reference(other)).failed == ((reference(other), 0x0110),)
        path.write_bytes(whole)
        node.database.write(lambda: execute("UPDATE instances SET damage = ''"))


@pytest.mark.parametrize("looks", range(6))
def test_to_be_stopped_leaves_everything_as_it_was(
    node: Node, source: Partner, samples: list[Sample], looks: int
) -> None:
    taken = commit.take(TRANSACTION, references(samples), source, node)
    left = iter(range(looks))
    assert commit.judge(taken, source, node, lambda: next(left, None) is None) is None
    assert committed(node) == set()
    assert alarms(node, "file damaged") == []
    assert commit.judge(taken, source, node, lambda: False) is not None


# -- a transaction -------------------------------------------------------------------------------------------------


def test_the_same_request_again_is_the_same_transaction(node: Node, source: Partner, samples: list[Sample]) -> None:
    first = commit.take(TRANSACTION, references(samples), source, node)
    assert commit.take(TRANSACTION, references(samples)[::-1], source, node) == first
    with node.database.read():
        assert len(commitments.references(first)) == 3


def test_what_was_asked_again_is_looked_at_again(node: Node, source: Partner, samples: list[Sample]) -> None:
    late = make_instances(4, seed="commit")[3]
    assert judged(node, source, reference(late)).failed
    fakes.receive(node, late)
    assert not judged(node, source, reference(late)).failed


def test_a_transaction_uid_that_is_in_use_is_not_for_other_instances(
    node: Node, source: Partner, samples: list[Sample]
) -> None:
    first = commit.take(TRANSACTION, references(samples), source, node)
    with pytest.raises(DuplicateTransaction):
        commit.take(TRANSACTION, references(samples)[:2], source, node)
    with node.database.read():
        assert len(commitments.references(first)) == 3
    commit.judge(first, source, node, lambda: False)
    commit.told(first, node)
    assert judged(node, source, references(samples)[0]).committed == references(samples)[:1]


def test_a_transaction_uid_belongs_to_its_partner(node: Node, source: Partner, samples: list[Sample]) -> None:
    other = node.config.partners["RAD_WS"]
    assert commit.take(TRANSACTION, references(samples), source, node) != commit.take(
        TRANSACTION, references(samples)[:1], other, node
    )


def test_a_transaction_of_ours_is_not_overwritten(node: Node, source: Partner, samples: list[Sample]) -> None:
    sql = (
        "INSERT INTO commitments (transaction_uid, partner, referral, state, asked_at, due_at)"
        " SELECT ?, 'CT1', id, 'asked', 0, 0 FROM referrals LIMIT 1"
    )
    assert node.database.write(lambda: execute(sql, TRANSACTION)) == 1
    with pytest.raises(DuplicateTransaction):
        commit.take(TRANSACTION, references(samples), source, node)
    with node.database.read():
        assert commitments.due("CT1", 5) is None


def test_nobody_has_more_than_so_many_open(
    node: Node, source: Partner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_AT_ONCE", 2)
    for number in (1, 2):
        commit.take(f"1.2.{number}", references(samples), source, node)
    with pytest.raises(ResourceLimitation):
        commit.take("1.2.3", references(samples), source, node)
    commit.take("1.2.2", references(samples), source, node)  # which is known
    commit.take("1.2.3", references(samples), node.config.partners["RAD_WS"], node)


# -- who is told ---------------------------------------------------------------------------------------------------


def test_the_forwarder_tells_when_the_association_has_had_its_time(
    node: Node, source: Partner, samples: list[Sample]
) -> None:
    peer = FakePartner()
    commit.take(TRANSACTION, references(samples), source, node)
    assert not told(node, source, peer)
    with node.database.read():
        due = commit.due(source, node.clock())
    assert due is not None
    assert node.clock() < due <= node.clock() + 60 * fakes.SECOND
    later(node, 60)
    assert told(node, source, peer)
    assert peer.reports == [Report(TRANSACTION, references(samples))]
    assert not told(node, source, peer)
    with node.database.read():
        assert commit.due(source, node.clock()) is None


def test_what_is_handed_over_is_told_at_once(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner()
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    assert told(node, source, peer)
    assert len(peer.reports) == 1


def test_what_was_told_on_the_association_is_not_told_again(
    node: Node, source: Partner, samples: list[Sample]
) -> None:
    peer, taken = FakePartner(), commit.take(TRANSACTION, references(samples), source, node)
    commit.judge(taken, source, node, lambda: False)
    commit.told(taken, node)
    later(node, 3600)
    assert not told(node, source, peer)


def test_who_cannot_be_told_is_told_later(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner(unreachable=True)
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    begun, tries = node.clock(), 0
    while node.clock() - begun < 20 * 3600 * fakes.SECOND:
        tries += told(node, source, peer)
        later(node, 60)
    assert 15 < tries < 60  # doubling, from half a minute to once an hour
    assert alarms(node, "commitment not reported") == []
    peer.unreachable = False
    later(node, 2 * 3600)  # an hour, and the jitter
    assert told(node, source, peer)
    assert peer.reports == [Report(TRANSACTION, references(samples))]


def test_after_a_day_it_ends_in_an_alarm(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner(unreachable=True)
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    for _ in range(30):
        told(node, source, peer)
        later(node, 3700)
    (text,) = alarms(node, "commitment not reported")
    assert "CT1" in text
    peer.unreachable = False
    assert not told(node, source, peer)
    assert committed(node) == {each.sop_instance for each in samples}  # nobody knows it, and it is kept all the same


@pytest.mark.parametrize(("what", "reason"), [("damage = 'a bit'", 0x0110), ("evicted_at = 1", 0x0112)])
def test_what_is_lost_before_the_result_is_told_is_not_committed_to(
    node: Node, source: Partner, samples: list[Sample], what: str, reason: int
) -> None:
    peer, uid = FakePartner(unreachable=True), samples[1].sop_instance
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    assert told(node, source, peer)
    node.database.write(lambda: execute(f"UPDATE instances SET {what} WHERE sop_instance_uid = ?", uid))
    peer.unreachable = False
    later(node, 60)
    assert told(node, source, peer)
    assert peer.reports[0].failed == ((reference(samples[1]), reason),)
    assert len(peer.reports[0].committed) == 2


def test_another_version_that_comes_before_the_result_is_told_is_looked_at_too(
    node: Node, source: Partner, samples: list[Sample]
) -> None:
    peer = FakePartner(unreachable=True)
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    assert told(node, source, peer)
    recorded = fakes.receive(node, make_instances(1, seed="commit", PatientComments="another")[0])
    damage(node.archive.path(recorded.file))
    peer.unreachable = False
    later(node, 60)
    assert told(node, source, peer)
    assert peer.reports[0].failed == ((reference(samples[0]), 0x0110),)


def test_what_was_found_is_not_read_again_for_each_attempt(
    node: Node, source: Partner, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, looked, looks = FakePartner(unreachable=True), commit._is_intact, list[object]()
    monkeypatch.setattr(commit, "_is_intact", lambda *given: looks.append(given) or looked(*given))  # type: ignore[func-returns-value]
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    for _ in range(3):
        assert told(node, source, peer)
        later(node, 4100)
    assert len(looks) == 3


def test_a_clock_that_was_ahead_delays_no_result(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner(unreachable=True)
    later(node, 400 * 86400)
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    assert told(node, source, peer)
    later(node, -400 * 86400)
    housekeep.tidy(node, fakes.FakeCallers())
    assert told(node, source, peer)  # which fails, and is due when it should be
    housekeep.tidy(node, fakes.FakeCallers())
    assert not told(node, source, peer)
    peer.unreachable = False
    later(node, 60)
    assert told(node, source, peer)
    assert peer.reports == [Report(TRANSACTION, references(samples))]


def test_a_stop_leaves_the_rest_to_the_next_start(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner()
    commit.hand_over(commit.take(TRANSACTION, references(samples), source, node), node)
    assert not commit.report(source, peer, node, lambda: True)  # type: ignore[arg-type]
    assert peer.reports == []
    assert told(node, source, peer)


def test_who_may_not_ask_is_not_called(node: Node) -> None:
    slots = {name: commit.slots(partner) for name, partner in node.config.partners.items()}
    assert {name for name, count in slots.items() if count} == {"CT1"}


def test_what_was_told_is_forgotten_after_a_month(node: Node, source: Partner, samples: list[Sample]) -> None:
    peer = FakePartner()
    for number in range(3):
        commit.hand_over(commit.take(f"1.2.{number}", references(samples), source, node), node)
        assert told(node, source, peer)
        later(node, 20 * 86400)
    with node.database.read():
        assert [uid for (uid,) in rows("SELECT transaction_uid FROM commitments")] == ["1.2.1", "1.2.2"]
        assert rows("SELECT * FROM commitment_instances") == []
