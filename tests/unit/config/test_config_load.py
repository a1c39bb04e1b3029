"""YAML → NodeConfig, or all faults: what a person gets told, and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomnode.config.conditions import placed
from dicomnode.config.load import _KEYS, _TOP, LARGEST, line_of, load, parse
from dicomnode.config.parts import Tls
from dicomnode.errors import ConfigurationError, Fault

SHIPPED = Path(__file__).parents[3] / "config"
BASE = """\
node:
  ae_title: REFERNODE
  aliases: [TO_GENERAL]
  bind: 0.0.0.0:11112
  data: ./data
  limits:
    drain: 30s
sites:
  harbour: {sector: private}
  general: {sector: public}
flows: [private -> public]
partners:
  CT1:
    site: harbour
    address: 10.1.0.0/24
    may: [store]
  PUBPACS:
    site: general
    host: 10.9.0.5
    port: 104
routes:
  - name: referrals
    from: [harbour]
    when:
      called: TO_GENERAL
      modality: [CT, MR]
    to: [PUBPACS]
    wait: 60s
"""


def faults(text: str) -> tuple[Fault, ...]:
    with pytest.raises(ConfigurationError) as raised:
        parse(text, Path("/etc/dicomnode/dicomnode.yaml"))
    return raised.value.faults


def changed(old: str, new: str) -> str:
    assert BASE.count(old) == 1, f"{old!r} is not once in BASE"
    return BASE.replace(old, new)


def test_the_base_of_these_tests_is_valid() -> None:
    config = parse(BASE, Path("/etc/dicomnode/dicomnode.yaml"))
    assert config.partners["PUBPACS"].display == "PUBPACS@10.9.0.5:104"
    assert config.node.data == Path("/etc/dicomnode/data")
    assert (config.node.bind_host, config.node.bind_port) == ("0.0.0.0", 11112)
    when = [(each.attribute, each.values) for _, each in placed(config.routes[0].when, ())]
    assert when == [("called", ("TO_GENERAL",)), ("modality", ("CT", "MR"))]


ALONE = [
    # what is written instead of what; the path, the line, a word of the text; nothing else may be at fault
    ("ae_title: REFERNODE", "bogus: 1\n  ae_title: REFERNODE", "node.bogus", 2, "unknown key 'bogus'"),
    ("  ae_title: REFERNODE\n", "", "node.ae_title", 1, "is missing"),
    ("ae_title: REFERNODE", "ae_title:", "node.ae_title", 2, "has no value"),
    ("ae_title: REFERNODE", "ae_title: ~", "node.ae_title", 2, "has no value"),
    ("ae_title: REFERNODE", "ae_title: A\n  '': B", "", 3, "a key is empty"),
    ("ae_title: REFERNODE", "ae_title: ABCDEFGHIJKLMNOPQ", "node.ae_title", 2, "17 characters"),
    ("ae_title: REFERNODE", "ae_title: 'A\\B'", "node.ae_title", 2, "backslash"),
    ("ae_title: REFERNODE", "ae_title: ' A'", "node.ae_title", 2, "space"),
    ("ae_title: REFERNODE", 'ae_title: "A\\tB"', "node.ae_title", 2, "control character"),
    ("ae_title: REFERNODE", "ae_title: HÔPITAL", "node.ae_title", 2, "ASCII"),
    ("ae_title: REFERNODE", "ae_title: [A]", "node.ae_title", 2, "one text"),
    ("ae_title: REFERNODE", "ae_title: !!str A", "node.ae_title", 2, "tags"),
    ("ae_title: REFERNODE", "ae_title: !!python/object:os.system A", "node.ae_title", 2, "tags"),
    ("ae_title: REFERNODE", "ae_title: &a A", "node.ae_title", 2, "anchors"),
    ("data: ./data", "data: *a", "node.data", 5, "alias"),
    ("data: ./data", "data: {a: b}", "node.data", 5, "one text"),
    ("data: ./data", "database: postgres", "node.database", 5, "sqlite"),
    ("data: ./data", "acceptors: 65", "node.acceptors", 5, "from 1 to 64"),
    ("data: ./data", "acceptors: many", "node.acceptors", 5, "auto"),
    ("data: ./data", "storage_classes: [1.2.03]", "node.storage_classes.0", 5, "no UID"),
    ("data: ./data", "deflated: maybe", "node.deflated", 5, "neither true nor false"),
    ("data: ./data", "tls: yes", "node.tls", 5, "bind, certificate, key, ca"),
    ("data: ./data", "tls:", "node.tls", 5, "has no value"),
    ("data: ./data", "tls: {bind: 'a:1', certificate: a, key: b}", "node.tls.ca", 5, "is missing"),
    ("data: ./data", "tls: {certificate: a, key: b, ca: c}", "node.tls.bind", 5, "is missing"),
    ("data: ./data", "tls: {bind: 2762, certificate: a, key: b, ca: c}", "node.tls.bind", 5, "HOST:PORT"),
    ("data: ./data", "tls: {bind: 'a:1', certificate: [a], key: b, ca: c}", "node.tls.certificate", 5, "one text"),
    ("data: ./data", "tls: {bind: 'a:1', certificate: a, key: b, ca: c, cas: d}", "node.tls.cas", 5, "mean 'ca'"),
    ("data: ./data", "tls: {bind: 'a:11112', certificate: a, key: b, ca: c}", "node.tls.bind", 5, "port of its own"),
    ("data: ./data", "data: ./data\n  data: ./elsewhere", "node.data", 6, "first on line 5"),
    ("bind: 0.0.0.0:11112", "bind: 11112", "node.bind", 4, "HOST:PORT"),
    ("bind: 0.0.0.0:11112", "bind: 0.0.0.0:70000", "node.bind", 4, "65535"),
    ("bind: 0.0.0.0:11112", "bind: 0.0.0.0:0", "node.bind", 4, "from 1"),
    ("bind: 0.0.0.0:11112", "bind: 0.0.0.300:104", "node.bind", 4, "IP address"),
    ("bind: 0.0.0.0:11112", "bind: '::1:104'", "node.bind", 4, "brackets"),
    ("drain: 30s", "drain: 30", "node.limits.drain", 7, "unit"),
    ("drain: 30s", "drian: 30s", "node.limits.drian", 7, "did you mean 'drain'"),
    ("drain: 30s", "idle: 0s", "node.limits.idle", 7, "more than 0s"),
    ("drain: 30s", "object_size: 4GiB", "node.limits.object_size", 7, "500MB"),
    ("drain: 30s", "object_size: 0GB", "node.limits.object_size", 7, "more than nothing"),
    ("drain: 30s", "associations: 0", "node.limits.associations", 7, "from 1"),
    ("drain: 30s", "address_associations: 0", "node.limits.address_associations", 7, "from 1"),
    ("drain: 30s", "silent: 0", "node.limits.silent", 7, "from 1"),
    ("drain: 30s", "first: 0s", "node.limits.first", 7, "more than 0s"),
    ("drain: 30s", "pdu: 60", "node.limits.pdu", 7, "unit"),
    ("drain: 30s", "retry_first: 2h", "node.limits.retry_first", 7, "retry_most"),
    ("general: {sector: public}", "general: {sector: pubic}", "sites.general.sector", 10, "did you mean 'public'"),
    ("general: {sector: public}", "general: {sector: public, nmae: A}", "sites.general.nmae", 10, "'name'"),
    ("[private -> public]", "[private -> publik]", "flows.0", 11, "did you mean 'public'"),
    ("[private -> public]", "private to public", "flows", 11, "private -> public"),
    ("[private -> public]", "", "flows", 11, "has no value"),
    ("  CT1:\n", "  general:\n", "partners.general", 13, "site too: a route could not tell them apart (line 10)"),
    ("  CT1:\n", "  CT 1:\n", "partners.CT 1", 13, "letters, digits"),
    ("site: harbour", "site: harbor", "partners.CT1.site", 14, "did you mean 'harbour'"),
    ("    site: harbour\n", "", "partners.CT1.site", 13, "is missing"),
    ("address: 10.1.0.0/24", "address: 10.1.0.5/24", "partners.CT1.address", 15, "write 10.1.0.0/24"),
    ("address: 10.1.0.0/24", "address: [10.1.0.1, ct1]", "partners.CT1.address.1", 15, "neither an IP"),
    ("address: 10.1.0.0/24", "host: ct1.example", "partners.CT1", 13, "node.bind is public"),
    ("host: 10.9.0.5", "host: 0x7f000001", "partners.PUBPACS.host", 19, "neither a host name nor an IP address"),
    ("host: 10.9.0.5", "host: 127.1", "partners.PUBPACS.host", 19, "neither a host name nor an IP address"),
    ("host: 10.9.0.5", "host: 0x7f.0.0.1", "partners.PUBPACS.host", 19, "neither a host name nor an IP address"),
    ("host: 10.9.0.5", "host: 0.0.0.0", "partners.PUBPACS.host", 19, "nobody's address"),
    ("host: 10.9.0.5", "host: '::'", "partners.PUBPACS.host", 19, "nobody's address"),
    ("may: [store]", "confirm: {find: 'QR@0.0.0.0:104'}", "partners.CT1.confirm.find", 16, "nobody's address"),
    ("address: 10.1.0.0/24", "address: 10.1.0.1\n    port: 104", "partners.CT1.port", 16, "without host"),
    ("may: [store]", "may: [stroe]", "partners.CT1.may.0", 16, "did you mean 'store'"),
    ("may: [store]", "window: 22:00-24:00", "partners.CT1.window", 16, "22:00-06:00"),
    ("may: [store]", "bandwidth: fast", "partners.CT1.bandwidth", 16, "500MB"),
    ("may: [store]", "confirm: {by: fax}", "partners.CT1.confirm.by", 16, "unknown value 'fax'"),
    ("may: [store]", "confirm: {find: QR:104}", "partners.CT1.confirm.find", 16, "AETITLE@HOST:PORT"),
    ("may: [store]", "confirm: {results_from: [X]}", "partners.CT1.confirm.results_from.0", 16, "unknown partner"),
    ("may: [store]", "coerce: {patient_id: }", "partners.CT1.coerce.patient_id", 16, "has no value"),
    ("may: [store]", "tls: {spki: 12}", "partners.CT1.tls.spki", 16, "64 hexadecimal digits"),
    ("may: [store]", "max_associations: 0", "partners.CT1.max_associations", 16, "from 1 to 10000"),
    ("may: [store]", "tls: on", "partners.CT1.tls", 16, "neither true nor false"),
    ("data: ./data", "audit: {collector: 'syslog:6514'}", "node.audit", 5, "goes over TLS alone"),
    ("may: [store]", "tls: true", "node.tls", 1, "CT1 speaks TLS only: give it bind, certificate, key"),
    ("port: 104", "prot: 104\n    port: 104", "partners.PUBPACS.prot", 20, "did you mean 'port'"),
    ("port: 104", "port: 0104", "partners.PUBPACS.port", 20, "write 104"),
    ("port: 104", "port: 12:30", "partners.PUBPACS.port", 20, "whole number"),
    ("port: 104", "port: 1.04e2", "partners.PUBPACS.port", 20, "whole number"),
    ("port: 104", "port: 65536", "partners.PUBPACS.port", 20, "65535"),
    ("port: 104", "port: 104\n    associations: 33", "partners.PUBPACS.associations", 21, "from 1 to 32"),
    ("port: 104", "port: 104\n    may: [store]", "partners.PUBPACS.may", 21, "nothing may flow from public"),
    ("port: 104", "port: 104\n    may: [commit]", "partners.PUBPACS.may", 21, "commit: nothing may flow from public"),
    ("may: [store]", "may: [store, commit]", "partners.CT1.may", 16, "so it needs host and port"),
    ("    port: 104\n", "", "routes.0.to.0", 26, "no host and port: nothing can be sent to it (line 17)"),
    ("name: referrals", "name: ''", "routes.0.name", 22, "has no value"),
    ("from: [harbour]", "from: [harbor]", "routes.0.from.0", 23, "unknown site or partner 'harbor'"),
    ("from: [harbour]", "from: []", "routes.0.from", 23, "empty list"),
    ("called: TO_GENERAL", "called: TO_GENRAL", "routes.0.when.called", 25, "did you mean 'TO_GENERAL'"),
    ("called: TO_GENERAL", "calling: CT2", "routes.0.when.calling", 25, "did you mean 'CT1'"),
    ("modality: [CT, MR]", "modalty: CT", "routes.0.when.modalty", 26, "did you mean 'modality'"),
    ("modality: [CT, MR]", "modality: []", "routes.0.when.modality", 26, "empty list"),
    ("modality: [CT, MR]", "modality: [CT, {a: b}]", "routes.0.when.modality.1", 26, "one text"),
    ("to: [PUBPACS]", "to: {PUBPACS: 1}", "routes.0.to", 27, "a list of partners"),
    ("to: [PUBPACS]", "to: [PUBPACS, PUBPAX]", "routes.0.to.1", 27, "did you mean 'PUBPACS'"),
    ("    to: [PUBPACS]\n", "", "routes.0.to", 22, "is missing"),
    ("to: [PUBPACS]", "to: [PUBPACS]\n    consent: true", "routes.0.consent", 28, "none, required"),
    ("to: [PUBPACS]", "to: [PUBPACS]\n    only: [CT]", "routes.0.only", 28, "map of attributes"),
    ("wait: 60s", "wait: {CT: 0s}", "routes.0.wait", 28, "more than 0s"),
    ("wait: 60s", "wait: {}", "routes.0.wait", 28, "a map of modalities to durations"),
    ("wait: 60s", "wait: 1w", "routes.0.wait", 28, "72h"),
    ("wait: 60s", "expect: {from: NOBODY}", "routes.0.expect.from", 28, "unknown partner 'NOBODY'"),
    ("wait: 60s", "expect: {within: 5m}", "routes.0.expect.from", 28, "is missing"),
    ("wait: 60s", "wait: 60s\n    expect: {from: CT1}", "routes.0.expect.from", 29, "no host and port"),
    ("wait: 60s", "wait: 60s\n    expect: {from: PUBPACS}", "routes.0.expect.from", 29, "takes nothing from"),
    ("wait: 60s", "priority: high", "routes.0.priority", 28, "unknown value 'high'"),
    ("routes:\n", "router:\nroutes:\n", "router", 21, "did you mean 'routes'"),
    ("[private -> public]", "[private -> public]\n---\na: b", "", 12, "second document"),
    ("  data: ./data", "\tdata: ./data", "", 5, "tab"),
    ("data: ./data", "data: a: b", "", 5, "':'"),
    ("data: ./data", 'data: "\\q"', "", 5, "single quotes"),
    ("data: ./data", 'data: "\\UFFFFFFFF"', "", 0, "escape"),
    ("data: ./data", "data: a\x00", "", 5, "control character"),
    ("data: ./data", "[a]: b", "", 5, "a key is one word"),
    ("data: ./data", "data: [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]", "", 5, "nested"),
]


@pytest.mark.parametrize(("old", "new", "path", "line", "words"), ALONE)
def test_a_fault_has_its_path_its_line_and_plain_words(old: str, new: str, path: str, line: int, words: str) -> None:
    [fault] = faults(changed(old, new))
    assert (fault.path, fault.line) == (path, line)
    assert words in fault.text
    assert "Input should" not in fault.text


WHOLE_TEXTS = [
    ("", "node.ae_title", 1, "is missing"),
    ("- a", "", 1, "a map of keys"),
    ("node: {ae_title: A}\nroutes: {a: b}", "routes", 2, "'- name:'"),
    ("node: {ae_title: A}\nsites: [a]\npartners: {B: {site: a}}", "sites", 2, "is a map"),
    (
        "node: {ae_title: A}\nsites: [a]\npartners: {B: {site: a, host: b, port: 1}}\nroutes: [{name: c, to: B}]",
        *("sites", 2, "is a map"),
    ),
    ("node: {ae_title: A}\npartners: {B: b}", "partners.B", 2, "site, ae_title, address"),
    ("#" * (LARGEST + 1), "", 0, "1 MiB"),
]


@pytest.mark.parametrize(("text", "path", "line", "words"), WHOLE_TEXTS)
def test_a_text_of_another_shape_is_one_fault(text: str, path: str, line: int, words: str) -> None:
    [fault] = faults(text)
    assert (fault.path, fault.line) == (path, line)
    assert words in fault.text


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    text = BASE.replace("ae_title: REFERNODE", "ae_title: A\\B").replace("sector: public", "sector: publik")
    text = text.replace("site: harbour", "site: harbor").replace("10.1.0.0/24", "10.1.0.5/24").replace("104", "0104")
    text = text.replace("to: [PUBPACS]", "to: [PUBPAX]").replace("60s", "60")
    assert [(fault.line, fault.path) for fault in faults(text)] == [
        (2, "node.ae_title"),
        (10, "sites.general.sector"),
        (14, "partners.CT1.site"),
        (15, "partners.CT1.address"),
        (20, "partners.PUBPACS.port"),
        (27, "routes.0.to.0"),
        (28, "routes.0.wait"),
    ]


@pytest.mark.parametrize(
    ("sources", "rest", "path", "words"),
    [
        ("[harbour]", "wait: 60s, expect: {from: PACS}", "", ""),
        ("[CT1]", "wait: {CT: 1m, default: 29m}, expect: {from: PACS}", "", ""),
        ("[harbour]", "wait: 0s, expect: {from: PACS}", "routes.0.expect", "wait: 0s"),
        ("[harbour]", "wait: 60s, expect: {from: PACS, within: 60s}", "routes.0.expect.within", "quiet time (60s)"),
        ("[harbour]", "wait: {MR: 2h}, expect: {from: PACS, within: 1h}", "routes.0.expect.within", "time (7200s)"),
        ("[island]", "wait: 60s, expect: {from: PACS}", "routes.0.expect.from", "belongs to harbour"),
        ("[ISLE]", "wait: 60s, expect: {from: PACS}", "routes.0.expect.from", "belongs to harbour"),
    ],
)
def test_who_is_expected_to_know_a_study_can_be_asked_in_time(sources: str, rest: str, path: str, words: str) -> None:
    text = BASE[: BASE.index("routes:")].replace("sites:\n", "sites:\n  island: {sector: private}\n")
    text += "  PACS: {site: harbour, host: 10.1.0.9, port: 104}\n"
    text += "  ISLE: {site: island, address: 10.2.0.0/24, may: [store]}"
    text += f"\nroutes: [{{name: a, from: {sources}, to: [PUBPACS], {rest}}}]\n"
    if not path:
        assert parse(text, Path("a.yaml")).routes[0].expect
        return
    [fault] = faults(text)
    assert fault.path == path
    assert words in fault.text


def test_aliases_are_refused_before_they_can_multiply() -> None:
    bomb = "node: &a [x, x]\nsites: &b [*a, *a]\nflows: [*b, *b]\n"
    assert {fault.line for fault in faults(bomb)} == {1, 2, 3}
    assert sum("alias" in fault.text for fault in faults(bomb)) == 4


@pytest.mark.parametrize("title", ["NO", "ON", "12345", "12:30", "0104", "1e3", "2026-01-31", "true"])
def test_what_yaml_would_read_as_something_else_stays_text(title: str) -> None:
    config = parse(changed("ae_title: REFERNODE", f"ae_title: {title}"), Path("a.yaml"))
    assert config.node.ae_title == title


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("address: 10.0.0.0/8, may: [find]", "address: 10.1.2.3, may: [store]", True),
        ("address: 10.0.0.0/8, may: [find]", "address: 11.1.2.3, may: [store]", False),
        ("host: a.example, may: [find]", "address: 10.1.2.3, may: [store]", True),
        ("host: 10.1.2.3, may: [find]", "address: [10.9.0.0/16, 10.1.2.0/24], may: [store]", True),
        ("address: '::/0', may: [find]", "address: 0.0.0.0/0, may: [store]", False),
        ("address: 10.0.0.0/8, may: [find]", "address: 10.1.2.3", False),
    ],
)
def test_a_call_selects_one_partner(one: str, other: str, same: bool) -> None:
    text = "node: {ae_title: A}\nsites: {h: {sector: private}}\npartners:\n"
    text += f"  ONE: {{site: h, ae_title: X, {one}}}\n  TWO: {{site: h, ae_title: X, {other}}}\n"
    if not same:
        parse(text, Path("a.yaml"))
        return
    [fault] = faults(text)
    assert (fault.path, fault.line) == ("partners.TWO", 5)
    assert "ONE" in fault.text
    assert "(line 4)" in fault.text


def test_a_public_bind_needs_to_know_its_callers_and_loopback_does_not() -> None:
    text = "node: {ae_title: A, bind: '%s'}\nsites: {h: {sector: private}}\npartners: {B: {site: h, may: [find]}}"
    for loopback in ("127.0.0.1:104", "localhost:104", "[::1]:104"):
        assert parse(text % loopback, Path("a.yaml")).partners["B"].address == ()
    for public in ("0.0.0.0:104", "[::]:104", "10.0.0.1:104", "node.example:104"):
        assert [fault.path for fault in faults(text % public)] == ["partners.B"]


TLS = "tls:\n    bind: 127.0.0.1:2762\n    certificate: tls/node.pem\n    key: /etc/ssl/node.key\n    ca: ../ca.pem"


def test_the_files_of_tls_are_relative_to_the_configuration() -> None:
    text = changed("data: ./data", TLS).replace("port: 104", "port: 104\n    tls: true")
    config = parse(text, Path("/etc/dicomnode/dicomnode.yaml"))
    assert config.node.tls == Tls(
        bind_host="127.0.0.1",
        bind_port=2762,
        certificate=Path("/etc/dicomnode/tls/node.pem"),
        key=Path("/etc/ssl/node.key"),
        ca=Path("/etc/ca.pem"),
    )
    assert config.node.binds == {"node.bind": ("0.0.0.0", 11112), "node.tls.bind": ("127.0.0.1", 2762)}
    assert {name: partner.tls for name, partner in config.partners.items()} == {"CT1": False, "PUBPACS": True}


def test_that_a_faulty_tls_is_missed_is_no_fault_of_its_own() -> None:
    text = changed("data: ./data", TLS.replace("    key: /etc/ssl/node.key\n", ""))
    text = text.replace("port: 104", "port: 104\n    tls: true")
    assert [fault.path for fault in faults(text)] == ["node.tls.key"]


def test_a_public_bind_for_tls_needs_to_know_its_callers_too() -> None:
    text = "node: {ae_title: A, tls: {bind: '%s', certificate: a, key: b, ca: c}}\nsites: {h: {sector: private}}\n"
    text += "partners: {B: {site: h, may: [find]}, SELF: {site: h, ae_title: A, host: 10.0.0.1, port: 104}}"
    assert parse(text % "127.0.0.1:104", Path("a.yaml"))
    found = faults(text % "10.0.0.1:104")
    assert [fault.path for fault in found] == ["partners.B", "partners.SELF"]
    assert "node.tls.bind is public" in found[0].text
    assert "this node itself" in found[1].text


@pytest.mark.parametrize(
    ("bind", "partner", "loop"),
    [
        ("127.0.0.1:104", "ae_title: A, host: 127.0.0.1, port: 104", True),
        ("0.0.0.0:104", "ae_title: A, host: localhost, port: 104", True),
        ("10.0.0.1:104", "ae_title: ALIAS, host: 10.0.0.1, port: 104", True),
        ("127.0.0.1:104", "ae_title: A, host: 127.0.0.1, port: 105", False),
        ("127.0.0.1:104", "ae_title: B, host: 127.0.0.1, port: 104", False),
        ("10.0.0.1:104", "ae_title: A, host: 10.0.0.2, port: 104", False),
    ],
)
def test_a_partner_is_not_this_node(bind: str, partner: str, loop: bool) -> None:
    text = f"node: {{ae_title: A, aliases: [ALIAS], bind: '{bind}'}}\nsites: {{h: {{sector: public}}}}\n"
    text += f"partners:\n  SELF: {{site: h, {partner}}}\n"
    if not loop:
        parse(text, Path("a.yaml"))
        return
    [fault] = faults(text)
    assert (fault.path, fault.line) == ("partners.SELF", 4)
    assert "this node itself" in fault.text


def test_route_names_are_used_once() -> None:
    [fault] = faults(BASE + "  - {name: referrals, to: [PUBPACS]}\n")
    assert (fault.path, fault.line) == ("routes.1.name", 29)
    assert "(line 22)" in fault.text


def test_a_route_without_from_takes_from_every_private_site() -> None:
    text = changed("    from: [harbour]\n", "").replace("sites:\n", "sites:\n  island: {sector: private}\n")
    assert parse(text, Path("a.yaml")).routes[0].sources == ("island", "harbour")
    [fault] = faults(changed("    from: [harbour]\n", "").replace("sector: private", "sector: public").replace(
        "    may: [store]\n", ""))  # fmt: skip
    assert fault.path == "routes.0.from"


def test_a_public_site_may_store_where_a_flow_begins_at_public() -> None:
    text = changed("[private -> public]", "[private -> public, public -> private]")
    text = text.replace("port: 104", "port: 104\n    may: [store]")
    assert parse(text, Path("a.yaml")).flows[1].source == "public"


@pytest.mark.parametrize("file", ["dicomnode", "examples/fan-out", "examples/failover", "examples/store-only"])
def test_the_shipped_files_load(file: str) -> None:
    config = load(SHIPPED / f"{file}.yaml")
    assert config.partners
    assert config.node.data == (SHIPPED / file).parent / "data"


def test_the_shipped_file_shows_every_key() -> None:
    text = (SHIPPED / "dicomnode.yaml").read_text()
    keys = {key for keys in _KEYS.values() for key in keys.now} | set(_TOP.now)
    assert {key for key in keys if f"{key}:" not in text} == set()


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="DICOMNODE_CONFIG"):
        load(tmp_path / "none.yaml")


def test_what_is_no_text_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"node: \xff\xfe")
    (tmp_path / "b.yaml").write_bytes(b"\xef\xbb\xbf" + b"#" * (LARGEST - 1) + b"\nnode: {}")
    for name, words in (("", "cannot be read"), ("a.yaml", "UTF-8"), ("b.yaml", "1 MiB")):
        with pytest.raises(ConfigurationError, match=words):
            load(tmp_path / name)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load(tmp_path / "a.yaml").node.ae_title == "REFERNODE"


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ((), 1),
        (("node", "aliases", 0), 3),
        (("partners", "PUBPACS", "host"), 19),
        (("partners", "PUBPACS", "may"), 17),
        (("routes", 0, "when", "modality", 1), 26),
        (("routes", 7, "to"), 21),
        (("nothing",), 1),
    ],
)
def test_line_of_a_place_or_of_its_nearest_parent(where: tuple[str | int, ...], line: int) -> None:
    assert line_of(BASE, where) == line


def test_line_of_in_a_broken_text_is_the_last_parent_read() -> None:
    assert line_of("\nnode:\n  a: [", ("node", "b")) == 2


_TOKENS = st.sampled_from(
    [
        *("node", "sites", "partners", "routes", "flows", "limits", "CT1", "when", "to", "from", "bind", "address"),
        *("ae_title", "data", ": ", ":", "\n", "\n  ", "\n    ", "\n- ", "[", "]", "{", "}", ", ", "'", '"', "&a "),
        *("*a ", "!!python/object:os.system ", "!", "|", ">", "%YAML ", "---", "\t", "\\U", "FFFFFFFF", "10.0.0.1/8"),
        *("0", "9" * 30, "private -> public", "store", "5m", "1e9h", "~", "<<", "? ", "\x00", "\ud800", "é", "#"),
    ]
)


def told(text: str) -> tuple[Fault, ...]:
    """The faults of a text that may have none; whatever else is raised fails the test."""
    try:
        parse(text, Path("/etc/dicomnode/dicomnode.yaml"))
    except ConfigurationError as error:
        return error.faults or (Fault("", -1, "an error without a fault"),)
    return ()


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(), st.lists(_TOKENS, max_size=40).map("".join)))
@example("%YAML " + "1" * 5000 + ".1\n---\na")
@example("[" * 5000)
@example("{" * 5000)
@example("- " * 5000)
@example('a: "\\ud800"')
@example("node: {ae_title: A, limits: x}\nflows: [~]\nroutes: [~, a]")
@example("node: {ae_title: A}\nsites: {a: {sector: private, name: ~}}\nroutes: [{name: a, to: {b: c}, from: {d: e}}]")
@example("node: {ae_title: A, data: '" + "x/" * 5000 + "'}")
def test_no_text_raises_anything_else(text: str) -> None:
    last = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    assert all(0 <= fault.line <= last for fault in told(text))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(BASE)), st.integers(0, 12), _TOKENS)
def test_no_slip_of_the_hand_raises_anything_else(position: int, removed: int, written: str) -> None:
    found = told(BASE[:position] + written + BASE[position + removed :])
    assert all(fault.line >= 0 and "is not what this key means" not in fault.text for fault in found)
