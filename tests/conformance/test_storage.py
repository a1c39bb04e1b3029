"""Storage, R052 to R096: what is taken, what is refused, what is kept (PS3.4 B, PS3.7 9.1.1, PS3.10 7.1)."""

from __future__ import annotations

import resource
import struct
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom._uid_dict import UID_dictionary

from dicomnode.rules import outcome
from tests.conformance.archive import CT, J2K, MR, RLE, SR, dataset
from tests.conformance.kit import CALLER, CONTEXTS, Answers, ask, case, configuration
from tests.integration.kit import query, rows
from tests.node import Node
from tests.samples import Sample, encode, make_instance, make_instances, part10, uid, with_uid
from tests.upper_layer import (
    C_STORE,
    COMMITMENT,
    EXPLICIT_LE,
    IMPLICIT_LE,
    NO_DATASET,
    RESPONSE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Aborted,
)
from tests.wire import Association, Receiver, contexts_for

PRIVATE, STRANGE = "1.2.826.0.1.3680043.8.498.7", "1.2.826.0.1.3680043.8.498.8"
BIG_ENDIAN, DEFLATED, GE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2"
WORKLIST = "1.2.840.10008.5.1.4.31"
STORAGE = [(VERIFICATION, [IMPLICIT_LE]), (CT, [EXPLICIT_LE]), (MR, [EXPLICIT_LE]), (SR, [EXPLICIT_LE])]
REFUSED = (0xA900, 0xC000)


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], receiver: Receiver) -> Node:
    """A node of this module's own: what it has changes from test to test."""
    return start_node(configuration(destination=receiver.port, storage_classes=[PRIVATE]))


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    with node.associate(CALLER, STORAGE) as it:
        yield it


def made(seed: object, **attributes: Any) -> Sample:
    """One CT image that nobody has seen yet."""
    return make_instances(1, seed=("conformance", seed), **{"PatientID": "CONF-S", **attributes})[0]


def find(node: Node, level: str, keys: dict[str, str | bytes]) -> Answers:
    with node.associate(CALLER, CONTEXTS) as it:
        return ask(it, query(level, keys))


def image(it: Sample, **more: str) -> dict[str, str | bytes]:
    """The keys of one image."""
    return {"StudyInstanceUID": it.study, "SeriesInstanceUID": it.series, "SOPInstanceUID": it.sop_instance, **more}


def fetched(node: Node, it: Sample, syntax: str = "") -> list[bytes | None]:
    """What a C-GET of one image brings, in the syntax it was stored in or in another."""
    contexts = [(STUDY_ROOT_GET, [EXPLICIT_LE]), (it.sop_class, [syntax or it.transfer_syntax])]
    with node.associate(CALLER, contexts, roles={it.sop_class: (0, 1)}) as association:
        return [message.dataset for message in association.get(STUDY_ROOT_GET, query("IMAGE", image(it)))[1]]


# -- what is taken -----------------------------------------------------------------------------------------------


@case("R052+R053+R065+R066+R067-S02+S19-what-is-answered-with-success-can-be-had-at-once")
def test_a_new_instance(node: Node, association: Association) -> None:
    plain = made("new")
    private = b"\x09\0\x10\0LO\x04\0CONF" + b"\x09\0\x01\x10UN\0\0\x04\0\0\0kept"
    it = replace(plain, dataset=plain.dataset.replace(b"\x10\0\x10\0PN", private + b"\x10\0\x10\0PN", 1))
    command = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": it.sop_instance, "Priority": 0}
    answer = association.request(association.context_of(CT), C_STORE, command, it.dataset)
    assert (answer.status, answer.dataset, answer.command["CommandDataSetType"]) == (0, None, NO_DATASET)
    assert answer.command["CommandField"] == C_STORE | RESPONSE
    assert (answer.command["AffectedSOPClassUID"], answer.command["AffectedSOPInstanceUID"]) == (CT, it.sop_instance)
    assert find(node, "IMAGE", image(it)).status == 0
    assert fetched(node, it) == [it.dataset]


@case("R070+R068-S01-the-same-again")
def test_a_duplicate(node: Node, association: Association) -> None:
    it = made("duplicate")
    assert [association.send_sample(it) for _ in range(3)] == [0, 0, 0]
    assert len(find(node, "IMAGE", image(it, SOPInstanceUID="")).matches) == 1


@case("R071-S03-the-first-version-stays")
def test_another_version_does_not_replace_the_first(node: Node, association: Association) -> None:
    it = made("versions")
    fields = {"StudyInstanceUID": it.study, "SeriesInstanceUID": it.series, "SOPInstanceUID": it.sop_instance}
    other = make_instance(**fields, InstanceNumber=99, PatientID="CONF-S", SeriesNumber=1)
    assert association.send_sample(it) == 0
    assert association.store(other, CT, it.sop_instance) == 0
    (match,) = find(node, "IMAGE", image(it, InstanceNumber="")).matches
    assert str(match.InstanceNumber) == "1"
    assert fetched(node, it) == [it.dataset]


@case("R072-S20-the-same-at-the-same-time")
def test_two_store_the_same_at_once(node: Node) -> None:
    it, statuses = made("at once"), []

    def send() -> None:
        with node.associate(CALLER, STORAGE) as one:
            statuses.extend(one.send_sample(it) for _ in range(2))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [0, 0, 0, 0]
    assert len(rows(node, "SELECT 1 FROM instances WHERE sop_instance_uid = ? AND current", it.sop_instance)) == 1
    assert fetched(node, it) == [it.dataset]


TOLERATED: list[tuple[str, dict[str, Any]]] = [
    ("R063-S08-without-a-patient-id", {"PatientID": None}),
    ("R063-S08-with-an-empty-patient-id", {"PatientID": ""}),
    ("R063-S08-with-empty-type-2-attributes", {"PatientName": "", "StudyDate": "", "StudyTime": "", "StudyID": ""}),
    ("R085-S17-with-trailing-padding", {"DataSetTrailingPadding": bytes(64)}),
]


@pytest.mark.parametrize("attributes", [pytest.param(attributes, id=number) for number, attributes in TOLERATED])
def test_what_is_missing_is_tolerated(attributes: dict[str, Any], node: Node, association: Association) -> None:
    it = made(str(attributes), **attributes)
    assert association.send_sample(it) == 0
    assert len(find(node, "IMAGE", image(it)).matches) == 1
    assert fetched(node, it) == [it.dataset], "every element is kept, and so is the padding"


@case("R085-S17-group-0002-in-a-dataset")
def test_elements_of_group_0002_do_not_reach_the_header(node: Node, association: Association) -> None:
    """They stay where they came: behind the header, whose group length says where it ends (PS3.10 7.1)."""
    it = made("group 2")
    value = b"1.2.840.10008.1.2.4.50"
    odd = replace(it, dataset=struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value + it.dataset)
    assert association.send_sample(odd) == 0
    raw = _path(node, it).read_bytes()
    end = 144 + int.from_bytes(raw[140:144], "little")
    assert (raw[:end].count(EXPLICIT_LE.encode()), raw[:end].count(value)) == (1, 0)
    assert fetched(node, odd) == [odd.dataset]


@case("R073-a-patient-of-another-name-and-a-series-in-two-studies")
def test_what_contradicts_itself_is_stored(node: Node, association: Association) -> None:
    one, two = made("entity"), made("entities", PatientName="OTHER^NAME")
    series = with_uid(two.dataset, two.sop_instance, study=two.study, series=one.series)
    two = replace(two, series=one.series, dataset=series)
    assert [association.send_sample(each) for each in (one, two)] == [0, 0]
    for each in (one, two):
        assert len(find(node, "IMAGE", image(each)).matches) <= 1
        assert find(node, "STUDY", {"StudyInstanceUID": each.study}).status == 0
    assert len(find(node, "IMAGE", image(one)).matches) == 1


@case("R086-an-association-means-nothing")
def test_order_and_associations_have_no_meaning(node: Node) -> None:
    study = make_instances(4, seed="conformance order")
    for each in reversed(study):
        with node.associate(CALLER, STORAGE) as one:
            assert one.send_sample(each) == 0
    keys = {"StudyInstanceUID": study[0].study, "NumberOfStudyRelatedInstances": ""}
    (match,) = find(node, "STUDY", keys).matches
    assert match.NumberOfStudyRelatedInstances == 4


@case("R032+R087-A28-all-services-on-one-association")
def test_an_association_mixes_services(node: Node) -> None:
    it = made("mixed")
    contexts = [*STORAGE, *((each, [EXPLICIT_LE]) for each in (STUDY_ROOT_FIND, STUDY_ROOT_GET, COMMITMENT))]
    with node.associate(CALLER, contexts, roles={CT: (1, 1)}) as one:
        assert set(one.results.values()) == {0}
        assert one.roles == {CT: (1, 1)}
        assert one.send_sample(it) == 0
        assert len(ask(one, query("IMAGE", image(it))).matches) == 1
        _, stored = one.get(STUDY_ROOT_GET, query("IMAGE", image(it)))
        assert [message.dataset for message in stored] == [it.dataset]
        assert one.echo() == 0


@case("R031-A27-a-store-with-the-role-of-an-SCU")
def test_a_store_by_one_that_negotiates_its_role(node: Node) -> None:
    with node.associate(CALLER, STORAGE, roles={CT: (1, 0)}) as one:
        assert one.send_sample(made("role")) == 0


@case("R081-a-large-object-is-not-held-in-memory")
def test_a_large_object_streams_to_disk(node: Node, association: Association) -> None:
    def most() -> int:
        return max(_peak(pid) for pid in node.pids()["acceptor"])

    assert association.send_sample(made("small")) == 0
    before = most()
    it = made("huge")
    raw = it.dataset[: it.dataset.index(b"\xe0\x7f\x10\x00OW")] + b"\xe0\x7f\x10\x00OW\0\0"
    raw += (64 << 20).to_bytes(4, "little") + bytes(64 << 20)
    assert association.store(raw, CT, it.sop_instance) == 0
    assert most() - before < 24 << 10


def _peak(pid: int) -> int:
    """The most memory that a process has had, in kB."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM")))


# -- what is refused ---------------------------------------------------------------------------------------------

_UID = uid("conformance refused")
_WHOLE: dict[str, Any] = {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "SOPInstanceUID": _UID}
WRONG: list[tuple[str, tuple[int, ...], dict[str, Any], dict[str, Any]]] = [
    ("R055+R060-S04-another-instance-in-the-dataset", (0xA900,), {}, {"command_uid": "2.25.3"}),
    ("R055+R061-S05-another-class-in-the-dataset", (0xA900,), {"SOPClassUID": MR}, {}),
    ("R057+R061-S06-another-class-than-the-context", (0x0122,), {"SOPClassUID": MR}, {"command_class": MR}),
    ("R056+R062-S07-no-study", REFUSED, {"StudyInstanceUID": None}, {}),
    ("R056+R062-S07-no-series", REFUSED, {"SeriesInstanceUID": None}, {}),
    ("R056+R062-S07-no-instance", REFUSED, {"SOPInstanceUID": None}, {}),
    ("R058-S18-a-UID-of-65-characters", (0x0117, 0xA900), {}, {"command_uid": "1." + "2" * 63}),
    ("R058-S18-a-UID-with-letters", (0x0117, 0xA900), {}, {"command_uid": "1.2.x"}),
    ("R058-S18-a-UID-that-is-a-path", (0x0117, 0xA900), {}, {"command_uid": "../../1"}),
]


@pytest.mark.parametrize(("statuses", "attributes", "options"), [pytest.param(*it[1:], id=it[0]) for it in WRONG])
def test_what_does_not_agree_is_refused(
    statuses: tuple[int, ...],
    attributes: dict[str, Any],
    options: dict[str, Any],
    node: Node,
    association: Association,
) -> None:
    raw = make_instance(**_WHOLE | attributes)
    assert association.store(raw, CT, _UID, **options) in statuses
    assert association.last_error_comment
    _nothing(node, association)


def _nothing(node: Node, association: Association) -> None:
    """Nothing was stored, and the association lives on."""
    assert association.echo() == 0
    assert rows(node, "SELECT 1 FROM instances WHERE sop_instance_uid IN (?, '2.25.3')", _UID) == []
    assert not list(node.data.rglob("*.part"))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff" * 500, id="R056-S10-noise"),
        pytest.param(make_instance(**_WHOLE)[:-7], id="R056-S10-a-cut"),
        pytest.param(None, id="R056+R064-S09-no-dataset"),
    ],
)
def test_what_cannot_be_read_is_refused(raw: bytes | None, node: Node, association: Association) -> None:
    command = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": _UID, "Priority": 0}
    assert association.request(association.context_of(CT), C_STORE, command, raw).status in REFUSED
    _nothing(node, association)


@case("R059-who-may-not-store-is-offered-nothing")
def test_without_the_right_no_context_is_accepted(node: Node) -> None:
    with node.associate("RAD_WS", STORAGE) as one:
        assert one.results == {1: 0, 3: 3, 5: 3, 7: 3}
    it = made("forced")
    one = node.associate("RAD_WS", STORAGE)
    with pytest.raises(Aborted):
        one.store(it.dataset, it.sop_class, it.sop_instance, context_id=3)


@case("R054-no-room-for-a-file")
def test_out_of_resources(node: Node, association: Association) -> None:
    large = make_instances(1, seed="conformance large", size="large")[0]
    for pid in node.pids()["acceptor"]:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        assert association.send_sample(large) == 0xA700
        assert association.last_error_comment
    finally:
        for pid in node.pids()["acceptor"]:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert association.send_sample(large) == 0


# -- classes and syntaxes ----------------------------------------------------------------------------------------

_STORED = {uid_: entry for uid_, entry in UID_dictionary.items() if entry[1] == "SOP Class" and "Storage" in entry[0]}
_NO_STORAGE = {"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"}
CURRENT = sorted(uid_ for uid_, entry in _STORED.items() if not entry[3] and uid_ not in _NO_STORAGE)
RETIRED = sorted(uid_ for uid_, entry in _STORED.items() if entry[3] and uid_ not in _NO_STORAGE)


@pytest.mark.parametrize(
    "classes", [pytest.param(CURRENT, id="R074-S16-current"), pytest.param(RETIRED, id="R075-S16-retired")]
)
def test_every_storage_class_is_accepted(classes: list[str], node: Node) -> None:
    assert len(classes) >= 20
    for at in range(0, len(classes), 128):
        with node.associate(CALLER, [(each, [EXPLICIT_LE]) for each in classes[at : at + 128]]) as one:
            assert set(one.results.values()) == {0}


@case("R076+R077-S11-private-and-other-classes")
def test_a_private_class_is_accepted_where_it_is_configured(node: Node) -> None:
    contexts = [(each, [EXPLICIT_LE]) for each in (PRIVATE, STRANGE, WORKLIST, "1.2.840.10008.1.3.10")]
    it = made("private", SOPClassUID=PRIVATE)
    with node.associate(CALLER, contexts) as one:
        assert one.results == {1: 0, 3: 3, 5: 3, 7: 3}
        assert one.store(it.dataset, PRIVATE, it.sop_instance) == 0
    assert len(find(node, "IMAGE", image(it)).matches) == 1


@case("R014+R015-S14-the-first-syntax-that-can-be-stored")
def test_the_first_that_was_proposed(node: Node) -> None:
    with node.associate(CALLER, [(CT, [GE, DEFLATED, J2K, RLE, EXPLICIT_LE])]) as one:
        assert one.accepted == {1: J2K}


SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.100": "MPEG2 MP@ML",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}


@case("R078+R079+R080-S13+S15-transfer-syntaxes")
def test_the_transfer_syntaxes_that_are_stored(node: Node) -> None:
    contexts = [(CT, [syntax]) for syntax in (*SYNTAXES, DEFLATED, GE)]
    with node.associate(CALLER, contexts) as one:
        refused = {one.proposed[n][1][0]: result for n, result in one.results.items() if result}
    assert refused == {DEFLATED: 4, GE: 4}


@case("R079+R084-S12-big-endian-is-kept-as-it-came")
def test_big_endian(node: Node) -> None:
    it = made("big endian")
    plain = pydicom.dcmread(BytesIO(part10(it)))
    pixels = array("H", plain.PixelData)
    pixels.byteswap()
    swapped_values = {each.keyword: each.value for each in plain} | {"PixelData": pixels.tobytes()}
    raw = encode(dataset(**swapped_values), BIG_ENDIAN)
    swapped = replace(it, dataset=raw, transfer_syntax=BIG_ENDIAN)
    with node.associate(CALLER, [(CT, [BIG_ENDIAN])]) as one:
        assert one.send_sample(swapped) == 0
    assert fetched(node, swapped) == [swapped.dataset]
    assert fetched(node, swapped, EXPLICIT_LE) == [it.dataset], "and converted for one that takes nothing else"
    assert _file(node, swapped).file_meta.TransferSyntaxUID == BIG_ENDIAN


# -- the file ----------------------------------------------------------------------------------------------------


def _path(node: Node, it: Sample) -> Path:
    (row,) = rows(node, "SELECT file FROM instances WHERE sop_instance_uid = ? AND current", it.sop_instance)
    return node.data / str(row["file"])


def _file(node: Node, it: Sample) -> pydicom.FileDataset:
    return pydicom.dcmread(_path(node, it))


@case("R082+R083+R084-the-file-meta-information")
def test_what_a_file_says_of_itself(node: Node, association: Association) -> None:
    it = made("file")
    assert association.send_sample(it) == 0
    raw, meta = _path(node, it).read_bytes(), _file(node, it).file_meta
    assert raw[:144] == bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0" + raw[140:144]
    assert raw[144 + int.from_bytes(raw[140:144], "little") :] == it.dataset, "the group length leads to the dataset"
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (it.sop_class, it.sop_instance)
    assert meta.TransferSyntaxUID == EXPLICIT_LE
    assert dict(association.answer.sub_items)[0x52].decode() == meta.ImplementationClassUID
    assert dict(association.answer.sub_items)[0x55].decode().strip() == meta.ImplementationVersionName
    titles = (
        meta.SourceApplicationEntityTitle,
        meta.SendingApplicationEntityTitle,
        meta.ReceivingApplicationEntityTitle,
    )
    assert titles == (CALLER, CALLER, "REFERNODE")


# -- as SCU ------------------------------------------------------------------------------------------------------


@case("R088+R089-more-contexts-than-an-association-has")
def test_more_classes_than_fit_into_an_association(node: Node, destination: Receiver) -> None:
    """140 classes of one study: two associations, and on each instance's own context."""
    study = uid("conformance many")
    sent = [made(("many", each), SOPClassUID=each, study_uid=study) for each in CURRENT[:140]]
    for some in (sent[:100], sent[100:]):
        with node.associate(CALLER, contexts_for(some)) as one:
            assert {one.send_sample(each) for each in some} == {0}
    with node.associate(CALLER, CONTEXTS, timeout=60) as one:
        final = one.move(STUDY_ROOT_MOVE, query("STUDY", {"StudyInstanceUID": study}), "CASEDST")[-1]
    assert (final["status"], final["completed"], final["failed"]) == (0, 140, 0)
    assert {each.sop_instance: each.sop_class for each in destination.received} == {
        each.sop_instance: each.sop_class for each in sent
    }
    assert all(len(request.contexts) <= 128 for request in destination.requests)
    assert {each.sha256 for each in destination.received} == {each.sha256 for each in sent}


STATUSES = [
    pytest.param((0x0000,), outcome.Delivered, id="R093-success"),
    pytest.param((0xB000, 0xB006, 0xB007, 0xB123), outcome.Delivered, id="R069+R093-warnings"),
    pytest.param((0xA700, 0xA7FF, 0xA001), outcome.Later, id="R093+R096-out-of-resources-is-tried-again"),
    pytest.param((0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0117, 0x0122, 0x0124), outcome.Never, id="R093-failures"),
]


@pytest.mark.parametrize(("statuses", "kind"), STATUSES)
def test_a_status_counts_by_its_class(statuses: tuple[int, ...], kind: type) -> None:
    for status in statuses:
        assert isinstance(outcome.of_status(status, refused=2), kind), f"{status:04X}H"


@case("R096-a-delay-grows-with-age-up-to-a-limit")
def test_tries_become_rarer() -> None:
    hour = 3600 * 1_000_000
    delays = [outcome.next_attempt_at(age * hour, 0, 30, 3600 * 4, 0.5) - age * hour for age in (0, 1, 2, 100)]
    assert delays == [30_000_000, hour, 2 * hour, 4 * hour]
