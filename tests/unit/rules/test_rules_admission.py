"""rules/admission.py: who may associate; whoever is not one known partner is refused."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.config.parts import Certificate, User
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.errors import ClassNotSupported, DicomnodeError, Mismatch
from dicomnode.rules import admission
from dicomnode.rules.admission import Caller, Claim, Command, Refusal, Service, Shown
from tests import fakes

CONFIG = """
node:
  ae_title: REFERNODE
  aliases: [TO_GENERAL]
  tls: {bind: 127.0.0.1:2762, certificate: node.pem, key: node.key, ca: ca.pem}
sites:
  harbour: {sector: private}
  peak:    {sector: private}
  general: {sector: public}
partners:
  CT1:     {site: harbour, ae_title: CT, address: [10.1.0.0/24, 10.3.0.7], may: [store]}
  CT2:     {site: peak, ae_title: CT, address: 10.2.0.0/24, may: [store]}
  WS:      {site: harbour, host: 10.1.0.30, port: 104, may: [find, move]}
  V6:      {site: harbour, address: "fd00::/64", may: [store]}
  LOCAL:   {site: harbour, may: [store]}
  TARGET:  {site: general, host: 10.9.0.5, port: 104}
  SECRET:  {site: general, host: 10.9.0.7, port: 2762, tls: true, may: [find]}
"""


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return fakes.configuration(CONFIG, tmp_path)


SHOWN = Shown("ab" * 32, frozenset({"somebody.example"}), 0)
ADMITTED = [
    ("CT", "10.1.0.1", "CT1"),
    ("CT", "10.1.0.255", "CT1"),
    ("CT", "10.3.0.7", "CT1"),
    ("CT", "10.2.0.1", "CT2"),  # one title at two sites, told apart by address
    ("WS", "10.1.0.30", "WS"),  # the host is the address
    ("V6", "fd00::1", "V6"),
    ("CT", "::ffff:10.1.0.1", "CT1"),  # IPv4 on a socket bound to [::]
    ("LOCAL", "192.0.2.1", "LOCAL"),
]


@pytest.mark.parametrize(("calling", "address", "partner"), ADMITTED)
@pytest.mark.parametrize("called", ["REFERNODE", "TO_GENERAL"])
def test_a_known_caller_is_one_partner(
    config: NodeConfig, calling: str, address: str, partner: str, called: str
) -> None:
    admitted = admission.admit(config, Caller(calling, called, address))
    assert isinstance(admitted, Partner)
    assert admitted.name == partner


REFUSED = [
    ("CT", "OTHER", "10.1.0.1", (1, 1, 7), "unknown called AE title"),
    ("CT", "refernode", "10.1.0.1", (1, 1, 7), "unknown called AE title"),
    ("CT", "", "10.1.0.1", (1, 1, 7), "unknown called AE title"),
    ("NOBODY", "REFERNODE", "10.1.0.1", (1, 1, 3), "unknown calling AE title"),
    ("ct", "REFERNODE", "10.1.0.1", (1, 1, 3), "unknown calling AE title"),
    ("", "REFERNODE", "10.1.0.1", (1, 1, 3), "unknown calling AE title"),
    ("CT1", "REFERNODE", "10.1.0.1", (1, 1, 3), "unknown calling AE title"),  # its name is not its title
    ("TARGET", "REFERNODE", "10.9.0.6", (1, 1, 3), "address not allowed"),
    ("CT", "REFERNODE", "10.4.0.1", (1, 1, 3), "address not allowed"),
    ("WS", "REFERNODE", "10.1.0.31", (1, 1, 3), "address not allowed"),
    ("CT", "REFERNODE", "fd00::1", (1, 1, 3), "address not allowed"),
    ("V6", "REFERNODE", "10.1.0.1", (1, 1, 3), "address not allowed"),
    ("CT", "REFERNODE", "", (1, 1, 3), "address not allowed"),
    ("CT", "REFERNODE", "rubbish", (1, 1, 3), "address not allowed"),
    ("CT", "REFERNODE", "::ffff:10.4.0.1", (1, 1, 3), "address not allowed"),
]


@pytest.mark.parametrize(("calling", "called", "address", "triple", "why"), REFUSED)
def test_everybody_else_is_refused(
    config: NodeConfig, calling: str, called: str, address: str, triple: tuple[int, int, int], why: str
) -> None:
    assert admission.admit(config, Caller(calling, called, address)) == Refusal(*triple, why)


def test_one_without_rights_is_known_and_may_verify(config: NodeConfig) -> None:
    partner = admission.admit(config, Caller("TARGET", "REFERNODE", "10.9.0.5"))
    assert partner == config.partners["TARGET"]
    assert admission.services(config, config.partners["TARGET"]) == {Service.RESULTS}


def test_one_that_speaks_tls_only_is_refused_in_clear(config: NodeConfig) -> None:
    caller = Caller("SECRET", "REFERNODE", "10.9.0.7")
    assert admission.admit(config, caller) == Refusal(1, 1, 3, "this partner may call over TLS only")
    assert admission.admit(config, replace(caller, shown=SHOWN)) == config.partners["SECRET"]
    elsewhere = replace(caller, shown=SHOWN, address="10.9.0.8")
    assert admission.admit(config, elsewhere) == Refusal(1, 1, 3, "address not allowed")


def test_others_may_call_over_tls_too(config: NodeConfig) -> None:
    caller = Caller("WS", "REFERNODE", "10.1.0.30", shown=SHOWN)
    assert admission.admit(config, caller) == config.partners["WS"]


def test_one_that_is_a_name_only_is_admitted_on_loopback_alone(config: NodeConfig) -> None:
    named = config.partners["TARGET"].model_copy(update={"host": "pacs.example", "address": ()})
    local = config.model_copy(update={"partners": {"TARGET": named}})
    caller = Caller("TARGET", "REFERNODE", "10.9.0.5")
    assert admission.admit(local, caller) == named
    assert config.node.tls
    open_tls = config.node.tls.model_copy(update={"bind_host": "10.0.0.1"})
    for public in ({"bind_host": "10.0.0.1"}, {"tls": open_tls}):
        reached = local.model_copy(update={"node": config.node.model_copy(update=public)})
        assert admission.admit(reached, caller) == Refusal(1, 1, 3, "address not allowed")


def test_who_could_be_two_is_nobody(config: NodeConfig) -> None:
    """Loading refuses such a configuration; admission does not lean on that."""
    twin = config.partners["CT1"].model_copy(update={"name": "TWIN"})
    doubled = config.model_copy(update={"partners": {**config.partners, "TWIN": twin}})
    found = admission.admit(doubled, Caller("CT", "REFERNODE", "10.1.0.1"))
    assert found == Refusal(1, 1, 3, "address fits several partners")


# -- by certificate --------------------------------------------------------------------------------------------

KEYS = {name: digit * 64 for name, digit in (("one", "1"), ("two", "2"), ("new", "3"), ("nobody", "9"))}
CERTIFIED = f"""
node:
  ae_title: REFERNODE
  bind: 0.0.0.0:11112
  tls: {{bind: 0.0.0.0:2762, certificate: node.pem, key: node.key, ca: ca.pem}}
sites:
  harbour: {{sector: private}}
  peak:    {{sector: private}}
  general: {{sector: public}}
partners:
  CT1:     {{site: harbour, ae_title: CT, may: [store], tls: {{spki: [{KEYS["one"]}, "{KEYS["new"]}"]}}}}
  CT2:     {{site: peak, ae_title: CT, may: [store], tls: {{spki: "{KEYS["two"]}"}}}}
  NEAR:    {{site: harbour, address: 10.1.0.9, may: [store], tls: {{spki: "{KEYS["two"]}"}}}}
  NAMED:   {{site: peak, may: [find], tls: {{names: [WS.peak.example, "fd00::5"]}}}}
  BOTH:    {{site: peak, may: [find], tls: {{names: [ws.example], spki: "{KEYS["one"]}"}}}}
  PLAIN:   {{site: harbour, address: 10.1.0.7, may: [store]}}
  SECURE:  {{site: harbour, address: 10.1.0.8, may: [store], tls: true}}
"""


@pytest.fixture
def certified(tmp_path: Path) -> NodeConfig:
    return fakes.configuration(CERTIFIED, tmp_path)


def shown(key: str = "nobody", *names: str) -> Shown:
    return Shown(KEYS[key], frozenset(names), 0)


OTHERS, STRANGE = "the certificate is another partner's", "the certificate is not this partner's"
IN_CLEAR, ELSEWHERE = "this partner may call over TLS only", "address not allowed"
BY_CERTIFICATE = [
    ("CT", "192.0.2.1", shown("one"), "CT1"),  # one title, any address: told by the key alone
    ("CT", "192.0.2.1", shown("new"), "CT1"),
    ("CT", "192.0.2.1", shown("two"), "CT2"),
    ("CT", "192.0.2.1", shown("nobody"), STRANGE),
    ("CT", "192.0.2.1", shown("nobody", "ws.peak.example"), OTHERS),
    ("CT", "192.0.2.1", None, IN_CLEAR),
    ("NEAR", "10.1.0.9", shown("two"), "NEAR"),
    ("NEAR", "10.1.0.10", shown("two"), ELSEWHERE),  # both have to fit
    ("NEAR", "10.1.0.9", shown("one"), OTHERS),
    ("NAMED", "192.0.2.1", shown("nobody", "other.example", "ws.peak.example"), "NAMED"),
    ("NAMED", "192.0.2.1", shown("nobody", "fd00::5"), "NAMED"),
    ("NAMED", "192.0.2.1", shown("nobody", "peak.example"), STRANGE),
    ("NAMED", "192.0.2.1", shown("nobody", "*.peak.example"), STRANGE),
    ("NAMED", "192.0.2.1", shown("nobody"), STRANGE),  # a common name is no alternative name
    ("BOTH", "192.0.2.1", shown("one", "ws.example"), "BOTH"),
    ("BOTH", "192.0.2.1", shown("one"), OTHERS),
    ("BOTH", "192.0.2.1", shown("nobody", "ws.example"), STRANGE),
    ("PLAIN", "10.1.0.7", None, "PLAIN"),
    ("PLAIN", "10.1.0.7", shown("nobody"), "PLAIN"),
    ("PLAIN", "10.1.0.7", shown("one"), OTHERS),  # a partner that needs none does not come with another's
    ("SECURE", "10.1.0.8", shown("nobody"), "SECURE"),
    ("SECURE", "10.1.0.8", shown("two"), OTHERS),
    ("SECURE", "10.1.0.8", None, IN_CLEAR),
]


@pytest.mark.parametrize(("calling", "address", "paper", "expected"), BY_CERTIFICATE)
def test_title_address_and_certificate_are_checked_together(
    certified: NodeConfig, calling: str, address: str, paper: Shown | None, expected: str
) -> None:
    found = admission.admit(certified, Caller(calling, "REFERNODE", address, paper))
    if isinstance(found, Partner):
        assert found.name == expected
        return
    event = "certificate refused" if expected in (OTHERS, STRANGE) else ""
    assert found == Refusal(1, 1, 3, expected, event)


def test_a_certificate_with_the_names_of_two_is_nobodys(certified: NodeConfig) -> None:
    """Loading cannot know of such a certificate; whoever shows it is not one partner."""
    twins = {
        name: certified.partners["NAMED"].model_copy(
            update={"name": name, "ae_title": "WS", "certificate": Certificate(names=(f"{name}.example",))}
        )
        for name in ("one", "two")
    }
    config = certified.model_copy(update={"partners": twins})
    for names, expected in ((("one.example",), "one"), (("two.example",), "two"), (("one.example", "two.example"), "")):
        found = admission.admit(config, Caller("WS", "REFERNODE", "192.0.2.1", shown("nobody", *names)))
        assert found == (twins[expected] if expected else Refusal(1, 1, 3, "address fits several partners"))


def test_a_certificate_that_names_nothing_is_nobodys() -> None:
    """Loading refuses `tls: {}`; admission does not lean on that."""
    assert not admission.is_of(Certificate(), shown("one", "ws.example"))


# -- by user ---------------------------------------------------------------------------------------------------

USER, SECRET = User(name="pubpacs", passcode=Path("/nowhere")), "pässcode".encode()


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (Claim(2, False, b"pubpacs", SECRET), None),
        (Claim(2, True, b"pubpacs", SECRET), None),
        (None, "it does not say who it is (user identity)"),
        (Claim(1, False, b"pubpacs", b""), "its user identity is of another kind than user name and passcode"),
        *((Claim(kind, False, b"pubpacs", SECRET), "its user identity is of another kind than user name and passcode")
          for kind in (0, 1, 3, 4, 5, 255)),
        (Claim(2, False, b"pubpacs", b""), "its user name or passcode is wrong"),
        (Claim(2, False, b"pubpacs", SECRET + b"\0"), "its user name or passcode is wrong"),
        (Claim(2, False, b"pubpacs", SECRET[:-1]), "its user name or passcode is wrong"),
        (Claim(2, False, b"PUBPACS", SECRET), "its user name or passcode is wrong"),
        (Claim(2, False, b"", SECRET), "its user name or passcode is wrong"),
    ],
)  # fmt: skip
def test_a_user_says_name_and_passcode(claim: Claim | None, why: str | None) -> None:
    refusal = Refusal(1, 2, 1, why, "user refused") if why else None
    assert admission.identify(USER, SECRET, claim) == refusal
    assert "pubpacs" not in repr(claim)
    assert "sscode" not in repr(claim)


def test_the_passcode_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, both are compared whole, by the function that is made for it."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return one == two

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for name, secret in ((b"pubpacs", SECRET), (b"other", SECRET), (b"pubpacs", b"x"), (b"other", b"x")):
        compared.clear()
        admission.identify(USER, SECRET, Claim(2, False, name, secret))
        assert compared == [(name, b"pubpacs"), (secret, SECRET)]


def test_rights_are_what_the_configuration_says(config: NodeConfig) -> None:
    assert admission.services(config, config.partners["CT1"]) == {Service.STORE}
    assert admission.services(config, config.partners["WS"]) == {Service.FIND, Service.MOVE}
    assert admission.services(config, config.partners["TARGET"]) == {Service.RESULTS}  # it is sent something


def test_nobody_stores_or_asks_for_commitment_from_whom_nothing_may_flow(config: NodeConfig) -> None:
    may = frozenset({"store", "commit", "find"})
    public = config.partners["CT1"].model_copy(update={"site": "general", "may": may})
    assert admission.services(config, public) == {Service.FIND}


CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
COMMANDS: list[tuple[Command, type[DicomnodeError] | None]] = [
    (Command(CT, "1.2.3", CT), None),
    (Command(CT, "1.2.4", CT), Mismatch),
    (Command(MR, "1.2.3", MR), Mismatch),
    (Command(CT, "1.2.3", MR), ClassNotSupported),
    (Command("", "1.2.3", CT), ClassNotSupported),
    (Command(CT, "", CT), Mismatch),
]


@pytest.mark.parametrize(("command", "error"), COMMANDS)
def test_command_and_dataset_speak_of_one_instance(command: Command, error: type[DicomnodeError] | None) -> None:
    values = dict.fromkeys((a.column for a in ATTRIBUTES), "")
    values |= {"sop_class_uid": CT, "sop_instance_uid": "1.2.3"}
    instance = SopInstance(**values, transfer_syntax_uid="", notes=())
    if error is None:
        admission.may_store(command, instance)
        return
    with pytest.raises(error):
        admission.may_store(command, instance)
