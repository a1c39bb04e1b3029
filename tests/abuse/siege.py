"""One abuse of one target, and what must hold: a good partner is served throughout, and afterwards nothing is left.

While the abuse goes on, the good partner associates within two seconds and its instances are stored with 0000H. When
it is over, memory, threads and descriptors return to what they were, no process has died, nothing unfinished and
nothing strange lies in the folders, what is kept is byte for byte what was sent, and the log has whole lines and no
traceback. `laid` raises nothing: it returns every fault that it saw, in words.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests import samples, wire
from tests.abuse import gauge
from tests.abuse.targets import Target
from tests.node import wait_until

PATIENCE = 2.0
"""Seconds in which the good partner has its association."""
RETURN = 7.0
"""Seconds after an abuse in which all that it took has been given back: more than the longest deadline."""
SLACK = 12 << 20
"""Bytes that allocators and caches may keep of an abuse, over all processes."""

_numbers = itertools.count(1)


@dataclass
class Field:
    """The target, what it held before, and the instances that somebody has sent it whole: nothing else may be kept."""

    target: Target
    before: gauge.Reading
    sent: set[str] = field(default_factory=set)

    def may_keep(self, sample: samples.Sample) -> None:
        self.sent.add(self.target.mark(sample))

    def is_free_within(self, seconds: float) -> None:
        """Return once threads and descriptors are back to what they were; AssertionError."""
        over: list[str] = []

        def free() -> bool:
            over[:] = gauge.read(self.target.process.pid).over(self.before)
            return not over

        with contextlib.suppress(AssertionError):
            wait_until(free, seconds, "")
        assert not over, f"not given back after {seconds:g} s: {', '.join(over)}"


@dataclass(frozen=True)
class Abuse:
    """What is done to a target: `on` is a context manager in whose block it goes on, and which may assert its end."""

    number: str
    text: str
    on: Callable[[Field], AbstractContextManager[None]]
    peak: int = 40 << 20
    """Bytes of memory that it may take while it goes on, over all processes."""
    tls: bool = False
    """Whether it is one of the TLS port."""

    def __str__(self) -> str:
        return f"{self.number} {self.text}"


def laid(abuse: Abuse, target: Target) -> list[str]:
    """Run an abuse against a target, and return what went wrong; an empty list when the target stands."""
    warm_up(target)
    field_, kept = Field(target, gauge.read(target.process.pid)), target.held()
    faults: list[str] = []
    with _overheard(target, faults):
        peak = gauge.Peak(target.process.pid)
        with peak.watched(), noted(faults), abuse.on(field_), noted(faults, "good partner: "):
            for _ in range(3):
                field_.may_keep(store(target))
        if peak.memory > field_.before.memory + abuse.peak:
            faults.append(f"memory at its peak +{(peak.memory - field_.before.memory) >> 20} MB")
        faults += left_over(field_)
        if target.held() - kept - field_.sent:
            faults.append("something is kept that nobody sent whole")
        with noted(faults, "good partner, afterwards: "):
            store(target)
    return faults


@contextlib.contextmanager
def noted(faults: list[str], who: str = "") -> Iterator[None]:
    """Turn what the block raises into a fault."""
    try:
        yield
    except (AssertionError, OSError, wire.WireError) as error:
        faults.append(who + (str(error) or type(error).__name__).splitlines()[0])


@contextlib.contextmanager
def _overheard(target: Target, faults: list[str]) -> Iterator[None]:
    """Add what is wrong with the lines that are logged while the block runs."""
    begin = target.log.stat().st_size
    yield
    with target.log.open("rb") as log:
        log.seek(begin)
        faults += target.faults(log.read().decode(errors="replace"))


def warm_up(target: Target) -> None:
    """Let each of its workers load, open and allocate what ordinary work needs: several are open at a time."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(associated(target)) for _ in range(8)]
        for association in opened:
            send(target, association)


def store(target: Target) -> samples.Sample:
    """What the good partner does: associate in time, store one new instance with 0000H, release; AssertionError."""
    began = time.monotonic()
    with associated(target) as association:
        waited = time.monotonic() - began
        assert waited < PATIENCE, f"associated after {waited:.1f} s"
        return send(target, association)


def associated(target: Target) -> wire.Association:
    """An association of the good partner's."""
    contexts = [(samples.CT_IMAGE, [wire.EXPLICIT_LE])]
    association = wire.Association(
        target.host, target.port, target.called, target.good, contexts, timeout=PATIENCE, wrap=target.wrap
    )
    association.channel.socket.settimeout(10)
    return association


def send(target: Target, association: wire.Association) -> samples.Sample:
    """Store one new instance with 0000H; AssertionError."""
    (sample,) = samples.make_instances(1, seed=("siege", target.port, next(_numbers)))
    status = association.send_sample(sample)
    assert status == 0, f"stored with {status:04X}H"
    assert target.mark(sample) in target.held(), "answered 0000H, and not kept"
    return sample


def left_over(field_: Field, *, memory: int = SLACK) -> list[str]:
    """What was not given back in time; of memory, beyond so many bytes."""
    target, remains = field_.target, [""]

    def nothing() -> bool:
        now = gauge.read(target.process.pid)
        remains[:] = now.over(field_.before, memory=memory) + target.remains()
        remains.extend(["a process has died"] * (now.pids != field_.before.pids))
        return not remains

    with contextlib.suppress(AssertionError):
        try:
            wait_until(nothing, RETURN, "")
        except ProcessLookupError:
            remains[:] = ["it is gone"]
    return [f"after {RETURN:g} s: {', '.join(remains)}"] if remains else []
