"""A node that answers before it has kept: `python -m tests.acceptance.weakened` in place of `python -m dicomnode`.

What the crash tests are measured against: a harness that finds nothing wrong with this one finds nothing at all. Its
acceptors answer a C-STORE at once and take the instance into custody a moment later, in a thread of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

_WORKERS = "dicomnode.run.workers"
_LATER = 0.1


def _spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a worker by this module, which then is the worker."""
    assert command[1:3] == ["-m", _WORKERS], command
    return subprocess.Popen([command[0], "-m", "tests.acceptance.weakened", *command[2:]], **options)


def _work(role: str) -> None:
    from dicomnode.net import handlers
    from dicomnode.run import workers

    receive = handlers.receive

    def later(*arguments: Any) -> None:
        def keep() -> None:
            time.sleep(_LATER)
            receive(*arguments)

        threading.Thread(target=keep, daemon=True).start()

    handlers.receive = later  # type: ignore[assignment]
    workers.main(role)


class _Subprocess:
    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired
    Popen = staticmethod(_spawn)


def _supervise() -> None:
    from dicomnode.cli import main
    from dicomnode.run import supervisor

    supervisor.subprocess = _Subprocess  # type: ignore[assignment]
    main()


if __name__ == "__main__":
    if sys.argv[1] == _WORKERS:
        _work(sys.argv[2])
    else:
        _supervise()
