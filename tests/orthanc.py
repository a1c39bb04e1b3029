"""One Orthanc as a peer: a hospital's archive that can go down, and come back on the same ports with the same studies.

Its binary missing is a failure that names the remedy, never a skip.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.node import LOCAL, free_port, wait_until

INSTALL = "apt-get install orthanc"


class Orthanc:
    """A context manager. `modalities`: name → (AE title, host, port), the peers it knows for C-MOVE and `store_to`.

    `options` are further keys of its configuration. Only the process that was started here is ended.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: Mapping[str, tuple[str, str, int]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.ae_title = folder, ae_title
        self.port, self.http_port = free_port(), free_port()
        self.log, self._file = folder / "orthanc.log", folder / "orthanc.json"
        self._modalities: dict[str, Any] = {name: list(peer) for name, peer in (modalities or {}).items()}
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [],
            "HttpPort": self.http_port,
            "HttpBindAddresses": [LOCAL],
            "RemoteAccessAllowed": False,  # loopback alone
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomCheckModalityHost": False,
            "DicomModalities": self._modalities,
            "UnknownSopClassAccepted": True,
            "StorageCompression": False,
            "OverwriteInstances": False,
            "StableAge": 1,
            **self._options,
        }

    # -- life --

    def start(self) -> Orthanc:
        """Start it, on the same ports and storage every time; it answers over HTTP when this returns."""
        program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError(f"Orthanc is missing: {INSTALL}")
        (self.folder / "storage").mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._configuration()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(self._file)], cwd=self.folder, env=_environment(), stdout=log, stderr=log
            )
        try:
            wait_until(self._answers, 30, "Orthanc's HTTP answer", self.log)
        except BaseException:
            self.stop()
            raise
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Orthanc ended: {self.log.read_text(errors='replace')}"
        with contextlib.suppress(OSError):
            return bool(self.get("/system"))
        return False

    def stop(self, *, hard: bool = False) -> None:
        """End it, which takes it some 3 s (`hard`, as by a power cut: none); its storage stays."""
        process, self._process = self._process, None
        if process is None:
            return
        if hard:
            process.kill()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def __enter__(self) -> Orthanc:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop(hard=True)

    # -- what it has --

    def studies(self) -> dict[str, dict[str, Any]]:
        """Study Instance UID → Orthanc's description (`ID`, `MainDicomTags`, `PatientMainDicomTags`, `Series`)."""
        return {study["MainDicomTags"]["StudyInstanceUID"]: study for study in self.get("/studies?expand")}

    def instances(self, study_uid: str | None = None) -> dict[str, str]:
        """SOP Instance UID → Orthanc's id, of everything or of one study."""
        path = "/instances?expand"
        if study_uid is not None:
            study = self.studies().get(study_uid)
            if study is None:
                return {}
            path = f"/studies/{study['ID']}/instances"
        return {instance["MainDicomTags"]["SOPInstanceUID"]: instance["ID"] for instance in self.get(path)}

    def dicom_file(self, instance_id: str) -> bytes:
        """A stored instance as the Part 10 file that Orthanc wrote."""
        return self._request(f"/instances/{instance_id}/file")

    def count(self) -> int:
        """How many instances it has."""
        return int(self.get("/statistics")["CountInstances"])

    def store_to(self, modality: str, *ids: str) -> dict[str, Any]:
        """Send resources (default: every study) to a modality by C-STORE; urllib's HTTPError where it fails."""
        resources = list(ids) or [study["ID"] for study in self.studies().values()]
        return dict(self.post(f"/modalities/{modality}/store", {"Resources": resources, "Synchronous": True}))

    def delete(self, study_uid: str) -> None:
        """Remove a study, as a hospital does that loses one."""
        self._request(f"/studies/{self.studies()[study_uid]['ID']}", method="DELETE")

    def delete_instance(self, study_uid: str, sop_instance_uid: str) -> None:
        """Remove one instance of a study, as a hospital does that loses one."""
        self._request(f"/instances/{self.instances(study_uid)[sop_instance_uid]}", method="DELETE")

    def add_modality(self, name: str, ae_title: str, host: str, port: int, *, tls: bool = False) -> None:
        """Make a peer known while it runs, and after a restart."""
        peer = {"AET": ae_title, "Host": host, "Port": port, "UseDicomTls": tls}
        self._modalities[name] = peer
        self._request(f"/modalities/{name}", peer, "PUT")

    # -- HTTP --

    def get(self, path: str) -> Any:
        return json.loads(self._request(path))

    def post(self, path: str, body: Any) -> Any:
        return json.loads(self._request(path, body, "POST"))

    def _request(self, path: str, body: Any = None, method: str = "GET") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{LOCAL}:{self.http_port}{path}", data, method=method)
        with _OPENER.open(request, timeout=30) as answer:
            return bytes(answer.read())


def _environment() -> dict[str, str]:
    """Its DCMTK waits for no delayed acknowledgement: each answer would cost it 40 ms."""
    return {**os.environ, "TCP_NODELAY": "1"}


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the environment's proxy is not for loopback
