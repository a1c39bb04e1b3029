"""C-MOVE by raw wire: what is sent and to whom, what is counted, and what is refused before anybody is contacted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.kit import STORAGE_CT, events, query, rows
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.receiver import first_proposed
from tests.samples import Sample, decode, make_instance, make_instances, read_sample, real_files, uid
from tests.upper_layer import C_MOVE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_MOVE, Association, Receiver, Rejected, contexts_for

_PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
_CONTEXTS = [(VERIFICATION, [IMPLICIT_LE]), (STUDY_ROOT_MOVE, [EXPLICIT_LE]), (_PATIENT_ROOT_MOVE, [EXPLICIT_LE])]
_SR = "1.2.840.10008.5.1.4.1.1.88.22"
Move = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def near() -> Iterator[Receiver]:
    """A workstation of the caller's own site."""
    with Receiver() as it:
        yield it


@pytest.fixture(scope="module")
def far() -> Iterator[Receiver]:
    """A workstation of another private site."""
    with Receiver() as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], near: Receiver, far: Receiver, public: Receiver) -> Node:
    config = default_config(rad_ws=near.port, peak_ws=far.port, pubpacs=public.port)
    more = {
        "DEAD_WS": {"site": "harbour", "host": LOCAL, "port": free_port()},
        "PUB_WS": {"site": "general", "host": LOCAL, "port": public.port, "may": ["find", "move"]},
    }
    return start_node(changed(config, {"partners": more}))


@pytest.fixture(autouse=True)
def _receivers(near: Receiver, far: Receiver, public: Receiver) -> Iterator[None]:
    """Every test finds them willing, and empty."""
    for it in (near, far, public):
        it.answer, it.reject, it.delay, it.accept, it.abort_after = None, None, None, first_proposed, None
        it.received.clear()
        it.requests.clear()
    yield
    assert near.faults == far.faults == public.faults == []


@pytest.fixture
def caller(node: Node) -> Iterator[Association]:
    """The radiographer's workstation."""
    with node.associate("RAD_WS", _CONTEXTS, timeout=30) as it:
        yield it


def _store(node: Node, made: list[Sample], *, calling: str = "CT1", called: str | None = None) -> list[Sample]:
    with node.associate(calling, contexts_for(made), called=called) as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    return made


def _study(node: Node, seed: object, count: int = 3, **options: Any) -> list[Sample]:
    route = {key: options.pop(key) for key in ("calling", "called") if key in options}
    return _store(node, make_instances(count, seed=("move", seed), **options), **route)


def _move(association: Association, level: str, destination: str, model: str = STUDY_ROOT_MOVE, **keys: str) -> Any:
    """The final response of a C-MOVE; the association must go on."""
    responses = association.move(model, query(level, keys), destination)
    final = responses[-1]
    for pending in responses[:-1]:
        assert pending["identifier"] == b""
    assert association.echo() == 0
    return final


def _counts(final: dict[str, Any]) -> tuple[int, ...]:
    return tuple(final[key] for key in ("status", "completed", "failed", "warning"))


def _failed(final: dict[str, Any]) -> set[str]:
    value = decode(final["identifier"]).FailedSOPInstanceUIDList
    return {str(value)} if isinstance(value, str) else set(map(str, value))


def _uids(made: list[Sample]) -> set[str]:
    return {sample.sop_instance for sample in made}


def _arrived(receiver: Receiver) -> dict[str, str]:
    return {each.sop_instance: each.sha256 for each in receiver.received}


def _whole(made: list[Sample]) -> dict[str, str]:
    return {sample.sop_instance: sample.sha256 for sample in made}


# -- what is sent ----------------------------------------------------------------------------------------------


def test_a_study_arrives_as_it_was_stored_on_one_association(node: Node, caller: Association, near: Receiver) -> None:
    made = _study(node, "whole")
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert _counts(final) == (0, 3, 0, 0)
    assert final["remaining"] is None
    assert final["identifier"] == b""
    assert _arrived(near) == _whole(made)
    assert len(near.requests) == 1
    assert (near.requests[0].calling, near.requests[0].called) == ("REFERNODE", "RAD_WS")


def test_a_sub_operation_names_who_asked_and_in_which_message(node: Node, caller: Association, near: Receiver) -> None:
    made = _study(node, "originator", 1)
    for priority in (2, 0, 1):
        near.received.clear()
        context = caller.context_of(STUDY_ROOT_MOVE)
        command = {"AffectedSOPClassUID": STUDY_ROOT_MOVE, "Priority": priority, "MoveDestination": "RAD_WS"}
        asked = caller.send(context, C_MOVE, command, query("STUDY", {"StudyInstanceUID": made[0].study}))
        assert caller.read_response().status == 0
        (received,) = near.received
        assert (received.move_originator, received.move_message_id, received.priority) == ("RAD_WS", asked, priority)


def test_real_objects_arrive_in_their_own_syntax(node: Node, caller: Association, near: Receiver) -> None:
    wanted = ("JPEG2000.dcm", "SC_rgb_rle.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG-lossy.dcm")
    found_files = [path for path in real_files() if path.name in wanted]
    assert len(found_files) == len(wanted)
    for sample in map(read_sample, found_files):
        near.received.clear()
        _store(node, [sample])
        final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=sample.study)
        assert (final["status"], final["failed"]) == (0, 0)
        found = {each.sop_instance: each for each in near.received}[sample.sop_instance]
        (row,) = rows(node, "SELECT * FROM instances WHERE current AND sop_instance_uid = ?", sample.sop_instance)
        assert (found.sha256, found.transfer_syntax) == (row["sha256"], row["transfer_syntax_uid"])


def test_each_level_selects_what_it_says(node: Node, caller: Association, near: Receiver) -> None:
    study, patient = uid("levels"), {"PatientID": "LEVELS"}
    first = _study(node, "levels", 2, study_uid=study, **patient)
    second = _study(node, "levels", 3, study_uid=study, series=2, **patient)
    other = _study(node, "levels 2", 2, **patient)
    one, two = first[0].sop_instance, second[0].sop_instance
    above = {"StudyInstanceUID": study, "SeriesInstanceUID": second[0].series}
    patient_root = {"model": _PATIENT_ROOT_MOVE, **patient}
    cases: list[tuple[str, dict[str, str], list[Sample]]] = [
        ("STUDY", {"StudyInstanceUID": study}, first + second),
        ("STUDY", {"StudyInstanceUID": f"{study}\\{other[0].study}\\1.2.3"}, first + second + other),
        ("SERIES", {"StudyInstanceUID": study, "SeriesInstanceUID": first[0].series}, first),
        (
            "SERIES",
            {"StudyInstanceUID": study, "SeriesInstanceUID": f"{first[0].series}\\{second[0].series}"},
            first + second,
        ),
        ("IMAGE", {**above, "SOPInstanceUID": two}, second[:1]),
        ("IMAGE", {**above, "SOPInstanceUID": f"{two}\\{second[2].sop_instance}"}, [second[0], second[2]]),
        ("IMAGE", {**above, "SOPInstanceUID": one}, []),
        ("PATIENT", patient_root, first + second + other),
        ("STUDY", {**patient_root, "StudyInstanceUID": study}, first + second),
        ("STUDY", {**patient_root, "PatientID": "SOMEBODY", "StudyInstanceUID": study}, []),
        ("SERIES", {"StudyInstanceUID": other[0].study, "SeriesInstanceUID": first[0].series}, []),
        ("STUDY", {"StudyInstanceUID": study, "PatientID": "SOMEBODY"}, first + second),  # no unique key of Study Root
    ]
    for level, keys, expected in cases:
        near.received.clear()
        near.requests.clear()
        final = _move(caller, level, "RAD_WS", **keys)
        assert _counts(final) == (0, len(expected), 0, 0), (level, keys)
        assert _arrived(near) == _whole(expected), (level, keys)
        assert len(near.requests) == (1 if expected else 0), "an association for nothing"


_NOT_ENOUGH: list[tuple[str, str, dict[str, str]]] = [
    ("STUDY", STUDY_ROOT_MOVE, {}),
    ("STUDY", STUDY_ROOT_MOVE, {"StudyInstanceUID": ""}),
    ("STUDY", STUDY_ROOT_MOVE, {"StudyInstanceUID": "*"}),
    ("STUDY", STUDY_ROOT_MOVE, {"StudyInstanceUID": "2.25.*"}),
    ("STUDY", STUDY_ROOT_MOVE, {"StudyInstanceUID": "\\"}),
    ("STUDY", STUDY_ROOT_MOVE, {"PatientID": "H0001"}),
    ("SERIES", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2", "SeriesInstanceUID": ""}),
    ("SERIES", STUDY_ROOT_MOVE, {"SeriesInstanceUID": "1.2"}),
    ("IMAGE", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2", "SOPInstanceUID": "?"}),
    ("IMAGE", STUDY_ROOT_MOVE, {"SOPInstanceUID": "1.2"}),
    ("PATIENT", _PATIENT_ROOT_MOVE, {"PatientID": ""}),
    ("PATIENT", _PATIENT_ROOT_MOVE, {"PatientID": "*"}),
    ("PATIENT", _PATIENT_ROOT_MOVE, {"PatientID": "H*"}),
    ("PATIENT", _PATIENT_ROOT_MOVE, {"PatientID": "A\\B"}),
    ("STUDY", _PATIENT_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
    ("PATIENT", STUDY_ROOT_MOVE, {"PatientID": "H0001"}),
    ("", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
    ("EVERYTHING", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), _NOT_ENOUGH)
def test_what_does_not_say_which_moves_nothing(
    level: str, model: str, keys: dict[str, str], caller: Association, near: Receiver
) -> None:
    final = _move(caller, level, "RAD_WS", model, **keys)
    assert final["status"] == 0xA900
    assert final["comment"]
    assert near.requests == []


# -- where to --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "destination", ["NOBODY", "PEAK_WS", "CT1", "REFERNODE", "rad_ws", "127.0.0.1", "../RAD_WS", "", "RAD_WS" * 3]
)
def test_a_destination_that_may_not_be_reached_is_refused_before_any_contact(
    destination: str, node: Node, caller: Association, near: Receiver, far: Receiver, public: Receiver
) -> None:
    made = _study(node, "destinations")
    before = len(events(node, "move destination refused"))
    final = _move(caller, "STUDY", destination, StudyInstanceUID=made[0].study)
    assert final["status"] == 0xA801
    assert near.requests == far.requests == public.requests == []
    assert len(events(node, "move destination refused")) == before + 1
    unknown = _move(caller, "STUDY", destination, StudyInstanceUID="1.2.3")
    assert unknown == final, "whether a study exists is not to be learnt from a forbidden destination"


def test_nobody_there_fails_every_sub_operation(node: Node, caller: Association) -> None:
    made = _study(node, "dead")
    final = _move(caller, "STUDY", "DEAD_WS", StudyInstanceUID=made[0].study)
    assert _counts(final) == (0xA702, 0, 3, 0)
    assert final["remaining"] is None
    assert _failed(final) == _uids(made)


def test_who_rejects_us_fails_every_sub_operation(node: Node, caller: Association, near: Receiver) -> None:
    made = _study(node, "rejects")
    near.reject = (1, 1, 7)
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert _counts(final) == (0xA702, 0, 3, 0)
    assert _failed(final) == _uids(made)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([0, 0xA700, 0], (0xB000, 2, 1, 0)),
        ([0xB007, 0, 0], (0xB000, 2, 0, 1)),
        ([0xB000, 0xC000, 0x0124], (0xB000, 0, 2, 1)),
        ([0xA700, 0xA900, 0xC000], (0xA702, 0, 3, 0)),
    ],
)
def test_what_the_destination_answers_is_counted(
    answers: list[int], expected: tuple[int, ...], node: Node, caller: Association, near: Receiver
) -> None:
    made = _study(node, ("answers", *answers))
    status = dict(zip((sample.sop_instance for sample in made), answers, strict=True))
    near.answer = status.__getitem__
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert _counts(final) == expected
    assert final["remaining"] is None
    failed = {instance for instance, each in status.items() if each and each >> 12 != 0xB}
    assert _failed(final) == failed if failed else final["identifier"] == b""
    assert len(near.received) == 3, "one that fails must not stop the others"


def test_what_cannot_be_sent_does_not_stop_the_rest(node: Node, caller: Association, near: Receiver) -> None:
    study = uid("mixed")
    images = _study(node, "mixed", 2, study_uid=study)
    reports = _study(node, "mixed", 1, study_uid=study, series=2, SOPClassUID=_SR, modality="SR")
    gone = _study(node, "mixed", 1, study_uid=study, series=3)
    (row,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ?", gone[0].sop_instance)
    (node.data / row["file"]).unlink()
    near.accept = lambda abstract, syntaxes: None if abstract == _SR else syntaxes[0]
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=study)
    assert _counts(final) == (0xB000, 2, 2, 0)
    assert _failed(final) == _uids(reports + gone)
    assert _arrived(near) == _whole(images)


def test_a_destination_that_goes_in_the_middle_fails_the_rest(node: Node, caller: Association, near: Receiver) -> None:
    made = _study(node, "aborts", 4)
    near.abort_after = 2
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert _counts(final) == (0xB000, 2, 2, 0)
    assert _failed(final) == _uids(made) - _uids_of(near)


def _uids_of(receiver: Receiver) -> set[str]:
    return {each.sop_instance for each in receiver.received}


def test_a_move_can_be_cancelled(node: Node, caller: Association, near: Receiver) -> None:
    made = _study(node, "cancelled", 6)
    near.delay = threading.Event()
    context, command = caller.context_of(STUDY_ROOT_MOVE), {"Priority": 0, "MoveDestination": "RAD_WS"}
    command |= {"AffectedSOPClassUID": STUDY_ROOT_MOVE}
    asked = caller.send(context, C_MOVE, command, query("STUDY", {"StudyInstanceUID": made[0].study}))
    near.wait_until(lambda: bool(near.requests), what="the association")
    caller.cancel(asked, STUDY_ROOT_MOVE)
    near.delay.set()
    counts = {"Completed": 0, "Failed": 0, "Warning": 0, "Remaining": 0}
    while True:
        response = caller.read_response()
        counts = {key: int(response.command[f"NumberOf{key}Suboperations"]) for key in counts}
        assert sum(counts.values()) == 6, "the counts of a response add up to all"
        if response.status != 0xFF00:
            break
    assert response.status == 0xFE00
    assert counts["Remaining"] > 0
    assert counts["Completed"] == len(near.received)
    assert caller.echo() == 0


# -- whose studies ---------------------------------------------------------------------------------------------


def test_another_sites_study_answers_as_one_that_does_not_exist(
    node: Node, caller: Association, near: Receiver
) -> None:
    made = _study(node, "peak's", calling="PEAK_CT", PatientID="PEAK1")
    theirs = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert theirs == _move(caller, "STUDY", "RAD_WS", StudyInstanceUID="1.2.3")
    assert _counts(theirs) == (0, 0, 0, 0)
    assert _counts(_move(caller, "PATIENT", "RAD_WS", _PATIENT_ROOT_MOVE, PatientID="PEAK1")) == (0, 0, 0, 0)
    assert near.requests == []


def test_a_quarantined_study_is_not_moved(node: Node, caller: Association, near: Receiver) -> None:
    (made,) = _study(node, "doubtful", 1)
    changed_copy = make_instance(
        SOPInstanceUID=made.sop_instance, StudyInstanceUID=made.study, SeriesInstanceUID=made.series, PatientID="OTHER"
    )
    with node.associate("CT1", [(STORAGE_CT, [EXPLICIT_LE])]) as association:
        assert association.store(changed_copy, STORAGE_CT, made.sop_instance) == 0
    final = _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made.study)
    assert final["status"] == 0x0124
    assert "quarantine" in final["comment"]
    assert near.requests == []


# -- across a flow ---------------------------------------------------------------------------------------------


def _referral(node: Node, study: str) -> dict[str, Any]:
    (row,) = [row for row in node.cli("referrals", "list", json=True) if row["study_instance_uid"] == study]
    return dict(row)


def test_a_move_across_a_flow_opens_a_referral_and_records_each_result(
    node: Node, caller: Association, public: Receiver
) -> None:
    made = _study(node, "by hand")
    assert not rows(
        node, "SELECT 1 FROM referrals r JOIN studies s ON s.id = r.study AND s.study_instance_uid = ?", made[0].study
    )
    final = _move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)
    assert _counts(final) == (0, 3, 0, 0)
    assert _arrived(public) == _whole(made)
    node.wait_until(lambda: _referral(node, made[0].study)["state"] == "sent", 10, "the referral to be sent")
    referral = _referral(node, made[0].study)
    assert (referral["delivered"], referral["instances"], referral["partner"]) == (3, 3, "PUBPACS")
    assert "RAD_WS" in referral["route"]


def test_a_move_of_what_a_route_refers_joins_its_referral(node: Node, caller: Association, public: Receiver) -> None:
    made = _study(node, "joined", called="TO_GENERAL")
    public.wait_for(3)
    node.wait_until(lambda: _referral(node, made[0].study)["state"] == "sent", 10, "the referral to be sent")
    before = _referral(node, made[0].study)
    assert _counts(_move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)
    after = _referral(node, made[0].study)
    assert (after["referral"], after["delivered"], after["route"]) == (before["referral"], 3, "referrals")
    attempts = [
        row["attempts"] for row in node.cli("queue", "list", json=True) if row["study_instance_uid"] == made[0].study
    ]
    assert attempts == [2, 2, 2]


def test_a_closed_gate_stops_a_move_and_says_so(
    node: Node, caller: Association, near: Receiver, public: Receiver
) -> None:
    made = _study(node, "held")
    assert _counts(_move(caller, "IMAGE", "PUBPACS", **_image(made[0]))) == (0, 1, 0, 0)
    referral = _referral(node, made[0].study)["referral"]
    assert node.cli("referrals", "hold", str(referral), "--reason", "the patient has asked").code == 0
    public.received.clear()
    public.requests.clear()
    final = _move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)
    assert final["status"] == 0x0124
    assert f"referral {referral} is held" in final["comment"]
    assert public.requests == []
    assert _counts(_move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)
    assert node.cli("referrals", "release", str(referral)).code == 0
    assert _counts(_move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)


def _image(sample: Sample) -> dict[str, str]:
    return {
        "StudyInstanceUID": sample.study,
        "SeriesInstanceUID": sample.series,
        "SOPInstanceUID": sample.sop_instance,
    }


def test_what_fails_across_a_flow_is_told_to_the_caller_and_not_queued(
    node: Node, caller: Association, public: Receiver
) -> None:
    made = _study(node, "fails")
    public.answer = lambda _: 0xA700
    assert _counts(_move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0xA702, 0, 3, 0)
    states = [
        row["state"] for row in node.cli("queue", "list", json=True) if row["study_instance_uid"] == made[0].study
    ]
    assert states == ["dropped"] * 3


def test_the_public_side_may_fetch_what_was_referred_to_it_and_nothing_else(node: Node, public: Receiver) -> None:
    own, referred = _study(node, "kept"), _study(node, "referred", called="TO_GENERAL")
    public.wait_for(3)
    node.wait_until(lambda: _referral(node, referred[0].study)["state"] == "sent", 10, "the referral to be sent")
    public.received.clear()
    with node.associate("PUB_WS", _CONTEXTS, timeout=30) as caller:
        assert _counts(_move(caller, "STUDY", "PUB_WS", StudyInstanceUID=referred[0].study)) == (0, 3, 0, 0)
        assert _arrived(public) == _whole(referred)
        missing = _move(caller, "STUDY", "PUB_WS", StudyInstanceUID="1.2.3")
        assert _move(caller, "STUDY", "PUB_WS", StudyInstanceUID=own[0].study) == missing
        assert _move(caller, "STUDY", "RAD_WS", StudyInstanceUID=referred[0].study)["status"] == 0xA801


def test_a_workstation_that_may_only_query_may_not_move(node: Node) -> None:
    with pytest.raises(Rejected):
        node.associate("DEAD_WS", _CONTEXTS)
    with node.associate("CT1", _CONTEXTS) as association:
        assert len(association.accepted) == 1
