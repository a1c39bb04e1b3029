"""The whole node as processes, for the acceptance tests: started, asked, killed and started again.

Nothing of the package is imported. A `Node` ends only what it started, by process id; whatever it waits for in vain
ends in an AssertionError that shows the end of the node's log.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import yaml

from tests import wire
from tests.patience import patient

_ROLES = ("configure", "recover", "farewell", "acceptor", "forwarder", "housekeeper")


class Result(NamedTuple):
    """What a command left: exit code, and both streams as text."""

    code: int
    out: str
    err: str


_ports = itertools.count()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now, and that the kernel gives nobody who asks for any.

    Never the same twice in this process, and hardly ever one that a process of the same run has chosen.
    """
    while True:
        port = 10_000 + (os.getpid() * 101 + next(_ports)) % 22_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(predicate: Callable[[], Any], timeout: float, what: str, log: Path | None = None) -> Any:
    """Ask every 20 ms until the answer is true, and return it; AssertionError names `what`, and the log's end."""
    began = time.monotonic()
    while not (answer := predicate()):
        if time.monotonic() > began + patient(timeout):
            raise AssertionError(f"waited {time.monotonic() - began:.0f} s in vain for {what}{tail(log)}")
        time.sleep(0.02)
    return answer


def tail(log: Path | None, lines: int = 60) -> str:
    """The end of a log file, with a heading; nothing where there is none."""
    if log is None or not log.exists():
        return ""
    return "\n--- the end of its log ---\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


# -- the default configuration ---------------------------------------------------------------------------------

LOCAL = "127.0.0.1"


def default_config(
    *,
    port: int | None = None,
    pubpacs: int | None = None,
    rad_ws: int | None = None,
    peak_ws: int | None = None,
    **node: Any,
) -> dict[str, Any]:
    """Two private sites, a public one, and one route; the numbers are ports of partners, `node` further node keys.

    A destination whose port is not given gets one where nobody listens.
    """
    return {
        "node": {
            "ae_title": "REFERNODE",
            "aliases": ["TO_GENERAL"],
            "bind": f"{LOCAL}:{port or free_port()}",
            "data": "./data",
            "limits": {"drain": "5s", "retry_first": "1s", "retry_most": "2s", "connect": "3s", "response": "20s"},
            **node,
        },
        "sites": {
            "harbour": {"sector": "private", "name": "Harbour Imaging Centre", "patient_id_issuer": "HARBOUR"},
            "peak": {"sector": "private", "name": "Peak Imaging Centre", "patient_id_issuer": "PEAK"},
            "general": {"sector": "public", "name": "General Hospital", "patient_id_issuer": "HKID"},
        },
        "flows": ["private -> public"],
        "partners": {
            "CT1": {"site": "harbour", "address": LOCAL, "may": ["store"]},
            "RAD_WS": _called("harbour", rad_ws, may=["find", "move"]),
            "PEAK_CT": {"site": "peak", "address": LOCAL, "may": ["store"]},
            "PEAK_WS": _called("peak", peak_ws, may=["find", "move"]),
            "PUBPACS": _called("general", pubpacs),
        },
        "routes": [
            {
                "name": "referrals",
                "from": ["harbour"],
                "when": {"called": "TO_GENERAL"},
                "to": ["PUBPACS"],
                "wait": "1s",
            }
        ],
    }


def _called(site: str, port: int | None, **more: Any) -> dict[str, Any]:
    return {"site": site, "host": LOCAL, "port": port or free_port(), **more}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with maps merged key by key, everything else replaced; None removes a key."""
    result = copy.deepcopy(dict(config))
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = changed(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


# -- the node --------------------------------------------------------------------------------------------------


class Node:
    """One node in `folder`: its YAML, its log, and `data` where the configuration says so. Starts with `start()`."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        module: str = "dicomnode",
    ):
        """`module`: what is run in place of the package, for a node that was made worse on purpose."""
        self.folder, self.module = folder, module
        self.file, self.log = folder / "dicomnode.yaml", folder / "node.log"
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(env or {})}
        self.env.pop("DICOMNODE_CONFIG", None)
        self.process: subprocess.Popen[bytes] | None = None
        self.killed_at = 0.0
        """The moment of the last `kill` or `kill_all`, in monotonic seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(config or default_config())

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration file; a running node is told by `reload` on its command line."""
        self.config = copy.deepcopy(dict(config))
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    @property
    def port(self) -> int:
        return int(self.config["node"]["bind"].rpartition(":")[2])

    @property
    def ae_title(self) -> str:
        return str(self.config["node"]["ae_title"])

    @property
    def data(self) -> Path:
        return (self.folder / self.config["node"].get("data", "./data")).resolve()

    # -- life --

    def start(self, timeout: float = 20) -> Node:
        """Start it and return once all its workers are there and it has answered a C-ECHO; else AssertionError."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("serve"), cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait_until(self._answers, timeout, "the node's first C-ECHO")
        except BaseException:
            self.kill_all()
            raise
        return self

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", self.module, "-c", str(self.file), *arguments]

    def _answers(self) -> bool:
        if self.process and self.process.poll() is not None:
            raise AssertionError(f"the node ended with exit code {self.process.returncode}{tail(self.log)}")
        with contextlib.suppress(OSError, wire.WireError):
            return self._serves() and self.echo() == 0
        return False

    def _serves(self) -> bool:
        """Whether its lock says so: an acceptor may answer before the other workers have been started."""
        assert self.process
        words = (self.data / "run" / "node.lock").read_text().split()
        return words[:1] == [str(self.process.pid)] and words[1:] != ["0"]

    def stop(self, timeout: float = 20) -> None:
        """SIGTERM, and wait until it and its children are gone; AssertionError when they do not go."""
        if self.process is None:
            return
        family = _Family(self._family())
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(patient(timeout))
            family.wait_gone(patient(timeout))
        except (subprocess.TimeoutExpired, TimeoutError) as error:
            self.kill_all()
            raise AssertionError(f"the node did not stop within {timeout} s{tail(self.log)}") from error
        finally:
            family.close()
            self.process = None

    def restart(self) -> Node:
        """Stop in good order, and start again."""
        self.stop()
        return self.start()

    def kill_all(self) -> None:
        """SIGKILL the supervisor, then all that it started, as a power cut would; returns once they are gone."""
        if self.process is None:
            return
        family = _Family(self._family())
        self.killed_at = time.monotonic()
        self.process.kill()
        family.kill()
        self.process.wait(patient(10))
        family.wait_gone(patient(10))
        family.close()
        self.process = None

    def tell(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self.process
        self.process.send_signal(number)

    def bury(self, timeout: float = 10) -> None:
        """The supervisor was killed by somebody else: return once it is gone."""
        assert self.process
        self.process.wait(patient(timeout))
        self.process = None

    def kill(self, role: str) -> list[int]:
        """SIGKILL every process of a role, and return their ids once they are gone."""
        pids = self.pids().get(role, [])
        assert pids, f"no {role} is running: {self.pids()}{tail(self.log)}"
        family = _Family(pids)
        self.killed_at = time.monotonic()
        family.kill()
        family.wait_gone(10)
        family.close()
        return pids

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill_all()

    # -- its processes --

    def pids(self) -> dict[str, list[int]]:
        """Role → process ids, children of the supervisor included; those of no known role are `other`."""
        deadline = time.monotonic() + 2  # a child names itself: one that was forked just now may not have done so
        while "other" in (roles := self._roles()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return roles

    def _roles(self) -> dict[str, list[int]]:
        roles: dict[str, list[int]] = {}
        for pid in self._family():
            roles.setdefault(self._role(pid), []).append(pid)
        return roles

    def _role(self, pid: int) -> str:
        if self.process and pid == self.process.pid:
            return "supervisor"
        name = _name(pid)
        return name if name in _ROLES else "other"

    def _family(self) -> list[int]:
        """The supervisor and all its descendants."""
        if self.process is None or self.process.poll() is not None:
            return []
        parents = dict(_parents())
        found = [self.process.pid]
        for pid in found:  # grows while it is walked
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    # -- to talk to it --

    def cli(self, *arguments: str, json: bool = False, timeout: float = 60, stdin: str = "") -> Any:
        """Run a command: a Result, or with `json` what its `--json` prints (AssertionError where it fails)."""
        command = self._command(*arguments, *(["--json"] if json else []))
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patient(timeout),
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        return self._parsed(arguments, result) if json else result

    def _parsed(self, arguments: Sequence[str], result: Result) -> Any:
        assert result.code == 0, f"{' '.join(arguments)}: {result}{tail(self.log)}"
        return json.loads(result.out)

    def echo(self, calling: str | None = None, called: str | None = None, *, timeout: float = 5) -> int:
        """The status of a C-ECHO, by default from the first partner of the configuration."""
        name, partner = next(iter(self.config["partners"].items()))
        calling = calling or partner.get("ae_title", name)
        return wire.echo(LOCAL, self.port, called or self.ae_title, str(calling), timeout=patient(timeout))

    def associate(
        self, calling: str, contexts: wire.Contexts, *, called: str | None = None, **options: Any
    ) -> wire.Association:
        """An association from a calling AE title; `options` as those of wire.Association."""
        return wire.Association(LOCAL, self.port, called or self.ae_title, calling, contexts, **options)

    def send(
        self, paths: Sequence[Path], *, calling: str = "CT1", called: str | None = None, **options: Any
    ) -> dict[Path, int]:
        """Send files byte for byte over one association: path → status."""
        return wire.send_files(LOCAL, self.port, called or self.ae_title, calling, paths, **options)

    def wait_until(self, predicate: Callable[[], Any], timeout: float, what: str) -> Any:
        """As the function of this name, with this node's log."""
        return wait_until(predicate, timeout, what, self.log)


# -- processes by their ids ------------------------------------------------------------------------------------


class _Family:
    """Processes held by descriptors, so that an id that was given away again is never signalled."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.held: list[int] = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self.held.append(os.pidfd_open(pid))

    def kill(self) -> None:
        for fd in self.held:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)

    def wait_gone(self, timeout: float) -> None:
        """Return once all have ended; TimeoutError."""
        deadline = time.monotonic() + timeout
        for fd in self.held:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"a process is still there after {timeout} s")

    def close(self) -> None:
        for fd in self.held:
            os.close(fd)


def _parents() -> Iterator[tuple[int, int]]:
    """(process id, its parent's id) of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    yield int(entry.name), int(fields[1])


def _name(pid: int) -> str:
    """What a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
