"""net/answering.py: what goes wrong becomes a status."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.errors import OutOfResources, Unreadable
from dicomnode.net import answering, suboperations
from dicomnode.rules.contexts import IMPLICIT_LE, PATIENT_ROOT_GET, PATIENT_ROOT_MOVE

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


@pytest.mark.parametrize("uid", [PATIENT_ROOT_MOVE, PATIENT_ROOT_GET])
@pytest.mark.parametrize(("charset", "expected"), [("ISO_IR 100", "Ärzte-1"), ("ISO_IR 144", "Фrzte-1")])
def test_what_a_retrieval_names_is_read_in_the_caller_s_character_set(uid: str, charset: str, expected: str) -> None:
    value = b"\xc4rzte-1 "
    data = b"\x08\0\x52\0\x08\0\0\0PATIENT \x10\0\x20\0" + len(value).to_bytes(4, "little") + value
    assoc: Any = SimpleNamespace(partner=SimpleNamespace(charset=charset), features={})
    context: Any = SimpleNamespace(transfer_syntax=[IMPLICIT_LE], abstract_syntax=uid)
    asked = suboperations.asked(assoc, SimpleNamespace(Identifier=BytesIO(data)), context)
    assert asked.identifier.value(0x00100020).strip() == expected
