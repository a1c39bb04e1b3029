"""cli/proof.py: `check --proof`, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from dicomnode.cli import main
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]
MANY = "".join(f"  s{n}: {{sector: private}}\n" for n in range(9))


def check(folder: Path, text: str, *options: str) -> Result:
    file = folder / "dicomnode.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["-c", str(file), "check", *options], prog_name="dicomnode")


def line(text: str, start: str) -> int:
    return next(n for n, each in enumerate(text.splitlines(), 1) if each.strip().startswith(start))


def test_a_row_for_each_way_with_its_line(tmp_path: Path) -> None:
    done = check(tmp_path, fakes.CONFIG, "--proof")
    assert done.exit_code == 0
    rows = [each.split() for each in done.stdout.splitlines()]
    route, ws = str(line(fakes.CONFIG, "- {name: referrals")), str(line(fakes.CONFIG, "RAD_WS"))
    up = ["private", "->", "public"]
    assert ["harbour", "PUBPACS", "of", "general", "C-STORE", route, *up, "route", "referrals"] in rows
    assert f"harbour RAD_WS of harbour C-FIND (attributes) {ws} own site all of its site".split() in rows
    assert "Nothing of harbour comes to peak, by any way." in done.stdout
    assert "Nothing of general comes to harbour, peak, island, by any way." in done.stdout
    assert "C-GET" not in done.stdout


def test_sites_of_which_the_same_is_true_share_a_row(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("  general:", f"{MANY}  general:").replace("from: [harbour], ", "")
    done = check(tmp_path, text, "--proof")
    assert "harbour, peak and 9 more  PUBPACS of general  C-STORE" in done.stdout


def test_json_has_every_way_and_every_warning(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("10.1.0.0/24", "10.2.0.0/16")
    proof = json.loads(check(tmp_path, text, "--proof", "--json").stdout)
    at = line(text, "- {name: referrals")
    assert {
        "site": "harbour",
        "partner": "PUBPACS",
        "partner_site": "general",
        "service": "C-STORE",
        "obtains": "instances",
        "through": "route referrals",
        "because": "private -> public",
        "path": "routes.0.to",
        "line": at,
    } in proof["ways"]
    assert proof["nobody"]["harbour"] == ["peak"]
    (first, *_) = proof["warnings"]
    assert (first["path"], first["line"]) == ("partners.CT1.address", line(text, "CT1:"))
    assert "could call as CT1 of harbour" in first["text"]


def test_a_warning_has_the_lines_of_both(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("10.1.0.0/24", "10.2.0.30")
    done = check(tmp_path, text, "--proof")
    lines = f"(line {line(text, 'PEAK_CT')}, {line(text, 'PEAK_WS')})"
    assert any(each.startswith("warning: ") and each.endswith(lines) for each in done.stdout.splitlines())


def test_whoever_binds_to_the_network_is_told_without_asking(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("10.1.0.0/24", "10.2.0.30")
    said = "could let one site pose as another: see `check --proof`"
    assert said not in check(tmp_path, text).stdout
    assert said in check(tmp_path, text.replace("node: {", "node: {bind: '0.0.0.0:11112', ")).stdout


def test_a_reverse_path_has_no_proof_but_a_line(tmp_path: Path) -> None:
    text = f"{HEAD}routes:\n  - {{name: back, from: [general], to: [RAD_WS]}}\n"
    done = check(tmp_path, text, "--proof", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"line {line(text, '- {name: back')}: routes.0.to: would carry studies of general" in done.stderr


def test_json_without_a_proof_is_a_mistake(tmp_path: Path) -> None:
    done = check(tmp_path, fakes.CONFIG, "--json")
    assert done.exit_code == 2
    assert "--json goes with --proof" in done.stderr
