"""What supervisor and workers say to each other: these two classes and nothing else. Answers come pickled in a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.errors import Fault


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told: the configuration (or its file), and the descriptors that it inherits."""

    path: Path
    answer: int
    """Where to write: a byte when ready, or the pickled answer of a worker that ends by itself."""
    config: NodeConfig | None = None
    text: str = ""
    """The text that the configuration was read from."""
    generation: int = 0
    listeners: tuple[int, ...] = ()
    """Those of `node.binds`, in its order."""
    scoreboard: int = -1
    row: int = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker that ends by itself has found."""

    config: NodeConfig | None = None
    text: str = ""
    generation: int = 0
    faults: tuple[Fault, ...] = ()
