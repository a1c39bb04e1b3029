"""How a node forwards over the wire: one study over several associations, which stay open for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.integration.moving.kit import store
from tests.node import Node, changed, default_config
from tests.samples import make_instances
from tests.upper_layer import Associate, is_storage
from tests.wire import Receiver


def _storing(receiver: Receiver) -> list[Associate]:
    """The associations that were to store; others ask for proof."""
    return [each for each in receiver.requests if any(is_storage(abstract) for abstract, _ in each.contexts.values())]


def test_a_study_goes_over_all_associations_and_the_next_one_over_the_same(node: Callable[..., Node]) -> None:
    with Receiver(delay=threading.Event()) as public:
        pubpacs = {"associations": 4, "confirm": {"by": "status"}}  # no association is for proof
        config = changed(default_config(pubpacs=public.port), {"partners": {"PUBPACS": pubpacs}})
        it = node(changed(config, {"node": {"limits": {"linger": "60s"}}}))
        first, second = make_instances(40, seed="first"), make_instances(40, seed="second")
        store(it, first, called="TO_GENERAL")
        public.wait_until(lambda: len(_storing(public)) == 4, 20, "four associations for one study")
        assert public.delay
        public.delay.set()
        public.wait_for(40, 20)
        assert {each.association for each in public.received} == {1, 2, 3, 4}
        store(it, second, called="TO_GENERAL")
        received = public.wait_for(80, 20)
        assert {(r.sop_instance, r.sha256) for r in received} == {(s.sop_instance, s.sha256) for s in first + second}
        assert len(received) == 80
        assert len(_storing(public)) == 4
        assert public.open_associations >= 4
        it.stop()
        public.wait_until(lambda: not public.open_associations, 10, "the releases")
        assert not public.faults
