"""The public record as one page: whole in itself, without a script, and nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from html import escape

from dicomnode.rules.figures import FEWEST, Count, Figures, Report

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid #d8dfe6}
th:first-child,td:first-child{text-align:left}
td.word,th.word{text-align:left}p.note{color:#52606d;font-size:.9rem}svg{width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:#1b2733}"""
_BLUE, _GOLD, _GREEN, _PALE = "#2f6f9f", "#d39b2a", "#3a8f5c", "#a9cbb6"
_HEADS = ("referred", "sent", "on media", "confirmed", "half within", "nine in ten within", "ever in quarantine")
_WIDE, _LABEL, _BAR = 720, 190, 22


def share(value: float | None) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """A time in the unit in which one thinks of it."""
    if seconds is None:
        return "-"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def page(found: Report, first: date, last: date, names: Mapping[str, str]) -> str:
    """The page, as HTML. `names`: of the sites."""
    sites = {names.get(site, site): each for site, each in found.sites.items()}
    rows = {(month, names.get(site, site), modality): each for (month, site, modality), each in found.rows.items()}
    failures = _failures(found.failures) or "<p>None.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Studies exchanged, {first} to {last}</title><style>{_STYLE}</style></head><body>
<h1>Studies exchanged, {first} to {last}</h1>
<p>{escape(_sentence(found.total))}</p>
<h2>By month</h2>{_bars(found.months, _amounts(found.months.values()), _BLUE, _GOLD)}{_legend("sent", "on media")}
<h2>From acquisition to confirmation, by site</h2>
{_bars(sites, _times(sites.values()), _GREEN, _PALE)}{_legend("half within", "nine in ten within", _GREEN, _PALE)}
<h2>By month, site and modality</h2>{_table(rows)}
<h2>Not at their partner, and why</h2>{failures}
<p class="note">Of fewer than {FEWEST} studies nothing is told; what would tell of so few, as a rest or in a sum, is
rounded to fives. Confirmed: the system of the hospital that received it has shown that it has every image.</p>
</body></html>
"""


def _sentence(total: Figures) -> str:
    said = f"{total.referred} studies were referred, {total.electronic} sent electronically, {total.media} on media."
    if total.confirmed is not None:
        said += f" Of those sent, {share(total.confirmed)} were confirmed by the hospital that received them."
    return said


# -- plots -----------------------------------------------------------------------------------------------------

_Bar = tuple[float, str]
"""How long a bar is, of the longest, and what is written behind it."""


def _bars(groups: Mapping[str, Figures], bars: Iterable[tuple[_Bar, _Bar]], one: str, other: str) -> str:
    """A pair of bars for each group, one below the other."""
    drawn, at = [], 0
    for name, pair in zip(groups, bars, strict=True):
        drawn.append(f'<text x="0" y="{at + _BAR}">{escape(name[:28])}</text>')
        for (length, said), colour in zip(pair, (one, other), strict=True):
            width = length * (_WIDE - _LABEL - 90)
            drawn.append(f'<rect x="{_LABEL}" y="{at + 3}" width="{width:.1f}" height="{_BAR - 6}" fill="{colour}"/>')
            drawn.append(f'<text x="{_LABEL + width + 6:.1f}" y="{at + _BAR - 7}">{escape(said)}</text>')
            at += _BAR
        at += 8
    return f'<svg viewBox="0 0 {_WIDE} {max(at, 1)}" role="img">{"".join(drawn)}</svg>'


def _amounts(groups: Iterable[Figures]) -> list[tuple[_Bar, _Bar]]:
    found = [(each.electronic, each.media) for each in groups]
    most = max((_number(count) for pair in found for count in pair), default=0) or 1
    return [((_number(one) / most, str(one)), (_number(two) / most, str(two))) for one, two in found]


def _number(count: Count) -> int:
    return count if isinstance(count, int) else 0


def _times(groups: Iterable[Figures]) -> list[tuple[_Bar, _Bar]]:
    found = [(each.p50, each.p90) for each in groups]
    most = max((each or 0.0 for pair in found for each in pair), default=0.0) or 1.0
    return [(((one or 0) / most, duration(one)), ((two or 0) / most, duration(two))) for one, two in found]


def _legend(one: str, other: str, first: str = _BLUE, second: str = _GOLD) -> str:
    square = '<span style="background:{};display:inline-block;width:.8em;height:.8em"></span> {}&emsp;'
    return f'<p class="note">{square.format(first, one)}{square.format(second, other)}</p>'


# -- tables ----------------------------------------------------------------------------------------------------


def _table(rows: Mapping[tuple[str, str, str], Figures]) -> str:
    heads = "".join(f'<th class="word">{head}</th>' for head in ("month", "site", "modality"))
    heads += "".join(f"<th>{head}</th>" for head in _HEADS)
    body = "".join(f"<tr>{_words(key)}{_cells(each)}</tr>" for key, each in rows.items())
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _words(key: Iterable[str]) -> str:
    return "".join(f'<td class="word">{escape(word)}</td>' for word in key)


def _cells(each: Figures) -> str:
    said: list[str] = [str(each.referred), str(each.electronic), str(each.media), share(each.confirmed)]
    said += [duration(each.p50), duration(each.p90), share(each.quarantined)]
    return "".join(f"<td>{escape(cell)}</td>" for cell in said)


def _failures(failures: Mapping[str, Count]) -> str:
    said = {escape(why): escape(str(count)) for why, count in failures.items()}
    rows = "".join(f'<tr><td class="word">{why}</td><td>{count}</td></tr>' for why, count in said.items())
    return f"<table><tbody>{rows}</tbody></table>" if rows else ""
