"""What can go wrong, in one tree.

An error is raised where it is known and answered in one place (net/handlers.py for the wire, cli/ for a person).
Each class knows the DIMSE status that tells a peer the truth about it (PS3.7 C, PS3.4 B.2.3, C.4) and whether
trying again later can help. An error's text is for a person: it names the attribute or the file, never a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class DicomnodeError(Exception):
    """The root. Its status is what a peer is told: 0110H, processing failure, unless a class knows better."""

    status: ClassVar[int] = 0x0110
    temporary: ClassVar[bool] = False


# -- what is wrong with an instance ----------------------------------------------------------------------------


class InstanceError(DicomnodeError):
    """An instance that is not taken into custody."""


class Unreadable(InstanceError):
    """The dataset cannot be walked to its end: truncated, not DICOM, or over a cap (PS3.4 B.2.3)."""

    status = 0xC000


class Mismatch(InstanceError):
    """Dataset and command disagree about SOP Class or SOP Instance UID (PS3.4 B.2.3)."""

    status = 0xA900


class MalformedUID(InstanceError):
    """A UID that is no UID: over 64 characters, or other than digits and single dots (PS3.5 9.1)."""

    status = 0x0117


class ClassNotSupported(InstanceError):
    """The SOP class does not belong to the presentation context (PS3.7 C.5.6)."""

    status = 0x0122


class NotAllowed(DicomnodeError):
    """The caller may not do this (PS3.7 C.5)."""

    status = 0x0124


class OutOfResources(DicomnodeError):
    """Disk full, index locked, busy: the sender should try again later."""

    status = 0xA700
    temporary = True


class Unfinished(OutOfResources):
    """The disk failed under a commit: whether it was made is known when the index is opened the next time."""


class IndexDamaged(OutOfResources):
    """The index cannot be trusted any more: nothing is taken until it was rebuilt."""

    ADVICE: ClassVar[str] = "stop the node and run `dicomnode reindex`"

    def __init__(self, text: str = f"the index is damaged: {ADVICE}") -> None:
        super().__init__(text)


# -- query and retrieve ----------------------------------------------------------------------------------------


class BadIdentifier(DicomnodeError):
    """The Identifier does not fit the information model (PS3.4 C.4.1.1.4)."""

    status = 0xA900


class UnknownDestination(DicomnodeError):
    """The move destination is unknown, or not for this caller: told apart in the audit, not on the wire."""

    status = 0xA801


class GateClosed(NotAllowed):
    """A referral's gate is closed on a study that the caller may see."""


# -- Storage Commitment ----------------------------------------------------------------------------------------


class NoSuchInstance(DicomnodeError):
    """A SOP instance that is not there, the well-known one of a service among them (PS3.7 C.5.7)."""

    status = 0x0112


class NoSuchEventType(DicomnodeError):
    """An N-EVENT-REPORT of a type that the SOP class does not have (PS3.7 C.5.9)."""

    status = 0x0113


class InvalidArgument(DicomnodeError):
    """What an N-ACTION or N-EVENT-REPORT says cannot be read, or contradicts itself (PS3.7 C.5.10)."""

    status = 0x0115


class UnknownTransaction(InvalidArgument):
    """A commitment result that answers nothing we asked of this partner, or not for exactly the instances we named."""


class NoSuchClass(DicomnodeError):
    """A SOP class that does not exist here (PS3.7 C.5.8)."""

    status = 0x0118


class MissingAttribute(DicomnodeError):
    """A required attribute is absent (PS3.7 C.5.15)."""

    status = 0x0120


class MissingValue(DicomnodeError):
    """A required attribute has no value (PS3.7 C.5.16)."""

    status = 0x0121


class NoSuchAction(DicomnodeError):
    """An N-ACTION of a type that the SOP class does not have (PS3.7 C.5.11)."""

    status = 0x0123


class DuplicateTransaction(DicomnodeError):
    """A Transaction UID that is in use for other instances (PS3.3 C.14.1.1)."""

    status = 0x0131


class ResourceLimitation(DicomnodeError):
    """More than is taken at once: fewer, or later (PS3.7 C.5.18)."""

    status = 0x0213
    temporary = True


# -- a partner -------------------------------------------------------------------------------------------------


class PartnerError(DicomnodeError):
    """An exchange with a partner failed before a status was received. `reason` is what a person reads."""

    status = 0xA702
    temporary = True


class Unreachable(PartnerError):
    """No TCP connection, no TLS, or nobody who speaks DICOM there."""


class Rejected(PartnerError):
    """A-ASSOCIATE-RJ: the partner answered, and said no (PS3.8 9.3.4)."""


class RejectedForGood(Rejected):
    """A-ASSOCIATE-RJ with the result rejected-permanent: it will say so until somebody configures something."""

    temporary = False


class AssociationLost(PartnerError):
    """Aborted, closed or silent in the middle: what was not answered is of unknown outcome."""


class ContextMissing(PartnerError):
    """The partner accepted no presentation context for this SOP class and transfer syntax."""

    temporary = False


class NotCoerced(ContextMissing):
    """The copy that the partner is to have cannot be made of this instance; others can be sent."""


# -- configuration and use -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration: where it is, what it is, and what to write instead."""

    path: str
    """Dotted, as in the file: `partners.CT1.port`."""
    line: int
    """1 is the first line of the file; 0 where no line can be named."""
    text: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.text}" if self.path else f"{where}{self.text}"


class ConfigurationError(DicomnodeError):
    """A configuration that is not taken into use, with every fault found in it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class UsageError(DicomnodeError):
    """A command that cannot be carried out as it was given; the text says what to do."""


class CannotDecide(DicomnodeError):
    """A decision about a study in doubt that cannot be made as things are; the text says what to do."""
