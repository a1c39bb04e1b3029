"""operations/expect.py and intake.py: referrals in advance come to be known, and their studies go on, or wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.errors import UsageError
from dicomnode.operations import expect, intake, vet
from dicomnode.operations.intake import Imported, What
from dicomnode.operations.ports import Node
from dicomnode.store import audit, database, expected, index, referrals
from dicomnode.store.database import one
from dicomnode.store.expected import Expected
from tests import fakes
from tests.samples import Sample, make_instances

CONFIG = fakes.CONFIG.replace(
    "wait: 60s}",
    "wait: 60s, require: referral}\n"
    "  - {name: island, from: [harbour], when: {called: TO_GENERAL}, to: [ISLPACS], wait: 60s, require: referral}\n"
    "  - {name: free, from: [peak], when: {called: TO_GENERAL}, to: [PUBPACS], wait: 60s}",
)
PATIENT = {"PatientID": "A1", "PatientName": "CHAN^TAI MAN", "PatientBirthDate": "19700131", "PatientSex": "M"}
COLUMNS = ("number", "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex")
R1 = {
    **dict(zip(COLUMNS, ("R-1", "A1", "HARBOUR", "CHAN^TAI MAN", "19700131", "M"), strict=True)),
    "destination": "PUBPACS",
}


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """With routes from harbour that require a referral."""
    return build(CONFIG)


def told(node: Node, *rows: dict[str, str], name: str = "referrals.csv", check: bool = False) -> Imported:
    """Import rows as a file of them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    data = "\n".join(",".join(cells) for cells in lines).encode()
    return intake.import_file(data, name, "anna", node, check=check)


def arrives(
    node: Node,
    seed: str = "one",
    requested: str = "",
    partner: str = "CT1",
    called: str = "TO_GENERAL",
    **attributes: object,
) -> Sample:
    """A study of two instances has come whole."""
    if requested:
        item = Dataset()
        item.RequestedProcedureID = requested
        attributes["RequestAttributesSequence"] = Sequence([item])
    made = make_instances(2, seed=seed, **(PATIENT | attributes))
    fakes.receive_all(node, made, partner, called=called)
    fakes.complete(node)
    return made[0]


def gates(node: Node) -> dict[str, tuple[str, str]]:
    """Gate and reason of the newest study's referrals, by partner."""
    with node.database.read():
        found = referrals.listed()
        return {r.partner: (r.gate, r.reason) for r in found if r.study_instance_uid == found[0].study_instance_uid}


def number_of(node: Node) -> str:
    """That of the newest study's referral in advance."""
    with node.database.read():
        return referrals.listed()[0].number


def kinds(node: Node) -> list[str]:
    with node.database.read():
        return [each.kind for each in audit.events()]


# -- what waits, and what goes on ------------------------------------------------------------------------------


def test_without_a_referral_a_study_waits_and_says_what_to_do(node: Node) -> None:
    arrives(node)
    gate, reason = gates(node)["PUBPACS"]
    assert gate == "held"
    assert "no referral in advance is found for it: import it (`dicomnode referrals import`)" in reason


def test_with_its_number_it_goes_to_whom_its_referral_names_alone(node: Node) -> None:
    told(node, R1)
    arrives(node, requested="R-1")
    found = gates(node)
    assert found["PUBPACS"] == ("open", "")
    assert found["ISLPACS"] == ("held", "its referral (R-1) names PUBPACS, and not ISLPACS")
    assert number_of(node) == "R-1"


def test_a_study_that_waits_goes_on_by_itself_when_its_referral_comes(node: Node) -> None:
    arrives(node)
    told(node, R1)
    assert gates(node)["PUBPACS"] == ("open", "")
    assert {"study matched", "referral released"} <= set(kinds(node))


def test_a_referral_without_destination_goes_as_the_route_says(node: Node) -> None:
    told(node, R1 | {"destination": ""})
    arrives(node)
    assert {gate for gate, _ in gates(node).values()} == {"open"}


def test_a_route_that_requires_none_waits_for_none_and_finds_it_all_the_same(node: Node) -> None:
    arrives(node, partner="PEAK_CT", IssuerOfPatientID="HARBOUR")
    assert gates(node)["PUBPACS"] == ("open", "")
    told(node, R1 | {"number": "R-2", "destination": "ISLPACS"})
    arrives(node, "two", partner="PEAK_CT", IssuerOfPatientID="HARBOUR", requested="R-2")
    assert gates(node)["PUBPACS"] == ("open", "")
    assert number_of(node) == "R-2"


def test_by_hand_the_routes_of_its_own_site_count(node: Node) -> None:
    arrives(node, "peak", partner="PEAK_CT", called="REFERNODE")
    arrives(node, "harbour", called="REFERNODE")
    with node.database.read():
        assert expect.why_not(1, "ISLPACS", node) == ""  # the one that requires a referral is for harbour's studies
        assert "no referral in advance" in expect.why_not(2, "ISLPACS", node)
        assert expect.why_not(1, "PUBPACS", node) == ""


def test_a_referral_told_of_again_is_of_the_same_patient_however_the_issuer_is_written(node: Node) -> None:
    told(node, R1)
    (known,) = intake.take([replace(known_as(node, "R-1"), issuer_of_patient_id="harbour", procedure="CT")], "X", node)
    assert (known.what, known.text) == (What.CHANGED, "issuer_of_patient_id, procedure")
    (other,) = intake.take([replace(known_as(node, "R-1"), issuer_of_patient_id="PEAK")], "X", node)
    assert other.what is What.REFUSED


def known_as(node: Node, number: str) -> Expected:
    with node.database.read():
        (known,) = expected.of_number(number)
    return known


def test_two_that_fit_are_told_apart_by_a_person(node: Node) -> None:
    told(node, R1, R1 | {"number": "R-2"})
    sample = arrives(node)
    assert "2 referrals in advance fit it (R-1, R-2)" in gates(node)["PUBPACS"][1]
    intake.match(sample.study, "R-2", None, "anna", node)
    assert gates(node)["PUBPACS"] == ("open", "")
    assert number_of(node) == "R-2"
    with node.database.read():
        (event,) = [each for each in audit.events() if each.kind == "study matched"]
    assert (event.who, event.text) == ("anna", "to referral R-2, by a person's word")


def test_a_persons_word_stands_against_a_number(node: Node) -> None:
    told(node, R1, R1 | {"number": "R-2"})
    sample = arrives(node, requested="R-1")
    intake.match(sample.study, "R-2", None, "anna", node)
    told(node, R1 | {"recipient": "Dr Lee"})
    assert number_of(node) == "R-2"


def test_a_number_that_comes_to_be_known_overrules_the_patient(node: Node) -> None:
    told(node, R1)
    arrives(node, requested="R-2")
    assert number_of(node) == "R-1", "the only one of its patient"
    told(node, R1 | {"number": "R-2"})
    assert number_of(node) == "R-2"


def test_a_referral_whose_study_has_come_is_open_for_no_other(node: Node) -> None:
    told(node, R1)
    arrives(node, "one")
    arrives(node, "two")
    assert "no referral in advance" in gates(node)["PUBPACS"][1]
    arrives(node, "three", requested="R-1")
    assert gates(node)["PUBPACS"] == ("open", ""), "by its number, a referral may have two studies"


def test_an_urgent_one_makes_its_study_urgent(node: Node) -> None:
    told(node, R1 | {"urgent": "yes"})
    arrives(node)
    with node.database.read():
        assert one("SELECT min(urgent) FROM referrals")[0] == 1


def test_the_same_id_of_another_issuer_is_another_patient(node: Node) -> None:
    told(node, R1 | {"issuer_of_patient_id": "HKID"})
    arrives(node)
    assert "no referral in advance" in gates(node)["PUBPACS"][1]


# -- by a hand -------------------------------------------------------------------------------------------------


def test_by_a_hand_a_route_that_requires_a_referral_counts(node: Node) -> None:
    fakes.receive_all(node, make_instances(1, seed="hand", **PATIENT), called="REFERNODE")  # no route chose it
    with node.database.read():
        assert "no referral in advance" in expect.why_not(1, "PUBPACS", node)
        assert expect.why_not(1, "RAD_WS", node) == ""
    told(node, R1)
    with node.database.read():
        assert expect.why_not(1, "PUBPACS", node) == ""
        assert "names PUBPACS" in expect.why_not(1, "ISLPACS", node)


# -- completeness ----------------------------------------------------------------------------------------------


def test_a_study_waits_for_as_many_instances_as_its_referral_says(node: Node) -> None:
    told(node, R1 | {"instances": "3"})
    made = make_instances(3, seed="three", **PATIENT)
    fakes.receive_all(node, made[:2])
    assert fakes.complete(node) == 0
    fakes.receive_all(node, made[2:])
    assert fakes.complete(node) == 2, "its referrals to two partners"


def test_but_not_for_ever(node: Node) -> None:
    told(node, R1 | {"instances": "3"})
    fakes.receive_all(node, make_instances(2, seed="three", **PATIENT))
    assert fakes.complete(node) == 0
    assert fakes.complete(node, 1800) == 2
    with node.database.read():
        text = next(each.text for each in audit.events() if each.kind == "referral complete")
    assert "its referral (R-1) has 1 more" in text


# -- files -----------------------------------------------------------------------------------------------------


def test_a_file_with_one_bad_line_changes_nothing(node: Node) -> None:
    done = told(node, R1, R1 | {"number": "R-2", "site": "nowhere"})
    assert [each.line for each in done.bad] == [3]
    with node.database.read():
        assert expected.listed(10) == []
    assert kinds(node) == []


def test_a_dry_run_says_what_would_be_and_does_nothing(node: Node) -> None:
    done = told(node, R1, check=True)
    assert [each.what for each in done.told] == [What.NEW]
    with node.database.read():
        assert expected.listed(10) == []


def test_a_number_that_is_known_is_unchanged_or_changed(node: Node) -> None:
    assert told(node, R1).count(What.NEW) == 1
    assert told(node, R1, name="again.csv").count(What.UNCHANGED) == 1
    assert kinds(node) == ["referrals expected"]
    done = told(node, R1 | {"destination": "ISLPACS", "recipient": "Dr Lee"})
    assert [(each.what, each.text) for each in done.told] == [(What.CHANGED, "destination, recipient")]
    with node.database.read():
        (known,) = expected.listed(10)
        events = audit.events()
    assert (known.destination, known.recipient) == ("ISLPACS", "Dr Lee")
    assert [(each.who, each.text) for each in events if each.kind == "expected referral changed"] == [
        ("anna", "R-1: destination, recipient, by referrals.csv")
    ]


def test_a_change_moves_what_waits(node: Node) -> None:
    told(node, R1 | {"destination": "ISLPACS"})
    arrives(node)
    assert {partner: gate for partner, (gate, _) in gates(node).items()} == {"PUBPACS": "held", "ISLPACS": "open"}
    told(node, R1)
    assert {partner: gate for partner, (gate, _) in gates(node).items()} == {"PUBPACS": "open", "ISLPACS": "held"}


def test_a_number_never_becomes_another_patients(node: Node) -> None:
    told(node, R1)
    for other in ({"patient_id": "B2"}, {"issuer_of_patient_id": "HKID"}):
        (bad,) = told(node, R1 | other).bad
        assert str(bad).startswith("line 2: number: is known as that of another patient")
    assert told(node, R1 | {"patient_id": " a1 "}).bad == (), "written otherwise"


def test_a_number_that_stands_twice(node: Node) -> None:
    assert told(node, R1, R1, check=True).bad == ()
    assert told(node, R1, R1, check=True).count(What.NEW) == 1
    (bad,) = told(node, R1, R1 | {"recipient": "Dr Lee"}).bad
    assert str(bad) == "line 3: number: is that of line 2 too, which says something else"
    assert told(node, R1, R1 | {"recipient": "Dr Lee", "issuer": "HKHA"}).bad == (), "of another issuer"


def test_a_patients_name_or_id_stands_in_no_event(node: Node) -> None:
    told(node, R1)
    told(node, R1 | {"patient_name": "CHAN^OTHER"})
    arrives(node)
    with node.database.read():
        texts = " ".join(each.text for each in audit.events())
    assert "CHAN" not in texts
    assert "A1" not in texts


# -- a person's word -------------------------------------------------------------------------------------------


def test_what_is_cancelled_is_expected_no_more(node: Node) -> None:
    told(node, R1)
    arrives(node)
    intake.cancel("R-1", None, "the patient went elsewhere", "anna", node)
    assert "no referral in advance" in gates(node)["PUBPACS"][1]
    (bad,) = told(node, R1).bad
    assert "was cancelled (the patient went elsewhere)" in str(bad)
    with pytest.raises(UsageError, match="no referral R-1 is expected"):
        intake.cancel("R-1", None, "again", "anna", node)


def test_a_person_names_what_there_is(node: Node) -> None:
    told(node, R1 | {"site": "peak"}, R1 | {"number": "R-2"}, R1 | {"number": "R-2", "issuer": "HKHA"})
    sample = arrives(node)
    with pytest.raises(UsageError, match=r"there is no study 1\.2\.3"):
        intake.match("1.2.3", "R-2", None, "anna", node)
    with pytest.raises(UsageError, match="no referral R-9 is expected"):
        intake.match(sample.study, "R-9", None, "anna", node)
    with pytest.raises(UsageError, match="2 referrals have the number R-2: say with --issuer"):
        intake.match(sample.study, "R-2", None, "anna", node)
    with pytest.raises(UsageError, match="names the site peak"):
        intake.match(sample.study, "R-1", None, "anna", node)
    intake.match(sample.study, "R-2", "HKHA", "anna", node)
    assert number_of(node) == "R-2"


def test_a_match_that_changes_nothing_is_told_once(node: Node) -> None:
    told(node, R1)
    sample = arrives(node)
    with node.database.read():
        study = index.study(sample.study)
    assert study
    node.database.write(lambda: vet.vet(study.id, node.clock(), node))
    assert kinds(node).count("study matched") == 1


def test_a_file_of_many_is_as_few_statements_as_one_of_few(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait to write meanwhile."""
    ran = []
    real = database._run
    monkeypatch.setattr(database, "_run", lambda sql, values: ran.append(sql) or real(sql, values))
    counts = []
    for count in (1, 300):
        ran.clear()
        rows = [R1 | {"number": f"N-{count}-{number}", "patient_id": f"B{count}"} for number in range(count)]
        assert told(node, *rows).count(What.NEW) == count
        counts.append(len(ran))
    assert counts[1] == counts[0], counts
