"""What each kind of event of ours is in the terms of PS3.15 A.5.3: its Event ID, its type, what was done, how it ended.

Every kind that is written anywhere has its line here. One that has none (an older or a newer version wrote it) is an
activity of this application. Never fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Code:
    """A code of the DICOM terminology (PS3.16 D): its value and meaning."""

    value: str
    meaning: str


class Way(StrEnum):
    """Where instances or a question go: from the partner to us, from us to it, or nowhere."""

    IN = "in"
    OUT = "out"
    NONE = ""


# Audit Event ID (PS3.16 CID 400)
APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
ACCESSED = Code("110103", "DICOM Instances Accessed")
TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
EXPORT = Code("110106", "Export")
IMPORT = Code("110107", "Import")
ORDER_RECORD = Code("110109", "Order Record")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

# Audit Event Type and Security Alert Type (CID 401, 403)
START = Code("110120", "Application Start")
STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
NETWORK_CONFIGURATION = Code("110128", "Network Configuration")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
RECORDING_STARTED = Code("110134", "Audit Recording Started")

MINOR, SERIOUS = 4, 8
"""How badly something failed (A.5.2); 0 where it did not."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of event is. `action`: Create, Read, Update, Delete or Execute; `outcome`, where it says no other."""

    event: Code
    action: str = "E"
    type: Code | None = None
    outcome: int = 0
    way: Way = Way.NONE


def _alert(type: Code, outcome: int) -> Meaning:
    return Meaning(SECURITY_ALERT, "E", type, outcome)


_OTHER = Meaning(APPLICATION_ACTIVITY)
_FAILING, _FAILED = Meaning(APPLICATION_ACTIVITY, outcome=MINOR), Meaning(APPLICATION_ACTIVITY, outcome=SERIOUS)
_SENT, _UNSENT = (Meaning(TRANSFERRED, "R", outcome=outcome, way=Way.OUT) for outcome in (0, SERIOUS))
_BEGUN = Meaning(BEGIN_TRANSFERRING, "E", way=Way.OUT)
_NEW_VERSION = Meaning(TRANSFERRED, "C", outcome=MINOR, way=Way.IN)
_CHANGED = Meaning(ORDER_RECORD, "U")
_STOPPED = Meaning(ORDER_RECORD, "U", outcome=MINOR)
_DECIDED = Meaning(ACCESSED, "U")

MEANINGS: dict[str, Meaning] = {
    # the node
    "node started": Meaning(APPLICATION_ACTIVITY, "E", START),
    "node stopped": Meaning(APPLICATION_ACTIVITY, "E", STOP),
    "disk has room": _OTHER,
    "disk low": _FAILING,
    "disk full": _FAILED,
    "disk failed": _FAILED,
    "file damaged": _FAILED,
    "index rebuilt": _FAILING,
    "consent forgotten": _FAILING,
    # the audit trail
    "audit trail read": Meaning(AUDIT_LOG_USED, "R"),
    "audit trail verified": Meaning(AUDIT_LOG_USED, "R"),
    "audit sending stopped": _alert(RECORDING_STOPPED, SERIOUS),
    "audit sending resumed": _alert(RECORDING_STARTED, 0),
    # who calls, and what they may not
    "association refused": _alert(NODE_AUTHENTICATION, MINOR),
    "certificate refused": _alert(NODE_AUTHENTICATION, SERIOUS),
    "user refused": Meaning(USER_AUTHENTICATION, "E", LOGIN, SERIOUS),
    "storage refused": _alert(RESTRICTED_FUNCTION, SERIOUS),
    "move destination refused": _alert(RESTRICTED_FUNCTION, SERIOUS),
    "commitment result refused": _alert(RESTRICTED_FUNCTION, SERIOUS),
    # the configuration
    "configuration in force": _alert(NETWORK_CONFIGURATION, 0),
    "configuration refused": _alert(NETWORK_CONFIGURATION, MINOR),
    "certificate files renewed": _alert(SECURITY_CONFIGURATION, 0),
    "certificate files refused": _alert(SECURITY_CONFIGURATION, SERIOUS),
    "certificate ends": _alert(SECURITY_CONFIGURATION, MINOR),
    # what came
    "instances received": Meaning(TRANSFERRED, "C", way=Way.IN),
    "instances received again": Meaning(TRANSFERRED, "R", way=Way.IN),
    "instances refused": Meaning(TRANSFERRED, "C", outcome=SERIOUS, way=Way.IN),
    "correction kept": _NEW_VERSION,
    "conflict kept": _NEW_VERSION,
    "foreign kept": _NEW_VERSION,
    "rejection note refused": Meaning(TRANSFERRED, "C", outcome=SERIOUS, way=Way.IN),
    "imported by hand": Meaning(IMPORT, "C", way=Way.IN),
    # what was asked
    "query answered": Meaning(QUERY, "E", way=Way.IN),
    "query asked by hand": Meaning(QUERY, "E", way=Way.OUT),
    # what goes
    "sending begins": _BEGUN,
    "study moved": _BEGUN,
    "study fetched": _BEGUN,
    "study retrieved": _BEGUN,
    "instances sent": _SENT,
    "instance sent": _SENT,
    "instances not sent": _UNSENT,
    "instances not retrieved": _UNSENT,
    "instances withheld": _UNSENT,
    "moved by hand": Meaning(BEGIN_TRANSFERRING, "E", way=Way.NONE),
    "fetched by hand": Meaning(BEGIN_TRANSFERRING, "E", way=Way.IN),
    "sent by hand": Meaning(EXPORT, "R", way=Way.OUT),
    "issued on media": Meaning(EXPORT, "R"),
    "study evicted": Meaning(STUDY_DELETED, "D"),
    # referrals
    "referral opened": Meaning(ORDER_RECORD, "C"),
    **dict.fromkeys(
        (
            *("referral joined", "referral complete", "referral sent", "referral sent again", "referral confirmed"),
            *("referral released", "referral recalled", "proof asked again", "study sent again"),
            *("lacking instances sent again", "lane changed", "queue changed"),
            *("consent given", "consent known", "recall begun", "recall note sent", "recall letter written"),
            *("recall acknowledged", "late instances kept", "referral passed on", "study matched"),
            *("expected referral changed", "expected referral cancelled"),
        ),
        _CHANGED,
    ),
    **dict.fromkeys(
        (
            *("referral held", "referral quarantined", "referral withdrawn", "referral recalling", "referral failed"),
            *("lacking instances held", "transfers held", "transfers given up", "commitment overdue"),
            *("consent wanted", "consent withdrawn", "recall note held", "sent instances rejected"),
        ),
        _STOPPED,
    ),
    "referrals expected": Meaning(ORDER_RECORD, "C"),
    # partners
    "worklist not read": _FAILING,
    "expected study fetched": Meaning(TRANSFERRED, "C", way=Way.IN),
    "expected study not fetched": Meaning(TRANSFERRED, "C", outcome=MINOR, way=Way.IN),
    "lane paused": _FAILING,
    "partner rejects us": _FAILED,
    "commitment not reported": _FAILING,
    # a study in doubt, and a person's decision on it
    "study held": Meaning(ACCESSED, "U", outcome=MINOR),
    "study quarantined": Meaning(ACCESSED, "U", outcome=MINOR),
    "quarantine decision proposed": _DECIDED,
    "quarantine released": _DECIDED,
    "quarantine rejected": _DECIDED,
}


def meaning(kind: str) -> Meaning:
    """What a kind of event is."""
    return MEANINGS.get(kind, _OTHER)
