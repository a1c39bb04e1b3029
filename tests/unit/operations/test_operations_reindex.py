"""operations/reindex.py: whatever happens to the index, what was taken into custody is in it again, and goes on."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.errors import IndexDamaged
from dicomnode.operations import consent, forward, refer
from dicomnode.operations.ports import Node
from dicomnode.operations.reindex import Report, reindex
from dicomnode.store import audit, chain, damaged, queue, rebuild, referrals
from dicomnode.store.database import one, rows
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

_PAGE = 4096
_LEDGER = "SELECT i.sop_instance_uid, t.id, t.partner, t.state FROM transfers t JOIN instances i ON i.id = t.instance"


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Lived]:
    """A node that has delivered some, dropped one, and has some waiting; it is stopped."""
    it = Lived(tmp_path)
    yield it
    it.stop()


class Lived:
    """What a node was like before its index was harmed, and what it is like when that was made anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._node: Node | None = None
        node = self.start()
        self.samples = [made for n in range(6) for made in make_instances(8, seed=f"study {n}")]
        self.samples[-1] = make_instances(8, seed="study 5", PatientID="another")[-1]
        fakes.receive_all(node, self.samples[:32])
        fakes.complete(node)
        peer = FakePartner()
        for _ in range(4):
            assert forward.forward(node.config.partners["PUBPACS"], peer, node, lambda: False)
        fakes.receive_all(node, self.samples[32:])
        self.dropped = self._drop(node)
        self.before = self.look(node)
        self.path, self.config = node.database.path, node.config
        self.stop()

    def _drop(self, node: Node) -> int:
        (first,) = node.database.write(lambda: rows("SELECT id FROM transfers WHERE state = 'queued' LIMIT 1"))[0]
        assert node.database.write(lambda: queue.drop([first], "not wanted", node.clock()))
        return int(first)

    def look(self, node: Node) -> dict[str, list[tuple[object, ...]]]:
        with node.database.read():
            return {
                "instances": rows("SELECT id, sop_instance_uid, version, kind, current, file, sha256 FROM instances"),
                "studies": rows("SELECT id, study_instance_uid, patient_id, site, received_at FROM studies"),
                "patients": rows("SELECT instance, study, patient_id FROM study_patients"),
                "series": rows("SELECT id, study, series_instance_uid, modality FROM series"),
                "referrals": rows("SELECT id, study, partner, gate FROM referrals"),
                "ledger": rows(_LEDGER),
            }

    def rebuild(self) -> Report:
        return reindex(self.config, lambda *_: None)

    def start(self) -> Node:
        self._node = fakes.make_node(self._folder)
        return self._node

    def stop(self) -> None:
        if self._node:
            self._node.database.close()
            self._node = None

    def holds(self) -> Node:
        """See that every instance is there as it was sent, and that each goes to the hospital, went, or is dropped."""
        node = self.start()
        with node.database.read():
            assert sorted(rows("SELECT sop_instance_uid, sha256 FROM instances WHERE current")) == sorted(
                (sample.sop_instance, sample.sha256) for sample in self.samples
            )
            assert {row[0] for row in rows(_LEDGER)} == {sample.sop_instance for sample in self.samples}
            assert not rows("PRAGMA foreign_key_check")
            assert rows("PRAGMA integrity_check") == [("ok",)]
        return node

    def flip(self, page: int) -> None:
        """Turn every bit of one page."""
        with self.path.open("r+b") as file:
            file.seek((page - 1) * _PAGE)
            old = file.read(_PAGE)
            file.seek((page - 1) * _PAGE)
            file.write(bytes(byte ^ 0xFF for byte in old))

    def root(self, name: str) -> int:
        with contextlib.closing(sqlite3.connect(self.path)) as index:
            (page,) = index.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()
            return int(page)


@pytest.mark.parametrize("is_harmed", [False, True])
def test_the_audit_trail_goes_on_and_what_is_lost_of_it_is_missed(lived: Lived, is_harmed: bool) -> None:
    with contextlib.closing(sqlite3.connect(lived.path)) as index:
        (known,) = index.execute("SELECT max(id) FROM events").fetchone()
    if is_harmed:
        lived.flip(lived.root("events"))
    lived.rebuild()
    node = lived.start()
    with node.database.read():
        breaks, head = list(chain.verify()), chain.head()
        last = audit.events(1)[0]
    assert (last.kind, last.id) == ("index rebuilt", head.id)
    assert head.id > known, "a number is never given twice"
    assert [each.id for each in breaks][:1] == ([1] if is_harmed else [])


@pytest.mark.parametrize("name", ["study_patients", "instances", "studies"])
def test_whom_an_instance_names_is_known_again(lived: Lived, name: str) -> None:
    assert [patient for *_, patient in lived.before["patients"]] == ["another"]
    lived.flip(lived.root(name))
    lived.rebuild()
    assert lived.look(lived.start())["patients"] == lived.before["patients"]


def test_a_sound_index_is_the_same_afterwards(lived: Lived) -> None:
    report = lived.rebuild()
    assert (report.adopted, report.routed, report.missing, report.unreadable, report.dropped) == (0, 0, (), (), 0)
    assert lived.look(lived.start()) == lived.before


_TELLING = ["instances", "transfers", "referrals", "studies", "series", "events", "generations"]
_INDEXES = ["sqlite_autoindex_transfers_1", "transfers_referral", "sqlite_autoindex_instances_1"]


@pytest.mark.parametrize("name", [*_TELLING, *_INDEXES])
def test_a_damaged_page_costs_nothing_that_custody_needs(lived: Lived, name: str) -> None:
    lived.flip(lived.root(name))  # the root: of a table that has several pages, everything is behind it
    report = lived.rebuild()
    assert (report.adopted, report.routed, report.missing, report.unreadable, report.dropped) == (0, 0, (), (), 0)
    assert lived.look(lived.start()) == lived.before
    if name == "events":
        assert next(table for table in report.tables if table.table == name).lost


def test_what_is_lost_is_counted(lived: Lived) -> None:
    lived.flip(lived.root("attempts"))
    counts = {table.table: (table.rows, table.lost) for table in lived.rebuild().tables}
    assert counts["attempts"] == (0, 4)
    assert counts["transfers"] == (48, 0)


@pytest.mark.parametrize("seed", range(9, 12))
def test_whatever_is_damaged_every_instance_is_there_and_on_its_way(lived: Lived, seed: int) -> None:
    pages = lived.path.stat().st_size // _PAGE
    for page in random.Random(seed).sample(range(2, pages + 1), pages // 4):
        lived.flip(page)
    lived.rebuild()
    lived.holds()


def test_without_an_index_all_is_there_and_goes_again(lived: Lived) -> None:
    lived.path.unlink()
    with pytest.raises(IndexDamaged, match="dicomnode reindex"):
        damaged.check_start(lived.path)
    report = lived.rebuild()
    assert (report.files, report.adopted, report.kept) == (48, 48, None)
    damaged.check_start(lived.path)
    node = lived.holds()
    with node.database.read():
        assert {state for *_, state in rows(_LEDGER)} == {"queued"}


def test_what_is_no_database_at_all(lived: Lived) -> None:
    lived.path.write_bytes(b"this was the index" * 1000)
    report = lived.rebuild()
    assert report.kept
    assert report.kept.read_bytes().startswith(b"this was the index")
    lived.holds()


def test_lost_transfers_are_routed_anew_and_what_was_dropped_stays_dropped(lived: Lived) -> None:
    with contextlib.closing(sqlite3.connect(lived.path)) as index, index:
        gone = index.execute("SELECT instance FROM transfers WHERE state = 'delivered' LIMIT 3").fetchall()
        index.executemany("DELETE FROM transfers WHERE instance = ?", gone)
    lived.flip(lived.root("transfers_referral"))
    lived.flip(lived.root("transfers"))
    report = lived.rebuild()
    node = lived.holds()
    with node.database.read():
        assert one("SELECT state FROM transfers WHERE id = ?", lived.dropped) == ("dropped",)
    assert report.routed >= 3


def test_what_was_lost_with_its_owner(lived: Lived) -> None:
    """A referral that nobody can read any more takes its transfers with it; its study is referred again."""
    with contextlib.closing(sqlite3.connect(lived.path)) as index, index:
        index.execute("DELETE FROM referrals WHERE id = 2")
        index.execute("PRAGMA foreign_keys")
    lived.flip(lived.root("attempts"))
    lived.flip(lived.root("referrals_partner"))
    lived.flip(lived.root("referrals"))
    assert lived.rebuild().dropped
    lived.holds()


def test_a_row_without_its_file_is_an_alarm(lived: Lived) -> None:
    gone = str(lived.before["instances"][40][5])
    (lived.config.node.data / gone).unlink()
    assert lived.rebuild().missing == (gone,)
    node = lived.start()
    with node.database.read():
        assert one("SELECT damage FROM instances WHERE file = ?", gone) == ("missing",)
        assert one(f"{_LEDGER} WHERE i.file = ?", gone)[3] == "held"
        assert [event.kind for event in audit.events() if event.alarm][:1] == ["file damaged"]


def test_files_of_nobody_are_left_where_they_are(lived: Lived) -> None:
    strange = (lived.config.node.data / str(lived.before["instances"][0][5])).with_name("0" * 26 + ".dcm")
    strange.write_bytes(b"no DICOM at all")
    assert lived.rebuild().unreadable == (str(strange.relative_to(lived.config.node.data)),)
    assert strange.exists()


def test_a_number_that_was_given_is_never_given_again(lived: Lived) -> None:
    last, *_, file, _ = max(lived.before["instances"])
    with contextlib.closing(sqlite3.connect(lived.path)) as index, index:
        index.execute("DELETE FROM transfers WHERE instance = ?", [last])
        index.execute("DELETE FROM instances WHERE id = ?", [last])
    (lived.config.node.data / str(file)).unlink()
    lived.rebuild()
    assert fakes.receive(lived.start(), make_instances(1, seed="new")[0]).instance > int(str(last))


def test_a_kill_in_the_middle_leaves_the_old_index(lived: Lived) -> None:
    def killed(what: str, done: int, of: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reindex(lived.config, killed)
    damaged.check_start(lived.path)
    assert lived.look(lived.start()) == lived.before
    lived.stop()
    assert lived.rebuild().files == 48


def test_a_kill_at_the_very_end_leaves_one_that_only_takes_its_place(
    lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.flip(lived.root("transfers"))
    with monkeypatch.context() as patched:
        patched.setattr(rebuild, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lived.rebuild()
    with pytest.raises(IndexDamaged):
        damaged.check_start(lived.path)
    assert lived.rebuild().kept
    damaged.check_start(lived.path)
    assert lived.look(lived.start()) == lived.before


def test_the_old_index_is_kept_with_its_log(lived: Lived) -> None:
    node = lived.start()
    fakes.receive(node, make_instances(1, seed="late")[0])
    kept = {end: Path(f"{lived.path}{end}").read_bytes() for end in ("", "-wal")}
    lived.stop()
    for end, content in kept.items():
        Path(f"{lived.path}{end}").write_bytes(content)  # as a kill leaves them
    report = lived.rebuild()
    assert report.files == 49
    assert report.adopted == 0
    assert report.kept
    assert {end: Path(f"{report.kept}{end}").read_bytes() for end in ("", "-wal")} == kept


def test_an_index_of_an_older_version_is_completed(lived: Lived) -> None:
    """What is indexed since the files were taken is '' in their rows, and is told by the files."""
    with sqlite3.connect(lived.path) as connection:
        connection.create_function("name_tokens", 3, lambda *_: "", deterministic=True)
        connection.execute("UPDATE series SET modality = '', series_date = ''")
        connection.execute("UPDATE studies SET study_description = '', patient_id = 'SAID BY A PERSON'")
        connection.execute("UPDATE instances SET image_type = '', content_date = '', sop_class_uid = '1.2.3'")
    connection.close()
    assert not lived.rebuild().missing
    with contextlib.closing(sqlite3.connect(lived.path)) as connection:
        assert {row[0] for row in connection.execute("SELECT modality FROM series")} == {"CT"}
        assert {row[0] for row in connection.execute("SELECT modalities FROM studies")} == {"CT"}
        assert {row[0] for row in connection.execute("SELECT patient_id FROM studies")} == {"SAID BY A PERSON"}
        told = "SELECT count(*) FROM instances WHERE image_type = '' OR content_date = '' OR sop_class_uid != '1.2.3'"
        assert connection.execute(told).fetchone() == (0,)


# -- what was stopped, and what patients have said --------------------------------------------------------------

ANNA, BERT = {"PatientID": "A1"}, {"PatientID": "B1"}
_REFERRALS = ("referrals", "referrals_partner")
"""And what else tells whether they were stopped."""
WANTED = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, consent: required}")


class Stopped:
    """A node of one study, the index of which loses tables whole; it is started again with what was made anew."""

    def __init__(self, folder: Path, config: str = fakes.CONFIG) -> None:
        self._folder, self.config = folder, config
        self._clock = fakes.FakeClock()
        self.node = fakes.make_node(folder, config, clock=self._clock)
        self._number = 0

    def come(self, *patients: dict[str, str]) -> None:
        self._number += 1
        made = [make_instances(at, seed=("stopped", self._number), **of)[-1] for at, of in enumerate(patients, 1)]  # type: ignore[arg-type]
        fakes.receive_all(self.node, made)
        fakes.complete(self.node)

    def lose(self, *tables: str) -> None:
        """The pages of these tables, but not their indexes, or of these indexes; all there is where none is named."""
        self.node.database.checkpoint()
        path = self.node.database.path
        self.node.database.close()
        with contextlib.closing(sqlite3.connect(path)) as index:
            index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            known = dict(index.execute("SELECT name, rootpage FROM sqlite_schema").fetchall())
        with path.open("r+b") as file:
            for table in tables:
                file.seek((known[table] - 1) * _PAGE)
                file.write(b"\xa5" * _PAGE)
        if not tables:
            path.unlink()
        reindex(fakes.configuration(self.config, self._folder), lambda *_: None)
        self.node = fakes.make_node(self._folder, self.config, clock=self._clock)

    def only(self, referral: int = 1) -> referrals.Referral:
        with self.node.database.read():
            found = referrals.get(referral)
        assert found
        return found

    def send(self) -> int:
        fake = FakePartner()
        while forward.forward(self.node.config.partners["PUBPACS"], fake, self.node, lambda: False):
            pass
        return len(fake.sent)

    def alarms(self) -> set[str]:
        with self.node.database.read():
            return {event.kind for event in audit.events(99, alarms=True)}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Stopped]]:
    """A factory of one: `begin()`, `begin(config)`."""
    made: list[Stopped] = []

    def make(config: str = fakes.CONFIG) -> Stopped:
        made.append(Stopped(tmp_path, config))
        return made[0]

    yield make
    made[0].node.database.close()


@pytest.mark.parametrize("lost", [(), ("transfers",), ("study_patients", "transfers"), ("referrals",), _REFERRALS])
@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_stopped_is_not_let_go(
    begin: Callable[..., Stopped], lost: tuple[str, ...], by_hand: bool
) -> None:
    it = begin()
    it.come(ANNA, ANNA if by_hand else BERT)
    if by_hand:
        it.node.database.write(lambda: refer.quarantine(1, "it is strange", it.node.clock(), it.node))
    it.lose("studies", *lost)
    assert (it.only().gate, it.send()) == ("quarantined", 0)
    it.node.database.write(lambda: refer.weigh(1, "looked again", it.node.clock(), it.node))
    assert (it.only().gate, it.send()) == ("quarantined", 0)


def test_what_nobody_had_looked_at_is_judged(begin: Callable[..., Stopped]) -> None:
    """Its gate was open, for a configuration that does not check."""
    it = begin(fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}"))
    it.come(ANNA, BERT)
    it.config = fakes.CONFIG
    it.lose("studies")
    assert it.only().gate == "quarantined"


def test_what_was_not_stopped_goes(begin: Callable[..., Stopped]) -> None:
    it = begin()
    it.come(ANNA, ANNA)
    it.lose("studies", "transfers")
    assert (it.only().gate, it.send()) == ("open", 2)


def test_who_has_withdrawn_consent_has_still_done_so(begin: Callable[..., Stopped]) -> None:
    it = begin()
    it.come(ANNA)
    consent.withdraw([1], "they said no", "bob", it.node)
    it.lose("consents")
    it.come(ANNA)
    assert (it.only(2).gate, it.send()) == ("held", 0)
    assert "by bob, for referral 1: they said no" in it.only(2).reason
    assert "consent forgotten" not in it.alarms()


def test_words_that_the_trail_has_lost_too_hold_everything(begin: Callable[..., Stopped]) -> None:
    it = begin()
    it.come(ANNA)
    it.come(BERT)
    consent.withdraw([1], "they said no", "bob", it.node)
    it.lose("consents", "events")
    assert (it.only(1).gate, it.only(2).gate, it.send()) == ("withdrawn", "held", 0)
    assert "the index was lost" in it.only(2).reason
    assert "consent forgotten" in it.alarms()
    refer.release([2], "asked them", "anna", it.node)
    assert it.send() == 1


@pytest.mark.parametrize(("config", "gate"), [(fakes.CONFIG, "open"), (WANTED, "held")])
def test_without_any_index_what_wants_consent_is_held(
    begin: Callable[..., Stopped], config: str, gate: str
) -> None:
    it = begin(config)
    it.come(ANNA)
    it.lose()
    assert it.only().gate == gate
    assert ("the index was lost" in it.only().reason) is (gate == "held")
    assert ("consent forgotten" in it.alarms()) is (gate == "held")
