"""Presentation contexts to propose for a batch (PS3.8 9.3.2.2), and which of those accepted an instance goes on.

What is stored can always go as it is: each (SOP class, transfer syntax) has a context with that syntax alone. What is
not compressed, or may be decompressed, can go in Explicit or Implicit VR Little Endian besides (PS3.5 10.1): for those
that are not proposed anyway the class has one context more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from dicomnode.dicom.classes import DECODED, NATIVE
from dicomnode.rules.contexts import EXPLICIT_LE, IMPLICIT_LE, Proposal

MOST = 128
"""Presentation contexts in one request: the odd numbers of a byte."""

Pair = tuple[str, str]
"""SOP class and transfer syntax, as stored."""
_OTHERWISE = (EXPLICIT_LE, IMPLICIT_LE)


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
