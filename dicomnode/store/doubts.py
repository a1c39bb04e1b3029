"""Doubt about a study, and the versions of its instances between which a person has to decide.

    quarantine   nothing more of the study leaves, nor is moved
    correction   what was not sent of it is held, and none of it crosses a flow
    identity     the same: a person has to look whose study it is
    remark       it goes on, and somebody should look

A version is undecided from its arrival as a correction or a conflict until a person has chosen or rejected it. Of the
versions that a site has sent under one SOP Instance UID at most one is current, and only that is ever sent. What is in
doubt follows no rule here: every function does what it is told, inside `Database.write`, or `read` where it only looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicomnode.dicom.part10 import Origin
from dicomnode.store import queue
from dicomnode.store.database import execute, one, rows


def quarantine(study: int, reason: str) -> bool:
    """Nothing may leave of a study, until a person has decided what its reason says; whether that is new."""
    return bool(execute("UPDATE studies SET quarantine = ? WHERE id = ? AND quarantine = ''", reason, study))


def keep(study: int, reason: str) -> None:
    """Nothing may leave of a study: a person has said so, whatever was the reason before."""
    execute("UPDATE studies SET quarantine = ?, identity = '' WHERE id = ?", reason, study)


def identify(study: int, reason: str) -> bool:
    """Why a person has to look whose study it is, '' where nobody has to; whether that is new."""
    return bool(execute("UPDATE studies SET identity = ? WHERE id = ? AND identity != ?", reason, study, reason))


def identity(study: int) -> str:
    """Why a person has to look whose study it is, '' where nobody has to."""
    return str(one("SELECT identity FROM studies WHERE id = ?", study)[0])


def site_of(study: int) -> str:
    """Whose study it is: the site's that first sent it."""
    return str(one("SELECT site FROM studies WHERE id = ?", study)[0])


def uid_of(study: int) -> str:
    """Its Study Instance UID."""
    return str(one("SELECT study_instance_uid FROM studies WHERE id = ?", study)[0])


def correct(study: int, reason: str) -> None:
    """A study was corrected: what was not sent of it waits, until a person has said which version is right."""
    execute("UPDATE studies SET correction = ? WHERE id = ? AND correction = ''", reason, study)


def remark(study: int, text: str) -> None:
    """Flag a study that goes on all the same."""
    execute("UPDATE studies SET remark = ? WHERE id = ?", text, study)


def is_quarantined(study: int) -> bool:
    """Whether a study is in quarantine."""
    return bool(one("SELECT quarantine != '' FROM studies WHERE id = ?", study)[0])


def is_corrected(study: int) -> bool:
    """Whether a correction of a study waits for a person's word."""
    return bool(one("SELECT correction != '' FROM studies WHERE id = ?", study)[0])


def studies_of(sop_instance_uid: str, study: int | None) -> dict[int, str]:
    """The studies that a doubt about an instance concerns, and whose they are: the one given, and its versions'."""
    found = rows(
        "SELECT id, site FROM studies WHERE id = ? OR id IN (SELECT s.study FROM instances i"
        " JOIN series s ON s.id = i.series WHERE i.sop_instance_uid = ?)",
        *(study, sop_instance_uid),
    )
    return dict(found)


# -- what a person looks at ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Doubt:
    """A study in doubt: what each doubt says ('' where there is none), and which versions are undecided."""

    study: int
    study_instance_uid: str
    site: str
    patient_id: str
    patient_name: str
    received_at: int
    quarantine: str
    correction: str
    identity: str
    remark: str
    undecided: int
    versions: tuple[int, ...]
    """Their numbers; `undecided` is how many instances have such a version."""
    referrals: int

    @property
    def state(self) -> str:
        """What it does to the study."""
        return "quarantined" if self.quarantine else "held" if self.correction or self.identity else "flagged"

    @property
    def reason(self) -> str:
        """All that is in doubt."""
        return "; ".join(filter(None, (self.quarantine, self.correction, self.identity, self.remark)))


_UNDECIDED = """FROM series s JOIN instances j ON j.series = s.id JOIN instances u
    ON u.sop_instance_uid = j.sop_instance_uid AND u.undecided AND u.site = t.site
    WHERE s.study = t.id AND j.site = t.site"""
_DOUBTS = f"""SELECT t.id, t.study_instance_uid, t.site, t.patient_id, t.patient_name, t.received_at, t.quarantine,
    t.correction, t.identity, t.remark, (SELECT count(DISTINCT u.sop_instance_uid) {_UNDECIDED}),
    (SELECT group_concat(DISTINCT u.version) {_UNDECIDED}),
    (SELECT count(*) FROM referrals r WHERE r.study = t.id) FROM studies t
    WHERE (t.quarantine != '' OR t.correction != '' OR t.identity != '' OR t.remark != '')"""


def listed(limit: int) -> list[Doubt]:
    """The studies in doubt, the newest first; whether or not they are referred to anybody."""
    return [_as_doubt(row) for row in rows(f"{_DOUBTS} ORDER BY t.id DESC LIMIT ?", limit)]


def of(study: int) -> Doubt | None:
    """The doubt about one study, if there is one."""
    found = one(f"{_DOUBTS} AND t.id = ?", study)
    return _as_doubt(found) if found else None


def _as_doubt(row: tuple[Any, ...]) -> Doubt:
    values = list(row)
    values[11] = tuple(sorted(map(int, row[11].split(",")))) if row[11] else ()
    return Doubt(*values)


@dataclass(frozen=True, slots=True)
class Version:
    """One kept version of an instance, among those of the same site; `study` is the row of the one that it is in."""

    id: int
    sop_instance_uid: str
    version: int
    kind: str
    current: bool
    undecided: bool
    study: int
    series: int
    file: str
    sha256: str
    size: int
    transfer_syntax_uid: str
    is_sound: bool
    """Whether its file is kept, and no damage to it is known."""
    origin: Origin


_VERSIONS = """SELECT i.id, i.sop_instance_uid, i.version, i.kind, i.current, i.undecided, s.study, i.series, i.file,
    i.sha256, i.size, i.transfer_syntax_uid, i.evicted_at IS NULL AND i.damage = '',
    i.partner, i.site, i.received_at, i.calling_ae_title, i.called_ae_title
    FROM instances i JOIN series s ON s.id = i.series WHERE i.kind != 'foreign' AND i.sop_instance_uid"""


def of_instance(sop_instance_uid: str) -> list[Version]:
    """Every version of an instance, whoever has sent it, in the order of arrival; copies in others' studies apart."""
    return [_as_version(row) for row in rows(f"{_VERSIONS} = ? ORDER BY i.version", sop_instance_uid)]


def of_study(study: int, site: str) -> list[Version]:
    """Every version of the instances of a study of which its site has sent more than one, in the order of arrival.

    What is undecided is listed even where it is the only one.
    """
    several = (
        "SELECT j.sop_instance_uid FROM series o JOIN instances j ON j.series = o.id WHERE o.study = ? AND j.site = ?"
        " AND (j.undecided OR EXISTS (SELECT 1 FROM instances k WHERE k.sop_instance_uid = j.sop_instance_uid"
        " AND k.site = j.site AND k.id != j.id))"
    )
    found = rows(f"{_VERSIONS} IN ({several}) AND i.site = ? ORDER BY i.version, i.id", study, site, site)
    return [_as_version(row) for row in found]


def _as_version(row: tuple[Any, ...]) -> Version:
    values = [*row[:4], bool(row[4]), bool(row[5]), *row[6:12], bool(row[12]), Origin(*row[13:])]
    return Version(*values)


# -- what a person has decided ---------------------------------------------------------------------------------


def choose(chosen: Version) -> None:
    """Make one version the current one of its site; nothing about the instance is undecided any more."""
    execute(
        "UPDATE instances SET current = id = ?, undecided = 0 WHERE sop_instance_uid = ? AND site = ?",
        *(chosen.id, chosen.sop_instance_uid, chosen.origin.site),
    )


def reject(undecided: Version) -> None:
    """A version that was undecided is kept, and never sent."""
    execute("UPDATE instances SET undecided = 0 WHERE id = ?", undecided.id)


def supersede(chosen: Version, reason: str, now: int) -> list[tuple[int, str]]:
    """Skip what waits of the versions that are not current; (referral, partner) of the study that had or awaited one.

    What is on its way at this moment is skipped when it comes back unsent.
    """
    others = "SELECT id FROM instances WHERE sop_instance_uid = ? AND site = ? AND id != ?"
    key = chosen.sop_instance_uid, chosen.origin.site, chosen.id
    had = rows(
        "SELECT DISTINCT t.referral, t.partner FROM transfers t JOIN referrals r ON r.id = t.referral"
        f" WHERE r.study = ? AND t.state NOT IN ('dropped', 'skipped') AND t.instance IN ({others})",
        *(chosen.study, *key),
    )
    execute(
        "UPDATE transfers SET state = 'skipped', hold = '', reason = ?, finished_at = ?"
        f" WHERE state IN ('queued', 'held') AND instance IN ({others})",
        *(reason, now, *key),
    )
    return had


def held(chosen: Version) -> list[tuple[str, str]]:
    """(partner, reason) of what a person holds of the other versions of an instance."""
    return rows(
        "SELECT t.partner, t.reason FROM instances i JOIN transfers t ON t.instance = i.id WHERE i.sop_instance_uid = ?"
        " AND i.site = ? AND i.id != ? AND t.state = 'held' AND t.hold = 'person'",
        *(chosen.sop_instance_uid, chosen.origin.site, chosen.id),
    )


def hold(chosen: Version, partner: str, reason: str) -> None:
    """What a person holds, it holds in whichever version."""
    found = rows(
        "SELECT id FROM transfers WHERE instance = ? AND partner = ? AND state = 'queued'", chosen.id, partner
    )
    queue.hold([transfer for (transfer,) in found], reason)


def lead_again(chosen: Version, partner: str, now: int) -> bool:
    """Queue a version again that a partner had before it got another one; whether that was so."""
    found = rows(
        "SELECT t.id FROM transfers t WHERE t.instance = ? AND t.partner = ? AND t.state = 'delivered' AND EXISTS ("
        " SELECT 1 FROM instances i JOIN transfers o ON o.instance = i.id AND o.partner = t.partner"
        " WHERE i.sop_instance_uid = ? AND i.id != t.instance"
        " AND (o.state = 'active' OR (o.state = 'delivered' AND o.finished_at >= t.finished_at)))",
        *(chosen.id, partner, chosen.sop_instance_uid),
    )
    return bool(queue.lacks([transfer for (transfer,) in found], now))


def end(study: int) -> bool:
    """Nothing is in doubt about a study any more, unless a version is undecided; whether that is so.

    What a person keeps here stays in quarantine (`releases.keep`).
    """
    kept = "ifnull((SELECT reason FROM allowed WHERE study = t.id AND digest = ''), '')"
    return bool(
        execute(
            f"UPDATE studies AS t SET quarantine = {kept}, correction = '', identity = '', remark = '' WHERE id = ?"
            f" AND NOT EXISTS (SELECT 1 {_UNDECIDED})",
            study,
        )
    )
