"""operations/confirm.py: whatever a partner answers, and however often the process dies, there is no false proof."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dicomnode.config.model import Partner
from dicomnode.errors import UnknownTransaction
from dicomnode.operations import confirm
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Reference, Report, Stopped
from dicomnode.store import referrals
from dicomnode.store.database import Database, rows
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances

MEANS = ("commitment", "find", "count")
MEMORY = Path("/dev/shm")
"""Where a sync costs nothing: it is not the disk that dies here."""


class Killed(BaseException):
    """The process has died."""


class Life:
    """Ends after so many steps: a step is a question to the partner, or either side of a commit."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class Mortal:
    """A database whose process may die before a commit, and after it."""

    def __init__(self, database: Database, life: Life) -> None:
        self._database, self._life = database, life

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._database.read():
            yield

    def write(self, fn: Callable[[], Any]) -> Any:
        self._life.step()
        result = self._database.write(fn)
        self._life.step()
        return result


class Truthful(FakePartner):
    """Remembers which instances it has ever said that it has, whoever heard it."""

    def __init__(self, delivered: Callable[[], set[str]]) -> None:
        super().__init__()
        self.said: set[str] = set()
        self._delivered = delivered

    def instances(self, partner: Partner, study_instance_uid: str) -> frozenset[str]:
        found = super().instances(partner, study_instance_uid)
        self.said |= found
        return found

    def count(self, partner: Partner, study_instance_uid: str) -> int | None:
        found = super().count(partner, study_instance_uid)
        if found is not None and found >= len(self._delivered()):
            self.said |= self._delivered()
        return found

    def commit(
        self, partner: Partner, transaction_uid: str, references: Sequence[Reference], over: Stopped
    ) -> Report | None:
        made = super().commit(partner, transaction_uid, references, over)
        if made and not self.other_transaction:
            self.said |= {each.sop_instance_uid for each in made.committed}
        return made


class World:
    """A study on its way to a partner, and everything that can happen to it."""

    def __init__(self, folder: Path) -> None:
        self.node = fakes.make_node(folder)
        self.samples: list[Sample] = make_instances(6)
        self.fake = Truthful(self.delivered)
        self.came = 3
        fakes.receive_all(self.node, self.samples[: self.came])
        fakes.complete(self.node)
        self.send()

    def delivered(self) -> set[str]:
        sql = """SELECT i.sop_instance_uid FROM transfers t JOIN instances i ON i.id = t.instance
            WHERE t.state = 'delivered'"""
        with self.node.database.read():
            return {uid for (uid,) in rows(sql)}

    def referral(self) -> Referral:
        with self.node.database.read():
            return referrals.listed()[0]

    def send(self) -> None:
        while forward(self.node.config.partners["PUBPACS"], self.fake, self.node, lambda: False):
            pass

    def look(
        self,
        after: int,
        has_not: Sequence[str],
        lacking: Sequence[int],
        commits: Any,
        strange: bool,
        down: bool,
        steps: int,
    ) -> None:
        self.wait(after)
        fake, life = self.fake, Life(steps)
        fake.has_not, fake.commits, fake.other_transaction, fake.unreachable = set(has_not), commits, strange, down
        fake.lacks = {self.samples[number].sop_instance for number in lacking}
        fake.on_ask = lambda _: life.step()
        mortal = dataclasses.replace(self.node, database=Mortal(self.node.database, life))  # type: ignore[arg-type]
        with suppress(Killed):
            confirm.prove(self.node.config.partners["PUBPACS"], fake, mortal, lambda: False)
        fake.unreachable = False

    def hear(self, which: int, change: str, steps: int) -> None:
        if not self.fake.late:
            return
        report, life = self.fake.late[which % len(self.fake.late)], Life(steps)
        truth = {each.sop_instance_uid for each in report.committed if report.transaction_uid != "1.2.3"}
        if change == "all":
            report = Report(report.transaction_uid, tuple(Reference(s.sop_class, s.sop_instance) for s in self.samples))
        elif change == "one less":
            report = Report(report.transaction_uid, report.committed[1:], report.failed)
        elif change == "failed ones too":
            report = Report(report.transaction_uid, (*report.committed, *(r for r, _ in report.failed)), report.failed)
        told = {each.sop_instance_uid for each in report.committed}
        self.fake.said |= told if told <= truth else set()
        mortal = dataclasses.replace(self.node, database=Mortal(self.node.database, life))  # type: ignore[arg-type]
        with suppress(Killed, UnknownTransaction):
            confirm.hear(report, self.node.config.partners["PUBPACS"], mortal)

    def image(self) -> None:
        if self.came < len(self.samples):
            fakes.receive(self.node, self.samples[self.came])
            self.came += 1
            fakes.complete(self.node)
            self.send()

    def wait(self, seconds: int) -> None:
        assert isinstance(self.node.clock, fakes.FakeClock)
        self.node.clock.advance(seconds)

    def start(self) -> None:
        confirm.revive(self.node)

    def check(self) -> None:
        found = self.referral()
        if found.progress == "confirmed":
            assert self.delivered() <= self.fake.said
            assert found.confirmed == found.instances == self.came
            assert found.proof in MEANS
        assert (found.confirmed_at is not None) == (found.progress == "confirmed")


RARELY = st.sampled_from([False, False, False, True])
LOOK = st.tuples(
    *(st.just("look"), st.sampled_from([60, 600, 3601, 90_000])),
    st.sampled_from([(), (), (), ("commitment",), ("commitment", "find"), MEANS]),
    st.sampled_from([(), (), (0,), (1, 3), (5,)]),
    st.sampled_from(["at once", "late", "late", "never"]),
    *(RARELY, RARELY),
    st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6]),
)
HEAR = st.tuples(
    *(st.just("hear"), st.integers(0, 9)),
    *(st.sampled_from(["", "", "all", "one less", "failed ones too"]), st.sampled_from([0, 0, 1, 2])),
)
OTHERS = st.sampled_from([("send",), ("image",), ("start",)])


def asked(has_not: Sequence[str], lacking: Sequence[int] = (), steps: int = 0) -> tuple[Any, ...]:
    """A look, as LOOK draws one."""
    return ("look", 60, has_not, lacking, "late", False, False, steps)


@example([asked(()), ("hear", 0, "all", 0)])
@example([asked((), (1,)), ("hear", 0, "failed ones too", 0)])
@example([asked(()), ("image",), ("hear", 0, "", 0)])
@example([asked(("commitment",), (0,))])
@example([asked(("commitment", "find"), (0,))])
@example([asked((), steps=3), asked(()), ("hear", 0, "", 1), ("hear", 0, "", 2)])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(LOOK, LOOK, HEAR, OTHERS), min_size=6, max_size=20))
def test_confirmed_means_that_the_partner_has_said_so_of_every_instance(script: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        world = World(Path(folder))
        try:
            for name, *values in script:
                getattr(world, name)(*values)
                world.check()
            settle(world)
        finally:
            world.node.database.close()


def settle(world: World) -> None:
    """Once the partner has everything and says so, it is confirmed, whatever was before."""
    for _ in range(12):
        world.send()
        world.look(90_000, (), (), "at once", False, False, 0)
        world.check()
        with world.node.database.read():
            held = rows("SELECT 1 FROM transfers WHERE state = 'held'")
        if held or world.referral().progress == "confirmed":
            return
    raise AssertionError(f"never confirmed: {world.referral()}")
