"""rules/proposals.py: what is proposed for a batch."""

from __future__ import annotations

import pytest

from dicomnode.rules import proposals

EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (128, [128]), (129, [128, 1]), (300, [128, 128, 44])])
def test_pairs_go_in_groups_that_one_association_can_propose(count: int, sizes: list[int]) -> None:
    pairs = [(f"1.2.{n}", EXPLICIT) for n in range(count)]
    grouped = proposals.groups([*pairs, *pairs])
    assert [len(group) for group in grouped] == sizes
    assert sorted(pair for group in grouped for pair in group) == sorted(pairs)


def test_each_pair_is_one_context_with_an_odd_id() -> None:
    pairs = [(f"1.2.{n}", JPEG) for n in range(128)]
    proposed = proposals.propose(pairs)
    assert [p.id for p in proposed] == list(range(1, 256, 2))
    assert [(p.abstract_syntax, p.transfer_syntaxes) for p in proposed] == [(uid, (JPEG,)) for uid, _ in pairs]
    assert all(p.roles is None for p in proposed)
