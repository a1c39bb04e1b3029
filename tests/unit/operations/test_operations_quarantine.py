"""operations/quarantine.py: a person says which version is right, and all that follows is one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dicomnode.errors import CannotDecide, DicomnodeError, UsageError
from dicomnode.operations import differ, quarantine, refer
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, doubts, index, ledger, queue, referrals
from dicomnode.store.doubts import Doubt
from dicomnode.store.index import Kind
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, decode, encode, make_instances

IMPLICIT = "1.2.840.10008.1.2"
BOTH = fakes.CONFIG.replace("to: [PUBPACS]", "to: [PUBPACS, ISLPACS]")


def changed(sample: Sample, **attributes: object) -> Sample:
    """The same instance with other attributes."""
    dataset = decode(sample.dataset)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    study, series = (str(attributes.get(k, "")) for k in ("StudyInstanceUID", "SeriesInstanceUID"))
    return replace(sample, dataset=encode(dataset), study=study or sample.study, series=series or sample.series)


def recoded(sample: Sample) -> Sample:
    """The same instance in another encoding."""
    dataset = decode(sample.dataset)
    return replace(sample, transfer_syntax=IMPLICIT, dataset=encode(dataset, IMPLICIT))


MADE = make_instances(3, seed="doubt", PatientName="OLD^NAME", PatientID="H1")
CORRECTED = [changed(each, PatientName="NAME^OLD") for each in MADE]


def send(node: Node, partner: str = "PUBPACS", fake: FakePartner | None = None) -> list[str]:
    """What goes to a partner now, until nothing more does: the patients' names."""
    fake = fake or FakePartner()
    while forward(node.config.partners[partner], fake, node, lambda: False):
        pass
    return [str(decode(each.dataset).PatientName) for each in fake.sent]


def doubt(node: Node, study: int = 1) -> Doubt | None:
    with node.database.read():
        return doubts.of(study)


def only(node: Node) -> Referral:
    with node.database.read():
        (found,) = referrals.listed()
    return found


def current(node: Node, study: int = 1) -> list[tuple[str, int]]:
    """(instance, version) of what is current in a study."""
    with node.database.read():
        return sorted((v.sop_instance_uid, v.version) for v in index.versions(study) if v.current)


def states(node: Node, partner: str = "PUBPACS") -> list[str]:
    with node.database.read():
        return [str(t.state) for t in ledger.listed(100, partner=partner)]


def all_in(version: int, made: Sequence[Sample] = MADE) -> list[tuple[str, int]]:
    return sorted((sample.sop_instance, version) for sample in made)


def release(node: Node, name: str = "1", version: int | None = 2) -> quarantine.Outcome:
    return quarantine.release(name, version, "called the ward", "anna", node)


def reject(node: Node, name: str = "1") -> quarantine.Outcome:
    return quarantine.reject(name, "sent by mistake", "anna", node)


@pytest.fixture
def corrected(here: Node) -> Node:
    """A study of three, complete and unsent, that was sent again with another name."""
    fakes.receive_all(here, [*MADE, *CORRECTED])
    fakes.complete(here)
    return here


# -- what waits ------------------------------------------------------------------------------------------------


def test_a_corrected_study_waits_for_a_person(corrected: Node) -> None:
    assert send(corrected) == []
    found = doubt(corrected)
    assert found
    assert (found.state, found.undecided, found.versions, found.referrals) == ("held", 3, (2,), 1)
    assert "PatientName" in found.reason
    assert (only(corrected).state, only(corrected).reason) == ("held", found.reason)


@pytest.mark.parametrize("end", ["delivered", "unknown", "killed"])
def test_a_version_that_is_overtaken_by_the_old_one_is_sent_once_more(here: Node, end: str) -> None:
    """On another association, which is slow: the partner got the old one last, or may have."""
    clock = here.clock
    assert isinstance(clock, fakes.FakeClock)
    fakes.receive(here, MADE[0])
    fakes.complete(here)
    slow = here.database.write(lambda: queue.claim("PUBPACS", 1, "slow", clock()))
    assert slow
    clock.advance(1)
    fakes.receive(here, CORRECTED[0])
    release(here)
    assert send(here) == ["NAME^OLD"]
    clock.advance(1)
    state = queue.State.DELIVERED if end == "delivered" else queue.State.QUEUED
    result = queue.Result(slow.transfers[0].transfer, state, clock(), 0 if end == "delivered" else None)
    if end == "killed":
        assert here.database.write(lambda: queue.reclaim("slow")) == 1
    else:
        here.database.write(lambda: queue.finish([result]))
    assert only(here).progress == "sending"
    clock.advance(1)
    assert send(here) == ["NAME^OLD"]
    assert only(here).state == "sent"
    assert send(here) == []


def test_what_a_person_holds_is_held_in_another_version_too(corrected: Node) -> None:
    corrected.database.write(lambda: queue.hold([1], "held by anna: ask first"))
    release(corrected)
    assert len(send(corrected)) == 2
    with corrected.database.read():
        (held,) = ledger.listed(100, state="held")
        assert held.reason == "held by anna: ask first"
        assert ledger.held_by_persons([held.transfer])
    assert only(corrected).state == "failed"


def test_a_version_that_is_chosen_is_sent_and_no_other(corrected: Node) -> None:
    done = release(corrected)
    assert (done.chosen, done.others, done.undecided) == (3, 0, 0)
    assert current(corrected) == all_in(2)
    assert doubt(corrected) is None
    assert send(corrected) == ["NAME^OLD"] * 3
    assert states(corrected) == ["skipped"] * 3 + ["delivered"] * 3
    assert (only(corrected).state, only(corrected).dropped) == ("sent", 0)
    with corrected.database.read():
        study = index.studies(1)[0]
        skipped = ledger.listed(1)[0]
        texts = {event.kind: event.text for event in audit.events()}
    assert study.patient_name == "NAME^OLD"  # and the hospital finds it by that
    assert skipped.reason == "version 2 was made current by anna"
    expected = "released by anna: called the ward (version 2 is the current one of 3 of its instances)"
    assert texts["quarantine released"] == texts["referral released"] == expected


def test_a_version_that_is_rejected_is_kept_and_not_sent(corrected: Node) -> None:
    files = fakes.files(corrected)
    done = reject(corrected)
    assert (done.chosen, done.rejected, done.undecided) == (0, 3, 0)
    assert current(corrected) == all_in(1)
    assert doubt(corrected) is None
    assert send(corrected) == ["OLD^NAME"] * 3
    assert only(corrected).state == "sent"
    assert fakes.files(corrected) == files
    with corrected.database.read():
        (event,) = [event for event in audit.events() if event.kind == "quarantine rejected"]
    assert event.study_instance_uid == MADE[0].study
    assert event.text == "rejected by anna: sent by mistake (kept and not sent: 3 of its versions)"


def test_to_choose_what_is_current_is_to_reject_the_rest(corrected: Node) -> None:
    assert release(corrected, version=1).chosen == 3
    assert current(corrected) == all_in(1)
    assert send(corrected) == ["OLD^NAME"] * 3


def test_a_decision_can_be_changed(corrected: Node) -> None:
    """There and back: each time the partner ends with what is current."""
    reject(corrected)
    fake = FakePartner()
    assert send(corrected, fake=fake) == ["OLD^NAME"] * 3
    release(corrected)
    assert send(corrected, fake=fake)[3:] == ["NAME^OLD"] * 3
    release(corrected, version=1)
    assert current(corrected) == all_in(1)
    assert send(corrected, fake=fake)[6:] == ["OLD^NAME"] * 3
    assert only(corrected).state == "sent"


# -- the difference --------------------------------------------------------------------------------------------


def test_who_had_the_other_version_is_sent_this_one_at_once(here: Node) -> None:
    fakes.receive_all(here, MADE)
    fakes.complete(here)
    fake = FakePartner()
    send(here, fake=fake)
    fakes.receive(here, CORRECTED[0])
    assert only(here).state == "sent"
    assert doubt(here)
    done = release(here)
    assert (done.chosen, done.others) == (1, 2)
    assert only(here).state == "sending"  # without another quiet time
    assert send(here, fake=fake)[3:] == ["NAME^OLD"]
    assert only(here).state == "sent"


def test_a_partner_that_never_got_it_gets_what_is_current_alone(build: Callable[..., Node]) -> None:
    node = build(BOTH)
    fakes.receive_all(node, MADE[:1])
    fakes.complete(node)
    fake, other = FakePartner(), FakePartner()
    send(node, fake=fake)
    fakes.receive(node, CORRECTED[0])
    release(node)
    assert send(node, fake=fake) == ["OLD^NAME", "NAME^OLD"]
    assert send(node, "ISLPACS", other) == ["NAME^OLD"]


def test_what_is_on_its_way_is_not_sent_after_the_decision(corrected: Node) -> None:
    """It was claimed, the gate closed, and it comes back unsent: as skipped, never to the queue."""
    at = corrected.clock()
    corrected.database.write(lambda: refer.end_doubt(1, "", at, corrected))
    with corrected.database.read():
        assert doubts.of(1)  # undecided: it does not end
    corrected.database.write(lambda: index.execute("UPDATE referrals SET gate = 'open'"))
    batch = corrected.database.write(lambda: queue.claim("PUBPACS", 9, "worker", at))
    assert batch
    release(corrected)
    ids = [claimed.transfer for claimed in batch.transfers]
    later = queue.Result(ids[0], queue.State.QUEUED, at, 0xA700, "busy")
    never = queue.Result(ids[1], queue.State.HELD, at, 0xC000, "no")
    corrected.database.write(lambda: queue.finish([later, never]))
    corrected.database.write(lambda: queue.give_back(ids[2:]))
    assert states(corrected) == ["skipped"] * 3 + ["queued"] * 3
    assert send(corrected) == ["NAME^OLD"] * 3


def test_a_dead_worker_s_claim_of_a_version_that_was_replaced_is_not_sent(corrected: Node) -> None:
    at = corrected.clock()
    corrected.database.write(lambda: index.execute("UPDATE referrals SET gate = 'open'"))
    corrected.database.write(lambda: queue.claim("PUBPACS", 9, "worker", at))
    release(corrected)
    assert corrected.database.write(lambda: queue.reclaim("worker")) == 3
    assert send(corrected) == ["NAME^OLD"] * 3


def test_a_correction_that_was_sent_to_be_referred_is_referred_when_it_is_chosen(here: Node) -> None:
    fakes.receive_all(here, MADE, called="REFERNODE")
    fakes.receive_all(here, CORRECTED)
    with here.database.read():
        assert referrals.listed() == []
        assert [each.referrals for each in doubts.listed(10)] == [0]
    release(here)
    fakes.complete(here)
    assert send(here) == ["NAME^OLD"] * 3


def test_who_was_moved_the_other_version_by_hand_is_sent_this_one(here: Node) -> None:
    fakes.receive_all(here, MADE[:1], called="REFERNODE")
    opening = referrals.Opening("ISLPACS", "C-MOVE by RAD_WS", 0, 1, referrals.Progress.SENDING)
    at = here.clock()

    def moved() -> None:
        number = referrals.open_(1, opening, at)
        queue.moved(number, "ISLPACS", 1, queue.Result(0, queue.State.DELIVERED, at, 0))
        refer.settle(number, at, here)

    here.database.write(moved)
    fakes.receive(here, CORRECTED[0], called="REFERNODE")
    release(here)
    assert send(here, "ISLPACS") == ["NAME^OLD"]


# -- one of many, and more than one doubt ----------------------------------------------------------------------


def test_one_instance_is_decided_on_by_itself(corrected: Node) -> None:
    uid = MADE[1].sop_instance
    done = release(corrected, uid)
    assert (done.subject, done.chosen, done.undecided) == (f"instance {uid}", 1, 2)
    assert send(corrected) == []
    found = doubt(corrected)
    assert found
    assert found.undecided == 2
    assert reject(corrected).rejected == 2
    assert sorted(send(corrected)) == ["NAME^OLD", "OLD^NAME", "OLD^NAME"]


def test_a_number_of_a_whole_study_means_no_variant(here: Node) -> None:
    """The second of one instance is another encoding, and its third the correction that is the others' second."""
    fakes.receive_all(here, [*MADE, recoded(MADE[0]), *CORRECTED])
    done = release(here)
    assert (done.chosen, done.undecided) == (2, 1)
    assert release(here, version=3).undecided == 0
    fakes.complete(here)
    assert send(here) == ["NAME^OLD"] * 3


def test_a_variant_can_be_chosen_by_name(here: Node) -> None:
    fakes.receive_all(here, [MADE[0], recoded(MADE[0])])
    assert doubt(here) is None
    assert release(here, MADE[0].sop_instance).chosen == 1
    fakes.complete(here)
    fake = FakePartner()
    send(here, fake=fake)
    assert [each.dataset for each in fake.sent] == [recoded(MADE[0]).dataset]


def test_a_conflict_and_a_correction_wait_together(here: Node) -> None:
    fakes.receive_all(here, [*MADE, CORRECTED[0], changed(MADE[1], Rows=7)])
    found = doubt(here)
    assert found
    assert (found.state, found.undecided) == ("quarantined", 2)
    assert release(here, MADE[1].sop_instance, 1).undecided == 1
    assert doubt(here)
    release(here)
    assert doubt(here) is None
    assert current(here) == sorted([*all_in(2, MADE[:1]), *all_in(1, MADE[1:])])


OTHER = "1.2.826.0.1.3680043.8.498.77"


@pytest.mark.parametrize("version", [1, 2])
def test_an_instance_in_two_studies_is_decided_for_both(here: Node, version: int) -> None:
    fakes.receive_all(here, MADE[:2])
    fakes.receive(here, changed(MADE[0], StudyInstanceUID=OTHER))
    assert doubt(here, 1)
    assert doubt(here, 2)
    release(here, OTHER, version)
    assert (doubt(here, 1), doubt(here, 2)) == (None, None)
    here_, there = current(here, 1), current(here, 2)
    moved = [(MADE[0].sop_instance, version)]
    assert (here_, there) == ((all_in(1, MADE[:2]), []) if version == 1 else (all_in(1, MADE[1:2]), moved))
    fakes.complete(here)
    fake = FakePartner()
    send(here, fake=fake)
    assert sorted(fake.uids) == sorted(sample.sop_instance for sample in MADE[:2])
    assert {str(decode(each.dataset).StudyInstanceUID) for each in fake.sent} == (
        {MADE[0].study} if version == 1 else {MADE[0].study, OTHER}
    )


# -- another site ----------------------------------------------------------------------------------------------


def test_a_flagged_study_goes_on_and_its_flag_is_taken_away(here: Node) -> None:
    fakes.receive(here, MADE[0])
    fakes.receive(here, MADE[1], "PEAK_CT")
    found = doubt(here)
    assert found
    assert (found.state, found.undecided) == ("flagged", 0)
    fakes.complete(here)
    assert len(send(here)) == 1
    with pytest.raises(UsageError, match="no study or instance"):
        release(here, MADE[1].sop_instance, 1)  # it is another site's, and no version of this study's
    reject(here)
    assert doubt(here) is None
    assert current(here) == all_in(1, MADE[:1])


def test_each_site_has_its_own_current_version(here: Node) -> None:
    fakes.receive(here, MADE[0])
    assert fakes.receive(here, changed(MADE[0], StudyInstanceUID=OTHER), "PEAK_CT").kind is Kind.CONFLICT
    assert (doubt(here, 2) or pytest.fail("no doubt")).state == "quarantined"
    release(here, OTHER)
    assert (current(here, 1), current(here, 2)) == (all_in(1, MADE[:1]), all_in(2, MADE[:1]))
    assert (doubt(here, 1) or pytest.fail("no doubt")).state == "flagged"  # that is harbour's to look at


def test_a_conflict_that_is_rejected_leaves_nothing_current(here: Node) -> None:
    fakes.receive(here, MADE[0])
    fakes.receive(here, changed(MADE[0], StudyInstanceUID=OTHER), "PEAK_CT")
    reject(here, OTHER)
    assert current(here, 2) == []
    assert doubt(here, 2) is None


def test_an_instance_of_two_sites_wants_its_study_named(here: Node) -> None:
    fakes.receive(here, MADE[0])
    fakes.receive(here, changed(MADE[0], StudyInstanceUID=OTHER), "PEAK_CT")
    release(here, OTHER)
    with pytest.raises(UsageError, match="more than one site"):
        reject(here, MADE[0].sop_instance)


# -- what cannot be done ---------------------------------------------------------------------------------------

BAD: list[tuple[str, Callable[[Node], object], type[DicomnodeError], str]] = [
    ("no such study", lambda node: release(node, "99"), UsageError, "no study or instance 99.*quarantine list"),
    ("no such version", lambda node: release(node, version=9), UsageError, "no version 9.*1, 2.*quarantine show"),
    ("no version", lambda node: release(node, version=None), UsageError, "--version.*1, 2"),
    ("no reason", lambda node: quarantine.release("1", 2, " ", "anna", node), UsageError, "--reason"),
    ("no reason to reject", lambda node: quarantine.reject("1", "", "anna", node), UsageError, "--reason"),
]


@pytest.mark.parametrize(("act", "error", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_what_is_not_there_changes_nothing(
    corrected: Node, act: Callable[[Node], object], error: type[DicomnodeError], words: str
) -> None:
    with pytest.raises(error, match=words):
        act(corrected)
    assert current(corrected) == all_in(1)
    assert doubt(corrected)


def test_what_is_not_in_doubt_is_not_decided_on(here: Node) -> None:
    fakes.receive_all(here, MADE)
    for act in (lambda: release(here, version=None), lambda: reject(here), lambda: reject(here, MADE[0].sop_instance)):
        with pytest.raises(CannotDecide, match="not in doubt"):
            act()
    with pytest.raises(UsageError, match=r"no version 1 .*more than one version"):
        release(here, version=1)
    with pytest.raises(CannotDecide, match="current already"):
        release(here, MADE[0].sop_instance, 1)


def test_a_version_without_its_file_is_not_made_current(corrected: Node) -> None:
    with corrected.database.read():
        file = next(v.file for v in index.versions(1) if v.version == 2)
    corrected.archive.path(file).unlink()
    with pytest.raises(CannotDecide, match="damaged or gone; have it sent again"):
        release(corrected)
    assert current(corrected) == all_in(1)


@pytest.mark.parametrize("mark", ["damage = 'its digest differs'", "evicted_at = 7"])
def test_a_version_whose_file_is_known_to_be_bad_is_not_made_current(corrected: Node, mark: str) -> None:
    corrected.database.write(lambda: index.execute(f"UPDATE instances SET {mark} WHERE version = 2"))
    with pytest.raises(CannotDecide, match="damaged or gone"):
        release(corrected)


def test_nobody_decides_on_what_he_has_not_seen(corrected: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version arrives between the look and the commit."""
    write = corrected.database.write

    def late(fn: Callable[[], object]) -> object:
        monkeypatch.undo()
        fakes.receive(corrected, changed(MADE[0], PatientName="THIRD^NAME"))
        return write(fn)

    monkeypatch.setattr(type(corrected.database), "write", lambda _, fn: late(fn))
    with pytest.raises(CannotDecide, match="arrived meanwhile"):
        release(corrected)
    assert current(corrected) == all_in(1)


def test_a_doubt_of_another_kind_is_ended_without_a_version(here: Node) -> None:
    fakes.receive_all(here, MADE)
    fakes.complete(here)
    here.database.write(lambda: refer.quarantine(1, "two patients?", here.clock(), here))
    assert send(here) == []
    assert release(here, version=None).chosen == 0
    assert len(send(here)) == 3


# -- what a person compares ------------------------------------------------------------------------------------


def compared(node: Node, name: str = "1") -> list[differ.Difference]:
    return differ.differences(quarantine.subject(name, node).versions, node)


def test_instances_that_differ_alike_are_one_difference(corrected: Node) -> None:
    (found,) = compared(corrected)
    assert sorted(found.sop_instance_uids) == sorted(sample.sop_instance for sample in MADE)
    assert found.values == {"PatientName": ("OLD^NAME", "NAME^OLD")}
    assert [(v.version, v.kind, v.current, v.undecided) for v in found.versions] == [
        (1, "new", True, False),
        (2, "correction", False, True),
    ]


def test_pixels_are_compared_where_they_are_in_conflict(here: Node) -> None:
    other = changed(MADE[0], PixelData=bytes(len(decode(MADE[0].dataset).PixelData)))
    fakes.receive_all(here, [MADE[0], other])
    (found,) = compared(here)
    assert list(found.values) == ["PixelData"]
    assert len(set(found.values["PixelData"])) == 2


def test_what_is_not_indexed_is_said_to_differ(here: Node) -> None:
    fakes.receive_all(here, [MADE[0], changed(MADE[0], PatientComments="new")])
    (found,) = compared(here)
    assert list(found.values) == ["(what is not indexed)"]


def test_a_file_that_cannot_be_read_is_shown_as_such(corrected: Node) -> None:
    (file,) = [v.file for v in doubts_of(corrected) if v.version == 1][:1]
    corrected.archive.path(file).write_bytes(b"rubbish")
    assert any("(its file cannot be read)" in each.values["PatientName"] for each in compared(corrected))


def doubts_of(node: Node) -> Sequence[doubts.Version]:
    return quarantine.subject("1", node).versions
