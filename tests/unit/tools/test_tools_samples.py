"""The test data itself: real files are whole, made ones are what they claim, and the same on every run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import samples
from tests.patience import patient


@pytest.mark.parametrize("path", samples.real_files(more=True), ids=lambda path: path.name)
def test_a_real_file_is_a_sample(path: Path) -> None:
    sample = samples.read_sample(path)
    assert path.read_bytes().endswith(sample.dataset)
    assert 0 < len(sample.dataset) < path.stat().st_size - 132
    assert sample.dataset[:1] != b"\x02"  # not in the file meta any more
    assert all((sample.sop_class, sample.sop_instance, sample.study, sample.series, sample.transfer_syntax))


def test_real_files_have_every_kind() -> None:
    made = [samples.read_sample(path) for path in samples.real_files(more=True)]
    assert len(samples.real_files()) > 150
    assert len({sample.transfer_syntax for sample in made}) >= 11
    assert len({sample.sop_class for sample in made}) >= 15
    assert len(samples.charset_files()) == 15
    assert {path.name for path in samples.broken_files()} == set(samples.BROKEN)


def test_distinct_files_share_no_instance() -> None:
    uids = [samples.read_sample(path).sop_instance for path in samples.real_files(distinct=True)]
    assert len(uids) == len(set(uids)) > 100


def test_a_study_is_the_same_every_time_and_another_by_its_seed(tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in samples.make_study(tmp_path / name, slices=3, seed=seed)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert not set(first) & set(other)


def test_a_study_says_what_it_was_asked_to_say(tmp_path: Path) -> None:
    paths = samples.make_study(
        tmp_path, slices=3, modality="MR", patient_id="P1", patient_name="A^B", study_uid="1.2.3", StudyDate="20260131"
    )
    sets = [samples.decode(samples.read_sample(path).dataset) for path in paths]
    assert {(str(x.PatientName), x.PatientID, x.StudyInstanceUID, x.Modality, x.StudyDate) for x in sets} == {
        ("A^B", "P1", "1.2.3", "MR", "20260131")
    }
    assert [x.InstanceNumber for x in sets] == [1, 2, 3]
    assert len({x.SOPInstanceUID for x in sets}) == 3
    assert len({x.SeriesInstanceUID for x in sets}) == 1


def test_sizes_and_speed() -> None:
    started = time.perf_counter()
    made = samples.make_instances(500)
    assert time.perf_counter() - started < patient(1)
    assert len({sample.sop_instance for sample in made}) == 500
    assert 30_000 < len(made[0].dataset) < 40_000
    assert 500_000 < len(samples.make_instance(size="large")) < 550_000


def test_an_instance_has_the_attributes_that_were_given() -> None:
    made = samples.decode(samples.make_instance(PatientID="X", PatientName=None, SOPInstanceUID="1.2"))
    assert (made.PatientID, made.SOPInstanceUID) == ("X", "1.2")
    assert "PatientName" not in made


def test_uids_are_exchanged_and_nothing_else() -> None:
    before = samples.make_instance()
    after = samples.with_uid(before, "1.2.3", study="1.2", series="1.2.34")
    changed, original = samples.decode(after), samples.decode(before)
    assert (changed.SOPInstanceUID, changed.StudyInstanceUID, changed.SeriesInstanceUID) == ("1.2.3", "1.2", "1.2.34")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(changed, keyword, original[keyword].value)
    assert samples.encode(changed) == before


def test_an_identifier_may_be_empty_or_in_another_syntax() -> None:
    asked = samples.decode(samples.identifier(QueryRetrieveLevel="STUDY", PatientID=""))
    assert (asked.QueryRetrieveLevel, asked.PatientID) == ("STUDY", "")
    implicit = samples.encode(asked, "1.2.840.10008.1.2")
    assert samples.decode(implicit, "1.2.840.10008.1.2").QueryRetrieveLevel == "STUDY"


def test_what_one_instance_is_given_does_not_stay_in_the_next() -> None:
    plain = samples.make_instance(seed="plain")
    samples.make_instance(seed="other", PatientName="OTHER^NAME", Rows=1)
    assert samples.make_instance(seed="plain") == plain
