"""rules/advance.py: what one referral in advance means as it is written, or all that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.rules import advance
from dicomnode.rules.referred import Expected
from tests import fakes

ISSUERS = """issuers:
  HKID: {check: hkid}
"""
GOOD = {
    "number": "R-1",
    "issuer": "HKHA",
    "patient_id": "A123456(3)",
    "issuer_of_patient_id": "HKID",
    "patient_name": "CHAN^TAI MAN=陳^大文",
    "patient_birth_date": "1970-01-31",
    "patient_sex": "m",
    "site": "harbour",
    "destination": "PUBPACS",
    "recipient": "Dr Lee",
    "urgent": "yes",
    "procedure": "CT brain",
    "instances": "300",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    folder: Path = tmp_path_factory.mktemp("advance")
    return fakes.configuration(ISSUERS + fakes.CONFIG, folder)


def read(config: NodeConfig, **changes: str) -> Expected:
    found = advance.read(GOOD | changes, config, "file.csv", 5)
    assert isinstance(found, Expected), found
    return found


def wrong(config: NodeConfig, **changes: str) -> str:
    found = advance.read(GOOD | changes, config, "file.csv", 5)
    assert isinstance(found, list)
    return "\n".join(map(str, found))


def test_what_is_written_is_what_is_meant(config: NodeConfig) -> None:
    found = read(config)
    assert (found.number, found.patient_birth_date, found.patient_sex) == ("R-1", "19700131", "M")
    assert (found.urgent, found.instances, found.source, found.received_at) == (True, 300, "file.csv", 5)


def test_only_a_number_and_a_patient_id_are_needed(config: NodeConfig) -> None:
    found = advance.read({"number": "1", "patient_id": "H1", "site": "harbour"}, config, "f", 0)
    assert isinstance(found, Expected)
    assert found.issuer_of_patient_id == "HARBOUR", "a missing issuer is that of the site that examines"
    assert (found.urgent, found.instances, found.destination) == (False, None, "")


@pytest.mark.parametrize("column", ["number", "patient_id"])
def test_what_is_needed_is_asked_for(config: NodeConfig, column: str) -> None:
    assert wrong(config, **{column: " "}) == f"{column}: is empty"


def test_everything_that_is_wrong_is_said_at_once(config: NodeConfig) -> None:
    said = wrong(config, patient_sex="X", instances="-1", urgent="maybe").splitlines()
    assert [line.partition(":")[0] for line in said] == ["patient_sex", "urgent", "instances"]


@pytest.mark.parametrize("written", ["1970-01-31", "19700131"])
def test_two_ways_to_write_a_date(config: NodeConfig, written: str) -> None:
    assert read(config, patient_birth_date=written).patient_birth_date == "19700131"


@pytest.mark.parametrize(
    "written", ["31/01/1970", "01-31-1970", "1970/01/31", "1970-0131", "70-01-31", "１９７００１３１"]
)
def test_any_other_is_refused_without_repeating_it(config: NodeConfig, written: str) -> None:
    said = wrong(config, patient_birth_date=written)
    assert said.startswith("patient_birth_date: is not written YYYY-MM-DD or YYYYMMDD")
    assert written not in said


def test_a_day_that_there_is_not(config: NodeConfig) -> None:
    assert "a day that there is not" in wrong(config, patient_birth_date="1970-02-30")


def test_a_wrong_check_digit(config: NodeConfig) -> None:
    said = wrong(config, patient_id="A123456(4)")
    assert said.startswith("patient_id: ")
    assert "check digit" in said
    assert "A123456" not in said
    assert read(config, patient_id="A123456(4)", issuer_of_patient_id="HARBOUR"), "only whom it is declared for"


def test_an_issuer_is_known_or_suggested(config: NodeConfig) -> None:
    assert "did you mean 'HKID'?" in wrong(config, issuer_of_patient_id="HKIDD")
    assert "say whose patient ID it is" in wrong(config, issuer_of_patient_id="", site="")


def test_a_site_and_a_destination_are_known_or_suggested(config: NodeConfig) -> None:
    assert "did you mean 'harbour'?" in wrong(config, site="harbor")
    assert wrong(config, site="general").startswith("site: there is no private site"), "it does not examine"
    assert "did you mean 'PUBPACS'?" in wrong(config, destination="PUBPAC")
    assert wrong(config, destination="CT1").startswith("destination: "), "it cannot be called"
    assert wrong(config, destination="RAD_WS").startswith("destination: "), "no flow leads there"


@pytest.mark.parametrize("text", ['=cmd|" /C calc"!A0', "+1+1", "@SUM(A1)", "-2+3"])
def test_a_formula_is_text(config: NodeConfig, text: str) -> None:
    assert read(config, recipient=text).recipient == text


@pytest.mark.parametrize("text", ["R\n1", "R\x001", "R\x1b[2J", "R\u202e1", "R\u20281", "R\ud800"])
def test_what_cannot_be_printed_is_refused(config: NodeConfig, text: str) -> None:
    for column in ("number", "patient_name", "recipient", "consent"):
        assert wrong(config, **{column: text}).startswith(f"{column}: has a control character")


@pytest.mark.parametrize("column", ["number", "patient_id", "accession_number"])
@pytest.mark.parametrize("text", ["*", "R?", "A\\B"])
def test_what_is_asked_for_has_no_wild_card(config: NodeConfig, column: str, text: str) -> None:
    assert f"{column}: has one of" in wrong(config, **{column: text})


def test_values_are_no_longer_than_an_object_can_have_them(config: NodeConfig) -> None:
    assert wrong(config, accession_number="1" * 17) == "accession_number: is over 16 characters long"
    assert "is no name" in wrong(config, patient_name="A" * 65)
    assert "is no name" in wrong(config, patient_name="A^B^C^D^E^F")
    assert "is no name" in wrong(config, patient_name="A=B=C=D")


def test_spaces_and_composition_make_no_difference(config: NodeConfig) -> None:
    assert read(config, patient_name="  CHAN^TAI\u3000 MAN ").patient_name == "CHAN^TAI MAN"
    assert read(config, recipient="Mu\u0308ller").recipient == "Müller"
