"""DCMTK's command line tools, as a test uses them: on 127.0.0.1, with a time-out, ended by process id.

A missing binary is a failure that names its remedy, never a skip. Exit codes are not to be trusted everywhere: findscu
and `dcmsend --no-halt` exit 0 on failures, so that `find` reads the statuses and `dcmsend` its report.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from tests import wire
from tests.certificates import Identity
from tests.node import LOCAL, free_port, wait_until

INSTALL = "apt-get install dcmtk"
_ENV = {**os.environ, "TCP_NODELAY": "1"}  # else each store costs the 40 ms of a delayed acknowledgement


@dataclass(frozen=True)
class Done:
    """How a tool ended: exit code, and what it wrote on both streams."""

    code: int
    text: str

    @property
    def status(self) -> int | None:
        """The DIMSE status of the last response that it logged; echoscu logs none, its exit code tells."""
        found = re.findall(r"DIMSE Status\s*: 0x([0-9a-fA-F]{4})", self.text)
        return int(found[-1], 16) if found else None


@dataclass(frozen=True)
class Found:
    """The matches of a C-FIND, and its final status (None when there was no answer at all)."""

    matches: list[Dataset]
    status: int | None
    done: Done


def binary(name: str) -> str:
    """The path of a tool; FileNotFoundError tells the line that installs it."""
    own = Path(sys.prefix) / "bin"  # pynetdicom puts a storescu, findscu … of its own there
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder and Path(folder) != own]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        raise FileNotFoundError(f"{name} is missing: {INSTALL}")
    return path


def run(tool: str, *arguments: object, timeout: float = 60, cwd: Path | None = None) -> Done:
    """Run a tool to its end; subprocess.TimeoutExpired where it takes too long."""
    command = [binary(tool), *map(str, arguments)]
    done = subprocess.run(
        command, env=_ENV, cwd=cwd, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return Done(done.returncode, done.stdout.decode(errors="replace"))


def _titles(calling: str, called: str) -> tuple[str, ...]:
    return ("-aet", calling, "-aec", called)


def echoscu(port: int, *, calling: str = "ECHOSCU", called: str = "ANY-SCP", options: Sequence[object] = ()) -> Done:
    return run("echoscu", "-d", *_titles(calling, called), *options, LOCAL, port)


def storescu(
    port: int,
    paths: Sequence[Path],
    *,
    calling: str = "STORESCU",
    called: str = "ANY-SCP",
    options: Sequence[object] = (),
    timeout: float = 120,
) -> Done:
    """Send files, proposing no more than they need (-R). Datasets are rewritten, if only in their lengths.

    Compressed files need their option (-xs, -xy, -xt …), or `dcmsend`. It stops at the first
    failure unless options has "-nh"; exit code: the status' high byte, or 1.
    """
    return run("storescu", "-d", "-R", *_titles(calling, called), *options, LOCAL, port, *paths, timeout=timeout)


def dcmsend(
    port: int,
    paths: Sequence[Path],
    *,
    calling: str = "DCMSEND",
    called: str = "ANY-SCP",
    options: Sequence[object] = (),
    timeout: float = 120,
) -> tuple[Done, str]:
    """Send files whatever becomes of each, never decompressed: how it ended, and its report, which has the truth."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        fixed = ("-v", "--no-halt", "--decompress-never", "--create-report-file", report)
        done = run("dcmsend", *fixed, *_titles(calling, called), *options, LOCAL, port, *paths, timeout=timeout)
        return done, report.read_text() if report.exists() else ""


def _keys(level: str, keys: Mapping[str, str]) -> Iterator[str]:
    for keyword, value in {"QueryRetrieveLevel": level, **keys}.items():
        yield from ("-k", f"{keyword}={value}" if value else keyword)


def find(
    port: int,
    level: str,
    keys: Mapping[str, str],
    *,
    calling: str = "FINDSCU",
    called: str = "ANY-SCP",
    model: str = "-S",
    options: Sequence[object] = (),
) -> Found:
    """C-FIND at a level (STUDY, SERIES, IMAGE); an empty value asks for it. `model`: -S study root, -P patient root."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = ("-d", model, "-X", "-od", folder, *_titles(calling, called))
        done = run("findscu", *fixed, *_keys(level, keys), *options, LOCAL, port)
        matches = [pydicom.dcmread(path, force=True) for path in sorted(Path(folder).glob("rsp*.dcm"))]
        for match in matches:
            match.decode()
    return Found(matches, done.status, done)


def movescu(
    port: int,
    destination: str,
    level: str,
    keys: Mapping[str, str],
    *,
    calling: str = "MOVESCU",
    called: str = "ANY-SCP",
    model: str = "-S",
    options: Sequence[object] = (),
    timeout: float = 120,
) -> Done:
    """C-MOVE to an AE title; `status` of the answer has the final response."""
    fixed = ("-d", model, "-aem", destination, *_titles(calling, called))
    return run("movescu", *fixed, *_keys(level, keys), *options, LOCAL, port, timeout=timeout)


def getscu(
    port: int,
    folder: Path,
    level: str,
    keys: Mapping[str, str],
    *,
    calling: str = "GETSCU",
    called: str = "ANY-SCP",
    model: str = "-S",
    options: Sequence[object] = (),
    timeout: float = 120,
) -> Done:
    """C-GET into a folder, bit preserving."""
    fixed = ("-d", model, "+B", "-od", folder)
    return run("getscu", *fixed, *_titles(calling, called), *_keys(level, keys), *options, LOCAL, port, timeout=timeout)


def dcmdump(path: Path, *options: object) -> str:
    """A file as text; AssertionError where DCMTK cannot read it."""
    done = run("dcmdump", *options, path)
    assert done.code == 0, done.text
    return done.text


# -- a storage SCP ---------------------------------------------------------------------------------------------


@dataclass
class StoreSCP:
    """A running storescp: the port it listens on, and the folder it fills."""

    port: int
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def files(self) -> list[Path]:
        """What has been stored so far; a file may still be growing."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def wait_for(self, count: int, timeout: float = 20) -> list[Path]:
        wait_until(lambda: len(self.files()) >= count, timeout, f"{count} files in storescp's folder", self.log)
        return self.files()


@contextlib.contextmanager
def storescp(
    folder: Path,
    ae_title: str = "STORESCP",
    *,
    port: int = 0,
    options: Sequence[object] = (),
    papers: Identity | None = None,
) -> Iterator[StoreSCP]:
    """A storescp that keeps datasets bit by bit, takes every syntax it knows and every class; it listens on entry.

    With papers, it speaks TLS alone, with whom their authority vouches for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    fixed = ("-d", "-aet", ae_title, "-od", folder, "+B", "+xa", "-pm", "-dhl")
    command = [binary("storescp"), *map(str, (*fixed, *(papers.dcmtk if papers else ()), *options, port))]
    with tempfile.TemporaryDirectory() as elsewhere:
        log = Path(elsewhere) / "storescp.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=_ENV, stdout=file, stderr=file)
        try:
            wait_until(lambda: _listens(process, port, ae_title, log, papers), 10, "storescp to listen", log)
            yield StoreSCP(port, folder, log, process)
        finally:
            process.kill()
            process.wait(10)


def _listens(
    process: subprocess.Popen[Any], port: int, ae_title: str, log: Path, papers: Identity | None
) -> bool:
    assert process.poll() is None, f"storescp ended: {log.read_text(errors='replace')}"
    with contextlib.suppress(OSError, wire.WireError):
        return wire.echo(LOCAL, port, ae_title, timeout=2, wrap=papers and papers.context().wrap_socket) == 0
    return False


@contextlib.contextmanager
def qrscp(folder: Path, ae_title: str = "QRSCP", hosts: Mapping[str, int] | None = None) -> Iterator[int]:
    """A dcmqrscp that anybody may store into and ask; it listens on entry. Yields its port.

    `hosts`: AE title → port on 127.0.0.1, of those that it may be told to send to.
    """
    (folder / "kept").mkdir(parents=True)
    port = free_port()
    known = "".join(f"{title} = ({title}, {LOCAL}, {at})\n" for title, at in (hosts or {}).items())
    tables = {"HostTable": known, "VendorTable": "", "AETable": f"{ae_title} {folder / 'kept'} RW (200, 1024mb) ANY\n"}
    settings = f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
    text = settings + "".join(f"{name} BEGIN\n{rows}{name} END\n" for name, rows in tables.items())
    (folder / "dcmqrscp.cfg").write_text(text)
    log = folder / "dcmqrscp.log"
    with log.open("wb") as file:
        command = [binary("dcmqrscp"), "-d", "-c", str(folder / "dcmqrscp.cfg")]
        process = subprocess.Popen(command, env=_ENV, stdout=file, stderr=file)
    try:
        wait_until(lambda: _listens(process, port, ae_title, log, None), 10, "dcmqrscp to listen", log)
        yield port
    finally:
        process.kill()
        process.wait(10)
