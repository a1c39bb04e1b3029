"""rules/contexts.py: what is accepted from a partner."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.dicom.classes import STORAGE_CLASSES
from dicomnode.rules import contexts
from dicomnode.rules.contexts import Answer, Proposal
from tests import fakes

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70"
UNKNOWN, PRIVATE = "1.2.840.113619.5.2.9", "1.2.826.0.1.3680043.9.9999.1"
ECHO, PFIND, PMOVE = "1.2.840.10008.1.1", contexts.PATIENT_ROOT_FIND, contexts.PATIENT_ROOT_MOVE
FIND, MOVE = contexts.STUDY_ROOT_FIND, contexts.STUDY_ROOT_MOVE
GET, COMMIT = contexts.STUDY_ROOT_GET, "1.2.840.10008.1.20.1"
PGET = contexts.PATIENT_ROOT_GET
ONLY_FIND, ONLY_MOVE, ONLY_GET = (f"1.2.840.10008.5.1.4.1.2.3.{n}" for n in (1, 2, 3))
FINDS, MOVES, GETS = {FIND, PFIND, ONLY_FIND}, {MOVE, PMOVE, ONLY_MOVE}, {GET, PGET, ONLY_GET}
GETTING = fakes.CONFIG.replace(
    "RAD_WS:   {site: harbour, host: 10.1.0.30, port: 11112, may: [find, move]}",
    "RAD_WS:   {site: harbour, host: 10.1.0.30, port: 11112, may: [get]}\n"
    "  STATION:  {site: harbour, address: 10.1.0.31, may: [store, get]}",
)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return fakes.configuration(fakes.CONFIG, tmp_path)


def answer(config: NodeConfig, partner: str, *proposals: Proposal) -> list[Answer]:
    offered = contexts.offer(config, config.partners[partner])
    return contexts.accept(proposals, offered, contexts.storable(config))


RIGHTS = [
    ("CT1", {ECHO, CT}),
    ("RAD_WS", {ECHO} | FINDS | MOVES),
    ("ISLPACS", {ECHO, COMMIT} | FINDS),
    ("PUBPACS", {ECHO, COMMIT} | FINDS | MOVES),
]


@pytest.mark.parametrize(("partner", "allowed"), RIGHTS)
def test_what_a_partner_has_no_right_to_is_not_offered(config: NodeConfig, partner: str, allowed: set[str]) -> None:
    asked = [ECHO, CT, COMMIT, *FINDS, *MOVES, *GETS]
    proposals = [Proposal(2 * n + 1, uid, (EXPLICIT,)) for n, uid in enumerate(asked)]
    answers = answer(config, partner, *proposals)
    assert [(a.id, a.abstract_syntax) for a in answers] == [(p.id, p.abstract_syntax) for p in proposals]
    assert {a.abstract_syntax for a in answers if a.result == 0} == allowed
    assert {a.result for a in answers} == {0, 3}


def test_every_storage_class_is_offered_to_who_may_store(config: NodeConfig) -> None:
    assert set(contexts.offer(config, config.partners["CT1"])) >= STORAGE_CLASSES
    assert not STORAGE_CLASSES & set(contexts.offer(config, config.partners["PUBPACS"]))


SYNTAXES = [  # proposed for storage → accepted
    ((IMPLICIT, EXPLICIT), IMPLICIT),  # the first that can be stored as it is, not the one we like
    ((EXPLICIT, IMPLICIT), EXPLICIT),
    ((UNKNOWN, JPEG, EXPLICIT), JPEG),
    ((BIG,), BIG),
    ((DEFLATED, EXPLICIT), EXPLICIT),
    ((DEFLATED,), None),
    ((UNKNOWN,), None),
]


@pytest.mark.parametrize(("proposed", "accepted"), SYNTAXES)
def test_the_first_syntax_that_can_be_stored(
    config: NodeConfig, proposed: tuple[str, ...], accepted: str | None
) -> None:
    (given,) = answer(config, "CT1", Proposal(1, CT, proposed))
    assert (given.result, given.transfer_syntax) == ((0, accepted) if accepted else (4, proposed[0]))


def test_deflated_is_for_those_who_asked_for_it(tmp_path: Path) -> None:
    config = fakes.configuration(fakes.CONFIG.replace("data: ./data,", "data: ./data, deflated: true,"), tmp_path)
    assert answer(config, "CT1", Proposal(1, CT, (DEFLATED, EXPLICIT)))[0].transfer_syntax == DEFLATED


def test_private_classes_are_taken_where_they_are_named(config: NodeConfig, tmp_path: Path) -> None:
    assert answer(config, "CT1", Proposal(1, PRIVATE, (EXPLICIT,)))[0].result == 3
    text = fakes.CONFIG.replace("data: ./data,", f"data: ./data, storage_classes: [{PRIVATE}],")
    assert answer(fakes.configuration(text, tmp_path), "CT1", Proposal(1, PRIVATE, (EXPLICIT,)))[0].result == 0


@pytest.mark.parametrize("uid", [ECHO, FIND, MOVE])
def test_questions_are_explicit_where_they_can_be(config: NodeConfig, uid: str) -> None:
    given = answer(config, "RAD_WS", Proposal(1, uid, (IMPLICIT, EXPLICIT)), Proposal(3, uid, (IMPLICIT,)))
    assert [a.transfer_syntax for a in given] == [EXPLICIT, IMPLICIT]
    assert answer(config, "RAD_WS", Proposal(1, uid, (JPEG,)))[0].result == 4


def test_one_class_in_several_contexts_is_answered_each_by_itself(config: NodeConfig) -> None:
    given = answer(config, "CT1", Proposal(1, CT, (JPEG,)), Proposal(3, CT, (UNKNOWN,)), Proposal(255, CT, (IMPLICIT,)))
    assert [(a.id, a.result, a.transfer_syntax) for a in given] == [(1, 0, JPEG), (3, 4, UNKNOWN), (255, 0, IMPLICIT)]


def test_a_context_without_a_syntax_is_answered_too(config: NodeConfig) -> None:
    assert answer(config, "CT1", Proposal(1, CT, ()))[0].result == 4


ROLES = [  # (SCU, SCP) as proposed → result, roles in the answer
    (None, 0, None),
    ((True, False), 0, (True, False)),
    ((True, True), 0, (True, False)),  # nobody is its SCP: we never store here
    ((False, True), 1, None),
    ((False, False), 1, None),
]


@pytest.mark.parametrize(("roles", "result", "given"), ROLES)
def test_the_requestor_is_scu(
    config: NodeConfig, roles: tuple[bool, bool] | None, result: int, given: tuple[bool, bool] | None
) -> None:
    (found,) = answer(config, "CT1", Proposal(1, CT, (EXPLICIT,), roles))
    assert (found.result, found.roles) == (result, given)


GET_ROLES = [  # partner, (SCU, SCP) as proposed for storage → result, the roles in the answer, the roles that it has
    ("RAD_WS", (False, True), 0, (False, True), (False, True)),
    ("RAD_WS", (True, True), 0, (False, True), (False, True)),
    ("RAD_WS", (True, False), 3, None, (False, False)),
    ("RAD_WS", None, 3, None, (False, False)),  # who says nothing would store
    ("STATION", (True, True), 0, (True, True), (True, True)),
    ("STATION", (False, True), 0, (False, True), (False, True)),
    ("STATION", (True, False), 0, (True, False), (True, False)),
    ("STATION", None, 0, None, (True, False)),  # no role was asked for: nothing comes back on it
    ("CT1", (False, True), 1, None, (False, False)),
]


@pytest.mark.parametrize(("partner", "roles", "result", "given", "acts"), GET_ROLES)
def test_who_fetches_is_scp_of_storage_where_it_says_so(
    tmp_path: Path,
    partner: str,
    roles: tuple[bool, bool] | None,
    result: int,
    given: tuple[bool, bool] | None,
    acts: tuple[bool, bool],
) -> None:
    config = fakes.configuration(GETTING, tmp_path)
    found = answer(config, partner, Proposal(1, CT, (EXPLICIT,), roles), Proposal(3, GET, (EXPLICIT,)))
    assert (found[0].result, found[0].roles, found[0].acts) == (result, given, acts)
    assert found[1].result == (3 if partner == "CT1" else 0)
    assert contexts.refused_storage(found) == (result == 3)


@pytest.mark.parametrize(("roles", "stores"), [(None, True), ((True, True), True), ((False, True), False)])
def test_who_takes_the_role_of_scp_alone_would_not_store(
    config: NodeConfig, roles: tuple[bool, bool] | None, stores: bool
) -> None:
    assert contexts.would_store(config, [Proposal(1, GET, (EXPLICIT,)), Proposal(3, CT, (EXPLICIT,), roles)]) == stores
    assert not contexts.would_store(config, [Proposal(1, GET, (EXPLICIT,), roles)])


AGREED = [  # offered → answered, relational
    (FIND, b"\x01", b"\x01", True),
    (FIND, b"\x00\x01", b"\x00\x01", False),
    (ONLY_FIND, b"\x01\x01\x01\x01\x01", b"\x01\x01\x01\x00\x00", True),
    (MOVE, b"\x01\x01", b"\x01\x00", True),
    (PMOVE, b"\x00", b"\x00", False),
    (ONLY_MOVE, b"\x02", b"\x00", False),
]


@pytest.mark.parametrize(("uid", "offered", "answered", "relational"), AGREED)
def test_extended_negotiation_is_answered_byte_for_byte(
    config: NodeConfig, uid: str, offered: bytes, answered: bytes, relational: bool
) -> None:
    answers = answer(config, "RAD_WS", Proposal(1, uid, (EXPLICIT,)))
    ((features, given),) = contexts.agree({uid: offered}, answers).values()
    assert (given, features.relational) == (answered, relational)


def test_what_was_not_accepted_or_is_not_of_queries_is_not_agreed_on(config: NodeConfig, tmp_path: Path) -> None:
    answers = answer(config, "RAD_WS", Proposal(1, FIND, (JPEG,)), Proposal(3, GET, (EXPLICIT,)))
    assert contexts.agree({FIND: b"\x01", GET: b"\x01", MOVE: b"\x01"}, answers) == {}
    assert contexts.agree({CT: b"\x02"}, answer(config, "CT1", Proposal(1, CT, (EXPLICIT,)))) == {}
    getting = answer(fakes.configuration(GETTING, tmp_path), "RAD_WS", Proposal(1, GET, (EXPLICIT,)))
    assert contexts.agree({GET: b""}, getting) == {}
    assert contexts.agree({GET: b"\x01"}, getting)[GET][1] == b"\x01"


def test_storage_without_the_right_is_noticed(config: NodeConfig) -> None:
    assert contexts.refused_storage(answer(config, "PUBPACS", Proposal(1, CT, (EXPLICIT,))))
    assert not contexts.refused_storage(answer(config, "PUBPACS", Proposal(1, GET, (EXPLICIT,))))
    assert not contexts.refused_storage(answer(config, "CT1", Proposal(1, CT, (UNKNOWN,))))


COMMITTING = (
    fakes.CONFIG.replace(
        "CT1:      {site: harbour, address: 10.1.0.0/24, may: [store]}",
        "CT1:      {site: harbour, host: 10.1.0.9, port: 104, may: [store, commit]}\n"
        "  HUB:      {site: general, host: 10.9.0.7, port: 104, may: [commit]}\n"
        "  BOTH:     {site: harbour, host: 10.1.0.8, port: 104, may: [commit]}\n"
        "  VERIFIER: {site: harbour, address: 10.1.0.7}",
    )
    .replace(
        "PUBPACS:  {site: general, host: 10.9.0.5, port: 104,",
        "PUBPACS:  {site: general, host: 10.9.0.5, port: 104, confirm: {results_from: [VERIFIER]},",
    )
    .replace("to: [PUBPACS]", "to: [PUBPACS, BOTH]")
)
COMMITMENT = [  # partner, (SCU, SCP) as proposed → result, the roles in the answer, the roles that it has
    ("CT1", None, 0, None, (True, False)),
    ("CT1", (True, False), 0, (True, False), (True, False)),
    ("CT1", (True, True), 0, (True, False), (True, False)),
    ("CT1", (False, True), 1, None, (False, False)),
    ("PUBPACS", None, 0, None, (False, True)),
    ("PUBPACS", (False, True), 0, (False, True), (False, True)),
    ("PUBPACS", (True, True), 0, (False, True), (False, True)),
    ("PUBPACS", (True, False), 1, None, (False, False)),
    ("PUB_WS", None, 0, None, (False, True)),  # a flow reaches it
    ("HUB", (True, True), 0, (False, True), (False, True)),  # nothing may flow from its site: there is nothing to ask
    ("VERIFIER", (False, True), 0, (False, True), (False, True)),  # results_from
    ("BOTH", (True, True), 0, (True, True), (True, True)),
    ("BOTH", None, 0, None, (True, True)),
    ("BOTH", (False, False), 1, None, (False, False)),
    ("RAD_WS", None, 3, None, (False, False)),  # no right, and nothing is sent to it but within its site
    ("PEAK_CT", (True, False), 3, None, (False, False)),
]


@pytest.mark.parametrize(("partner", "roles", "result", "given", "acts"), COMMITMENT)
def test_who_may_ask_for_commitment_and_who_has_results(
    tmp_path: Path,
    partner: str,
    roles: tuple[bool, bool] | None,
    result: int,
    given: tuple[bool, bool] | None,
    acts: tuple[bool, bool],
) -> None:
    text = COMMITTING.replace("may: [commit]}\n  BOTH", "may: []}\n  BOTH")
    config = fakes.configuration(text, tmp_path)
    config.partners["HUB"] = config.partners["HUB"].model_copy(update={"may": ("commit",)})  # a file could not say so
    (found,) = answer(config, partner, Proposal(1, COMMIT, (IMPLICIT, EXPLICIT), roles))
    assert (found.result, found.roles, found.acts) == (result, given, acts)
    assert found.result or found.transfer_syntax == EXPLICIT
