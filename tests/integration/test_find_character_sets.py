"""Names in every alphabet: found by the decoded name, in UTF-8 and in the object's own set, and answered undamaged."""

from __future__ import annotations

import struct
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.integration.kit import STORAGE_CT, query
from tests.node import LOCAL, Node, default_config
from tests.samples import Sample, apart, charset_files, decode, make_instances, read_sample
from tests.upper_layer import EXPLICIT_LE
from tests.wire import STUDY_ROOT_FIND, Association, contexts_for

_UTF8 = "ISO_IR 192"
_MADE: dict[str, tuple[str, str, bytes]] = {  # term, name, and its bytes, which pydicom does not write right for all
    "GBK": ("GBK", "王^小东", "王^小东".encode("gbk")),
    "Thai": ("ISO_IR 166", "สมชาย^ใจดี", "สมชาย^ใจดี".encode("tis-620")),
    "katakana": ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis")),
    "Polish": ("ISO_IR 101", "Wałęsa^Łucja", "Wałęsa^Łucja".encode("iso8859_2")),
    "Latvian": ("ISO_IR 110", "Ķēniņš^Jānis", "Ķēniņš^Jānis".encode("iso8859_4")),
    "Turkish": ("ISO_IR 148", "Çavuşoğlu^Ayşe", "Çavuşoğlu^Ayşe".encode("iso8859_9")),
    "UTF-8": (_UTF8, "Ελένη^Мария=陳^大文=전^대문", "Ελένη^Мария=陳^大文=전^대문".encode()),
    # PS3.5 K.2
    "simplified Chinese": (
        "\\ISO 2022 IR 58",
        "Zhang^XiaoDong=张^小东",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    ),
    "two extensions": (
        "\\ISO 2022 IR 100\\ISO 2022 IR 144",
        "Müller^Люк",
        b"M\x1b-A\xfcller^\x1b-L\xbb\xee\xda",
    ),
}
_MISREAD = {"simplified Chinese"}  # pydicom 3.0.2 leaves the escape sequences of ISO-IR 58 in what it decodes


@dataclass(frozen=True)
class Named:
    """An object whose patient has a name: the term of its character set, the name, and the bytes that say it."""

    label: str
    character_set: str
    name: str
    raw: bytes
    sample: Sample

    @property
    def study(self) -> str:
        return self.sample.study

    @property
    def groups(self) -> set[str]:
        return set(filter(None, self.name.split("=")))


def _real(path: Path) -> Named:
    """A real object under UIDs of its own; nothing else of it is changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, stop_before_pixels=True)
        raw = header.get_item("PatientName").value
        terms, name = header.SpecificCharacterSet, str(header.PatientName)
    term = terms if isinstance(terms, str) else "\\".join(terms)
    return Named(path.name, term, name, raw, apart(read_sample(path)))


def _made(label: str) -> Named:
    term, name, raw = _MADE[label]
    (plain,) = make_instances(1, seed=label, SpecificCharacterSet="ISO_IR 100", PatientName="NAME")
    dataset = plain.dataset.replace(b"PN\x04\0NAME", b"PN" + _padded(raw))
    dataset = dataset.replace(b"CS\x0a\0ISO_IR 100", b"CS" + _padded(term.encode()))
    return Named(label, term, name, raw, replace(plain, dataset=dataset))


def _padded(value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<H", len(value)) + value


_NAMED = [*map(_real, charset_files()), *map(_made, _MADE)]


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    """Besides those who read and write anything: one who reads Latin-1, and two who say nothing and mean Big5."""
    config = default_config()
    config["partners"]["LATIN_WS"] = _local(may=["find"], charset="ISO_IR 100")
    config["partners"]["BIG5_WS"] = _local(may=["find"], charset="big5")
    config["partners"]["BIG5_CT"] = _local(may=["store"], charset="big5")
    node = start_node(config)
    with node.associate("CT1", contexts_for(each.sample for each in _NAMED)) as association:
        for each in _NAMED:
            assert association.send_sample(each.sample) == 0, each.label
    return node


def _local(**more: Any) -> dict[str, Any]:
    return {"site": "harbour", "address": LOCAL, **more}


@pytest.fixture(scope="module")
def workstation(node: Node) -> Iterator[Association]:
    with node.associate("RAD_WS", [(STUDY_ROOT_FIND, [EXPLICIT_LE])]) as it:
        yield it


def _asked(term: str, name: bytes) -> bytes:
    return query("STUDY", {"SpecificCharacterSet": term, "PatientName": name, "StudyInstanceUID": ""})


def _found(workstation: Association, identifier: bytes) -> dict[str, pydicom.Dataset]:
    """Study Instance UID → answer, decoded by pydicom."""
    *pending, (final, _) = workstation.find(STUDY_ROOT_FIND, identifier)
    assert final == 0
    assert {status for status, _ in pending} <= {0xFF00}
    answers = [decode(raw) for _, raw in pending]
    return {answer.StudyInstanceUID: answer for answer in answers}


def test_pydicoms_files_are_among_them() -> None:
    assert len(_NAMED) >= 15 + len(_MADE)
    assert all(not each.name.isascii() for each in _NAMED)


@pytest.mark.parametrize("own", [False, True], ids=["in UTF-8", "in its own set"])
@pytest.mark.parametrize("each", _NAMED, ids=lambda each: each.label)
def test_a_name_is_found_and_answered_as_it_is(each: Named, own: bool, workstation: Association) -> None:
    asked = _asked(each.character_set, each.raw) if own else _asked(_UTF8, each.name.encode())
    found = _found(workstation, asked)
    assert each.study in found, f"{each.name} was not found"
    if own and each.label in _MISREAD:
        assert found[each.study].get_item("PatientName").value.rstrip() == each.raw
    else:
        assert str(found[each.study].PatientName) == each.name
    others = {named.study for named in _NAMED if not named.groups & each.groups}
    assert not others & set(found), "the name of somebody else was found"


@pytest.mark.parametrize("each", _NAMED, ids=lambda each: each.label)
def test_an_answer_to_a_plain_query_says_in_which_set_it_is(each: Named, workstation: Association) -> None:
    found = _found(workstation, query("STUDY", {"StudyInstanceUID": each.study, "PatientName": ""}))
    assert str(found[each.study].PatientName) == each.name
    assert found[each.study].SpecificCharacterSet == _UTF8


@pytest.mark.parametrize("each", [each for each in _NAMED if "=" in each.name], ids=lambda each: each.label)
def test_a_name_is_found_by_any_of_its_component_groups(each: Named, workstation: Association) -> None:
    for group in each.groups:
        assert each.study in _found(workstation, _asked(_UTF8, group.encode())), group


@pytest.mark.parametrize("form", [str.upper, str.lower, partial(unicodedata.normalize, "NFD")], ids=["A", "a", "NFD"])
@pytest.mark.parametrize("each", _NAMED, ids=lambda each: each.label)
def test_a_name_is_found_as_a_person_types_it(
    each: Named, form: Callable[[str], str], workstation: Association
) -> None:
    for group in each.groups:
        family = form(group.split("^")[0])
        assert each.study in _found(workstation, _asked(_UTF8, f"{family}*".encode())), family


@pytest.mark.parametrize("typed", ["xiaodong wang", "WANG", "王^小東", "Wong^Xiaotung"])
def test_a_name_is_found_as_it_sounds_where_that_was_agreed_on(typed: str, node: Node) -> None:
    (chinese,) = (each for each in _NAMED if each.label == "chrX1.dcm")
    contexts, fuzzy = [(STUDY_ROOT_FIND, [EXPLICIT_LE])], {STUDY_ROOT_FIND: b"\0\0\1"}
    with node.associate("RAD_WS", contexts, extended=fuzzy) as association:
        assert association.answer.extended == fuzzy
        assert chinese.study in _found(association, _asked(_UTF8, typed.encode()))


# -- who reads one set, and who does not say what it writes ----------------------------------------------------


@pytest.fixture(scope="module")
def latin(node: Node) -> dict[str, pydicom.Dataset]:
    """What is answered to one who reads Latin-1, whatever it asks in."""
    with node.associate("LATIN_WS", [(STUDY_ROOT_FIND, [EXPLICIT_LE])]) as association:
        return _found(association, _asked(_UTF8, b""))


@pytest.mark.parametrize("each", _NAMED, ids=lambda each: each.label)
def test_who_reads_latin_reads_every_name(each: Named, latin: dict[str, pydicom.Dataset]) -> None:
    answer = latin[each.study]
    name = str(answer.PatientName)
    name.encode("latin-1")
    assert "?" not in name
    assert any(letter.isalpha() for letter in name)
    assert answer.get("SpecificCharacterSet", "") == ("" if name.isascii() else "ISO_IR 100")
    alphabetic = each.name.split("=")[0]
    if alphabetic.encode("latin-1", "replace").decode("latin-1") == alphabetic and alphabetic:
        assert name == alphabetic


@pytest.mark.parametrize("declared", ["", "ISO_IR 100"])
def test_what_one_means_is_configured_where_it_says_nothing_or_another(declared: str, node: Node) -> None:
    name = f"陳^大文{len(declared)}"
    raw = name.encode("big5")
    (plain,) = make_instances(1, seed=("big5", declared), PatientName="N" * len(raw), SpecificCharacterSet=declared)
    sample = replace(plain, dataset=plain.dataset.replace(b"N" * len(raw), raw))
    with node.associate("BIG5_CT", contexts_for([sample])) as modality:
        assert modality.send_sample(sample) == 0
    said = {"SpecificCharacterSet": declared} if declared else {}
    typed = query("STUDY", {**said, "PatientName": raw, "StudyInstanceUID": ""})
    for calling, identifier in (("RAD_WS", _asked(_UTF8, name.encode())), ("BIG5_WS", typed)):
        with node.associate(calling, [(STUDY_ROOT_FIND, [EXPLICIT_LE])]) as association:
            (answer,) = _found(association, identifier).values()
        assert (str(answer.PatientName), answer.SpecificCharacterSet) == (name, _UTF8)
    with node.associate("RAD_WS", [(STUDY_ROOT_FIND, [EXPLICIT_LE])]) as association:
        assert _found(association, typed) == {}, "of who has not said so, nothing is assumed"


def test_names_are_shown_right_on_the_command_line(node: Node) -> None:
    listed = {row["study_instance_uid"]: row["patient_name"] for row in node.cli("studies", "list", "--phi", json=True)}
    assert {each.name: listed[each.study].rstrip("=") for each in _NAMED} == {each.name: each.name for each in _NAMED}


def test_the_files_that_name_no_study_are_refused(node: Node) -> None:
    folder = charset_files()[0].parent
    for path in (folder / "chrSQEncoding.dcm", folder / "chrSQEncoding1.dcm"):
        sop_class, dataset = STORAGE_CT, path.read_bytes()[132:]
        with node.associate("CT1", [(sop_class, [EXPLICIT_LE])]) as association:
            assert association.store(dataset, sop_class, "1.2.3") == 0xC000
