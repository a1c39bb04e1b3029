"""Presentation contexts to propose (PS3.8 9.3.2.2): for a batch that is sent, and for a C-GET.

What is stored can always go as it is: each (SOP class, transfer syntax) has a context with that syntax alone. What is
not compressed, or may be decompressed, can go in Explicit or Implicit VR Little Endian besides (PS3.5 10.1): for those
that are not proposed anyway the class has one context more. `choose` says on which of those accepted an instance goes.
What a C-GET brings is to come as it is stored, too: as much is proposed as has room beside the request's own context.
Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, product

from dicomnode.dicom.classes import DECODED, NATIVE, STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules.contexts import EXPLICIT_LE, IMPLICIT_LE, STUDY_ROOT_GET, Proposal

MOST = 128
"""Presentation contexts in one request: the odd numbers of a byte."""

Pair = tuple[str, str]
"""SOP class and transfer syntax, as stored."""
_OTHERWISE = (EXPLICIT_LE, IMPLICIT_LE)

_LIKELIEST = (
    EXPLICIT_LE,
    IMPLICIT_LE,
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Selection Value 1
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
)
_SYNTAXES = tuple(dict.fromkeys((*_LIKELIEST, *TRANSFER_SYNTAXES)))
"""The likeliest first: of many classes, only these have room."""
_IMAGE = "1.2.840.10008.5.1.4.1.1"
_COMMON = (
    f"{_IMAGE}.2",  # CT
    f"{_IMAGE}.4",  # MR
    f"{_IMAGE}.1",  # Computed Radiography
    f"{_IMAGE}.1.1",  # Digital X-Ray, for presentation
    f"{_IMAGE}.1.2",  # Mammography, for presentation
    f"{_IMAGE}.1.3",  # Intra-Oral X-Ray, for presentation
    f"{_IMAGE}.6.1",  # Ultrasound
    f"{_IMAGE}.3.1",  # Ultrasound Multi-frame
    f"{_IMAGE}.7",  # Secondary Capture
    f"{_IMAGE}.20",  # Nuclear Medicine
    f"{_IMAGE}.128",  # PET
    f"{_IMAGE}.130",  # Enhanced PET
    f"{_IMAGE}.12.1",  # X-Ray Angiography
    f"{_IMAGE}.12.2",  # X-Ray Radiofluoroscopy
    f"{_IMAGE}.2.1",  # Enhanced CT
    f"{_IMAGE}.4.1",  # Enhanced MR
    f"{_IMAGE}.13.1.3",  # Breast Tomosynthesis
    f"{_IMAGE}.88.59",  # Key Object Selection
    f"{_IMAGE}.88.11",  # Basic Text SR
    f"{_IMAGE}.88.22",  # Enhanced SR
    f"{_IMAGE}.88.33",  # Comprehensive SR
    f"{_IMAGE}.88.67",  # X-Ray Radiation Dose SR
    f"{_IMAGE}.11.1",  # Grayscale Softcopy Presentation State
    f"{_IMAGE}.104.1",  # Encapsulated PDF
    f"{_IMAGE}.1.1.1",  # Digital X-Ray, for processing
    f"{_IMAGE}.1.2.1",  # Mammography, for processing
    f"{_IMAGE}.481.1",  # RT Image
    f"{_IMAGE}.481.2",  # RT Dose
    f"{_IMAGE}.481.3",  # RT Structure Set
    f"{_IMAGE}.481.5",  # RT Plan
    f"{_IMAGE}.66.4",  # Segmentation
    f"{_IMAGE}.77.1.4",  # VL Photographic
    f"{_IMAGE}.77.1.2",  # VL Microscopic
    f"{_IMAGE}.9.1.1",  # 12-lead ECG
    f"{_IMAGE}.4.2",  # MR Spectroscopy
    f"{_IMAGE}.7.2",  # Multi-frame Grayscale Byte Secondary Capture
    f"{_IMAGE}.7.4",  # Multi-frame True Color Secondary Capture
)
"""What is asked for where a partner does not say of which classes a study is."""


def groups(pairs: Iterable[Pair], decompress: bool = False) -> list[tuple[Pair, ...]]:
    """The distinct pairs of a batch, in groups that one association can propose."""
    found: list[tuple[Pair, ...]] = []
    for pair in sorted(set(pairs)):
        if found and len(_contexts((*found[-1], pair), decompress)) <= MOST:
            found[-1] = (*found[-1], pair)
        else:
            found.append((pair,))
    return found


def extended(pairs: Iterable[Pair], more: Iterable[Pair], decompress: bool = False) -> tuple[Pair, ...]:
    """The pairs of one group, and as many more as one association can propose with them."""
    wanted = dict.fromkeys(pairs)
    for pair in more:
        if len(_contexts((*wanted, pair), decompress)) <= MOST:
            wanted[pair] = None
    return tuple(wanted)


def propose(pairs: Sequence[Pair], decompress: bool = False) -> list[Proposal]:
    """The contexts for one group of pairs. `decompress`: what is compressed may go decompressed."""
    contexts = _contexts(pairs, decompress)
    return [Proposal(2 * n + 1, abstract, syntaxes) for n, (abstract, syntaxes) in enumerate(contexts)]


def choose(accepted: Mapping[Pair, int], pair: Pair, decompress: bool = False) -> tuple[int, str] | None:
    """The context on which what is stored so goes, and the transfer syntax that it goes in; None where it cannot.

    `accepted`: (SOP class, transfer syntax) → context.
    """
    for syntax in (pair[1], *_otherwise(pair[1], decompress)):
        if (pair[0], syntax) in accepted:
            return accepted[pair[0], syntax], syntax
    return None


def likely(classes: Iterable[str]) -> list[Pair]:
    """The pairs to propose for a C-GET of instances of these classes; of no known one, of the common ones."""
    wanted = sorted(STORAGE_CLASSES.intersection(classes)) or _COMMON
    return list(islice(((each, syntax) for syntax, each in product(_SYNTAXES, wanted)), MOST - 1))


def for_get(pairs: Iterable[Pair]) -> list[Proposal]:
    """The contexts for a C-GET (PS3.4 C.5.3): the request's own is the first; the requestor is SCP on the others."""
    storage = (Proposal(2 * n + 1, abstract, (syntax,), (False, True)) for n, (abstract, syntax) in enumerate(pairs, 1))
    return [Proposal(1, STUDY_ROOT_GET, (EXPLICIT_LE, IMPLICIT_LE)), *storage]


def _contexts(pairs: Iterable[Pair], decompress: bool) -> list[tuple[str, tuple[str, ...]]]:
    """SOP class and transfer syntaxes of each context."""
    return [
        context
        for abstract, group in groupby(sorted(set(pairs)), lambda pair: pair[0])
        for context in _of_class(abstract, [syntax for _, syntax in group], decompress)
    ]


def _of_class(abstract: str, stored: Sequence[str], decompress: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    otherwise = {each for syntax in stored for each in _otherwise(syntax, decompress)}.difference(stored)
    if otherwise:  # first, because GDCM reads whatever it is sent in the syntax of the last context of a class
        yield abstract, tuple(syntax for syntax in _OTHERWISE if syntax in otherwise)
    for syntax in stored:
        yield abstract, (syntax,)


def _otherwise(stored: str, decompress: bool) -> tuple[str, ...]:
    """What else may be made of what is stored so."""
    return _OTHERWISE if stored in NATIVE or (decompress and stored in DECODED) else ()
