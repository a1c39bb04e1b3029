"""What commands by hand have in common: whom they call, what they say of it, and the Ctrl-C that ends it in order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dicomnode.cli.opening import no_partner, say
from dicomnode.cli.output import count
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.errors import UsageError
from dicomnode.operations.files import Tally
from dicomnode.operations.ports import Retrieved, Stopped, Suboperations
from dicomnode.rules import statuses

PATHS = click.Path(path_type=Path, exists=True)
"""Files, or folders with all that is in them."""
_CANCELLED = 0xFE00


def to_call(name: str, config: NodeConfig) -> Partner:
    """A partner that we can call. UsageError: there is none of that name, or we cannot."""
    partner = config.partners.get(name)
    if partner is None:
        raise UsageError(no_partner(name, config))
    if not partner.is_destination:
        raise UsageError(f"{name} has no host and port: it can call us, and we cannot call it")
    return partner


def to_ask(name: str, config: NodeConfig) -> Partner:
    """As `to_call`; at the AE that answers its queries, where that is another."""
    partner = to_call(name, config)
    return partner.at(partner.confirm.find)


def check_uids(*uids: str) -> None:
    """Raise UsageError unless each is one UID: no wild card, no list, and nothing else that may mean everything."""
    for uid in uids:
        if not is_valid_uid(uid):
            raise UsageError(f"{uid!r} is no UID")


@contextmanager
def interruptible() -> Iterator[Stopped]:
    """A block that the first Ctrl-C asks to end, and the second ends."""
    come = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # who runs us there has the signals
        yield come.is_set
        return

    def stop(number: int, frame: FrameType | None) -> None:
        come.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield come.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def bar() -> Progress:
    """A progress bar; nothing where there is no terminal."""
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        disable=not sys.stderr.isatty(),
        console=Console(stderr=True),
    )


class Told:
    """The progress of one retrieval, shown as far as the partner tells it."""

    def __init__(self, bar: Progress, study: str) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task(study, total=None)

    def __call__(self, counts: Suboperations) -> None:
        done = sum(filter(None, (counts.completed, counts.failed, counts.warning)))
        total = None if counts.remaining is None else done + counts.remaining
        self._bar.update(self._task, completed=done, total=total)


def report(study: str, retrieved: Retrieved) -> bool:
    """Say how a retrieval ended; whether all is well."""
    comment = f": {retrieved.comment}" if retrieved.comment else ""
    parts = filter(None, (_numbers(retrieved), statuses.meaning(retrieved.status) + comment))
    click.echo(f"{study}: {'; '.join(parts)}")
    for uid in retrieved.failed:
        say(f"  {uid} was not sent")
    return is_good(retrieved)


def _numbers(retrieved: Retrieved) -> str:
    """How many were sent; '' where that is not said, and the status says it."""
    counts, status = retrieved.counts, retrieved.status
    if counts.completed is None and counts.failed is None:
        fails = status not in (0, _CANCELLED) and not statuses.is_warning(status)
        return "" if fails else "it does not say how many were sent"
    said = {"sent": counts.completed, "with warnings": counts.warning, "failed": counts.failed}
    none = "nothing was sent" if status else "the partner has no such study, or does not show it to us"
    return ", ".join(f"{number} {what}" for what, number in said.items() if number) or none


def is_good(retrieved: Retrieved) -> bool:
    """Whether something was sent, and all of it arrived: with warnings, too."""
    counts = retrieved.counts
    came = counts.completed is None or counts.completed + (counts.warning or 0) > 0
    warned = statuses.is_warning(retrieved.status) and counts.failed == 0
    return came and not counts.failed and not retrieved.failed and (retrieved.status == 0 or warned)


def tell(path: Path, why: str) -> None:
    """Say what became of one file; its name may be anything."""
    say(f"{str(path)!r}: {why}")


def finish(tally: Tally, done: str) -> None:
    """Say what came of all, and end with the exit code that tells it."""
    parts = [f"{count(tally.done, 'instance')} {done}"]
    parts += [f"{tally.known} were here already"] if tally.known else []
    parts += [f"{count(tally.failed, 'file')} failed"] if tally.failed else []
    parts += [f"{count(tally.skipped, 'file')} left out"] if tally.skipped else []
    parts += [f"{tally.untried} not tried"] if tally.untried else []
    click.echo(", ".join(parts))
    if tally.stopped:
        say(f"error: the rest was not tried: {tally.stopped}")
    sys.exit(0 if tally.is_good else 1)
