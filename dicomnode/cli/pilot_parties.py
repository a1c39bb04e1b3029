"""The others of the pilot, none of them ours: Orthanc as the hospital, DCMTK's dcmsend and findscu as modality and
workstation.

What they say is believed as little as may be: dcmsend by its exit code, which is 0 only where all was taken; findscu
by the answers that it wrote down, since it exits with 0 on any failure; Orthanc by what it has, over HTTP.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomnode.cli import stage
from dicomnode.cli.stage import LOCAL
from dicomnode.errors import PartnerError, UsageError

_PACKAGES: Final = {"dcmsend": "dcmtk", "findscu": "dcmtk", "Orthanc": "orthanc"}
_TIMEOUT: Final = 120
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy is for loopback


def need_all() -> None:
    """Raise UsageError where a program is missing, with what to install."""
    missing = [name for name in _PACKAGES if _program(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_PACKAGES[name] for name in missing))
        raise UsageError(f"the pilot needs {', '.join(missing)}: `apt-get install {packages}`")


def _program(name: str) -> str | None:
    """Where a program is; pynetdicom brings a findscu of its own, beside our Python, which is another."""
    own = Path(sys.prefix) / "bin"
    folders = [each for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if each and Path(each) != own]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin", "/usr/local/sbin"]))


# -- the hospital --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A study as the hospital has it."""

    patient_id: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hospital:
    """A running Orthanc."""

    http_port: int

    def studies(self) -> dict[str, Kept]:
        """All that it has, by Study Instance UID."""
        return {it["MainDicomTags"]["StudyInstanceUID"]: self._kept(it) for it in self._get("/studies?expand")}

    def _kept(self, it: Mapping[str, Any]) -> Kept:
        found = self._get(f"/studies/{it['ID']}/instances")
        uids = tuple(sorted(each["MainDicomTags"]["SOPInstanceUID"] for each in found))
        return Kept(it["PatientMainDicomTags"]["PatientID"], uids)

    def answers(self) -> bool:
        """Whether it does."""
        try:
            return bool(self._get("/system"))
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        with _DIRECT.open(f"http://{LOCAL}:{self.http_port}{path}", timeout=_TIMEOUT) as answer:
            return json.load(answer)


@contextmanager
def hospital(folder: Path, ae_title: str, port: int) -> Iterator[Hospital]:
    """An Orthanc that keeps its files in `folder/storage`, and tells everybody what it has."""
    folder.mkdir()
    (http_port,) = stage.free_ports(1)
    config, storage = folder / "orthanc.json", str(folder / "storage")
    keys = {
        "Name": ae_title,
        "StorageDirectory": storage,
        "IndexDirectory": storage,
        "Plugins": [],
        "HttpPort": http_port,
        "HttpBindAddresses": [LOCAL],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ae_title,
        "DicomPort": port,
        "DicomAlwaysAllowFind": True,  # the node asks what has arrived
    }
    config.write_text(json.dumps(keys, indent=1))
    command = [_program("Orthanc") or "Orthanc", str(config)]
    with stage.running(command, "Orthanc", port, folder / "orthanc.log", cwd=folder):
        orthanc = Hospital(http_port)
        stage.wait(orthanc.answers, "Orthanc to answer")
        yield orthanc


# -- the centres -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls whom, where."""

    calling: str
    called: str
    address: str
    port: int

    @property
    def titles(self) -> tuple[str, ...]:
        return "-aet", self.calling, "-aec", self.called

    @property
    def peer(self) -> tuple[str, str]:
        return self.address, str(self.port)


def send(call: Call, files: Sequence[Path]) -> None:
    """dcmsend: all of them, on one association. Raises PartnerError where one was not taken."""
    code, said = _run("dcmsend", "-v", *call.titles, *call.peer, *map(str, files))
    if code:
        raise PartnerError(f"dcmsend as {call.calling} failed with exit code {code}:\n{said[-2000:]}")


def find(call: Call, study_instance_uid: str = "") -> list[str]:
    """findscu: the Study Instance UIDs of what it is answered; '' asks for all studies."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_instance_uid}"
        code, said = _run("findscu", "-v", "-S", "-X", "-od", folder, *wanted, *call.titles, *call.peer)
        if code or "Received Final Find Response (Success)" not in said:
            raise PartnerError(f"findscu as {call.calling} failed with exit code {code}:\n{said[-2000:]}")
        return sorted(_study_of(path) for path in Path(folder).glob("rsp*.dcm"))


def _study_of(path: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(path, force=True).StudyInstanceUID)


def _run(name: str, *arguments: str) -> tuple[int, str]:
    command = [_program(name) or name, *arguments]
    quick = os.environ | {"TCP_NODELAY": "1"}
    done = subprocess.run(
        command, env=quick, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace")
