"""One YAML document → texts, lists and maps, with the line of each, and the faults of the document collected.

Every scalar is the text that stands in the file, so `NO`, `0104` and `12:30` are what they look like. Never: a tag, an
alias or an object is constructed, or another file read. Whatever the text, nothing is raised for it but to be caught
here: what is wrong becomes a Fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from dicomnode.config import units
from dicomnode.config.model import Where
from dicomnode.errors import Fault

LARGEST = 1 << 20
"""Bytes of the largest file that is read."""
TOO_LARGE = "the file is larger than 1 MiB, and so no configuration"
_DEEPEST = 16
_SYNTAX = (
    ("'\\t'", "there is a tab here; YAML is indented with spaces"),
    ("mapping values are not allowed", "a ':' where there can be none: check the indentation, or quote the text"),
    ("expected <block end>", "this line is indented differently from those that it belongs with, or a quote is open"),
    ("could not find expected ':'", "a key without its ':'"),
    ("end of stream", "a quote is opened and never closed"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("escape", "a backslash in double quotes has a meaning of its own; use single quotes"),
    ("cannot start any token", "a text that begins with this character is written in quotes"),
)

Data: TypeAlias = str | list["Data"] | dict[str, "Data"] | None


class _Stop(Exception):
    """The text is such that reading on would only find consequences: what is wrong, and its line (0: none)."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


class Document:
    """Reads YAML events into texts, lists and maps, knows the line of each, and collects the faults of the file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self.lines: dict[Where, int] = {(): 1}
        self.faults: dict[Where, Fault] = {}
        self.unread: set[Where] = set()

    def line(self, where: Where) -> int:
        """The line of a place, or of its nearest parent in the file."""
        while where not in self.lines:
            where = where[:-1]
        return self.lines[where]

    def fault(self, where: Where, text: str, line: int | None = None) -> None:
        """Notes what is wrong at a place, unless something is already, or it could not be read to begin with."""
        if any(where[:depth] in self.unread for depth in range(len(where) + 1)):
            return
        while where not in self.lines and where and isinstance(where[-1], int):
            where = where[:-1]  # a single text that counts as a list of one
        found = Fault(".".join(map(str, where)), self.line(where) if line is None else line, text)
        self.faults.setdefault(where, found)

    def give_up(self, where: Where, text: str, line: int | None = None) -> None:
        """Notes what is wrong with all of a place: whatever else is seen there is only a consequence."""
        self.fault(where, text, line)
        self.unread.add(where)

    def read(self) -> Data:
        """The whole text as plain data; None, and a fault, where it is not one YAML document."""
        try:
            if len(self.text.encode("utf-8", "surrogatepass")) > LARGEST:
                raise _Stop(TOO_LARGE, 0)
            return self._document()
        except _Stop as stop:
            self.give_up((), str(stop), stop.line)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            self.give_up((), _in_words(error.problem or ""), line)
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            self.give_up((), "there is a control character here, which a text file does not have", line)
        except (ValueError, OverflowError):  # PyYAML lets these out, on "\UFFFFFFFF" and on %YAML with a long number
            self.give_up((), "there is an escape in double quotes that names no character, or a '%YAML' line", 0)
        return None

    def _document(self) -> Data:
        data: Data = None
        begun = False
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and begun:
                raise _Stop("a second document begins here; a configuration is one", _line(event))
            if isinstance(event, yaml.NodeEvent):
                data, begun = self._value(event, ()), True
        return data

    def _value(self, event: Any, where: Where) -> Data:
        self.lines.setdefault(where, _line(event))
        if len(where) > _DEEPEST:
            raise _Stop("maps and lists are nested deeper than any key needs", _line(event))
        if isinstance(event, yaml.AliasEvent):
            text = f"{units.quoted(f'*{event.anchor}')} is an alias, which is not used here: write the value out"
            self.give_up(where, text, _line(event))
            return None
        if event.anchor or event.tag:
            mark = f"&{event.anchor}" if event.anchor else event.tag
            self.fault(where, f"{units.quoted(mark)}: anchors (&) and tags (!) are not used here", _line(event))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(where)
        return self._map(where) if isinstance(event, yaml.MappingStartEvent) else self._scalar(event, where)

    def _list(self, where: Where) -> Data:
        items: list[Data] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*where, len(items))))
        return items

    def _map(self, where: Where) -> Data:
        items: dict[str, Data] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = (*where, _key(event))
            if place[-1] in items:
                self.fault(place, f"is here a second time; first on line {self.lines[place]}", _line(event))
            self.lines.setdefault(place, _line(event))
            items.setdefault(str(place[-1]), self._value(next(self.events), place))
        return items

    def _scalar(self, event: Any, where: Where) -> Data:
        if event.style is None and event.value in ("", "~", "null", "Null", "NULL"):
            return None
        if units.unprintable(event.value):
            self.give_up(where, "contains a line break or control character", _line(event))
            return None
        return str(event.value)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _key(event: Any) -> str:
    if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
        raise _Stop("a key is one word: no list, map, alias, anchor or tag", _line(event))
    if not event.value or units.unprintable(event.value):
        raise _Stop("a key is empty, or contains a line break or control character", _line(event))
    return str(event.value)


def _in_words(problem: str) -> str:
    """PyYAML's name for a problem, in words that help."""
    return next((words for fragment, words in _SYNTAX if fragment in problem), f"is not YAML: {problem}")
