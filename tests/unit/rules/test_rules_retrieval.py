"""rules/retrieval.py: what to propose for a C-GET."""

from __future__ import annotations

import pytest

from dicomnode.dicom.classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules import retrieval

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.22"
FIRST = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"]


def test_one_class_may_come_in_every_syntax() -> None:
    pairs = retrieval.pairs([CT])
    assert {syntax for _, syntax in pairs} == set(TRANSFER_SYNTAXES)
    assert [syntax for _, syntax in pairs[:3]] == FIRST


@pytest.mark.parametrize("count", [1, 2, 10, 126, len(STORAGE_CLASSES)])
def test_there_is_room_for_the_request_itself(count: int) -> None:
    wanted = sorted(STORAGE_CLASSES)[:count]
    pairs = retrieval.pairs(wanted)
    assert len(pairs) == len(set(pairs)) <= 127
    assert len({abstract for abstract, _ in pairs}) == min(count, 127)


def test_what_is_no_storage_class_is_not_proposed() -> None:
    assert {abstract for abstract, _ in retrieval.pairs([SR, "1.2.840.10008.1.1", "1.2.3"])} == {SR}


@pytest.mark.parametrize("classes", [[], ["1.2.3"]])
def test_of_no_known_class_the_common_ones_are_proposed(classes: list[str]) -> None:
    proposed = {abstract for abstract, _ in retrieval.pairs(classes)}
    assert {CT, SR} <= proposed <= STORAGE_CLASSES
    assert len(proposed) > 30
