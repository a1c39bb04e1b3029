"""operations/vet.py: a study is looked at as one before it goes, and nothing leaves by hand that would be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dicomnode.errors import CannotDecide, GateClosed
from dicomnode.operations import complete, intake, quarantine, refer, resend, retrieve, vet
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.operations.quarantine import Outcome
from dicomnode.rules.matching import Model
from dicomnode.rules.referred import Expected
from dicomnode.store import audit, doubts, expected, patients, queue, referrals
from dicomnode.store.database import execute
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakeClock, FakePartner
from tests.samples import Sample, make_instances

ANNA = {"PatientID": "H1", "PatientName": "TESTER^ANNA", "PatientBirthDate": "19800512", "PatientSex": "F"}
BERT = {"PatientID": "H2", "PatientName": "OTHER^BERT", "PatientBirthDate": "19791231", "PatientSex": "M"}
TWO = fakes.CONFIG.replace("data: ./data,", "data: ./data, operators: 2,")
UNCHECKED = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}")
HASTY = fakes.CONFIG.replace("wait: 60s}", "wait: 0s}")
REQUIRED = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, require: referral}")
REFERRAL = Expected(
    *(0, "R-1", "HKID_RIS", "H1", "HARBOUR", "TESTER^ANNA", "19800512", "F", "", "", "", "", False, "", "", ""),
    *("list.csv", 1, None),
)


def made(*said: dict[str, str]) -> list[Sample]:
    """One study, an instance for each."""
    return [make_instances(at, seed="vet", **each)[-1] for at, each in enumerate(said, 1)]  # type: ignore[arg-type]


def come(node: Node, *said: dict[str, str]) -> None:
    """A study has come, and is complete."""
    fakes.receive_all(node, made(*said))
    fakes.complete(node)


def expect(node: Node, **said: str) -> None:
    node.database.write(lambda: expected.put(replace(REFERRAL, **said)))  # type: ignore[arg-type]


def again(node: Node) -> None:
    node.database.write(lambda: vet.vet(1, node.clock(), node))


def send(node: Node, partner: str = "PUBPACS") -> int:
    fake = FakePartner()
    while forward(node.config.partners[partner], fake, node, lambda: False):
        pass
    return len(fake.sent)


def only(node: Node) -> Referral:
    with node.database.read():
        (found,) = referrals.listed()
    return found


def release(node: Node, who: str = "anna") -> Outcome:
    return quarantine.release("1", None, "called the ward", who, node)


def told(node: Node, *kinds: str) -> list[str]:
    with node.database.read():
        return [event.kind for event in audit.events() if event.kind in kinds]


# -- when it is complete -----------------------------------------------------------------------------------------


def test_a_clean_study_goes(here: Node) -> None:
    expect(here)
    come(here, ANNA, ANNA)
    assert (only(here).gate, send(here)) == ("open", 2)


@pytest.mark.parametrize(
    ("said", "gate"),
    [
        (BERT, "quarantined"),
        ({**ANNA, "PatientID": ""}, "held"),
        ({**ANNA, "PatientName": "TESTER^ANNE"}, "held"),
    ],
)
def test_one_image_stops_all_of_its_study(here: Node, said: dict[str, str], gate: str) -> None:
    come(here, ANNA, ANNA, said)
    found = only(here)
    assert (found.state, send(here)) == (gate, 0)
    assert "dicomnode quarantine show 1" in found.reason
    assert told(here, "study held", "study quarantined") == [f"study {gate}"]


def test_nothing_of_it_goes_to_anybody(build: Callable[..., Node]) -> None:
    other = "  - {name: second, from: [harbour], to: [ISLPACS], wait: 60s, identity: none}\n"
    node = build(fakes.CONFIG + other)
    come(node, ANNA, BERT)
    with node.database.read():
        assert [each.gate for each in referrals.listed()] == ["quarantined"] * 2


@pytest.mark.parametrize("config", [UNCHECKED, HASTY])
def test_what_is_not_checked_goes(build: Callable[..., Node], config: str) -> None:
    node = build(config)
    come(node, ANNA, BERT)
    assert (only(node).gate, send(node)) == ("open", 2)


@pytest.mark.parametrize(
    ("said", "gate"),
    [
        ({"patient_id": "H2"}, "quarantined"),
        ({"patient_birth_date": "19800513"}, "quarantined"),
        ({"patient_birth_date": "1980"}, "held"),
        ({"patient_name": "OTHER^ANNA"}, "held"),
        ({"patient_id": "A1234563", "issuer_of_patient_id": "HKID"}, "open"),
    ],
)
def test_a_study_is_held_against_its_referral(here: Node, said: dict[str, str], gate: str) -> None:
    expect(here, accession_number="A1", **said)
    come(here, {**ANNA, "AccessionNumber": "A1"})
    assert only(here).gate == gate


def test_a_late_image_is_vetted_too(here: Node) -> None:
    come(here, ANNA)
    assert send(here) == 1
    fakes.receive_all(here, made(ANNA, BERT))
    fakes.complete(here)
    assert (only(here).state, send(here)) == ("quarantined", 0)


def test_a_study_by_a_person_s_word_is_vetted(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, BERT))
    complete.by_word([1], "anna", here)
    assert (only(here).state, send(here)) == ("quarantined", 0)


# -- when something changes --------------------------------------------------------------------------------------


def test_what_was_held_goes_when_its_referral_is_right(here: Node) -> None:
    expect(here, patient_name="OTHER^ANNA")
    come(here, ANNA)
    assert only(here).gate == "held"
    here.database.write(lambda: execute("UPDATE expected SET patient_name = 'Tester^Anna'"))
    again(here)
    assert (only(here).gate, only(here).reason, send(here)) == ("open", "", 1)


def test_what_is_quarantined_stays_so(here: Node) -> None:
    expect(here, patient_sex="M")
    come(here, ANNA)
    here.database.write(lambda: execute("UPDATE expected SET patient_sex = 'F'"))
    again(here)
    assert (only(here).gate, send(here)) == ("quarantined", 0)
    release(here)
    assert send(here) == 1


def test_another_configuration_looks_again(build: Callable[..., Node]) -> None:
    come(build(UNCHECKED), ANNA, {**ANNA, "PatientID": ""})
    node = build()
    vet.vet_all(node)
    assert only(node).gate == "held"
    node = build(UNCHECKED)
    vet.vet_all(node)
    assert (only(node).gate, send(node)) == ("open", 2)


def test_what_waited_is_judged_by_the_new_rules_before_it_leaves(build: Callable[..., Node]) -> None:
    """Though nobody has looked at what waits yet."""
    come(build(UNCHECKED), ANNA, {**ANNA, "PatientID": ""})
    node = replace(build(), generation=2)
    assert (send(node), only(node).gate) == (0, "held")


def test_all_that_waits_is_judged_bit_by_bit(build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vet, "_PAGE", 1)
    node = build(UNCHECKED)
    for number in range(3):
        fakes.receive_all(node, make_instances(2, seed=f"bit {number}"))
    fakes.complete(node)
    node = replace(node, generation=2)
    assert vet.vet_all(node, 0, -1) == 0
    assert vet.vet_all(node, 1, 60) is None
    with node.database.read():
        assert [patients.is_judged(study, 2) for study in (1, 2, 3)] == [False, True, True]


def test_a_partner_that_failed_is_sent_nothing_unjudged_either(build: Callable[..., Node]) -> None:
    clock = FakeClock()
    old = build(UNCHECKED, clock=clock)
    come(old, ANNA, {**ANNA, "PatientID": ""})
    assert forward(old.config.partners["PUBPACS"], FakePartner(unreachable=True), old, lambda: False)
    clock.advance(3600)
    node = replace(build(clock=clock), generation=2)
    assert (send(node), only(node).gate) == (0, "held")


def test_who_still_has_the_old_rules_lets_nothing_go_by_the_new_ones(build: Callable[..., Node]) -> None:
    come(build(UNCHECKED), ANNA, {**ANNA, "PatientID": ""})
    old = build(UNCHECKED)
    new = replace(old, config=fakes.configuration(fakes.CONFIG, old.archive.root.parent), generation=2)
    vet.vet_all(new)
    vet.vet_all(old)
    assert (only(new).gate, send(new), only(new).gate) == ("open", 0, "held")


@pytest.mark.parametrize("config", [HASTY, fakes.CONFIG])
def test_what_no_rule_stops_goes_under_any_configuration(build: Callable[..., Node], config: str) -> None:
    fakes.receive_all(build(config), made(ANNA, ANNA))
    node = replace(build(config), generation=2)
    if config is not HASTY:
        fakes.complete(node)
    node = replace(node, generation=3)
    assert send(node) == 2
    assert resend.resend([1], "lost", "anna", node)
    assert send(replace(node, generation=4)) == 2


# -- what came before patients were compared ---------------------------------------------------------------------


@pytest.fixture
def upgraded(build: Callable[..., Node]) -> Node:
    """An earlier version has received a study of two patients, and did not look."""
    come(build(UNCHECKED), ANNA, BERT)
    node = build()

    def forget() -> None:
        execute("DELETE FROM study_patients")
        execute("UPDATE studies SET compared = 0, quarantine = ''")
        refer.weigh(1, "", node.clock(), node)

    node.database.write(forget)
    assert only(node).gate == "open"
    return node


def test_nothing_leaves_before_it_was_compared(upgraded: Node) -> None:
    assert (send(upgraded), only(upgraded).gate) == (0, "quarantined")


def test_what_was_judged_before_it_was_compared_is_judged_again(upgraded: Node) -> None:
    vet.vet_all(upgraded)
    assert only(upgraded).gate == "open"
    assert not vet.catch_up(upgraded, 60)
    assert only(upgraded).gate == "quarantined"


def test_what_was_not_compared_is_not_moved(upgraded: Node) -> None:
    destination = upgraded.config.partners["PUBPACS"]
    with upgraded.database.read():
        assert "being compared" in retrieve.closed(1, destination, upgraded)
    vet.catch_up(upgraded, 60)
    with upgraded.database.read():
        assert "being compared" not in retrieve.closed(1, destination, upgraded)


def test_to_catch_up_takes_as_long_as_it_may(upgraded: Node) -> None:
    fakes.receive_all(upgraded, make_instances(2, seed="more"))
    upgraded.database.write(lambda: execute("UPDATE studies SET compared = 0"))
    assert vet.catch_up(upgraded, -1)
    assert not vet.catch_up(upgraded, 60)


def test_a_file_that_cannot_be_read_stops_no_comparison(upgraded: Node) -> None:
    with upgraded.database.read():
        (_, file, _), *_ = patients.files(1)
    upgraded.archive.path(file).unlink()
    assert not vet.catch_up(upgraded, 60)
    assert only(upgraded).gate == "quarantined"


# -- a person's word ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [BERT, {**ANNA, "PatientID": ""}])
def test_what_a_person_let_go_is_not_stopped_again(here: Node, said: dict[str, str]) -> None:
    come(here, ANNA, said)
    assert release(here).waits == ""
    again(here)
    assert (only(here).gate, send(here)) == ("open", 2)
    with here.database.read():
        assert doubts.of(1) is None


def test_another_doubt_stops_it(here: Node) -> None:
    come(here, ANNA, BERT)
    release(here)
    fakes.receive_all(here, made(ANNA, BERT, {**BERT, "PatientID": "H3"}))
    fakes.complete(here)
    assert (only(here).gate, send(here)) == ("quarantined", 0)


def test_what_is_right_as_to_versions_may_be_another_s_still(here: Node) -> None:
    come(here, ANNA, ANNA)
    fakes.receive_all(here, made({**BERT, "PatientName": "BERT^OTHER"}))
    done = quarantine.release("1", 2, "called the ward", "anna", here)
    assert "2 patients" in done.waits
    assert (only(here).gate, send(here)) == ("quarantined", 0)


def test_a_person_keeps_a_study_here(here: Node) -> None:
    come(here, ANNA, BERT)
    done = quarantine.reject("1", "it is Bert's", "anna", here)
    assert done.waits == "rejected by anna: it is Bert's"
    again(here)
    assert (only(here).state, send(here)) == ("quarantined", 0)
    release(here)
    assert send(here) == 2


WRONG = {"patient_birth_date": "19800513", "accession_number": "A1"}
OF_A1 = {**ANNA, "AccessionNumber": "A1"}


def put_right() -> None:
    """The referral says the right birth date."""
    execute("UPDATE expected SET patient_birth_date = '19800512'")


@pytest.mark.parametrize("before", [False, True])
def test_to_reject_lets_nothing_go_even_what_is_right_by_now(here: Node, before: bool) -> None:
    expect(here, **WRONG)
    come(here, OF_A1)
    if before:
        quarantine.reject("1", "it is not hers", "anna", here)
    here.database.write(put_right)
    again(here)
    done = quarantine.reject("1", "it is not hers", "anna", here)
    assert done.waits == "rejected by anna: it is not hers"
    assert (only(here).state, send(here)) == ("quarantined", 0)


@pytest.mark.parametrize("decide", ["reject", "release"])
def test_what_a_person_keeps_a_word_on_a_version_does_not_let_go(here: Node, decide: str) -> None:
    expect(here, **WRONG)
    come(here, OF_A1)
    quarantine.reject("1", "it is not hers", "anna", here)
    here.database.write(put_right)
    come(here, {**OF_A1, "PatientName": "TESTER^ANNA^X"})
    if decide == "reject":
        done = quarantine.reject("1", "the first is right", "anna", here)
    else:
        done = quarantine.release("1", 2, "the second is right", "anna", here)
    assert (done.undecided, done.waits) == (0, "rejected by anna: it is not hers")
    assert (only(here).state, send(here)) == ("quarantined", 0)
    release(here)
    assert send(here) == 1


def test_two_persons_say_the_same(build: Callable[..., Node]) -> None:
    node = build(TWO)
    come(node, ANNA, BERT)
    assert "anna proposes" in release(node).waits
    assert (only(node).gate, send(node)) == ("quarantined", 0)
    with pytest.raises(CannotDecide, match="another person"):
        release(node)
    assert send(node) == 0
    assert release(node, "bert").waits == ""
    assert send(node) == 2
    with node.database.read():
        (done,) = (event for event in audit.events() if event.kind == "quarantine released")
    assert "anna" in done.text
    assert "bert" in done.text


def test_two_persons_decide_on_the_same(build: Callable[..., Node]) -> None:
    node = build(TWO)
    come(node, ANNA, BERT)
    release(node)
    fakes.receive_all(node, made(ANNA, BERT, {**BERT, "PatientID": "H3"}))
    fakes.complete(node)
    assert "bert proposes" in release(node, "bert").waits
    assert send(node) == 0
    release(node, "anna")
    assert send(node) == 3


def test_two_persons_choose_the_same_version(build: Callable[..., Node]) -> None:
    node = build(TWO)
    come(node, ANNA, ANNA)
    fakes.receive_all(node, made(*[{**ANNA, "PatientName": "ANNA^TESTER"}] * 2))
    for who, version, chosen in (("anna", 2, 0), ("bert", 1, 0), ("bert", 2, 0), ("anna", 2, 2)):
        assert quarantine.release("1", version, "called", who, node).chosen == chosen
    assert only(node).gate == "open"


def test_two_persons_want_the_same(build: Callable[..., Node]) -> None:
    node = build(TWO)
    first, second = made(ANNA, ANNA)
    fakes.receive(node, first)
    fakes.receive(node, second, partner="PEAK_CT")  # which flags the study
    assert "anna proposes" in quarantine.reject("1", "leave it", "anna", node).waits
    assert "bert proposes" in release(node, "bert").waits
    assert release(node, "anna").waits == ""


def test_one_person_is_enough_to_keep_it(build: Callable[..., Node]) -> None:
    node = build(TWO)
    come(node, ANNA, BERT)
    assert "rejected" in quarantine.reject("1", "it is Bert's", "anna", node).waits


# -- by hand, and by C-MOVE --------------------------------------------------------------------------------------


def move(node: Node, title: str = "PUBPACS") -> int:
    """How many instances would go."""
    asked = fakes.asked("STUDY", StudyInstanceUID=made(ANNA)[0].study)
    plan = retrieve.plan(retrieve.Asked(asked, Model.STUDY_ROOT), title, node.config.partners["RAD_WS"], node)
    return len(plan.going)


@pytest.mark.parametrize("called", ["REFERNODE", "TO_GENERAL"])
@pytest.mark.parametrize(("said", "gate"), [(BERT, "quarantined"), ({**ANNA, "PatientID": ""}, "held")])
def test_a_move_is_refused_where_the_route_would_have_stopped_it(
    here: Node, called: str, said: dict[str, str], gate: str
) -> None:
    fakes.receive_all(here, made(ANNA, said), called=called)
    with pytest.raises(GateClosed, match=r"dicomnode quarantine list`$") as raised:
        move(here)
    assert len(str(raised.value)) <= 64  # all of an Error Comment
    with here.database.read():
        found = doubts.of(1)
    assert found
    assert found.state == gate  # whom a person can ask
    with pytest.raises(GateClosed, match="dicomnode quarantine"):
        move(here)
    release(here)
    assert move(here) == 2


def test_a_clean_study_is_moved(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, ANNA), called="REFERNODE")
    assert move(here) == 2
    assert only(here).partner == "PUBPACS"
    with here.database.read():
        assert doubts.of(1) is None


def test_a_partner_of_no_route_that_checks_gets_what_a_person_moves_of_one_patient(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, {**ANNA, "PatientID": ""}), called="REFERNODE")
    assert move(here, "ISLPACS") == 2
    assert only(here).partner == "ISLPACS"
    with here.database.read():
        assert doubts.of(1) is None
    fakes.receive_all(here, made(ANNA, ANNA, BERT)[2:], called="REFERNODE")
    with pytest.raises(GateClosed, match="in doubt"):
        move(here, "ISLPACS")


def test_who_is_refused_at_one_ae_of_a_hospital_is_refused_at_the_next(build: Callable[..., Node]) -> None:
    node = build(REQUIRED)
    come(node, ANNA)
    for title in ("PUBPACS", "PUB_WS"):
        with pytest.raises(GateClosed, match="referral"):
            move(node, title)
    expect(node, destination="PUBPACS")
    again(node)
    assert (move(node), move(node, "PUB_WS")) == (1, 1)  # it names the hospital


def test_whom_a_referral_names_is_kept_to_by_any_way(build: Callable[..., Node]) -> None:
    node = build(REQUIRED)
    expect(node, destination="PUBPACS")
    come(node, ANNA)
    with pytest.raises(GateClosed, match="names PUBPACS, and not ISLPACS"):
        move(node, "ISLPACS")


def test_what_is_sent_with_the_patient_id_of_its_referral_is_looked_at_first(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("host: 10.8.0.5,", "host: 10.8.0.5, coerce: {patient_id: HKID},"))
    expect(node, patient_id="A1234563", issuer_of_patient_id="HKID", accession_number="A1")
    fakes.receive_all(node, made({**BERT, "AccessionNumber": "A1"}), called="REFERNODE")
    with pytest.raises(GateClosed, match="in doubt"):
        move(node, "ISLPACS")


def test_what_a_doubt_stops_is_not_sent_by_hand(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, {**ANNA, "PatientID": ""}), called="REFERNODE")
    destination = here.config.partners["PUBPACS"]
    with here.database.read():
        assert "in doubt" in retrieve.closed(1, destination, here)
        assert retrieve.closed(1, here.config.partners["ISLPACS"], here) == ""


# -- as things are now, and as they are sent ---------------------------------------------------------------------

COERCED = fakes.CONFIG.replace("10.9.0.5,", "10.9.0.5, coerce: {patient_id: HKID},").replace(
    "wait: 60s}", "wait: 60s, require: referral}"
)


@pytest.mark.parametrize("called", ["REFERNODE", "TO_GENERAL"])
def test_a_study_that_is_not_whole_is_held_against_its_referral(here: Node, called: str) -> None:
    """Nothing remembers yet which it belongs to."""
    expect(here, accession_number="A1")
    fakes.receive_all(here, made({**BERT, "AccessionNumber": "A1"}), called=called)
    with here.database.read():
        assert "in doubt" in retrieve.closed(1, here.config.partners["PUBPACS"], here)
    with pytest.raises(GateClosed, match="in doubt"):
        move(here)


def test_a_copy_is_not_given_the_patient_id_of_somebody_else(build: Callable[..., Node]) -> None:
    node = build(COERCED)
    expect(node, accession_number="A1", patient_id="A1234563", issuer_of_patient_id="HKID")
    fakes.receive_all(node, made({**BERT, "AccessionNumber": "A1"}))
    with pytest.raises(GateClosed, match="in doubt"):
        move(node)


def test_what_goes_again_is_looked_at_again(build: Callable[..., Node]) -> None:
    """Another patient's referral has been found for it since."""
    node = build(COERCED)
    expect(node, accession_number="A1", patient_id="A1234563", issuer_of_patient_id="HKID")
    come(node, {**ANNA, "AccessionNumber": "A1"})
    assert send(node) == 1
    intake.cancel("R-1", None, "a mistake", "anna", node)
    other = {"patient_id": "B7654325", "patient_name": "OTHER^BERT", "patient_birth_date": "19791231"}
    expect(node, number="R-2", accession_number="A1", issuer_of_patient_id="HKID", **other)
    resend.resend([1], "lost", "anna", node)
    assert (send(node), only(node).gate) == (0, "quarantined")


@pytest.mark.parametrize("again", ["resend", "lacks", "retry"])
def test_what_goes_again_needs_its_referral_still(build: Callable[..., Node], again: str) -> None:
    node = build(fakes.CONFIG.replace("wait: 60s}", "wait: 60s, require: referral}"))
    expect(node, accession_number="A1")
    come(node, {**ANNA, "AccessionNumber": "A1"})
    status = 0x0122 if again == "retry" else 0
    while forward(node.config.partners["PUBPACS"], FakePartner(status=status), node, lambda: False):
        pass
    intake.cancel("R-1", None, "a mistake", "anna", node)
    if again == "resend":
        resend.resend([1], "lost", "anna", node)
    else:
        back = queue.lacks if again == "lacks" else queue.retry
        assert node.database.write(lambda: back([1], node.clock()))
    assert (send(node), only(node).gate) == (0, "held")


ONLY = fakes.CONFIG.replace("wait: 60s}", "only: {series_description: GO}, wait: 60s}")


def test_an_image_that_stays_here_stops_those_that_would_go(build: Callable[..., Node]) -> None:
    node = build(ONLY)
    come(node, {**ANNA, "SeriesDescription": "GO"})
    fakes.receive(node, made(ANNA, {**BERT, "SeriesDescription": "STAY", "SeriesInstanceUID": "2.25.99"})[1])
    assert only(node).progress == "complete"
    assert (send(node), only(node).gate) == (0, "quarantined")


@pytest.mark.parametrize("config", [fakes.CONFIG, ONLY])
@pytest.mark.parametrize("late", [ANNA, BERT])
def test_another_patient_s_image_stops_a_batch_that_is_under_way(
    build: Callable[..., Node], config: str, late: dict[str, str]
) -> None:
    """One of the same patient does where it goes too, because then there is more to wait for."""
    node = build(config)
    come(node, *[{**ANNA, "SeriesDescription": "GO"}] * 30)
    again = make_instances(31, seed="vet", **late, SeriesInstanceUID="2.25.99")[-1]  # type: ignore[arg-type]

    def come_late(_: object) -> None:
        if len(fake.sent) == 1:
            fakes.receive(node, again)

    fake = FakePartner(on_send=come_late)
    assert forward(node.config.partners["PUBPACS"], fake, node, lambda: False)
    assert len(fake.sent) == (30 if late is ANNA and config is ONLY else 20)
    fakes.complete(node)
    left = 0 if late is BERT or config is ONLY else 11
    assert (send(node), only(node).gate) == (left, "open" if late is ANNA else "quarantined")
