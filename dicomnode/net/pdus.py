"""PDUs as bytes, by hand (PS3.8 9.3): what both sides of an association say besides its negotiation."""

from __future__ import annotations

import struct

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
"""Bits of a PDV's message control header (PS3.8 E.2)."""
UNRECOGNISED, UNEXPECTED, INVALID_VALUE = 1, 2, 6
"""Reasons of an A-ABORT by the provider (PS3.8 9.3.8)."""
HEADER = struct.Struct(">BxI")
"""Every PDU's: its type, and the length of what follows."""
PDV = struct.Struct(">BxIIBB")
"""The header of a P-DATA-TF, and of the one PDV in it: PDU type, its length, the PDV's length, context, control."""


def release(kind: int) -> bytes:
    """A-RELEASE-RQ or A-RELEASE-RP (PS3.8 9.3.6, 9.3.7)."""
    return struct.pack(">BxI4x", kind, 4)


def abort(source: int = 0, reason: int = 0) -> bytes:
    """A-ABORT (PS3.8 9.3.8): source 0 is the service user, 2 the provider, who gives a reason."""
    return struct.pack(">BxIxxBB", ABORT, 4, source, reason)


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BxIxBBB", ASSOCIATE_RJ, 4, result, source, reason)


def longest_fragment(maximum: int) -> int:
    """Bytes of the longest fragment in a P-DATA-TF that a peer takes: even (PS3.7 F), and some, however few it says."""
    return (max(maximum, 16) - 6) & ~1


def data(context: int, control: int, message: bytes, step: int) -> bytes:
    """A command set (control COMMAND) or dataset (0) as P-DATA-TFs of one PDV each, with fragments of `step` bytes."""
    pdus = bytearray()
    for start in range(0, len(message), step):
        part = message[start : start + step]
        last = LAST if start + step >= len(message) else 0
        pdus += PDV.pack(DATA, len(part) + 6, len(part) + 2, context, control | last) + part
    return bytes(pdus)
