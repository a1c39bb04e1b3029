"""`dicomnode explain`: where a study is, and why, in each situation that a person may ask about.

What it prints stands in golden/, one file for each; a fake clock and seeded UIDs make it the same every time. After a
change that is meant, `REWRITE_GOLDEN=1` writes the files anew, to be read before they are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.cli.explain import lines
from dicomnode.operations import explain as story
from dicomnode.operations import failover, refer
from dicomnode.operations.confirm import prove
from dicomnode.operations.explain import Explanation
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.rules.referred import Expected
from dicomnode.store import audit, completeness, expected, gates, lanes, queue
from dicomnode.store.audit import Refused
from dicomnode.store.database import execute
from tests import fakes
from tests.fakes import SECOND, START, FakePartner
from tests.samples import make_instances

GOLDEN = Path(__file__).parent / "golden"
CONFIG = fakes.CONFIG.split("routes:\n")[0].replace(
    "  PUB_WS:", "  SPARE: {site: general, host: 10.9.0.7, port: 104}\n  PUB_WS:"
) + """
routes:
  - name: referrals
    from: [harbour]
    when: {called: TO_GENERAL, modality: [CT, MR], not: {study_description: "*PHANTOM*"}}
    to: [PUBPACS]
    wait: 60s
  - {name: from-the-peak, from: [peak], when: {called: TO_GENERAL}, to: [PUBPACS], wait: 60s}
"""
STUDY = make_instances(3, seed="explained", PatientName="MUSTERFRAU^ERIKA", PatientID="H123456")
UID = STUDY[0].study


@dataclass
class Case:
    """A node to which things happen, one after the other."""

    node: Node
    asks: str = field(default=UID)

    def arrives(self, *, count: int = 3, partner: str = "CT1", called: str = "TO_GENERAL") -> None:
        fakes.receive_all(self.node, STUDY[:count], partner, called)

    def later(self, seconds: float) -> None:
        assert isinstance(self.node.clock, fakes.FakeClock)
        self.node.clock.advance(seconds)

    def is_complete(self) -> None:
        """It has arrived, and its quiet time has passed; nothing but the test itself finds fault with it."""
        self.arrives()
        fakes.complete(self.node)
        self.sets("studies", identity="", quarantine="")

    def sets(self, table: str, **facts: str) -> None:
        """What others find out about a study or a referral, as they write it down."""

        def written() -> None:
            for column, text in facts.items():
                execute(f"UPDATE {table} SET {column} = ?", text)
            gates.weigh_all(1)

        self.node.database.write(written)

    def goes(self, fake: FakePartner, partner: str = "PUBPACS") -> None:
        while forward(self.node.config.partners[partner], fake, self.node, lambda: False):
            pass

    def is_proven(self, fake: FakePartner) -> None:
        while prove(self.node.config.partners["PUBPACS"], fake, self.node, lambda: False):
            pass


def receiving(it: Case) -> None:
    it.arrives(count=2)
    it.later(20)


def quiet(it: Case) -> None:
    it.arrives()
    it.later(75)


def source_has_more(it: Case) -> None:
    it.arrives()
    it.later(75)
    at = it.node.clock()
    it.node.database.write(lambda: completeness.put(1, "RAD_WS", at))
    it.node.database.write(lambda: completeness.answered(1, "RAD_WS", at, 4, at + 30 * SECOND))


def complete(it: Case) -> None:
    it.is_complete()


def held_for_identity(it: Case) -> None:
    it.is_complete()
    it.sets("studies", identity="the name is not quite that of the referral")


def quarantined(it: Case) -> None:
    it.is_complete()
    it.sets("studies", quarantine="there are 2 patients in it")


def corrected(it: Case) -> None:
    it.is_complete()
    refer_at = it.node.clock()
    it.node.database.write(lambda: refer.correct(1, "a second version of an instance differs", refer_at, it.node))


def no_consent(it: Case) -> None:
    it.is_complete()
    it.sets("referrals", unconsented="no consent is on record for it")


def no_referral(it: Case) -> None:
    it.is_complete()
    it.sets("referrals", unreferred="no referral in advance is known that it could be")


def two_referrals(it: Case) -> None:
    it.is_complete()
    it.sets("referrals", unreferred="two referrals in advance fit it: R1 and R2", unconsented="no consent is on record")


def held_by_a_person(it: Case) -> None:
    it.is_complete()
    refer.hold([1], "the patient has asked for a day to think", "anna", it.node)


def withdrawn(it: Case) -> None:
    it.is_complete()
    it.sets("referrals", withdrawn="the patient does not want it")


def recalling(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner())
    it.sets("referrals", withdrawn="it is another patient", recall="recalling")


def recalled(it: Case) -> None:
    recalling(it)
    it.sets("referrals", recall="recalled")


def partner_down(it: Case) -> None:
    it.is_complete()
    for _ in range(3):
        it.goes(FakePartner(unreachable=True))
        it.later(600)
    it.goes(FakePartner(unreachable=True))
    it.node.database.write(lambda: execute("UPDATE partners SET paused_until = ?", it.node.clock() + 1000 * SECOND))


def lane_held(it: Case) -> None:
    it.is_complete()
    it.node.database.write(lambda: lanes.hold("PUBPACS", "they move their archive tonight"))


def no_partner(it: Case) -> None:
    it.is_complete()
    it.node.database.write(lambda: gates.strand(["ISLPACS"]))


def refused_instance(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner(statuses={STUDY[1].sop_instance: 0x0122}))


def damaged_file(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner(statuses={STUDY[1].sop_instance: 0x0122}))
    it.sets("transfers", hold="file", reason="its file is damaged")


def dropped_by_a_person(it: Case) -> None:
    it.is_complete()
    it.node.database.write(lambda: queue.drop([3], "a test shot", it.node.clock()))
    it.goes(FakePartner())


def deferred(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner(statuses={STUDY[1].sop_instance: 0xA700}))
    at = it.node.clock()
    it.node.database.write(lambda: execute("UPDATE transfers SET due_at = ? WHERE state = 'queued'", at + 40 * SECOND))


def sent(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner())


def not_confirmable(it: Case) -> None:
    it.is_complete()
    fake = FakePartner(has_not={"commitment", "find", "count"})
    it.goes(fake)
    it.is_proven(fake)


def confirmed(it: Case) -> None:
    it.is_complete()
    fake = FakePartner(has_not={"commitment"})
    it.goes(fake)
    it.is_proven(fake)


def not_routed(it: Case) -> None:
    it.arrives(called="REFERNODE")


def not_routed_for_what_it_is(it: Case) -> None:
    made = make_instances(2, seed="explained", StudyDescription="DAILY PHANTOM CHECK")
    fakes.receive_all(it.node, made)


def unknown(it: Case) -> None:
    it.asks = "1.2.3.4.5"


def unknown_and_somebody_was_refused(it: Case) -> None:
    it.asks = "1.2.3.4.5"
    at = it.node.clock()
    refused = Refused("PEAK_CT", "TO_GENERAL", "10.1.0.99", "PEAK_CT does not call from this address", 1, at, at)
    it.node.database.write(lambda: audit.refuse(refused, 1))


def from_another_site(it: Case) -> None:
    it.arrives(count=1)
    fakes.receive(it.node, STUDY[1], "PEAK_CT")
    it.asks = STUDY[1].sop_instance


def one_instance(it: Case) -> None:
    refused_instance(it)
    it.asks = STUDY[1].sop_instance


def one_referral(it: Case) -> None:
    refused_instance(it)
    it.asks = "1"


def expected_only(it: Case) -> None:
    advance = Expected(
        *(0, "R-2026-0001", "HKID", "A1234563", "HKID", "CHAN^TAI MAN", "19700101", "M", "", "harbour", "PUBPACS"),
        *("Dr Wong", True, "CT of the chest", "", "", "referrals.csv", START, None),
    )
    it.node.database.write(lambda: expected.put(advance))
    it.asks = "R-2026-0001"


def cancelled(it: Case) -> None:
    expected_only(it)
    it.node.database.write(lambda: expected.cancel(1, "the patient went elsewhere"))


def in_a_window(it: Case) -> None:
    it.is_complete()


def passed_on(it: Case) -> None:
    it.is_complete()
    it.goes(FakePartner(unreachable=True))
    at = it.node.clock()
    failed = lanes.Pause(at + 900 * SECOND, 5, "no connection: [Errno 111] Connection refused", at - 960 * SECOND)
    it.node.database.write(lambda: lanes.pause("PUBPACS", failed))
    failover.pass_on(it.node)
    fakes.complete(it.node, 1)


CONFIGS = {
    in_a_window: CONFIG.replace("PUBPACS:  {", "PUBPACS:  {window: '02:00-04:00', ").replace(
        "General Hospital,", "General Hospital, timezone: Asia/Hong_Kong,"
    ),
    passed_on: CONFIG.replace("    to: [PUBPACS]", "    to: {failover: [PUBPACS, SPARE], after: 15m}"),
}
CASES: list[Callable[[Case], None]] = [
    *(receiving, quiet, source_has_more, complete, held_for_identity, quarantined, corrected, no_consent, no_referral),
    *(two_referrals, held_by_a_person, withdrawn, recalling, recalled, partner_down, lane_held, no_partner),
    *(refused_instance, damaged_file, dropped_by_a_person, deferred, sent, not_confirmable, confirmed, not_routed),
    *(not_routed_for_what_it_is, unknown, unknown_and_somebody_was_refused, from_another_site, one_instance),
    *(one_referral, expected_only, cancelled, in_a_window, passed_on),
]


def asked(folder: Path, happens: Callable[[Case], None]) -> Explanation:
    it = Case(fakes.make_node(folder, CONFIGS.get(happens, CONFIG)))
    try:
        happens(it)
        return story.explain(it.asks, it.node)
    finally:
        it.node.database.close()


@pytest.mark.parametrize("happens", CASES, ids=[each.__name__ for each in CASES])
def test_it_says_where_a_study_is_and_why(tmp_path: Path, happens: Callable[[Case], None]) -> None:
    found = asked(tmp_path, happens)
    text = "\n".join(lines(found)) + "\n"
    golden = GOLDEN / f"{happens.__name__}.txt"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    for conclusion in found.conclusions:
        assert all((conclusion.fact, conclusion.cause, conclusion.action, conclusion.whose))
        assert str(conclusion) in text.replace("\n", " ")


def test_every_golden_file_is_of_a_situation() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {each.__name__ for each in CASES}


def test_every_situation_is_told_apart() -> None:
    """Whatever stops a study, nobody is told what is told of another."""
    last = [path.read_text().rpartition("\n\n")[2] for path in sorted(GOLDEN.glob("*.txt"))]
    same = {text for text in last if last.count(text) > 1}
    assert len(same) <= 1, same  # of the refused instance, it is asked in three ways


# -- as a command ------------------------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> tuple[int, str]:
    """A command on the node that was left in a folder: its exit code and what it printed."""
    (folder / "dicomnode.yaml").write_text(CONFIG)
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), *words])
    return done.exit_code, done.stdout


def test_the_command(tmp_path: Path) -> None:
    asked(tmp_path, no_consent)
    code, text = run(tmp_path, "explain", UID)
    assert (code, text.splitlines()[0]) == (0, f"Study {UID} of harbour: 3 instances, CT")
    code, text = run(tmp_path, "explain", "1", "--json")
    (row,) = json.loads(text)
    assert row["study_instance_uid"] == UID
    assert {each["route"]: each["chosen"] for each in row["routes"]} == {"referrals": True, "from-the-peak": False}
    assert [(each["referral"], each["gate"]) for each in row["referrals"]] == [(1, "held")]
    ((fact, cause, action, whose),) = [tuple(each.values()) for each in row["conclusions"]]
    assert whose == "harbour's radiographer, and then you"
    assert "`dicomnode referrals consent 1" in action
    assert (fact, cause) == (
        "It waits for consent: nothing more of it goes to PUBPACS.",
        "The reason: no consent is on record for it.",
    )
    assert run(tmp_path, "explain", "2")[0] == run(tmp_path, "explain", "1.2.3")[0] == 2, "as `referrals show`"


def test_no_patient_is_shown_who_was_not_asked_for(tmp_path: Path) -> None:
    """A route may ask for a patient, and an answer would then name one."""
    config = CONFIG.replace("modality: [CT, MR]", "modality: [CT, MR], patient_id: 'H*', patient_name: MUST*")
    it = Case(fakes.make_node(tmp_path, config))
    it.arrives()
    found = story.explain(UID, it.node)
    it.node.database.close()
    masked, clear = "\n".join(lines(found)), "\n".join(lines(found, phi=True))
    assert "MUSTERFRAU" not in masked
    assert "H123456" not in masked
    assert "patient_id H*: yes, is H123456" in clear
    assert "patient_name M****: yes, is M*******" in masked
