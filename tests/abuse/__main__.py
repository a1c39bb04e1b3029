"""Every abuse against stock pynetdicom and against the node, as a table: `python -m tests.abuse [WORDS OF ITS NAME]`.

Each meets a freshly started target; time limits are the same for both, where pynetdicom has them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.abuse import ABUSES
from tests.abuse.ending import SIGTERM, ended_by_sigterm
from tests.abuse.siege import laid
from tests.abuse.targets import NodeTarget, Stock, Target
from tests.certificates import Authority


def main(words: list[str]) -> int:
    chosen = [each for each in _all() if all(word in each[0] for word in words)]
    for name, tls, run in chosen:
        print(f"\n{name}", flush=True)
        for kind in (Stock, NodeTarget):
            with tempfile.TemporaryDirectory(prefix="abuse-") as folder:
                plain = kind(Path(folder) / "target", Authority(Path(folder) / "authority"))
                with plain.secured() if tls else plain as target:
                    print(f"    {target.name:<12} {'; '.join(run(target)) or 'stands'}", flush=True)
    return 0 if chosen else 2


def _all() -> Iterator[tuple[str, bool, Callable[[Target], list[str]]]]:
    """Each abuse: its name, whether it is one of a TLS port, and what tells the faults of a running target."""
    for abuse in ABUSES:
        yield str(abuse), abuse.tls, partial(laid, abuse)
    yield f"T35 {SIGTERM}", False, ended_by_sigterm


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
