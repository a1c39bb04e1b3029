"""How each kind of value is read from the file and what it is then: the annotated types of the models' fields.

The reading itself, and the sentence for what means nothing, is in units.py.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import BeforeValidator

from dicomnode.config import units

Text = Annotated[str, BeforeValidator(units.text)]
Name = Annotated[str, BeforeValidator(units.name)]
AETitle = Annotated[str, BeforeValidator(units.ae_title)]
UID = Annotated[str, BeforeValidator(units.uid)]
Host = Annotated[str, BeforeValidator(units.host)]
CallableHost = Annotated[str, BeforeValidator(units.callable_host)]
Port = Annotated[int, BeforeValidator(units.port)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(units.network)]
Called = Annotated[tuple[str, str, int], BeforeValidator(units.called)]
"""AE title, host and port."""
Endpoint = Annotated[tuple[str, int], BeforeValidator(units.bind)]
"""Host and port."""
Switch = Annotated[bool, BeforeValidator(units.switch)]
Processes = Annotated[int, BeforeValidator(units.acceptors)]
Associations = Annotated[int, BeforeValidator(units.whole(1, 10_000))]
Slots = Annotated[int, BeforeValidator(units.whole(1, 32))]
Duration = Annotated[float, BeforeValidator(units.duration)]
TimeLimit = Annotated[float, BeforeValidator(units.time_limit)]
"""Seconds, more than none."""
Durations = Annotated[dict[str, float], BeforeValidator(units.durations)]
Hours = Annotated[tuple[int, int], BeforeValidator(units.hours)]
"""Minutes since midnight: begin and end."""
Timezone = Annotated[str, BeforeValidator(units.timezone)]
Size = Annotated[int, BeforeValidator(units.size)]
"""Bytes."""

SectorName = Annotated[Literal["private", "public"], BeforeValidator(units.word("private", "public"))]
ServiceName = Annotated[
    Literal["store", "find", "move", "get", "commit"],
    BeforeValidator(units.word("store", "find", "move", "get", "commit")),
]
Proof = Annotated[
    Literal["auto", "commitment", "find", "count", "status"],
    BeforeValidator(units.word("auto", "commitment", "find", "count", "status")),
]
CharacterSet = Annotated[str, BeforeValidator(units.character_set)]
Transcode = Annotated[Literal["never", "decompress"], BeforeValidator(units.word("never", "decompress"))]
Answers = Annotated[int, BeforeValidator(units.whole(1, 1_000_000_000))]
CheckDigit = Annotated[Literal["hkid", "nhs", "luhn"], BeforeValidator(units.word("hkid", "nhs", "luhn"))]
Form = Annotated[str, BeforeValidator(units.form)]
"""A regular expression that fits a whole value."""
Digest = Annotated[str, BeforeValidator(units.digest)]
"""A SHA-256: 64 hexadecimal digits, small."""
Operators = Annotated[int, BeforeValidator(units.whole(1, 2))]
Requirement = Annotated[Literal["referral", "none"], BeforeValidator(units.word("referral", "none"))]
Consent = Annotated[Literal["required", "none"], BeforeValidator(units.word("required", "none"))]
Identity = Annotated[Literal["check", "none"], BeforeValidator(units.word("check", "none"))]
Priority = Annotated[Literal["routine", "urgent"], BeforeValidator(units.word("routine", "urgent"))]
