"""The story of the public record: what was exchanged in a period, told so that nobody can be known from it.

A referral counts in the month in which it opened, by the clock of its site. Where a study is of several modalities they
count together, without what only speaks of images (SR, PR, KO …).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from dicomnode.errors import UsageError
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import figures as rules
from dicomnode.rules.figures import Exchange, Report
from dicomnode.store import figures, referrals
from dicomnode.store.figures import Told
from dicomnode.store.referrals import Referral

_DAY = 86_400_000_000
_SPEAKING = frozenset({"SR", "PR", "KO", "DOC", "SEG", "AU", "REG", "FID"})


def report(first: date, last: date, node: Node) -> Report:
    """What was exchanged from one day to another, both within. UsageError: there is no such period."""
    if first > last:
        raise UsageError(f"{first} is after {last}: a period begins before it ends")
    since = round(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() * 1e6)
    days = (last - first).days + 1
    with node.database.read():
        told = figures.told(since - _DAY, since + (days + 1) * _DAY)  # a day of a site may begin half a day before ours
    return rules.report(list(_within(told, first, last, node)))


def _within(told: Sequence[Told], first: date, last: date, node: Node) -> Iterator[Exchange]:
    for each in told:
        zone = _zone(each.site, node)
        opened = datetime.fromtimestamp(each.opened_at / 1e6, zone)
        if first <= opened.date() <= last:
            yield _exchange(each, opened, zone)


def _zone(site: str, node: Node) -> tzinfo | None:
    """The time zone of a site; None: that of this machine."""
    known = node.config.sites.get(site)
    return ZoneInfo(known.timezone) if known and known.timezone else None


def _exchange(told: Told, opened: datetime, zone: tzinfo | None) -> Exchange:
    return Exchange(
        month=f"{opened:%Y-%m}",
        site=told.site,
        modality=_modality(told.modalities),
        electronic=bool(told.delivered),
        media=bool(told.on_media),
        confirmed=bool(told.confirmed),
        quarantined=bool(told.quarantined),
        took=_took(told, zone),
        failure=told.why,
    )


def _modality(modalities: str) -> str:
    known = set(modalities.split("\\")) - {""}
    return "+".join(sorted(known - _SPEAKING or known)) or "unknown"


def _took(told: Told, zone: tzinfo | None) -> float | None:
    """Seconds from the acquisition, as the study has it, to the confirmation; None where either is not known."""
    if told.confirmed_at is None or not told.confirmed:
        return None
    try:
        acquired = datetime.strptime(told.study_date + told.study_time[:6].ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    begun = acquired.replace(tzinfo=zone) if zone else acquired.astimezone()
    took = datetime.fromtimestamp(told.confirmed_at / 1e6, UTC) - begun
    return took.total_seconds() if took > timedelta(0) else None


def issue(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Referral]:
    """Write down that the studies of these referrals were handed over on media. UsageError for an unknown id."""
    refer.check_reason(reason)
    at = node.clock()

    def issued(referral: int) -> Referral | None:
        refer.record(referral, figures.ON_MEDIA, f"by {who}: {reason}", at, node, who=who)
        return referrals.get(referral)

    return refer.each(ids, issued, node)
