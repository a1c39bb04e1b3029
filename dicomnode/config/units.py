"""The words of a configuration file and what they mean: durations, sizes, addresses, AE titles, UIDs.

Every function takes one value as it stands in the file (a text, a list or a map; nothing in YAML is read as a number, a
date or a bool) or as Python has it already, and returns the value meant. What cannot be meant raises ValueError, with a
sentence for the person who wrote it. Nothing here reads a file, a clock or the network.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dicomnode.config import forms
from dicomnode.dicom import names

Network = IPv4Network | IPv6Network

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMGT]B)")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,8}")
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def quoted(value: str) -> str:
    """The value as a fault shows it: in quotes, and not longer than a line."""
    return f"'{value}'" if len(value) <= 64 else f"'{value[:60]}…'"


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'port'?` where a choice is near, else the choices themselves; empty without any."""
    by_fold = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold()[:64], by_fold, n=1)
    if near:
        return f"; did you mean {quoted(by_fold[near[0]])}?"
    return f"; there is {', '.join(sorted(by_fold.values())[:20])}" if by_fold else ""


def unprintable(written: str) -> bool:
    """Whether there are control characters, line breaks or halves of surrogate pairs."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in written)


def text(value: Any) -> str:
    """One text, never empty: `NO`, `12345` and `12:30` are what they look like."""
    if value is None or value == "":
        raise ValueError("has no value; give it one, or remove the line")
    if not isinstance(value, str):
        raise ValueError("is one text, not a list or a map")
    return value


def many(value: Any) -> list[Any]:
    """A list of at least one; a single text counts as a list of one."""
    if isinstance(value, dict):
        raise ValueError("is a text or a list, not a map")
    if value is None or value == "":
        raise ValueError("has no value; give it one, or remove the line")
    items = [value] if isinstance(value, str | Network) else list(value)
    if not items:
        raise ValueError("is an empty list; give it a value, or remove the line")
    return items


def several(value: Any) -> list[Any]:
    """A list that may be empty; a single text counts as a list of one."""
    return [] if isinstance(value, list | tuple | set | frozenset) and not value else many(value)


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole decimal numbers from `low` to `high`, both included."""

    def read(value: Any) -> int:
        if isinstance(value, str) and value.isdecimal() and value.startswith("0") and value.strip("0"):
            raise ValueError(f"{quoted(value)} begins with 0; write {value.lstrip('0')}")
        written = str(value) if isinstance(value, int) else text(value)
        if not _WHOLE.fullmatch(written) or not low <= int(written) <= high:
            raise ValueError(f"{quoted(written)} is no whole number from {low} to {high}")
        return int(written)

    return read


port = whole(1, 65535)


def acceptors(value: Any) -> int:
    """1 to 64 processes; `auto` is one for each processor, at most four."""
    if value == "auto":
        return min(4, os.cpu_count() or 1)
    try:
        return whole(1, 64)(value)
    except ValueError as error:
        raise ValueError(f"{error}, nor is it auto") from None


def switch(value: Any) -> bool:
    """`true` or `false`."""
    if isinstance(value, bool):
        return value
    if text(value).lower() not in ("true", "false"):
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return bool(value.lower() == "true")


def word(*choices: str) -> Callable[[Any], str]:
    """A reader of one of a few words."""

    def read(value: Any) -> str:
        if text(value) not in choices:
            raise ValueError(f"unknown value {quoted(value)}{suggestion(value, choices)}")
        return str(value)

    return read


def character_set(value: Any) -> str:
    """One or more defined terms as (0008,0005) has them, joined by backslashes; or big5, which is none of these."""
    if not names.is_character_set(text(value)):
        advice = "write a term of the standard, such as ISO_IR 192, GB18030 or ISO_IR 100, or big5"
        raise ValueError(f"unknown character set {quoted(value)}: {advice}")
    return str(value)


def _measure(value: Any, form: re.Pattern[str], units: dict[str, int], examples: str) -> float:
    if isinstance(value, int | float):
        return value
    found = form.fullmatch(text(value))
    if found is None:
        raise ValueError(f"{quoted(value)} is not written as a number and its unit: {examples}")
    return float(found[1]) * units[found[2]]


def duration(value: Any) -> float:
    """Seconds, from `60s`, `5m`, `1.5h`, `72h`, `90d`, `0s`."""
    return _measure(value, _DURATION, _SECONDS, "60s, 5m, 72h or 90d")


def time_limit(value: Any) -> float:
    """Seconds, more than none."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("must be more than 0s")
    return seconds


def size(value: Any) -> int:
    """Bytes, at least one, from `500MB`, `4GB`: decimal units, so 1 GB is 10^9 bytes."""
    count = int(_measure(value, _SIZE, _BYTES, "500MB or 4GB"))
    if count < 1:
        raise ValueError("must be more than nothing")
    return count


def say_duration(seconds: float) -> str:
    """Exactly so long, for a person: in the largest unit of which it is a whole number, and more than one."""
    for word, of in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * of and seconds % of == 0:
            return f"{seconds / of:.10g} {word}"
    return f"{seconds:.10g} second{'s' * (seconds != 1)}"


def say_size(count: int) -> str:
    """Exactly so many bytes, for a person: in the largest unit that needs at most three decimals for it."""
    for word, of in reversed(_BYTES.items()):
        if count >= of and count * 1000 % of == 0:
            return f"{count / of:.10g} {word}"
    return f"{count} byte{'s' * (count != 1)}"


def durations(value: Any) -> dict[str, float]:
    """A map of modalities to durations; `default` is for those that it does not name."""
    if not isinstance(value, dict) or not value:
        raise ValueError("is a duration such as 5m, or a map of modalities to durations such as {CT: 60s, default: 5m}")
    return {str(key): time_limit(each) for key, each in value.items()}


def hours(value: Any) -> tuple[int, int]:
    """A time of day, in minutes since midnight, from `22:00-06:00`: it may go over midnight."""
    if isinstance(value, tuple):
        return value
    found = _HOURS.fullmatch(text(value))
    if found is None:
        raise ValueError(f"{quoted(value)} is not written as two times of day: 22:00-06:00")
    begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if begin == end:
        raise ValueError("begins when it ends; leave it away where a partner takes studies at any time")
    return begin, end


def timezone(value: Any) -> str:
    """A time zone by its name, such as `Asia/Hong_Kong`."""
    try:
        ZoneInfo(text(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{quoted(value)} is no time zone such as Asia/Hong_Kong or Europe/London") from None
    return str(value)


def called(value: Any) -> tuple[str, str, int]:
    """AE title, host and port, from `PUBPACS@10.9.0.5:104`."""
    if isinstance(value, tuple):
        return value
    title, is_there, where = text(value).partition("@")
    if not is_there:
        raise ValueError(f"{quoted(value)} is not written as AETITLE@HOST:PORT, such as PUBPACS@10.9.0.5:104")
    at, number = bind(where)
    return ae_title(title), callable_host(at), number


def ae_title(value: Any) -> str:
    """An AE title (PS3.5 6.2, VR AE): 1 to 16 printable ASCII characters, no backslash, no space at either end."""
    title = text(value)
    if len(title) > 16:
        raise ValueError(f"{quoted(title)} has {len(title)} characters; an AE title has at most 16")
    if title != title.strip(" "):
        raise ValueError(f"{quoted(title)} begins or ends with a space")
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise ValueError(f"{quoted(title)} is not plain ASCII without backslashes, as an AE title is")
    return title


def name(value: Any) -> str:
    """A name that other keys refer to: 1 to 64 letters, digits, `_`, `-` and `.`, not begun by `-` or `.`."""
    if not _NAME.fullmatch(text(value)):
        raise ValueError(f"the name {quoted(value)} is other than 1 to 64 letters, digits, '_', '-' and '.'")
    return str(value)


def uid(value: Any) -> str:
    """A UID (PS3.5 9.1)."""
    if not _UID.fullmatch(text(value)) or len(value) > 64:
        raise ValueError(f"{quoted(value)} is no UID: at most 64 digits and dots, no number begun by 0")
    return str(value)


def is_ip(host: str) -> bool:
    """Whether the host is written as an address, not as a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine reaches the host; a name other than `localhost` is taken to be reachable."""
    return ip_address(host).is_loopback if is_ip(host) else host.lower() == "localhost"


def is_every_interface(host: str) -> bool:
    """Whether a server bound to the host listens on every interface: `0.0.0.0`, `::`."""
    return is_ip(host) and ip_address(host).is_unspecified


def host(value: Any) -> str:
    """A host name or an IP address, without a port."""
    if is_ip(text(value)):
        return str(value)
    if not _HOST.fullmatch(value) or len(value) > 253 or _is_number(value):
        raise ValueError(f"{quoted(value)} is neither a host name nor an IP address")
    return str(value)


def _is_number(host: str) -> bool:
    """Whether some would read a name as an address: 127.1, 0x7f000001."""
    return all(re.fullmatch("0x[0-9a-f]*|[0-9]*", part, re.IGNORECASE) for part in host.split("."))


def callable_host(value: Any) -> str:
    """A host that somebody can be called at."""
    if is_every_interface(host(value)):
        raise ValueError(f"{quoted(value)} is where a server listens, and nobody's address: name the host itself")
    return str(value)


def bind(value: Any) -> tuple[str, int]:
    """Host and port to listen on, from `127.0.0.1:11112`, `0.0.0.0:104`, `[::]:11112`."""
    where, colon, number = text(value).rpartition(":")
    if not colon or not where:
        raise ValueError(f"{quoted(value)} is not written as HOST:PORT, such as 127.0.0.1:11112")
    bare = where[1:-1] if where.startswith("[") and where.endswith("]") else where
    if ":" in where and bare == where:
        raise ValueError(f"{quoted(value)}: an IPv6 address is written in brackets and quotes: '[::]:11112'")
    return host(bare), port(number)


def digest(value: Any) -> str:
    """A SHA-256, as openssl writes it too: with colons, and large or small letters."""
    bare = text(value).replace(":", "").lower()
    if not _DIGEST.fullmatch(bare):
        raise ValueError(f"{quoted(value)} is no SHA-256: that has 64 hexadecimal digits")
    return bare


def form(value: Any) -> str:
    """A regular expression of those that forms.py reads."""
    written = text(value)
    try:
        forms.read(written)
    except ValueError as error:
        raise ValueError(f"{quoted(written)} {error}") from None
    return written


def network(value: Any) -> Network:
    """An IP address or network: `10.1.0.30` is the network of that one address."""
    if isinstance(value, Network):
        return value
    wanted = text(value)
    try:
        found = ip_network(wanted, strict=False)
    except ValueError:
        raise ValueError(f"{quoted(wanted)} is neither an IP address nor a network such as 10.1.0.0/24") from None
    if ip_interface(wanted).ip != found.network_address:
        raise ValueError(f"{quoted(value)} is one address within a network; write {found} for all of it")
    return found
