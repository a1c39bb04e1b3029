"""How long a test waits for what must come: long enough for a machine that is busy with everything else.

Whoever waits for an event loses nothing by patience: it ends with the event. Only a test that fails takes longer.
"""

from __future__ import annotations

PATIENCE = 4
"""How much slower than a quiet machine of two cores one may be."""


def patient(seconds: float) -> float:
    """The time to give what takes at most `seconds` on a quiet machine."""
    return PATIENCE * seconds
