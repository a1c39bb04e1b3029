"""report: the public record, as a table, CSV, JSON or one page to publish."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from dicomnode.cli import output, page
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.errors import UsageError
from dicomnode.operations import report as reporting
from dicomnode.rules import figures
from dicomnode.rules.figures import Report

_KEYS = ("month", "site", "modality")
_FIGURES = ("referred", "electronic", "media", "confirmed", "p50", "p90", "quarantined")


def _day(value: str) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date, such as 2026-03-31") from None


@click.command()
@click.option("--from", "first", required=True, type=_day, metavar="DATE", help="The first day.")
@click.option("--to", "last", required=True, type=_day, metavar="DATE", help="The last day.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of a table.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="One page with plots, whole in itself.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, sums and all, instead of a table.")
@pass_place
def report(place: Place, first: date, last: date, as_csv: bool, html: Path | None, as_json: bool) -> None:
    """What was exchanged, in figures that may be published.

    By site, modality and month: studies referred, sent electronically and on media (`referrals media`), the share that
    was confirmed, the time from acquisition to confirmation (half of them, and nine in ten, took no longer), the share
    that was ever in quarantine, and why studies are not there. It names no patient and no study; of fewer than five
    studies nothing is told; what would tell of so few, as a rest or in a sum, is rounded to fives.
    """
    if sum((as_csv, as_json, html is not None)) > 1:
        raise UsageError("--csv, --json and --html: choose one")
    with place.node(remark=False) as node:
        found = reporting.report(first, last, node)
        names = {key: site.name for key, site in node.config.sites.items()}
    if html:
        html.write_text(page.page(found, first, last, names), encoding="utf-8")
        say(f"wrote {html}")
    elif as_json:
        print(json.dumps(_record(found, first, last), ensure_ascii=False))
    elif as_csv:
        _csv(found)
    else:
        _table(found)


def _rows(found: Report) -> Iterator[output.Row]:
    for key, each in found.rows.items():
        yield dict(zip(_KEYS, key, strict=True)) | figures.record(each)


def _record(found: Report, first: date, last: date) -> dict[str, Any]:
    return {
        "from": first.isoformat(),
        "to": last.isoformat(),
        "rows": list(_rows(found)),
        "months": {key: figures.record(each) for key, each in found.months.items()},
        "sites": {key: figures.record(each) for key, each in found.sites.items()},
        "total": figures.record(found.total),
        "failures": found.failures,
    }


def _csv(found: Report) -> None:
    writer = csv.DictWriter(sys.stdout, (*_KEYS, *_FIGURES), lineterminator="\n")
    writer.writeheader()
    for row in _rows(found):
        writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: object) -> object:
    """What a spreadsheet would compute is text to it."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _table(found: Report) -> None:
    rows = [_shown(row) for row in _rows(found)]
    sums = [{"month": "all", "site": "all", "modality": "all"} | figures.record(found.total)]
    columns = [*_KEYS, *_FIGURES]
    empty = "Nothing was referred in that time."
    output.show([*rows, *map(_shown, sums)] if rows else [], as_json=False, columns=columns, empty=empty)
    if found.failures:
        failures = [{"studies": count, "why": why} for why, count in found.failures.items()]
        output.show(failures, as_json=False, columns=["studies", "why"], empty="", title="\nnot at their partner")


def _shown(row: output.Row) -> output.Row:
    said: dict[str, Callable[[Any], str]] = dict.fromkeys(("confirmed", "quarantined"), page.share)
    said |= dict.fromkeys(("p50", "p90"), page.duration)
    return {key: said[key](value) if key in said else value for key, value in row.items()}
