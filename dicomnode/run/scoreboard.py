"""Who has how many associations open, in memory that the supervisor and its acceptors share.

Each acceptor writes in a row of its own, one entry for each association: keyed digests of the partner's name and of the
IP address. Before it adds one it sums all rows, under a lock that the kernel takes from whoever dies, so that two never
take the last slot. What a worker that was killed leaves is gone, torn or whole, when the supervisor clears its row.

    key (16) · silent connections (8) · associations in each row (4 each) · burden of each row (4 each) ·
    rows of entries, without holes (16 each)

The entries of a row stand close together: one that is over is overwritten by the last. Memory is used by what is open.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from dicomnode.config.model import Partner
from dicomnode.config.parts import Limits
from dicomnode.rules import governance
from dicomnode.rules.admission import Refusal
from dicomnode.rules.governance import Open

ROWS = 256
"""Acceptors at once: those that drain after a reload have rows beside those that took their place."""
_MOST = 10_000
"""Entries in a row: the most associations that a configuration allows a node."""
_KEY = 16
_ENTRY = 16
_TOUCHES = struct.Struct("Q")
_COUNTS = struct.Struct(f"{ROWS}I")
_COUNT = struct.Struct("I")  # in native order and size it is one store: a kill leaves the old number or the new one
_COUNTS_AT = _KEY + _TOUCHES.size
_BURDENS_AT = _COUNTS_AT + _COUNTS.size
_ROWS_AT = _BURDENS_AT + _COUNTS.size
_SIZE = _ROWS_AT + ROWS * _MOST * _ENTRY


def create() -> int:
    """A scoreboard without entries: its descriptor, which children inherit."""
    descriptor = os.memfd_create("scoreboard")
    os.ftruncate(descriptor, _SIZE)
    os.pwrite(descriptor, os.urandom(_KEY), 0)
    return descriptor


class Scoreboard:
    """All rows, as one process sees them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, _SIZE)
        self._key = self._map[:_KEY]
        self._threads = threading.Lock()

    def __repr__(self) -> str:
        return f"Scoreboard({self.counts} open, {self.touches} silent)"

    @property
    def counts(self) -> dict[int, int]:
        """How many associations are open in each row that has any."""
        return {row: count for row, count in enumerate(_COUNTS.unpack_from(self._map, _COUNTS_AT)) if count}

    @property
    def touches(self) -> int:
        """How many connections came and went without a word."""
        return int(_TOUCHES.unpack_from(self._map, _KEY)[0])

    def touch(self) -> None:
        """Count a connection that said nothing."""
        with self.turn():
            _TOUCHES.pack_into(self._map, _KEY, self.touches + 1)

    def clear(self, row: int) -> None:
        """Forget all that a row has: its worker is gone."""
        self._resize(row, 0)
        self.bear(row, 0)

    @property
    def burdens(self) -> tuple[int, ...]:
        """For each row that accepts connections one more than it has; 0 for the others."""
        return _COUNTS.unpack_from(self._map, _BURDENS_AT)

    def bear(self, row: int, burden: int) -> None:
        """Show what a row has to do. One store, by the one process that has the row."""
        _COUNT.pack_into(self._map, _BURDENS_AT + row * _COUNT.size, burden)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else counts meanwhile: no other thread, no other process."""
        with self._threads:  # a POSIX lock knows processes alone
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def digest(self, kind: bytes, name: str) -> bytes:
        """Half an entry. With a key, so that no caller finds a name that counts as another's."""
        return blake2b(name.encode(), digest_size=_ENTRY // 2, key=self._key, person=kind).digest()

    def open_with(self, partner: bytes, address: bytes) -> Open:
        """How many are open, of these digests and of all. In turn."""
        node = with_partner = with_address = 0
        for row, count in self.counts.items():
            entries = self._map[_place(row, 0) : _place(row, count)]
            node += count
            with_partner += entries.count(partner)
            with_address += entries.count(address)
        return Open(node, with_partner, with_address)

    def is_calling(self, partner: str) -> bool:
        """Whether a partner has any association open: the `Callers` of operations/ports.py."""
        with self.turn():
            return self.open_with(self.digest(b"partner", partner), b"\0" * (_ENTRY // 2)).partner > 0

    def add(self, row: int, entry: bytes) -> None:
        """One more in a row. In turn."""
        count = self._count(row)
        self._map[_place(row, count) : _place(row, count + 1)] = entry
        self._resize(row, count + 1)  # counted when it is whole

    def remove(self, row: int, entry: bytes) -> None:
        """One fewer of those in a row that are alike. In turn."""
        last = self._count(row) - 1
        found = self._map.find(entry, _place(row, 0), _place(row, last + 1))
        self._map[found : found + _ENTRY] = self._map[_place(row, last) : _place(row, last + 1)]
        self._resize(row, last)

    def _count(self, row: int) -> int:
        return int(_COUNT.unpack_from(self._map, _COUNTS_AT + row * _COUNT.size)[0])

    def _resize(self, row: int, count: int) -> None:
        _COUNT.pack_into(self._map, _COUNTS_AT + row * _COUNT.size, count)


def _place(row: int, entry: int) -> int:
    return _ROWS_AT + (row * _MOST + entry) * _ENTRY


class Row:
    """One acceptor's row: the `Slots` of operations/ports.py."""

    def __init__(self, board: Scoreboard, row: int, limits: Limits) -> None:
        self._board, self._row, self._limits = board, row, limits
        self._connections, self._accepts = 0, False
        self._counting = threading.Lock()

    def __repr__(self) -> str:
        return f"Row({self._row} of {self._board})"

    def accepts(self, does: bool) -> None:
        """This process begins to accept connections, or accepts no more."""
        self._accepts = does
        self._bear(0)

    def arrived(self) -> None:
        """A connection was accepted."""
        self._bear(1)

    def gone(self) -> None:
        """A connection that was accepted is over."""
        self._bear(-1)

    @property
    def is_burdened(self) -> bool:
        """Whether another process that accepts connections has fewer than this one."""
        burdens = self._board.burdens
        return any(0 < burden < burdens[self._row] for burden in burdens)

    def _bear(self, more: int) -> None:
        with self._counting:
            self._connections += more
            self._board.bear(self._row, self._connections + 1 if self._accepts else 0)

    def take(self, partner: Partner, address: str, light: bool) -> Refusal | None:
        """Enter an association, unless there are too many."""
        entry = self._entry(partner, address)
        with self._board.turn():
            open_ = self._board.open_with(entry[: _ENTRY // 2], entry[_ENTRY // 2 :])
            refused = governance.refusal(self._limits, partner, open_, light=light)
            if refused is None:
                self._board.add(self._row, entry)
        return refused

    def leave(self, partner: Partner, address: str) -> None:
        """Strike out an association that was entered."""
        entry = self._entry(partner, address)
        with self._board.turn():
            self._board.remove(self._row, entry)

    def touched(self) -> None:
        """Count a connection that said nothing."""
        self._board.touch()

    def _entry(self, partner: Partner, address: str) -> bytes:
        return self._board.digest(b"partner", partner.name) + self._board.digest(b"address", address)
