"""The other two parties of the demonstration: a hospital that takes what it is sent, and a workstation that asks.

Both are stock pynetdicom, so what the demonstration shows is that the node gets on with software it was not made for.
The hospital keeps what it receives under names of its own and checks nothing: it is no example of an archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

from dicomnode.dicom.classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.errors import Rejected
from dicomnode.rules.contexts import STUDY_ROOT_FIND


@contextmanager
def hospital(ae_title: str, port: int, folder: Path) -> Iterator[None]:
    """A storage SCP on loopback: every dataset it is sent becomes `<SOP Instance UID>.dataset` in `folder`, as sent."""

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dataset").write_bytes(event.request.DataSet.getvalue())
        return 0x0000

    for uid in STORAGE_CLASSES:  # the retired ones are not in pynetdicom's table, and would make it abort
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)
    ae = AE(ae_title=ae_title)
    ae.supported_contexts = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in sorted(STORAGE_CLASSES)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield
    finally:
        server.shutdown()


def query(address: tuple[str, int], called: str, calling: str, keys: dict[str, str]) -> list[Dataset]:
    """C-FIND at STUDY level with these keys (keyword → value); the answers as pydicom Datasets."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    ae = AE(ae_title=calling)
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate(*address, ae_title=called)
    if not association.is_established:
        raise Rejected("the node did not accept the workstation's association")
    answers = [found for _, found in association.send_c_find(identifier, STUDY_ROOT_FIND) if found is not None]
    association.release()
    return answers
