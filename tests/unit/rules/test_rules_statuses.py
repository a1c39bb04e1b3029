"""rules/statuses.py: what the end of a query or retrieval means."""

from __future__ import annotations

import pytest

from dicomnode.rules import statuses


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0000, "success (0000H)"),
        (0xA702, "cannot send (A702H)"),
        (0xA7FF, "out of resources (A7FFH)"),
        (0xA801, "move destination (A801H)"),
        (0xAA02, "failure (AA02H)"),
        (0xB00F, "warning (B00FH)"),
        (0xC4FF, "cannot process this (C4FFH)"),
        (0x0999, "unknown status (0999H)"),
    ],
)
def test_every_status_has_words(status: int, words: str) -> None:
    assert statuses.meaning(status).endswith(words)


def test_the_classes_of_a_status() -> None:
    assert [status for status in (0, 0xFE00, 0xFF00, 0xFF01, 0xFF77, 0xB000) if statuses.is_pending(status)] == [
        0xFF00,
        0xFF01,
        0xFF77,
    ]
    assert [status for status in (0, 0xA700, 0xB000, 0xB001, 0xC000) if statuses.is_warning(status)] == [0xB000, 0xB001]
