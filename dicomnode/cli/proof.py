"""check --proof: every way in which anybody obtains anybody's studies, with its line; and what nobody obtains."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import click

from dicomnode.cli import output
from dicomnode.cli.output import Row
from dicomnode.config import load
from dicomnode.config.model import NodeConfig, Where
from dicomnode.operations import configure
from dicomnode.rules import reach
from dicomnode.rules.reach import Way

_COLUMNS = ["studies_of", "come_to", "by", "line", "because", "through"]
Line = Callable[[Where], int]
_NAMED = 2
"""Sites that a row names; of more, how many there are."""


def show(config: NodeConfig, text: str, *, as_json: bool) -> None:
    """Print the proof of a configuration, whose text is there for its lines."""
    ways, line = reach.ways(config), load.lines_of(text)
    nobody = reach.barred(config, ways)
    exposed = configure.exposed(config, text)
    if as_json:
        warnings = [{"path": each.path, "line": each.line, "text": each.text} for each in exposed]
        rows = [_row(way, config, line(way.where)) for way in ways]
        print(json.dumps({"ways": rows, "nobody": nobody, "warnings": warnings}, ensure_ascii=False))
        return
    output.show(_grouped(ways, config, line), as_json=False, columns=_COLUMNS, empty="Nobody obtains anything.")
    click.echo()
    for site, others in nobody.items():
        if others:
            click.echo(f"Nothing of {site} comes to {', '.join(others)}, by any way.")
    for each in exposed:
        click.echo(f"warning: {each}")


def _row(way: Way, config: NodeConfig, line: int) -> Row:
    partner = config.partners[way.partner]
    return {
        "site": way.site,
        "partner": way.partner,
        "partner_site": partner.site,
        "service": way.by,
        "obtains": way.gives,
        "through": way.through,
        "because": way.why,
        "path": ".".join(map(str, way.where)),
        "line": line,
    }


def _grouped(ways: list[Way], config: NodeConfig, line: Line) -> list[Row]:
    """A row for each way of obtaining something, whichever sites it is of."""
    sites: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for way in ways:
        sites[way.partner, way.by, way.gives, way.through, way.why, way.where].append(way.site)
    return [
        {
            "studies_of": _few(of),
            "come_to": f"{partner} of {config.partners[partner].site}",
            "by": by if gives == "instances" else f"{by} ({gives})",
            "through": through,
            "because": why,
            "line": line(where),
        }
        for (partner, by, gives, through, why, where), of in sites.items()
    ]


def _few(sites: list[str]) -> str:
    named = ", ".join(sites[:_NAMED])
    return named if len(sites) <= _NAMED else f"{named} and {len(sites) - _NAMED} more"

