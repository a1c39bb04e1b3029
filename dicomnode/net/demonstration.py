"""The other parties of the demonstrations: a hospital that takes what it is sent, and a workstation that asks; and for
programs of others the address that they are to call from.

Hospital and workstation are stock pynetdicom, so what the demonstration shows is that the node gets on with software it
was not made for. The hospital keeps what it receives under names of its own and checks nothing: it is no example of an
archive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

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


@contextmanager
def callers(addresses: Iterable[str], node: tuple[str, int]) -> Iterator[dict[str, int]]:
    """For programs that cannot choose which address they call from: at each of these, of loopback, a port that goes on
    to `node` from that address.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, dict[str, int]]] = Future()
    thread = Thread(target=lambda: asyncio.run(_pass_on(list(addresses), node, started)), daemon=True)
    thread.start()
    loop, over, ports = started.result()
    try:
        yield ports
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _pass_on(addresses: list[str], node: tuple[str, int], started: Future[Any]) -> None:
    """Serve until it is over; `started` is told how to say so, and the ports, or why there are none."""
    over, ports = asyncio.Event(), {}
    async with AsyncExitStack() as servers:
        try:
            for address in addresses:
                call = partial(_pass_one, address=address, node=node)
                server = await servers.enter_async_context(await asyncio.start_server(call, address, 0))
                ports[address] = server.sockets[0].getsockname()[1]
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result((asyncio.get_running_loop(), over, ports))
        await over.wait()


async def _pass_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, address: str, node: tuple[str, int]
) -> None:
    """One connection, until either side ends it."""
    try:
        answers, onward = await asyncio.open_connection(*node, local_addr=(address, 0))
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, onward), _copy(answers, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()
