"""A referral in advance as somebody has written it, a text for each column: what it means, or all that is wrong.

Every text is taken as text, whatever a spreadsheet would make of it; none has a control character, and a value that is
asked for or compared has no wild card and is one value. A fault names its column and says what to write instead, never
what stood there where that is the patient's. Pure: the configuration is what names and issuers are held against.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from dicomnode.config import units
from dicomnode.config.model import NodeConfig
from dicomnode.rules import checkdigits
from dicomnode.rules.patients import id_key
from dicomnode.rules.referred import Expected

_DATE: Final = re.compile(r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})")
_YES: Final = frozenset(("yes", "true", "1", "urgent"))
_NO: Final = frozenset(("", "no", "false", "0", "routine"))
_MOST_INSTANCES: Final = 1_000_000
_DIRECTIONS: Final = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of writing: what is shown would not be what is compared."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with one value, and what to do; `column` is '' where it is the whole line."""

    column: str
    text: str

    def __str__(self) -> str:
        return f"{self.column}: {self.text}" if self.column else self.text


def _text(longest: int, *, single: bool = False) -> Callable[[str, NodeConfig], str]:
    """A reader of text of so many characters; `single`: it is compared, or asked for."""

    def read(value: str, config: NodeConfig) -> str:
        if len(value) > longest:
            raise ValueError(f"is over {longest} characters long")
        if single and set(value) & set("*?\\"):
            raise ValueError("has one of * ? \\ in it, which mean something else to whoever is asked for it")
        return value

    return read


def _name(value: str, config: NodeConfig) -> str:
    groups = value.split("=")  # PS3.5 6.2: alphabetic, ideographic, phonetic
    if len(groups) > 3 or any(len(group) > 64 or group.count("^") > 4 for group in groups):
        raise ValueError("is no name: up to three forms of it, divided by =, of 64 characters each")
    if "\\" in value:
        raise ValueError("has a backslash in it, which would make two names of it")
    return value


def _birth_date(value: str, config: NodeConfig) -> str:
    if not value:
        return ""
    written = _DATE.fullmatch(value)
    if written is None:
        raise ValueError("is not written YYYY-MM-DD or YYYYMMDD, and of any other form nobody knows what is the month")
    year, _, month, day = written.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        raise ValueError("is a day that there is not") from None
    return f"{year}{month}{day}"


def _sex(value: str, config: NodeConfig) -> str:
    if value.upper() not in ("", "M", "F", "O"):
        raise ValueError("is none of M, F and O, nor empty")
    return value.upper()


def _site(value: str, config: NodeConfig) -> str:
    private = {key for key, site in config.sites.items() if site.sector == "private"}
    if value and value not in private:
        raise ValueError(f"there is no private site {units.quoted(value)}{units.suggestion(value, private)}")
    return value


def _destination(value: str, config: NodeConfig) -> str:
    reached = {flow.destination for flow in config.flows}
    known = [p.name for p in config.partners.values() if p.is_destination and config.sector_of(p) in reached]
    if value and value not in known:
        text = f"no partner {units.quoted(value)} can be sent anything{units.suggestion(value, known)}"
        raise ValueError(text)
    return value


def _issuer(value: str, config: NodeConfig) -> str:
    known = _issuers(config)
    if value and value not in known:
        text = f"no issuer {units.quoted(value)} is configured (issuers, or a site's patient_id_issuer)"
        raise ValueError(text + units.suggestion(value, known))
    return value


def _urgent(value: str, config: NodeConfig) -> bool:
    if value.lower() not in _YES | _NO:
        raise ValueError("is neither yes nor no")
    return value.lower() in _YES


def _instances(value: str, config: NodeConfig) -> int | None:
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and 0 < int(value) <= _MOST_INSTANCES):
        raise ValueError(f"is no whole number from 1 to {_MOST_INSTANCES}")
    return int(value)


_READERS: Final[dict[str, Callable[[str, NodeConfig], Any]]] = {
    "number": _text(64, single=True),
    "issuer": _text(64),
    "patient_id": _text(64, single=True),
    "issuer_of_patient_id": _issuer,
    "patient_name": _name,
    "patient_birth_date": _birth_date,
    "patient_sex": _sex,
    "accession_number": _text(16, single=True),
    "site": _site,
    "destination": _destination,
    "recipient": _text(64),
    "urgent": _urgent,
    "procedure": _text(64),
    "procedure_code": _text(64),
    "consent": _text(1024),
    "instances": _instances,
}
COLUMNS: Final = tuple(_READERS)
"""What may be said of a referral."""
REQUIRED: Final = ("number", "patient_id")


def _issuers(config: NodeConfig) -> frozenset[str]:
    """Everybody who is known to give out patient IDs."""
    return frozenset(config.issuers) | {site.patient_id_issuer for site in config.sites.values()} - {""}


def read(values: Mapping[str, str], config: NodeConfig, source: str, at: int) -> Expected | list[Wrong]:
    """The referral that these texts mean, by column; a column that is not there is empty."""
    wrong: list[Wrong] = []
    meant: dict[str, Any] = {}
    for column, reader in _READERS.items():
        try:
            meant[column] = reader(_clean(values.get(column, "")), config)
        except ValueError as error:
            wrong.append(Wrong(column, str(error)))
    wrong += [Wrong(column, "is empty") for column in REQUIRED if meant.get(column) == ""]
    if wrong:
        return wrong
    meant["issuer_of_patient_id"] = meant["issuer_of_patient_id"] or _issuer_of(meant["site"], config)
    return list(_contradicted(meant, config)) or Expected(id=0, **meant, source=source, received_at=at)


def _clean(value: str) -> str:
    """A value without what surrounds it: composed, with plain spaces. Raises ValueError for what cannot be printed."""
    if units.unprintable(value) or _DIRECTIONS.search(value):
        raise ValueError("has a control character in it, or a line break: remove it")
    return " ".join(unicodedata.normalize("NFC", value).split())


def _issuer_of(site: str, config: NodeConfig) -> str:
    """Whose patient IDs those of a site are, where it is not said."""
    return config.sites[site].patient_id_issuer if site else ""


def _contradicted(meant: Mapping[str, Any], config: NodeConfig) -> Iterator[Wrong]:
    issuer = meant["issuer_of_patient_id"]
    if not id_key(meant["patient_id"]):
        yield Wrong("patient_id", "has neither a letter nor a digit: it is nobody's")
    if not issuer and not meant["site"] and _issuers(config):
        yield Wrong("issuer_of_patient_id", "is empty: say whose patient ID it is, or name the site that examines")
    if issuer in config.issuers and (fault := checkdigits.fault(config.issuers[issuer], meant["patient_id"])):
        yield Wrong("patient_id", fault)
