"""What commands that call a partner have in common: who it is, how far it is, and the Ctrl-C that ends it in order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dicomnode.cli.opening import no_partner
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.errors import UsageError
from dicomnode.operations.ports import Stopped


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
