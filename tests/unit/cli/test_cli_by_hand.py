"""find, move, send and import on the command line: what needs no partner that answers well, and no node that runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import by_hand, main
from dicomnode.operations import import_files
from dicomnode.run import premises
from dicomnode.store.database import rows
from tests import fakes, samples
from tests.samples import Sample, decode, encode, make_instances
from tests.script import PENDING, Says, Script, row
from tests.upper_layer import EXPLICIT_LE, Message

MADE = make_instances(3, seed="by hand")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node that has run, and does not."""
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    fakes.make_node(tmp_path).database.close()
    return tmp_path


def cli(folder: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), *arguments], env={"DICOMNODE_CONFIG": None})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def disc(folder: Path, made: list[Sample]) -> str:
    (folder / "disc").mkdir()
    for number, sample in enumerate(made):
        (folder / "disc" / f"{number}.dcm").write_bytes(samples.part10(sample))
    return str(folder / "disc")


def indexed(folder: Path) -> set[str]:
    node = fakes.make_node(folder)
    try:
        with node.database.read():
            return {uid for (uid,) in rows("SELECT sop_instance_uid FROM instances")}
    finally:
        node.database.close()


# -- import ----------------------------------------------------------------------------------------------------


def test_import_where_the_node_does_not_run(folder: Path) -> None:
    done = cli(folder, "import", disc(folder, MADE), "--from", "CT1")
    assert (done.exit_code, done.stdout) == (0, "3 instances in custody\n")
    assert "not running" in done.stderr
    assert indexed(folder) == {sample.sop_instance for sample in MADE}
    assert [path.name for path in (folder / "data" / "run").glob("*.lock")] == ["node.lock"], "no worker is left"
    assert premises.running(folder / "data") is None
    assert not list((folder / "data" / "incoming").glob("*/*.part"))


def test_nothing_is_imported_while_the_index_is_being_made(folder: Path) -> None:
    """Whoever has the folder and does not serve yet starts, or rebuilds the index: both would miss what comes in."""
    lock = premises.lock(folder / "data")
    try:
        done = cli(folder, "import", disc(folder, MADE), "--from", "CT1")
    finally:
        os.close(lock)
    assert done.exit_code == 2
    assert "being rebuilt" in done.stderr
    assert indexed(folder) == set()
    assert [path.name for path in (folder / "data" / "run").glob("*.lock")] == ["node.lock"]


def test_an_import_ends_with_the_node_that_it_is_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is not started again before the workers of its last run have ended."""
    looks = iter([(77, 1), (77, 1), (77, 2)])  # a reload is no end
    monkeypatch.setattr(premises, "running", lambda data: next(looks, None))
    monkeypatch.setattr(import_files, "_HANDS", 1)
    done = cli(folder, "import", disc(folder, MADE), "--from", "CT1")
    monkeypatch.undo()
    assert (done.exit_code, done.stdout) == (1, "2 instances in custody, 1 not tried\n")
    assert "the node was stopped" in done.stderr
    assert len(indexed(folder)) == 2


def test_import_says_what_was_refused(folder: Path) -> None:
    path = disc(folder, MADE)
    (folder / "disc" / "1.dcm").write_bytes(b"x" * 128 + b"DICM and no more")
    done = cli(folder, "import", path, "--from", "CT1")
    assert (done.exit_code, done.stdout) == (1, "2 instances in custody, 1 file failed\n")
    assert "1.dcm" in done.stderr


def test_a_file_name_does_not_reach_the_terminal_as_it_is(folder: Path) -> None:
    path = disc(folder, [])
    (folder / "disc" / "evil\x1b[2J").write_text("no DICOM")
    done = cli(folder, "import", path, "--from", "CT1")
    assert done.exit_code == 1
    assert "\x1b" not in done.stderr
    assert "evil" in done.stderr


def test_import_into_a_node_that_has_never_run(tmp_path: Path) -> None:
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    done = cli(tmp_path, "import", disc(tmp_path, MADE), "--from", "CT1")
    assert done.exit_code == 2
    assert "serve" in done.stderr


# -- find ------------------------------------------------------------------------------------------------------


def find(folder: Path, says: Says, *arguments: str) -> Result:
    with Script(says) as script:
        return cli(_at(folder, script), "find", "PUBPACS", *arguments)


def _at(folder: Path, script: Script) -> Path:
    """The folder, of a node to which the script is PUBPACS."""
    text = fakes.CONFIG.replace("host: 10.9.0.5, port: 104", f"host: 127.0.0.1, port: {script.port}")
    text = text.replace("wait: 60s}", "wait: 60s, identity: none}")  # what is not in custody may be sent
    (folder / "dicomnode.yaml").write_text(text)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A node that has never run: to ask, it need not."""
    return tmp_path


def hostile(script: Script, message: Message) -> None:
    name = row(PatientName="EVIL\x1b[2J^\u202e\rX", PatientID="1\n2", StudyDescription="\x07[bold]x[/bold]\x9b")
    name.PatientComments = "a\r\nb"
    script.respond(message, PENDING, encode(name))
    script.respond(message, 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_a_partner_says_does_not_reach_the_terminal_as_it_is(bare: Path, more: list[str]) -> None:
    done = find(bare, hostile, "PatientComments", *more)
    assert done.exit_code == 0
    assert not {"\x1b", "\r", "\x07", "\x9b", "\u202e"} & set(done.stdout)
    assert "EVIL" in done.stdout
    assert "a b" in done.stdout


def test_a_wrong_answer_is_shown_for_what_it_is(bare: Path) -> None:
    def says(script: Script, message: Message) -> None:
        odd = row(PatientID="1", ModalitiesInStudy=["CT", "SR"])
        odd.add_new(0x00201208, "LO", "many")
        script.respond(message, PENDING, encode(odd))
        script.respond(message, PENDING, encode(row(NumberOfStudyRelatedInstances="7", PatientBirthDate="19700101")))
        script.respond(message, 0)

    done = find(bare, says, "--json")
    first, second = json.loads(done.stdout)
    assert (first["modalities_in_study"], first["number_of_study_related_instances"]) == (["CT", "SR"], "many")
    assert (second["modalities_in_study"], second["number_of_study_related_instances"]) == ([], 7)
    assert second["patient_id"] is None
    assert "patient_birth_date" not in second, "it was not asked for"


@pytest.mark.parametrize(("status", "warned"), [(0xFF00, False), (0xFF01, True)])
def test_a_key_that_restricted_nothing_is_said(bare: Path, status: int, warned: bool) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, status, encode(row(PatientID="1")))
        script.respond(message, 0)

    done = find(bare, says, "0009,1001=3")
    assert done.exit_code == 0
    assert ("PUBPACS does not support every key" in done.stderr) == warned


def test_a_key_may_be_a_column_of_the_answers(bare: Path) -> None:
    def says(script: Script, message: Message) -> None:
        asked = decode(message.dataset or b"")
        script.respond(message, PENDING, encode(row(PatientID=asked.PatientID, StudyDate=asked.StudyDate)))
        script.respond(message, 0)

    (found,) = json.loads(find(bare, says, "patient_id=P1", "study_date=20260101", "--json").stdout)
    assert (found["patient_id"], found["study_date"]) == ("P1", "20260101")


@pytest.mark.parametrize(("key", "meant"), [("PatientId=1", "PatientID"), ("study_dat", "StudyDate"), ("*", None)])
def test_a_key_that_is_misspelt(bare: Path, key: str, meant: str | None) -> None:
    done = find(bare, hostile, key)
    assert done.exit_code == 2
    assert (f"did you mean {meant}? write a keyword" in done.stderr) == bool(meant)
    assert "such as PatientID" in done.stderr


def test_who_takes_no_queries_of_ours(bare: Path) -> None:
    with Script(hostile, accepts=None) as script:
        done = cli(_at(bare, script), "find", "PUBPACS")
    assert done.exit_code == 1
    assert "PUBPACS does not accept Study Root" in done.stderr
    assert "give REFERNODE the right to it there" in done.stderr


def test_what_came_before_a_failure_is_shown(bare: Path) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, encode(row(PatientID="BEFORE")))
        script.respond(message, 0xA700, ErrorComment="no memory")

    done = find(bare, says)
    assert done.exit_code == 1
    assert "BEFORE" in done.stdout
    assert "(A700H): no memory" in done.stderr


# -- move ------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_to_a_node_that_does_not_run(folder: Path) -> None:
    done = cli(folder, "move", "PUBPACS", "1.2.3")
    assert done.exit_code == 2
    assert "not running" in done.stderr
    assert "PUBPACS may not store here" in done.stderr


MOVED = [  # final status, counters, whether all is well
    (0x0000, (3, 0, 0), True),
    (0x0000, (0, 0, 0), False),
    (0x0000, (2, 1, 0), False),
    (0x0000, None, True),
    (0xB000, (2, 0, 1), True),
    (0xB000, (0, 0, 3), True),
    (0xB000, (2, 1, 0), False),
    (0xB000, None, False),
    (0xA702, (0, 3, 0), False),
    (0xA801, None, False),
    (0xFE00, (2, 0, 0), False),
]


@pytest.mark.parametrize(("status", "counts", "well"), MOVED)
def test_how_a_move_ended(tmp_path: Path, status: int, counts: tuple[int, int, int] | None, well: bool) -> None:
    names = ("Completed", "Failed", "Warning")
    said = {f"NumberOf{name}Suboperations": count for name, count in zip(names, counts or (), strict=False)}
    failed = encode(row(FailedSOPInstanceUIDList="1.2.3.9")) if counts and counts[1] else None

    def says(script: Script, message: Message) -> None:
        script.respond(message, status, failed, ErrorComment="so it is", **said)

    with Script(says) as script:
        done = cli(_at(tmp_path, script), "move", "PUBPACS", "1.2.3", "--to", "PUB_WS")
    assert done.exit_code == (0 if well else 1)
    assert f"({status:04X}H): so it is" in done.stdout
    assert ("1.2.3.9 was not sent" in done.stderr) == bool(failed)
    assert ("does not say how many" in done.stdout) == (counts is None and status != 0xA801)
    assert ("has no such study, or does not show it to us" in done.stdout) == (status == 0 and counts == (0, 0, 0))


def _aborts(script: Script, message: Message) -> None:
    script.channel.socket.close()


@pytest.mark.parametrize(("accepts", "begun"), [(EXPLICIT_LE, True), (None, False)])
def test_how_far_it_came_is_said_to_be_unknown_where_it_began(tmp_path: Path, accepts: str | None, begun: bool) -> None:
    with Script(_aborts, accepts=accepts) as script:
        done = cli(_at(tmp_path, script), "move", "PUBPACS", "1.2.3", "--to", "PUB_WS")
    assert done.exit_code == 1
    assert ("how far it came is not known" in done.stderr) == begun
    assert not begun or "PUBPACS@127.0.0.1" in done.stderr


def test_who_cannot_be_reached_has_begun_nothing(tmp_path: Path) -> None:
    with Script(_aborts) as script:
        _at(tmp_path, script)
    done = cli(tmp_path, "move", "PUBPACS", "1.2.3", "--to", "PUB_WS")
    assert done.exit_code == 1
    assert "not known" not in done.stderr


# -- send ------------------------------------------------------------------------------------------------------


def test_what_was_not_tried_is_counted_and_why_is_said(folder: Path) -> None:
    with Script(_aborts) as script:
        _at(folder, script)
    done = cli(folder, "send", disc(folder, MADE), "--to", "PUBPACS")
    assert done.exit_code == 1
    assert done.stdout.endswith(", 3 not tried\n")
    assert "the rest was not tried: PUBPACS@127.0.0.1:" in done.stderr
    assert "`dicomnode partners echo PUBPACS`" in done.stderr


# -- Ctrl-C ----------------------------------------------------------------------------------------------------


@pytest.fixture
def handler() -> Iterator[object]:
    """Python's own, whatever whoever started the tests has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_asks_and_the_second_ends(handler: object) -> None:
    with by_hand.interruptible() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == handler
