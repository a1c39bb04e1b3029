"""What there is of a series and of a study: kept by triggers, and counted again where rows were moved about.

In the index: `series.instances` (current and not evicted), and of those series that have any `studies.series` and
`studies.modalities`. Called inside `Database.write`, or while an index is made.
"""

from __future__ import annotations

from dicomnode.store.database import execute

_SERIES = """UPDATE series SET instances =
    (SELECT count(*) FROM instances i WHERE i.series = series.id AND i.current AND i.evicted_at IS NULL)"""
_STUDIES = """UPDATE studies SET
    series = (SELECT count(*) FROM series m WHERE m.study = studies.id AND m.instances > 0),
    modalities = coalesce((SELECT group_concat(modality, '\\') FROM (SELECT DISTINCT m.modality FROM series m
        WHERE m.study = studies.id AND m.instances > 0 AND m.modality != '' ORDER BY 1)), '')"""


def count() -> None:
    """Count everything anew. Reads all instances."""
    execute(_SERIES)
    execute(_STUDIES)
