"""Instances that are refused: each with the status that tells the truth, and nothing of them anywhere."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.kit import STORAGE_CT, events, state, versions
from tests.node import Node, default_config
from tests.samples import Sample, make_instance, make_instances, uid
from tests.upper_layer import C_STORE, EXPLICIT_LE, IMPLICIT_LE, P_DATA, VERIFICATION, encode_command, pdu
from tests.wire import Aborted, Association

_MR = "1.2.840.10008.5.1.4.1.1.4"
_CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (STORAGE_CT, (EXPLICIT_LE,)), (_MR, (EXPLICIT_LE,)))
_UID = uid("refused")
_CAP = 200_000


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    config = default_config()
    config["node"]["limits"]["object_size"] = f"{_CAP // 1000}KB"
    return start_node(config)


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    """One for all of these: whatever is answered by a status harms it not."""
    with node.associate("CT1", _CONTEXTS, called="TO_GENERAL") as it:
        yield it


@pytest.fixture
def unchanged(node: Node) -> Iterator[None]:
    before = state(node)
    yield
    node.wait_until(lambda: state(node) == before, 5, f"the state before: {before}, not {state(node)}")


def _refused(association: Association, expected: int, *arguments: Any, **options: Any) -> None:
    status = association.store(*arguments, **options)
    assert status == expected, f"{status:04X}H {association.last_error_comment}"
    comment = association.last_error_comment
    assert comment
    assert len(comment) <= 64
    assert "/" not in comment  # no path of ours
    assert association.echo() == 0


def _dataset(**attributes: Any) -> bytes:
    return make_instance(**({"seed": "refused", "SOPInstanceUID": _UID} | attributes))


# -- command, context and dataset ------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("expected", "dataset", "options"),
    [
        pytest.param(0xA900, {}, {"command_uid": uid("another")}, id="another instance in the command"),
        pytest.param(0xA900, {"SOPInstanceUID": uid("another")}, {}, id="another instance in the dataset"),
        pytest.param(0xA900, {"SOPClassUID": _MR}, {}, id="another class in the dataset"),
        pytest.param(0x0122, {"SOPClassUID": _MR}, {"command_class": _MR}, id="another class than the context's"),
        pytest.param(0x0122, {}, {"command_class": _MR}, id="another class in the command"),
        pytest.param(0xC000, {"StudyInstanceUID": None}, {}, id="no study"),
        pytest.param(0xC000, {"StudyInstanceUID": ""}, {}, id="an empty study"),
        pytest.param(0xC000, {"SeriesInstanceUID": None}, {}, id="no series"),
        pytest.param(0xC000, {"SOPInstanceUID": None}, {}, id="no instance"),
        pytest.param(0xC000, {"SOPClassUID": None}, {}, id="no class"),
    ],
)
def test_what_disagrees_or_is_missing_is_refused(
    expected: int, dataset: dict[str, Any], options: dict[str, Any], association: Association
) -> None:
    _refused(association, expected, _dataset(**dataset), STORAGE_CT, _UID, **options)


_NO_UIDS = [
    "../../x",
    "..",
    ".",
    "/etc/passwd",
    "1.2/../../x",
    "1.2\\3.4",
    "1.2.%s",
    "1.2.3\n4",
    "1..2",
    ".1.2",
    "1.2.",
    "1 2",
    "1.2.a",
    "1." + "2" * 63,
    "9" * 300,
    "",
    "é",
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("bad", _NO_UIDS, ids=lambda bad: ascii(bad[:20]))
def test_a_command_whose_instance_is_no_uid_is_refused(bad: str, association: Association) -> None:
    _refused(association, 0x0117, _dataset(), STORAGE_CT, _UID, command_uid=bad)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("bad", [bad for bad in _NO_UIDS if bad], ids=lambda bad: ascii(bad[:20]))
@pytest.mark.parametrize(("group", "element"), [(0x0008, 0x0018), (0x0020, 0x000D), (0x0020, 0x000E)])
def test_a_dataset_with_a_uid_that_is_none_is_refused(
    group: int, element: int, bad: str, association: Association
) -> None:
    dataset = _with(_dataset(), group, element, bad.encode())
    status = association.store(dataset, STORAGE_CT, _UID)
    allowed = (0x0117, 0xA900) if element == 0x0018 else (0x0117,)  # the command's is another one, too
    assert status in allowed, f"{status:04X}H {association.last_error_comment}"
    assert association.echo() == 0


def _with(dataset: bytes, group: int, element: int, value: bytes) -> bytes:
    """A made dataset with other bytes in one of its UIDs."""
    value += b"\0" * (len(value) % 2)
    at = dataset.index(struct.pack("<HH", group, element) + b"UI")
    (length,) = struct.unpack_from("<H", dataset, at + 6)
    return dataset[: at + 6] + struct.pack("<H", len(value)) + value + dataset[at + 8 + length :]


# -- bytes -----------------------------------------------------------------------------------------------------


def _elements(dataset: bytes) -> list[int]:
    """Where each top-level element of a made dataset begins, and its end: cut there, it is a shorter dataset."""
    found, at = [], 0
    while at < len(dataset):
        found.append(at)
        long = dataset[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = struct.unpack_from("<L", dataset, at + 8)[0] if long else struct.unpack_from("<H", dataset, at + 6)[0]
        at += (12 if long else 8) + length
    assert at == len(dataset)
    return [*found, at]


@pytest.mark.usefixtures("unchanged")
def test_a_truncated_dataset_is_refused_wherever_it_was_cut(association: Association) -> None:
    dataset = _dataset()
    whole = set(_elements(dataset))
    header = [at for at in range(1, 1200, 7) if at not in whole]
    rest = random.Random(7).sample(range(1200, len(dataset)), 40)
    cuts = [at for at in (*header, *rest, len(dataset) - 1) if at not in whole]
    assert len(cuts) > 150
    for cut in cuts:
        status = association.store(dataset[:cut], STORAGE_CT, _UID)
        assert status == 0xC000, f"cut at {cut}: {status:04X}H {association.last_error_comment}"
    assert association.echo() == 0


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"\xff" * 4096, id="ones"),
        pytest.param(b"MZ\x90\0" + bytes(random.Random(1).randbytes(4096)), id="noise"),
        pytest.param(b"<html>" * 100, id="text"),
    ],
)
def test_what_is_no_dataset_is_refused(dataset: bytes, association: Association) -> None:
    _refused(association, 0xC000, dataset, STORAGE_CT, _UID)


@pytest.mark.usefixtures("unchanged")
def test_a_store_without_a_dataset_is_refused(association: Association) -> None:
    command = {"AffectedSOPClassUID": STORAGE_CT, "AffectedSOPInstanceUID": _UID, "Priority": 0}
    answer = association.request(association.context_of(STORAGE_CT), C_STORE, command)
    assert answer.status == 0xC000, f"{answer.status:04X}H"
    assert association.echo() == 0


@pytest.mark.usefixtures("unchanged")
def test_an_object_over_the_cap_is_refused(association: Association) -> None:
    _refused(association, 0xC000, _dataset(size="large"), STORAGE_CT, _UID)


@pytest.mark.usefixtures("unchanged")
def test_a_dataset_without_its_command_ends_the_association(node: Node) -> None:
    association = node.associate("CT1", _CONTEXTS)
    association.send_raw(b"".join(association.channel.fragments(3, _dataset(), command=False)))
    with pytest.raises(Aborted):
        association.recv_pdu()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("how", ["abort", "reset"])
def test_what_was_not_sent_to_its_end_leaves_nothing(how: str, node: Node) -> None:
    association = node.associate("CT1", _CONTEXTS)
    command = {"AffectedSOPClassUID": STORAGE_CT, "AffectedSOPInstanceUID": _UID, "Priority": 0}
    fields = {"CommandField": C_STORE, "MessageID": 1, "CommandDataSetType": 0, **command}
    association.send_raw(b"".join(association.channel.fragments(3, encode_command(fields), command=True)))
    part = _dataset()[:20_000]
    association.send_raw(pdu(P_DATA, struct.pack(">LBB", len(part) + 2, 3, 0) + part))
    node.wait_until(lambda: list(node.data.rglob("*.part")), 5, "the part file")
    association.abort(reset=how == "reset")


# -- versions --------------------------------------------------------------------------------------------------


def _version(sample: Sample, **attributes: Any) -> bytes:
    return make_instance(
        SOPInstanceUID=sample.sop_instance,
        StudyInstanceUID=sample.study,
        SeriesInstanceUID=sample.series,
        **attributes,
    )


def _route_of(node: Node, study: str) -> list[dict[str, Any]]:
    return [row for row in node.cli("referrals", "list", json=True) if row["study_instance_uid"] == study]


@pytest.mark.parametrize(
    ("seed", "attributes", "kind", "gate"),
    [
        ("correction", {"PatientName": "OTHER^NAME"}, "correction", "held"),
        ("conflict", {"PixelData": b"\1\0" * 128 * 128}, "conflict", "quarantined"),
    ],
)
def test_another_version_is_kept_beside_the_first_and_stops_the_study(
    seed: str, attributes: dict[str, Any], kind: str, gate: str, node: Node, association: Association
) -> None:
    sample = make_instances(1, seed=seed)[0]
    first, second = _version(sample, PatientName="ONE^NAME"), _version(sample, **attributes)
    for dataset in (first, second):
        assert association.store(dataset, STORAGE_CT, sample.sop_instance) == 0
    found = versions(node, sample.sop_instance)
    assert [(row["kind"], row["current"], row["dataset"]) for row in found] == [("new", 1, first), (kind, 0, second)]
    (referral,) = _route_of(node, sample.study)
    assert (referral["gate"], referral["state"]) == (gate, gate)
    assert sample.sop_instance in referral["reason"]
    assert sample.sop_instance in {event["sop_instance_uid"] for event in events(node, f"{kind} kept")}


def test_an_instance_of_another_sites_study_is_kept_apart(node: Node, association: Association) -> None:
    own, foreign = make_instances(2, seed="foreign")
    assert association.send_sample(own) == 0
    with node.associate("PEAK_CT", _CONTEXTS) as other:
        assert other.send_sample(foreign) == 0
    (row,) = versions(node, foreign.sop_instance)
    assert (row["kind"], row["current"], row["site"]) == ("foreign", 0, "peak")
    assert [row["gate"] for row in _route_of(node, own.study)] == ["open"]
    (study,) = node.cli("studies", "show", own.study, json=True)
    assert (study["site"], study["instances"]) == ("harbour", 1)
    assert foreign.sop_instance in study["remark"]
