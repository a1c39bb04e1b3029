"""What persons have said of studies in doubt: what one has let go, and what one proposes that another has to say too.

A study is let go for exactly what was wrong with it, by the digest of that. Under an empty digest stands why a person
keeps one here: that outlives whatever else is decided (`doubts.end`), until a person lets the study go. Called inside
`Database.write`, or `read` where it only looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dicomnode.store.database import execute, one


@dataclass(frozen=True, slots=True)
class Word:
    """What one person wants done about a study, and the digest of what was seen then; `at` in µs."""

    what: str
    digest: str
    who: str
    reason: str
    at: int


def allow(study: int, said: Word) -> None:
    """What is wrong with a study stops it no more."""
    execute(
        "INSERT OR IGNORE INTO allowed (study, digest, who, reason, at) VALUES (?, ?, ?, ?, ?)",
        *(study, said.digest, said.who, said.reason, said.at),
    )


def is_allowed(study: int, digest: str) -> bool:
    """Whether a person has let a study go with exactly this wrong."""
    return one("SELECT 1 FROM allowed WHERE study = ? AND digest = ?", study, digest) is not None


_KEPT = ""


def keep(study: int, said: Word) -> None:
    """Nothing of a study leaves: its reason is what is shown from now on."""
    let_go(study)
    allow(study, replace(said, digest=_KEPT))


def let_go(study: int) -> None:
    """A person keeps a study here no more."""
    execute("DELETE FROM allowed WHERE study = ? AND digest = ?", study, _KEPT)


def propose(study: int, said: Word) -> None:
    """Write down what a person wants; it takes the place of what was proposed before."""
    execute(
        "INSERT OR REPLACE INTO proposals (study, what, digest, who, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        *(study, said.what, said.digest, said.who, said.reason, said.at),
    )


def proposed(study: int) -> Word | None:
    """What is proposed."""
    found = one("SELECT what, digest, who, reason, at FROM proposals WHERE study = ?", study)
    return Word(*found) if found else None


def settle(study: int) -> None:
    """Nothing is proposed any more: it is decided."""
    execute("DELETE FROM proposals WHERE study = ?", study)
