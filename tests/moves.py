"""A C-MOVE within one process: decided, made, and what was written down of it."""

from __future__ import annotations

from dicomnode.operations import moving, retrieve
from dicomnode.operations.account import SubOperation
from dicomnode.operations.ports import Node, Originator
from dicomnode.operations.retrieve import Asked, Plan
from dicomnode.rules.matching import Model
from dicomnode.store import ledger, referrals
from tests import fakes
from tests.fakes import FakePartner

WHO = Originator("RAD_WS", 7, 1)


def plan(node: Node, to: str, caller: str = "RAD_WS", study: str = "", level: str = "STUDY", **keys: str) -> Plan:
    """What a caller may move to a title."""
    asked = fakes.asked(level, **({"StudyInstanceUID": study} if study else {}), **keys)
    return retrieve.plan(Asked(asked, Model.STUDY_ROOT), to, node.config.partners[caller], node)


def send(node: Node, made: Plan, fake: FakePartner) -> list[SubOperation]:
    """Move it; each result."""
    return [done for done in moving.send(made, WHO, fake, node, lambda: False) if done]


def transfers(node: Node) -> list[tuple[str, str, int | None]]:
    """Partner, state and last status of each in the ledger."""
    with node.database.read():
        return [(t.partner, t.state, t.last_status) for t in ledger.listed(100)]


def referred(node: Node) -> list[referrals.Referral]:
    """All referrals."""
    with node.database.read():
        return referrals.listed()
