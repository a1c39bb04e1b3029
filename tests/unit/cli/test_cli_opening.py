"""cli/opening.py: who gives a command, and what a person means by a time."""

from __future__ import annotations

import os
import pwd

import pytest

from dicomnode.cli import opening

ME = pwd.getpwuid(os.getuid()).pw_name
NOBODY = 4_000_000_000
"""An id that no account has."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)


def test_nobody_is_another_by_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "bert")
    assert opening.who() == ME


def test_who_has_become_root_by_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = next(each for each in pwd.getpwall() if each.pw_uid not in (0, os.getuid()))
    monkeypatch.setenv("SUDO_UID", str(known.pw_uid))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert opening.who() == known.pw_name
    monkeypatch.setenv("SUDO_UID", "bert")
    assert opening.who() == pwd.getpwuid(0).pw_name
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)
    monkeypatch.setenv("SUDO_UID", str(known.pw_uid))
    assert opening.who() == f"uid {NOBODY}", "whoever is not root has made that up"
