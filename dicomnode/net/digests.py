"""Is this what was received? What the bytes of a dataset amount to while they are read on their way out.

Where its CRC-32 was taken as it came, that is what counts: an eighth of the work of SHA-256, and damage of one place of
a file cannot pass it (any burst of up to 32 bits), nor other damage but for one time in four thousand million. Whoever
has all night compares by SHA-256: the scrubber, and whoever commits to keep an instance.
"""

from __future__ import annotations

import hashlib
import zlib

from dicomnode.operations.ports import Outgoing


class Digest:
    """The digest of what was seen so far of one instance."""

    def __init__(self, instance: Outgoing) -> None:
        self._instance = instance
        self._crc32 = 0
        self._sha256 = hashlib.sha256() if instance.crc32 is None else None

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        if self._sha256:
            self._sha256.update(data)
        else:
            self._crc32 = zlib.crc32(data, self._crc32)

    @property
    def fits(self) -> bool:
        """Whether all that was seen is the dataset that was received."""
        if self._sha256:
            return self._sha256.hexdigest() == self._instance.sha256
        return self._crc32 == self._instance.crc32
