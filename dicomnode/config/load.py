"""YAML → NodeConfig, or ALL faults of the file, each with its path and line.

Promises: every fault that can be seen is reported at once, in words for the person who wrote the file; whatever the
text, nothing but ConfigurationError is raised for it. Every value is taken as the text that stands in the file, so
`NO`, `0104` and `12:30` are what they look like. Never: a tag, an alias or an object is constructed, or another file
read. The same text always gives equal configurations.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from dicomnode.config import conditions, units
from dicomnode.config.contradictions import Draft, contradictions
from dicomnode.config.document import LARGEST, TOO_LARGE, Data, Document
from dicomnode.config.model import DEFAULT_FLOWS, Flow, Node, NodeConfig, Partner, Route, Site, Where
from dicomnode.config.parts import (
    Audit,
    Certificate,
    Coerce,
    Confirm,
    Expect,
    Issuer,
    Limits,
    Retention,
    Tls,
    User,
    Watermarks,
)
from dicomnode.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_Part = TypeVar("_Part", bound=BaseModel)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of one map in the file; `later` are those of the contract that this version does not honour yet."""

    now: tuple[str, ...]
    later: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    """What is asked for, and is not what this node is for."""


_NEVER = "is not for this node, which carries a patient's own studies: de-identify for research elsewhere (PS3.15 E)"
_REFERENCES = {
    "site": ("sites",),
    "from": ("sites", "partners"),
    "to": ("partners",),
    "results_from": ("partners",),
}
_TOP = _Keys(("node", "issuers", "sites", "flows", "partners", "routes"))
_KEYS: dict[type[BaseModel], _Keys] = {
    Limits: _Keys(tuple(Limits.model_fields)),
    Watermarks: _Keys(tuple(Watermarks.model_fields)),
    Retention: _Keys(tuple(Retention.model_fields)),
    Confirm: _Keys(tuple(Confirm.model_fields)),
    Expect: _Keys(("from", "within")),
    Node: _Keys(
        ("ae_title", "aliases", "bind", "tls", "data", "database", "acceptors", "storage_classes", "deflated",
         "limits", "watermarks", "retention", "audit", "operators"),
        ("metrics",),
    ),
    Tls: _Keys(("bind", "certificate", "key", "ca", "crl")),
    Audit: _Keys(tuple(Audit.model_fields)),
    Issuer: _Keys(("check", "pattern")),
    Site: _Keys(("sector", "name", "patient_id_issuer", "accession_issuer", "timezone")),
    Certificate: _Keys(tuple(Certificate.model_fields)),
    User: _Keys(tuple(User.model_fields)),
    Coerce: _Keys(tuple(Coerce.model_fields), never=("deidentify",)),
    Partner: _Keys(
        ("site", "ae_title", "address", "host", "port", "may", "tls", "associations", "max_associations", "confirm",
         "skip_classes", "window", "bandwidth", "give_up_after", "charset", "transcode", "user", "coerce", "iocm",
         "pull", "worklist"),
        never=("deidentify",),
    ),
    Route: _Keys(
        ("name", "from", "when", "only", "to", "wait", "expect", "priority", "require", "consent", "identity"),
    ),
}  # fmt: skip
_GROUP = _Keys(("failover", "balance", "after"))
"""The map that may stand for the partners of a route."""
_PARTS: dict[type[BaseModel], dict[str, type[BaseModel]]] = {
    Node: {"limits": Limits, "watermarks": Watermarks, "retention": Retention, "tls": Tls, "audit": Audit},
    Partner: {"confirm": Confirm, "certificate": Certificate, "user": User, "coerce": Coerce},
    Route: {"expect": Expect},
}
"""Keys whose value is a map with keys of its own."""
_FILES = {Node: ("data",), Tls: ("certificate", "key", "ca", "crl"), User: ("passcode",)}
"""Keys that name a file or folder."""
_WRITTEN = {"sources": "from", "partner": "from", "bind_host": "bind", "bind_port": "bind", "after": "to"}
"""Fields of the models → the key in the file, where that has another name."""


def load(path: Path) -> NodeConfig:
    """The configuration in the file; ConfigurationError with every fault, also where the file cannot be read."""
    return parse(text_of(path), path)


def text_of(path: Path) -> str:
    """The text of the file. ConfigurationError: it cannot be read, or is no text."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ConfigurationError((Fault("", 0, TOO_LARGE),))
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        advice = "name another with -c or DICOMNODE_CONFIG, or begin with a copy of config/dicomnode.yaml"
        raise ConfigurationError((Fault("", 0, f"there is no file {path}; {advice}"),)) from None
    except OSError as error:
        raise ConfigurationError((Fault("", 0, f"{path} cannot be read: {error.strerror}"),)) from None
    except UnicodeDecodeError:
        raise ConfigurationError((Fault("", 0, f"{path} is not UTF-8 text"),)) from None


def parse(text: str, path: Path) -> NodeConfig:
    """The configuration in a text; relative paths in it are relative to the folder of `path`. ConfigurationError."""
    document = Document(text)
    config = _Loader(document, path.parent).config()
    if config is None:
        raise ConfigurationError(tuple(sorted(document.faults.values(), key=lambda fault: (fault.line, fault.path))))
    return config


def data_of(text: str, path: Path) -> Path | None:
    """The data folder that a text names, whatever else is wrong with it; None where it names none."""
    top = Document(text).read()
    node = top.get("node") if isinstance(top, dict) else None
    data = node.get("data", "data") if isinstance(node, dict) else None
    return Path(os.path.abspath(path.parent / data)) if isinstance(data, str) else None


def line_of(text: str, where: Where) -> int:
    """The line, from 1, of a key path such as `("routes", 0, "to")`; of its nearest parent that the text has."""
    return lines_of(text)(where)


def lines_of(text: str) -> Callable[[Where], int]:
    """As `line_of`, for many paths: the text is read once."""
    document = Document(text)
    document.read()
    return document.line


class _Loader:
    """Plain data → models: each part by itself, so that a fault in one hides none in another; then all together."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.top = self._known(document.read(), (), _TOP)

    def config(self) -> NodeConfig | None:
        """The configuration; None where the document has faults."""
        sites, partners = self._section("sites"), self._section("partners")
        draft = Draft(
            node=self._part(Node, self.top.get("node"), ("node",)),
            flows=self._flows(),
            sites=self._named(Site, sites, "sites", "key"),
            partners=self._named(Partner, partners, "partners", "name"),
            routes=self._routes(),
            issuers=self._named(Issuer, self._section("issuers"), "issuers", "key"),
            site_names=frozenset(sites),
            partner_names=frozenset(partners),
        )
        self._compare(draft)
        if self.document.faults or draft.node is None or draft.flows is None:
            return None
        return _whole(draft.node, draft.flows, draft)

    def _compare(self, draft: Draft) -> None:
        """Notes in what the parts disagree, where both lists of names could be read."""
        if not {("sites",), ("partners",)} & self.document.unread:
            for found in contradictions(draft):
                other = f" (line {self.document.line(found.other)})" if found.other else ""
                self.document.fault(found.where, found.text + other)

    def _section(self, name: str) -> dict[str, Data]:
        data = self.top.get(name)
        if isinstance(data, dict):
            return data
        if data is not None:
            self.document.give_up((name,), "is a map: each entry has a name, a ':' and its keys")
        return {}

    def _named(self, model: type[_Part], section: dict[str, Data], name: str, key: str) -> dict[str, _Part]:
        parts = {entry: self._part(model, data, (name, entry), **{key: entry}) for entry, data in section.items()}
        return {entry: part for entry, part in parts.items() if part is not None}

    def _routes(self) -> dict[int, Route]:
        data = self.top.get("routes")
        if data is not None and not isinstance(data, list):
            self.document.give_up(("routes",), "is a list: each route begins with '- name:'")
        items = data if isinstance(data, list) else []
        parts = {position: self._part(Route, item, ("routes", position)) for position, item in enumerate(items)}
        return {position: part for position, part in parts.items() if part is not None}

    def _flows(self) -> tuple[Flow, ...] | None:
        """The flows, the default ones where the file has none; None where they cannot be read."""
        if "flows" not in self.top:
            return DEFAULT_FLOWS
        items = self._read(units.several, self.top["flows"], ("flows",)) or []
        lines = [self._read(units.text, item, ("flows", position)) for position, item in enumerate(items)]
        flows = [self._make(Flow, line, ("flows", position)) for position, line in enumerate(lines)]
        return tuple(flow for flow in flows if flow) if None not in flows else None

    def _part(self, model: type[_Part], data: Data, where: Where, **given: str) -> _Part | None:
        shape: dict[str, Any] = self._known(data, where, _KEYS[model])
        for key in [key for key, value in shape.items() if value is None or (key == "address" and not value)]:
            self.document.fault((*where, key), "has no value; give it one, or remove the line")
            del shape[key]
        if isinstance(shape.get("to"), dict):
            self._settle_group(shape, (*where, "to"))
        for key in shape.keys() & _REFERENCES.keys() - ({"to"} if "among" in shape else set()):
            self._refer(shape[key], (*where, key), ("partners",) if model is Expect else _REFERENCES[key])
        self._settle(model, shape, where)
        return self._make(model, {**shape, **given}, where)

    def _known(self, data: Data, where: Where, keys: _Keys) -> dict[str, Data]:
        """The entries of a map whose keys exist; the others are faults."""
        if data is not None and not isinstance(data, dict):
            self.document.give_up(where, f"is a map of keys and values: {', '.join(keys.now)}")
        entries = data if isinstance(data, dict) else {}
        for key in entries.keys() - set(keys.now):
            text = f"unknown key {units.quoted(key)}{units.suggestion(key, keys.now)}"
            later = f"{units.quoted(key)} is not available in this version"
            text = _NEVER if key in keys.never else later if key in keys.later else text
            self.document.fault((*where, key), text)
        return {key: value for key, value in entries.items() if key in keys.now}

    def _refer(self, value: Data, where: Where, sections: tuple[str, ...]) -> None:
        """Notes the names that are in none of these sections, whatever else is wrong with the part that has them."""
        known = {name for section in sections for name in self._section(section)}
        if any((section,) in self.document.unread for section in sections):
            return
        for position, name in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(name, str) and name not in known:
                what = " or ".join(section.removesuffix("s") for section in sections)
                text = f"unknown {what} {units.quoted(name)}{units.suggestion(name, known)}"
                self.document.fault((*where, position), text)

    def _settle(self, model: type[BaseModel], shape: dict[str, Any], where: Where) -> None:
        """Turns what the file says of a part into what its model holds."""
        if "from" in shape:
            shape["partner" if model is Expect else "sources"] = shape.pop("from")
        if "bind" in shape and (address := self._read(units.bind, shape.pop("bind"), (*where, "bind"))):
            shape["bind_host"], shape["bind_port"] = address
        if model is Node:
            shape.setdefault("data", "data")
        if isinstance(shape.get("confirm"), str):
            shape["confirm"] = {"by": shape["confirm"]}
        if model is Partner and isinstance(shape.get("tls"), dict):
            shape["certificate"] = shape.pop("tls")
        if isinstance(shape.get("wait"), dict):
            self._settle_wait(shape, where)
        for key in shape.keys() & {"when", "only"}:
            shape[key] = conditions.read(shape[key], (*where, key), self.document.fault)
        for key, part in _PARTS.get(model, {}).items():
            if key in shape:
                self._settle_part(part, key, shape, where)
        for key in shape.keys() & set(_FILES.get(model, ())):
            path = self._read(units.text, shape[key], (*where, key))
            shape[key] = Path(os.path.abspath(self.folder / (path or "")))

    def _settle_part(self, part: type[BaseModel], key: str, shape: dict[str, Any], where: Where) -> None:
        place = (*where, "tls" if part is Certificate else key)
        made = self._part(part, shape.pop(key), place)
        if made:
            shape[key] = made
        else:
            self.document.unread.add(place)  # that others miss it is only a consequence
        if part is Certificate:
            shape["tls"] = "true" if made else ""  # as of a partner that cannot be read: nothing else is said of it

    def _settle_wait(self, shape: dict[str, Any], where: Where) -> None:
        """A quiet time by modality: the model has the default apart."""
        waits = self._read(units.durations, shape.pop("wait"), (*where, "wait")) or {}
        if "default" in waits:
            shape["wait"] = waits.pop("default")
        if waits:
            shape["waits"] = waits

    def _settle_group(self, shape: dict[str, Any], where: Where) -> None:
        """Partners of which one gets a study: the model has them as any others, and apart that they share it."""
        written = shape.pop("to")
        named = [key for key in ("failover", "balance") if key in written]
        if len(named) != 1:
            self.document.give_up(where, "is a list of partners, or a map of one such list: failover, or balance")
            return
        group = self._known(written, where, _GROUP)
        self._refer(group[named[0]], (*where, named[0]), _REFERENCES["to"])
        shape |= {"to": group[named[0]], "among": named[0]} | ({"after": group["after"]} if "after" in group else {})

    def _read(self, reading: Callable[[Any], _Value], value: Data, where: Where) -> _Value | None:
        try:
            return reading(value)
        except ValueError as error:
            self.document.fault(where, str(error))
            return None

    def _make(self, model: type[_Part], shape: object, where: Where) -> _Part | None:
        try:
            return model.model_validate(shape)
        except ValidationError as error:
            for found in error.errors(include_url=False):
                self.document.fault((*where, *_place(model, found["loc"])), _sentence(found))
            return None


def _place(model: type[BaseModel], loc: Where) -> Where:
    """pydantic's place within a part as it is in the file; the part itself for what the file has no key for."""
    place = tuple(_WRITTEN.get(str(step), step) for step in loc if step != "[key]")
    return place if place and model in _KEYS and place[0] in _KEYS[model].now else ()


def _sentence(found: ErrorDetails) -> str:
    if found["type"] == "missing":
        return "is missing"
    return str(found["ctx"]["error"]) if found["type"] == "value_error" else "is not what this key means"


def _whole(node: Node, flows: tuple[Flow, ...], draft: Draft) -> NodeConfig:
    """The configuration of a draft without contradictions; a route without `from` takes from every private site."""
    private = tuple(site.key for site in draft.sites.values() if site.sector == "private")
    routes = tuple(
        route if route.sources else route.model_copy(update={"sources": private}) for route in draft.routes.values()
    )
    return NodeConfig(
        node=node, issuers=draft.issuers, sites=draft.sites, flows=flows, partners=draft.partners, routes=routes
    )
