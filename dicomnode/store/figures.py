"""What became of each referral of a period, without anything that tells whose it was. Called inside `Database.read`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicomnode.store.database import rows
from dicomnode.store.referrals import STATE

ON_MEDIA: Final = "issued on media"
"""The kind of the audit event that says that a study was handed over on a disc."""


@dataclass(frozen=True, slots=True)
class Told:
    """One referral: times in µs, date and time of its study as they were sent; `why` where it is not at its partner."""

    opened_at: int
    confirmed_at: int | None
    site: str
    modalities: str
    study_date: str
    study_time: str
    delivered: bool
    on_media: bool
    confirmed: bool
    quarantined: bool
    """Whether it ever was."""
    why: str


_SENT = "EXISTS (SELECT 1 FROM transfers x WHERE x.referral = r.id AND x.state = 'delivered')"
_HAPPENED = "EXISTS (SELECT 1 FROM events e WHERE e.referral = r.id AND e.kind = '{0}')"
_REFUSED = """(SELECT
    iif(x.last_status > 0, printf('refused by the partner (%04XH)', x.last_status), 'could not be sent')
    FROM transfers x
    WHERE x.referral = r.id AND x.state IN ('held', 'dropped') ORDER BY x.id LIMIT 1)"""
_WHY = f"""CASE r.gate WHEN 'quarantined' THEN 'in quarantine' WHEN 'held' THEN CASE
        WHEN r.hold != '' THEN 'held by a person' WHEN s.correction != '' THEN 'a correction is to be decided on'
        WHEN s.identity != '' THEN 'a person has to look at the patient'
        WHEN r.unreferred != '' THEN 'no referral in advance' WHEN r.unconsented != '' THEN 'no consent'
        ELSE 'its partner is not configured' END
    WHEN 'open' THEN iif({STATE} = 'failed', {_REFUSED}, '') ELSE r.gate END"""
_TOLD = f"""SELECT r.opened_at, r.confirmed_at, s.site, s.modalities, s.study_date, s.study_time, {_SENT},
    {_HAPPENED.format(ON_MEDIA)}, r.progress = 'confirmed', {_HAPPENED.format("referral quarantined")}, {_WHY}
    FROM referrals r JOIN studies s ON s.id = r.study WHERE r.opened_at >= ? AND r.opened_at < ? ORDER BY r.id"""


def told(since: int, until: int) -> list[Told]:
    """The referrals that were opened in a period (µs), the first of it within."""
    return [Told(*row) for row in rows(_TOLD, since, until)]
