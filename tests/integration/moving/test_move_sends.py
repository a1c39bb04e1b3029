"""C-MOVE by raw wire: what is sent, and what is counted (PS3.4 C.4.2)."""

from __future__ import annotations

import threading
import time

import pytest

from tests.integration.kit import STORAGE_CT, query, rows
from tests.integration.moving.kit import (
    CONTEXTS,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_MOVE,
    SR,
    arrived,
    counts,
    failed,
    move,
    store,
    study,
    uids,
    whole,
)
from tests.node import Node
from tests.patience import patient
from tests.samples import Sample, read_sample, real_files, uid
from tests.upper_layer import C_MOVE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_MOVE, Association, Receiver

# -- what is sent ----------------------------------------------------------------------------------------------


def test_a_study_arrives_as_it_was_stored_on_one_association(node: Node, caller: Association, near: Receiver) -> None:
    made = study(node, "whole")
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert counts(final) == (0, 3, 0, 0)
    assert final["remaining"] is None
    assert final["identifier"] == b""
    assert arrived(near) == whole(made)
    assert len(near.requests) == 1
    assert (near.requests[0].calling, near.requests[0].called) == ("REFERNODE", "RAD_WS")


def test_a_sub_operation_names_who_asked_and_in_which_message(node: Node, caller: Association, near: Receiver) -> None:
    made = study(node, "originator", 1)
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
        store(node, [sample])
        final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=sample.study)
        assert (final["status"], final["failed"]) == (0, 0)
        found = {each.sop_instance: each for each in near.received}[sample.sop_instance]
        (row,) = rows(node, "SELECT * FROM instances WHERE current AND sop_instance_uid = ?", sample.sop_instance)
        assert (found.sha256, found.transfer_syntax) == (row["sha256"], row["transfer_syntax_uid"])


def test_each_level_selects_what_it_says(node: Node, caller: Association, near: Receiver) -> None:
    own, patient = uid("levels"), {"PatientID": "LEVELS"}
    first = study(node, "levels", 2, study_uid=own, **patient)
    second = study(node, "levels", 3, study_uid=own, series=2, **patient)
    other = study(node, "levels 2", 2, **patient)
    one, two = first[0].sop_instance, second[0].sop_instance
    above = {"StudyInstanceUID": own, "SeriesInstanceUID": second[0].series}
    patient_root = {"model": PATIENT_ROOT_MOVE, **patient}
    cases: list[tuple[str, dict[str, str], list[Sample]]] = [
        ("STUDY", {"StudyInstanceUID": own}, first + second),
        ("STUDY", {"StudyInstanceUID": f"{own}\\{other[0].study}\\1.2.3"}, first + second + other),
        ("SERIES", {"StudyInstanceUID": own, "SeriesInstanceUID": first[0].series}, first),
        (
            "SERIES",
            {"StudyInstanceUID": own, "SeriesInstanceUID": f"{first[0].series}\\{second[0].series}"},
            first + second,
        ),
        ("IMAGE", {**above, "SOPInstanceUID": two}, second[:1]),
        ("IMAGE", {**above, "SOPInstanceUID": f"{two}\\{second[2].sop_instance}"}, [second[0], second[2]]),
        ("IMAGE", {**above, "SOPInstanceUID": one}, []),
        ("PATIENT", patient_root, first + second + other),
        ("STUDY", {**patient_root, "StudyInstanceUID": own}, first + second),
        ("STUDY", {**patient_root, "PatientID": "SOMEBODY", "StudyInstanceUID": own}, []),
        ("SERIES", {"StudyInstanceUID": other[0].study, "SeriesInstanceUID": first[0].series}, []),
        ("STUDY", {"StudyInstanceUID": own, "PatientID": "SOMEBODY"}, first + second),  # no unique key of Study Root
    ]
    for level, keys, expected in cases:
        near.received.clear()
        near.requests.clear()
        final = move(caller, level, "RAD_WS", **keys)
        assert counts(final) == (0, len(expected), 0, 0), (level, keys)
        assert arrived(near) == whole(expected), (level, keys)
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
    ("PATIENT", PATIENT_ROOT_MOVE, {"PatientID": ""}),
    ("PATIENT", PATIENT_ROOT_MOVE, {"PatientID": "*"}),
    ("PATIENT", PATIENT_ROOT_MOVE, {"PatientID": "H*"}),
    ("PATIENT", PATIENT_ROOT_MOVE, {"PatientID": "A\\B"}),
    ("STUDY", PATIENT_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
    ("PATIENT", STUDY_ROOT_MOVE, {"PatientID": "H0001"}),
    ("", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
    ("EVERYTHING", STUDY_ROOT_MOVE, {"StudyInstanceUID": "1.2"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), _NOT_ENOUGH)
def test_what_does_not_say_which_moves_nothing(
    level: str, model: str, keys: dict[str, str], caller: Association, near: Receiver
) -> None:
    final = move(caller, level, "RAD_WS", model, **keys)
    assert final["status"] == 0xA900
    assert final["comment"]
    assert near.requests == []


def test_nobody_there_fails_every_sub_operation(node: Node, caller: Association) -> None:
    made = study(node, "dead")
    final = move(caller, "STUDY", "DEAD_WS", StudyInstanceUID=made[0].study)
    assert counts(final) == (0xA702, 0, 3, 0)
    assert final["remaining"] is None
    assert failed(final) == uids(made)


def test_who_rejects_us_fails_every_sub_operation(node: Node, caller: Association, near: Receiver) -> None:
    made = study(node, "rejects")
    near.reject = (1, 1, 7)
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert counts(final) == (0xA702, 0, 3, 0)
    assert failed(final) == uids(made)


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
    made = study(node, ("answers", *answers))
    status = dict(zip((sample.sop_instance for sample in made), answers, strict=True))
    near.answer = status.__getitem__
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert counts(final) == expected
    assert final["remaining"] is None
    refused = {instance for instance, each in status.items() if each and each >> 12 != 0xB}
    assert failed(final) == refused if refused else final["identifier"] == b""
    assert len(near.received) == 3, "one that fails must not stop the others"


def test_what_cannot_be_sent_does_not_stop_the_rest(node: Node, caller: Association, near: Receiver) -> None:
    own = uid("mixed")
    images = study(node, "mixed", 2, study_uid=own)
    reports = study(node, "mixed", 1, study_uid=own, series=2, SOPClassUID=SR, modality="SR")
    gone = study(node, "mixed", 1, study_uid=own, series=3)
    (row,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ?", gone[0].sop_instance)
    (node.data / row["file"]).unlink()
    near.accept = lambda abstract, syntaxes: None if abstract == SR else syntaxes[0]
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=own)
    assert counts(final) == (0xB000, 2, 2, 0)
    assert failed(final) == uids(reports + gone)
    assert arrived(near) == whole(images)


def test_a_destination_that_goes_in_the_middle_fails_the_rest(node: Node, caller: Association, near: Receiver) -> None:
    made = study(node, "aborts", 4)
    near.abort_after = 2
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert counts(final) == (0xB000, 2, 2, 0)
    assert failed(final) == uids(made) - set(arrived(near))


def test_a_move_can_be_cancelled(node: Node, caller: Association, near: Receiver) -> None:
    made = study(node, "cancelled", 6)
    near.delay = threading.Event()
    context, command = caller.context_of(STUDY_ROOT_MOVE), {"Priority": 0, "MoveDestination": "RAD_WS"}
    command |= {"AffectedSOPClassUID": STUDY_ROOT_MOVE}
    asked = caller.send(context, C_MOVE, command, query("STUDY", {"StudyInstanceUID": made[0].study}))
    near.wait_until(lambda: bool(near.requests), what="the association")
    caller.cancel(asked, STUDY_ROOT_MOVE)
    near.delay.set()
    sums = {"Completed": 0, "Failed": 0, "Warning": 0, "Remaining": 0}
    while True:
        response = caller.read_response()
        sums = {key: int(response.command[f"NumberOf{key}Suboperations"]) for key in sums}
        assert sum(sums.values()) == 6, "the counts of a response add up to all"
        if response.status != 0xFF00:
            break
    assert response.status == 0xFE00
    assert sums["Remaining"] > 0
    assert sums["Completed"] == len(near.received)
    assert caller.echo() == 0


def test_while_a_sub_operation_takes_its_time_the_caller_hears_of_it(
    node: Node, caller: Association, near: Receiver
) -> None:
    made = study(node, "slow", 2)
    near.delay = threading.Event()
    command = {"AffectedSOPClassUID": STUDY_ROOT_MOVE, "Priority": 0, "MoveDestination": "RAD_WS"}
    caller.send(
        caller.context_of(STUDY_ROOT_MOVE), C_MOVE, command, query("STUDY", {"StudyInstanceUID": made[0].study})
    )
    begun = time.monotonic()
    for _ in range(2):
        response = caller.read_response()
        assert response.status == 0xFF00
        assert response.command["NumberOfCompletedSuboperations"] == 0
        assert response.command["NumberOfRemainingSuboperations"] == 2
    assert 1 <= time.monotonic() - begun < patient(10), "once a second at most, and every five at least"
    near.delay.set()
    while (response := caller.read_response()).status == 0xFF00:
        pass
    assert response.status == 0
    assert arrived(near) == whole(made)


def test_when_the_caller_goes_nothing_more_is_sent(node: Node, near: Receiver) -> None:
    made = study(node, "nobody waits", 6)
    near.delay = threading.Event()
    caller = node.associate("RAD_WS", CONTEXTS, timeout=30)
    command = {"AffectedSOPClassUID": STUDY_ROOT_MOVE, "Priority": 0, "MoveDestination": "RAD_WS"}
    caller.send(
        caller.context_of(STUDY_ROOT_MOVE), C_MOVE, command, query("STUDY", {"StudyInstanceUID": made[0].study})
    )
    near.wait_until(lambda: bool(near.requests), what="the association")
    caller.abort()
    begun = len(node.log.read_text())
    near.delay.set()
    near.wait_until(lambda: near.open_associations == 0, what="the end of the sub-operations")
    assert len(near.received) < 6
    node.wait_until(lambda: "remaining=" in node.log.read_text()[begun:], 10, "what came of it in the log")


# -- what was negotiated ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offered", "agreed"), [(b"\1", b"\1"), (b"\1\1", b"\1\0"), (b"\0", b"\0"), (b"", b"")])
def test_without_relational_retrieve_the_keys_above_are_needed(
    offered: bytes, agreed: bytes, node: Node, near: Receiver
) -> None:
    made = study(node, "relational move", 2)
    extended = {STUDY_ROOT_MOVE: offered} if offered else {}
    with node.associate("RAD_WS", CONTEXTS, timeout=30, extended=extended) as caller:
        assert caller.answer.extended == ({STUDY_ROOT_MOVE: agreed} if agreed else {})
        final = move(caller, "IMAGE", "RAD_WS", SOPInstanceUID=made[1].sop_instance)
        everything = move(caller, "IMAGE", "RAD_WS", SOPInstanceUID="*")
    assert everything["status"] == 0xA900
    if agreed[:1] == b"\1":
        assert counts(final) == (0, 1, 0, 0)
        assert arrived(near) == whole(made[1:])
    else:
        assert (final["status"], near.received) == (0xA900, [])


def test_what_was_agreed_on_of_one_class_is_of_that_class_alone(node: Node, near: Receiver) -> None:
    made = study(node, "relational move", 2)
    extended = {PATIENT_ROOT_MOVE: b"\1", STORAGE_CT: b"\2", "1.2.3": b"\1"}
    with node.associate("RAD_WS", CONTEXTS, timeout=30, extended=extended) as caller:
        assert caller.answer.extended == {PATIENT_ROOT_MOVE: b"\1"}
        assert move(caller, "IMAGE", "RAD_WS", SOPInstanceUID=made[1].sop_instance)["status"] == 0xA900
        final = move(caller, "IMAGE", "RAD_WS", PATIENT_ROOT_MOVE, SOPInstanceUID=made[1].sop_instance)
    assert counts(final) == (0, 1, 0, 0)


def test_patient_study_only_goes_no_further_than_studies(node: Node, near: Receiver) -> None:
    made = study(node, "study only", 2, PatientID="STUDYONLY")
    keys = {"PatientID": "STUDYONLY", "StudyInstanceUID": made[0].study}
    contexts = [(VERIFICATION, [IMPLICIT_LE]), (PATIENT_STUDY_ONLY_MOVE, [EXPLICIT_LE])]
    with node.associate("RAD_WS", contexts, timeout=30) as caller:
        assert counts(move(caller, "STUDY", "RAD_WS", PATIENT_STUDY_ONLY_MOVE, **keys)) == (0, 2, 0, 0)
        final = move(caller, "SERIES", "RAD_WS", PATIENT_STUDY_ONLY_MOVE, **keys, SeriesInstanceUID=made[0].series)
    assert final["status"] == 0xA900
    assert arrived(near) == whole(made)
