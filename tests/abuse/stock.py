"""pynetdicom's storage SCP over TLS, which the one it ships does not speak: `… PORT FOLDER CERTIFICATE KEY`."""

from __future__ import annotations

import argparse
import logging
import ssl
import sys

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.apps.common import handle_store
from pynetdicom.sop_class import Verification

from tests.abuse.targets import FIRST, IDLE, PDU


def serve(port: int, folder: str, certificate: str, key: str) -> None:
    """Until it is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    chosen = argparse.Namespace(ignore=False, output_directory=folder)
    ae = AE("STORESCP")
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = FIRST, PDU, IDLE
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    handlers = [(evt.EVT_C_STORE, handle_store, [chosen, logging.getLogger("stock")])]
    ae.start_server(("127.0.0.1", port), ssl_context=context, evt_handlers=handlers)


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:5])
