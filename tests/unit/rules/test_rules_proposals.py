"""rules/proposals.py: what is proposed for a batch and for a C-GET, and what an instance goes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules import proposals
from dicomnode.rules.contexts import STUDY_ROOT_GET
from dicomnode.rules.proposals import Pair

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG, MPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.102"
CT, MR, SR = (f"1.2.840.10008.5.1.4.1.1.{ending}" for ending in ("2", "4", "88.22"))

PAIRS = st.lists(
    st.tuples(st.sampled_from([f"1.2.{n}" for n in range(90)]), st.sampled_from([IMPLICIT, EXPLICIT, BIG, JPEG, MPEG])),
    max_size=300,
)


@pytest.mark.parametrize(
    ("stored", "decompress", "expected"),
    [
        ([EXPLICIT], False, [(IMPLICIT,), (EXPLICIT,)]),
        ([IMPLICIT], False, [(EXPLICIT,), (IMPLICIT,)]),
        ([EXPLICIT, IMPLICIT], False, [(IMPLICIT,), (EXPLICIT,)]),
        ([BIG], False, [(EXPLICIT, IMPLICIT), (BIG,)]),
        ([DEFLATED], False, [(EXPLICIT, IMPLICIT), (DEFLATED,)]),
        ([BIG, EXPLICIT], False, [(IMPLICIT,), (EXPLICIT,), (BIG,)]),
        ([JPEG], False, [(JPEG,)]),
        ([JPEG], True, [(EXPLICIT, IMPLICIT), (JPEG,)]),
        ([JPEG, EXPLICIT], True, [(IMPLICIT,), (EXPLICIT,), (JPEG,)]),
        ([MPEG], True, [(MPEG,)]),
    ],
)
def test_what_is_stored_has_a_context_of_its_own_and_its_class_one_for_what_can_be_made_of_it(
    stored: list[str], decompress: bool, expected: list[tuple[str, ...]]
) -> None:
    proposed = proposals.propose([(CT, syntax) for syntax in stored], decompress)
    assert [each.transfer_syntaxes for each in proposed] == expected
    assert [each.id for each in proposed] == list(range(1, 2 * len(expected), 2))
    assert {(each.abstract_syntax, each.roles) for each in proposed} == {(CT, None)}


@pytest.mark.parametrize(
    ("syntax", "count", "sizes"),
    [
        *[(JPEG, count, sizes) for count, sizes in ((0, []), (1, [1]), (128, [128]), (129, [128, 1]))],
        *[
            (EXPLICIT, count, sizes)
            for count, sizes in ((1, [1]), (64, [64]), (65, [64, 1]), (300, [64, 64, 64, 64, 44]))
        ],
    ],
)
def test_pairs_go_in_groups_that_one_association_can_propose(syntax: str, count: int, sizes: list[int]) -> None:
    pairs = [(f"1.2.{n}", syntax) for n in range(count)]
    grouped = proposals.groups([*pairs, *pairs])
    assert [len(group) for group in grouped] == sizes


@given(PAIRS, PAIRS, st.booleans())
def test_every_pair_is_in_one_group_and_no_group_is_too_large(pairs: list[Pair], more: list[Pair], both: bool) -> None:
    grouped = proposals.groups(pairs, both)
    assert sorted(pair for group in grouped for pair in group) == sorted(set(pairs))
    for group in grouped:
        longer = proposals.extended(group, more, both)
        assert longer[: len(group)] == group
        assert set(longer) <= {*group, *more}
        for wanted in (group, longer):
            proposed = proposals.propose(wanted, both)
            assert len(proposed) <= proposals.MOST
            assert {(each.abstract_syntax, each.transfer_syntaxes[0]) for each in proposed} >= set(wanted)


def test_an_association_takes_along_all_that_fits() -> None:
    full = tuple((f"1.2.{n}", JPEG) for n in range(1000, 1126))
    assert proposals.extended(full, [(CT, EXPLICIT), (MR, JPEG)]) == (*full, (CT, EXPLICIT))
    assert proposals.extended(full, [(MR, JPEG), (CT, EXPLICIT)]) == (*full, (MR, JPEG))
    assert proposals.extended([(CT, JPEG)], [(MR, JPEG), (CT, JPEG)]) == ((CT, JPEG), (MR, JPEG))


@pytest.mark.parametrize(
    ("stored", "taken", "decompress", "expected"),
    [
        (EXPLICIT, [IMPLICIT, EXPLICIT], False, EXPLICIT),
        (EXPLICIT, [IMPLICIT], False, IMPLICIT),
        (BIG, [IMPLICIT, EXPLICIT], False, EXPLICIT),
        (BIG, [IMPLICIT, EXPLICIT, BIG], False, BIG),
        (DEFLATED, [IMPLICIT], False, IMPLICIT),
        (IMPLICIT, [DEFLATED], False, None),
        (JPEG, [IMPLICIT, EXPLICIT], False, None),
        (JPEG, [IMPLICIT, EXPLICIT], True, EXPLICIT),
        (JPEG, [EXPLICIT, JPEG], True, JPEG),
        (MPEG, [EXPLICIT], True, None),
        (EXPLICIT, [JPEG], True, None),
        (EXPLICIT, [], True, None),
    ],
)
def test_an_instance_goes_as_it_is_stored_or_as_the_next_best(
    stored: str, taken: list[str], decompress: bool, expected: str | None
) -> None:
    accepted = {(CT, syntax): 2 * n + 1 for n, syntax in enumerate(taken)}
    found = proposals.choose(accepted | {(MR, stored): 99}, (CT, stored), decompress)
    assert found == (None if expected is None else (accepted[CT, expected], expected))


# -- for a C-GET ----------------------------------------------------------------------------------------------


def test_one_class_may_come_in_every_syntax() -> None:
    pairs = proposals.likely([CT])
    assert {syntax for _, syntax in pairs} == set(TRANSFER_SYNTAXES)
    assert [syntax for _, syntax in pairs[:3]] == [EXPLICIT, IMPLICIT, JPEG]


@pytest.mark.parametrize("count", [1, 2, 10, 126, len(STORAGE_CLASSES)])
def test_there_is_room_for_the_request_itself(count: int) -> None:
    wanted = sorted(STORAGE_CLASSES)[:count]
    pairs = proposals.likely(wanted)
    assert len(pairs) == len(set(pairs)) <= 127
    assert len({abstract for abstract, _ in pairs}) == min(count, 127)
    own, *storage = proposals.for_get(pairs)
    assert (own.id, own.abstract_syntax, own.roles) == (1, STUDY_ROOT_GET, None)
    assert [(each.abstract_syntax, *each.transfer_syntaxes) for each in storage] == pairs
    assert [each.id for each in storage] == list(range(3, 2 * len(pairs) + 2, 2))
    assert {each.roles for each in storage} == {(False, True)}


def test_what_is_no_storage_class_is_not_proposed() -> None:
    assert {abstract for abstract, _ in proposals.likely([SR, "1.2.840.10008.1.1", "1.2.3"])} == {SR}


@pytest.mark.parametrize("classes", [[], ["1.2.3"]])
def test_of_no_known_class_the_common_ones_are_proposed(classes: list[str]) -> None:
    proposed = {abstract for abstract, _ in proposals.likely(classes)}
    assert {CT, SR} <= proposed <= STORAGE_CLASSES
    assert len(proposed) > 30
