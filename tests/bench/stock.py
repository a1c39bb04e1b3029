"""Stock pynetdicom: what somebody writes who follows its documentation, on the library as it is.

`python -m tests.bench.stock receive PORT FOLDER` is a storage SCP for every storage class in every transfer syntax,
which writes what it gets, undecoded, under its UID. `… send PORT AET FILE…` opens an association, says `open`, waits
for a line, sends the files and releases; exit code 1 where one was not answered 0000H.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification


def receive(port: int, folder: Path) -> None:
    """Until it is killed."""
    folder.mkdir(parents=True, exist_ok=True)

    def store(event: evt.Event) -> int:
        (folder / event.request.AffectedSOPInstanceUID).write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE("STOCK")
    ae.maximum_associations = 1000
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


def send(port: int, called: str, paths: Sequence[str]) -> int:
    """The exit code."""
    first = dcmread(paths[0], stop_before_pixels=True)
    ae = AE("BENCH")
    ae.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    print("open", flush=True)
    sys.stdin.readline()
    statuses = [association.send_c_store(dcmread(path)).get("Status") for path in paths]
    association.release()
    return int(any(statuses))


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(send(int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
