"""config/passcodes.py: a passcode is the only line of a file that nobody else can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import passcodes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "passcode"
    path.touch(0o600)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_passcode_is_a_line(file: Path, end: bytes) -> None:
    secret = " pässcode ".encode()
    file.write_bytes(secret + end)
    assert passcodes.fault(file) == ""
    assert passcodes.passcode(file) == secret


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        (None, 0o600, "there is no file"),
        (b"", 0o600, "cannot be used: there is no passcode in it"),
        (b"\n", 0o600, "cannot be used: there is no passcode in it"),
        (b"one\ntwo\n", 0o600, "has several lines"),
        (b"one\n", 0o644, "is open to others than its owner: chmod 600"),
        (b"one\n", 0o640, "is open to others than its owner: chmod 600"),
    ],
)
def test_what_is_wrong_with_a_file(file: Path, content: bytes | None, mode: int, text: str) -> None:
    file.write_bytes(content or b"")
    file.chmod(mode)
    if content is None:
        file.unlink()
    assert text in passcodes.fault(file)
    assert "one" not in passcodes.fault(file).replace("only one", "")


def test_an_empty_file_lets_nobody_in(file: Path) -> None:
    """It may have become so after the configuration was read."""
    with pytest.raises(OSError, match="no passcode"):
        passcodes.passcode(file)
