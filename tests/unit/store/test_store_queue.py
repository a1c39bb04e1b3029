"""store/queue.py: every arrow of a transfer, claims that are never shared, and plans that scan nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import lanes, ledger, queue
from dicomnode.store.database import execute, one, rows
from dicomnode.store.lanes import Pause
from dicomnode.store.queue import Batch, Result, State
from tests import fakes
from tests.fakes import START
from tests.samples import make_instances

P = "PUBPACS"


def ready(node: Node, count: int = 3, seed: object = "queue") -> list[int]:
    """Transfers of a complete study; their ids."""
    fakes.receive_all(node, make_instances(count, seed=seed))
    fakes.complete(node)
    with node.database.read():
        return [t.transfer for t in ledger.listed(1000)][-count:]


def claim(node: Node, most: int = 100, worker: str = "me", partner: str = P, slots: int = 1) -> Batch | None:
    return node.database.write(lambda: queue.claim(partner, most, worker, node.clock(), slots))


def states(node: Node) -> list[str]:
    with node.database.read():
        return [t.state for t in ledger.listed(1000)]


def is_ready(node: Node, partner: str = P) -> bool:
    with node.database.read():
        return queue.is_ready(partner, node.clock())


def put(node: Node, ids: Sequence[int], state: State) -> None:
    """Bring transfers into a state, by no arrow."""
    node.database.write(lambda: [execute("UPDATE transfers SET state = ? WHERE id = ?", state, i) for i in ids])


# -- claims ----------------------------------------------------------------------------------------------------


def test_a_claim_takes_what_is_due_of_one_referral(here: Node) -> None:
    first, second = ready(here, 3, "a"), ready(here, 2, "b")
    batch = claim(here, 2)
    assert batch
    assert [c.transfer for c in batch.transfers] == first[:2]
    assert (batch.partner, batch.study) == (P, 1)
    assert all(c.claimed_at == here.clock() and c.refused == 0 for c in batch.transfers)
    assert all(here.archive.path(c.file).exists() for c in batch.transfers)
    for expected in (first[2:], second):
        batch = claim(here)
        assert batch
        assert [c.transfer for c in batch.transfers] == expected
    assert not is_ready(here)
    assert claim(here) is None


def test_slots_share_one_referral_to_its_end(here: Node) -> None:
    """Each claim is half of an even share, so that nobody is left with much when the others have nothing."""
    ids = ready(here, 64)
    claims = []
    while batch := claim(here, slots=4):
        claims.append([c.transfer for c in batch.transfers])
    assert [len(taken) for taken in claims[:5]] == [8, 7, 7, 6, 5]
    assert [len(taken) for taken in claims[-4:]] == [1, 1, 1, 1]
    assert [i for taken in claims for i in taken] == ids


def test_a_share_is_no_more_than_a_claim_may_be(here: Node) -> None:
    ready(here, 30)
    for most, slots in ((2, 4), (1, 1), (3, 2)):
        batch = claim(here, most, slots=slots)
        assert batch
        assert len(batch.transfers) == most


def setting(sql: str) -> Callable[[Node], object]:
    return lambda node: node.database.write(lambda: execute(sql))


NOT_READY = {
    "gate held": setting("UPDATE referrals SET gate = 'held'"),
    "gate quarantined": setting("UPDATE referrals SET gate = 'quarantined'"),
    "receiving": setting("UPDATE referrals SET progress = 'receiving'"),
    "due later": setting("UPDATE transfers SET due_at = due_at + 3600000000"),
    "held": setting("UPDATE transfers SET state = 'held'"),
    "dropped": setting("UPDATE transfers SET state = 'dropped'"),
    "another partner": setting("UPDATE referrals SET partner = 'OTHER'"),
}


@pytest.mark.parametrize("why", NOT_READY)
def test_what_may_not_go_is_not_claimed(here: Node, why: str) -> None:
    ready(here)
    assert is_ready(here)
    NOT_READY[why](here)
    assert not is_ready(here)
    assert claim(here) is None


def test_image_by_image_is_claimed_while_it_is_received(here: Node) -> None:
    ready(here)
    setting("UPDATE referrals SET progress = 'receiving', wait = 0")(here)
    assert is_ready(here)
    assert claim(here)
    with here.database.read():
        assert one("SELECT progress FROM referrals") == ("receiving",)


_CLAIM = """
import json, sys
from pathlib import Path
from dicomnode.store.database import Database
from dicomnode.store import lanes, ledger, queue
database, taken = Database(Path(sys.argv[1])), []
sys.stdin.readline()
while batch := database.write(lambda: queue.claim("PUBPACS", 3, sys.argv[2], 2**60)):
    taken += [claimed.transfer for claimed in batch.transfers]
print(json.dumps(taken))
"""


def test_two_processes_never_share_a_claim(here: Node) -> None:
    for number in range(30):
        fakes.receive_all(here, make_instances(4, seed=number))
    fakes.complete(here)
    commands = [[sys.executable, "-c", _CLAIM, str(here.database.path), name] for name in ("one", "two")]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    one_, two = (json.loads(process.communicate()[0]) for process in running)
    with here.database.read():
        assert sorted(one_ + two) == [t.transfer for t in ledger.listed(1000)]
        counts = dict(rows("SELECT claimed_by, count(*) FROM transfers GROUP BY 1"))
    assert len(one_ + two) == 120
    assert (counts.get("one", 0), counts.get("two", 0)) == (len(one_), len(two))


def test_a_dead_worker_s_claims_are_given_back_and_no_others(here: Node) -> None:
    ready(here, 2, "a")
    ready(here, 2, "b")
    claim(here, worker="dead")
    claim(here, worker="living")
    assert here.database.write(lambda: queue.reclaim("dead")) == 2
    assert states(here) == ["queued", "queued", "active", "active"]
    assert here.database.write(lambda: queue.reclaim("dead")) == 0
    with here.database.read():
        assert queue.claimants() == ["living"]


def test_what_was_not_used_is_given_back_and_charged_nothing(here: Node) -> None:
    ids = ready(here)
    claim(here)
    here.database.write(lambda: queue.give_back(ids[1:]))
    assert states(here) == ["active", "queued", "queued"]
    with here.database.read():
        assert [t.attempts for t in ledger.listed(10)] == [0, 0, 0]


# -- arrows ----------------------------------------------------------------------------------------------------

FINISHED = [
    (Result(0, State.DELIVERED, START, 0), ("delivered", 1, 0, ""), True),
    (Result(0, State.HELD, START, 0x0122, "no"), ("held", 1, 0x0122, "no"), True),
    (Result(0, State.QUEUED, START, 0xA700, "full", START + 9), ("queued", 1, 0xA700, "full"), False),
    (Result(0, State.QUEUED, START, None, "lost", START + 9), ("queued", 1, None, "lost"), False),
]


@pytest.mark.parametrize(("result", "row", "finished"), FINISHED)
def test_a_result_is_written_down(here: Node, result: Result, row: tuple[object, ...], finished: bool) -> None:
    (number,) = ready(here, 1)
    made = Result(number, *(getattr(result, f) for f in ("state", "at", "status", "reason", "due_at")))
    here.database.write(lambda: queue.finish([made]))
    assert states(here) == ["queued"]  # it was not ours
    claim(here)
    here.database.write(lambda: queue.finish([made]))
    with here.database.read():
        (t,) = ledger.listed(1)
        (at, by) = one("SELECT finished_at, claimed_by FROM transfers")
    assert (t.state, t.attempts, t.last_status, t.reason) == row
    assert (at is not None, by) == (finished, "")


def hold(ids: list[int]) -> list[int]:
    return queue.hold(ids, "why")


def release(ids: list[int]) -> list[int]:
    return queue.release(ids, START)


def retry(ids: list[int]) -> list[int]:
    return queue.retry(ids, START)


ARROWS = [  # from which states each goes, and to which
    (hold, {State.QUEUED: State.HELD}),
    (release, {State.HELD: State.QUEUED}),
    (retry, {State.QUEUED: State.QUEUED, State.HELD: State.QUEUED, State.DROPPED: State.QUEUED}),
    (lambda ids: queue.drop(ids, "why", START), {State.QUEUED: State.DROPPED, State.HELD: State.DROPPED}),
]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(("arrow", "goes"), ARROWS, ids=["hold", "release", "retry", "drop"])
def test_a_person_s_word_is_an_arrow_of_the_diagram(
    here: Node, arrow: Callable[[list[int]], list[int]], goes: dict[State, State], state: State
) -> None:
    ids = ready(here, 1)
    put(here, ids, state)
    assert here.database.write(lambda: arrow([*ids, 999])) == (ids if state in goes else [])
    assert states(here) == [goes.get(state, state)]


def test_what_a_person_holds_is_for_a_person_to_release(here: Node) -> None:
    ids = ready(here, 2)
    here.database.write(lambda: queue.hold(ids[:1], "held by anna: why"))
    with here.database.read():
        assert ledger.held_by_persons(ids) == ids[:1] == ledger.waiting(P, ("held",), queue.Hold.PERSON)
        assert ledger.waiting(P, ("queued", "held")) == ids[1:]
    assert here.database.write(lambda: queue.retry(ids, START)) == ids[1:]
    assert here.database.write(lambda: queue.reconsider(P, START)) == 0
    assert states(here) == ["held", "queued"]
    assert here.database.write(lambda: release(ids)) == ids[:1]
    assert here.database.write(lambda: retry(ids)) == ids


@pytest.mark.parametrize("arrow", [release, retry])
def test_a_settled_referral_sends_again(here: Node, arrow: Callable[[list[int]], list[int]]) -> None:
    ids = ready(here, 1)
    put(here, ids, State.HELD)
    setting("UPDATE referrals SET progress = 'sent'")(here)
    here.database.write(lambda: arrow(ids))
    assert is_ready(here)


@pytest.mark.parametrize("state", State)
def test_an_instance_is_queued_once_and_again_only_when_it_was_dropped_or_skipped(here: Node, state: State) -> None:
    ids = ready(here, 1)
    put(here, ids, state)
    again = here.database.write(lambda: queue.enqueue(1, P, [1], START))
    wanted = state in (State.DROPPED, State.SKIPPED)
    assert (again, states(here)) == ((1, ["queued"]) if wanted else (0, [state]))


def test_what_a_person_dropped_is_queued_by_a_person_alone(here: Node) -> None:
    ids = ready(here, 2)
    here.database.write(lambda: queue.drop(ids[:1], "dropped by anna: wrong patient", START))
    fakes.receive_all(here, make_instances(2, seed="queue"))  # its source sends it again
    assert here.database.write(lambda: queue.enqueue(1, P, [1], START)) == 0
    assert states(here) == ["dropped", "queued"]
    setting("UPDATE instances SET current = 0 WHERE id = 1")(here)
    assert here.database.write(lambda: retry(ids[:1])) == []
    setting("UPDATE instances SET current = 1 WHERE id = 1")(here)
    assert here.database.write(lambda: retry(ids[:1])) == ids[:1]
    assert states(here) == ["queued", "queued"]


@pytest.mark.parametrize("stop", ["held", "dropped", "skipped"])
def test_a_move_overwrites_no_person_s_word_and_no_skip(here: Node, stop: str) -> None:
    ids = ready(here, 1)
    word = queue.Hold.NONE if stop == "skipped" else queue.Hold.PERSON
    setting(f"UPDATE transfers SET state = '{stop}', hold = '{word}', reason = 'why'")(here)
    here.database.write(lambda: queue.moved(1, P, 1, Result(0, State.DELIVERED, START, 0)))
    with here.database.read():
        (t,) = ledger.listed(10)
        assert (t.transfer, t.state, t.reason, t.attempts) == (ids[0], stop, "why", 1)
        assert one("SELECT hold FROM transfers") == (word,)


# -- lanes -----------------------------------------------------------------------------------------------------


def paused(node: Node) -> Pause:
    with node.database.read():
        return lanes.paused(P)


def test_a_lane_is_paused_and_resumed(here: Node) -> None:
    assert paused(here) == Pause(0, 0, "", 0)
    pause = Pause(START + 30, 2, "down", START)
    here.database.write(lambda: lanes.pause(P, pause))
    assert paused(here) == pause
    assert here.database.write(lambda: lanes.unpause(P, START))
    assert (paused(here).until, paused(here).failures) == (START, 2)  # it half-opens
    assert not here.database.write(lambda: lanes.unpause(P, START))
    here.database.write(lambda: lanes.resume(P, START + 40))
    assert (paused(here).until, paused(here).failures, paused(here).reason) == (0, 0, "")


def test_studies_without_room_are_counted_when_they_differ(here: Node) -> None:
    assert [here.database.write(lambda s=s: lanes.short(P, s)) for s in (1, 1, 2, 1)] == [1, 1, 2, 3]
    here.database.write(lambda: lanes.resume(P, START))
    assert here.database.write(lambda: lanes.short(P, 1)) == 1


# -- what is to be seen ----------------------------------------------------------------------------------------


def test_the_queue_is_listed_and_summed_up(here: Node) -> None:
    ids = ready(here, 6)
    for number, state in zip(ids, State, strict=True):
        put(here, [number], state)
    here.database.write(lambda: lanes.pause(P, Pause(START, 1, "down", START)))
    with here.database.read():
        (shape,) = ledger.shape()
        assert [t.transfer for t in ledger.listed(10, state="held")] == [ids[3]]
        assert len(ledger.listed(10, partner=P, referral=1)) == 6
        assert ledger.listed(10, partner="OTHER") == []
        assert len(ledger.listed(2)) == 2
        assert ledger.partners_of(ids) == {P}
    assert (shape.queued, shape.active, shape.held, shape.delivered) == (1, 1, 1, 1)
    assert (shape.partner, shape.paused_until, shape.reason) == (P, START, "down")
    assert shape.oldest == START


# -- a long queue ----------------------------------------------------------------------------------------------


def plan(node: Node, sql: str, *values: object) -> str:
    with node.database.read():
        return "\n".join(step for *_, step in rows(f"EXPLAIN QUERY PLAN {sql}", *values))


def test_the_next_study_is_found_without_looking_at_all_that_wait(here: Node) -> None:
    """In the order in which they go, the first that has something due is it."""
    found = plan(here, queue._NEXT, P, START)
    assert "INDEX referrals_ready (partner=?)" in found
    assert "TEMP B-TREE" not in found


def test_the_study_that_was_tried_longest_ago_is_found_by_its_last_attempt(here: Node) -> None:
    found = plan(here, queue._LEAST_TRIED, P, START)
    assert "INDEX referrals_ready (partner=?)" in found
    assert "COVERING INDEX attempts_referral (referral=?)" in found


def test_a_batch_is_claimed_without_sorting_the_study(here: Node) -> None:
    found = plan(here, queue._CLAIM, "me", START, 1, START, 200)
    assert "INDEX transfers_referral (referral=? AND state=? AND due_at<?)" in found
    assert "TEMP B-TREE" not in found.partition("LIST SUBQUERY")[2]


def test_urgent_ones_go_first_and_what_waited_a_day_longer_before_them(here: Node) -> None:
    day = 86400 * fakes.SECOND
    for number, (urgent, opened) in enumerate(((0, 0), (0, -day - 1), (1, 0), (0, -2), (1, -1)), 1):
        ready(here, 1, seed=("order", number))
        setting(f"UPDATE referrals SET urgent = {urgent}, opened_at = {START + opened} WHERE id = {number}")(here)
    found = []
    while batch := claim(here):
        found.append(batch.referral)
    assert found == [2, 5, 3, 4, 1]
