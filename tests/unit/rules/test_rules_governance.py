"""rules/governance.py: who gets one more association, and who has to come again."""

from __future__ import annotations

import pytest

from dicomnode.config.model import Partner
from dicomnode.config.parts import Limits
from dicomnode.rules.governance import Open, refusal, reserve

CT1 = Partner(name="CT1", site="harbour")
NARROW = Partner(name="CT2", site="harbour", max_associations=3)


@pytest.mark.parametrize(("associations", "kept"), [(1, 0), (2, 1), (9, 1), (29, 2), (100, 10), (10_000, 1000)])
def test_a_tenth_is_kept_at_least_one_and_never_the_only_one(associations: int, kept: int) -> None:
    assert reserve(Limits(associations=associations)) == kept


@pytest.mark.parametrize(
    ("partner", "light", "open_", "why"),
    [
        (CT1, False, Open(89, 89, 89), ""),
        (CT1, False, Open(90, 0, 0), "kept for echo and query"),
        (CT1, True, Open(90, 0, 0), ""),
        (CT1, True, Open(99, 0, 0), ""),
        (CT1, True, Open(100, 0, 0), "too many associations"),
        (CT1, False, Open(100, 0, 0), "too many associations"),
        (NARROW, False, Open(2, 2, 0), ""),
        (NARROW, False, Open(3, 3, 0), "of CT2"),
        (NARROW, True, Open(3, 3, 0), "of CT2"),
        (NARROW, False, Open(50, 2, 50), ""),
    ],
)
def test_who_gets_one_more(partner: Partner, light: bool, open_: Open, why: str) -> None:
    _expect(Limits(), partner, light, open_, why)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize(("open_", "why"), [(Open(4, 0, 4), ""), (Open(5, 0, 5), "one address"), (Open(9, 9, 4), "")])
def test_an_address_may_have_a_limit_of_its_own(light: bool, open_: Open, why: str) -> None:
    _expect(Limits(address_associations=5), CT1, light, open_, why)


def test_the_only_association_may_store() -> None:
    _expect(Limits(associations=1), CT1, False, Open(0, 0, 0), "")
    _expect(Limits(associations=1), CT1, False, Open(1, 1, 1), "too many")


def _expect(limits: Limits, partner: Partner, light: bool, open_: Open, why: str) -> None:
    found = refusal(limits, partner, open_, light=light)
    if not why:
        assert found is None
        return
    assert found
    assert (found.result, found.source, found.reason) == (2, 3, 2)
    assert why in found.why
