"""On what the figures were measured: without it they mean nothing to another machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests import dcmtk


def facts(folder: Path) -> dict[str, str]:
    """Name → value, for people and for JSON; `folder` is where the servers keep their data."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "load average": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        **{package: version(package) for package in ("dicomnode", "pynetdicom", "pydicom")},
        "DCMTK": _first_number([dcmtk.binary("storescp"), "--version"]),
        "Orthanc": _first_number([shutil.which("Orthanc") or "/usr/sbin/Orthanc", "--version"]),
    }


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on: on a tmpfs a sync costs nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(fitting, key=lambda mount: len(mount[0]))[1]


def _first_number(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found.group() if found else "unknown"


def spread(folder: Path) -> None:
    """Let the folders below lie far apart, where the file system knows how to (ext4).

    Near files that were deleted in the last minutes, ext4 spends up to a millisecond on finding room for a new one: it
    would be chance which peer pays for what was removed before.
    """
    with contextlib.suppress(OSError):
        subprocess.run(["chattr", "+T", folder], stderr=subprocess.DEVNULL, check=False)
