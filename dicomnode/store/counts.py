"""What there is of a series and of a study: kept by triggers, and counted again where rows were moved about.

In the index: `series.instances` (current and not evicted), and of those series that have any `studies.series` and
`studies.modalities`. Called inside `Database.write`, or while an index is made.
"""

from __future__ import annotations

from dicomnode.store.database import execute
from dicomnode.store.migrations.m0004_query import COUNT_SERIES, COUNT_STUDIES


def count() -> None:
    """Count everything anew. Reads all instances."""
    execute(COUNT_SERIES)
    execute(COUNT_STUDIES)
