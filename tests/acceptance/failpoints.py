"""Points at which a process of the node dies when somebody has armed them: a kill -9 exactly there, and nowhere else.

Nothing of it is in the product: `install` wraps functions of it in a process that was altered (altered.py). To arm a
point is to make a file of its name; the first process that comes by renames it, and dies. So a kill happens once, in
whichever process it is, and the test sees that it has.
"""

from __future__ import annotations

import functools
import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FOLDER = "DICOMNODE_TESTS_FAILPOINTS"
_rename, _fdatasync, _fsync = os.rename, os.fdatasync, os.fsync

WORKER, NODE = "worker", "node"
"""Who dies: the process that comes by; or the supervisor with it, and so the whole node."""


class Failpoints:
    """The test's side: a folder with a file for each point that is armed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {_FOLDER: str(self.folder)}

    def arm(self, point: str, who: str = WORKER) -> None:
        """The next process that comes to a point dies there."""
        (self.folder / f"{point}.new").write_text(who)
        (self.folder / f"{point}.new").rename(self.folder / point)

    def has_killed(self, point: str) -> bool:
        """Whether somebody came by since it was armed."""
        return not (self.folder / point).exists()


def passing(point: str) -> None:
    """Die here, if this point is armed."""
    armed = os.path.join(os.environ[_FOLDER], point)
    try:
        _rename(armed, f"{armed}.passed")
    except FileNotFoundError:
        return
    _die(Path(f"{armed}.passed").read_text())


def _die(who: str) -> None:
    if who == NODE:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _around(function: Callable[..., Any], before: str = "", after: str = "") -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before:
            passing(before)
        result = function(*arguments, **named)
        if after:
            passing(after)
        return result

    return wrapped


# -- the points, by role ---------------------------------------------------------------------------------------


def install(role: str) -> None:
    """Put its points into a process that is about to begin."""
    if role == "supervisor":
        _supervisor()
        return
    _commits(role)
    {"acceptor": _acceptor, "forwarder": _forwarder, "housekeeper": _housekeeper, "recover": _recover}.get(role, int)()


def _commits(role: str) -> None:
    """`<role> before commit`, `… in commit` (after the first function of a group, in its transaction), `… after`."""
    from dicomnode.store import database

    def attempt(call: Any, *rest: Any) -> None:
        call.fn = _around(call.fn, after=f"{role} in commit")
        plain(call, *rest)

    plain, database._attempt = database._attempt, attempt
    commit = _around(database.Database._commit, f"{role} before commit", f"{role} after commit")
    database.Database._commit = commit  # type: ignore[method-assign]


def _acceptor() -> None:
    from dicomnode.net import handlers
    from dicomnode.store import archive
    from tests.acceptance.altered import Other

    archive.os = Other(  # type: ignore[assignment]
        os,
        fdatasync=_around(_fdatasync, "acceptor before file sync"),
        rename=_around(_rename, "acceptor before rename", "acceptor after rename"),
        fsync=_around(_fsync, after="acceptor after folder sync"),
    )
    handlers.receive = _around(handlers.receive, after="acceptor before answer")


def _forwarder() -> None:
    from dicomnode.net.storing import Storing

    status = _around(Storing._status, "forwarder before response", "forwarder after response")
    Storing._status = status  # type: ignore[method-assign]


def _housekeeper() -> None:
    from dicomnode.operations import evict
    from dicomnode.store.archive import Archive
    from dicomnode.store.database import Database

    evict.space.evict = _around(evict.space.evict, after="housekeeper in eviction")
    clear = _around(Archive.clear, "housekeeper before removal", "housekeeper after removal")
    Archive.clear = clear  # type: ignore[method-assign]

    def half(database: Database) -> bool:
        """SIGXFSZ at the first page that is moved into the second half of the database file."""
        armed = os.path.join(os.environ[_FOLDER], "housekeeper in checkpoint")
        if os.path.exists(armed):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            middle = database.path.stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (middle, resource.RLIM_INFINITY))
            _rename(armed, f"{armed}.passed")
        return checkpoint(database)

    checkpoint = Database.checkpoint
    Database.checkpoint = half  # type: ignore[method-assign]


_STRANGE = """
ALTER TABLE instances ADD COLUMN strange TEXT NOT NULL DEFAULT 'strange';
UPDATE instances SET strange = file, notes = 'strange';
DELETE FROM transfers;
SELECT passing('recover in migration')
"""


def _recover() -> None:
    """`recover in migration`: a step of the schema that exists only while it is armed, and is never finished."""
    from dicomnode.operations import housekeep
    from dicomnode.store import migrations

    if os.path.exists(os.path.join(os.environ[_FOLDER], "recover in migration")):
        steps, apply = migrations.steps, migrations._apply
        migrations.steps = lambda: [*steps(), ("m9999_strange", _STRANGE)]

        def applied(connection: sqlite3.Connection, name: str, script: str) -> None:
            connection.create_function("passing", 1, passing)
            apply(connection, name, script)

        migrations._apply = applied
    housekeep.receive.adopt = _around(housekeep.receive.adopt, after="recover after adoption")


def _supervisor() -> None:
    from dicomnode.run.supervisor import Supervisor

    Supervisor._hire = _around(Supervisor._hire, after="supervisor after hiring")  # type: ignore[method-assign]
