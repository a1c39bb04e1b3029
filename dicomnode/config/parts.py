"""The smaller maps of a configuration: those that stand within the node, a partner or a route.

As in model.py: frozen, every default here and nowhere else, durations in seconds, sizes in bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from dicomnode.config import units, values


class Frozen(BaseModel):
    """What every part is: it never changes, and has no field that is not named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# -- of the node -------------------------------------------------------------------------------------------------


class Limits(Frozen):
    """How long is waited, and how much is taken."""

    drain: values.Duration = 30.0
    connect: values.TimeLimit = 10.0
    response: values.TimeLimit = 60.0
    idle: values.TimeLimit = 300.0
    linger: values.Duration = 5.0
    """That an association of ours stays open after a batch, for the next one; 0: not at all."""
    retry_first: values.TimeLimit = 30.0
    retry_most: values.TimeLimit = 3600.0
    object_size: values.Size = 4_000_000_000
    first: values.TimeLimit = 15.0
    """In which an association request has come whole."""
    pdu: values.TimeLimit = 60.0
    """In which a PDU that has begun has come whole."""
    associations: values.Associations = 100
    address_associations: values.Associations | None = None
    """Of one IP address; None: as many as the node takes."""
    silent: values.Associations = 20
    """Connections of one IP address that have not said who they are."""
    scrub: values.Size = 10_000_000
    """Bytes of the archive that are read each second to see that they are what was received."""
    pull: values.TimeLimit = 300.0
    """How often a PACS is asked for studies that are expected of it."""
    answers: values.Answers | None = None
    """To one query; of more, the caller is told that there are more. None: it is given all."""


class Watermarks(Frozen):
    """Free space (bytes) below which the node takes no more: first no association that would store, then no instance.

    A sender that is refused before it sends keeps its study and comes again; a full disk would serve nobody.
    """

    associations: values.Size = 2_000_000_000
    instances: values.Size = 500_000_000


class Retention(Frozen):
    """When files of confirmed studies may go; without either they are kept for ever. Nothing else ever goes."""

    after: values.TimeLimit | None = None
    """Seconds since the study was confirmed, and since the last of it was received."""
    free: values.Size | None = None
    """Free space (bytes) that is made when there is less, of the studies that were confirmed longest ago."""
    committed: values.Switch = False
    """Whether what we committed to its source by Storage Commitment may go too."""


class Tls(Frozen):
    """A second socket that speaks TLS alone, and the PEM files for both sides: who we are, and whose word we take.

    The paths are relative to the file that names them, and absolute once loaded. `ca` has the certificates of those
    who may vouch for a partner: the system's own are never asked.
    """

    bind_host: values.Host
    bind_port: values.Port
    certificate: Path
    key: Path
    ca: Path
    crl: Path | None = None
    """Whom its authority has revoked: PEM, and in force."""


class Audit(Frozen):
    """Who keeps the audit trail for the whole hospital: a syslog receiver over TLS (PS3.15 A.6), host and port.

    It is called with the certificate of `node.tls`, and must be vouched for by the `ca` there.
    """

    collector: values.Endpoint


# -- of a site's patients ----------------------------------------------------------------------------------------


class Issuer(Frozen):
    """How a patient ID of one issuer is told to be well-formed: a check digit, or a form that all of it has."""

    key: values.Text
    check: values.CheckDigit | None = None
    pattern: values.Form | None = None


# -- of a partner ------------------------------------------------------------------------------------------------


class Certificate(Frozen):
    """By what a partner's certificate is its own: it must match one entry of each list that is not empty."""

    spki: Annotated[tuple[values.Digest, ...], BeforeValidator(units.several)] = ()
    """SHA-256 of its public key (SubjectPublicKeyInfo), in hexadecimal digits."""
    names: Annotated[tuple[values.Text, ...], BeforeValidator(units.several)] = ()
    """Host names or IP addresses among its alternative names (SAN)."""


class User(Frozen):
    """Who a partner must say that it is (PS3.7 D.3.3.7), over TLS alone; the passcode is the only line of a file."""

    name: values.Text
    passcode: Path


class Coerce(Frozen):
    """What is changed in the copy that a partner is sent; what was received stays as it is."""

    patient_id: values.Text = ""
    """The issuer whose patient ID the referral gives, and the copy has; the sender's goes beside it."""
    issuers: values.Switch = False
    """Whether it is said who has given out the patient ID and the accession number."""
    institution: values.Switch = False
    """Whether an empty Institution Name becomes that of the site."""
    request: values.Switch = False
    """Whether the referral's number and procedure stand in the Request Attributes."""


class Confirm(Frozen):
    """By what a partner proves that it has what it was sent.

    `auto` is the strongest means that it has shown to have: a Storage Commitment result, a query for the SOP Instance
    UIDs, a query for their number. `status`: that it answered 0000H is enough for this admin.
    """

    by: values.Proof = "auto"
    find: values.Called | None = None
    """The AE that is queried, where that is another: AE title, host, port."""
    commit: values.Called | None = None
    """The AE that is asked for commitment, where that is another."""
    results_from: Annotated[tuple[values.Text, ...], BeforeValidator(units.several)] = ()
    """Further partners whose commitment results count as this one's."""
    within: values.TimeLimit = 3600.0
    """In which a commitment result has come; then the next means is tried, and an alarm is raised."""


# -- of a route --------------------------------------------------------------------------------------------------


class Expect(Frozen):
    """The source's PACS that is asked which instances a study has, and how long it is waited for those.

    `partner` is the file's `from`.
    """

    partner: values.Text
    within: values.TimeLimit = 1800.0
