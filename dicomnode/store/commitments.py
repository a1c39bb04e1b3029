"""Storage Commitment that sources asked us for: what they asked, what we found, and whether they know it.

    taken ──judge──▶ judged ──partner took the report──▶ reported        taken|judged ──a day has passed──▶ abandoned

Rows with a referral are the other way round, what we asked partners for: store/transactions.py has those. All functions
are called inside `Database.write` or `read`; times in µs. What was committed to stays in instances.committed_at; the
references of a transaction go when its partner knows the result, and the transaction itself a month later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.store.database import execute, insert, one, rows

_REMEMBERED = 30 * 86_400_000_000


class State(StrEnum):
    """How far we are with a transaction."""

    TAKEN = "taken"
    JUDGED = "judged"
    REPORTED = "reported"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Commitment:
    """One transaction of a source. `is_ours`: no, it is one of ours with that partner (and its state is another's)."""

    id: int
    transaction_uid: str
    partner: str
    state: str
    asked_at: int
    attempts: int
    is_ours: bool

    @property
    def is_open(self) -> bool:
        """Whether its partner does not know the result yet."""
        return self.state in (State.TAKEN, State.JUDGED)


_SELECT = "SELECT id, transaction_uid, partner, state, asked_at, attempts, referral IS NOT NULL FROM commitments"
_OPEN = "partner = ? AND state IN ('taken', 'judged') AND referral IS NULL"


def find(partner: str, transaction_uid: str) -> Commitment | None:
    """A partner's transaction by its UID."""
    found = one(f"{_SELECT} WHERE transaction_uid = ? AND partner = ?", transaction_uid, partner)
    return Commitment(*found) if found else None


def get(commitment: int) -> Commitment:
    """A transaction by its number."""
    return Commitment(*one(f"{_SELECT} WHERE id = ?", commitment))


def count_open(partner: str) -> int:
    """How many transactions of a partner it does not know the result of."""
    return int(one(f"SELECT count(*) FROM commitments WHERE {_OPEN}", partner)[0])


def due(partner: str, now: int) -> int | None:
    """When the next result is to be told to a partner; None where there is none."""
    found = one(f"SELECT min(due_at) FROM commitments WHERE {_OPEN}", partner)[0]
    return None if found is None else max(found, now)


def next_due(partner: str, now: int) -> Commitment | None:
    """The transaction whose result is to be told to a partner now."""
    found = one(f"{_SELECT} WHERE {_OPEN} AND due_at <= ? ORDER BY due_at LIMIT 1", partner, now)
    return Commitment(*found) if found else None


def references(commitment: int) -> list[tuple[str, str, int | None]]:
    """SOP class, SOP instance and Failure Reason (None: no failure) of each that was asked for."""
    return rows(
        "SELECT sop_class_uid, sop_instance_uid, failure FROM commitment_instances WHERE commitment = ?", commitment
    )


def take(partner: str, transaction_uid: str, asked: Iterable[tuple[str, str]], at: int, due_at: int) -> int:
    """Write down a request, (SOP class, SOP instance) each; one of this UID that is over begins anew."""
    known = find(partner, transaction_uid)
    if known:
        execute("DELETE FROM commitment_instances WHERE commitment = ?", known.id)
        execute("DELETE FROM commitments WHERE id = ?", known.id)
    made = insert(
        "INSERT INTO commitments (transaction_uid, partner, state, asked_at, due_at) VALUES (?, ?, 'taken', ?, ?)",
        *(transaction_uid, partner, at, due_at),
    )
    for sop_class, sop_instance in asked:
        execute("INSERT INTO commitment_instances VALUES (?, ?, ?, NULL)", made, sop_class, sop_instance)
    return made


def retake(commitment: int, due_at: int) -> None:
    """It was asked for once more before the result was known: it is looked at once more."""
    execute("UPDATE commitments SET state = 'taken', due_at = ? WHERE id = ?", due_at, commitment)


def commit(instances: Sequence[int], at: int) -> bool:
    """Commit to the files of these rows. False: one is not there any more, or damaged; nothing was changed then."""
    lost = "SELECT evicted_at IS NOT NULL OR damage != '' FROM instances WHERE id = ?"
    if any(one(lost, each)[0] for each in instances):
        return False
    for each in instances:
        execute("UPDATE instances SET committed_at = coalesce(committed_at, ?) WHERE id = ?", at, each)
        execute(
            "UPDATE referrals SET promised = 1 WHERE NOT promised AND study ="
            " (SELECT s.study FROM instances i JOIN series s ON s.id = i.series WHERE i.id = ?)",
            each,
        )
    return True


def judged(commitment: int, failures: Mapping[str, int], due_at: int) -> None:
    """Write down the result: SOP instance → Failure Reason; all others are committed to."""
    execute("UPDATE commitment_instances SET failure = NULL WHERE commitment = ? AND failure NOT NULL", commitment)
    for sop_instance, reason in failures.items():
        execute(
            "UPDATE commitment_instances SET failure = ? WHERE commitment = ? AND sop_instance_uid = ?",
            *(reason, commitment, sop_instance),
        )
    execute("UPDATE commitments SET state = 'judged', due_at = ? WHERE id = ?", due_at, commitment)


def stands(commitment: int, site: str) -> bool:
    """Whether all that was committed to is kept and undamaged, and none of it has come in another version since."""
    sql = """SELECT 1 FROM commitment_instances c JOIN instances i ON i.sop_instance_uid = c.sop_instance_uid
        WHERE c.commitment = ? AND i.site = ? AND c.failure IS NULL
        AND (i.damage != '' OR (i.evicted_at IS NULL) = (i.committed_at IS NULL)) LIMIT 1"""
    return one(sql, commitment, site) is None


def postpone(commitment: int, due_at: int, reason: str) -> None:
    """The partner could not be told: again later."""
    execute(
        "UPDATE commitments SET due_at = ?, reason = ?, attempts = attempts + 1 WHERE id = ?",
        *(due_at, reason, commitment),
    )


def hasten(commitment: int, due_at: int) -> None:
    """The result is to be told on an association that we open."""
    execute("UPDATE commitments SET due_at = ? WHERE id = ? AND state IN ('taken', 'judged')", due_at, commitment)


def is_ahead(partner: str, furthest: int) -> bool:
    """Whether a result is to be told to a partner later than any can be."""
    return one(f"SELECT 1 FROM commitments WHERE {_OPEN} AND due_at > ? LIMIT 1", partner, furthest) is not None


def set_back(partner: str, furthest: int, now: int) -> int:
    """What is to be told later than any can be was written by a clock that was ahead: it is asked for now; how many."""
    sql = f"UPDATE commitments SET due_at = ?, asked_at = min(asked_at, ?) WHERE {_OPEN} AND due_at > ?"
    return execute(sql, now, now, partner, furthest)


def end(commitment: int, state: State, at: int, reason: str = "") -> None:
    """The partner knows the result, or will not be told any more; old ones of this partner are forgotten."""
    execute(
        "UPDATE commitments SET state = ?, ended_at = ?, due_at = ?, reason = ? WHERE id = ?",
        *(state, at, at, reason, commitment),
    )
    execute("DELETE FROM commitment_instances WHERE commitment = ?", commitment)
    execute(
        "DELETE FROM commitments WHERE partner = (SELECT partner FROM commitments WHERE id = ?)"
        " AND state IN ('reported', 'abandoned') AND due_at < ? AND referral IS NULL",
        *(commitment, at - _REMEMBERED),
    )
