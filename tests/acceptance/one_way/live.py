"""One world, driven: a node that listens, real associations from every AE's own address, objects counted at each AE.

Acceptor, query, retrieve, forwarder and index are the node's own, on real sockets, in this process; there is no
supervisor above them, and of the lanes only what they do. What was seen that the oracle does not allow, or not seen
that it promises, is a line of `wrong`.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dicomnode.config.model import NodeConfig
from dicomnode.net.acceptor import Acceptor
from dicomnode.net.requestor import Requestor
from dicomnode.operations import forward
from dicomnode.operations.ports import Node, now
from dicomnode.store.archive import Archive, ulid
from dicomnode.store.database import Database, index_of
from tests import wire
from tests.acceptance.one_way import oracle
from tests.acceptance.one_way.worlds import PLANTS, World, Yaml
from tests.fakes import FakeSlots
from tests.integration.kit import query
from tests.receiver import Receiver
from tests.samples import CT_IMAGE, Sample, decode, make_instances, uid, with_uid

CARRYING = tuple(
    kind for kind in PLANTS if kind not in ("results_of_another", "expected_of_another", "pull_from_a_public_site")
)
"""Planted reverse paths that can be driven. By the others we would ask, or believe: the configuration ends them."""
_FIND, _MOVE, _GET = wire.STUDY_ROOT_FIND, wire.STUDY_ROOT_MOVE, wire.STUDY_ROOT_GET
_CONTEXTS = [(uid, (wire.EXPLICIT_LE,)) for uid in (_FIND, _MOVE, _GET, CT_IMAGE)]
_RIGHTS = {1: "find", 3: "move", 5: "get", 7: "store"}
"""By their contexts; that of storing is for C-GET too."""
_STRANGERS = 3
"""Callers that come from where they should not."""
_FETCHES, _MOVES = 3, 3
"""Studies that each caller fetches, and titles that it moves something to."""
_BACK = 2
"""Studies that each AE sends back."""
_NOBODY = "2.25.404"
"""A study that there is nowhere."""


@dataclass
class Study:
    """One instance that somebody has stored, the site that it is of, and the partners that it is referred to."""

    sample: Sample
    site: str
    referrals: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    """The places at which it was expected to arrive so far."""


@functools.cache
def _template() -> Sample:
    (sample,) = make_instances(1)
    return sample


def _sample(seed: str) -> Sample:
    """An instance of a study of its own."""
    instance, study, series = (uid(seed, level) for level in ("instance", "study", "series"))
    dataset = with_uid(_template().dataset, instance, study=study, series=series)
    return replace(_template(), sop_instance=instance, study=study, series=series, dataset=dataset)


def _offered(assoc: wire.Association) -> set[str]:
    """The rights that somebody was given by negotiation."""
    got = {_RIGHTS[number] for number in assoc.accepted}
    stores, fetches = assoc.roles.get(CT_IMAGE, (0, 0))
    assert bool(fetches) == ("get" in got), "C-GET is of no use without storing back, nor that without it"
    return got if stores else got - {"store"}


def _got(assoc: wire.Association, study: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The responses to a C-GET of a study, and what came."""
    asked = query("STUDY", {"StudyInstanceUID": study})
    responses, stored = assoc.get(_GET, asked)
    return responses, [str(message["AffectedSOPInstanceUID"]) for message in stored]


class Live:
    """A world on this machine. `parse` makes the configuration of its text: with all its checks, or without some."""

    def __init__(self, world: World, folder: Path, parse: Callable[[str, Path], NodeConfig]) -> None:
        self.world, self.folder, self._parse = world, folder, parse
        self.chance = random.Random(f"driven {world}")
        self.wrong: list[str] = []
        self.studies: list[Study] = []
        self.receivers: dict[str, Receiver] = {}

    def run(self) -> list[str]:
        """Everybody does everything; what was wrong."""
        with ExitStack() as stack:
            self.config = self._placed(stack)
            self.port = stack.enter_context(self._listening())
            for each in (self.come_from_elsewhere, self.store, self.visit, self.look_again, self.send_back):
                each()
        return self.wrong

    def _expect(self, seen: object, allowed: object, what: str) -> None:
        if seen != allowed:
            self.wrong.append(f"{self.world}: {what}: {seen}, and the oracle says {allowed}")

    # -- the machine -----------------------------------------------------------------------------------------------

    def _placed(self, stack: ExitStack) -> Yaml:
        """The world's configuration, with a receiver at each of its places and the ports that they have here."""
        for partner in self.world.config["partners"].values():
            if "port" in partner and (place := f"{partner['host']}:{partner['port']}") not in self.receivers:
                self.receivers[place] = stack.enter_context(Receiver(host=partner["host"]))
        config: Yaml = copy.deepcopy(self.world.config)
        ports = {place: receiver.port for place, receiver in self.receivers.items()}
        for partner in config["partners"].values():
            if "port" in partner:
                partner["port"] = ports[f"{partner['host']}:{partner['port']}"]
            for key, called in partner.get("confirm", {}).items():
                if key in ("find", "commit"):
                    title, _, place = called.partition("@")
                    partner["confirm"][key] = f"{title}@{place.partition(':')[0]}:{ports[place]}"
        self.receivers = {f"{it.host}:{it.port}": it for it in self.receivers.values()}
        return config

    @contextmanager
    def _listening(self) -> Iterator[int]:
        config = self._parse(json.dumps(self.config), self.folder / "dicomnode.yaml")  # which is YAML too
        archive = Archive(config.node.data, ulid(), 0)
        archive.prepare()
        database = Database(index_of(config.node.data))
        database.migrate()
        self.node = Node(config, 1, archive, database, now)
        self.requestor = Requestor(config)
        listener = socket.create_server(("127.0.0.1", 0))
        acceptor = Acceptor([(listener, None)], self.node, FakeSlots())
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            acceptor.drain(5)
            self.requestor.close()
            database.close()

    def _associate(self, partner: str, address: str = "") -> wire.Association:
        """Everything is proposed; storing in both roles, so that it comes back what each may."""
        titles = "REFERNODE", oracle.title(self.config, partner)
        at = address or self._address(partner)
        return wire.Association(
            "127.0.0.1", self.port, *titles, _CONTEXTS, source_address=at, roles={CT_IMAGE: (1, 1)}
        )

    def _address(self, partner: str) -> str:
        it = self.config["partners"][partner]
        return str(it.get("host", it.get("address")))

    def _callers(self, right: str) -> list[str]:
        """Who has a right, and is known by title and address."""
        return [p for p in self.config["partners"] if right in oracle.offered(self.config, p) and self._is_known(p)]

    def _is_known(self, partner: str) -> bool:
        return oracle.admitted(self.config, oracle.title(self.config, partner), self._address(partner)) == partner

    def _forward(self) -> None:
        """Until nothing is left to send."""
        partners = list(self.node.config.partners.values())
        for partner in partners:
            while partner.is_destination and forward.forward(partner, self.requestor, self.node, lambda: False):
                pass

    def _arrived(self, study: Study) -> set[str]:
        """The places that have it."""
        it = study.sample.sop_instance
        return {at for at, receiver in self.receivers.items() if any(r.sop_instance == it for r in receiver.received)}

    def _compare(self, what: str) -> None:
        """Every study is where the oracle says, and nowhere else."""
        for study in self.studies:
            self._expect(self._arrived(study), study.told, f"{what}, a study of {study.site} came to")

    def _place(self, partner: str) -> str:
        return "{host}:{port}".format(**self.config["partners"][partner])

    def _site(self, partner: str) -> str:
        return oracle.site_of(self.config, partner)

    # -- what everybody does ---------------------------------------------------------------------------------------

    def come_from_elsewhere(self) -> None:
        """From the address of another site's AE one is somebody else, or nobody."""
        for partner in self.chance.sample(list(self.config["partners"]), _STRANGERS):
            others = [p for p in self.config["partners"] if self._site(p) != self._site(partner)]
            address = self._address(self.chance.choice(others))
            title = oracle.title(self.config, partner)
            known = oracle.admitted(self.config, title, address)
            try:
                with self._associate(partner, address) as assoc:
                    rights = oracle.offered(self.config, known) if known else "nothing"
                    self._expect(_offered(assoc), rights, f"{title} from {address} was offered")
            except wire.Rejected as rejected:
                said = (rejected.result, rejected.source, rejected.reason)
                self._expect((said, known), ((1, 1, 3), None), f"{title} from {address} was refused")

    def store(self) -> None:
        """Whoever may, stores a study; routes carry it."""
        for partner in self._callers("store"):
            study = Study(_sample(f"{self.world} {partner}"), self._site(partner))
            self._stored(partner, study)
            self.studies.append(study)
        self._forward()
        self._compare("by routes")

    def _stored(self, partner: str, study: Study) -> None:
        with self._associate(partner) as assoc:
            self._expect(assoc.send_sample(study.sample), 0, f"{partner} stores")
        study.referrals |= oracle.referred(self.config, partner, study.site)
        reached = {p for p in study.referrals if oracle.reachable(self.config, study.site, p)}
        study.told |= {self._place(p) for p in reached}

    def visit(self) -> None:
        """Everybody calls, and asks for whatever it may."""
        for partner in filter(self._is_known, self.config["partners"]):
            with self._associate(partner) as assoc:
                got = _offered(assoc)
                self._expect(got, oracle.offered(self.config, partner), f"{partner} was offered")
                for right, ask in (("find", self.query), ("get", self.fetch), ("move", self.move)):
                    if right in got:
                        ask(partner, assoc)

    def look_again(self) -> None:
        """What public callers see is more, by what was moved."""
        for partner in self._callers("find"):
            if oracle.sector(self.config, self._site(partner)) == "public":
                with self._associate(partner) as assoc:
                    self.query(partner, assoc)

    def query(self, partner: str, assoc: wire.Association) -> None:
        """Asks for all studies."""
        *answers, (final, _) = assoc.find(_FIND, query("STUDY", {"StudyInstanceUID": ""}))
        self._expect(final, 0, f"the query of {partner} ended with")
        seen = {str(decode(raw).StudyInstanceUID) for _, raw in answers}
        self._expect(self._names(seen), self._names(self._visible(partner)), f"{partner} sees")

    def _visible(self, caller: str) -> set[str]:
        return {s.sample.study for s in self.studies if oracle.visible(self.config, caller, s.site, s.referrals)}

    def _names(self, uids: Iterable[str]) -> dict[str, list[str]]:
        """Studies by their sites: a UID says nothing to who reads that a test has failed."""
        found = defaultdict(list)
        sites = {study.sample.study: study.site for study in self.studies}
        for each in sorted(uids):
            found[sites.get(each, "?")].append(each[-4:])
        return dict(found)

    def fetch(self, partner: str, assoc: wire.Association) -> None:
        """Fetches studies to itself: what it does not see answers as what there is not."""
        visible, nothing = self._visible(partner), _got(assoc, _NOBODY)
        for study in self.chance.sample(self.studies, min(_FETCHES, len(self.studies))):
            sees, got = study.sample.study in visible, _got(assoc, study.sample.study)
            wanted = [study.sample.sop_instance] if sees else []
            self._expect(got[1], wanted, f"{partner} fetches a study of {study.site}:")
            if not sees:
                self._expect(got, nothing, f"{partner} is answered, of a study of {study.site},")

    def move(self, partner: str, assoc: wire.Association) -> None:
        """Moves studies that it sees and that it does not to titles that there are and that there are not."""
        titles = sorted({oracle.title(self.config, p) for p in self.config["partners"]} | {"NOWHERE"})
        for title in self.chance.sample(titles, min(_MOVES, len(titles))):
            self._moved(partner, title, self._one_of(self._visible(partner)), assoc)

    def _one_of(self, visible: set[str]) -> Study:
        """A study; more often one that is seen."""
        seen = [study for study in self.studies if study.sample.study in visible]
        return self.chance.choice(seen if seen and self.chance.random() < 0.7 else self.studies)

    def _moved(self, partner: str, title: str, study: Study, assoc: wire.Association) -> None:
        sees = study.sample.study in self._visible(partner)
        to = oracle.moved_to(self.config, partner, title, study.site)
        before = {at: len(receiver.requests) for at, receiver in self.receivers.items()}
        asked = query("STUDY", {"StudyInstanceUID": study.sample.study})
        status = assoc.move(_MOVE, asked, title)[-1]["status"]
        called = {at for at, receiver in self.receivers.items() if len(receiver.requests) > before[at]}
        what = f"{partner} moves a study of {study.site} to {title}:"
        if not sees:
            self._expect(called, set(), f"{what} unseen, it called")
        elif to is None:
            self._expect((called, status), (set(), 0xA801), what)
        else:
            self._expect((called, status), ({self._place(to)}, 0), what)
            study.told.add(self._place(to))
            if study.site != self._site(to):
                study.referrals.add(to)
        self._compare(what)

    def send_back(self) -> None:
        """Who may store what it was sent, stores it again: it is still of the site that it came from."""
        for partner in self._callers("store"):
            came = [s for s in self.studies if self._at(partner) in s.told]
            for study in came[:_BACK]:
                self._stored(partner, study)
        self._forward()
        self._compare("sent back")
        self.look_again()

    def _at(self, partner: str) -> str:
        return self._place(partner) if "port" in self.config["partners"][partner] else ""
