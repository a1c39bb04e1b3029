"""The node as who asks: dcmqrscp and Orthanc as the PACS of its own site, storescp as a workstation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from tests import dcmtk
from tests.node import LOCAL, Node, default_config, free_port
from tests.orthanc import Orthanc
from tests.samples import Sample, decode, make_instances, part10, read_sample, real_files

_PACS = ("DCMQRSCP", "ORTHANC")
_JPEG = "1.2.840.10008.1.2.4.70"


def made(pacs: str) -> list[Sample]:
    """A study of our own making: the two archives see different ones, because Orthanc is everybody's."""
    fields = {"PatientID": f"Q{pacs}", "PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 192"}
    return make_instances(4, seed=("interop", pacs), **fields)


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dcmtk.StoreSCP]:
    with dcmtk.storescp(tmp_path_factory.mktemp("workstation"), "RAD_WS") as it:
        yield it


@pytest.fixture(scope="module")
def node(
    start_node: Callable[..., Node],
    tmp_path_factory: pytest.TempPathFactory,
    workstation: dcmtk.StoreSCP,
    orthanc: Orthanc,
) -> Iterator[Node]:
    """Both archives have been sent, by hand, what was imported."""
    port = free_port()
    hosts = {"RAD_WS": workstation.port, "REFERNODE": port}
    with dcmtk.qrscp(tmp_path_factory.mktemp("qrscp"), "DCMQRSCP", hosts) as qrscp:
        config = default_config(port=port, rad_ws=workstation.port)
        for name, at in zip(_PACS, (qrscp, orthanc.port), strict=True):
            config["partners"][name] = {"site": "harbour", "host": LOCAL, "port": at, "may": ["store"]}
        for name, at in hosts.items():
            orthanc.add_modality(name, name, LOCAL, at)
        it = start_node(config)
        for name in _PACS:
            folder = tmp_path_factory.mktemp(name)
            sent = (*made(name), *compressed(name))
            for number, sample in enumerate(sent):
                (folder / f"{number}.dcm").write_bytes(part10(sample))
            done = it.cli("import", str(folder), "--from", "CT1")
            assert done.code == 0, done
            done = it.cli("send", str(folder), "--to", name)
            assert done.code == 0, done
            assert f"{len(sent)} instances sent" in done.out
        yield it


def compressed(pacs: str) -> list[Sample]:
    """A JPEG image, for the one that takes it: dcmqrscp stores none unless it is started for that."""
    if pacs == "DCMQRSCP":
        return []
    found = [sample for sample in map(read_sample, real_files()) if sample.transfer_syntax == _JPEG]
    return found[:1]


@pytest.mark.parametrize("pacs", _PACS)
def test_find(node: Node, pacs: str) -> None:
    (study,) = node.cli("find", pacs, f"PatientID=Q{pacs}", json=True)
    assert study["study_instance_uid"] == made(pacs)[0].study
    assert study["patient_name"] == "Müller^Jörg"
    (study,) = node.cli("find", pacs, "PatientName=Müller*", f"PatientID=Q{pacs}", json=True)
    key = f"StudyInstanceUID={made(pacs)[0].study}"
    (series,) = node.cli("find", pacs, key, "--level", "SERIES", json=True)
    assert series["modality"] == "CT"
    images = node.cli("find", pacs, key, f"SeriesInstanceUID={made(pacs)[0].series}", "--level", "IMAGE", json=True)
    assert {image["sop_instance_uid"] for image in images} == {sample.sop_instance for sample in made(pacs)}
    (patient,) = node.cli("find", pacs, f"PatientID=Q{pacs}", "--level", "PATIENT", json=True)
    assert patient["patient_id"] == f"Q{pacs}"


@pytest.mark.parametrize("pacs", _PACS)
def test_get_as_it_is_stored(node: Node, pacs: str, tmp_path: Path) -> None:
    wanted = [*made(pacs), *compressed(pacs)]
    done = node.cli("get", pacs, *{sample.study for sample in wanted}, "--into", str(tmp_path))
    assert done.code == 0, done
    got = {path.stem: path for path in tmp_path.iterdir()}
    assert got.keys() >= {sample.sop_instance for sample in wanted}
    for sample in wanted:
        found = pydicom.dcmread(got[sample.sop_instance])
        assert found.file_meta.TransferSyntaxUID == sample.transfer_syntax
        assert found.PixelData == decode(sample.dataset, sample.transfer_syntax).PixelData
    dcmtk.dcmdump(got[wanted[-1].sop_instance])


@pytest.mark.parametrize("pacs", _PACS)
def test_move_to_a_workstation(node: Node, workstation: dcmtk.StoreSCP, pacs: str) -> None:
    before = len(workstation.files())
    done = node.cli("move", pacs, made(pacs)[0].study, "--to", "RAD_WS")
    assert done.code == 0, done
    assert "4 sent; success (0000H)" in done.out
    workstation.wait_for(before + 4)


@pytest.mark.parametrize("pacs", _PACS)
def test_move_to_this_node(node: Node, pacs: str) -> None:
    done = node.cli("move", pacs, made(pacs)[0].study, "--series", made(pacs)[0].series)
    assert done.code == 0, done
    assert "4 sent" in done.out
    (study,) = node.cli("studies", "show", made(pacs)[0].study, json=True)
    assert [version["duplicates"] for version in study["versions"]] == [1] * 4


@pytest.mark.parametrize("pacs", _PACS)
@pytest.mark.parametrize("command", ["move", "get"])
def test_a_study_that_is_not_there(node: Node, pacs: str, command: str, tmp_path: Path) -> None:
    more = ["--to", "RAD_WS"] if command == "move" else ["--into", str(tmp_path)]
    done = node.cli(command, pacs, "1.2.3.4.5", *more)
    assert done.code == 1, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize("pacs", _PACS)
def test_a_destination_that_the_partner_does_not_know(node: Node, pacs: str) -> None:
    done = node.cli("move", pacs, made(pacs)[0].study, "--to", "CT1")
    assert done.code == 1, done
    assert "A801H" in done.out or "C000H" in done.out or "0110H" in done.out, done
