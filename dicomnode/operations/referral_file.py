"""A file of referrals in advance: CSV with a header line, or JSON lines; UTF-8, with or without a byte order mark.

Promises every line as texts by column, or what is wrong with it, each with its number; nothing is decided here of what
the texts mean (rules/advance.py). A file is read whole before anything is done with it, is no larger than LARGEST, and
has no more than MOST lines.
Nothing fails on what a file has in it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dicomnode.config import units
from dicomnode.rules.advance import COLUMNS, REQUIRED, Wrong

LARGEST: Final = 4 << 20
"""Bytes: over 200 for each of so many referrals."""
MOST: Final = 20_000
"""Referrals in one file: they are one commit, of about a second, for which others wait."""
_ENCODING: Final = (
    "is not UTF-8 (it may be Big5 or GB18030): save the file again as UTF-8; a spreadsheet calls it CSV UTF-8"
)
_CELL: Final = 4096
"""Characters: no value has a reason to be longer."""


@dataclass(frozen=True, slots=True)
class Line:
    """One referral as it stands in the file: the number of its line (1 is the first), and its texts by column."""

    number: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """What is wrong with a line, and what to do; 0 is the file itself."""

    line: int
    wrong: Wrong

    def __str__(self) -> str:
        return f"line {self.line}: {self.wrong}" if self.line else str(self.wrong)


def read(data: bytes) -> tuple[list[Line], list[BadLine]]:
    """The lines of a file, and all that is wrong with how it is written."""
    if len(data) > LARGEST:
        return [], [_bad(0, f"the file is larger than {LARGEST >> 20} MiB: import it in parts")]
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [], [_bad(0, "the file is UTF-16: save it as UTF-8; a spreadsheet calls it CSV UTF-8")]
    texts, bad = _decoded(data.removeprefix(b"\xef\xbb\xbf"))
    first = next((text for text in texts if text.strip()), "")
    read = _json_lines(texts, bad) if first.lstrip().startswith("{") else _csv(texts, bad)
    found = list(read)
    lines, wrong = [f for f in found if isinstance(f, Line)], [f for f in found if isinstance(f, BadLine)]
    if len(lines) > MOST:
        return [], [_bad(0, f"the file has {len(lines)} referrals, which is more than {MOST}: import it in parts")]
    if not found:
        wrong = [_bad(0, "the file has no referral in it")]
    return lines, wrong


def printable(text: str) -> str:
    """A text that anybody may have written, as it can be shown."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])


def _unknown(column: str) -> str:
    return units.quoted(printable(column)) + units.suggestion(column, COLUMNS)


def _bad(line: int, text: str, column: str = "") -> BadLine:
    return BadLine(line, Wrong(column, text))


def _decoded(data: bytes) -> tuple[list[str], set[int]]:
    """The lines as text, and the numbers of those that are not UTF-8."""
    texts, bad = [], set[int]()
    for number, line in enumerate(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), 1):
        try:
            texts.append(line.decode())
        except UnicodeDecodeError:
            texts.append(line.decode(errors="replace"))
            bad.add(number)
    return texts, bad


# -- CSV -----------------------------------------------------------------------------------------------------------


def _csv(texts: Sequence[str], bad: set[int]) -> Iterator[Line | BadLine]:
    """Each record; one whose quotes span lines has the number of its first."""
    reader = csv.reader((f"{text}\n" for text in texts), strict=True)
    columns: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield _bad(number, f"is no CSV ({error}): a cell with a comma or a quote in it stands in quotes")
            return
        if cells is None:
            return
        if bad & set(range(number, reader.line_num + 1)):
            yield _bad(number, _ENCODING)
        elif not any(cell.strip() for cell in cells):
            continue
        elif columns:
            yield from _record(number, columns, cells)
        else:
            columns = [cell.strip().lower() for cell in cells]
            if wrong := list(_header(number, columns)):
                yield from wrong
                return


def _header(number: int, columns: Sequence[str]) -> Iterator[BadLine]:
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        yield _bad(number, "is divided by something else than commas: save the file as CSV with commas")
        return
    for column in columns:
        if column not in COLUMNS:
            yield _bad(number, f"there is no column {_unknown(column)}")
        elif columns.count(column) > 1:
            yield _bad(number, "stands twice in the header line", column)
    for column in REQUIRED:
        if column not in columns:
            yield _bad(number, "is missing in the header line", column)


def _record(number: int, columns: Sequence[str], cells: Sequence[str]) -> Iterator[Line | BadLine]:
    if len(cells) != len(columns):
        text = f"has {len(cells)} cells, and the header line {len(columns)}: a cell with a comma in it stands in quotes"
        yield _bad(number, text)
    else:
        yield from _line(number, dict(zip(columns, cells, strict=True)))


def _line(number: int, values: dict[str, str]) -> Iterator[Line | BadLine]:
    long = [column for column, value in values.items() if len(value) > _CELL]
    yield from (_bad(number, f"is over {_CELL} characters long", column) for column in long)
    if not long:
        yield Line(number, values)


# -- JSON lines ----------------------------------------------------------------------------------------------------


def _json_lines(texts: Sequence[str], bad: set[int]) -> Iterator[Line | BadLine]:
    for number, text in enumerate(texts, 1):
        if number in bad:
            yield _bad(number, _ENCODING)
        elif text.strip():
            yield from _object(number, text)


def _object(number: int, text: str) -> Iterator[Line | BadLine]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        yield _bad(number, "is no JSON: each line is one object, as {\"number\": \"R-1\", …}")
        return
    if not text.lstrip().startswith("{"):
        yield _bad(number, "is no JSON object")
        return
    wrong = list(_keys(number, pairs))
    yield from wrong or _line(number, {key: _plain(value) for key, value in pairs})


def _keys(number: int, pairs: Sequence[tuple[str, Any]]) -> Iterator[BadLine]:
    """What is wrong with the keys of an object, and with values that no column has."""
    keys = [key for key, _ in pairs]
    for key, value in pairs:
        if key not in COLUMNS:
            yield _bad(number, f"there is no key {_unknown(key)}")
        elif keys.count(key) > 1:
            yield _bad(number, "stands twice", key)
        elif not isinstance(value, str | bool | int | None):
            yield _bad(number, "is neither a text nor a whole number nor true or false", key)


def _plain(value: str | bool | int | None) -> str:
    """A value as a cell would have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
