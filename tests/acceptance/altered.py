"""A node that was altered for a test: `python -m tests.acceptance.altered` in place of `python -m dicomnode`.

`DICOMNODE_TESTS_ALTERATIONS` names functions of ALTERATIONS, each of which replaces something of the product before a
process of the node begins, by its role. The weak ones are what the harnesses are measured against: a harness that finds
nothing wrong with a node that breaks the promise finds nothing at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_NAMES = "DICOMNODE_TESTS_ALTERATIONS"
_LATER = 0.1


def environment(*names: str, **more: str) -> dict[str, str]:
    """What a `Node` with `module="tests.acceptance.altered"` needs in its environment."""
    assert set(names) <= set(ALTERATIONS), names
    return {"PYTHONPATH": str(Path(__file__).parents[2]), _NAMES: " ".join(names), **more}


class Other:
    """A module as another one sees it, with some of its functions replaced."""

    def __init__(self, module: ModuleType, **replaced: Any) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


# -- nodes that break the promise ------------------------------------------------------------------------------


def answers_early(role: str) -> None:
    """Acceptors answer a C-STORE at once, and take the instance into custody a moment later."""
    from dicomnode.net import handlers
    from dicomnode.store.index import Kind, Recorded

    receive = handlers.receive

    def later(*arguments: Any) -> Recorded:
        def keep() -> None:
            time.sleep(_LATER)
            receive(*arguments)

        threading.Thread(target=keep, daemon=True).start()
        return Recorded(0, None, Kind.NEW, "", None)

    handlers.receive = later  # type: ignore[assignment]


def syncs_no_commit(role: str) -> None:
    """SQLite's `synchronous=NORMAL`: a commit is in the log, and the log is not on disk."""
    from dicomnode.store import database

    assert database._PRAGMAS["synchronous"] == "full"
    database._PRAGMAS["synchronous"] = "normal"


def syncs_no_folder(role: str) -> None:
    """The name of a kept file is not on disk when its row is."""
    from dicomnode.store import archive

    archive.os = Other(os, fsync=lambda _: None)  # type: ignore[assignment]


def syncs_no_file(role: str) -> None:
    """The bytes of a kept file are not on disk when its name is."""
    from dicomnode.store import archive

    archive.os = Other(os, fdatasync=lambda _: None)  # type: ignore[assignment]


def shrugs(role: str) -> None:
    """A sync that fails is taken for one that did not."""
    from dicomnode.store import archive

    def shrugged(file: int) -> None:
        with contextlib.suppress(OSError):
            os.fdatasync(file)

    archive.os = Other(os, fdatasync=shrugged)  # type: ignore[assignment]


def forwards_early(role: str) -> None:
    """The forwarder takes an instance for delivered as soon as it was sent."""
    from dicomnode.net.storing import Storing

    def at_once(*arguments: Any) -> int:
        threading.Thread(target=status, args=arguments, daemon=True).start()
        return 0

    status = Storing._status
    Storing._status = at_once  # type: ignore[method-assign]


def looks_away(role: str) -> None:
    """A configuration is taken into use whatever reverse path it opens."""
    from dicomnode.operations import configure

    configure.breaches = lambda config: iter(())  # type: ignore[assignment]


# -- nodes that are only quicker, or die when they are told to ----------------------------------------------------


def hurries(role: str) -> None:
    """What is done now and then is done often, and what waits for a while waits for half a second."""
    from dicomnode.operations import watch
    from dicomnode.run import rounds, supervisor
    from dicomnode.store import volume

    assert min(rounds._CHECKPOINT, rounds._LONGEST, supervisor._QUICK, volume._SUSPECT, watch._MINUTE) > 1
    rounds._CHECKPOINT, rounds._LONGEST, supervisor._QUICK, volume._SUSPECT, watch._MINUTE = 0.5, 0.5, 0.1, 0.5, 0.5


def fails(role: str) -> None:
    """Dies at the points of tests/acceptance/failpoints.py that are armed."""
    from tests.acceptance import failpoints

    failpoints.install(role)


def has_a_bad_disk(role: str) -> None:
    """While the file that DICOMNODE_TESTS_BAD_DISK names is there no instance is synced; a disk is suspect 3 s."""
    from dicomnode.store import archive, volume

    def fdatasync(file: int) -> None:
        if os.path.exists(os.environ["DICOMNODE_TESTS_BAD_DISK"]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(file)

    assert volume._SUSPECT > 3
    volume._SUSPECT = 3.0
    archive.os = Other(os, fdatasync=fdatasync)  # type: ignore[assignment]


ALTERATIONS: dict[str, Callable[[str], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(answers_early, syncs_no_commit, syncs_no_folder, syncs_no_file, shrugs, forwards_early),
        *(looks_away, hurries, fails, has_a_bad_disk),
    )
}


# -- its processes ---------------------------------------------------------------------------------------------


def _supervise() -> None:
    """The supervisor is altered, and with it all that it forks; who dies where is decided by role."""
    from dicomnode.cli import main
    from dicomnode.run import workers

    names = os.environ[_NAMES].split()
    for name in names:
        ALTERATIONS[name]("supervisor")
    work = workers.main

    def altered(role: str, orders: Any, lifeline: int) -> None:
        if "fails" in names:
            fails(role)
        work(role, orders, lifeline)

    workers.main = altered
    main()


if __name__ == "__main__":
    _supervise()
