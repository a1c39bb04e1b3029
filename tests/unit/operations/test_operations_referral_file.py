"""operations/referral_file.py: every line of a file is texts by column, or bad with its number and what to do."""

from __future__ import annotations

import random

import pytest

from dicomnode.operations import referral_file
from dicomnode.operations.referral_file import Line

HEADER = "number,patient_id,patient_name,recipient\n"


def read(text: str | bytes) -> tuple[list[Line], list[str]]:
    lines, bad = referral_file.read(text if isinstance(text, bytes) else text.encode())
    return lines, [str(each) for each in bad]


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv(start: str, end: str) -> None:
    text = start + HEADER + 'R-1,A1,"CHAN, TAI MAN",Dr Lee\n\nR-2,A2,陳大文,"the ""old"" one"\n'
    lines, bad = read(text.replace("\n", end))
    assert bad == []
    assert lines == [
        Line(2, {"number": "R-1", "patient_id": "A1", "patient_name": "CHAN, TAI MAN", "recipient": "Dr Lee"}),
        Line(4, {"number": "R-2", "patient_id": "A2", "patient_name": "陳大文", "recipient": 'the "old" one'}),
    ]


@pytest.mark.parametrize("start", ["", "\ufeff", "\n  "])
def test_json_lines(start: str) -> None:
    lines, bad = read(start + '{"number": "R-1", "patient_id": "A1", "urgent": true, "instances": 12, "site": null}\n')
    assert bad == []
    assert [line.values for line in lines] == [
        {"number": "R-1", "patient_id": "A1", "urgent": "yes", "instances": "12", "site": ""}
    ]


def test_each_line_that_is_not_utf_8_is_named() -> None:
    text = HEADER.encode() + b"R-1,A1,x,y\nR-2,A2," + "陳大文".encode("big5") + b",y\nR-3,A3,x,y\n"
    lines, bad = read(text)
    assert [line.number for line in lines] == [2, 4]
    assert len(bad) == 1
    assert bad[0].startswith("line 3: is not UTF-8 (it may be Big5")
    assert "CSV UTF-8" in bad[0]


def test_a_json_line_that_is_not_utf_8_is_named() -> None:
    _, bad = read(b'{"number": "R-1", "patient_id": "1"}\n{"number": "\xb3\xaf"}\n')
    assert bad[0].startswith("line 2: is not UTF-8")


def test_utf_16_is_named() -> None:
    _, bad = read(HEADER.encode("utf-16"))
    assert bad == ["the file is UTF-16: save it as UTF-8; a spreadsheet calls it CSV UTF-8"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,patient_id,birthdate\n1,2,3\n", "line 1: there is no column 'birthdate'; did you mean "),
        ("number,patient_name\n1,2\n", "line 1: patient_id: is missing in the header line"),
        ("number,patient_id,number\n1,2,3\n", "line 1: number: stands twice in the header line"),
        ("number;patient_id\n1;2\n", "line 1: is divided by something else than commas"),
        (HEADER + "R-1,A1\n", "line 2: has 2 cells, and the header line 4"),
        (HEADER + 'R-1,A1,"x,y\n', "line 2: is no CSV"),
        (HEADER + f"R-1,A1,x,{'y' * 5000}\n", "line 2: recipient: is over 4096 characters long"),
        ("", "the file has no referral in it"),
        (HEADER, "the file has no referral in it"),
        ('{"number": "1", "patient": "2"}\n', "line 1: there is no key 'patient'; did you mean 'patient_id'?"),
        ('{"number": "1", "number": "2"}\n', "line 1: number: stands twice"),
        ('{"number": 1.5}\n', "line 1: number: is neither a text nor a whole number"),
        ('{"number": {"a": 1}}\n', "line 1: number: is neither a text nor a whole number"),
        ('{"number": "1"\n', "line 1: is no JSON"),
        ('{"number": "1", "patient_id": "2"}\n["1", "2"]\n', "line 2: is no JSON object"),
        ('{"number": "1", "patient_id": "2"}\n' + "[" * 100_000 + "\n", "line 2: is no JSON"),
        ('{"number": ' + "9" * 5000 + "}\n", "line 1: is no JSON"),
        ('{"\\u001b[2J": "1"}\n', "line 1: there is no key '?[2J'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    _, bad = read(text)
    assert any(each.startswith(said) for each in bad), bad


def test_every_bad_line_is_said() -> None:
    _, bad = read(HEADER + "R-1,A1\nR-2,A2,x,y\nR-3\n")
    assert [each.partition(":")[0] for each in bad] == ["line 2", "line 4"]


def test_whatever_a_file_has_in_it_each_line_is_read_or_bad() -> None:
    chance = random.Random(6)
    words = (HEADER, '{"number": "1"', '"', ",", "\n", "\r", "}", "\0", "R-1,A1,x,y", "\ufeff")
    parts = [*map(str.encode, words), b"\xb3\xaf"]
    for _ in range(500):
        lines, bad = read(b"".join(chance.choices(parts, k=chance.randrange(12))))
        assert lines or bad


def test_a_file_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referral_file, "LARGEST", 1 << 20)
    _, bad = read(HEADER + "x" * (1 << 20))
    assert bad == ["the file is larger than 1 MiB: import it in parts"]


def test_a_file_has_as_many_referrals_as_one_commit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referral_file, "MOST", 2)
    line = "R-{},A1\n"
    start = "number,patient_id\n"
    assert len(read(start + line.format(1) + line.format(2))[0]) == 2
    _, bad = read(start + "".join(map(line.format, range(3))))
    assert bad == ["the file has 3 referrals, which is more than 2: import it in parts"]
