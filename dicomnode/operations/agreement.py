"""The story of two persons who decide together, where the configuration wants two (`node.operators`).

The first one's word is written down, and does nothing. The second, another person, has to want the same, of what the
first has seen: where that has changed meanwhile, it is the second's word that waits for another.
"""

from __future__ import annotations

from dicomnode.errors import CannotDecide
from dicomnode.operations.ports import Node
from dicomnode.store import audit, doubts, releases
from dicomnode.store.releases import Word


def reached(study: int, said: Word, node: Node) -> str:
    """By whom it is decided, with their reasons; '' where another person has to say the same. Inside `Database.write`.

    Raises CannotDecide where the same person says it twice.
    """
    if node.config.node.operators == 1:
        return f"{said.who}: {said.reason}"
    first = releases.proposed(study)
    if first is None or (first.what, first.digest) != (said.what, said.digest):
        releases.propose(study, said)
        uid, text = doubts.uid_of(study), f"{said.who} proposes: {said.what}: {said.reason}"
        audit.record(
            audit.Event(
                *(said.at, "quarantine decision proposed", text),
                study_instance_uid=uid,
                generation=node.generation,
                who=said.who,
            )
        )
        return ""
    if first.who == said.who:
        raise CannotDecide(f"{said.who} has said so already: another person has to say the same (node.operators)")
    releases.settle(study)
    return f"{first.who}: {first.reason}; {said.who}: {said.reason}"


def still_wanted(study: int) -> str:
    """What was proposed for a study and by whom, '' where nothing is. Inside `Database.read` or `write`."""
    first = releases.proposed(study)
    return f"{first.who} proposes: {first.what}: {first.reason}" if first else ""
