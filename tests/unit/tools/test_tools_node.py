"""The process harness, against a stand-in for the node: a supervisor and its workers in a few lines of Python."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import node as nodes

STAND_IN = """
import os, pathlib, signal, subprocess, sys
from tests import wire
sleep = "import signal, sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); signal.pause()"
roles = ("acceptor", "acceptor", "forwarder")
workers = [subprocess.Popen([sys.executable, "-c", sleep, role], stdout=subprocess.PIPE) for role in roles]
for worker in workers:
    worker.stdout.readline()  # it has its name
def end(*_):
    for worker in workers:
        worker.terminate()
        worker.wait()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with wire.Receiver(port=int(sys.argv[1])):
    print("the stand-in listens", flush=True)
    lock = pathlib.Path("data/run/node.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(f"{os.getpid()} 1")
    while True:
        signal.pause()
"""


class StandIn(nodes.Node):
    program = STAND_IN

    def _command(self, *arguments: str) -> list[str]:
        if arguments == ("serve",):
            return [sys.executable, "-c", self.program, str(self.port)]
        return [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(3)", *arguments]


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    root = str(Path(__file__).parents[3])
    it = StandIn(tmp_path / "node", env={"PYTHONPATH": root})
    yield it
    it.kill_all()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and b"\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_processes_are_known_by_role_and_gone_after_a_stop(stand_in: StandIn) -> None:
    stand_in.start()
    roles = stand_in.pids()
    assert {role: len(pids) for role, pids in roles.items()} == {"supervisor": 1, "acceptor": 2, "forwarder": 1}
    assert stand_in.echo() == 0
    stand_in.stop()
    assert not [pid for pids in roles.values() for pid in pids if alive(pid)]
    assert stand_in.pids() == {}


def test_a_node_that_answers_before_it_is_whole_has_not_started(stand_in: StandIn) -> None:
    stand_in.program = STAND_IN.replace("getpid()} 1", "getpid()} 0")
    with pytest.raises(AssertionError, match="in vain"):
        stand_in.start(timeout=1)


def test_one_role_is_killed_and_the_rest_goes_on(stand_in: StandIn) -> None:
    stand_in.start()
    (killed,) = stand_in.kill("forwarder")
    assert not alive(killed)
    assert stand_in.pids().keys() >= {"supervisor", "acceptor"}
    with pytest.raises(AssertionError, match="no housekeeper is running"):
        stand_in.kill("housekeeper")


def test_all_are_killed_and_it_starts_again_on_its_port(stand_in: StandIn) -> None:
    stand_in.start()
    pids = [pid for pids in stand_in.pids().values() for pid in pids]
    stand_in.kill_all()
    assert not [pid for pid in pids if alive(pid)]
    stand_in.start().restart()
    assert stand_in.echo() == 0


def test_a_node_that_ends_at_once_is_reported_with_its_log(stand_in: StandIn) -> None:
    stand_in.program = "import sys; print('no such partner'); sys.exit(2)"
    with pytest.raises(AssertionError, match=r"exit code 2(?s:.*)no such partner"):
        stand_in.start()


def test_waiting_in_vain_shows_the_log(stand_in: StandIn) -> None:
    stand_in.start()
    with pytest.raises(AssertionError, match=r"in vain for the moon(?s:.*)the stand-in listens"):
        stand_in.wait_until(lambda: False, 0.05, "the moon")
    assert nodes.wait_until(lambda: "it", 0.05, "something") == "it"


def test_commands_are_run_with_the_configuration(stand_in: StandIn) -> None:
    assert stand_in.cli("queue", "list") == (3, "['queue', 'list']\n", "")
    with pytest.raises(AssertionError, match="queue list"):
        stand_in.cli("queue", "list", json=True)


def test_the_default_configuration_and_changes_to_it() -> None:
    config = nodes.default_config(port=11112, pubpacs=104)
    assert config["node"]["bind"] == "127.0.0.1:11112"
    assert config["partners"]["PUBPACS"]["port"] == 104
    other = nodes.changed(config, {"partners": {"CT1": None, "PUBPACS": {"associations": 4}}, "routes": []})
    assert "CT1" not in other["partners"]
    assert other["partners"]["PUBPACS"] == config["partners"]["PUBPACS"] | {"associations": 4}
    assert other["routes"] == []
    assert config["routes"] != []


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", nodes.free_port())):
        pass
