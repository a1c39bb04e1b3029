"""File systems of a test's own: small ones, and ones that can be made read-only.

Whoever may not mount any runs the test again in user and mount namespaces of its own, where everybody may; a test is
skipped only where the kernel allows neither.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_WITHIN = "DICOMNODE_TESTS_WITHIN"


def mounts(test: Callable[..., None]) -> Callable[..., None]:
    """A test that mounts something. It wants `request` among its arguments."""
    assert "request" in inspect.signature(test).parameters

    @functools.wraps(test)
    def run(request: pytest.FixtureRequest, **arguments: Any) -> None:
        if may_mount() or _WITHIN in os.environ:
            test(request=request, **arguments)
        else:
            _within(request)

    return run


@functools.cache
def may_mount() -> bool:
    """Whether this user may mount a file system here."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0


def _within(request: pytest.FixtureRequest) -> None:
    """Run one test in namespaces of its own; what it says there is what it says here."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here, nor in a namespace of our own")
    command = [*unshare, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
    root = request.config.rootpath
    done = subprocess.run(
        command, cwd=root, env={**os.environ, _WITHIN: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes at `folder`."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    with _unmounted(folder):
        yield folder


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """A folder that nothing can be written to, whoever tries."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    with _unmounted(folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder


@contextlib.contextmanager
def _unmounted(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes free. The node goes on writing meanwhile, so the end may come sooner."""
    filler = folder / "filler"
    filler.unlink(missing_ok=True)
    space = os.statvfs(folder)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(max(0, space.f_bavail * space.f_frsize - leave) // 4096):
            file.write(bytes(4096))
    return filler
