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
    "association": {
        "Association.__init__": ("eb07516b8009", "association", "makes the providers that Reception replaces"),
        "Association.run_reactor": ("ed8bbbe3b3d6", "association", "overridden: an association's whole life"),
        "Association.abort": ("de1cee39dfe3", "acceptor", "leads to _abort_blocking"),
        "Association._abort_blocking": ("10b43ef8c63c", "association", "overridden: A-ABORT by the reactor"),
        "ServiceUser.maximum_length": ("a01f989cfe14", "answering", "what the requestor takes, and what we announce"),
        "ServiceUser.role_selection": ("adda3afb9089", "association", "the roles that were proposed"),
    },
    "acse": {
        "ACSE.__init__": ("c2854b7e9224", "association", "Door is made in the place of it"),
        "ACSE.send_accept": (
            "c03855deabef",
            "association",
            "answers with _accepted_cx, _rejected_cx and the acceptor's items",
        ),
    },
    "dimse": {
        "DIMSEServiceProvider.__init__": ("bbecd186810e", "inbox", "Inbox has its queues and no more"),
        "DIMSEServiceProvider.send_msg": ("a839cf2fb469", "inbox", "overridden: every response, by hand"),
    },
    "dimse_messages": {
        "DIMSEMessage.message_to_primitive": ("f8f43d34e434", "inbox", "a command set as a request"),
    },
    "dsutils": {
        "decode": ("33aaa74edebf", "inbox", "reads a command set"),
    },
    "service_class": {
        "VerificationServiceClass.SCP": ("d30d511f87d0", "handlers", "answers a C-ECHO"),
    },
    "pdu": {
        "A_ASSOCIATE_RQ.from_primitive": ("3812564a6c7e", "proposing", "our request"),
        "A_ASSOCIATE_RQ.to_primitive": ("92cb1a8bedf6", "request", "a caller's request"),
        "A_ASSOCIATE_AC.from_primitive": ("1dd28ce4925d", "reactor", "our acceptance"),
        "A_ASSOCIATE_AC.to_primitive": ("b6c8dec23fa7", "proposing", "a partner's answer"),
        "A_ASSOCIATE_RJ.decode": ("07098f2d8a4d", "proposing", "a partner's refusal"),
    },
    "pdu_primitives": {
        "SCP_SCU_RoleSelectionNegotiation": ("04738dee0a9e", "association", "roles that were asked for"),
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
    assert len(overridden) >= 4
    assert overridden <= {f"{module}.{seam}" for module, seam, *_ in _EACH}


def test_every_module_that_is_named_is_there() -> None:
    modules = {path.stem for path in Path(net.__file__).parent.glob("*.py")}
    assert {ours for _, _, _, ours, _ in _EACH} <= modules
