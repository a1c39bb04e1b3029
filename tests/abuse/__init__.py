"""Abuse of a running node on raw sockets: rude, broken and hostile peers, while a good partner goes on working."""

from tests.abuse import content, floods, handshakes, lengths, slow, strangers
from tests.abuse.siege import Abuse

__all__ = ["ABUSES", "Abuse"]

ABUSES: tuple[Abuse, ...] = (
    *(*slow.ABUSES, *handshakes.ABUSES, *strangers.ABUSES),
    *(*lengths.ABUSES, *floods.ABUSES, *content.ABUSES),
)
