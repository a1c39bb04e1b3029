"""Configurations that were read, and which of them were in force. Called inside `Database.write` or `read`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dicomnode.store import tables


@dataclass(frozen=True, slots=True)
class Generation:
    """One reading of the configuration: its number, when (µs), SHA-256 of its text, its faults, whether it is used."""

    id: int
    at: int
    digest: str
    faults: str
    accepted: bool


def record(text: str, faults: str, at: int) -> int:
    """Note that a configuration was read; its number. It is in force when it has no faults."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    row = tables.Generation.create(at=at, digest=digest, text=text, faults=faults, accepted=not faults)
    return int(row.id)  # type: ignore[attr-defined]


def latest() -> Generation | None:
    """The last configuration that was read, whether or not it was taken into use."""
    found = tables.latest(tables.Generation.select(), 1)
    return Generation(found[0].id, found[0].at, found[0].digest, found[0].faults, found[0].accepted) if found else None
