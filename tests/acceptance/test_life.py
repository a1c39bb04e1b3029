"""How a node ends, changes and mends itself: drains, reloads, restarts what died, and lets no partner stop another."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.integration.kit import rows
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.samples import Sample, make_instances
from tests.upper_layer import C_STORE, encode_command
from tests.wire import Aborted, Association, ChaosProxy, Closed, Receiver, Rejected, WireError, contexts_for


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


def _associate(node: Node, made: Sequence[Sample], **options: Any) -> Association:
    return node.associate("CT1", contexts_for(made), called="TO_GENERAL", **options)


def _send(node: Node, made: Sequence[Sample]) -> None:
    with _associate(node, made) as association:
        assert {association.send_sample(sample) for sample in made} == {0}


def _begin(association: Association, sample: Sample) -> bytes:
    """Send the command and half the dataset of a C-STORE; the rest is returned, as PDUs."""
    command = {
        "CommandField": C_STORE,
        "MessageID": 7,
        "Priority": 0,
        "CommandDataSetType": 0,
        "AffectedSOPClassUID": sample.sop_class,
        "AffectedSOPInstanceUID": sample.sop_instance,
    }
    association.channel.max_pdu = 4096
    pdus = list(association.channel.fragments(1, encode_command(command), command=True))
    pdus += association.channel.fragments(1, sample.dataset, command=False)
    half = len(pdus) // 2
    association.send_raw(b"".join(pdus[:half]))
    return b"".join(pdus[half:])


def _logged(node: Node, text: str) -> Callable[[], bool]:
    return lambda: text in node.log.read_text()


def _tell(node: Node, number: signal.Signals) -> None:
    assert node.process
    node.process.send_signal(number)


# -- SIGTERM ---------------------------------------------------------------------------------------------------


def test_sigterm_lets_what_is_being_done_come_to_its_end(node: Callable[..., Node], receiver: Receiver) -> None:
    """A C-STORE of which half has come, and an instance on its way to a partner that thinks about it."""
    it = node(default_config(pubpacs=receiver.port))
    receiver.delay = threading.Event()
    made = make_instances(5, seed="drain")
    _send(it, made[:4])
    receiver.wait_until(lambda: bool(receiver.requests), 10, "an association")
    association = _associate(it, made)
    rest = _begin(association, made[4])
    it.wait_until(lambda: list(it.data.rglob("*.part")), 5, "the part file")
    _tell(it, signal.SIGTERM)
    it.wait_until(_logged(it, "draining"), 5, "the drain")
    it.wait_until(lambda: not _answers(it), 5, "the end of new associations")
    association.send_raw(rest)
    assert association.read_response().status == 0
    association.release()
    receiver.delay.set()
    assert it.process
    assert it.process.wait(10) == 0
    done = len(receiver.received)
    assert 1 <= done < 4
    (study,) = it.cli("studies", "show", made[0].study, json=True)
    assert {version["sop_instance_uid"] for version in study["versions"]} == {sample.sop_instance for sample in made}
    states = sorted(row["state"] for row in it.cli("queue", "list", json=True))
    assert states == ["delivered"] * done + ["queued"] * (5 - done)
    assert not list(it.data.rglob("*.part"))
    it.start()
    receiver.wait_for(5)
    it.wait_until(lambda: rows(it, "SELECT 1 FROM referrals WHERE progress = 'sent'"), 10, "the referral to be sent")
    assert sorted(each.sop_instance for each in receiver.received) == sorted(sample.sop_instance for sample in made)


def _answers(node: Node) -> bool:
    try:
        return node.echo() == 0
    except (WireError, OSError):
        return False


def test_sigterm_aborts_who_does_not_come_to_an_end(node: Callable[..., Node]) -> None:
    it = node(changed(default_config(), {"node": {"limits": {"drain": "1s"}}}))
    (sample,) = make_instances(1, seed="stuck")
    association = _associate(it, [sample])
    _begin(association, sample)
    _tell(it, signal.SIGTERM)
    with pytest.raises((Aborted, Closed)):
        association.recv_pdu()
    assert it.process
    assert it.process.wait(10) == 0
    assert not list(it.data.rglob("*.part"))


# -- reload ----------------------------------------------------------------------------------------------------


class Knocker(threading.Thread):
    """C-ECHO after C-ECHO, each on an association of its own, until it is stopped: what went wrong is in `faults`."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node, self.count, self.faults, self.over = node, 0, list[BaseException](), threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                assert self.node.echo("CT1") == 0
                self.count += 1
            except (WireError, OSError, AssertionError) as error:
                self.faults.append(error)

    def __enter__(self) -> Knocker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(10)


def test_a_reload_is_taken_into_use_and_disturbs_nobody(node: Callable[..., Node], receiver: Receiver) -> None:
    it = node()
    made = make_instances(3, seed="reload")
    association = _associate(it, made)
    rest = _begin(association, made[0])
    before = it.pids()
    with pytest.raises(Rejected):
        it.echo("NEWCT")
    with Knocker(it) as knocker:
        newcomer = {"site": "harbour", "address": LOCAL, "may": ["store"]}
        config = changed(it.config, {"partners": {"NEWCT": newcomer, "PUBPACS": {"port": receiver.port}}})
        it.configure(config)
        done = it.cli("reload")
        assert done.code == 0, done
        assert "generation 2 is in force" in done.out
        it.wait_until(lambda: not _rejected(it, "NEWCT"), 10, "the newcomer to be let in")
        it.wait_until(lambda: _others(it, "forwarder", before["forwarder"]), 20, "the new forwarder")
        seen = knocker.count
        it.wait_until(lambda: knocker.count > seen + 20, 10, "more of those who knock")
    assert knocker.faults == []
    association.send_raw(rest)
    assert association.read_response().status == 0
    assert association.send_sample(made[1]) == 0
    association.release()
    it.wait_until(lambda: _others(it, "acceptor", before["acceptor"]), 10, "the old acceptors to go")
    _send(it, made[2:])
    receiver.wait_for(3)
    assert it.process
    assert it.pids()["supervisor"] == [it.process.pid]
    opened = [row["generation"] for row in it.cli("audit", "list", json=True) if row["event"] == "referral opened"]
    assert opened == [1], "the study was referred under the configuration that its association had begun with"


def test_no_reload_of_many_leaves_an_old_worker_or_turns_anybody_away(node: Callable[..., Node]) -> None:
    it = node()
    with Knocker(it) as one, Knocker(it) as two:
        for _ in range(3):
            before = it.pids()["acceptor"]
            assert it.cli("reload").code == 0
            it.wait_until(lambda old=before: _others(it, "acceptor", old), 15, "the old acceptors to go")
    assert one.faults == two.faults == []


def _others(node: Node, role: str, before: Sequence[int]) -> bool:
    """Whether a role is played by others, all of them, than before."""
    now = node.pids().get(role, [])
    return len(now) == len(before) and set(now).isdisjoint(before)


def _rejected(node: Node, calling: str) -> bool:
    try:
        node.echo(calling)
    except Rejected:
        return True
    return False


def test_a_faulty_file_is_not_taken_into_use_and_the_reason_is_said(node: Callable[..., Node]) -> None:
    it = node()
    sound = it.config
    it.configure(changed(sound, {"partners": {"CT1": {"adress": "1.2.3.4"}, "RAD_WS": {"may": ["sotre"]}}}))
    done = it.cli("reload")
    assert done.code == 2
    for word in ("adress", "did you mean", "sotre", "line "):
        assert word in done.err
    it.wait_until(_logged(it, "the configuration in force stays"), 10, "the refusal in the log")
    assert "adress" in it.log.read_text()
    assert it.echo("CT1") == 0
    it.configure(changed(sound, {"node": {"bind": f"{LOCAL}:{free_port()}"}}))
    done = it.cli("reload")
    assert done.code == 2, done
    assert "node.bind" in done.err
    assert "restart" in done.err
    it.configure(sound)
    assert it.echo("CT1") == 0
    refused = [row["text"] for row in it.cli("audit", "list", json=True) if row["event"] == "configuration refused"]
    assert [("adress" in text, "node.bind" in text) for text in refused] == [(True, False), (False, True)]
    done = it.cli("reload")
    assert done.code == 0, done


def test_a_reload_without_a_node_says_what_to_do(node: Callable[..., Node]) -> None:
    it = node(start=False)
    done = it.cli("reload")
    assert done.code == 2
    assert "dicomnode serve" in done.err


# -- one data folder, one node ---------------------------------------------------------------------------------


def test_a_second_node_on_one_data_folder_or_port_is_refused(node: Callable[..., Node]) -> None:
    first = node()
    assert first.process
    done = node(default_config(data=str(first.data)), start=False).cli("serve", timeout=20)
    assert done.code == 1, done
    assert f"in use by another node (process {first.process.pid})" in done.err
    done = node(default_config(port=first.port), start=False).cli("serve", timeout=20)
    assert done.code == 1, done
    assert f"cannot listen on {LOCAL}:{first.port}" in done.err
    assert first.echo() == 0


# -- what dies, and what hangs ---------------------------------------------------------------------------------


def test_a_worker_that_dies_is_started_again(node: Callable[..., Node], receiver: Receiver) -> None:
    it = node(default_config(pubpacs=receiver.port))
    for count, role in enumerate(("acceptor", "forwarder", "housekeeper"), 1):
        before = it.pids()
        killed = it.kill(role)
        it.wait_until(lambda role=role, old=before[role]: _others(it, role, old), 15, f"a new {role}")
        _send(it, make_instances(2, seed=role))
        receiver.wait_for(2 * count)
        assert it.pids() == before | {role: it.pids()[role]}, "the others go on"
        assert f"{role} pid={killed[0]} died" in it.log.read_text()


def test_the_workers_end_when_their_supervisor_is_killed(node: Callable[..., Node]) -> None:
    it = node()
    association = _associate(it, make_instances(1, seed="orphans"))
    workers = [pid for role, pids in it.pids().items() if role != "supervisor" for pid in pids]
    assert len(workers) >= 3
    handles = [os.pidfd_open(pid) for pid in workers]
    it.kill("supervisor")
    deadline = time.monotonic() + 5
    try:
        for handle in handles:
            assert select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0], "a worker lives on"
    finally:
        for handle in handles:
            os.close(handle)
    with pytest.raises((Closed, Aborted)):
        association.recv_pdu()


def test_a_dead_partner_delays_nobody_else(node: Callable[..., Node], receiver: Receiver) -> None:
    with Receiver() as city, ChaosProxy(LOCAL, receiver.port) as proxy:
        config = changed(default_config(pubpacs=proxy.port), {"node": {"limits": {"response": "120s"}}})
        config["partners"]["CITY"] = {"site": "general", "host": LOCAL, "port": city.port}
        config["routes"][0]["to"] = ["PUBPACS", "CITY"]
        it = node(config)
        proxy.blackhole()
        _send(it, make_instances(5, seed="first"))
        it.wait_until(lambda: proxy.connections, 10, "the forwarder to be stuck")
        _send(it, make_instances(5, seed="second"))
        city.wait_for(10)  # the partner that hangs may take much longer than this to answer
        assert receiver.received == []
        assert it.echo() == 0
        proxy.resume()
        receiver.wait_for(10, timeout=30)
