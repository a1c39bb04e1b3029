"""net/answering.py: what goes wrong becomes a status."""

from __future__ import annotations

import errno
import os

import pytest

from dicomnode.errors import OutOfResources, Unreadable
from dicomnode.net import answering

WENT_WRONG = [
    (Unreadable("cut short"), 0xC000, "cut short"),
    (OutOfResources("the disk is full"), 0xA700, "the disk is full"),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/secret/path"), 0xA700, "Too many open files"),
    (OSError("odd"), 0xA700, "out of resources"),
    (ZeroDivisionError("a bug"), 0x0110, "processing failure"),
]


@pytest.mark.parametrize(("error", "status", "comment"), WENT_WRONG, ids=[type(e).__name__ for e, _, _ in WENT_WRONG])
def test_every_error_is_a_status_and_tells_no_secrets(error: Exception, status: int, comment: str) -> None:
    with answering.answered() as problem:
        raise error
    assert problem == [(status, comment)]


def test_what_goes_well_is_no_problem() -> None:
    with answering.answered() as problem:
        pass
    assert problem == []
