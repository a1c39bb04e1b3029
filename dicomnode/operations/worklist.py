"""The story of a hospital's worklist: its RIS is asked on a schedule, and each procedure is a referral in advance.

What the worklist tells of is held to the same as a line of a file; what is wrong in it is left out, and said. What is
scheduled at a station that is no private site's is the hospital's own affair, and no referral. What vanishes from it
stays expected, until a person cancels it. A RIS that cannot be asked changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import PartnerError
from dicomnode.operations import intake
from dicomnode.operations.intake import Told, What
from dicomnode.operations.ports import Node, Peer, Stopped
from dicomnode.rules import advance
from dicomnode.store import audit, expected
from dicomnode.store.expected import Expected

log = logging.getLogger(__name__)

_MOST: Final = 100_000
"""The most that are expected at once by the word of one partner."""
_STEP, _STATION, _CODES, _CODE = 0x00400100, 0x00400001, 0x00321064, 0x00080100
_ISSUERS, _NAMESPACE, _PRIORITY = 0x00080051, 0x00400031, 0x00401003
_PHYSICIANS = (0x00321032, 0x00080090)
"""Requesting, else Referring Physician: who is to have the examination."""
_PLAIN: Final = {
    "number": 0x00401001,
    "patient_id": 0x00100020,
    "issuer_of_patient_id": 0x00100021,
    "patient_name": 0x00100010,
    "patient_birth_date": 0x00100030,
    "patient_sex": 0x00100040,
    "accession_number": 0x00080050,
    "procedure": 0x00321060,
}
_URGENT = ("STAT", "HIGH")


def ask(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Ask one RIS, if it is time to. False where it is not."""
    at = node.clock()
    with node.database.read():
        when = due(partner, at)
    if when is None or when > at or stopped():
        return False
    since = datetime.fromtimestamp(at / 1e6, UTC) - timedelta(days=1)
    try:
        answers = list(peer.worklist(partner, f"{since:%Y%m%d}", stopped))
    except PartnerError as error:
        text = f"{partner.name} did not say what is scheduled: {error}"
        log.warning("worklist asked=%s: no answer: %s", partner.display, error)
        node.database.write(lambda: _complain(text, partner, at, node))
    else:
        _take(answers, partner, at, node)
    node.database.write(lambda: expected.ask_next(partner.name, node.clock() + _interval(partner)))
    return True


def due(partner: Partner, now: int) -> int | None:
    """When a RIS is to be asked next (µs). Inside `Database.read`."""
    when = expected.next_question(partner.name)
    return now if when > now + _interval(partner) else max(when, now)  # a clock that was ahead has written it


def slots(partner: Partner) -> int:
    """One question at a time to each partner whose worklist is asked."""
    return int(partner.worklist is not None and partner.is_destination)


def _interval(partner: Partner) -> int:
    return round((partner.worklist or 0) * 1e6)


def _take(answers: Iterable[Identifier], partner: Partner, at: int, node: Node) -> None:
    read, wrong = _read(answers, partner, at, node.config)
    with node.database.read():
        room = max(0, _MOST - expected.count_of(partner.name))
    told = intake.take(read[:room], partner.name, node)
    wrong += [f"number: {each.text}" for each in told if each.what is What.REFUSED]
    wrong += ["there are more than can be"] * (len(read) > room)
    log.info("worklist asked=%s: %s", partner.display, _counts(told, wrong))
    if wrong:
        text = f"of the worklist of {partner.name}, {len(wrong)} are not taken; the first: {wrong[0]}"
        node.database.write(lambda: _complain(text, partner, at, node))


def _counts(told: list[Told], wrong: list[str]) -> str:
    said = [f"{sum(each.what is what for each in told)} {what}" for what in What if what is not What.REFUSED]
    return ", ".join([*said, f"{len(wrong)} not taken"])


def _complain(text: str, partner: Partner, at: int, node: Node) -> None:
    """Once an hour, a person is told. Inside `Database.write`."""
    event = audit.Event(at, "worklist not read", text, partner.name, generation=node.generation, alarm=True)
    audit.record_seldom(event)


# -- what an answer means --------------------------------------------------------------------------------------


def _read(
    answers: Iterable[Identifier], partner: Partner, at: int, config: NodeConfig
) -> tuple[list[Expected], list[str]]:
    """One referral for each procedure, however many steps it has; and what is wrong with others, without patients."""
    found: dict[tuple[str, str], Expected] = {}
    wrong = []
    for answer in answers:
        if not _leaves(answer, config):
            continue
        read = advance.read(_values(answer, partner, config), config, partner.name, at)
        if isinstance(read, list):
            wrong.append("; ".join(map(str, read)))
            continue
        known = found.setdefault((read.number, read.issuer), read)
        if known.site != read.site:  # its steps are at several places
            found[read.number, read.issuer] = replace(known, site="")
    return list(found.values()), wrong


def _values(answer: Identifier, partner: Partner, config: NodeConfig) -> dict[str, str]:
    """An answer as the columns of a file."""
    values = {column: answer.value(tag) for column, tag in _PLAIN.items()}
    site, codes, places = config.site_of(partner), _within(answer, _CODES, _CODE), _sites(answer, config)
    issuers = _within(answer, _ISSUERS, _NAMESPACE)
    values["issuer"] = next(iter(issuers), site.accession_issuer or site.key)
    values["issuer_of_patient_id"] = values["issuer_of_patient_id"] or site.patient_id_issuer
    values["site"] = places.pop() if len(places) == 1 else ""
    values["recipient"] = next(filter(None, map(answer.value, _PHYSICIANS)), "")
    values["urgent"] = "yes" if answer.value(_PRIORITY).upper() in _URGENT else "no"
    values["procedure_code"] = next(iter(codes), "")
    return values


def _leaves(answer: Identifier, config: NodeConfig) -> bool:
    """Whether somebody else than the hospital is to examine, as far as it says who is."""
    return not _within(answer, _STEP, _STATION) or bool(_sites(answer, config))


def _within(answer: Identifier, sequence: int, tag: int) -> list[str]:
    """The values of an attribute in the items of a sequence."""
    items = next((key.items for key in answer.keys if key.tag == sequence), ())
    return [key.value for item in items for key in item if key.tag == tag and key.value]


def _sites(answer: Identifier, config: NodeConfig) -> set[str]:
    """The private sites that have one of its stations."""
    titles = {title for each in _within(answer, _STEP, _STATION) for title in each.split("\\")}
    return {p.site for p in config.partners.values() if p.ae_title in titles and config.sector_of(p) == "private"}
