"""operations/find.py: what is answered, and whose studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from dicomnode.dicom.identifier import Identifier, Key, decode
from dicomnode.errors import BadIdentifier, OutOfResources
from dicomnode.operations import find as story
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from dicomnode.store import referrals, search
from tests import fakes
from tests.samples import make_instances

STUDY_UID, PATIENT_ID, COMMENTS = 0x0020000D, 0x00100020, 0x00104000


LIMITED = fakes.CONFIG.replace("retry_most: 1h", "retry_most: 1h, answers: 3")


def answers(node: Node, identifier: Identifier, caller: str = "RAD_WS", **how: Any) -> story.Answers:
    question = story.Question(identifier, Model.STUDY_ROOT, how.get("features", Features()), implicit=True)
    return story.find(question, node.config.partners[caller], node, how.get("stopped", lambda: False))


def ask(node: Node, caller: str, level: str = "STUDY", **keys: str) -> list[dict[int, tuple[str, str]]]:
    found = answers(node, fakes.asked(level, **(keys or {"StudyInstanceUID": ""})), caller)
    read = [decode(data, implicit=True) for page in found.pages for data in page]
    assert {identifier.level for identifier in read} <= {level}
    return [{key.tag: (key.vr, key.value) for key in identifier.keys} for identifier in read]


def seen(node: Node, caller: str) -> set[str]:
    return {answer[STUDY_UID][1] for answer in ask(node, caller)}


def test_an_answer_says_its_level_and_where_to_retrieve_it(here: Node) -> None:
    (made,) = make_instances(1, PatientID="P1")
    fakes.receive(here, made)
    (answer,) = ask(here, "RAD_WS", StudyInstanceUID="", PatientID="", PatientComments="")
    assert answer == {
        0x00080054: ("AE", "REFERNODE"),
        STUDY_UID: ("UI", made.study),
        PATIENT_ID: ("LO", "P1"),
        COMMENTS: ("LT", ""),
    }


@pytest.mark.parametrize(("keys", "supported"), [({"PatientID": ""}, True), ({"PatientComments": "x"}, False)])
def test_a_key_that_is_not_supported_is_said_to_be_so(here: Node, keys: dict[str, str], supported: bool) -> None:
    assert answers(here, fakes.asked("STUDY", **keys)).all_supported is supported


def test_a_bad_identifier_is_refused_before_the_first_answer(here: Node) -> None:
    with pytest.raises(BadIdentifier):
        answers(here, fakes.asked("PATIENT"))


def test_everybody_sees_their_own(here: Node) -> None:
    """Own site's for private callers; for public ones what is referred to their site, with the gate open."""
    referred, kept = make_instances(1, seed="referred")[0], make_instances(1, seed="kept")[0]
    theirs = make_instances(1, seed="theirs")[0]
    fakes.receive(here, referred)
    fakes.receive(here, kept, called="REFERNODE")
    fakes.receive(here, theirs, "PEAK_CT", "REFERNODE")
    assert seen(here, "PUBPACS") == seen(here, "PUB_WS") == set(), "before it is looked at as a whole"
    fakes.complete(here)
    assert seen(here, "RAD_WS") == {referred.study, kept.study}
    assert seen(here, "PEAK_WS") == {theirs.study}
    assert seen(here, "PUBPACS") == seen(here, "PUB_WS") == {referred.study}
    assert seen(here, "ISLPACS") == set()

    with here.database.read():
        (referral,) = referrals.listed()
    refer.hold([referral.id], "wait", "anna", here)
    assert seen(here, "PUBPACS") == set()
    assert seen(here, "RAD_WS") == {referred.study, kept.study}


def test_another_patient_s_late_image_hides_a_study_until_it_is_looked_at(here: Node) -> None:
    first, second, third = make_instances(3)
    fakes.receive(here, first)
    fakes.complete(here)
    fakes.receive(here, second)
    assert seen(here, "PUB_WS") == {first.study}, "more of the same"
    fakes.receive(here, replace(third, dataset=make_instances(3, PatientID="P2")[2].dataset))
    assert seen(here, "PUB_WS") == set()


def test_what_is_sent_as_it_comes_is_seen_as_it_comes(build: Callable[..., Node]) -> None:
    node, made = build(fakes.CONFIG.replace("wait: 60s}", "wait: 0s}")), make_instances(1)[0]
    fakes.receive(node, made)
    assert seen(node, "PUB_WS") == {made.study}


def test_its_own_site_goes_on_seeing_a_study_in_quarantine(here: Node) -> None:
    (made,) = make_instances(1)
    fakes.receive(here, made)
    assert ask(here, "RAD_WS", InstanceAvailability="")[0][0x00080056] == ("CS", "ONLINE")
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    assert ask(here, "RAD_WS", InstanceAvailability="")[0][0x00080056] == ("CS", "UNAVAILABLE")
    assert seen(here, "PUBPACS") == set()


def test_below_its_level_an_answer_has_the_unique_keys_above(here: Node) -> None:
    (made,) = make_instances(1)
    fakes.receive(here, made)
    (answer,) = ask(here, "RAD_WS", "SERIES", StudyInstanceUID=made.study, Modality="")
    assert answer == {
        0x00080054: ("AE", "REFERNODE"),
        0x00080060: ("CS", "CT"),
        STUDY_UID: ("UI", made.study),
        0x0020000E: ("UI", made.series),
    }


# -- our own keys ----------------------------------------------------------------------------------------------

CREATOR, STATE = 0x00090010, 0x00091001
TWICE = fakes.CONFIG.replace("to: [PUBPACS]", "to: [PUBPACS, ISLPACS]")


def states(node: Node, caller: str, level: str, *above: Key, creator: str = "DICOMNODE") -> tuple[bool, list[str]]:
    """Whether all was supported, and the state of each match."""
    private = (Key(CREATOR, "UN", creator), Key(STATE, "UN", "not matched"))
    found = answers(node, Identifier(level, (*above, *private), ""), caller)
    read = [decode(data, implicit=True) for page in found.pages for data in page]
    assert {each.value(CREATOR) for each in read} == {creator if found.all_supported else ""}
    return found.all_supported, [each.value(STATE) for each in read]


def test_a_private_key_asks_how_far_the_referrals_are_that_the_caller_may_see(build: Callable[..., Node]) -> None:
    node, made = build(TWICE), make_instances(1)[0]
    fakes.receive(node, made)
    fakes.receive(node, make_instances(1, seed="kept")[0], called="REFERNODE")
    with node.database.read():
        (island,) = (each.id for each in referrals.listed() if each.partner == "ISLPACS")
    refer.hold([island], "wait", "anna", node)
    assert states(node, "RAD_WS", "STUDY") == (True, ["ISLPACS: held\\PUBPACS: receiving", ""])
    assert seen(node, "PUB_WS") == set(), "it is still to come whole"
    fakes.complete(node)
    assert states(node, "PUB_WS", "STUDY") == (True, ["PUBPACS: complete"]), "of its own site alone"
    study, series = Key(STUDY_UID, "UI", made.study), Key(0x0020000E, "UI", made.series)
    assert states(node, "PUB_WS", "SERIES", study) == (True, ["PUBPACS: complete"])
    assert states(node, "PUB_WS", "IMAGE", study, series) == (True, ["PUBPACS: complete"])


def test_the_private_keys_of_others_are_not_ours(build: Callable[..., Node]) -> None:
    node = build(TWICE)
    fakes.receive(node, make_instances(1)[0])
    assert states(node, "RAD_WS", "STUDY", creator="OTHER") == (False, [""])
    assert states(node, "RAD_WS", "STUDY", creator="") == (False, [""])


# -- how many --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [2, 3, 4, 7])
def test_at_a_limit_its_caller_is_told_that_there_are_more(build: Callable[..., Node], stored: int) -> None:
    node = build(LIMITED)
    for number in range(stored):
        fakes.receive(node, make_instances(1, seed=number)[0])
    given, why = drained(answers(node, fakes.asked("STUDY", StudyInstanceUID="")))
    assert len(given) == len(set(given)) == min(stored, 3)
    assert why == ("" if stored <= 3 else "3 answers given, and there are more: narrow the query")


def drained(found: story.Answers) -> tuple[list[bytes], str]:
    """All answers, and why there are no more."""
    given: list[bytes] = []
    try:
        for page in found.pages:
            given += page
    except OutOfResources as why:
        return given, str(why)
    return given, ""


def test_the_search_asks_whether_it_is_to_go_on(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[object] = []
    monkeypatch.setattr(search, "pages", lambda database, query, scope, stopped: handed.append(stopped) or iter(()))

    def stopped() -> bool:
        return True

    assert list(answers(here, fakes.asked("STUDY", StudyInstanceUID=""), stopped=stopped).pages) == []
    assert handed == [stopped]


def test_the_order_is_the_same_each_time(here: Node) -> None:
    for number in range(5):
        fakes.receive(here, make_instances(1, seed=number, PatientID=f"P{9 - number}")[0])
    first = ask(here, "RAD_WS", StudyInstanceUID="", PatientID="")
    assert len(first) == 5
    assert all(ask(here, "RAD_WS", StudyInstanceUID="", PatientID="") == first for _ in range(3))


# -- in what it is written -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "name", "expected"),
    [("", "Wang^Wei=王^伟", "ISO_IR 192"), ("ISO_IR 100", "Wang^Wei", ""), ("GB18030", "Wang^Wei=王^伟", "GB18030")],
)
def test_a_partner_reads_what_its_configuration_says(
    build: Callable[..., Node], charset: str, name: str, expected: str
) -> None:
    said = f"host: 10.1.0.30, charset: {charset}," if charset else "host: 10.1.0.30,"
    node = build(fakes.CONFIG.replace("host: 10.1.0.30,", said))
    fakes.receive(node, make_instances(1, SpecificCharacterSet="ISO_IR 192", PatientName="Wang^Wei=王^伟")[0])
    (page,) = answers(node, fakes.asked("STUDY", "ISO_IR 192", PatientName="")).pages
    found = decode(page[0], implicit=True)
    assert (found.character_set, found.value(0x00100010)) == (expected, name)


@pytest.mark.parametrize(
    ("asked", "tags"),
    [((), [0x00080100, 0x00080102, 0x00080103, 0x00080104]), ((Key(0x00080104, "LO", ""),), [0x00080104])],
)
def test_of_a_sequence_what_was_asked_for_is_answered(here: Node, asked: tuple[Key, ...], tags: list[int]) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "RPID1", "RADLEX", "Head"
    fakes.receive(here, make_instances(1, ProcedureCodeSequence=[code])[0])
    key = Key(0x00081032, "SQ", "", (asked,) if asked else ())
    (page,) = answers(here, Identifier("STUDY", (key,), "")).pages
    ((item,),) = [read_dataset(BytesIO(data), True, True).ProcedureCodeSequence for data in page]
    assert [int(element.tag) for element in item] == tags
    assert item.CodeMeaning == "Head"
