"""C-FIND, R097 to R166: models, levels and keys (PS3.4 C.4.1, C.6), and matching (PS3.4 C.2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.archive import ADAMS, BUC, DOE, PAPADOPOULOS, WANG, YAMADA, labels, sample, uid_of
from tests.conformance.kit import (
    CALLER,
    CONTEXTS,
    FIND_MODELS,
    Answers,
    Find,
    ask,
    case,
    configuration,
    item,
    name_of,
    text,
)
from tests.conformance.queries import FIRST, LEVELS, MATCHES, OPEN, SERIES, SETS, STUDY
from tests.integration.kit import query
from tests.node import Node
from tests.samples import decode
from tests.upper_layer import C_FIND, IMPLICIT_LE, NO_DATASET, STUDY_ROOT_FIND
from tests.wire import Association, contexts_for


@pytest.fixture(scope="module")
def asks(node: Node, association: Association) -> Iterator[dict[bytes, Association]]:
    """Features → an association on which they were agreed; b"" is one without."""
    with ExitStack() as stack:
        open_ = {b"": association}
        for features in sorted({each.features for each in (*LEVELS, *MATCHES, *SETS)} - {b""}):
            extended = dict.fromkeys(FIND_MODELS, features)
            open_[features] = stack.enter_context(node.associate(CALLER, CONTEXTS, extended=extended))
        yield open_


@pytest.mark.parametrize("it", [pytest.param(each, id=each.id) for each in (*LEVELS, *MATCHES, *SETS)])
def test_a_query(it: Find, asks: dict[bytes, Association]) -> None:
    answers = ask(asks[it.features], it.identifier, it.model)
    assert answers.status in it.status, f"{answers.status:04X}H {answers.comment}"
    assert answers.last == b""
    if it.status != (0,):
        assert answers.comment, "it says what is wrong"
    if it.found is not None:
        assert answers.found == sorted(it.found.split())
    assert answers.pending <= {it.pending}
    _check_answers(it, answers)


def _check_answers(it: Find, answers: Answers) -> None:
    """Every answer has what was asked for, and nothing else but what PS3.4 C.4.1.1.3.2 adds."""
    by_label = dict(zip([labels([name_of(each)])[0] for each in answers.matches], answers.matches, strict=True))
    for match in answers.matches:
        assert match.QueryRetrieveLevel == it.level
        assert {element.keyword or f"{int(element.tag):08X}" for element in match} - _ADDED <= set(it.keys)
    for label, expected in it.answers.items():
        assert {keyword: text(by_label[label], keyword) for keyword in expected} == expected


_ADDED = {"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability"}
_ADDED |= {"TimezoneOffsetFromUTC", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}


# -- what the standard leaves open, and what is wrong ------------------------------------------------------------


@pytest.mark.parametrize("it", [pytest.param(each, id=each.id) for each in OPEN])
def test_an_undefined_key_finds_nothing_or_is_refused(it: Find, association: Association) -> None:
    answers = ask(association, it.identifier)
    assert answers.status in (0, 0xA900)
    assert answers.found == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff" * 64, id="R125-F81-noise"),
        pytest.param(query("STUDY", {"PatientID": "CONF-P1"})[:-3], id="R125-F81-a-cut"),
        pytest.param(b"", id="R125-F81-nothing"),
    ],
)
def test_an_identifier_that_is_none(raw: bytes, association: Association) -> None:
    answers = ask(association, raw)
    assert answers.status in (0xA900, 0xC000)
    assert answers.comment
    assert answers.last == b""


@case("R124-F80-a-query-after-one-that-failed")
def test_the_association_survives_a_wrong_query(association: Association) -> None:
    assert ask(association, query("FOO", STUDY)).status == 0xA900
    assert ask(association, query("STUDY", STUDY | {"PatientID": "CONF-P1"})).found == ["1.1", "1.2"]


@case("R126-F82-group-lengths-and-unsorted-elements")
def test_group_lengths_are_passed_over(association: Association) -> None:
    keys = query("STUDY", STUDY | {"PatientID": "CONF-P1"})
    length = b"\x08\x00\x00\x00UL\x04\x00" + (14).to_bytes(4, "little")
    assert ask(association, length + keys).found == ["1.1", "1.2"]
    unsorted = query(None, STUDY | {"PatientID": "CONF-P1"}) + query("STUDY", {})
    assert ask(association, unsorted).status in (0, 0xA900)
    assert association.echo() == 0


@case("R165-F63-an-unknown-character-set")
def test_an_unknown_character_set_is_no_crash(association: Association) -> None:
    keys = STUDY | {"SpecificCharacterSet": "ISO_IR 999", "PatientID": "CONF-P1"}
    answers = ask(association, query("STUDY", keys))
    assert (answers.status, answers.found) == (0, ["1.1", "1.2"])


@case("R154+R153-F66-an-empty-sequence-is-universal")
@pytest.mark.parametrize("empty", [b"", item({})], ids=["no-item", "an-empty-item"])
def test_the_whole_sequence_is_returned(empty: bytes, association: Association) -> None:
    keys = STUDY | {"PatientID": "CONF-P1", "ProcedureCodeSequence": empty}
    answers = ask(association, query("STUDY", keys))
    assert (answers.found, answers.pending) == (["1.1", "1.2"], {0xFF00})
    codes = {name_of(match): match.ProcedureCodeSequence for match in answers.matches}
    (code,) = codes[uid_of("1.1")]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("CTCHEST", "99CONF", "CT Chest")
    assert list(codes[uid_of("1.2")]) == []


@case("R153-F64-items-have-what-was-asked-for")
def test_an_item_has_the_attributes_of_the_key(association: Association) -> None:
    keys = SERIES | {"RequestAttributesSequence": item({"ScheduledProcedureStepID": ""})}
    series = {name_of(match): match for match in ask(association, query("SERIES", keys)).matches}
    (step,) = series[uid_of("1.1.1")].RequestAttributesSequence
    assert {element.keyword: str(element.value) for element in step} == {"ScheduledProcedureStepID": "SPS-1"}


@case("R163+R164-F55-names-of-every-alphabet")
def test_no_name_is_damaged(association: Association) -> None:
    answers = ask(association, query("STUDY", STUDY | {"PatientName": ""}))
    names = {name_of(match): str(match.PatientName) for match in answers.matches}
    expected = {
        "1.1": DOE,
        "2.1": "DOE^JANE",
        "3.1": BUC,
        "4.1": YAMADA,
        "5.1": WANG,
        "7.1": PAPADOPOULOS,
        "8.1": ADAMS,
    }
    assert {label: names[uid_of(label)] for label in expected} == expected
    for match in answers.matches:
        declared = match.get("SpecificCharacterSet", "")
        assert declared != "" or str(match.PatientName).isascii()


@case("R123-F72-a-cancel-after-the-first-answer")
def test_a_cancel_ends_a_query(association: Association) -> None:
    responses = association.find(STUDY_ROOT_FIND, query("STUDY", STUDY), cancel_after=1)
    assert responses[-1][0] in (0xFE00, 0)
    assert responses[-1][1] == b""
    assert association.echo() == 0


@case("R129-F73-implicit-vr")
def test_implicit_vr_gives_the_same(node: Node) -> None:
    keys = STUDY | {"PatientID": "CONF-P1", "PatientName": ""}
    with node.associate(CALLER, [(STUDY_ROOT_FIND, [IMPLICIT_LE])]) as implicit:
        *pending, (status, _) = implicit.find(STUDY_ROOT_FIND, query("STUDY", keys, syntax=IMPLICIT_LE))
    found = labels(decode(raw, IMPLICIT_LE).StudyInstanceUID for _, raw in pending)
    assert (status, found) == (0, ["1.1", "1.2"])


@pytest.mark.parametrize(
    "syntax",
    [
        pytest.param("1.2.840.10008.1.2.2", id="R129-F73-big-endian-is-not-offered"),
        pytest.param("1.2.840.10008.1.2.1.99", id="R129-F73-deflated-is-not-offered"),
    ],
)
def test_other_syntaxes_are_refused(syntax: str, node: Node) -> None:
    with node.associate(CALLER, [(STUDY_ROOT_FIND, [syntax])]) as association:
        assert association.results == {1: 4}


@case("R128-a-priority-is-ignored")
def test_every_priority_finds_the_same(association: Association) -> None:
    context = association.context_of(STUDY_ROOT_FIND)
    for priority in (0, 1, 2):
        command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": priority}
        asked = association.send(context, C_FIND, command, query("STUDY", FIRST))
        responses = [association.read_response()]
        while responses[-1].status == 0xFF00:
            responses.append(association.read_response())
        assert [response.status for response in responses] == [0xFF00, 0]
        assert {response.message_id for response in responses} == {asked}
        assert responses[-1].command["CommandDataSetType"] == NO_DATASET


@case("R127-all-answers-are-given-unless-the-configuration-limits-them")
def test_a_limit_is_said(start_node: Callable[..., Node]) -> None:
    limited = start_node(configuration(limits={"answers": 2}))
    made = [sample(label) for label in ("1.1.1.1", "2.1.1.1", "4.1.1.1")]
    with limited.associate(CALLER, contexts_for(made)) as association:
        assert {association.send_sample(each) for each in made} == {0}
    with limited.associate(CALLER, CONTEXTS) as association:
        answers = ask(association, query("STUDY", STUDY))
        assert (answers.status, len(answers.matches)) == (0xA700, 2)
        assert answers.comment
        enough = ask(association, query("STUDY", STUDY | {"PatientName": "DOE*"}))
        assert (enough.status, len(enough.matches)) == (0, 2)
