"""net/commitment.py: what Storage Commitment's datasets say, and what is wrong with those that say it badly."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.errors import DicomnodeError
from dicomnode.net import commitment
from dicomnode.operations.ports import Reference, Report
from tests.samples import decode, encode

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ONE, TWO, THREE = Reference(CT, "1.2.3.1"), Reference(MR, "1.2.3.22"), Reference(CT, "1.2.3.333")


def item(sop_class: str | None = CT, sop_instance: str | None = "1.2.3.1", **more: object) -> Dataset:
    it = Dataset()
    more = {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": sop_instance, **more}
    for keyword, value in more.items():
        if value is not None:
            setattr(it, keyword, value)
    return it


def asking(*items: Dataset, transaction: str | None = "1.2.9", undefined: bool = False) -> Dataset:
    it = Dataset()
    if transaction is not None:
        it.TransactionUID = transaction
    it.ReferencedSOPSequence = Sequence(items)
    if undefined:
        it["ReferencedSOPSequence"].is_undefined_length = True
        for each in items:
            each.is_undefined_length_sequence_item = True
    return it


def status(data: bytes, *, result: bool = False) -> int:
    with pytest.raises(DicomnodeError) as caught:
        (commitment.reported if result else commitment.requested)(data, implicit=False)
    return caught.value.status


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_request_is_read_however_its_lengths_are_written(syntax: str, undefined: bool) -> None:
    nested = Dataset()
    nested.StudyInstanceUID, nested.ReferencedSOPSequence = "1.2.5", Sequence([item(sop_instance="9.9")])
    asked = asking(item(), item(MR, "1.2.3.22", PurposeOfReferenceCodeSequence=[nested]), item(), undefined=undefined)
    asked.PatientComments = "of no concern"
    found = commitment.requested(encode(asked, syntax), implicit=syntax == IMPLICIT)
    assert found == ("1.2.9", (ONE, TWO))  # each once


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("failed", [(), ((TWO, 0x0112), (THREE, 0x0119))])
def test_a_report_says_of_each_instance_what_became_of_it(
    implicit: bool, failed: tuple[tuple[Reference, int], ...]
) -> None:
    result = Report("1.2.9", (ONE,), failed)
    raw = commitment.report(result, "NODE", implicit=implicit)
    assert commitment.reported(raw, implicit=implicit) == result
    read = decode(raw, IMPLICIT if implicit else EXPLICIT)  # as pydicom reads it
    assert (read.TransactionUID, read.RetrieveAETitle) == ("1.2.9", "NODE")
    assert [each.ReferencedSOPInstanceUID for each in read.ReferencedSOPSequence] == ["1.2.3.1"]
    assert [(each.ReferencedSOPClassUID, each.FailureReason) for each in read.get("FailedSOPSequence", ())] == [
        (reference.sop_class_uid, reason) for reference, reason in failed
    ]
    assert ("FailedSOPSequence" in read) == bool(failed)  # PS3.4 J.3.3.1.1: absent where nothing failed


@pytest.mark.parametrize("implicit", [True, False])
def test_our_request_is_what_others_read(implicit: bool) -> None:
    read = decode(commitment.request("1.2.9", [ONE, TWO], implicit=implicit), IMPLICIT if implicit else EXPLICIT)
    assert read.TransactionUID == "1.2.9"
    assert [each.ReferencedSOPInstanceUID for each in read.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.22"]


def test_without_an_ae_title_a_report_names_none() -> None:
    assert "RetrieveAETitle" not in decode(commitment.report(Report("1.2.9", (ONE,)), "", implicit=False))


def test_what_is_in_both_sequences_has_failed() -> None:
    both = asking(item(), item(MR, "1.2.3.22"))
    both.FailedSOPSequence = Sequence([item()])  # and without a Failure Reason
    assert commitment.reported(encode(both), implicit=False) == Report("1.2.9", (TWO,), ((ONE, 0x0110),))


WRONG: dict[str, tuple[Callable[[], bytes], int]] = {
    "nothing at all": (lambda: b"", 0x0120),
    "no Transaction UID": (lambda: encode(asking(item(), transaction=None)), 0x0120),
    "an empty Transaction UID": (lambda: encode(asking(item(), transaction="")), 0x0121),
    "a Transaction UID that is none": (lambda: encode(asking(item(), transaction="../../etc")), 0x0115),
    "a Transaction UID that is too long": (lambda: encode(asking(item(), transaction="1." * 33 + "1")), 0x0115),
    "no instances": (lambda: encode(asking()), 0x0121),
    "no class": (lambda: encode(asking(item(sop_class=None))), 0x0120),
    "an empty instance": (lambda: encode(asking(item(sop_instance=""))), 0x0121),
    "an instance that is none": (lambda: encode(asking(item(sop_instance="1.2.x"))), 0x0117),
    "two classes of one instance": (lambda: encode(asking(item(), item(MR))), 0x0115),
    "bytes": (lambda: bytes(range(255, 55, -1)), 0x0115),
    "a dataset that is cut": (lambda: encode(asking(item(), item(MR, "1.2.3.22")))[:-5], 0x0115),
    "an item that is longer than its sequence": (lambda: encode(asking(item())).replace(HEAD, LONGER), 0x0115),
}
HEAD, LONGER = (struct.pack("<HHL", 0xFFFE, 0xE000, length) for length in (50, 500))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_request_is_told(what: str) -> None:
    data, expected = WRONG[what]
    assert status(data()) == expected


def test_a_request_without_its_sequence() -> None:
    only = Dataset()
    only.TransactionUID = "1.2.9"
    assert status(encode(only)) == 0x0120
    assert status(encode(only), result=True) == 0x0120


def test_the_item_that_was_lengthened_is_there() -> None:
    """In the test above."""
    assert encode(asking(item())).count(HEAD) == 1


def many(count: int) -> bytes:
    return commitment.request("1.2.9", [Reference("1.2", f"1.{n}") for n in range(count)], implicit=False)


def test_so_many_instances_and_no_more() -> None:
    _, found = commitment.requested(many(commitment.MOST), implicit=False)
    assert len(found) == commitment.MOST
    assert status(many(commitment.MOST + 1)) == 0x0213


def test_sequences_within_sequences_are_no_stack() -> None:
    begins = struct.pack("<HHL", 0x0008, 0x1199, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(DicomnodeError) as caught:
        commitment.requested(begins * 5000, implicit=True)
    assert caught.value.status == 0x0115


