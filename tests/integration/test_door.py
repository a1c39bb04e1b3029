"""Who is turned away at the door, with which reason; what may not be used; and how a stranger is let in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.integration.kit import STORAGE_CT, events, refusals, state
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.samples import make_instance, make_instances
from tests.upper_layer import C_FIND, C_MOVE, C_STORE, COMMITMENT, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import (
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    Aborted,
    Association,
    NotAccepted,
    Rejected,
)

_ELSEWHERE = "127.0.0.2"
_ABSTRACT_SYNTAX = 3
_CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (STORAGE_CT, (EXPLICIT_LE,)))


def _config() -> dict[str, Any]:
    """The default one, and a public AE that may query."""
    caller = {"site": "general", "ae_title": "PUB_WS", "host": LOCAL, "port": free_port(), "may": ["find", "move"]}
    return changed(default_config(), {"partners": {"PUB_WS": caller}})


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node(_config())


@pytest.fixture(autouse=True)
def _nothing_is_kept(node: Node) -> Iterator[None]:
    before = state(node)
    yield
    assert state(node) == before


def _rejected(node: Node, calling: str, **options: Any) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as caught:
        node.associate(calling, _CONTEXTS, **options)
    return caught.value.result, caught.value.source, caught.value.reason


_TURNED_AWAY = [
    ("STRANGER", {}, (1, 1, 3), "unknown calling AE title"),
    ("ct1", {}, (1, 1, 3), "unknown calling AE title"),
    ("CT1", {"called": "ANY-SCP"}, (1, 1, 7), "unknown called AE title"),
    ("CT1", {"called": "refernode"}, (1, 1, 7), "unknown called AE title"),
    ("STRANGER", {"called": "ANY-SCP"}, (1, 1, 7), "unknown called AE title"),
    ("CT1", {"source_address": _ELSEWHERE}, (1, 1, 3), "address not allowed"),
    ("RAD_WS", {"source_address": _ELSEWHERE}, (1, 1, 3), "address not allowed"),
    ("../../etc", {}, (1, 1, 3), "unknown calling AE title"),
    ("*", {}, (1, 1, 3), "unknown calling AE title"),
]


@pytest.mark.parametrize(("calling", "options", "reason", "why"), _TURNED_AWAY)
def test_a_caller_is_turned_away(
    calling: str, options: dict[str, Any], reason: tuple[int, int, int], why: str, node: Node
) -> None:
    assert _rejected(node, calling, **options) == reason
    caller = {
        "calling_ae_title": calling,
        "called_ae_title": options.get("called", node.ae_title),
        "address": options.get("source_address", LOCAL),
        "why": why,
    }
    (row,) = node.wait_until(lambda: refusals(node, caller), 5, "the refusal to be recorded")
    assert row["times"] == 1
    assert any(why in event["text"] for event in events(node, "association refused"))


def test_the_command_line_shows_who_was_turned_away(node: Node) -> None:
    _rejected(node, "WHO_IS_IT")
    caller = {"calling_ae_title": "WHO_IS_IT", "address": LOCAL, "called_ae_title": node.ae_title}
    node.wait_until(lambda: refusals(node, caller), 5, "the refusal to be recorded")
    (row,) = [row for row in node.cli("partners", "refused", json=True) if caller.items() <= row.items()]
    assert (row["why"], row["times"]) == ("unknown calling AE title", 1)
    text = node.cli("partners", "refused").out
    assert "WHO_IS_IT" in text
    assert row["yaml"] in text
    listed = node.cli("audit", "list", json=True)
    assert [event for event in listed if event["event"] == "association refused" and "WHO_IS_IT" in event["text"]]


def test_a_title_of_spaces_is_no_title(node: Node) -> None:
    with pytest.raises((Rejected, Aborted)):
        node.associate("", _CONTEXTS)
    with pytest.raises((Rejected, Aborted)):
        node.associate("CT1", _CONTEXTS, called=" ")


def test_who_knocks_again_is_counted_and_not_told_again(node: Node) -> None:
    for _ in range(3):
        _rejected(node, "INSISTENT")
    caller = {"calling_ae_title": "INSISTENT", "times": 3}
    node.wait_until(lambda: refusals(node, caller), 5, "three refusals to be counted")
    assert len([event for event in events(node, "association refused") if "INSISTENT" in event["text"]]) == 1


def test_padding_of_ae_titles_means_nothing(node: Node) -> None:
    assert node.echo("CT1   ", "REFERNODE  ") == 0
    assert node.echo("  CT1", " TO_GENERAL") == 0


# -- services --------------------------------------------------------------------------------------------------

_SERVICES = {
    VERIFICATION: "echo",
    STORAGE_CT: "store",
    STUDY_ROOT_FIND: "find",
    STUDY_ROOT_MOVE: "move",
    STUDY_ROOT_GET: "get",
    COMMITMENT: "commit",
    "1.2.840.10008.5.1.4.31": "worklist",
}


@pytest.mark.parametrize(
    ("calling", "granted"),
    [
        ("CT1", {"echo", "store"}),
        ("RAD_WS", {"echo", "find", "move"}),
        ("PUB_WS", {"echo", "find", "move", "commit"}),  # a move may send to it: it has results
        ("PUBPACS", {"echo", "commit"}),  # a destination only, which has results
    ],
)
def test_only_the_services_of_a_partner_are_offered(calling: str, granted: set[str], node: Node) -> None:
    with node.associate(calling, [(uid, (EXPLICIT_LE, IMPLICIT_LE)) for uid in _SERVICES]) as association:
        offered = {_SERVICES[association.proposed[number][0]] for number in association.accepted}
        results = {association.results[number] for number in association.proposed if number not in association.accepted}
        assert offered == granted
        assert results == {_ABSTRACT_SYNTAX}
        assert association.echo() == 0


@pytest.mark.parametrize("calling", ["RAD_WS", "PUB_WS", "PUBPACS"])
def test_a_partner_without_the_right_who_proposes_to_store_is_a_security_event(calling: str, node: Node) -> None:
    with node.associate(calling, _CONTEXTS) as association:
        with pytest.raises(NotAccepted):
            association.store(make_instance(seed="refused"), STORAGE_CT, "1.2.3")
        assert association.echo() == 0
    found = [event for event in events(node, "storage refused") if event["partner"] == calling]
    assert len(found) == 1, "once an hour, however often it does so"


@pytest.mark.parametrize("calling", ["RAD_WS", "PUB_WS"])
def test_a_store_on_a_context_that_was_refused_is_aborted(calling: str, node: Node) -> None:
    sample = make_instances(1, seed="forced")[0]
    association = node.associate(calling, _CONTEXTS)
    with pytest.raises(Aborted):
        association.store(sample.dataset, sample.sop_class, sample.sop_instance, context_id=3)


def test_a_store_on_a_verification_context_is_answered_and_nothing_is_kept(node: Node) -> None:
    sample = make_instances(1, seed="verification")[0]
    with node.associate("CT1", _CONTEXTS) as association:
        assert association.store(sample.dataset, sample.sop_class, sample.sop_instance, context_id=1) == 0x0122
        assert association.store(sample.dataset, VERIFICATION, sample.sop_instance, context_id=1) == 0x0122
        assert association.echo() == 0


@pytest.mark.parametrize("operation", [C_FIND, C_MOVE])
def test_a_query_on_another_service_is_not_carried_out(operation: int, node: Node) -> None:
    command = {"AffectedSOPClassUID": STORAGE_CT, "Priority": 0, "MoveDestination": "RAD_WS"}
    with node.associate("CT1", _CONTEXTS) as association:
        for context in association.accepted:
            assert association.request(context, operation, command, b"").status in (0x0122, 0x0211)
        assert association.echo() == 0


def test_an_unknown_command_ends_the_association(node: Node) -> None:
    association = node.associate("CT1", _CONTEXTS)
    with pytest.raises(Aborted):
        association.request(1, 0x0777, {"AffectedSOPClassUID": VERIFICATION})


def test_a_storage_response_that_nobody_asked_for_is_no_store(node: Node) -> None:
    with node.associate("CT1", _CONTEXTS) as association:
        command = {"CommandField": C_STORE | 0x8000, "MessageIDBeingRespondedTo": 7, "Status": 0}
        association.channel.send_message(3, command)
        assert association.echo() == 0


# -- letting them in -------------------------------------------------------------------------------------------

_LET_IN: list[tuple[str, dict[str, Any]]] = [
    ("NEWCT", {}),
    ("7: #{'x'", {}),
    ("NO", {}),
    ("007", {}),
    ("CT1", {"called": "NEW: TITLE"}),
    ("CT1", {"source_address": _ELSEWHERE}),
    ("RAD_WS", {"source_address": _ELSEWHERE}),
]


def _advice(node: Node, calling: str, options: dict[str, Any]) -> str:
    """The lines of YAML that `partners refused` shows for one who was turned away."""
    caller = {
        "calling_ae_title": calling,
        "called_ae_title": options.get("called", node.ae_title),
        "address": options.get("source_address", LOCAL),
    }
    node.wait_until(lambda: refusals(node, caller), 5, "the refusal to be recorded")
    (row,) = [row for row in node.cli("partners", "refused", json=True) if caller.items() <= row.items()]
    return str(row["yaml"])


def test_what_partners_refused_shows_lets_the_callers_in(node: Node) -> None:
    config = node.config
    for calling, options in _LET_IN:
        with pytest.raises(Rejected):
            node.associate(calling, _CONTEXTS, **options)
        config = changed(config, yaml.safe_load(_advice(node, calling, options)))
    node.configure(config)
    done = node.cli("reload")
    assert done.code == 0, done

    def let_in(calling: str, options: dict[str, Any]) -> Association | None:
        try:
            return node.associate(calling, _CONTEXTS, **options)
        except Rejected:
            return None  # an acceptor of the old configuration was asked before it was told to stop

    for calling, options in _LET_IN:
        with node.wait_until(lambda it=(calling, options): let_in(*it), 10, f"{calling} to be let in") as association:
            assert association.echo() == 0
