"""What the integration tests look at behind the node's back: its index, its files, and everything around them."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword

from tests.node import Node
from tests.samples import dataset_of
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE

STORAGE_CT = "1.2.840.10008.5.1.4.1.1.2"


def rows(node: Node, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of the node's index, read beside the running node."""
    uri = f"{(node.data / 'index.sqlite').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, values)]


def versions(node: Node, sop_instance: str) -> list[dict[str, Any]]:
    """Every kept version of an instance, in the order of arrival; `dataset` has its bytes as they are on disk."""
    found = rows(node, "SELECT * FROM instances WHERE sop_instance_uid = ? ORDER BY version", sop_instance)
    return [row | {"dataset": dataset_of(node.data / row["file"])} for row in found]


def kept(node: Node) -> dict[str, int]:
    """How many rows each table of the index has that an instance would add to."""
    tables = ("studies", "series", "instances", "referrals", "transfers")
    return {table: rows(node, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables}


def tree(folder: Path) -> set[str]:
    """Every file below a folder but those that a running node has for itself: index, locks, bells, log."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    own = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock", ".bell", ".log")
    return {path for path in found if not path.endswith(own)}


def state(node: Node) -> tuple[dict[str, int], set[str]]:
    """What must be the same before and after something that was refused: index, data folder and all around it."""
    return kept(node), tree(node.folder)


def events(node: Node, kind: str) -> list[dict[str, Any]]:
    """The audit events of a kind."""
    return rows(node, "SELECT * FROM events WHERE kind = ? ORDER BY id", kind)


def refusals(node: Node, caller: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those who were turned away, of whom all of `caller` is true."""
    return [row for row in rows(node, "SELECT * FROM refusals") if caller.items() <= row.items()]


# -- queries ---------------------------------------------------------------------------------------------------

_LONG = ("OB", "OW", "SQ", "UC", "UN", "UR", "UT")


def query(
    level: str | None, keys: Mapping[str, str | bytes], *, syntax: str = EXPLICIT_LE, codec: str = "ascii"
) -> bytes:
    """An Identifier written by hand, so that a key may be what pydicom would refuse to write; '' asks for a value.

    Keys are keywords, or tags as `GGGGEEEE`; `codec` encodes the values that are text.
    """
    asked = {"QueryRetrieveLevel": level, **keys} if level is not None else dict(keys)
    elements = sorted((tag_for_keyword(key) or int(key, 16), value) for key, value in asked.items())
    return b"".join(
        _element(tag, value if isinstance(value, bytes) else value.encode(codec), syntax) for tag, value in elements
    )


def _element(tag: int, raw: bytes, syntax: str) -> bytes:
    vr = dictionary_VR(tag)[:2] if dictionary_has_tag(tag) else "LO"
    raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT_LE:
        return head + struct.pack("<L", len(raw)) + raw
    length = struct.pack("<xxL", len(raw)) if vr in _LONG else struct.pack("<H", len(raw))
    return head + vr.encode() + length + raw
