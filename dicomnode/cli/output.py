"""How lists are shown: a table that fits the terminal, or one JSON array. Patients are masked unless `--phi`.

JSON: ids are integers, times UTC ISO 8601 with milliseconds, unknown is null, lists are arrays, statuses `"A700"`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from dicomnode.dicom.instance import BY_COLUMN, Level

Row = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
PATIENT = frozenset(column for column, each in BY_COLUMN.items() if each.level is Level.PATIENT) | {
    "accession_number",
    "consent",
    "recipient",
    "referring_physician_name",
}
"""What is masked, by its column: all that is a patient's, and what leads to one."""
_WIDE = 200
"""Columns when the output is no terminal: a pipe should not fold."""
_PROSE = ("reason", "text", "notes", "why")
"""Columns that may be broken into lines, of no fewer characters than these."""
_NARROW = 24
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def as_json(command: F) -> F:
    """The option that every list has."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")(command)


def with_phi(command: F) -> F:
    """The option of lists that show patients."""
    return click.option("--phi", is_flag=True, help="Show patients' names and IDs in clear.")(command)


def show(rows: Sequence[Row], *, as_json: bool, empty: str, columns: Sequence[str] = (), title: str = "") -> None:
    """Print rows: all their keys as JSON, or `columns` of them as a table; `empty` is said where there are none.

    Where the table is too wide for the terminal its last columns (UIDs, by custom) are left out, and that is said.
    """
    if as_json:
        print(json.dumps([{key: _plain(value) for key, value in row.items()} for row in rows], ensure_ascii=False))
        return
    if not rows:
        print(empty)
        return
    shown, screen = list(columns), console()
    while len(shown) > 1 and sum(_width(column, rows) + 2 for column in shown) - 2 > screen.width:
        shown.pop()
    screen.print(_table(rows, shown, title))
    if len(shown) < len(columns):
        screen.print(f"(a wider terminal, or --json, also shows: {', '.join(columns[len(shown) :])})")


def _width(column: str, rows: Sequence[Row]) -> int:
    """How many characters a column needs; prose can be broken."""
    widest = max(cell_len(_text(row[column])) for row in rows)
    return max(len(column), min(widest, _NARROW) if column in _PROSE else widest)


def _table(rows: Sequence[Row], columns: Sequence[str], title: str) -> Table:
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=column not in _PROSE)
    for row in rows:
        table.add_row(*(_text(row[column]) for column in columns))
    return table


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough not to fold."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False, emoji=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return None if value == "" else value


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return value[:19].replace("T", " ")
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def time(microseconds: int | None) -> str | None:
    """A time as text; None where there is none."""
    if not microseconds:
        return None
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def moment(microseconds: int) -> str:
    """A time as it stands in a table: UTC, to the second."""
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def count(number: int, one: str, many: str = "") -> str:
    """So many of something: `many` is its plural, where that is not made with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def status(value: int | None) -> str | None:
    """A DIMSE status as text; None where none was received."""
    return None if value is None else f"{value:04X}"


def masked(row: Row, phi: bool) -> Row:
    """The row with its patient fields masked, unless they were asked for."""
    if phi:
        return row
    return {key: mask(value) if key in PATIENT else value for key, value in row.items()}


def mask(value: str) -> str:
    """The first letter of a patient's attribute, and no more; of a single one, nothing."""
    if not value:
        return value
    return value[0] + "*" * min(len(value) - 1, 7) if len(value) > 1 else "*"
