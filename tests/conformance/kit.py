"""How a case is written, who asks, and what is read of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from pydicom.dataset import Dataset

from tests.conformance.archive import labels
from tests.integration.kit import query
from tests.node import LOCAL, changed, default_config, free_port
from tests.samples import decode
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, VERIFICATION
from tests.wire import Association

CALLER = "CASESCU"
"""The AE that asks: a modality and a workstation in one, with every right."""
PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
PATIENT_STUDY_ONLY_FIND, PATIENT_STUDY_ONLY_MOVE, PATIENT_STUDY_ONLY_GET = (
    f"1.2.840.10008.5.1.4.1.2.3.{n}" for n in (1, 2, 3)
)
FIND_MODELS = (STUDY_ROOT_FIND, PATIENT_ROOT_FIND, PATIENT_STUDY_ONLY_FIND)
_MODELS = (*FIND_MODELS, STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE, STUDY_ROOT_GET)
CONTEXTS = [*((uid, [EXPLICIT_LE]) for uid in _MODELS), (VERIFICATION, [IMPLICIT_LE])]


def case(number: str) -> pytest.MarkDecorator:
    """The id of a test that is no table."""
    return pytest.mark.parametrize((), [pytest.param(id=number)])


def configuration(
    *, caller: int | None = None, destination: int | None = None, peak: int | None = None, **node: Any
) -> dict[str, Any]:
    """One site, where CASESCU may do everything and CASEDST is a destination (as CASEPLAIN it is sent what it
    can show). CASEPUB is of the other sector, CASEONE has one association at most, and nobody listens at CASEDEAD."""
    there = destination or free_port()
    site = {"site": "harbour", "host": LOCAL}
    partners = {
        CALLER: site | {"port": caller or free_port(), "may": ["store", "find", "move", "get", "commit"]},
        "CASEDST": site | {"port": there},
        "CASEPLAIN": site | {"port": there, "may": ["get"], "transcode": "decompress"},
        "CASEPUB": site | {"site": "general", "port": free_port(), "may": ["find"]},
        "CASEONE": site | {"max_associations": 1},
        "CASEDEAD": site | {"port": free_port()},
        "PEAK_WS": {"transcode": "decompress"},
    }
    limits = {"linger": "0s", **node.pop("limits", {})}
    return changed(default_config(peak_ws=peak, **node), {"partners": partners, "node": {"limits": limits}})


def item(keys: Mapping[str, str | bytes]) -> bytes:
    """One item of a sequence in an Identifier."""
    raw = query(None, keys)
    return b"\xfe\xff\x00\xe0" + len(raw).to_bytes(4, "little") + raw


# -- C-FIND ----------------------------------------------------------------------------------------------------


class Answers(NamedTuple):
    """What came back of a C-FIND: final status and its comment, statuses of the matches, and the matches."""

    status: int
    comment: str
    pending: set[int]
    matches: list[Dataset]
    last: bytes
    """The Identifier of the final response."""

    @property
    def found(self) -> list[str]:
        """The labels of the entities."""
        return labels(name_of(match) for match in self.matches)


def name_of(match: Dataset) -> str:
    """The unique key of a match."""
    unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    return str(match[unique.get(match.QueryRetrieveLevel, "SOPInstanceUID")].value or "")


def ask(association: Association, identifier: bytes, model: str = STUDY_ROOT_FIND) -> Answers:
    """A C-FIND to its end."""
    *pending, (status, last) = association.find(model, identifier)
    matches = [decode(raw) for _, raw in pending]
    return Answers(status, association.last_error_comment, {each for each, _ in pending}, matches, last)


@dataclass(frozen=True)
class Find:
    """One case of C-FIND. `found`: labels, or None where what is found does not matter; `features`: as negotiated.

    `answers`: label → keyword → the value as text, of some of the answers.
    """

    id: str
    level: str | None
    keys: dict[str, str | bytes]
    found: str | None = ""
    model: str = STUDY_ROOT_FIND
    features: bytes = b""
    codec: str = "ascii"
    status: tuple[int, ...] = (0,)
    pending: int = 0xFF00
    answers: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def identifier(self) -> bytes:
        return query(self.level, self.keys, codec=self.codec)


def text(match: Dataset, keyword: str) -> str | None:
    """A value as it is written; None where the attribute is not there."""
    if keyword not in match:
        return None
    value = match[keyword].value
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "insert") else str(value)
