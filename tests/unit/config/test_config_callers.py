"""config/contradictions.py on who is calling: each caller is told from every other, and no passcode goes in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.load import parse
from dicomnode.errors import ConfigurationError

ONE, TWO = "1" * 64, "2" * 64


def read(*partners: str, bind: str = "0.0.0.0") -> list[str]:
    """The faults of a configuration with these partners, `path: text` each."""
    tls = f"tls: {{bind: '{bind}:2762', certificate: a, key: b, ca: c}}"
    text = f"node: {{ae_title: NODE, bind: '{bind}:11112', {tls}}}\nsites: {{s: {{sector: private}}}}\npartners:\n"
    text += "".join(f"  P{number}: {{site: s, may: [store], {keys}}}\n" for number, keys in enumerate(partners))
    try:
        parse(text, Path("/nowhere/dicomnode.yaml"))
    except ConfigurationError as error:
        return [f"{fault.path}: {fault.text}" for fault in error.faults]
    return []


@pytest.mark.parametrize("keys", [f"tls: {{spki: '{ONE}'}}", "tls: {names: ct.example}", "address: 10.1.0.1"])
def test_an_address_or_a_certificate_makes_somebody_of_a_partner(keys: str) -> None:
    assert read(keys) == []


@pytest.mark.parametrize("keys", ["host: ct.example", "host: ct.example, tls: true"])
def test_a_partner_with_neither_refuses_a_public_bind(keys: str) -> None:
    (fault,) = read(keys)
    assert fault.startswith("partners.P0: could be anybody: node.bind is public")
    assert "with which certificate" in fault
    assert read(keys, bind="127.0.0.1") == []


@pytest.mark.parametrize("keys", ["address: 10.1.0.1", ""])
def test_a_map_that_names_no_certificate_is_a_fault(keys: str) -> None:
    (fault,) = read(f"tls: {{}}, {keys}")
    assert fault == "partners.P0.tls: names no certificate: give it spki or names, or write tls: true"


def test_a_passcode_goes_over_tls_alone() -> None:
    user = "user: {name: u, passcode: secret}"
    (fault,) = read(f"address: 10.1.0.1, {user}")
    assert fault.startswith("partners.P0.user: would send its passcode in clear")
    assert read(f"address: 10.1.0.1, tls: true, {user}") == []
    assert read(f"tls: {{spki: '{ONE}'}}, {user}") == []


SAME = "ae_title: CT, "
TOLD_APART = [
    (f"tls: {{spki: '{ONE}'}}", f"tls: {{spki: '{TWO}'}}", True),
    ("tls: {names: a.example}", "tls: {names: b.example}", True),
    (f"tls: {{spki: '{ONE}'}}", f"tls: {{spki: ['{TWO}', '{ONE}']}}", False),
    ("tls: {names: [a.example, b.example]}", "tls: {names: B.example}", False),
    (f"tls: {{spki: '{ONE}'}}", "tls: {names: a.example}", False),  # that key may be in a certificate with that name
    (f"tls: {{spki: '{ONE}', names: a.example}}", "tls: {names: b.example}", True),
    (f"tls: {{spki: '{ONE}'}}", "address: 10.1.0.1", False),
    ("address: 10.1.0.1, tls: true", "address: 10.1.0.0/24", False),
    (f"address: 10.1.0.1, tls: {{spki: '{ONE}'}}", f"address: 10.1.0.2, tls: {{spki: '{ONE}'}}", True),
]


@pytest.mark.parametrize(("one", "two", "apart"), TOLD_APART)
def test_each_call_selects_one_partner(one: str, two: str, apart: bool) -> None:
    found = read(SAME + one, SAME + two)
    if apart:
        assert found == []
    else:
        (fault,) = found
        assert fault.startswith("partners.P1: cannot be told from P0: both call as CT, from addresses that overlap")
        assert ("and may show one certificate" in fault) == ("names" in one + two or "spki" in two)
