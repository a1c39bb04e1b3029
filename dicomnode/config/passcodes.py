"""The files in which passcodes are: each the only line of its file, which nobody but the node's user can read.

A passcode is in no configuration, no log, no index and no message. It is read anew each time that it is needed: a
changed one counts at once. What may fail: OSError, where a file cannot be read.
"""

from __future__ import annotations

import stat
from pathlib import Path


def passcode(path: Path) -> bytes:
    """The passcode in a file, as it is sent. OSError also where the file has none."""
    line = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    if not line:  # an empty one would let in whoever sends none
        raise OSError(None, "there is no passcode in it")
    return line


def fault(path: Path) -> str:
    """What is wrong with a file of a passcode, and what to do; '' where nothing is."""
    try:
        line = passcode(path)
        is_open = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} cannot be used: {error.strerror}"
    if b"\n" in line:
        return f"{path} has several lines: the passcode is the only one"
    return f"is open to others than its owner: chmod 600 {path}" if is_open else ""
