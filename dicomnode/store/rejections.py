"""The rejection notes (IHE IOCM) that sources have sent of their own studies: what they say, and what they stop.

A note is kept as any other instance, and is never sent by a route: it would be the source's word to a partner that it
does not know of. Everything that changes something is called inside `Database.write`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from dicomnode.store.database import execute, one, rows


def add(instance: int, studies: Iterable[str], text: str) -> None:
    """Remember an instance as a note, and the studies that it names."""
    for uid in studies:
        execute("INSERT OR IGNORE INTO rejections VALUES (?, ?, ?)", instance, uid, text)


def is_one(instance: int) -> bool:
    """Whether an instance is a rejection note."""
    return one("SELECT 1 FROM rejections WHERE instance = ?", instance) is not None


def of_study(study: int) -> str:
    """What the last note says that the study's own site has sent of it; '' where there is none."""
    found = one(
        "SELECT n.text FROM studies s JOIN rejections n ON n.study_instance_uid = s.study_instance_uid"
        " JOIN instances i ON i.id = n.instance AND i.site = s.site WHERE s.id = ? ORDER BY n.instance DESC LIMIT 1",
        study,
    )
    return str(found[0]) if found else ""


def named(uids: Iterable[str], site: str) -> list[tuple[int, str]]:
    """The studies of a site among these: their numbers and UIDs."""
    return rows(
        "SELECT id, study_instance_uid FROM studies WHERE study_instance_uid IN (SELECT value FROM json_each(?))"
        " AND site = ? ORDER BY id",
        *(json.dumps(list(uids)), site),
    )


def delivered(referral: int, uids: Iterable[str]) -> int:
    """How many of these instances the partner of a referral has got."""
    sql = """SELECT count(*) FROM transfers t JOIN instances i ON i.id = t.instance
        WHERE t.referral = ? AND t.state = 'delivered' AND i.sop_instance_uid IN (SELECT value FROM json_each(?))"""
    return int(one(sql, referral, json.dumps(list(uids)))[0])


def unsent(study: int) -> list[int]:
    """The referrals of a study of which something is still to be sent."""
    found = rows("SELECT id FROM referrals WHERE study = ? AND progress NOT IN ('sent', 'confirmed')", study)
    return [referral for (referral,) in found]
