"""operations/evict.py: what nobody needs any more goes, oldest first, and nothing else ever does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomnode.config.parts import Retention
from dicomnode.errors import OutOfResources
from dicomnode.operations import evict as module
from dicomnode.operations.evict import evict, sweep
from dicomnode.operations.moving import send
from dicomnode.operations.ports import Node, Originator
from dicomnode.operations.retrieve import Asked, plan
from dicomnode.rules.matching import Model
from dicomnode.store import audit, commitments, index, proof, space
from dicomnode.store.database import execute, one, rows
from dicomnode.store.index import Kind
from dicomnode.store.space import Age
from tests import fakes
from tests.fakes import SECOND, FakeClock, FakePartner
from tests.samples import Sample, decode, encode, make_instances

IMPLICIT = "1.2.840.10008.1.2"
HOUR, DAY = 3600, 86400
GB = 10**9


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """One that keeps studies for thirty days."""
    return keeping(build, after="30d")


def keeping(build: Callable[..., Node], **retention: object) -> Node:
    keys = ", ".join(f"{key}: {value}" for key, value in retention.items())
    return build(fakes.CONFIG.replace("data: ./data,", f"data: ./data, retention: {{{keys}}},"))


def pass_time(node: Node, seconds: float) -> int:
    assert isinstance(node.clock, FakeClock)
    return node.clock.advance(seconds)


def confirmed(node: Node, seed: object = 0, count: int = 2, **options: str) -> list[Sample]:
    """A study that was received, delivered to where it was referred, and confirmed, all of it just now."""
    made = make_instances(count, seed=seed)
    study = fakes.receive_all(node, made, **options)[0].study
    assert study is not None
    settle(node, study)
    return made


def settle(node: Node, study: int) -> None:
    of_study = "referral IN (SELECT id FROM referrals WHERE study = ?)"

    def settled() -> None:
        execute(f"UPDATE transfers SET state = 'delivered', finished_at = ? WHERE {of_study}", node.clock(), study)
        confirmed = "UPDATE referrals SET progress = 'confirmed', sent_at = ?1, confirmed_at = ?1 WHERE study = ?2"
        execute(confirmed, node.clock(), study)

    node.database.write(settled)


def change(node: Node, sql: str, *values: object) -> None:
    assert node.database.write(lambda: execute(sql, *values)) > 0


def gone(node: Node) -> set[str]:
    """The studies of which something was evicted."""
    with node.database.read():
        sql = "SELECT DISTINCT t.study_instance_uid FROM studies t JOIN series s ON s.study = t.id JOIN instances i"
        return {uid for (uid,) in rows(f"{sql} ON i.series = s.id AND i.evicted_at IS NOT NULL")}


def on_disk(node: Node) -> set[str]:
    return {file for file in fakes.files(node) if file.endswith(".dcm")}


def indexed(node: Node) -> set[str]:
    """The files that the index says are there."""
    with node.database.read():
        return {file for (file,) in rows("SELECT file FROM instances WHERE evicted_at IS NULL")}


def seen(node: Node, study: str) -> int:
    """How many instances of a study a workstation of its own site finds."""
    caller = node.config.partners["RAD_WS"]
    with node.database.read():
        (series,) = one("SELECT min(series_instance_uid) FROM series s JOIN studies t ON t.id = s.study"
                        " WHERE t.study_instance_uid = ?", study)
    asked = fakes.asked("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="")
    return fakes.found(asked, caller, node)


# -- by age ----------------------------------------------------------------------------------------------------


def test_a_study_goes_when_it_was_confirmed_long_enough_ago(node: Node) -> None:
    made = confirmed(node)
    assert not evict(node, pass_time(node, 29 * DAY))
    assert gone(node) == set()
    evict(node, pass_time(node, DAY))
    evict(node, node.clock())  # once
    assert gone(node) == {made[0].study}
    assert on_disk(node) == indexed(node) == set()
    with node.database.read():
        (event,) = [each for each in audit.events() if each.kind == "study evicted"]
        assert one("SELECT count(*) FROM discarded") == (0,)
        assert one("SELECT count(*) FROM instances WHERE current") == (2,)
    assert event.study_instance_uid == made[0].study
    size = sum(len(sample.dataset) for sample in made)
    assert event.text == f"2 instances, {size} bytes: it is older than node.retention.after"


def test_without_retention_nothing_ever_goes(here: Node) -> None:
    confirmed(here)
    evict(here, pass_time(here, 10_000 * DAY))
    assert gone(here) == set()
    assert len(on_disk(here)) == 2


_KEEPS = {
    "not confirmed": "UPDATE referrals SET progress = 'sent'",
    "receiving again": "UPDATE referrals SET progress = 'receiving'",
    "held": "UPDATE referrals SET gate = 'held'",
    "quarantined gate": "UPDATE referrals SET gate = 'quarantined'",
    "one of two not confirmed": "INSERT INTO referrals (study, partner, route, wait, progress, gate, reason,"
    " generation, opened_at, last_instance_at) SELECT study, 'ISLPACS', '', 0, 'sent', 'open', '', 1, 0, 0"
    " FROM referrals",
    "doubted": "UPDATE studies SET quarantine = 'doubt'",
    "corrected": "UPDATE studies SET correction = 'which?'",
    "undecided": "UPDATE instances SET undecided = 1 WHERE id = 2",
    "damaged": "UPDATE instances SET damage = 'a bit' WHERE id = 2",
    "committed": "UPDATE instances SET committed_at = 1 WHERE id = 2",
    "queued": "UPDATE transfers SET state = 'queued' WHERE instance = 2",
    "active": "UPDATE transfers SET state = 'active' WHERE instance = 2",
    "held instance": "UPDATE transfers SET state = 'held' WHERE instance = 2",
    "queued elsewhere": "INSERT INTO transfers (referral, instance, partner, state, queued_at, due_at)"
    " VALUES (1, 2, 'ISLPACS', 'queued', 0, 0)",
    "dropped": "UPDATE transfers SET state = 'dropped' WHERE instance = 2",
    "never queued": "DELETE FROM transfers WHERE instance = 2",
    "kept apart": "UPDATE instances SET current = 0, kind = 'foreign', site = 'peak' WHERE id = 2",
    "no referral": "UPDATE referrals SET study = (SELECT max(id) FROM studies)",
}


@pytest.mark.parametrize("why", _KEEPS)
def test_what_somebody_may_need_stays(node: Node, why: str) -> None:
    confirmed(node)
    kept = fakes.receive(node, make_instances(1, seed="another")[0], called="REFERNODE")
    change(node, _KEEPS[why])
    evict(node, pass_time(node, 100 * DAY))
    assert gone(node) == set()
    assert len(on_disk(node)) == 3
    assert kept.file in on_disk(node)


def test_a_study_that_has_grown_stays_until_that_is_old_too(node: Node) -> None:
    made = confirmed(node)
    pass_time(node, 29 * DAY)
    late = fakes.receive(node, make_instances(3, seed=0)[2])
    assert late.study
    change(node, "UPDATE transfers SET state = 'delivered'")
    change(node, "UPDATE referrals SET progress = 'confirmed', confirmed_at = opened_at")  # of old
    evict(node, pass_time(node, 2 * DAY))
    assert gone(node) == set()
    evict(node, pass_time(node, 28 * DAY))
    assert gone(node) == {made[0].study}


def test_a_study_that_was_confirmed_late_stays_as_long_as_any(node: Node) -> None:
    made = confirmed(node)
    change(node, "UPDATE referrals SET confirmed_at = ?", pass_time(node, 20 * DAY))
    evict(node, pass_time(node, 20 * DAY))
    assert gone(node) == set()
    evict(node, pass_time(node, 10 * DAY))
    assert gone(node) == {made[0].study}


def test_what_was_committed_goes_where_retention_says_so(build: Callable[..., Node]) -> None:
    node = keeping(build, after="1d", committed="true")
    made = confirmed(node)
    change(node, _KEEPS["committed"])
    evict(node, pass_time(node, 2 * DAY))
    assert gone(node) == {made[0].study}


@pytest.mark.parametrize("first", ["committed", "confirmed"])
def test_what_was_committed_is_not_looked_through_each_time(node: Node, first: str) -> None:
    """Retention keeps it, and it may be nearly everything there is."""
    made = make_instances(2)
    fakes.receive_all(node, made)

    def commit() -> None:
        assert commitments.commit([2], node.clock())

    def confirm() -> None:
        execute("UPDATE transfers SET state = 'delivered', finished_at = 1")
        execute("UPDATE referrals SET progress = 'sent', sent_at = 1")
        assert proof.waive(1, node.clock())

    for step in (commit, confirm) if first == "committed" else (confirm, commit):
        node.database.write(step)
    with node.database.read():
        assert one("SELECT promised FROM referrals") == (1,)
        free = "progress = 'confirmed' AND evicted_at IS NULL AND NOT promised"
        assert one(f"SELECT count(*) FROM referrals INDEXED BY referrals_free WHERE {free}") == (0,)
        assert space.evictable(Age(), 10) == []
        assert space.evictable(Age(committed=True), 10) == [1]


def test_versions_go_with_the_one_that_was_sent(node: Node) -> None:
    """A variant, and one that was rejected, when the current one was delivered."""
    made = confirmed(node, count=3)
    sql = "UPDATE instances SET current = 0, kind = 'variant', sop_instance_uid = ?, version = 2 WHERE id = 2"
    change(node, sql, made[0].sop_instance)
    change(node, "DELETE FROM transfers WHERE instance = 2")
    evict(node, pass_time(node, 31 * DAY))
    assert gone(node) == {made[0].study}
    assert on_disk(node) == set()


# -- by space --------------------------------------------------------------------------------------------------


@pytest.fixture
def crowded(build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> Node:
    """Four confirmed studies, an hour apart, and 1500 bytes too few free: that is one study and a half."""
    node = keeping(build, free="5GB")
    for number in range(4):
        confirmed(node, number)
        pass_time(node, HOUR)
    with node.database.read():
        (size,) = one("SELECT sum(size) FROM instances WHERE series = 1")
    monkeypatch.setattr(node.archive.volume, "free", lambda: 5 * GB - size * 3 // 2)
    return node


def test_when_room_is_wanted_those_go_first_that_were_confirmed_first(crowded: Node) -> None:
    change(crowded, "UPDATE referrals SET confirmed_at = 1 WHERE id = 3")
    evict(crowded, 0)
    assert gone(crowded) == {make_instances(1, seed=seed)[0].study for seed in (0, 2)}


def test_the_last_confirmation_of_a_study_counts(crowded: Node) -> None:
    second = _KEEPS["one of two not confirmed"].replace("'sent'", "'confirmed'") + " WHERE id = 1"
    change(crowded, second)
    change(crowded, "UPDATE referrals SET confirmed_at = ? WHERE partner = 'ISLPACS'", crowded.clock())
    evict(crowded, 0)
    assert gone(crowded) == {make_instances(1, seed=seed)[0].study for seed in (1, 2)}


def test_a_study_that_stays_is_passed_over(crowded: Node) -> None:
    change(crowded, "UPDATE studies SET quarantine = 'doubt' WHERE id = 1")
    evict(crowded, 0)
    assert gone(crowded) == {make_instances(1, seed=seed)[0].study for seed in (1, 2)}


def test_where_there_is_room_nothing_goes(crowded: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowded.archive.volume, "free", lambda: 5 * GB)
    assert not evict(crowded, crowded.clock())
    assert gone(crowded) == set()


def test_a_round_is_short_and_says_that_there_is_more(crowded: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILES", 2)
    monkeypatch.setattr(crowded.archive.volume, "free", lambda: 0)
    for number in range(1, 5):
        assert evict(crowded, 0)
        assert len(gone(crowded)) == number
        assert len(on_disk(crowded)) == 8 - 2 * number
    assert not evict(crowded, 0)


# -- the order of the steps ------------------------------------------------------------------------------------


def test_files_that_a_kill_has_left_go_in_the_next_round(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    made = confirmed(node)
    late = pass_time(node, 31 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(module, "sweep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evict(node, late)
    assert gone(node) == {made[0].study}
    assert len(on_disk(node)) == 2
    assert seen(node, made[0].study) == 0
    evict(node, late)
    assert on_disk(node) == set()


def test_no_file_goes_before_the_index_says_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed(node)

    def fail(_: object) -> None:
        raise OutOfResources("the index cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(node.database, "write", fail)
        with pytest.raises(OutOfResources):
            evict(node, pass_time(node, 31 * DAY))
    assert on_disk(node) == indexed(node)
    assert len(on_disk(node)) == 2


def test_a_file_is_forgotten_only_when_its_folder_was_synced(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed(node)
    late, fsync, synced = pass_time(node, 31 * DAY), os.fsync, list[str]()
    removed = space.removed
    order: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1])
    monkeypatch.setattr(space, "removed", lambda files: (order.extend(synced), removed(files))[1])
    evict(node, late)
    assert any("/instances/" in folder for folder in order)


def test_a_file_that_cannot_be_removed_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    confirmed(node)
    late, unlink = pass_time(node, 31 * DAY), Path.unlink
    bad = min(on_disk(node))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if str(path).endswith(bad):
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert not evict(node, late)
    assert on_disk(node) == {bad}
    sweep(node)
    assert on_disk(node) == set()


def test_something_that_happens_meanwhile_keeps_the_study(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice and the commit."""
    confirmed(node)
    late, write = pass_time(node, 31 * DAY), node.database.write
    with monkeypatch.context() as patch:
        patch.setattr(node.database, "write", lambda fn: (change_by(write), write(fn))[1])
        evict(node, late)
    assert gone(node) == set()
    assert len(on_disk(node)) == 2


def change_by(write: Callable[[Callable[[], int]], int]) -> None:
    write(lambda: execute("UPDATE studies SET quarantine = 'doubt'"))


def test_an_old_folder_goes_with_its_last_file_and_a_young_one_stays(node: Node) -> None:
    confirmed(node)
    pass_time(node, 31 * DAY)
    folders = set((node.archive.root / "instances").glob("*/*"))
    change(node, "UPDATE instances SET received_at = 0")
    evict(node, node.clock())
    assert folders
    assert not any(path.exists() or path.parent.exists() for path in folders)
    young = fakes.receive(node, make_instances(1, seed="young")[0])
    change(node, "INSERT INTO discarded SELECT file FROM instances WHERE id = ?", young.instance)
    sweep(node)
    assert not node.archive.path(young.file).exists()
    assert node.archive.path(young.file).parent.exists()


# -- who asks for it -------------------------------------------------------------------------------------------


def test_nobody_is_offered_what_has_gone(node: Node) -> None:
    made = confirmed(node)
    caller = node.config.partners["RAD_WS"]
    asked = fakes.asked("STUDY", StudyInstanceUID=made[0].study)
    before = plan(Asked(asked, Model.STUDY_ROOT), "RAD_WS", caller, node)
    assert len(before.instances) == seen(node, made[0].study) == 2
    evict(node, pass_time(node, 31 * DAY))
    assert not plan(Asked(asked, Model.STUDY_ROOT), "RAD_WS", caller, node).instances
    assert not fakes.found(asked, caller, node)
    assert seen(node, made[0].study) == 0
    with node.database.read():
        assert index.of_study(1) == []  # and no further route is given it
    results = [each for each in send(before, Originator("RAD_WS", 1, 0), FakePartner(), node, lambda: False) if each]
    assert [each.completed for each in results] == [False, False]  # planned before: each fails, and no more than that


def test_a_file_that_is_being_sent_is_sent_to_its_end(node: Node) -> None:
    made = confirmed(node, count=1)
    (file,) = on_disk(node)
    with node.archive.path(file).open("rb") as reader:
        evict(node, pass_time(node, 31 * DAY))
        assert not node.archive.path(file).exists()
        assert reader.read().endswith(made[0].dataset)


def test_what_has_gone_and_comes_again_is_there_again(node: Node) -> None:
    made = confirmed(node)
    old = on_disk(node)
    evict(node, pass_time(node, 31 * DAY))
    fakes.receive_all(node, made)
    assert len(on_disk(node)) == 2
    assert on_disk(node) == indexed(node)
    assert not on_disk(node) & old
    assert seen(node, made[0].study) == 2
    settle(node, 1)
    change(node, "UPDATE instances SET received_at = ?", node.clock())
    evict(node, pass_time(node, 29 * DAY))
    assert len(on_disk(node)) == 2
    evict(node, pass_time(node, 2 * DAY))
    assert on_disk(node) == set()


def test_another_encoding_of_what_has_gone_goes_too(node: Node) -> None:
    """Nobody is sent it: that the partner is asked again is all that follows, and its file is in nobody's way."""
    (made,) = confirmed(node, count=1)
    node.database.write(lambda: proof.learn("PUBPACS", "find", node.clock()))
    evict(node, pass_time(node, 31 * DAY))
    other = replace(made, transfer_syntax=IMPLICIT, dataset=encode(decode(made.dataset), IMPLICIT))
    assert fakes.receive(node, other).kind is Kind.VARIANT
    change(node, "UPDATE transfers SET confirmed_at = ?", node.clock())
    assert node.database.write(lambda: proof.confirm(1, "find", node.clock()))
    evict(node, pass_time(node, 29 * DAY))
    assert len(on_disk(node)) == 1
    evict(node, pass_time(node, 2 * DAY))
    assert on_disk(node) == indexed(node) == set()


def test_what_is_kept_is_known_without_counting_it_all(node: Node) -> None:
    """By a sum that is brought up to date now and then, whatever goes and comes back between."""

    def check() -> None:
        with node.database.read():
            there = one("SELECT count(*), coalesce(sum(size), 0) FROM instances WHERE evicted_at IS NULL")
            assert (space.kept().instances, space.kept().bytes) == there

    first = confirmed(node, 1)
    check()
    node.database.write(space.count)
    check()
    pass_time(node, 20 * DAY)
    confirmed(node, 2)
    check()
    evict(node, pass_time(node, 11 * DAY))
    assert len(gone(node)) == 1
    check()
    node.database.write(space.count)
    check()
    fakes.receive_all(node, first)
    check()
    node.database.write(space.count)
    check()


def test_what_came_in(node: Node) -> None:
    confirmed(node, count=3)
    size = len(make_instances(1)[0].dataset)
    with node.database.read():
        assert space.intake(node.clock(), DAY) == pytest.approx(3 * size / DAY)
        assert space.intake(node.clock() + 3 * DAY * SECOND, DAY) == 0


# -- whatever happens ------------------------------------------------------------------------------------------

_PROGRESS = st.sampled_from(["confirmed"] * 20 + ["sent", "receiving", "sending"])
_GATE = st.sampled_from(["open"] * 20 + ["held", "quarantined"])
_STATE = st.sampled_from(["delivered"] * 20 + ["queued", "active", "held", "dropped", ""])
_DAYS = st.integers(0, 60)
_RARELY = st.sampled_from([False] * 15 + [True])
_INSTANCES = st.lists(
    st.fixed_dictionaries(
        {
            "transfers": st.lists(_STATE, min_size=2, max_size=2),
            "committed": _RARELY,
            "undecided": _RARELY,
            "damaged": _RARELY,
            "current": st.sampled_from([True] * 15 + [False]),
            "age": _DAYS,
        }
    ),
    min_size=1,
    max_size=3,
)
_STUDIES = st.lists(
    st.fixed_dictionaries(
        {
            "referrals": st.lists(st.tuples(_PROGRESS, _GATE, _DAYS), max_size=2),
            "quarantine": _RARELY,
            "correction": _RARELY,
            "instances": _INSTANCES,
        }
    ),
    min_size=1,
    max_size=3,
)
_PARTNERS = ("PUBPACS", "ISLPACS")
_TABLES = ("events", "discarded", "attempts", "transfers", "referrals", "instances", "series", "studies", "marks")


def fill(node: Node, studies: list[dict[str, object]], now: int) -> list[list[str]]:
    """Write rows as they may be, sound or not, each with a small file; the files of each study."""
    files = []
    for number, study in enumerate(studies, 1):
        doubt = ["doubt" if study[key] else "" for key in ("quarantine", "correction")]
        execute(
            "INSERT INTO studies (id, study_instance_uid, site, patient_id, issuer_of_patient_id, patient_name,"
            " patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic, patient_birth_date,"
            " patient_sex, study_date, study_time, accession_number, study_id, study_description,"
            " referring_physician_name, received_at, quarantine, correction)"
            " VALUES (?, ?, 'harbour', '', '', '', '', '', '', '', '', '', '', '', '', '', '', 0, ?, ?)",
            *(number, f"1.{number}", *doubt),
        )
        texts = ", ''" * 17
        execute(f"INSERT INTO series VALUES (?, ?, '1'{texts}, 0)", number, number)
        for partner, (progress, gate, age) in zip(_PARTNERS, study["referrals"], strict=False):  # type: ignore[call-overload]
            execute(
                "INSERT INTO referrals (study, partner, route, wait, progress, gate, reason, generation, opened_at,"
                " last_instance_at, confirmed_at) VALUES (?, ?, '', 0, ?, ?, '', 1, 0, 0, ?)",
                *(number, partner, progress, gate, now - age * DAY * SECOND if progress == "confirmed" else None),
            )
        files.append([_instance(node, number, each, now) for each in study["instances"]])  # type: ignore[attr-defined]
    return files


def _instance(node: Node, study: int, given: dict[str, object], now: int) -> str:
    (count,) = one("SELECT coalesce(max(id), 0) + 1 FROM instances")
    file = f"instances/20200101/00/{count}.dcm"
    path = node.archive.path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    execute(
        "INSERT INTO instances (id, series, sop_instance_uid, version, kind, current, sop_class_uid, notes,"
        " transfer_syntax_uid, instance_number, rows, columns, number_of_frames, content_date, content_time,"
        " acquisition_date_time, file, sha256, size, partner, site, calling_ae_title, called_ae_title, received_at,"
        " committed_at, undecided, damage) VALUES (?, ?, ?, 1, 'new', ?, '', '[]', '', '', '', '', '', '', '', '', ?,"
        " '', 1, 'CT1', 'harbour', '', '', ?, ?, ?, ?)",
        *(count, study, f"2.{count}", given["current"], file, now - int(given["age"]) * DAY * SECOND),  # type: ignore[call-overload]
        *(1 if given["committed"] else None, given["undecided"], "a bit" if given["damaged"] else ""),
    )
    of_study = rows("SELECT id, partner FROM referrals WHERE study = ?", study)
    for (referral, partner), state in zip(of_study, given["transfers"], strict=False):  # type: ignore[call-overload]
        if state:
            execute(
                "INSERT INTO transfers (referral, instance, partner, state, queued_at, due_at)"
                " VALUES (?, ?, ?, ?, 0, 0)",
                *(referral, count, partner, state),
            )
    return file


def may_go(study: dict[str, object], retention: Retention, is_tight: bool) -> bool:
    """The promise, once more, over what was made up: nothing of the code under test."""
    referrals: list[tuple[str, str, int]] = study["referrals"]  # type: ignore[assignment]
    instances: list[dict[str, object]] = study["instances"]  # type: ignore[assignment]
    if study["quarantine"] or study["correction"] or not referrals:
        return False
    if any(progress != "confirmed" or gate != "open" for progress, gate, _ in referrals):
        return False
    for each in instances:
        states = each["transfers"][: len(referrals)]  # type: ignore[index]
        if each["damaged"] or each["undecided"] or not each["current"]:
            return False
        if "delivered" not in states or {"queued", "active", "held"} & set(states):
            return False
        if each["committed"] and not retention.committed:
            return False
    ages = [age for _, _, age in referrals] + [int(each["age"]) for each in instances]  # type: ignore[call-overload]
    is_old = retention.after is not None and min(ages) * DAY >= retention.after
    return is_old or is_tight


@given(
    studies=_STUDIES,
    after=st.none() | st.integers(1, 40),
    committed=st.booleans(),
    is_tight=st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_nothing_goes_that_may_be_needed(
    here: Node, studies: list[dict[str, object]], after: int | None, committed: bool, is_tight: bool
) -> None:
    """Nothing unconfirmed, promised, doubted, damaged, or given to nobody; and all that may go does."""
    retention = Retention(after=after * DAY if after else None, free=10 * GB if is_tight else None, committed=committed)
    node, now = _with(here, retention), here.clock()

    def begin() -> list[list[str]]:
        for table in _TABLES:
            execute(f"DELETE FROM {table}")
        return fill(node, studies, now)

    files = node.database.write(begin)
    evict(node, now)
    for study, its in zip(studies, files, strict=True):
        went = [not node.archive.path(file).exists() for file in its]
        assert went == [may_go(study, retention, is_tight)] * len(its)
    assert {file for its in files for file in its if node.archive.path(file).exists()} == indexed(node)


def _with(node: Node, retention: Retention) -> Node:
    """The same node, with other retention, on a disk without room."""
    node.archive.volume.free = lambda: 0  # type: ignore[method-assign]
    config = node.config.model_copy(update={"node": node.config.node.model_copy(update={"retention": retention})})
    return Node(config, 1, node.archive, node.database, node.clock)


def test_one_study_is_looked_at_again_by_the_commit(node: Node) -> None:
    confirmed(node)
    with node.database.read():
        assert space.evictable(Age(), 9) == [1]
    change(node, _KEEPS["undecided"])
    assert node.database.write(lambda: space.evict(1, Age(), node.clock())) is None
