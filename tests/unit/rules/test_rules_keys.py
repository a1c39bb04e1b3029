"""rules/keys.py: what may be asked for."""

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.dicom.instance import ATTRIBUTES, SEQUENCES, Level
from dicomnode.rules import keys
from dicomnode.rules.keys import PRIVATE, SUPPORTED, Computed


def test_all_that_is_indexed_or_computed_may_be_asked_for() -> None:
    columns = {each.column for each in (*ATTRIBUTES, *SEQUENCES)} | set(Computed)
    assert sorted(each.column for each in (*SUPPORTED.values(), *PRIVATE.values())) == sorted(columns)


@pytest.mark.parametrize("found", SUPPORTED.values(), ids=lambda found: found.keyword)
def test_each_is_what_the_dictionary_says(found: keys.Supported) -> None:
    for each in (found, *found.items):
        assert (keyword_for_tag(each.tag), dictionary_VR(each.tag)) == (each.keyword, each.vr)


def test_what_is_counted_or_tells_of_the_node_is_never_matched() -> None:
    """F68, R163."""
    unmatched = {each.keyword for each in SUPPORTED.values() if not each.matched}
    computed = set(Computed) - {"ModalitiesInStudy", "SOPClassesInStudy"} - {of.keyword for of in PRIVATE.values()}
    assert unmatched == computed | {"TimezoneOffsetFromUTC"}
    assert not any(of.matched for of in PRIVATE.values())
    assert 0x00080005 not in SUPPORTED


@pytest.mark.parametrize(
    ("tag", "creator", "ours"),
    [
        (0x00090010, "DICOMNODE", True),
        (0x00090010, "dicomnode", False),
        (0x00090010, "DICOMNODE\\DICOMNODE", False),
        (0x00090010, "", False),
        (0x00090011, "DICOMNODE", False),  # reserves (0009,11xx)
        (0x00110010, "DICOMNODE", False),
    ],
)
def test_private_keys_are_ours_where_we_are_their_creator(tag: int, creator: str, ours: bool) -> None:
    asked = Identifier("STUDY", (Key(0x00091001, "UN", ""), Key(tag, "UN", creator)), "")
    assert (PRIVATE.keys() <= keys.supported(asked).keys()) is ours
    assert SUPPORTED.keys() <= keys.supported(asked).keys()


def test_dates_and_their_times() -> None:
    parts = ("study", "series", "performed_procedure_step_start", "content")
    assert {f"{each}_date": f"{each}_time" for each in parts} == keys.TIMES


def test_levels_lie_below_each_other() -> None:
    assert keys.is_below(Level.IMAGE, Level.PATIENT)
    assert not keys.is_below(Level.STUDY, Level.STUDY)
    assert not keys.is_below(Level.PATIENT, Level.SERIES)
