"""The seams of pynetdicom that dicomnode/net leans on: a change of any of them is to be seen here, not in a hospital.

Overridden, called behind the scenes, or relied on for what they do: the source of each is pinned by its digest. When
one changes, read what changed, see that the module named still holds, and write down the new digest.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dicomnode import net

_SEAMS: dict[str, dict[str, tuple[str, str, str]]] = {  # module → seam → (digest, which of ours leans on it, for what)
    "transport": {
        "ThreadedAssociationServer.process_request_thread": (
            "9e76e9b9c8a3",
            "acceptor",
            "runs our handler in a thread of its own, and survives its errors",
        ),
        "AssociationServer.__init__": (
            "edacb98bdfb7",
            "acceptor",
            "binds through server_bind, and sets what _Connection reads",
        ),
        "AssociationServer.get_request": ("925a4f3a3042", "acceptor", "accepts on the socket that we put in place"),
        "AssociationServer.server_bind": ("cf69278a05a5", "acceptor", "overridden: the socket is inherited"),
        "AssociationServer.service_actions": (
            "0a0853a3615a",
            "acceptor",
            "overridden: it collects garbage once a minute",
        ),
        "RequestHandler.handle": (
            "034823fb4df3",
            "acceptor",
            "makes the association by _create_association, and starts it",
        ),
        "RequestHandler.local": ("9a8f7680f8fa", "acceptor", "the acceptor's address"),
        "RequestHandler.remote": ("921f29a8bf51", "acceptor", "the address that admission decides by"),
        "RequestHandler._create_association": ("05c8d12b7986", "acceptor", "overridden: what it sets, ours sets"),
        "AssociationSocket.__init__": ("1f0325fdef2c", "acceptor", "takes a socket that is connected"),
        "AssociationSocket.recv": ("6bc20a33b1b7", "acceptor", "overridden: whole PDUs, and a cap"),
        "AssociationSocket.ready": ("3eb58e3d39dc", "acceptor", "overridden: poll in place of select"),
        "AssociationSocket.send": (
            "1ea8158c0b51",
            "acceptor",
            "blocks until the peer takes it, or the socket's time-out",
        ),
        "AssociationSocket.close": (
            "c726c8db5381",
            "acceptor",
            "ends the connection, and says so to the state machine",
        ),
    },
    "association": {
        "Association.__init__": ("eb07516b8009", "association", "makes the providers that Reception replaces"),
        "Association.run_reactor": (
            "ed8bbbe3b3d6",
            "association",
            "the life of an association; Reception surrounds it",
        ),
        "Association._run_reactor": (
            "f28838c5559e",
            "association",
            "hands messages to _serve_request, and sees release, abort and silence",
        ),
        "Association._serve_request": ("2f24c1759cdf", "association", "overridden: the desk"),
        "Association.kill": ("8f9713666a7f", "association", "after A-ASSOCIATE-RJ: sends what waits, and then ends"),
        "Association.abort": ("de1cee39dfe3", "acceptor", "ends what is left of a drain"),
        "Association.set_socket": ("235681dc7517", "acceptor", "gives the association our socket"),
    },
    "acse": {
        "ACSE.__init__": ("c2854b7e9224", "association", "Door is made in the place of it"),
        "ACSE.negotiate_association": ("a6f771214fa4", "association", "leads to _negotiate_as_acceptor"),
        "ACSE._negotiate_as_acceptor": ("fffd360957c4", "association", "overridden: admission and negotiation"),
        "ACSE.send_accept": (
            "c03855deabef",
            "association",
            "answers with _accepted_cx, _rejected_cx and the acceptor's items",
        ),
        "ACSE.send_reject": ("700998293bbc", "association", "A-ASSOCIATE-RJ"),
        "ACSE.is_aborted": ("ad2eb3f545a9", "find_scp", "whether the peer has gone"),
        "ACSE.is_release_requested": ("894b33d21a8d", "association", "a release is answered after the work"),
    },
    "dimse": {
        "DIMSEServiceProvider.__init__": ("bbecd186810e", "inbox", "Inbox has its queues and no more"),
        "DIMSEServiceProvider.receive_primitive": ("5f99c86b14a1", "inbox", "overridden: datasets go to files"),
        "DIMSEServiceProvider.get_msg": ("890e3e04283f", "inbox", "takes what Inbox has put into msg_queue"),
        "DIMSEServiceProvider.send_msg": ("a839cf2fb469", "handlers", "sends every response"),
    },
    "dimse_messages": {
        "DIMSEMessage.message_to_primitive": ("f8f43d34e434", "inbox", "a command set as a request"),
        "DIMSEMessage.primitive_to_message": ("71fd61d5997f", "handlers", "a response as a command set"),
        "DIMSEMessage.encode_msg": ("73000c902c52", "handlers", "a response as PDVs"),
    },
    "dsutils": {
        "decode": ("33aaa74edebf", "inbox", "reads a command set"),
    },
    "dul": {
        "DULServiceProvider.run_reactor": (
            "e3a10eb3a093",
            "association",
            "the thread that reads the network, and calls Inbox",
        ),
        "DULServiceProvider._read_pdu_data": (
            "19f2d4e38c13",
            "acceptor",
            "reads by AssociationSocket.recv: six bytes, then the rest",
        ),
        "DULServiceProvider._is_transport_event": ("8725ed03bb8f", "acceptor", "asks AssociationSocket.ready"),
        "DULServiceProvider._process_recv_primitive": (
            "4c0ebbb3e646",
            "find_scp",
            "empties to_provider_queue, whose length is our back-pressure",
        ),
        "DULServiceProvider.idle_timer_expired": ("0150c19fda68", "acceptor", "limits.idle"),
        "DULServiceProvider.kill_dul": ("5ceccf8dd01c", "association", "ends the thread that reads"),
    },
    "fsm": {
        "DT_2": ("9ec543394e0b", "inbox", "a P-DATA-TF becomes a call of receive_primitive"),
        "AA_8": ("06c83317f088", "inbox", "what Evt19 does: A-ABORT"),
        "AE_8": ("9fc96fcfe2e1", "association", "what send_reject leads to"),
        "AR_3": ("f1598039bd13", "association", "the answer to a release"),
    },
    "service_class": {
        "VerificationServiceClass.SCP": ("d30d511f87d0", "handlers", "answers a C-ECHO"),
    },
    "pdu": {
        "A_ASSOCIATE_RQ.from_primitive": ("3812564a6c7e", "channel", "our request"),
        "A_ASSOCIATE_AC.to_primitive": ("b6c8dec23fa7", "channel", "a partner's answer"),
        "A_ASSOCIATE_RJ.decode": ("07098f2d8a4d", "channel", "a partner's refusal"),
    },
    "pdu_primitives": {
        "SCP_SCU_RoleSelectionNegotiation": ("04738dee0a9e", "association", "roles that were asked for"),
        "P_DATA": ("19c1aa5d5ee9", "inbox", "presentation_data_value_list"),
    },
    "presentation": {
        "PresentationContext": ("945149f63930", "association", "_as_scu, _as_scp, result"),
    },
    "sop_class": {
        "register_uid": ("686d6809fc02", "demonstration", "retired storage classes"),
        "uid_to_service_class": ("88fa4636b8cb", "demonstration", "which are known"),
    },
}
_EACH = [(module, seam, *rest) for module, seams in _SEAMS.items() for seam, rest in seams.items()]


def _find(module: str, seam: str) -> Any:
    it: Any = importlib.import_module(f"pynetdicom.{module}")
    for part in seam.split("."):
        it = inspect.getattr_static(it, part)
    return it.fget if isinstance(it, property) else getattr(it, "__func__", it)


@pytest.mark.parametrize(("module", "seam", "digest", "ours", "what"), _EACH, ids=[f"{it[0]}.{it[1]}" for it in _EACH])
def test_a_seam_is_as_it_was(module: str, seam: str, digest: str, ours: str, what: str) -> None:
    leans = f"dicomnode/net/{ours}.py leans on pynetdicom.{module}.{seam} ({what})"
    try:
        source = inspect.getsource(_find(module, seam))
    except (AttributeError, ImportError) as error:
        pytest.fail(f"{leans}, and it is gone: {error}")
    found = hashlib.sha256(source.encode()).hexdigest()[:12]
    assert found == digest, f"{leans}, and it has changed: its digest is {found} now"


def test_the_version_that_was_tested_is_the_one_that_is_pinned() -> None:
    wanted = re.search(r'"pynetdicom==([0-9.]+)"', (Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert wanted
    assert wanted[1] == metadata.version("pynetdicom")


def _ours() -> list[type]:
    """Every class of dicomnode/net."""
    found = []
    for path in Path(net.__file__).parent.glob("[!_]*.py"):
        module = importlib.import_module(f"dicomnode.net.{path.stem}")
        found += [it for it in vars(module).values() if inspect.isclass(it) and it.__module__ == module.__name__]
    return found


def _overridden(ours: type) -> set[str]:
    """What of pynetdicom's a class of ours replaces, as `module.Class.method`."""
    found = set()
    for name, value in vars(ours).items():
        if not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        base = next((base for base in ours.__mro__[1:] if name in vars(base)), object)
        if base.__module__.startswith("pynetdicom."):
            found.add(f"{base.__module__.removeprefix('pynetdicom.')}.{base.__name__}.{name}")
    return found


def test_everything_that_is_overridden_is_a_seam() -> None:
    overridden = set().union(*map(_overridden, _ours()))
    assert len(overridden) >= 10
    assert overridden <= {f"{module}.{seam}" for module, seam, *_ in _EACH}


def test_every_module_that_is_named_is_there() -> None:
    modules = {path.stem for path in Path(net.__file__).parent.glob("*.py")}
    assert {ours for _, _, _, ours, _ in _EACH} <= modules
