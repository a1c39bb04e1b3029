"""A minute of fuzzing (T52): the message assembly alone for a part of it, then a node. scripts/soak has an hour.

What fails names its seed: DICOMNODE_FUZZ_SEED=… begins with the round that failed.
"""

from __future__ import annotations

import pytest

from tests.fuzz import rounds
from tests.fuzz.__main__ import alone, talked_to

_ALONE, _TALKED_TO = 10.0, 40.0
"""Seconds; starting the node, and looking it over, takes the rest of the minute."""


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of every UID that is none
def test_no_conversation_does_harm(capsys: pytest.CaptureFixture[str]) -> None:
    first = rounds.first_seed()
    with capsys.disabled():
        print(f" {rounds.VARIABLE}={first} ", end="", flush=True)
    assert alone(_ALONE, first) > 0
    assert talked_to(_TALKED_TO, first) > 0
