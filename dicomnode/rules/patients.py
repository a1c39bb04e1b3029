"""Who is the same patient: an ID of an issuer, as both are compared. Pure.

Everything that asks whether two patients are one asks here: identity, referrals in advance, consent, the search for a
study. Nothing counts that only ways of writing differ in: case, the width of characters, what cannot be seen; of an ID
neither spaces, parentheses, nor the hyphens after the letters that it begins with and before its last character, the
check digit. All other punctuation counts, of an ID as of an issuer, because 1.23 and 12.3 are two.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Protocol

_HYPHENS: Final = re.compile(r"\A([A-Z]+)-(?=[0-9])|-(?=[0-9A-Z]\Z)")


class Named(Protocol):
    """Whatever names a patient."""

    @property
    def patient_id(self) -> str: ...

    @property
    def issuer_of_patient_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Id:
    """What names a patient, and says nothing else."""

    patient_id: str
    issuer_of_patient_id: str

    def __repr__(self) -> str:
        return "Id(…)"


def id_key(patient_id: str) -> str:
    """A patient ID as it is compared: `A123456(3)`, `a123456-3` and `A1234563` are one. '': it is nobody's."""
    written = unicodedata.normalize("NFKC", patient_id).upper()
    seen = "".join(c for c in written if c.isprintable() and c not in " ()")
    return _HYPHENS.sub(r"\1", seen) if any(map(str.isalnum, seen)) else ""


def issuer_key(issuer: str, default: str = "") -> str:
    """Who has given out an ID, as it is compared; where that is not said, the `default`: the site's issuer."""
    return _issuer(issuer) or _issuer(default)


def _issuer(written: str) -> str:
    seen = "".join(c for c in written if c.isprintable() or c.isspace())
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())


def same(one: Named, two: Named, default: str = "") -> bool:
    """Whether both are one patient: one ID, of one issuer; `default` is whose the IDs are where it is not said."""
    issuers = {issuer_key(each.issuer_of_patient_id, default) for each in (one, two)}
    return len(issuers) == 1 and id_key(one.patient_id) == id_key(two.patient_id) != ""
