"""Schema steps, applied once each, in the order of their numbers. A step that has shipped is never edited."""

from __future__ import annotations

import importlib
import pkgutil


def steps() -> list[tuple[str, str]]:
    """The (name, SQL script) of every step, oldest first."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return [(name, importlib.import_module(f"{__name__}.{name}").SQL) for name in names]
