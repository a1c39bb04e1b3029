"""The scene of the pilot: 31 private centres, a hospital that has referred 328 patients, and ten studies gone wrong.

All of it is invented, and the same on every run: names are put together from two tables, and the identity cards have a
check digit that is right behind a letter and a number that were counted up. Nobody is meant. Written into a folder, it
is `dicomnode.yaml` and `referrals.csv`; the studies are made in cli/pilot_images.py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from dicomnode.config.parts import Issuer
from dicomnode.rules import checkdigits

HOSPITAL: Final = "PUBPACS"
NODE: Final = "REFERNODE"
CALLED: Final = "TO_GENERAL"
CENTRES: Final = 31
REFERRALS: Final = 328


class Wrong(StrEnum):
    """What is wrong with a study."""

    BIRTH_DATE = "another birth date"
    SEX = "another sex"
    PATIENT = "another patient's ID"
    MIXED = "two patients in one study"
    NO_CONSENT = "no consent"


_WRONG: Final = {
    **dict.fromkeys((17, 160), Wrong.BIRTH_DATE),
    **dict.fromkeys((61, 203), Wrong.SEX),
    104: Wrong.PATIENT,
    **dict.fromkeys((40, 151, 290), Wrong.MIXED),
    **dict.fromkeys((88, 307), Wrong.NO_CONSENT),
}
"""By the number of the referral. 104 is of a centre that writes the hospital's patient IDs."""
STOPPED: Final = len(_WRONG)
_MODALITIES: Final = ("CT", "MR", "US", "CR", "MG")
_FAMILIES: Final = (
    *(("CHAN", "陳"), ("LEE", "李"), ("CHEUNG", "張"), ("WONG", "黃"), ("LAU", "劉"), ("LAM", "林")),
    *(("HO", "何"), ("NG", "吳"), ("LEUNG", "梁"), ("CHENG", "鄭"), ("TSE", "謝"), ("YIP", "葉")),
)
_FIRST: Final = (("TAI", "大"), ("SIU", "小"), ("MEI", "美"), ("WAI", "偉"), ("KA", "家"), ("YUK", "玉"))
_SECOND: Final = (("MAN", "文"), ("MING", "明"), ("LING", "玲"), ("KEUNG", "強"), ("FONG", "芳"), ("WAH", "華"))
_CONFIG: Final = """\
# Made by `dicomnode demo --pilot`.
node:
  ae_title: {node}
  aliases: [{called}]
  bind: 127.0.0.1:{port}
  data: ./data
  acceptors: 2
issuers:
  HKID: {{check: hkid}}
sites:
{sites}
  general: {{sector: public, name: General Hospital, patient_id_issuer: HKID}}
partners:
{partners}
  {hospital}:
    {{site: general, host: 127.0.0.1, port: {hospital_port}, associations: 4, confirm: {{by: find}},
      coerce: {{patient_id: HKID, issuers: true, institution: true, request: true}}}}
routes:
  - name: referrals
    when: {{called: {called}}}
    to: [{hospital}]
    wait: 2s
    require: referral
    consent: required
    identity: check
"""


@dataclass(frozen=True, slots=True)
class Centre:
    """A private centre: one or two modalities of a kind and a workstation, each with an AE title, at one address."""

    number: int

    @property
    def key(self) -> str:
        return f"centre{self.number:02}"

    @property
    def address(self) -> str:
        return f"127.0.{self.number}.1"

    @property
    def modality(self) -> str:
        return _MODALITIES[self.number % len(_MODALITIES)]

    @property
    def sources(self) -> tuple[str, ...]:
        """The AE titles of its modalities."""
        return tuple(f"C{self.number:02}_{self.modality}{each}" for each in range(1, 2 + self.number % 2))

    @property
    def workstation(self) -> str:
        return f"C{self.number:02}_WS"

    @property
    def writes_hkid(self) -> bool:
        """Whether its objects have the hospital's patient IDs; else they have numbers of its own."""
        return self.number % 2 == 0


@dataclass(frozen=True, slots=True)
class Person:
    """A patient: the name in letters and in characters; `local` is the centre's own number."""

    name: str
    birth_date: str
    sex: str
    hkid: str
    local: str


@dataclass(frozen=True, slots=True)
class Referred:
    """One referral, and the study that comes of it."""

    serial: int
    centre: Centre
    person: Person
    instances: int
    wrong: Wrong | None

    @property
    def number(self) -> str:
        return f"R-2026-{self.serial:04}"

    @property
    def accession_number(self) -> str:
        return f"{self.centre.number:02}{self.serial:06}"

    @property
    def study_instance_uid(self) -> str:
        return uid(self.serial, 0)

    @property
    def source(self) -> str:
        """The AE title that sends it."""
        return self.centre.sources[self.serial // CENTRES % len(self.centre.sources)]


def centres() -> list[Centre]:
    return [Centre(number) for number in range(1, CENTRES + 1)]


def referred() -> list[Referred]:
    """All 328, in turn of one centre after the other."""
    places = centres()
    return [
        Referred(serial, places[serial % CENTRES], _person(serial), 1 + serial % 3, _WRONG.get(serial))
        for serial in range(1, REFERRALS + 1)
    ]


def _person(serial: int) -> Person:
    family, first, second = _FAMILIES[serial % 12], _FIRST[serial // 12 % 6], _SECOND[serial // 72 % 6]
    born = datetime(1931, 3, 7) + timedelta(days=89 * serial)
    return Person(
        f"{family[0]}^{first[0]} {second[0]}={family[1]}^{first[1]}{second[1]}",
        f"{born:%Y%m%d}",
        "FM"[serial % 2],
        _hkid(f"Q{100_000 + 7 * serial}"),
        f"{7_000 + serial}",
    )


def _hkid(known: str) -> str:
    issuer = Issuer(key="HKID", check="hkid")
    return next(f"{known}{digit}" for digit in "0123456789A" if not checkdigits.fault(issuer, f"{known}{digit}"))


def uid(serial: int, instance: int) -> str:
    """A UID of the study of a referral, or of something in it."""
    return f"2.25.{31_328_000_000_000_000_000_000_000_000_000_000_000 + 1000 * serial + instance}"


# -- in a folder -------------------------------------------------------------------------------------------------


def write(folder: Path, port: int, hospital_port: int, all_: Iterable[Referred]) -> None:
    """The configuration, and the referrals in advance."""
    (folder / "dicomnode.yaml").write_text(_config(port, hospital_port), encoding="utf-8")
    _write_referrals(folder / "referrals.csv", all_)


def _config(port: int, hospital_port: int) -> str:
    sites = (
        f"  {it.key}: {{sector: private, name: Imaging Centre {it.number}, patient_id_issuer: CENTRE{it.number:02},"
        f" accession_issuer: CENTRE{it.number:02}_RIS}}"
        for it in centres()
    )
    texts = {"sites": "\n".join(sites), "partners": "\n".join(line for it in centres() for line in _partners(it))}
    ports = {"port": port, "hospital_port": hospital_port}
    return _CONFIG.format(node=NODE, called=CALLED, hospital=HOSPITAL, **texts, **ports)


def _partners(it: Centre) -> Iterator[str]:
    for title in it.sources:
        yield f"  {title}: {{site: {it.key}, address: {it.address}, may: [store]}}"
    yield f"  {it.workstation}: {{site: {it.key}, address: {it.address}, may: [find]}}"


def _write_referrals(path: Path, all_: Iterable[Referred]) -> None:
    columns = "number patient_id issuer_of_patient_id patient_name patient_birth_date patient_sex accession_number"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*columns.split(), "site", "destination", "procedure", "consent", "instances"])
        for it in all_:
            who = it.person
            consent = "" if it.wrong is Wrong.NO_CONSENT else f"form {it.serial}, signed"
            patient = (who.hkid, "HKID", who.name, who.birth_date, who.sex, it.accession_number)
            rows.writerow([it.number, *patient, it.centre.key, HOSPITAL, it.centre.modality, consent, it.instances])
