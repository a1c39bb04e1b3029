"""Presentation contexts to propose for a batch (PS3.8 9.3.2.2): what is accepted is exactly what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicomnode.rules.contexts import Proposal

MOST = 128
"""Presentation contexts in one request: the odd numbers of a byte."""


def groups(pairs: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str], ...]]:
    """The distinct (SOP class, transfer syntax) pairs of a batch, in groups that one association can propose."""
    wanted = sorted(set(pairs))
    return [tuple(wanted[start : start + MOST]) for start in range(0, len(wanted), MOST)]


def propose(pairs: Sequence[tuple[str, str]]) -> list[Proposal]:
    """One context for each pair, so that what is accepted is exactly what is stored; at most 128."""
    return [Proposal(2 * n + 1, abstract, (syntax,)) for n, (abstract, syntax) in enumerate(pairs)]
