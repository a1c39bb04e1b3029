"""cli/tls.py: what `tls init` prints is a configuration that works with what it has made."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dicomnode.cli import main
from dicomnode.config import certificates
from dicomnode.config.load import parse
from dicomnode.net import tls
from tests.certificates import Identity, greet

SITES = "sites: {general: {sector: public}}\n"


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), "tls", *words], prog_name="dicomnode")


def made(folder: Path, *words: str) -> dict[str, Any]:
    done = run(folder, *words)
    assert done.exit_code == 0, done.output
    return dict(yaml.safe_load(done.stdout))


def bundle(folder: Path, name: str) -> Identity:
    return Identity(folder / name / f"{name}.pem", folder / name / f"{name}.key", folder / name / "ca.pem")


def test_one_command_makes_a_pilot(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    partners = ("--partner", "PACS=10.9.0.5", "--partner", "CT")
    printed = made(tmp_path, "init", "--folder", str(folder), "--name", "node.example", *partners)
    printed["node"]["ae_title"] = "NODE"
    for name, partner in printed["partners"].items():
        assert partner["tls"]["spki"] == bundle(folder, name).spki
        partner["site"] = "general"
    printed["partners"]["PACS"] |= {"host": "10.9.0.5", "port": 2762, "may": ["find"]}
    config = parse(SITES + yaml.safe_dump(printed), tmp_path / "dicomnode.yaml")
    assert config.node.tls
    assert list(certificates.faults(config.node.tls)) == []
    server, client = tls.server_context(config.node.tls), tls.client_context(config.node.tls)
    greet(server, bundle(folder, "CT").context())
    greet(bundle(folder, "PACS").context(ssl.PROTOCOL_TLS_SERVER), client, "10.9.0.5")
    calling = bundle(folder, "PACS").context()
    calling.check_hostname = True
    greet(server, calling, "node.example")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    made(tmp_path, "init", "--folder", str(tmp_path / "tls"))
    before = {path: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    done = run(tmp_path, "init", "--folder", str(tmp_path / "tls"))
    assert done.exit_code == 2
    assert "already, and it is never overwritten" in done.stderr
    for path in [*before]:
        lone = tmp_path / f"lone-{path.name}"
        lone.mkdir()
        (lone / path.name).write_text("mine")
        assert run(tmp_path, "init", "--folder", str(lone)).exit_code == 2
        assert [each.read_text() for each in lone.iterdir()] == ["mine"], "and nothing is half made"
    assert {path: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == before


def test_a_partner_comes_later_and_is_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    printed = made(tmp_path, "init", "--folder", str(folder))
    assert made(tmp_path, "partner", "--folder", str(folder), "LATE")["partners"]["LATE"]["tls"]["spki"]
    printed["node"]["ae_title"] = "NODE"
    node = parse(yaml.safe_dump(printed), tmp_path / "dicomnode.yaml").node.tls
    assert node
    late = bundle(folder, "LATE")
    greet(tls.server_context(node), late.context())
    assert run(tmp_path, "revoke", "--folder", str(folder), str(late.certificate)).exit_code == 0
    with pytest.raises(ssl.SSLError):
        greet(tls.server_context(node), late.context())


def test_where_none_is_named_the_folder_is_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert made(tmp_path, "init")["node"]["tls"]["certificate"] == "tls/node.pem"
    assert made(tmp_path, "partner", "LATE=10.9.0.5", "CT")["partners"].keys() == {"LATE", "CT"}
    before = Path("tls/ca.crl").read_bytes()
    assert run(tmp_path, "revoke", "tls/LATE/LATE.pem").stdout == "tls/ca.crl is new, and good for a year\n"
    assert Path("tls/ca.crl").read_bytes() != before
    assert run(tmp_path, "revoke").exit_code == 0, "and without any the list is made anew"


@pytest.mark.parametrize(
    "words",
    [("init", "--partner", "../x"), ("init", "--partner", "A=b c"), ("init", "--name", "b c"), ("partner", "A")],
)
def test_what_cannot_be_is_said_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(tmp_path, *words)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
