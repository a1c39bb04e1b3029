"""Every real object that pydicom carries, in its own transfer syntax: taken, and kept byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.filereader import read_file_meta_info

from tests.integration.kit import rows, versions
from tests.node import Node, default_config
from tests.samples import broken_files, dataset_of, make_instances, read_sample, real_files
from tests.wire import Association, NotAccepted, contexts_for

_DEFLATED = "1.2.840.10008.1.2.1.99"
_TRANSFER_SYNTAX = 4
_FILES = real_files(more=True)
_SAMPLES = {path: read_sample(path) for path in _FILES}
_DEFLATED_FILES = [path for path in _FILES if _SAMPLES[path].transfer_syntax == _DEFLATED]
_PLAIN_FILES = [path for path in _FILES if _SAMPLES[path].transfer_syntax != _DEFLATED]


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node()


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    """One association for all of them, so that a failure of one is seen to harm no other."""
    with node.associate("CT1", contexts_for(_SAMPLES.values()), timeout=30) as it:
        yield it


def test_there_are_enough_of_them_to_mean_something() -> None:
    syntaxes = {sample.transfer_syntax for sample in _SAMPLES.values()}
    assert len(_FILES) > 200
    assert len(syntaxes) >= 10
    assert _DEFLATED_FILES


@pytest.mark.parametrize("path", _PLAIN_FILES, ids=lambda path: path.name)
def test_a_real_file_is_kept_as_it_was_sent(path: Path, node: Node, association: Association) -> None:
    sample = _SAMPLES[path]
    assert association.send_sample(sample) == 0
    found = [row for row in versions(node, sample.sop_instance) if row["sha256"] == sample.sha256]
    assert len(found) == 1
    assert found[0]["dataset"] == sample.dataset
    assert found[0]["transfer_syntax_uid"] == sample.transfer_syntax
    assert found[0]["sop_class_uid"] == sample.sop_class


def test_a_deflated_context_is_refused_for_its_transfer_syntax(association: Association) -> None:
    for path in _DEFLATED_FILES:
        with pytest.raises(NotAccepted):
            association.send_sample(_SAMPLES[path])
    results = {association.results[n] for n, (_, syntaxes) in association.proposed.items() if syntaxes == [_DEFLATED]}
    assert results == {_TRANSFER_SYNTAX}


def test_the_first_storable_syntax_of_a_proposal_is_chosen(node: Node) -> None:
    sample = make_instances(1, seed="choice")[0]
    proposed = [(sample.sop_class, [_DEFLATED, "1.2.840.10008.1.2.4.80", sample.transfer_syntax])]
    with node.associate("CT1", proposed) as association:
        assert association.accepted == {1: "1.2.840.10008.1.2.4.80"}


@pytest.mark.parametrize("path", broken_files(), ids=lambda path: path.name)
def test_a_broken_real_file_is_refused(path: Path, node: Node) -> None:

    meta = read_file_meta_info(path)
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    instance = str(meta.MediaStorageSOPInstanceUID)
    before = len(versions(node, instance))
    with node.associate("CT1", [(sop_class, [syntax])]) as association:
        status = association.store(dataset_of(path), sop_class, instance)
        assert status in (0xC000, 0xA900, 0x0117), f"{status:04X}H {association.last_error_comment}"
        assert association.last_error_comment
    assert len(versions(node, instance)) == before


def test_the_same_bytes_again_are_a_duplicate(node: Node) -> None:
    sample = make_instances(1, seed="twice")[0]
    with node.associate("CT1", contexts_for([sample])) as association:
        assert association.send_sample(sample) == 0
        assert association.send_sample(sample) == 0
    found = versions(node, sample.sop_instance)
    assert [(row["duplicates"], row["dataset"] == sample.dataset) for row in found] == [(1, True)]


def test_every_row_has_its_file_and_every_file_its_row(node: Node) -> None:
    found = rows(node, "SELECT file, sha256, size FROM instances")
    on_disk = {str(path.relative_to(node.data)) for path in (node.data / "instances").rglob("*.dcm")}
    assert {row["file"] for row in found} == on_disk
    for row in found:
        dataset = dataset_of(node.data / row["file"])
        assert (hashlib.sha256(dataset).hexdigest(), len(dataset)) == (row["sha256"], row["size"])
    assert not list(node.data.rglob("*.part"))


def test_a_deflated_file_is_kept_where_the_configuration_says_so(start_node: Callable[..., Node]) -> None:
    node = start_node(default_config(deflated=True))
    for path, status in node.send(_DEFLATED_FILES).items():
        assert status == 0
        found = versions(node, _SAMPLES[path].sop_instance)
        assert [row["dataset"] for row in found] == [_SAMPLES[path].dataset]
        assert found[0]["transfer_syntax_uid"] == _DEFLATED
