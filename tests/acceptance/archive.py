"""A public AE that can be asked what it has, and that loses something now and then."""

from __future__ import annotations

import random
import struct
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.receiver import Received, Receiver, first_proposed
from tests.samples import decode, identifier
from tests.upper_layer import C_FIND, EXPLICIT_LE, RESPONSE, STUDY_ROOT_FIND, Channel, Message

_SLOWLY = 0.004
_PENDING, _SUCCESS = 0xFF00, 0
_LOSES = 0.01


def _slowly(_: str) -> int:
    time.sleep(_SLOWLY)
    return _SUCCESS


def _accept(abstract: str, syntaxes: Sequence[str]) -> str | None:
    if abstract == STUDY_ROOT_FIND:
        return EXPLICIT_LE if EXPLICIT_LE in syntaxes else None
    return first_proposed(abstract, syntaxes)


class Archive(Receiver):
    """Answers C-FIND (Study Root) for the series of a study and the instances of a series.

    Of what it has answered 0000H for it loses one instance in a hundred (or `loses`) when that comes for the first
    time: those are not `received`. Datasets are not kept, but for their digests.
    """

    def __init__(self, chance: random.Random, loses: float = _LOSES) -> None:
        super().__init__(answer=_slowly, accept=_accept)
        self._chance, self._loses = random.Random(chance.random()), loses
        self._series: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.has: set[str] = set()
        self.lacks: set[str] = set()
        self.lost = self.repeated = 0
        self.received = _Shelf(self)
    def takes(self, it: Received) -> bool:
        """Put one away, or lose it; runs with the lock of all that is noted here."""
        uid = it.sop_instance
        if uid not in self.has | self.lacks and self._chance.random() < self._loses:
            self.lacks.add(uid)
            self.lost += 1
            return False
        self.repeated += uid in self.has
        self.has.add(uid)
        self.lacks.discard(uid)
        self._series[_uid(it.dataset, 0x0020, 0x000D)][_uid(it.dataset, 0x0020, 0x000E)].add(uid)
        return True

    def _other(self, channel: Channel, message: Message) -> None:
        if message["CommandField"] != C_FIND:
            super()._other(channel, message)
            return
        asked = decode(message.dataset or b"")
        with self._changed:
            answers = [identifier(**it) for it in self._answers(asked)]
        for answer in answers:
            self._say(channel, message, _PENDING, answer)
        self._say(channel, message, _SUCCESS)

    def _answers(self, asked: Any) -> list[dict[str, str]]:
        level, study = asked.QueryRetrieveLevel, asked.StudyInstanceUID
        keys = {"QueryRetrieveLevel": level, "StudyInstanceUID": study}
        series = self._series.get(study, {})
        if level == "SERIES":
            return [{**keys, "SeriesInstanceUID": uid} for uid in series]
        keys["SeriesInstanceUID"] = asked.SeriesInstanceUID
        return [{**keys, "SOPInstanceUID": uid} for uid in series.get(asked.SeriesInstanceUID, ())]

    def _say(self, channel: Channel, message: Message, status: int, dataset: bytes | None = None) -> None:
        command = {
            "AffectedSOPClassUID": message["AffectedSOPClassUID"],
            "CommandField": C_FIND | RESPONSE,
            "MessageIDBeingRespondedTo": message["MessageID"],
            "Status": status,
        }
        channel.send_message(message.context, command, dataset)


class _Shelf(list[Received]):
    """What is received, without its bytes; and not what is lost."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def append(self, it: Received) -> None:
        if self._archive.takes(it):
            super().append(replace(it, content=b""))


def _uid(dataset: bytes, group: int, element: int) -> str:
    """A UID of a made instance, in Explicit VR Little Endian."""
    at = dataset.index(struct.pack("<HH", group, element) + b"UI")
    (length,) = struct.unpack_from("<H", dataset, at + 6)
    return dataset[at + 8 : at + 8 + length].rstrip(b"\0").decode()
