"""cli/output.py: what is a patient's is masked in every list, by its column."""

from __future__ import annotations

import pytest

from dicomnode.cli import output
from dicomnode.store import patients


@pytest.mark.parametrize("phi", [False, True])
def test_what_leads_to_a_patient_is_masked_unless_it_is_asked_for(phi: bool) -> None:
    columns = [*patients.COLUMNS, "accession_number", "recipient", "consent", "referring_physician_name"]
    clear = dict.fromkeys(columns, "CHAN TAI MAN") | {"site": "harbour", "reason": "", "study": 1}
    hidden = clear | dict.fromkeys(columns, "C*******")
    assert output.masked(clear, phi) == (clear if phi else hidden)


@pytest.mark.parametrize(("value", "masked"), [("", ""), ("M", "*"), ("A1", "A*"), ("19700131", "1*******")])
def test_no_more_than_a_first_letter_is_shown_and_of_one_letter_nothing(value: str, masked: str) -> None:
    assert output.masked({"patient_sex": value}, phi=False) == {"patient_sex": masked}


def test_what_is_not_known_stays_unknown() -> None:
    assert output.masked({"patient_id": None}, phi=False) == {"patient_id": None}
