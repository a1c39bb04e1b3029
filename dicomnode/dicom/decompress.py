"""A dataset with its pixels decompressed, by pydicom's decoders: for who cannot take it compressed. Never the reverse.

Promises Explicit VR Little Endian in which all but the pixels, and what says how they are laid out, is byte for byte
what it was: the marks of a lossy compression stay (PS3.3 C.7.6.1.1.5), and so does the SOP Instance UID. Group lengths
and the offsets of frames are left out: they would be wrong. Meant for a process of its own (net/decoding.py), as what
it decodes may have been made to do harm. InstanceError, with the reason: it cannot be decompressed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_j2k_parameters
from pydicom.uid import UID, JPEG2000TransferSyntaxes

from dicomnode.dicom import part10
from dicomnode.dicom.elements import UNDEFINED, elements
from dicomnode.dicom.syntaxes import EXPLICIT
from dicomnode.errors import InstanceError

_PIXEL_DATA: Final = 0x7FE00010
_PHOTOMETRIC: Final = 0x00280004
_PLANAR: Final = 0x00280006
_LEFT_OUT: Final = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
"""The Extended Offset Table, its lengths, and the total length of what is encapsulated."""
_LONGEST: Final = 0xFFFFFFFE
_EXTENDED: Final = bytes(0x80) + b"\xff" * 0x80
"""By the highest byte of a signed number, the byte that goes above it."""


def decompress(source: BinaryIO, target: BinaryIO) -> None:
    """Write the dataset of the Part 10 file `source`, decompressed. Raises InstanceError."""
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        syntax, end = part10.start(data)
        image = _Image(pydicom.dcmread(source), UID(syntax))
        for tag, _, start, length, stop in elements(data, end, EXPLICIT, []):
            if tag == _PIXEL_DATA and length == UNDEFINED:
                image.write(target)
            elif tag in image.changed:
                target.write(data[end : start - 2] + image.changed[tag])  # before the value is its length, of 16 bits
            elif tag & 0xFFFF and tag not in _LEFT_OUT:
                target.write(data[end:stop])
            end = stop
        target.write(data[end:])


class _Image:
    """The frames of a dataset as they come out of a decoder, the first of them already."""

    def __init__(self, dataset: Dataset, syntax: UID) -> None:
        self._dataset = dataset
        if syntax in JPEG2000TransferSyntaxes:
            _check_sign(dataset)
        self._frame = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        self._count = int(dataset.get("NumberOfFrames") or 1)
        if self._count * self._frame > _LONGEST:
            raise InstanceError("its pixels are too many for Pixel Data that is not compressed")
        self._frames = _decoded(dataset, syntax)
        self._first, self._facts = next(self._frames, (b"", {}))
        self.changed = self._changed()
        """Length and value of the elements that say how pixels are laid out, where it is in another way now."""

    def _changed(self) -> dict[int, bytes]:
        colours = str(self._facts.get("photometric_interpretation", ""))
        if colours == "YBR_FULL_422":  # of which not a third is left out any more (PS3.3 C.7.6.3.1.2)
            colours = "YBR_FULL"
        colours += " " * (len(colours) % 2)
        changed = {_PHOTOMETRIC: len(colours).to_bytes(2, "little") + colours.encode()}
        if "planar_configuration" in self._facts:
            changed[_PLANAR] = b"\2\0" + self._facts["planar_configuration"].to_bytes(2, "little")
        return changed

    def write(self, target: BinaryIO) -> None:
        """Write Pixel Data, a frame at a time; as many as there should be, and each as long as it should be."""
        length, count = self._count * self._frame, 1
        vr = b"OB" if self._dataset.BitsAllocated <= 8 else b"OW"  # PS3.5 A.2
        target.write(b"\xe0\x7f\x10\0" + vr + b"\0\0" + (length + length % 2).to_bytes(4, "little"))
        target.write(self._whole(self._first, self._facts))
        for frame, facts in self._frames:
            count += 1
            target.write(self._whole(frame, facts))
        target.write(b"\0" * (length % 2))
        if count != self._count:
            raise InstanceError("it has not as many frames as it says")

    def _whole(self, frame: bytes, facts: dict[str, Any]) -> bytes:
        """A frame with as many bits to a sample as are allocated."""
        if facts != self._facts:
            raise InstanceError("its frames are not alike")
        signed = self._dataset.PixelRepresentation == 1
        frame = _widened(frame, facts["bits_allocated"] // 8, self._dataset.BitsAllocated // 8, signed)
        if len(frame) != self._frame:
            raise InstanceError("a frame has not the size that it should have")
        return frame


def _decoded(dataset: Dataset, syntax: UID) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        for frame, facts in get_decoder(syntax).iter_buffer(dataset):
            yield bytes(frame), facts
    except Exception as error:  # whatever a decoder has to say about what it was given
        raise InstanceError(" ".join(str(error).split())[:200]) from error


def _check_sign(dataset: Dataset) -> None:
    """Where the pixels do not say of themselves what the dataset says, no two readers agree on what they are."""
    facts = get_j2k_parameters(next(generate_frames(dataset.PixelData, number_of_frames=1), b""))
    if facts.get("is_signed", False) != (dataset.PixelRepresentation == 1):
        raise InstanceError("its pixels are signed, and its Pixel Representation is not, or the other way round")


def _widened(frame: bytes, bytes_had: int, wanted: int, signed: bool) -> bytes:
    """Numbers of so many bytes as numbers of more."""
    if not 0 < bytes_had < wanted:
        return frame
    count = len(frame) // bytes_had
    wide = bytearray(count * wanted)
    for number in range(bytes_had):
        wide[number::wanted] = frame[number::bytes_had]
    if signed:
        for number in range(bytes_had, wanted):
            wide[number::wanted] = frame[bytes_had - 1 :: bytes_had].translate(_EXTENDED)
    return bytes(wide)
