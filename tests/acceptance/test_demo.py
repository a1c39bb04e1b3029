"""`dicomnode demo`: the whole way of a study on one screen, and everything that arrives is what was sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.node import Node


def test_the_demonstration_delivers_what_it_sent(node: Callable[..., Node]) -> None:
    done = node(start=False).cli("demo", timeout=120)
    assert done.code == 0, done
    assert "60 of 60 identical" in done.out
    assert "Traceback" not in done.out + done.err


def test_a_demonstration_of_a_folder_without_a_study_says_so(node: Callable[..., Node], tmp_path: Path) -> None:
    done = node(start=False).cli("demo", str(tmp_path), timeout=60)
    assert done.code in (1, 2), done
    assert str(tmp_path) in done.err
    assert "Traceback" not in done.err
