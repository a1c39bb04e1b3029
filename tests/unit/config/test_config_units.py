"""What the words of a configuration mean."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from dicomnode.config import units

MEANT: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (units.duration, "0s", 0.0),
    (units.duration, "60s", 60.0),
    (units.duration, "5m", 300.0),
    (units.duration, "1.5h", 5400.0),
    (units.duration, "72h", 259200.0),
    (units.duration, "90d", 7_776_000.0),
    (units.duration, 2.5, 2.5),
    (units.durations, {"CT": "60s", "default": "2m"}, {"CT": 60.0, "default": 120.0}),
    (units.hours, "22:00-06:30", (1320, 390)),
    (units.hours, "00:00-23:59", (0, 1439)),
    (units.timezone, "Asia/Hong_Kong", "Asia/Hong_Kong"),
    (units.called, "PUB QR@10.9.0.6:104", ("PUB QR", "10.9.0.6", 104)),
    (units.called, "QR@[::1]:104", ("QR", "::1", 104)),
    (units.size, "1KB", 1000),
    (units.size, "500MB", 500_000_000),
    (units.size, "4GB", 4_000_000_000),
    (units.size, "1.5TB", 1_500_000_000_000),
    *((units.say_duration, seconds, said) for seconds, said in (
        (0.0, "0 seconds"),
        (0.5, "0.5 seconds"),
        (1.0, "1 second"),
        (60.0, "60 seconds"),
        (90.0, "90 seconds"),
        (5400.0, "90 minutes"),
        (86400.0, "24 hours"),
        (90000.0, "25 hours"),
        (172800.0, "2 days"),
        (8_640_000.5, "8640000.5 seconds"),
    )),
    *((units.say_size, count, said) for count, said in (
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (1001, "1.001 KB"),
        (500_000_000, "500 MB"),
        (1_234_567_000, "1234.567 MB"),
        (4_000_000_000, "4 GB"),
        (1_500_000_000_000, "1.5 TB"),
    )),
    (units.port, "1", 1),
    (units.port, "65535", 65535),
    (units.acceptors, "64", 64),
    (units.switch, "True", True),
    (units.switch, True, True),
    (units.switch, "false", False),
    (units.ae_title, "A B-C_d.1", "A B-C_d.1"),
    (units.ae_title, "ABCDEFGHIJKLMNOP", "ABCDEFGHIJKLMNOP"),
    (units.uid, "1.2.840.10008.0", "1.2.840.10008.0"),
    (units.host, "pacs.example", "pacs.example"),
    (units.host, "fe80::1", "fe80::1"),
    (units.host, "a" * 63 + ".b_c", "a" * 63 + ".b_c"),
    (units.bind, "127.0.0.1:11112", ("127.0.0.1", 11112)),
    (units.bind, "[::]:104", ("::", 104)),
    (units.bind, "localhost:104", ("localhost", 104)),
    (units.network, "10.1.0.30", ip_network("10.1.0.30/32")),
    (units.network, "10.1.0.0/255.255.0.0", ip_network("10.1.0.0/16")),
    (units.network, ip_network("10.0.0.0/8"), ip_network("10.0.0.0/8")),
    (units.network, "2001:db8::/32", ip_network("2001:db8::/32")),
    (units.many, "CT", ["CT"]),
    (units.several, [], []),
]


@pytest.mark.parametrize(("read", "written", "meant"), MEANT)
def test_what_is_meant(read: Callable[[Any], Any], written: Any, meant: Any) -> None:
    assert read(written) == meant


MEANINGLESS: list[tuple[Callable[[Any], Any], Any]] = [
    *((units.duration, written) for written in ("", "5", "5 m", "-5m", "1w", "5M", "１s", "1e3s", "9999999999h", [])),
    *((units.durations, written) for written in ({}, [], "", {"CT": "0s"}, {"CT": "5"}, {"CT": {}})),
    *((units.hours, written) for written in ("", "22-06", "24:00-06:00", "6:00-7:00", "06:00-06:00", "06:00", [])),
    *((units.timezone, written) for written in ("", "Hong Kong", "../etc/passwd", "HKT9", "x" * 300, [])),
    *((units.called, written) for written in ("", "QR", "QR@", "@10.0.0.1:104", "QR@10.0.0.1", "Q\\R@10.0.0.1:1", {})),
    *((units.size, written) for written in ("4", "4GiB", "4gb", "0GB", "0.0001KB", "-1MB")),
    *((units.port, written) for written in ("0", "65536", "0104", "-1", "+1", "1.0", "1_0", "٣", "", "9" * 5000)),
    *((units.acceptors, written) for written in ("0", "65", "Auto", "")),
    *((units.switch, written) for written in ("yes", "1", "", None)),
    *((units.ae_title, written) for written in ("", " A", "A ", "A\\B", "A\nB", "A\x7f", "É", "A" * 17, ["A"])),
    *((units.uid, written) for written in ("1", "1..2", "1.02", "1.2.", "1.a", "1." + "2" * 63)),
    *((units.host, written) for written in ("a b", "10.0.0.300", "10.0.0.0/8", "a:b", "fe80::1%eth0", "-a", "a" * 254)),
    *((units.host, written) for written in ("a..b", "a.", ".a", "a-.b", "a" * 64, "a." * 126 + "aa")),
    *((units.bind, written) for written in ("104", ":104", "a:", "a:b", "::1:104", "[::1]", "[a", "a:0", "a b:1")),
    *((units.network, written) for written in ("10.1.0.5/24", "10.0.0.0/33", "pacs", "10.1", "", "167772160")),
]  # fmt: skip


@pytest.mark.parametrize(("read", "written"), MEANINGLESS)
def test_what_means_nothing_is_refused_with_a_sentence(read: Callable[[Any], Any], written: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+") as raised:
        read(written)
    assert len(str(raised.value)) < 200


def test_a_near_word_is_suggested_and_others_are_listed() -> None:
    assert units.suggestion("PROT", ["port", "host"]) == "; did you mean 'port'?"
    assert units.suggestion("zzz", ["port", "host"]) == "; there is host, port"
    assert units.suggestion("zzz", []) == ""


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.2", True), ("::1", True), ("LocalHost", True),
                                                ("0.0.0.0", False), ("10.0.0.1", False), ("node", False)])  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert units.is_loopback(host) is loopback
