"""What the lane of a partner does, in the words of every command that speaks of one; and what a person can do."""

from __future__ import annotations

from dicomnode.cli import output
from dicomnode.operations import breaker
from dicomnode.operations.ports import Node
from dicomnode.store.lanes import Pause


def words(partner: str, pause: Pause, node: Node) -> str:
    """What it waits for, if it waits: a person, the end of a pause, or its window. `-`: nobody can call the partner."""
    if pause.hold:
        return "held"
    if is_paused(pause, node):
        return f"paused until {output.moment(pause.until)}"
    known = node.config.partners.get(partner)
    if known is None or not known.is_destination:
        return "-"
    opens = opens_at(partner, node)
    return f"window opens at {output.moment(opens)}" if opens else "runs"


def advice(partner: str, pause: Pause, node: Node) -> str:
    """How a person ends it that a lane is held or paused; '' where it is neither."""
    if pause.hold:
        return f"`dicomnode queue release --partner {partner}` when it may run"
    return f"`dicomnode queue retry --partner {partner}` tries now" if is_paused(pause, node) else ""


def why(pause: Pause) -> str:
    """Why it is held, or how it has failed; '' where it is not, and has not."""
    return pause.hold or (pause.reason if pause.failures else "")


def is_paused(pause: Pause, node: Node) -> bool:
    """Whether it is left alone for a while, because its partner has failed."""
    now = node.clock()
    return now < pause.until <= breaker.furthest(node, now)


def opens_at(partner: str, node: Node) -> int | None:
    """When the window of a partner opens (µs); None where it is open, or there is none."""
    known, now = node.config.partners.get(partner), node.clock()
    opens = breaker.opens_at(known, node, now) if known else now
    return opens if opens > now else None
