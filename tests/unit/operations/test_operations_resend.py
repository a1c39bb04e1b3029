"""operations/resend.py: what comes again is asked for or sent again once; and a person's word to send again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dicomnode.errors import UsageError
from dicomnode.operations import housekeep, refer, resend
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, doubts, gates, ledger, proof, queue, referrals
from dicomnode.store.database import execute, one
from dicomnode.store.index import Kind
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import decode, encode, make_instances

MADE = make_instances(3, seed="resend")
IMPLICIT = "1.2.840.10008.1.2"
MINUTES = 60.0


def drain(node: Node, fake: FakePartner) -> None:
    while forward(node.config.partners["PUBPACS"], fake, node, lambda: False):
        pass


def only(node: Node) -> Referral:
    with node.database.read():
        (found,) = referrals.listed()
    return found


def look_at(node: Node) -> int | None:
    with node.database.read():
        return one("SELECT look_at FROM referrals")[0]  # type: ignore[no-any-return]


def transfers() -> list[int]:
    return [each.transfer for each in ledger.listed(100)]


def confirm(node: Node, means: str) -> None:
    """The partner says that it has everything; `means` is what it has shown, where that is any."""

    def confirmed() -> None:
        if means:
            proof.learn("PUBPACS", means, node.clock())
        proof.has(transfers(), node.clock())
        assert proof.confirm(1, means or "status", node.clock())

    node.database.write(confirmed)


@pytest.fixture
def fake() -> FakePartner:
    return FakePartner()


@pytest.fixture
def sent(here: Node, fake: FakePartner) -> Node:
    """A study of three that PUBPACS has got."""
    fakes.receive_all(here, MADE)
    fakes.complete(here)
    drain(here, fake)
    return here


# -- its source sends it again ---------------------------------------------------------------------------------


def test_who_can_be_asked_is_asked_again_and_sent_nothing(sent: Node, fake: FakePartner) -> None:
    confirm(sent, "find")
    at = fakes.FakeClock.advance(sent.clock, 60 * MINUTES)  # type: ignore[arg-type]
    assert {fakes.receive(sent, sample).kind for sample in MADE} == {Kind.DUPLICATE}
    assert (only(sent).state, only(sent).confirmed) == ("sent", 0)
    assert look_at(sent) == at + 60 * fakes.SECOND  # when nothing more has come for the study's quiet time
    drain(sent, fake)
    assert len(fake.sent) == 3
    with sent.database.read():
        events = [event.kind for event in audit.events()]
        case = proof.next_case("PUBPACS", at + 60 * fakes.SECOND)
    assert events.count("proof asked again") == 1
    assert case
    assert len(case.awaited) == 3


def test_what_is_sent_again_alone_is_asked_for_alone(sent: Node) -> None:
    confirm(sent, "find")
    fakes.receive(sent, MADE[1])
    with sent.database.read():
        case = proof.next_case("PUBPACS", sent.clock() + 3600 * fakes.SECOND)
    assert case
    assert [each.sop_instance_uid for each in case.awaited] == [MADE[1].sop_instance]


@pytest.mark.parametrize("waived", [True, False])
def test_who_cannot_be_asked_is_sent_it_once_each_time(
    build: Callable[..., Node], fake: FakePartner, waived: bool
) -> None:
    by = "status" if waived else "auto"
    node = build(fakes.CONFIG.replace("PUBPACS:  {site", f"PUBPACS:  {{confirm: {{by: {by}}}, site"))
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    drain(node, fake)
    for expected, minutes in ((3, 9), (6, 2), (6, 9), (6, 60), (9, 24 * 60)):
        fakes.FakeClock.advance(node.clock, minutes * MINUTES)  # type: ignore[arg-type]
        fakes.receive_all(node, MADE)
        drain(node, fake)
        fakes.receive_all(node, MADE)  # at once again: a modality that repeats itself
        drain(node, fake)
        assert len(fake.sent) == expected
    assert only(node).progress in ("sent", "confirmed")


def test_a_source_that_repeats_itself_is_heeded_once_a_day(here: Node, fake: FakePartner) -> None:
    fakes.receive_all(here, MADE)
    fakes.complete(here)
    drain(here, fake)
    for _ in range(2 * 24 * 2):  # two days
        fakes.FakeClock.advance(here.clock, 30 * MINUTES)  # type: ignore[arg-type]
        for sample in MADE:
            fakes.receive(here, sample)
            fakes.FakeClock.advance(here.clock, 1)  # type: ignore[arg-type]
        drain(here, fake)
    assert len(fake.sent) == 3 + 2 * 3
    with here.database.read():
        assert [event.kind for event in audit.events()].count("study sent again") == 2


def test_a_source_that_repeats_itself_delays_no_proof(sent: Node) -> None:
    confirm(sent, "find")
    first = sent.clock()
    for _ in range(10):
        fakes.receive(sent, MADE[0])
        fakes.FakeClock.advance(sent.clock, 50)  # type: ignore[arg-type]
    assert look_at(sent) == first + 60 * fakes.SECOND


def test_what_is_still_on_its_way_is_sent_once(here: Node, fake: FakePartner) -> None:
    fakes.receive_all(here, MADE)
    fakes.complete(here)
    fakes.FakeClock.advance(here.clock, 60 * MINUTES)  # type: ignore[arg-type]
    fakes.receive_all(here, MADE)
    drain(here, fake)
    assert len(fake.sent) == 3


def test_a_copy_in_another_encoding_asks_for_what_was_sent(sent: Node, fake: FakePartner) -> None:
    confirm(sent, "find")
    dataset = encode(decode(MADE[0].dataset), IMPLICIT)
    assert fakes.receive(sent, replace(MADE[0], transfer_syntax=IMPLICIT, dataset=dataset)).kind is Kind.VARIANT
    assert only(sent).state == "sent"
    assert look_at(sent)


@pytest.mark.parametrize("titles", [["TO_GENERAL"], ["REFERNODE", "TO_GENERAL"]])
def test_a_copy_in_another_encoding_may_be_sent_to_be_referred(
    here: Node, fake: FakePartner, titles: list[str]
) -> None:
    """For the first time or for the second: what goes is the version that is current."""
    fakes.receive(here, MADE[0], called="REFERNODE")
    variant = replace(MADE[0], transfer_syntax=IMPLICIT, dataset=encode(decode(MADE[0].dataset), IMPLICIT))
    for title in titles:
        assert fakes.receive(here, variant, called=title).kind in (Kind.VARIANT, Kind.DUPLICATE)
    fakes.complete(here)
    drain(here, fake)
    assert [each.dataset for each in fake.sent] == [MADE[0].dataset]


def test_what_is_in_doubt_is_not_sent_again(sent: Node, fake: FakePartner) -> None:
    sent.database.write(lambda: refer.correct(1, "a new name", sent.clock(), sent))
    fakes.FakeClock.advance(sent.clock, 60 * MINUTES)  # type: ignore[arg-type]
    fakes.receive_all(sent, MADE)
    drain(sent, fake)
    assert len(fake.sent) == 3
    assert only(sent).gate == "held"
    sent.database.write(lambda: refer.end_doubt(1, "it is right", sent.clock(), sent))
    drain(sent, fake)
    assert len(fake.sent) == 6


# -- evicted, and damaged --------------------------------------------------------------------------------------


def mark(node: Node, sql: str) -> None:
    node.database.write(lambda: execute(f"UPDATE instances SET {sql}"))


def test_what_was_evicted_and_comes_again_is_taken_in_without_alarm(
    sent: Node, caplog: pytest.LogCaptureFixture
) -> None:
    before = fakes.files(sent)
    for file in before:
        sent.archive.path(file).unlink()
    mark(sent, "evicted_at = 7")
    assert {each.kind for each in fakes.receive_all(sent, MADE)} == {Kind.DUPLICATE}
    assert len(fakes.files(sent)) == 3
    assert not fakes.files(sent) & before
    with sent.database.read():
        kept = [one("SELECT file, current, evicted_at FROM instances WHERE id = ?", n) for n in (1, 2, 3)]
        assert [doubts.of(1), {file for file, *_ in kept}] == [None, fakes.files(sent)]
    assert [row[1:] for row in kept] == [(1, None)] * 3
    assert not [record for record in caplog.records if record.levelname == "CRITICAL"]


def test_what_is_damaged_and_comes_again_replaces_it(sent: Node) -> None:
    """A bit has flipped: the length is right, and only the scrubber knows."""
    before = fakes.files(sent)
    mark(sent, "damage = 'its digest differs'")
    fakes.receive_all(sent, MADE)
    assert len(fakes.files(sent)) == 3
    assert not fakes.files(sent) & before
    with sent.database.read():
        assert one("SELECT max(damage) FROM instances") == ("",)


CHANGES = [
    ("another name", {"PatientName": "OTHER"}, Kind.CORRECTION),
    ("other rows", {"Rows": 3}, Kind.CONFLICT),
    ("another encoding", {}, Kind.VARIANT),
]


@pytest.mark.parametrize(("attributes", "kind"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_a_second_version_of_what_was_evicted_is_compared_with_the_index(
    sent: Node, attributes: dict[str, object], kind: Kind
) -> None:
    for file in fakes.files(sent):
        sent.archive.path(file).unlink()
    mark(sent, "evicted_at = 7")
    dataset = decode(MADE[0].dataset)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    syntax = MADE[0].transfer_syntax if attributes else IMPLICIT
    again = replace(MADE[0], transfer_syntax=syntax, dataset=encode(dataset, syntax))
    assert fakes.receive(sent, again).kind is kind


# -- a person's word -------------------------------------------------------------------------------------------


def test_what_is_not_confirmed_is_sent_again(sent: Node, fake: FakePartner) -> None:
    sent.database.write(lambda: proof.has(transfers()[1:2], sent.clock()))
    (done,) = resend.resend([1], "they lost it", "anna", sent)
    assert (done.queued, done.gone, done.referral.progress) == (2, 0, "sending")
    drain(sent, fake)
    assert fake.uids[3:] == [MADE[0].sop_instance, MADE[2].sop_instance]
    assert only(sent).state == "sent"
    with sent.database.read():
        assert "queued again by anna, 2 of its instances: they lost it" in [event.text for event in audit.events()]


def test_everything_is_sent_again_where_that_is_asked_for(sent: Node, fake: FakePartner) -> None:
    confirm(sent, "find")
    (done,) = resend.resend([1], "", "anna", sent)
    assert (done.queued, only(sent).state) == (0, "confirmed")
    (done,) = resend.resend([1, 1], "", "anna", sent, everything=True)
    assert (done.queued, only(sent).state, only(sent).confirmed) == (3, "sending", 0)
    drain(sent, fake)
    assert len(fake.sent) == 6


def test_what_is_gone_is_not_sent_again(sent: Node) -> None:
    mark(sent, "evicted_at = 7 WHERE id = 1")
    (done,) = resend.resend([1], "", "anna", sent)
    assert (done.queued, done.gone) == (2, 1)


def test_a_version_that_was_replaced_is_not_sent_again(sent: Node) -> None:
    mark(sent, "current = 0 WHERE id = 1")
    (done,) = resend.resend([1], "", "anna", sent, everything=True)
    assert done.queued == 2
    lacked = sent.database.write(lambda: queue.lacks(transfers(), sent.clock()))
    assert lacked == []  # two are queued, one is not current


def test_a_referral_that_there_is_not_changes_nothing(sent: Node) -> None:
    with pytest.raises(UsageError, match="no referral 99"):
        resend.resend([1, 99], "", "anna", sent)
    assert only(sent).state == "sent"


@pytest.mark.parametrize("left", ["", "  PUBPACS:  {site: general}\n"])
def test_what_comes_again_for_a_partner_that_is_gone_is_held(
    build: Callable[..., Node], fake: FakePartner, left: str
) -> None:
    """Nobody could send it, and nobody would ask for it: that is to be seen."""
    clock = fakes.FakeClock()
    node = build(clock=clock)
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    drain(node, fake)
    node.database.write(lambda: proof.learn("PUBPACS", "find", clock()))
    line = "  PUBPACS:  {site: general, host: 10.9.0.5, port: 104, may: [find, move]}\n"
    config = fakes.CONFIG.replace(line, left).replace("[PUBPACS]", "[PUB_WS]")
    node = build(config, clock=clock)
    housekeep.strand(node)
    clock.advance(3600)
    fakes.receive_all(node, MADE)
    with node.database.read():
        (found,) = referrals.listed(partner="PUBPACS")
    assert (found.gate, found.reason) == ("held", gates.no_partner("PUBPACS"))
