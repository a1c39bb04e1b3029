"""An end in the middle of everything (T35): what had begun comes to its end, and nobody silent can prevent it."""

from __future__ import annotations

import contextlib
import subprocess

from tests import samples, wire
from tests.abuse import raw
from tests.abuse.siege import noted
from tests.abuse.targets import Target

SIGTERM = "SIGTERM during 8 C-STOREs and 10 silent connections"
_STORES, _SILENT = 8, 10
_END = 10.0
"""Seconds: the drain of the tests' configuration, and as much again."""


def ended_by_sigterm(target: Target) -> list[str]:
    """T35: SIGTERM during eight C-STOREs and ten connections that say one byte: what went wrong, or nothing."""
    made = samples.make_instances(_STORES, seed=("sigterm", target.port))
    faults: list[str] = []
    answered: list[samples.Sample] = []
    with noted(faults), contextlib.ExitStack() as stack:
        opened = [stack.enter_context(raw.associated(target)) for _ in made]
        rest = [_begin(association, sample) for association, sample in zip(opened, made, strict=True)]
        for sock in stack.enter_context(raw.crowd(target, _SILENT)):
            raw.push(sock, b"\x01")
        target.process.terminate()
        answered = [made[at] for at in range(_STORES) if _finish(opened[at], rest[at]) == 0]
        for association in opened:
            association.channel.close()
        assert len(answered) == _STORES, f"{_STORES - len(answered)} of {_STORES} C-STOREs that had begun were cut off"
        _end_of(target)
    lost = sum(target.mark(sample) not in target.held() for sample in answered)
    return faults + [f"{lost} were answered 0000H, and are not kept"] * bool(lost)


def _begin(association: wire.Association, sample: samples.Sample) -> bytes:
    """Send a C-STORE-RQ and half its dataset; the PDUs that are still to come."""
    association.channel.max_pdu = 4096
    pdus = [*association.channel.fragments(raw.STORING, sample.dataset, command=False)]
    half = len(pdus) // 2
    association.send_raw(raw.store_command(sample.sop_instance) + b"".join(pdus[:half]))
    return b"".join(pdus[half:])


def _finish(association: wire.Association, pdus: bytes) -> int | None:
    """The status that the C-STORE is answered; None where the association had ended."""
    with contextlib.suppress(OSError, wire.WireError):
        association.send_raw(pdus)
        return association.read_response().status
    return None


def _end_of(target: Target) -> None:
    """AssertionError unless it ends by itself, with exit code 0, although connections are still open."""
    try:
        code = target.process.wait(_END)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it has not ended after {_END:g} s") from None
    assert code == 0, f"it ended with exit code {code}"
    left = [name for name in target.remains() if name.endswith(".part")]
    assert not left, f"{', '.join(left)} is left"
