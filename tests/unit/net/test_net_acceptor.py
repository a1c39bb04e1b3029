"""The acceptor in process: what it does when there is no room for an association."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import pytest

from dicomnode.net import acceptor as module
from dicomnode.net.acceptor import Acceptor
from dicomnode.operations.ports import Node
from dicomnode.rules import admission, contexts
from tests import fakes, wire
from tests.fakes import FakeSlots
from tests.node import wait_until


@pytest.mark.parametrize("error", [OSError(12, "no memory"), MemoryError(), RuntimeError("can't start new thread")])
def test_without_room_for_an_association_its_caller_may_come_again(
    error: Exception, build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, slots = build(re.sub(r"10\.1\.0\.\d+(/\d+)?", "127.0.0.1", fakes.CONFIG)), FakeSlots()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    acceptor = Acceptor([(listener, None)], node, slots)
    acceptor.start()
    title, caller = node.config.node.ae_title, next(p for p in node.config.partners.values() if "store" in p.may)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, "Reception", fail)
        with pytest.raises(wire.Rejected) as caught:
            wire.echo("127.0.0.1", port, title, caller.ae_title)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 1)
    assert wire.echo("127.0.0.1", port, title, caller.ae_title) == 0
    assert acceptor.drain(5) == 0
    wait_until(lambda: not slots.connections, 5, "the last connection to be gone")
    assert not slots.open


def _raise(*_: object) -> None:
    raise ValueError("a fault of our own")


@pytest.mark.parametrize(("rule", "name"), [(admission, "admit"), (contexts, "accept")])
def test_whoever_comes_while_admission_fails_is_rejected(
    rule: object, name: str, build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it fails: nobody is let in that nobody has looked at, and the next is looked at again."""
    node, slots = build(re.sub(r"10\.1\.0\.\d+(/\d+)?", "127.0.0.1", fakes.CONFIG)), FakeSlots()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    acceptor = Acceptor([(listener, None)], node, slots)
    acceptor.start()
    title, caller = node.config.node.ae_title, next(p for p in node.config.partners.values() if "store" in p.may)
    with monkeypatch.context() as patch:
        patch.setattr(rule, name, _raise)
        with pytest.raises(wire.Rejected) as caught:
            wire.echo("127.0.0.1", port, title, caller.ae_title)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 1)
    assert wire.echo("127.0.0.1", port, title, caller.ae_title) == 0
    acceptor.drain(5)
    assert not slots.open
