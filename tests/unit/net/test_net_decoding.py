"""net/decoding.py: a process that decompresses, what it cannot do, and what it is not allowed to do."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.errors import ContextMissing, InstanceError
from dicomnode.net.decoding import Decoder
from tests.node import wait_until
from tests.samples import real_files

FILES = {path.name: path for path in real_files(more=True)}
SMALL = FILES["MR_small_RLE.dcm"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Decoder]:
    it = Decoder()
    yield it
    it.close()


@pytest.fixture
def decoder() -> Iterator[Callable[..., Decoder]]:
    """A factory of decoders whose process runs other code than it should, after it has begun."""
    made: list[Decoder] = []

    def make(code: str = "", clock: float = 60.0) -> Decoder:
        it = Decoder(clock)
        it._program = f"{code}\n{it._program}"
        made.append(it)
        return it

    yield make
    for it in made:
        it.close()


def decompressed(decoder: Decoder, path: Path) -> Dataset:
    with path.open("rb") as source, tempfile.TemporaryFile() as target:
        decoder.decompress(source.fileno(), target.fileno())
        target.seek(0)
        syntax = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
        return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + syntax + target.read()))


def running(decoder: Decoder) -> tuple[subprocess.Popen[bytes], socket.socket]:
    assert decoder._running
    return decoder._running


@pytest.mark.parametrize(
    ("compressed", "native"),
    [
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm"),
        ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm"),
        ("693_J2KR.dcm", "693_UNCR.dcm"),
        ("GDCMJ2K_TextGBR.dcm", "OBXXXX1A.dcm"),
    ],
)
def test_the_pixels_are_those_that_were_compressed(shared: Decoder, compressed: str, native: str) -> None:
    found, wanted = decompressed(shared, FILES[compressed]), pydicom.dcmread(FILES[native])
    if native != "OBXXXX1A.dcm":
        assert found.PixelData == wanted.PixelData
    assert len(found.PixelData) == found.Rows * found.Columns * found.SamplesPerPixel * found.BitsAllocated // 8 * int(
        found.get("NumberOfFrames") or 1
    )


@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", "YBR_FULL"),  # of 4:2:2 nothing is left out any more
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "YBR_FULL"),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "RGB"),
        ("US1_J2KR.dcm", "RGB"),
        ("US1_J2KI.dcm", "RGB"),
        ("SC_rgb_rle.dcm", "RGB"),
    ],
)
def test_colours_are_called_what_they_are(shared: Decoder, name: str, colours: str) -> None:
    assert decompressed(shared, FILES[name]).PhotometricInterpretation == colours


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("JPGExtended.dcm", "12-bit"),
        ("J2K_pixelrep_mismatch.dcm", "signed"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "Unable to decode"),
    ],
)
def test_what_cannot_be_decompressed_is_said_and_the_next_one_can(shared: Decoder, name: str, reason: str) -> None:
    with pytest.raises(ContextMissing, match=f"cannot be decompressed: .*{reason}"):
        decompressed(shared, FILES[name])
    assert decompressed(shared, SMALL).Rows == 64


def test_one_process_does_them_all_and_is_gone_when_it_is_closed() -> None:
    it = Decoder()
    decompressed(it, SMALL)
    process, _ = running(it)
    decompressed(it, SMALL)
    assert running(it)[0] is process
    it.close()
    assert process.wait(30) == -signal.SIGKILL


def test_it_is_in_nobodys_way(shared: Decoder) -> None:
    """Below those who receive and send; and a Ctrl-C that is meant for the node is no verdict on an instance."""
    decompressed(shared, SMALL)
    number = running(shared)[0].pid
    assert os.getpriority(os.PRIO_PROCESS, number) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getsid(number) == number


def test_no_other_process_has_the_decoders_in_memory() -> None:
    code = "import sys, dicomnode.cli; sys.exit(sys.modules['gdcm'] is not None or 'pydicom' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- bounds ------------------------------------------------------------------------------------------------------------

_INSTEAD = (
    "from dicomnode.dicom import decompress as it\ndef decompress(source, target):\n    {}\nit.decompress = decompress"
)


def instead(code: str) -> str:
    return _INSTEAD.format(code)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("bytearray(5 << 30)", "memory"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, -1)); [x for x in iter(int, 1)]", "SIGXCPU"),
        ("target.truncate(5 << 30)", "large"),
        ("raise ValueError('no such tag')", "no such tag"),
    ],
)
def test_what_is_too_much_for_it_is_the_instances_fault(
    decoder: Callable[..., Decoder], code: str, reason: str
) -> None:
    it = decoder(instead(code))
    with pytest.raises(ContextMissing, match=f"cannot be decompressed.*{reason}"):
        decompressed(it, SMALL)


def test_what_takes_too_long_is_ended(decoder: Callable[..., Decoder]) -> None:
    it = decoder(instead("import time; time.sleep(600)"), clock=0.5)
    with pytest.raises(InstanceError, match=r"in 0\.5 seconds"):
        decompressed(it, SMALL)
    assert it._running is None, "and the next instance has another process"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError(28, 'No space left on device')", "No space left"),
        ("import os; os.kill(os.getpid(), 9)", "before its time"),
    ],
)
def test_what_may_pass_is_not_the_instances_fault(decoder: Callable[..., Decoder], code: str, reason: str) -> None:
    with pytest.raises(InstanceError, match=reason):
        decompressed(decoder(instead(code)), SMALL)


@pytest.mark.parametrize(("room", "reason"), [("1 << 62", "nearly full"), ("free - (2 << 30)", "large")])
def test_it_leaves_room_on_the_disk_for_what_is_received(
    decoder: Callable[..., Decoder], room: str, reason: str
) -> None:
    """It is tried again then: there may be more room."""
    free = f"import os; disk = os.statvfs({tempfile.gettempdir()!r}); free = disk.f_bavail * disk.f_frsize"
    set_room = f"from dicomnode.net import decoding; decoding._ROOM = {room}"
    it = decoder("\n".join((free, set_room, instead("target.truncate(5 << 30)"))))
    with pytest.raises(InstanceError, match=reason):
        decompressed(it, SMALL)


def test_one_that_has_ended_for_want_of_work_is_replaced(shared: Decoder) -> None:
    decompressed(shared, SMALL)
    process, _ = running(shared)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert decompressed(shared, SMALL).Rows == 64


def test_it_ends_when_nothing_is_asked_of_it_and_when_its_parent_is_gone(decoder: Callable[..., Decoder]) -> None:
    it = decoder("from dicomnode.net import decoding; decoding._IDLE = 0.1")
    decompressed(it, SMALL)
    assert running(it)[0].wait(30) == 0
    orphan = decoder()
    decompressed(orphan, SMALL)
    process, connection = running(orphan)
    connection.close()
    assert process.wait(30) == 0


def test_a_close_ends_it_in_the_middle(decoder: Callable[..., Decoder], tmp_path: Path) -> None:
    begun, raised = tmp_path / "begun", []
    it = decoder(instead(f"open({str(begun)!r}, 'w'); import time; time.sleep(600)"))

    def ask() -> None:
        try:
            decompressed(it, SMALL)
        except InstanceError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(begun.exists, 30, "the decoder to begin")
    it.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(raised) == 1
