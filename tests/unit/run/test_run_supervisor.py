"""run/supervisor.py: what it sleeps for, and where its workers count. Its life is told by tests/acceptance."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest

from dicomnode.errors import DicomnodeError
from dicomnode.run.orders import Answer
from dicomnode.run.scoreboard import ROWS
from dicomnode.run.supervisor import Supervisor, Worker
from tests import fakes


@pytest.fixture
def idle() -> Supervisor:
    return Supervisor(Path("dicomnode.yaml"))


def worker(row: int = -1, kill_at: float = 0.0) -> Worker:
    no_process: Any = None
    return Worker("acceptor", no_process, 0.0, -1, row, kill_at)


def test_it_sleeps_until_a_signal_or_a_deadline(idle: Supervisor) -> None:
    now = time.monotonic()
    idle._workers = [worker()]
    assert idle._rest() is None
    idle._workers = [worker(), worker(kill_at=now + 30), worker(kill_at=now + 20)]
    assert idle._rest() == pytest.approx(20, abs=1)
    idle._hire_at = now + 2
    assert idle._rest() == pytest.approx(2, abs=1)
    idle._hire_at = now - 0.001  # it passed since the last look: nobody would wake us
    assert idle._rest() == 0
    idle._workers.append(worker(kill_at=now - 1))
    assert idle._rest() == 0


def test_who_does_not_end_is_killed_and_not_every_moment_again(idle: Supervisor) -> None:
    late = worker(kill_at=time.monotonic() - 1)
    late.process = Mock(pid=1, is_gone=False)
    idle._workers, idle._hire_at = [late], time.monotonic() + 60
    idle._tend()
    assert late.process.signal.call_args_list == [call(signal.SIGKILL)]
    rest = idle._rest()
    assert rest is not None
    assert rest > 1


def test_a_row_is_one_worker_s_until_it_is_gone(idle: Supervisor) -> None:
    idle._workers = [worker(0), worker(1), worker(3), worker()]
    assert idle._free_rows()[:2] == [2, 4]


def test_a_reload_waits_for_room_on_the_scoreboard(idle: Supervisor, tmp_path: Path) -> None:
    config = fakes.configuration("node: {ae_title: A, acceptors: 2}", tmp_path)
    idle._workers = [worker(row) for row in range(ROWS - 2)]
    idle._check_room(Answer(config))
    idle._workers.append(worker(ROWS - 1))
    with pytest.raises(DicomnodeError, match="still draining"):
        idle._check_room(Answer(config))
