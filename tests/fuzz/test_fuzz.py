"""A minute of fuzzing (T52), shared by two processes with a node each. scripts/soak has an hour.

What fails names its seed: DICOMNODE_FUZZ_SEED=… begins with the round that failed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fuzz import rounds

_MINUTES = 0.4
"""Of each; starting its node, and looking it over, takes the rest of half a minute."""
_APART = 1_000_000_000


def test_no_conversation_does_harm(capsys: pytest.CaptureFixture[str]) -> None:
    first = rounds.first_seed()
    with capsys.disabled():
        print(f" {rounds.VARIABLE}={first} ", end="", flush=True)
    with _fuzz(first) as one, _fuzz(first + _APART) as other:
        for fuzzer, text in [(fuzzer, fuzzer.communicate()[0]) for fuzzer in (one, other)]:
            assert fuzzer.returncode == 0, text
            assert "conversations with it" in text
            assert "\n0 conversations" not in text


def _fuzz(seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", str(_MINUTES)]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env={**os.environ, rounds.VARIABLE: str(seed)}, text=True, **both)  # type: ignore[call-overload,no-any-return]
