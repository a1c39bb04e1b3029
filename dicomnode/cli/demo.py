"""demo: the main job, end to end, on this machine: a CT sends, a radiographer asks, the hospital receives.

Starts a real node on loopback with a data folder of its own, which is removed at the end. Nothing else is touched.
`--pilot` is another story, which cli/pilot.py tells.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dicomnode.cli import stage
from dicomnode.config.model import NodeConfig
from dicomnode.dicom import part10, walk
from dicomnode.dicom.classes import STORAGE_CLASSES
from dicomnode.errors import DicomnodeError, PartnerError, UsageError
from dicomnode.operations import configure
from dicomnode.operations.ports import Outgoing
from dicomnode.rules import contexts, proposals
from dicomnode.store.archive import digest

_SLICES = 60
_OVER = ("sent", "confirmed", "failed", "quarantined")
_CONFIG = """\
node:
  ae_title: REFERNODE
  aliases: [TO_GENERAL]
  bind: 127.0.0.1:{node}
  data: ./data
  acceptors: 1
sites:
  harbour: {{sector: private, name: Harbour Imaging Centre, patient_id_issuer: HARBOUR}}
  general: {{sector: public, name: General Hospital, patient_id_issuer: HKID}}
partners:
  HARBOUR_CT1: {{site: harbour, address: 127.0.0.1, may: [store]}}
  RAD_WS: {{site: harbour, address: 127.0.0.1, may: [find, move]}}
  PUBPACS: {{site: general, host: 127.0.0.1, port: {hospital}}}
routes:
  - name: referrals
    from: [harbour]
    when: {{called: TO_GENERAL}}
    to: [PUBPACS]
    wait: 1s
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance of the study that is sent: what goes out, and of which study it is."""

    outgoing: Outgoing
    study_instance_uid: str


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--pilot", is_flag=True, help="31 centres, 328 referrals, a hospital; needs DCMTK and Orthanc.")
def demo(folder: Path | None, pilot: bool) -> None:
    """Show the main job on this machine.

    Send, query, arrive, compare byte for byte.

    FOLDER is a study of yours (Part 10 files, searched through its sub-folders); without it, 60 slices are made from a
    CT that pydicom carries. Nothing leaves this machine.

    With --pilot, FOLDER is a new one, in which all of it stays to be looked at: a node between 31 private centres and
    a hospital, with ten studies that must not arrive.
    """
    with tempfile.TemporaryDirectory(prefix="dicomnode-demo-") as place:
        if pilot:
            from dicomnode.cli.pilot import run

            run(_emptied(folder) if folder else Path(place))
        elif folder and not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
        else:
            _Demo(Path(place), folder).run()


def _emptied(folder: Path) -> Path:
    """A folder that may be filled."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder")
    return folder.resolve()


class _Demo:
    """One run of the demonstration."""

    def __init__(self, place: Path, folder: Path | None) -> None:
        self._place = place
        self._received = place / "hospital"
        self._received.mkdir()
        self._path = place / "dicomnode.yaml"
        self._node_port, self._hospital_port = stage.free_ports(2)
        self._path.write_text(_CONFIG.format(node=self._node_port, hospital=self._hospital_port))
        self._config = configure.read(self._path)
        self._study = _study(folder or _made(place / "ct"), contexts.storable(self._config))

    def run(self) -> None:
        """Tell the story, step by step; raises DicomnodeError where it does not go as it should."""
        from dicomnode.net import demonstration  # the network's libraries load slowly: only who calls pays

        print("1. A node starts, and a hospital's AE (PUBPACS).")
        serving = stage.serving(self._path, self._node_port, self._place / "node.log")
        with demonstration.hospital("PUBPACS", self._hospital_port, self._received), serving:
            print(f"2. HARBOUR_CT1, of a private centre, sends {len(self._study)} instances to TO_GENERAL.")
            self._send()
            print("3. A radiographer of the centre asks for the patient's studies:")
            self._ask(demonstration.query)
            print("4. The study is complete after a quiet second, and goes to the hospital:")
            self._watch()
            print("5. What the hospital has is compared with what the CT sent:")
            identical = self._compare()
            print(f"   {identical} of {len(self._study)} identical, byte for byte.")
            print("6. The referral's timeline:\n")
            self._timeline()
        if identical != len(self._study):
            raise DicomnodeError("not everything arrived as it was sent")
        print(_NEXT)

    def _send(self) -> None:
        """The CT: an association for each group of contexts, every file as it is."""
        from dicomnode.net.requestor import Requestor

        sender = _as_ct(self._config, self._node_port)
        node = sender.partners["NODE"]
        with stage.progress("   sent") as bar:
            task = bar.add_task("", total=len(self._study))
            for pairs in proposals.groups(each.outgoing.context for each in self._study):
                with Requestor(sender).associate(node, pairs) as link:
                    for each in (e for e in self._study if e.outgoing.context in pairs):
                        status = link.send(each.outgoing)
                        if status:
                            raise PartnerError(f"{each.outgoing.path.name} was answered {status:04X}H")
                        bar.advance(task)

    def _ask(self, query: Callable[..., Any]) -> None:
        keys = dict.fromkeys(("PatientName", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"), "")
        for uid in dict.fromkeys(each.study_instance_uid for each in self._study):
            address = ("127.0.0.1", self._node_port)
            for found in query(address, "REFERNODE", "RAD_WS", keys | {"StudyInstanceUID": uid}):
                modalities = found.ModalitiesInStudy
                listed = modalities if isinstance(modalities, str) else "\\".join(modalities)
                count = found.NumberOfStudyRelatedInstances
                print(f"   {found.PatientName}  {found.StudyDate or 'no date'}  {listed}  {count} instances  {uid}")

    def _watch(self) -> None:
        with stage.progress("   arrived") as bar:
            task = bar.add_task("", total=len(self._study))

            def arrived() -> bool:
                bar.update(task, completed=len(list(self._received.glob("*.dataset"))))
                referred = self._cli("referrals", "list", "--limit", "1000000", "--json")
                return bool(referred) and all(each["state"] in _OVER for each in referred)

            try:
                stage.wait(arrived, "the study to arrive")
            except DicomnodeError:
                stage.dicomnode(self._path, "queue", "shape")
                raise
            bar.update(task, completed=len(list(self._received.glob("*.dataset"))))

    def _compare(self) -> int:
        received = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._received.iterdir()}
        return sum(received.get(each.outgoing.sop_instance_uid) == each.outgoing.sha256 for each in self._study)

    def _timeline(self) -> None:
        for referral in self._cli("referrals", "list", "--json"):
            stage.dicomnode(self._path, "referrals", "show", str(referral["referral"]))

    def _cli(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(stage.dicomnode(self._path, *arguments, capture=True))
        return found


_NEXT = """
That was the main job. To run a node for real:

  1. edit config/dicomnode.yaml: your sites, your modalities and workstations, the hospital's AE
  2. .venv/bin/dicomnode check                 what it means, in plain sentences
  3. .venv/bin/dicomnode serve                 run it
  4. .venv/bin/dicomnode partners refused      who was turned away, and the lines that would admit them
"""


def _as_ct(config: NodeConfig, port: int) -> NodeConfig:
    """The configuration of the CT's side: it calls itself HARBOUR_CT1, and the node by its alias."""
    partner = config.partners["PUBPACS"].model_copy(update={"name": "NODE", "ae_title": "TO_GENERAL", "port": port})
    node = config.node.model_copy(update={"ae_title": "HARBOUR_CT1"})
    return config.model_copy(update={"node": node, "partners": {"NODE": partner}})


# -- the study -------------------------------------------------------------------------------------------------


def _study(folder: Path, storable: frozenset[str]) -> Sequence[Sent]:
    """Every instance of a study in a folder's Part 10 files, by name; one version of each SOP Instance UID."""
    found: dict[str, Sent] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            meta, instance = part10.read(path), walk.header(path)
        except DicomnodeError:
            continue
        storing = instance.sop_class_uid in STORAGE_CLASSES and meta.transfer_syntax_uid in storable
        if storing and instance.study_instance_uid:
            uids = instance.sop_class_uid, instance.sop_instance_uid, meta.transfer_syntax_uid
            sha256, size = digest(path, meta.offset)
            sent = Sent(Outgoing(*uids, path, size, sha256), instance.study_instance_uid)
            found.setdefault(instance.sop_instance_uid, sent)
    if not found:
        raise DicomnodeError(f"{folder} holds no DICOM instances (Part 10 files)")
    return list(found.values())


def _made(folder: Path) -> Path:
    """Slices made from the CT that pydicom carries: one study, one series, new UIDs, consecutive positions."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    folder.mkdir()
    slice_ = dcmread(str(get_testdata_file("CT_small.dcm")))
    slice_.PatientName, slice_.PatientID = "CHAN^TAI MAN=陳^大文", "H1234567"
    slice_.SpecificCharacterSet = "ISO_IR 192"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    for number in range(1, _SLICES + 1):
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
        slice_.InstanceNumber = number
        slice_.ImagePositionPatient[2] = slice_.SliceLocation = 5.0 * number
        slice_.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder
