"""Whose study it is, side by side: what its images say, what the referral in advance says, and what is wrong with that.

Patients are masked unless they are asked for; which attributes do not agree is said all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.cli import output
from dicomnode.dicom.instance import ATTRIBUTES
from dicomnode.operations import vet
from dicomnode.operations.ports import Node
from dicomnode.rules import identity
from dicomnode.rules.identity import Patient, Verdict
from dicomnode.store import patients, releases
from dicomnode.store.index import Study

_KEYWORDS = {each.column: each.keyword for each in ATTRIBUTES if each.column in patients.COLUMNS}


@dataclass(frozen=True, slots=True)
class Sides:
    """What there is to compare of one study: each patient that is named, by whom; and the verdict on them."""

    study: Study
    named: dict[str, tuple[Patient, int, str]]
    """Who names a patient → the patient, in how many instances (0: a referral), and the first of them."""
    verdict: Verdict
    is_allowed: bool
    """Whether a person has let it go for all that."""


def of(study: Study, node: Node) -> Sides | None:
    """What is wrong with whose study it is, and by what that is seen; None: nothing is. Inside `Database.read`."""
    seen = vet.seen(study.id, node)
    verdict = identity.judge(seen, node.config)
    if verdict.stop is None:
        return None
    named = {_images(each, at): (each.patient, each.instances, each.sop_instance_uid) for at, each in _named(study)}
    if seen.referral:
        named[f"referral {seen.number}"] = (seen.referral, 0, "")
    return Sides(study, named, verdict, releases.is_allowed(study.id, verdict.digest))


def _named(study: Study) -> list[tuple[int, patients.Named]]:
    return list(enumerate(patients.named(study.id), 1))


def _images(each: patients.Named, at: int) -> str:
    return f"patient {at} ({output.count(each.instances, 'instance')})"


def row(sides: Sides, phi: bool) -> output.Row:
    """The sides as `--json` has them."""
    verdict = sides.verdict
    return {
        "study": sides.study.id,
        "study_instance_uid": sides.study.study_instance_uid,
        "identity": {
            "state": "released" if sides.is_allowed else str(verdict.stop),
            "reason": verdict.reason,
            "findings": [{"attribute": f.keyword, "state": str(f.stop), "text": f.text} for f in verdict.findings],
            "patients": [
                {"named_by": by, "instances": count or None, "sop_instance_uid": uid, **_values(patient, phi)}
                for by, (patient, count, uid) in sides.named.items()
            ],
        },
    }


def _values(patient: Patient, phi: bool) -> dict[str, str]:
    return output.masked({column: getattr(patient, column) for column in _KEYWORDS}, phi)


def show(sides: Sides, phi: bool) -> None:
    """Print the sides as a table, with what is wrong in each line."""
    wrong = {keyword: _wrong(keyword, sides.verdict) for keyword in _KEYWORDS.values()}
    seen = {by: _values(patient, phi) for by, (patient, _, _) in sides.named.items()}
    rows = [
        {"": keyword, **{by: values[column] for by, values in seen.items()}, "why": wrong[keyword]}
        for column, keyword in _KEYWORDS.items()
    ]
    output.show(rows, as_json=False, columns=["", *seen, "why"], empty="")
    for by, (_, _, uid) in sides.named.items():
        if uid:
            print(f"{by}: {uid}")


def _wrong(keyword: str, verdict: Verdict) -> str:
    return "; ".join(finding.text for finding in verdict.findings if finding.keyword == keyword)
