"""Configurations that were read, and which of them were in force. Called inside `Database.write` or `read`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dicomnode.store import tables


@dataclass(frozen=True, slots=True)
class Generation:
    """One reading of the configuration: its number, when (µs), SHA-256 of its text, its faults, whether it is used."""

    id: int
    at: int
    digest: str
    faults: str
    accepted: bool
    text: str


def record(text: str, faults: str, at: int) -> int:
    """Note that a configuration was read; its number. It is in force when it has no faults."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    row = tables.Generation.create(at=at, digest=digest, text=text, faults=faults, accepted=not faults)
    return int(row.id)  # type: ignore[attr-defined]


def latest() -> Generation | None:
    """The last configuration that was read, whether or not it was taken into use."""
    return _newest(tables.Generation.select())


def in_force() -> Generation | None:
    """The last configuration that was taken into use."""
    return _newest(tables.Generation.select().where(tables.Generation.accepted))


def _newest(query: Any) -> Generation | None:
    found = tables.latest(query, 1)
    return Generation(*(getattr(found[0], name) for name in Generation.__slots__)) if found else None
