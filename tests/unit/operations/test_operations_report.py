"""operations/report.py and what prints it: what was exchanged, from the index to the page."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.cli.opening import who
from dicomnode.errors import UsageError
from dicomnode.operations import refer
from dicomnode.operations import report as reporting
from dicomnode.operations.ports import Node
from dicomnode.rules import auditing
from dicomnode.rules.figures import SUPPRESSED
from dicomnode.store.database import execute, one, rows
from dicomnode.store.figures import ON_MEDIA
from tests import fakes
from tests.samples import make_instances

CONFIG = fakes.CONFIG.replace("patient_id_issuer: HARBOUR", "patient_id_issuer: HARBOUR, timezone: Asia/Hong_Kong")
NOON = int(datetime(2026, 3, 15, 4, tzinfo=UTC).timestamp() * 1e6)
"""Noon in Hong Kong."""
HOUR = 3600 * fakes.SECOND
MARCH = date(2026, 3, 1), date(2026, 3, 31)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "dicomnode.yaml").write_text(CONFIG)
    return fakes.make_node(tmp_path, CONFIG, clock=fakes.FakeClock(NOON))


def studies(node: Node, count: int, *, modality: str = "CT", opened: int = NOON, state: str = "confirmed") -> list[int]:
    """So many studies that were acquired at ten o'clock and confirmed an hour after they opened; their referrals."""
    return [_study(node, modality, opened, state, number) for number in range(count)]


def _study(node: Node, modality: str, opened: int, state: str, number: int) -> int:
    seed = modality, opened, state, number
    made = make_instances(1, seed=seed, Modality=modality, StudyDate="20260315", StudyTime="100000")
    study = fakes.receive_all(node, made)[0].study
    confirmed_at = opened + HOUR if state == "confirmed" else None
    sent = "delivered" if state in ("sent", "confirmed") else "queued"

    def settle() -> int:
        (referral,) = one("SELECT id FROM referrals WHERE study = ?", study)
        sql = "UPDATE referrals SET opened_at = ?, progress = ?, confirmed_at = ? WHERE id = ?"
        execute(sql, opened, state, confirmed_at, referral)
        execute("UPDATE transfers SET state = ? WHERE referral = ?", sent, referral)
        return int(referral)

    return node.database.write(settle)


def run(node: Node, *arguments: str) -> str:
    file = str(node.config.node.data.parent / "dicomnode.yaml")
    done = CliRunner().invoke(main, ["-c", file, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_was_exchanged(node: Node) -> None:
    studies(node, 8)
    studies(node, 6, modality="MR", state="sent")
    found = reporting.report(*MARCH, node)
    ct, mr = found.rows["2026-03", "harbour", "CT"], found.rows["2026-03", "harbour", "MR"]
    assert (ct.referred, ct.electronic, ct.confirmed) == (8, 8, 1.0)
    assert (ct.p50, ct.p90) == (3 * 3600, 3 * 3600), "from ten o'clock of the site to one"
    assert (mr.referred, mr.confirmed, mr.p50) == (6, 0.0, None)
    assert found.total.referred == 14


def test_a_study_that_waits_was_not_exchanged(node: Node) -> None:
    studies(node, 7, state="receiving")
    assert reporting.report(*MARCH, node).total.electronic == 0


def test_a_day_is_that_of_the_site(node: Node) -> None:
    late = int(datetime(2026, 3, 31, 16, 30, tzinfo=UTC).timestamp() * 1e6)  # half past midnight of 1 April
    studies(node, 5, opened=late)
    assert reporting.report(*MARCH, node).rows == {}
    assert list(reporting.report(date(2026, 4, 1), date(2026, 4, 1), node).rows) == [("2026-04", "harbour", "CT")]


def test_a_period_ends_after_it_begins(node: Node) -> None:
    with pytest.raises(UsageError, match="is after"):
        reporting.report(date(2026, 4, 1), date(2026, 3, 1), node)


def test_why_studies_are_not_there(node: Node) -> None:
    held, quarantined, withdrawn, refused = (
        studies(node, 5, modality=modality, state="complete") for modality in ("CT", "MR", "US", "DX")
    )
    refer.hold(held, "a question", "somebody", node)

    def stop() -> None:
        for referral in quarantined:
            (study,) = one("SELECT study FROM referrals WHERE id = ?", referral)
            refer.quarantine(study, "a second version differs", node.clock(), node)
        for referral in withdrawn:
            execute("UPDATE referrals SET withdrawn = 'by the patient', gate = 'withdrawn' WHERE id = ?", referral)
        for referral in refused:
            execute("UPDATE transfers SET state = 'held', last_status = 0xA900 WHERE referral = ?", referral)

    node.database.write(stop)
    found = reporting.report(*MARCH, node)
    assert found.failures == {
        "held by a person": 5, "in quarantine": 5, "withdrawn": 5, "refused by the partner (A900H)": 5,
    }
    assert found.rows["2026-03", "harbour", "MR"].quarantined == 1.0


def test_what_was_handed_over_on_media(node: Node) -> None:
    made = studies(node, 6, state="complete")
    said = run(node, "referrals", "media", *map(str, made), "--reason", "the line was down: a disc by courier")
    assert said.splitlines()[0] == f"referral {made[0]}: issued on media"
    told = json.loads(run(node, "report", "--from", "2026-03-01", "--to", "2026-03-31", "--json"))
    assert (told["total"]["media"], told["total"]["electronic"]) == (6, 0)
    events = json.loads(run(node, "audit", "list", "--who", who(), "--json"))
    assert [(event["event"], event["referral"]) for event in events] == [(ON_MEDIA, each) for each in made]
    assert auditing.meaning(ON_MEDIA).event == auditing.EXPORT


def test_the_table_the_csv_and_the_json(node: Node) -> None:
    studies(node, 8)
    studies(node, 2, modality="MR", state="receiving")
    period = ("report", "--from", "2026-03-01", "--to", "2026-03-31")
    table = run(node, *period)
    assert re.search(r"2026-03 +harbour +CT +8 +8 +0 +100\.0 % +3\.0 h +3\.0 h", table)
    assert re.search(r"2026-03 +harbour +MR +<5", table)
    assert re.search(r"all +all +all +10", table)
    read = csv.DictReader(run(node, *period, "--csv").splitlines())
    shown = [(row["modality"], row["referred"], row["confirmed"]) for row in read]
    assert shown == [("CT", "8", "1.0"), ("MR", "<5", "")]
    told = json.loads(run(node, *period, "--json"))
    assert (told["rows"][0]["referred"], told["total"]["referred"], told["from"]) == (8, 10, "2026-03-01")


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.linked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "rect", "br"):
            self.open.append(tag)
        self.linked += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.linked += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_in_itself_and_names_nobody(node: Node, tmp_path: Path) -> None:
    studies(node, 8)
    studies(node, 6, modality="MR", state="sent")
    studies(node, 3, modality="US", state="receiving")
    with node.database.read():
        patients = {value for row in rows("SELECT patient_id, patient_name FROM studies") for value in row}
    run(node, "report", "--from", "2026-03-01", "--to", "2026-03-31", "--html", str(tmp_path / "public.html"))
    text = (tmp_path / "public.html").read_text()
    page = _Page(text)
    assert (page.open, page.linked) == ([], [])
    assert "<script" not in text
    assert "http" not in text
    assert not [value for value in patients if value in text]
    assert not re.search(r"\b[0-9]+(\.[0-9]+){5,}\b", text), "no UID"
    assert SUPPRESSED.replace("<", "&lt;") in text
    for words in ("2026-03", "Harbour", "CT", "100.0 %", "3.0 h"):
        assert words in text
