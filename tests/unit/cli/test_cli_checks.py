"""cli/checks.py: each thing that can be wrong is found, alone, and comes with what to do about it."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicomnode.cli import checks
from dicomnode.cli.checks import CHECKS, Finding, Patient, State, examine
from dicomnode.config import certificates
from dicomnode.config.parts import Tls
from dicomnode.errors import Unreachable
from dicomnode.net.requestor import Requestor
from dicomnode.operations.outbox import Outbox
from dicomnode.operations.ports import AuditMessage, Node, now
from dicomnode.run import premises
from dicomnode.store import audit, damaged, integrity
from dicomnode.store.audit import Event
from dicomnode.store.database import Database, execute
from tests import fakes
from tests.certificates import Authority
from tests.node import free_port
from tests.samples import make_instances


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """A node that is well, and whose clock is the machine's."""
    it = build(fakes.CONFIG.replace("node: {", f"node: {{bind: '127.0.0.1:{free_port()}', "), clock=now)
    fakes.receive_all(it, make_instances(3))
    return it


def patient(node: Node, *, deep: bool = False, partners: bool = False, index: bool = True) -> Patient:
    return Patient(node.config, node.archive, node.database if index else None, deep, partners)


def wrong(it: Patient) -> list[Finding]:
    """What is not well, but that the node does not run."""
    return [each for each in examine(it) if each.state is not State.OK and each.check != "node"]


def only(it: Patient, check: str, state: State = State.PROBLEM) -> Finding:
    """The one thing that is wrong."""
    (found,) = wrong(it)
    assert (found.check, found.state) == (check, state)
    assert found.advice
    return found


def test_a_collector_that_takes_nothing(build: Callable[..., Node]) -> None:
    tls = "tls: {bind: 127.0.0.1:2762, certificate: a.pem, key: a.key, ca: ca.pem}, audit: {collector: 'syslog:6514'}"
    node = build(fakes.CONFIG.replace("node: {", f"node: {{{tls}, "), clock=now)

    def said() -> list[Finding]:
        return [each for each in examine(patient(node)) if each.check == "audit"]

    assert [(each.state, each.text) for each in said()] == [(State.OK, "0 entries wait for the collector")]
    box = Outbox(Away(), node)
    node.database.write(lambda: audit.record(Event(now(), "lane changed", "")))
    box.send()
    (found,) = said()
    assert found.state is State.PROBLEM
    assert found.text.startswith("2 entries wait for the collector, which has taken none for ")


class Away:
    """A collector that nobody can reach."""

    def deliver(self, messages: Sequence[AuditMessage]) -> None:
        raise Unreachable("it is away")


def test_a_node_that_is_well(node: Node) -> None:
    assert wrong(patient(node, deep=True)) == []
    assert {each.check for each in examine(patient(node))} == set(CHECKS) - {"TLS", "audit", "partners"}


def test_before_its_first_start(node: Node, tmp_path: Path) -> None:
    nowhere = SimpleNamespace(root=tmp_path / "nowhere")
    found = list(examine(Patient(node.config, nowhere, None, False, False)))  # type: ignore[arg-type]
    assert all(each.state is not State.PROBLEM for each in found)
    assert not nowhere.root.exists()


def test_a_disk_that_is_full(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, said in ((1, "nothing is taken"), (10**9, "no new study is taken")):
        monkeypatch.setattr(node.archive.volume, "free", lambda free=free: free)
        assert said in only(patient(node), "disk").text


def test_a_disk_that_cannot_be_written_to(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fdatasync", fails)
    assert "Read-only" in only(patient(node), "disk").text


def test_a_clock_that_was_set_back(node: Node) -> None:
    node.database.write(lambda: execute("UPDATE instances SET received_at = ?", now() + 3_600_000_000))
    assert "came later" in only(patient(node), "clock").text


def test_a_port_that_somebody_else_has(node: Node) -> None:
    with socket.create_server(("127.0.0.1", node.config.node.binds["node.bind"][1])) as server:
        (found,) = [each for each in examine(patient(node)) if each.state is State.PROBLEM]
        assert str(server.getsockname()[1]) in found.text
        # it is ours, if the node runs
        lock = premises.lock(node.config.node.data)
        assert [each for each in examine(patient(node)) if each.check == "node" and each.state is not State.OK] == []
        server.close()
        assert "does not answer" in next(e.text for e in examine(patient(node)) if e.state is State.PROBLEM)
        os.close(lock)


@pytest.mark.parametrize(("days", "state"), [(29, State.WARNING), (-1, State.PROBLEM)])
@pytest.mark.parametrize("which", ["certificate", "ca", "crl"])
def test_papers_that_end(
    days: int, state: State, which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    today = datetime.now(UTC)
    ends = {key: today + timedelta(days=days if key == which else 31) for key in ("certificate", "ca", "crl")}
    papers = [certificates.Paper(key, key, tmp_path / key, round(end.timestamp() * 1e6)) for key, end in ends.items()]
    monkeypatch.setattr(certificates, "papers", lambda _: papers)
    monkeypatch.setattr(certificates, "faults", lambda _: ())
    config = SimpleNamespace(node=SimpleNamespace(tls=object()))
    found = [each for each in checks.papers(SimpleNamespace(config=config)) if each[0] is not State.OK]  # type: ignore[arg-type]
    assert [each[0] for each in found] == [state]
    assert found[0][1].startswith(f"{which} ({which}) is valid until")


def test_papers_as_they_are(authority: Authority) -> None:
    papers = authority.issue("doctor", days=60)
    tls = Tls(bind_host="127.0.0.1", bind_port=2762, certificate=papers.certificate, key=papers.key, ca=papers.ca)
    today = datetime.now(UTC).date()
    ends = {paper.key: certificates.last_day(paper.until) for paper in certificates.papers(tls)}
    assert ends == {"certificate": today + timedelta(days=60), "ca": today + timedelta(days=30)}


def test_an_index_that_is_marked(node: Node) -> None:
    damaged.mark(node.database.path, "a page was lost")
    found = only(patient(node), "index")
    assert "a page was lost" in found.text
    assert "reindex" in found.advice


def test_an_index_that_is_damaged_and_nobody_knows(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "check", lambda table: "a page was lost" if table == "series" else "")
    assert wrong(patient(node)) == []
    only(patient(node, deep=True), "index")
    assert damaged.reason(node.database.path) == "a page was lost"


@pytest.mark.parametrize(
    ("change", "state"),
    [("INSERT INTO migrations VALUES ('m9999_future', 1)", State.PROBLEM),
     ("DELETE FROM migrations WHERE name LIKE 'm0003%'", State.WARNING)],
)  # fmt: skip
def test_an_index_of_another_version(node: Node, change: str, state: State) -> None:
    node.database.write(lambda: execute(change))
    only(patient(node), "index", state)


@pytest.mark.parametrize(
    "change",
    ["UPDATE transfers SET queued_at = queued_at - 90000000000",
     "UPDATE transfers SET state = 'held', reason = 'because' WHERE id = 1",
     f"INSERT INTO partners (name, paused_until, failures, reason) VALUES ('PUBPACS', {now() + 600_000_000}, 1, 'off')",
     "INSERT INTO partners (name, hold) VALUES ('PUBPACS', 'for the night')"],
)  # fmt: skip
def test_a_queue_that_does_not_move(node: Node, change: str) -> None:
    node.database.write(lambda: execute(change))
    assert "PUBPACS" in only(patient(node), "queue", State.WARNING).text


def test_files_that_are_damaged(node: Node) -> None:
    (file, *_) = sorted(node.archive.root.glob("instances/*/*/*.dcm"))
    file.unlink()
    found = [each for _ in range(5) for each in wrong(patient(node))]  # by chance, twenty times of three
    assert file.name in found[0].text
    node.database.write(lambda: execute("UPDATE instances SET damage = 'missing' WHERE file LIKE ?", f"%{file.name}"))
    assert "1 files are known to be damaged" in only(patient(node), "archive").text


def test_too_few_descriptors(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert "256" in only(patient(node), "limits", State.WARNING).text


def test_partners_are_called_all_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def echo(_: Requestor, partner: checks.Partner) -> None:
        called.append(partner.name)
        if partner.name == "PUB_WS":
            raise Unreachable("it hung up")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        known = {
            name: partner.model_copy(update={"host": "127.0.0.1", "port": free_port() if name == "PEAK_WS" else port})
            for name, partner in node.config.partners.items()
            if partner.is_destination
        }
        known["RAD_WS"] = known["RAD_WS"].model_copy(update={"host": "no-such-host.invalid"})
        config = node.config.model_copy(update={"partners": known})
        monkeypatch.setattr(Requestor, "echo", echo)
        found = list(checks.partners(Patient(config, node.archive, None, False, True)))
    said = {name: next(each for each in found if each[1].startswith(f"{name} ")) for name in known}
    assert {name: each[0] for name, each in said.items() if each[0] is not State.OK} == dict.fromkeys(
        ("RAD_WS", "PEAK_WS", "PUB_WS"), State.PROBLEM
    )
    assert "no address" in said["RAD_WS"][1]
    assert "no connection" in said["PEAK_WS"][1]
    assert "it hung up" in said["PUB_WS"][1]
    assert "ms" in said["PUBPACS"][1]
    assert "RAD_WS" not in called
    assert list(checks.partners(Patient(config, node.archive, None, False, False))) == []


def test_an_index_that_cannot_be_read_is_no_end_of_the_examination(node: Node) -> None:
    node.database.path.write_bytes(b"this was the index" * 1000)
    again = Database(node.database.path)
    found = list(examine(Patient(node.config, node.archive, again, False, False)))
    assert any(each.check == "index" and each.state is State.PROBLEM for each in found)
    assert {each.check for each in found} >= {"disk", "clock", "index", "queue", "archive"}
    again.close()
