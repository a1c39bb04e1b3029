"""When a person is told that a certificate ends: at certain distances before it, and then at its end."""

from __future__ import annotations

_DAY = 86_400_000_000
_STEPS = (1, 7, 14, 30)
"""Days before the end."""


def step(until: int, at: int) -> int | None:
    """The nearest of the distances (days) within which the end is at a time (both µs): 0 past it, None before all."""
    if until <= at:
        return 0
    return next((days for days in _STEPS if until - at <= days * _DAY), None)
