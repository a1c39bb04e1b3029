"""C-GET by raw wire: whose instances go where, on which contexts, and what is counted (PS3.4 C.4.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pydicom
import pytest

from tests.integration.kit import STORAGE_CT, events, query, rows, state
from tests.integration.moving.kit import (
    PATIENT_ROOT_GET,
    PATIENT_STUDY_ONLY_GET,
    SR,
    counts,
    failed,
    move,
    store,
    study,
    uids,
)
from tests.node import Node
from tests.samples import Sample, decode, make_instance, read_sample, real_files, uid
from tests.upper_layer import C_GET, C_STORE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_GET, STUDY_ROOT_MOVE, Association, Message, Receiver, Rejected

MODELS = [STUDY_ROOT_GET, PATIENT_ROOT_GET, PATIENT_STUDY_ONLY_GET]
FETCH = (0, 1)


def associate(node: Node, calling: str = "GET_WS", syntax: str = EXPLICIT_LE, **options: Any) -> Association:
    """An association on which CT and SR can come back."""
    roles = options.pop("roles", {STORAGE_CT: FETCH, SR: FETCH})
    contexts = [(VERIFICATION, [IMPLICIT_LE]), *((model, [EXPLICIT_LE]) for model in MODELS)]
    contexts += [(STORAGE_CT, [syntax]), (SR, [syntax])]
    return node.associate(calling, options.pop("contexts", contexts), roles=roles, timeout=30, **options)


@pytest.fixture
def caller(node: Node) -> Iterator[Association]:
    """A workstation of harbour that may fetch."""
    with associate(node) as it:
        yield it


def get(
    association: Association,
    level: str,
    model: str = STUDY_ROOT_GET,
    answers: dict[str, int] | None = None,
    **keys: str,
) -> tuple[dict[str, Any], list[Message]]:
    """The final response of a C-GET, and what came; the association must go on."""

    def answer(message: Message) -> int:
        return (answers or {}).get(str(message["AffectedSOPInstanceUID"]), 0)

    responses, stored = association.get(model, query(level, keys), answer)
    for pending in responses[:-1]:
        assert (pending["status"], pending["identifier"]) == (0xFF00, b"")
    assert responses[-1]["status"] == 0xFE00 or responses[-1]["remaining"] is None
    assert association.echo() == 0
    return responses[-1], stored


def came(stored: list[Message]) -> dict[str, bytes]:
    return {str(each["AffectedSOPInstanceUID"]): each.dataset or b"" for each in stored}


def sent(made: list[Sample]) -> dict[str, bytes]:
    return {sample.sop_instance: sample.dataset for sample in made}


# -- what is sent ----------------------------------------------------------------------------------------------


def test_a_study_comes_back_as_it_was_stored(node: Node, caller: Association) -> None:
    made = study(node, "got")
    final, stored = get(caller, "STUDY", StudyInstanceUID=made[0].study)
    assert counts(final) == (0, 3, 0, 0)
    assert final["identifier"] == b""
    assert came(stored) == sent(made)
    for each in stored:
        assert each.context == caller.context_of(STORAGE_CT)
        assert each["Priority"] == 0
        assert not {"MoveOriginatorApplicationEntityTitle", "MoveOriginatorMessageID"} & each.command.keys()
    again, _ = get(caller, "STUDY", StudyInstanceUID=made[0].study)
    assert counts(again) == (0, 3, 0, 0)


def test_each_level_selects_what_it_says(node: Node, caller: Association) -> None:
    patient = {"PatientID": "GETLEVELS"}
    first = study(node, "get levels", 2, **patient)
    other = study(node, "get levels 2", 1, **patient)
    above = {"StudyInstanceUID": first[0].study, "SeriesInstanceUID": first[0].series}
    cases: list[tuple[str, str, dict[str, str], list[Sample]]] = [
        ("PATIENT", PATIENT_ROOT_GET, patient, first + other),
        ("PATIENT", PATIENT_STUDY_ONLY_GET, patient, first + other),
        ("STUDY", PATIENT_STUDY_ONLY_GET, {**patient, "StudyInstanceUID": other[0].study}, other),
        ("STUDY", STUDY_ROOT_GET, {"StudyInstanceUID": f"{first[0].study}\\{other[0].study}"}, first + other),
        ("SERIES", STUDY_ROOT_GET, above, first),
        ("IMAGE", STUDY_ROOT_GET, {**above, "SOPInstanceUID": first[1].sop_instance}, first[1:]),
        ("STUDY", STUDY_ROOT_GET, {"StudyInstanceUID": "1.2.3"}, []),
    ]
    for level, model, keys, expected in cases:
        final, stored = get(caller, level, model, **keys)
        assert counts(final) == (0, len(expected), 0, 0), (level, keys)
        assert came(stored) == sent(expected), (level, keys)


@pytest.mark.parametrize(
    ("level", "model", "keys"),
    [
        ("STUDY", STUDY_ROOT_GET, {"StudyInstanceUID": ""}),
        ("STUDY", STUDY_ROOT_GET, {"StudyInstanceUID": "*"}),
        ("PATIENT", PATIENT_ROOT_GET, {"PatientID": "H*"}),
        ("IMAGE", STUDY_ROOT_GET, {"SOPInstanceUID": "1.2"}),
        ("SERIES", PATIENT_STUDY_ONLY_GET, {"PatientID": "A", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2"}),
        ("", STUDY_ROOT_GET, {"StudyInstanceUID": "1.2"}),
    ],
)
def test_what_does_not_say_which_gets_nothing(
    level: str, model: str, keys: dict[str, str], caller: Association
) -> None:
    final, stored = get(caller, level, model, **keys)
    assert final["status"] == 0xA900
    assert final["comment"]
    assert not stored


def test_a_peer_that_knows_implicit_alone_gets_it_so(node: Node) -> None:
    made = study(node, "implicit", 2)
    with associate(node, syntax=IMPLICIT_LE) as caller:
        final, stored = get(caller, "STUDY", StudyInstanceUID=made[0].study)
    assert counts(final) == (0, 2, 0, 0)
    assert came(stored).keys() == uids(made)
    assert all(len(each.dataset or b"") < len(made[0].dataset) for each in stored), "without VRs it is shorter"


def test_what_is_compressed_comes_so_where_it_can_and_else_as_the_partner_is_to_have_it(node: Node) -> None:
    (path,) = [path for path in real_files() if path.name == "MR_small_RLE.dcm"]
    sample = read_sample(path)
    store(node, [sample])
    for calling, syntax, expected in (
        ("GET_WS", sample.transfer_syntax, (0, 1, 0, 0)),
        ("GET_WS", EXPLICIT_LE, (0xA702, 0, 1, 0)),
        ("OLD_WS", EXPLICIT_LE, (0, 1, 0, 0)),
    ):
        contexts = [(VERIFICATION, [IMPLICIT_LE]), (STUDY_ROOT_GET, [EXPLICIT_LE]), (sample.sop_class, [syntax])]
        with associate(node, calling, contexts=contexts, roles={sample.sop_class: FETCH}) as caller:
            final, stored = get(caller, "STUDY", StudyInstanceUID=sample.study)
        assert counts(final) == expected, (calling, syntax)
        if syntax == sample.transfer_syntax:
            assert came(stored) == {sample.sop_instance: sample.dataset}
        elif stored:
            (whole,) = came(stored).values()
            assert decode(whole).PixelData == pydicom.dcmread(path.with_name("MR_small.dcm")).PixelData


# -- on which contexts -----------------------------------------------------------------------------------------


def test_a_class_without_the_role_fails_and_the_rest_comes(node: Node) -> None:
    own = uid("get mixed")
    images = study(node, "get mixed", 2, study_uid=own)
    reports = study(node, "get mixed", 1, study_uid=own, series=2, SOPClassUID=SR, modality="SR")
    with associate(node, roles={STORAGE_CT: FETCH}) as caller:
        final, stored = get(caller, "STUDY", StudyInstanceUID=own)
    assert counts(final) == (0xB000, 2, 1, 0)
    assert failed(final) == uids(reports)
    assert came(stored) == sent(images)
    (told,) = [each for each in events(node, "instances not retrieved") if each["partner"] == "GET_WS"][-1:]
    assert "on which the caller is SCP" in told["text"]
    node.wait_until(lambda: "not retrieved to=GET_WS" in node.log.read_text(), 10, "the reason in the log")


def test_without_a_context_for_storing_everything_fails(node: Node) -> None:
    made = study(node, "nowhere")
    contexts = [(VERIFICATION, [IMPLICIT_LE]), (STUDY_ROOT_GET, [EXPLICIT_LE])]
    with associate(node, contexts=contexts, roles={}) as caller:
        final, stored = get(caller, "STUDY", StudyInstanceUID=made[0].study)
    assert counts(final) == (0xA702, 0, 3, 0)
    assert failed(final) == uids(made)
    assert not stored


def test_who_may_only_fetch_stores_nothing_on_the_way_back(node: Node) -> None:
    before = state(node)
    with associate(node) as caller:
        data = make_instance(SOPInstanceUID="1.2.3.4")
        assert caller.store(data, STORAGE_CT, "1.2.3.4") == 0x0124
        assert "SCU role" in caller.last_error_comment
        assert caller.echo() == 0
    assert state(node) == before


def test_who_may_do_both_does_both_on_one_context(node: Node) -> None:
    with associate(node, "BOTH_WS", roles={STORAGE_CT: (1, 1)}) as caller:
        assert caller.roles[STORAGE_CT] == (1, 1)
        data, own = make_instance(seed="both"), uid("instance", "both", 3)
        assert caller.store(data, STORAGE_CT, own) == 0
        final, stored = get(caller, "STUDY", StudyInstanceUID=uid("instance", "both", 1))
        assert counts(final) == (0, 1, 0, 0)
        assert came(stored) == {own: data}


def test_who_has_not_the_right_may_not_fetch(node: Node) -> None:
    for calling in ("RAD_WS", "CT1", "PUBPACS"):
        with associate(node, calling) as caller:
            assert {abstract for n in caller.accepted if (abstract := caller.proposed[n][0]) in MODELS} == set()


# -- what is counted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([0, 0xA700, 0], (0xB000, 2, 1, 0)),
        ([0xB007, 0xB007, 0xB007], (0xB000, 0, 0, 3)),
        ([0xA700, 0xA900, 0xC000], (0xA702, 0, 3, 0)),
    ],
)
def test_what_the_peer_answers_is_counted(
    answers: list[int], expected: tuple[int, ...], node: Node, caller: Association
) -> None:
    made = study(node, ("get answers", *answers))
    status = dict(zip((sample.sop_instance for sample in made), answers, strict=True))
    final, stored = get(caller, "STUDY", answers=status, StudyInstanceUID=made[0].study)
    assert counts(final) == expected
    refused = {instance for instance, each in status.items() if each and each >> 12 != 0xB}
    assert failed(final) == refused if refused else final["identifier"] == b""
    assert len(stored) == 3


def test_a_get_is_cancelled_by_its_own_number_alone(node: Node, caller: Association) -> None:
    made = study(node, "get cancelled", 4)
    command = {"AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": 0}
    identifier = query("STUDY", {"StudyInstanceUID": made[0].study})
    asked = caller.send(caller.context_of(STUDY_ROOT_GET), C_GET, command, identifier)
    stored, numbers = 0, [asked + 1, asked]  # the first is of another message
    while True:
        message = caller._read()
        if message["CommandField"] != C_STORE:
            counts = [int(message.command[f"NumberOf{n}Suboperations"]) for n in ("Completed", "Failed", "Remaining")]
            assert sum(counts) == 4
            if message["Status"] != 0xFF00:
                break
            continue
        stored += 1
        caller.cancel(numbers[stored - 1], STUDY_ROOT_GET)  # before the C-STORE-RSP
        caller._answer_store(message, 0)
    assert (message["Status"], stored, counts) == (0xFE00, 2, [2, 0, 2])
    assert caller.echo() == 0


@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_goes_in_the_middle_frees_its_place(reset: bool, node: Node) -> None:
    made = study(node, "get aborted")
    caller = _enter(node)
    caller._query(C_GET, STUDY_ROOT_GET, query("STUDY", {"StudyInstanceUID": made[0].study}))
    assert caller._read()["CommandField"] == C_STORE
    caller.abort(reset=reset)
    with _enter(node) as again:
        assert again.echo() == 0


def _enter(node: Node) -> Association:
    """An association of ONE_WS, which may have one at a time: as soon as the last one's place is free."""

    def enter() -> Association | None:
        with contextlib.suppress(Rejected):
            return associate(node, "ONE_WS")
        return None

    found: Association = node.wait_until(enter, 10, "a free place")
    return found


# -- whose studies ---------------------------------------------------------------------------------------------


def test_another_sites_study_answers_as_one_that_does_not_exist(node: Node, caller: Association) -> None:
    made = study(node, "peak's, to get", calling="PEAK_CT", PatientID="PEAK2")
    final, stored = get(caller, "STUDY", StudyInstanceUID=made[0].study)
    assert final == get(caller, "STUDY", StudyInstanceUID="1.2.3")[0]
    assert not stored


def _referral(node: Node, study: str, partner: str) -> Any:
    found = [row for row in node.cli("referrals", "list", json=True) if row["study_instance_uid"] == study]
    return next((row for row in found if row["partner"] == partner), None)


def test_the_public_side_fetches_what_was_referred_to_it_and_nothing_else(node: Node, public: Receiver) -> None:
    own, referred = study(node, "get kept"), study(node, "get referred", called="TO_GENERAL")
    public.wait_for(3)
    node.wait_until(lambda: _referral(node, referred[0].study, "PUBPACS")["state"] == "sent", 10, "it to be sent")
    with associate(node, "PUB_GET") as caller:
        final, stored = get(caller, "STUDY", StudyInstanceUID=referred[0].study)
        assert counts(final) == (0, 3, 0, 0)
        assert came(stored) == sent(referred)
        assert get(caller, "STUDY", StudyInstanceUID=own[0].study) == get(caller, "STUDY", StudyInstanceUID="1.2.3")
    (event,) = [e for e in events(node, "study fetched") if e["study_instance_uid"] == referred[0].study]
    assert (event["partner"], event["referral"]) == ("PUB_GET", None)
    assert _referral(node, referred[0].study, "PUB_GET") is None, "who fetches opens no referral"

    number = _referral(node, referred[0].study, "PUBPACS")["referral"]
    assert node.cli("referrals", "hold", str(number), "--reason", "the patient has asked").code == 0
    with associate(node, "PUB_GET") as caller:
        assert counts(get(caller, "STUDY", StudyInstanceUID=referred[0].study)[0]) == (0, 0, 0, 0), "it sees no more"
    assert node.cli("referrals", "release", str(number)).code == 0


def test_what_was_referred_to_who_fetches_is_written_into_its_ledger(node: Node) -> None:
    made = study(node, "get ledger")
    with node.associate("RAD_WS", [(VERIFICATION, [IMPLICIT_LE]), (STUDY_ROOT_MOVE, [EXPLICIT_LE])], timeout=30) as ws:
        assert counts(move(ws, "STUDY", "PUB_GET", StudyInstanceUID=made[0].study))[0] == 0
    with associate(node, "PUB_GET") as caller:
        refusing = {made[1].sop_instance: 0xA700}
        assert counts(get(caller, "STUDY", answers=refusing, StudyInstanceUID=made[0].study)[0]) == (0xB000, 2, 1, 0)
    ledger = rows(
        node,
        "SELECT x.attempts, x.state FROM transfers x JOIN instances i ON i.id = x.instance"
        " JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study"
        " WHERE t.study_instance_uid = ? AND x.partner = 'PUB_GET' ORDER BY i.id",
        made[0].study,
    )
    assert [(row["attempts"], row["state"]) for row in ledger] == [(2, "delivered"), (1, "delivered"), (2, "delivered")]


def test_a_quarantined_study_is_not_fetched(node: Node, caller: Association) -> None:
    (made,) = study(node, "get doubtful", 1)
    changed_copy = make_instance(
        SOPInstanceUID=made.sop_instance, StudyInstanceUID=made.study, SeriesInstanceUID=made.series, Rows=1
    )
    with node.associate("CT1", [(STORAGE_CT, [EXPLICIT_LE])]) as association:
        assert association.store(changed_copy, STORAGE_CT, made.sop_instance) == 0
    final, stored = get(caller, "STUDY", StudyInstanceUID=made.study)
    assert (final["status"], stored) == (0x0124, [])
    assert "quarantine" in final["comment"]


# -- what was negotiated ---------------------------------------------------------------------------------------


def test_one_instance_is_enough_to_say_where_relational_retrieve_was_agreed_on(node: Node) -> None:
    made = study(node, "relational", 2)
    keys = {"SOPInstanceUID": made[1].sop_instance}
    for offered, status in ((b"\1\1", 0), (b"\0", 0xA900)):
        with associate(node, extended={STUDY_ROOT_GET: offered}) as caller:
            assert caller.answer.extended == {STUDY_ROOT_GET: offered[:1] + b"\0" * (len(offered) - 1)}
            final, stored = get(caller, "IMAGE", **keys)
            assert final["status"] == status
            assert came(stored) == (sent(made[1:]) if status == 0 else {})
    with associate(node) as caller:
        assert caller.answer.extended == {}
