"""What a query returns → SQL values. What is counted is what the caller may see.

Of its own studies a site sees all, and what was summed up of them holds; for anybody else it is counted.
"""

from __future__ import annotations

from typing import Final

from dicomnode.rules.keys import CREATOR, Computed
from dicomnode.store.referrals import STATE
from dicomnode.store.terms import LEVEL_OF, OF_STUDY, TABLE

_OF_PATIENT: Final = (
    "WHERE u.patient_id = t.patient_id"
    " AND u.issuer_of_patient_id = t.issuer_of_patient_id AND OURS(u)"
)
_SEEN_OF_PATIENT: Final = (
    f"FROM studies u JOIN series m ON m.study = u.id JOIN instances c ON c.series = m.id AND SEEN(c) {_OF_PATIENT}"
)


def _states(which: str) -> str:
    """How far the study is on its way to each partner."""
    said = f"SELECT r.partner || ': ' || {STATE} AS said FROM referrals r WHERE r.study = t.id AND {which} ORDER BY 1"
    return f"(SELECT group_concat(said, '\\') FROM ({said}))"


_EITHER: Final = {
    Computed.INSTANCE_AVAILABILITY: "CASE WHEN t.quarantine = '' THEN 'ONLINE' ELSE 'UNAVAILABLE' END",
    Computed.SOP_CLASSES_IN_STUDY: "(SELECT group_concat(uid, '\\') FROM (SELECT DISTINCT c.sop_class_uid AS uid"
    f" {OF_STUDY} ORDER BY 1))",
    Computed.PRIVATE_CREATOR: f"'{CREATOR}'",
}
_SUMMED: Final = _EITHER | {
    Computed.REFERRAL_STATE: _states("1"),
    Computed.MODALITIES_IN_STUDY: "t.modalities",
    Computed.STUDY_SERIES: "t.series",
    Computed.STUDY_INSTANCES: "(SELECT sum(m.instances) FROM series m WHERE m.study = t.id)",
    Computed.SERIES_INSTANCES: "s.instances",
    Computed.PATIENT_STUDIES: f"(SELECT count(*) FROM studies u {_OF_PATIENT} AND u.series > 0)",
    Computed.PATIENT_SERIES: f"(SELECT sum(u.series) FROM studies u {_OF_PATIENT})",
    Computed.PATIENT_INSTANCES: "(SELECT sum(m.instances) FROM studies u JOIN series m ON m.study = u.id"
    f" {_OF_PATIENT})",
}
_COUNTED: Final = _EITHER | {
    Computed.REFERRAL_STATE: _states(
        "r.partner IN (SELECT value FROM json_each((SELECT who FROM caller), '$.partners'))"
    ),
    Computed.MODALITIES_IN_STUDY: "(SELECT group_concat(modality, '\\') FROM (SELECT DISTINCT m.modality"
    f" {OF_STUDY} AND m.modality != '' ORDER BY 1))",
    Computed.STUDY_SERIES: f"(SELECT count(DISTINCT m.id) {OF_STUDY})",
    Computed.STUDY_INSTANCES: f"(SELECT count(*) {OF_STUDY})",
    Computed.SERIES_INSTANCES: "(SELECT count(*) FROM instances c WHERE c.series = s.id AND SEEN(c))",
    Computed.PATIENT_STUDIES: f"(SELECT count(DISTINCT u.id) {_SEEN_OF_PATIENT})",
    Computed.PATIENT_SERIES: f"(SELECT count(DISTINCT m.id) {_SEEN_OF_PATIENT})",
    Computed.PATIENT_INSTANCES: f"(SELECT count(*) {_SEEN_OF_PATIENT})",
}


def column(name: str, *, own: bool) -> str:
    """The SQL of one value, as text; '' where it is unknown. `own`: the caller sees all of its studies."""
    try:
        computed = Computed(name)
    except ValueError:
        return f"{TABLE[LEVEL_OF[name]]}.{name}"
    return f"coalesce(CAST({(_SUMMED if own else _COUNTED)[computed]} AS TEXT), '')"
