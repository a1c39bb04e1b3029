"""To store a study, to move it, and to see what came of it."""

from __future__ import annotations

from typing import Any

from tests.integration.kit import query
from tests.node import Node
from tests.samples import Sample, decode, make_instances
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, Associate, is_storage
from tests.wire import STUDY_ROOT_MOVE, Association, Receiver, contexts_for

PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"
CONTEXTS = [(VERIFICATION, [IMPLICIT_LE]), (STUDY_ROOT_MOVE, [EXPLICIT_LE]), (PATIENT_ROOT_MOVE, [EXPLICIT_LE])]
SR = "1.2.840.10008.5.1.4.1.1.88.22"


def store(node: Node, made: list[Sample], *, calling: str = "CT1", called: str | None = None) -> list[Sample]:
    with node.associate(calling, contexts_for(made), called=called) as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    return made


def study(node: Node, seed: object, count: int = 3, **options: Any) -> list[Sample]:
    route = {key: options.pop(key) for key in ("calling", "called") if key in options}
    return store(node, make_instances(count, seed=("move", seed), **options), **route)


def move(association: Association, level: str, destination: str, model: str = STUDY_ROOT_MOVE, **keys: str) -> Any:
    """The final response of a C-MOVE; the association must go on."""
    responses = association.move(model, query(level, keys), destination)
    final = responses[-1]
    for pending in responses[:-1]:
        assert pending["identifier"] == b""
    assert association.echo() == 0
    return final


def counts(final: dict[str, Any]) -> tuple[int, ...]:
    return tuple(final[key] for key in ("status", "completed", "failed", "warning"))


def failed(final: dict[str, Any]) -> set[str]:
    value = decode(final["identifier"]).FailedSOPInstanceUIDList
    return {str(value)} if isinstance(value, str) else set(map(str, value))


def uids(made: list[Sample]) -> set[str]:
    return {sample.sop_instance for sample in made}


def arrived(receiver: Receiver) -> dict[str, str]:
    return {each.sop_instance: each.sha256 for each in receiver.received}


def whole(made: list[Sample]) -> dict[str, str]:
    return {sample.sop_instance: sample.sha256 for sample in made}


def dials(receiver: Receiver) -> list[Associate]:
    """The associations that would store there: whether it has what it was sent, it may be asked at any time."""
    proposed = [(each, each.contexts.values()) for each in receiver.requests]
    return [each for each, contexts in proposed if any(is_storage(abstract) for abstract, _ in contexts)]
