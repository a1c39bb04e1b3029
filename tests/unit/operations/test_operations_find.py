"""operations/find.py: what is answered, and whose studies."""

from __future__ import annotations

import pytest

from dicomnode.errors import BadIdentifier
from dicomnode.operations import find as story
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules.matching import Model
from dicomnode.store import referrals
from tests import fakes
from tests.samples import make_instances

STUDY_UID, PATIENT_ID, COMMENTS = 0x0020000D, 0x00100020, 0x00104000


def ask(node: Node, caller: str, level: str = "STUDY", **keys: str) -> list[dict[int, tuple[str, str]]]:
    keys = keys or {"StudyInstanceUID": ""}
    partner = node.config.partners[caller]
    found = story.find(fakes.asked(level, **keys), Model.STUDY_ROOT, partner, node)
    return [{e.tag: (e.vr, e.value) for e in elements} for elements in found.identifiers]


def seen(node: Node, caller: str) -> set[str]:
    return {answer[STUDY_UID][1] for answer in ask(node, caller)}


def test_an_answer_says_its_level_and_where_to_retrieve_it(here: Node) -> None:
    (made,) = make_instances(1, PatientID="P1")
    fakes.receive(here, made)
    (answer,) = ask(here, "RAD_WS", StudyInstanceUID="", PatientID="", PatientComments="")
    assert answer == {
        0x00080052: ("CS", "STUDY"),
        0x00080054: ("AE", "REFERNODE"),
        STUDY_UID: ("UI", made.study),
        PATIENT_ID: ("LO", "P1"),
        COMMENTS: ("LT", ""),
    }


@pytest.mark.parametrize(("keys", "supported"), [({"PatientID": ""}, True), ({"PatientComments": "x"}, False)])
def test_a_key_that_is_not_supported_is_said_to_be_so(here: Node, keys: dict[str, str], supported: bool) -> None:
    caller = here.config.partners["RAD_WS"]
    assert story.find(fakes.asked("STUDY", **keys), Model.STUDY_ROOT, caller, here).all_supported is supported


def test_a_bad_identifier_is_refused_before_the_first_answer(here: Node) -> None:
    with pytest.raises(BadIdentifier):
        story.find(fakes.asked("PATIENT"), Model.STUDY_ROOT, here.config.partners["RAD_WS"], here)


def test_everybody_sees_their_own(here: Node) -> None:
    """Own site's for private callers; for public ones what is referred to their site, with the gate open."""
    referred, kept = make_instances(1, seed="referred")[0], make_instances(1, seed="kept")[0]
    theirs = make_instances(1, seed="theirs")[0]
    fakes.receive(here, referred)
    fakes.receive(here, kept, called="REFERNODE")
    fakes.receive(here, theirs, "PEAK_CT", "REFERNODE")
    assert seen(here, "RAD_WS") == {referred.study, kept.study}
    assert seen(here, "PEAK_WS") == {theirs.study}
    assert seen(here, "PUBPACS") == seen(here, "PUB_WS") == {referred.study}
    assert seen(here, "ISLPACS") == set()

    with here.database.read():
        (referral,) = referrals.listed()
    refer.hold([referral.id], "wait", "anna", here)
    assert seen(here, "PUBPACS") == set()
    assert seen(here, "RAD_WS") == {referred.study, kept.study}


def test_its_own_site_goes_on_seeing_a_study_in_quarantine(here: Node) -> None:
    (made,) = make_instances(1)
    fakes.receive(here, made)
    assert ask(here, "RAD_WS", InstanceAvailability="")[0][0x00080056] == ("CS", "ONLINE")
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    assert ask(here, "RAD_WS", InstanceAvailability="")[0][0x00080056] == ("CS", "UNAVAILABLE")
    assert seen(here, "PUBPACS") == set()
