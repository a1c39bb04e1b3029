"""demo --pilot: a hospital has referred 328 patients to 31 private centres, and every study comes home but ten.

Five are of the wrong patient, three of two patients at once, and for two there is no consent. The node is real, and so
are the others: Orthanc, dcmsend, findscu, each centre at an address of its own. `run` tells the story, and raises
DicomnodeError unless it ends as it must: by the node's word, and by the hospital's, which is asked without the node.
What was seen stands in `pilot.json`. All that was started is ended, whatever happens.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dicomnode.cli import pilot_images as images
from dicomnode.cli import pilot_parties as parties
from dicomnode.cli import pilot_scene as scene
from dicomnode.cli import stage
from dicomnode.cli.opening import Place
from dicomnode.cli.output import count
from dicomnode.cli.pilot_parties import Call, Hospital, Kept
from dicomnode.cli.pilot_scene import Referred, Wrong
from dicomnode.cli.stage import LOCAL
from dicomnode.errors import DicomnodeError
from dicomnode.operations import explain
from dicomnode.operations.ports import Node
from dicomnode.rules.figures import FEWEST
from dicomnode.rules.standing import Conclusion
from dicomnode.store import referrals
from dicomnode.store.referrals import Gate, Progress, Referral

_AT_ONCE: Final = 6
_GATES: Final = {Wrong.NO_CONSENT: Gate.HELD, None: Gate.OPEN}
"""Where a study ends for what is wrong with it; all else ends in quarantine."""


def run(folder: Path) -> None:
    """Tell the story, in an empty folder."""
    parties.need_all()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all of it is ended then, too
    try:
        _Pilot(folder).run()
    finally:
        signal.signal(signal.SIGTERM, before)


class _Pilot:
    """One run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._config = folder, folder / "dicomnode.yaml"
        self._ports = stage.free_ports(2)
        self._all = scene.referred()
        self._by_uid = {each.study_instance_uid: each for each in self._all}

    def run(self) -> None:
        print(f"1. {count(len(self._all), 'study', 'studies')} of {scene.CENTRES} centres are made in {self._folder}.")
        scene.write(self._folder, self._ports[0], self._ports[1], self._all)
        images.write(self._folder, self._all, datetime.now())
        with ExitStack() as held:
            print("2. The hospital's Orthanc starts, and the node.")
            hospital, call = self._start(held)
            print("3. The hospital's referrals are imported before anybody is examined:")
            stage.dicomnode(self._config, "referrals", "import", str(self._folder / "referrals.csv"))
            print(f"4. The centres send, {_AT_ONCE} at a time:")
            self._send(call)
            print("5. A workstation of the first centre asks:")
            queries = self._ask(call)
            print("6. The node does what is left to do:")
            with Place(self._config).node(remark=False) as node:
                found, told = self._watch(node), self._explained(node)
            print("7. The hospital is asked what it has, over HTTP, without the node:")
            kept = hospital.studies()
            print(f"   {count(len(kept), 'study', 'studies')}, {count(_instances(kept), 'instance')}")
            report = self._report()
        self._keep(kept, queries, found, told)
        self._tell(told)
        self._judge([*_astray(queries, self._all), *self._amiss(found, kept), *_misreported(report)])

    # -- the parties --

    def _start(self, held: ExitStack) -> tuple[Hospital, Callable[[Referred, str], Call]]:
        """The hospital, and how somebody of a centre calls the node; all ends with `held`."""
        from dicomnode.net import demonstration  # the network's libraries load slowly

        port, hospital_port = self._ports
        hospital = held.enter_context(parties.hospital(self._folder / "hospital", scene.HOSPITAL, hospital_port))
        held.enter_context(stage.serving(self._config, port, self._folder / "node.log"))
        addresses = [centre.address for centre in scene.centres()]
        ports = held.enter_context(demonstration.callers(addresses, (LOCAL, port)))

        def call(of: Referred, title: str) -> Call:
            return Call(title, scene.CALLED, of.centre.address, ports[of.centre.address])

        return hospital, call

    def _send(self, call: Callable[[Referred, str], Call]) -> None:
        senders = ThreadPoolExecutor(_AT_ONCE)
        try:
            with stage.progress("   sent") as bar:
                task = bar.add_task("", total=len(self._all))
                for done in as_completed([senders.submit(self._send_one, call, each) for each in self._all]):
                    done.result()
                    bar.advance(task)
        finally:
            senders.shutdown(cancel_futures=True)

    def _send_one(self, call: Callable[[Referred, str], Call], it: Referred) -> None:
        parties.send(call(it, it.source), sorted(images.study(self._folder, it).iterdir()))

    def _ask(self, call: Callable[[Referred, str], Call]) -> dict[str, list[str]]:
        """What the workstation of the first study's centre is answered."""
        asking, other = self._all[0], self._all[1]
        at = call(asking, asking.centre.workstation)
        found = {
            "own": parties.find(at, asking.study_instance_uid),
            "other": parties.find(at, other.study_instance_uid),
            "all": parties.find(at),
        }
        print(f"   for a study of its own: {len(found['own'])} found")
        print(f"   for a study of {other.centre.key}: {len(found['other']) or 'nothing'} found")
        print(f"   for all that there is: {len(found['all'])} found")
        return found

    # -- what comes of it --

    def _watch(self, node: Node) -> list[Referral]:
        """Wait until nothing is left to happen, or nothing happens any more; how it stands then."""
        with stage.progress("   at rest") as bar:
            task = bar.add_task("", total=len(self._all))
            seen, since = list[Referral](), time.monotonic()
            while sum(map(_rests, seen)) < len(self._all) and time.monotonic() - since < stage.PATIENCE:
                time.sleep(0.2)
                with node.database.read():
                    now = referrals.listed(len(self._all) + 1)
                since = since if now == seen else time.monotonic()
                seen = now
                bar.update(task, completed=sum(map(_rests, seen)))
        print(f"   {sum(map(_is_confirmed, seen))} confirmed, proven by {_proofs(seen)}")
        return seen

    def _explained(self, node: Node) -> dict[str, Conclusion]:
        """By Study Instance UID of those that are not where they were to go: why."""
        with node.database.read():
            stopped = [each for each in referrals.listed(len(self._all) + 1) if not _is_confirmed(each)]
        uids = sorted((each.study_instance_uid for each in stopped), key=list(self._by_uid).index)
        return {uid: explain.explain(uid, node).conclusions[0] for uid in uids}

    def _report(self) -> dict[str, Any]:
        """The public record, as JSON and as a page; around midnight its day may be another."""
        today = date.today()
        period = "--from", str(today - timedelta(2)), "--to", str(today + timedelta(1))
        stage.dicomnode(self._config, "report", *period, "--html", str(self._folder / "report.html"))
        text = stage.dicomnode(self._config, "report", *period, "--json", capture=True)
        (self._folder / "report.json").write_text(text, encoding="utf-8")
        report: dict[str, Any] = json.loads(text)
        return report

    # -- what is said of it --

    def _keep(
        self,
        kept: Mapping[str, Kept],
        queries: Mapping[str, Sequence[str]],
        found: Sequence[Referral],
        told: Mapping[str, Conclusion],
    ) -> None:
        seen = {
            "hospital": {uid: asdict(each) for uid, each in kept.items()},
            "queries": queries,
            "referrals": {each.study_instance_uid: each.state for each in found},
            "stopped": {uid: asdict(each) for uid, each in told.items()},
        }
        (self._folder / "pilot.json").write_text(json.dumps(seen, ensure_ascii=False, indent=1), encoding="utf-8")

    def _tell(self, told: Mapping[str, Conclusion]) -> None:
        print("8. What is not there, and why:")
        for uid, conclusion in told.items():
            it = self._by_uid[uid]
            print(f"\n   {it.number} of {it.centre.key} ({it.wrong or 'nothing wrong with it'})\n   {conclusion}")
        print("\n9. What is told the public of it (report.html is the same, as a page):\n")
        print(_figures(json.loads((self._folder / "report.json").read_text(encoding="utf-8"))))

    def _amiss(self, found: Sequence[Referral], kept: Mapping[str, Kept]) -> Iterator[str]:
        """What is not as it must be, by the node's word or by the hospital's."""
        states = {each.study_instance_uid: each for each in found}
        for uid, it in self._by_uid.items():
            state = states.get(uid)
            if state is None or not _is_right(it, state):
                yield f"{it.number}, {it.wrong or 'a clean study'}, is {state.state if state else 'not known'}"
            if kept.get(uid) != (None if it.wrong else _as_sent(it)):
                yield f"{it.number}, {it.wrong or 'a clean study'}: {_said(kept.get(uid))} at the hospital"
        yield from (f"the hospital has {uid}, which nobody sent" for uid in kept.keys() - self._by_uid.keys())

    def _judge(self, amiss: Sequence[str]) -> None:
        if amiss:
            raise DicomnodeError("it is not as it must be:\n" + "\n".join(f"  {each}" for each in amiss))
        clean = sum(each.wrong is None for each in self._all)
        print(f"All {clean} clean studies are at the hospital, whole, and nothing of the {scene.STOPPED} others.")


# -- one thing ---------------------------------------------------------------------------------------------------


def _is_confirmed(it: Referral) -> bool:
    return it.gate == Gate.OPEN and it.progress == Progress.CONFIRMED


def _rests(it: Referral) -> bool:
    """Whether nothing more comes of it by itself."""
    stopped = it.gate != Gate.OPEN and it.progress == Progress.COMPLETE
    return stopped or it.progress == Progress.CONFIRMED


def _is_right(it: Referred, found: Referral) -> bool:
    """Whether the node has done with a study what it is to do."""
    ended = Progress.COMPLETE if it.wrong else Progress.CONFIRMED
    return (found.gate, found.progress) == (_GATES.get(it.wrong, Gate.QUARANTINED), ended)


def _as_sent(it: Referred) -> Kept:
    """A study as the hospital is to have it: all of it, of its own patient."""
    return Kept(it.person.hkid, images.instance_uids(it))


def _said(kept: Kept | None) -> str:
    return "nothing of it is" if kept is None else f"{len(kept.sop_instance_uids)} of it, or not of its patient, are"


def _instances(kept: Mapping[str, Kept]) -> int:
    return sum(len(each.sop_instance_uids) for each in kept.values())


def _proofs(found: Sequence[Referral]) -> str:
    return " and ".join(sorted({each.proof for each in found if _is_confirmed(each)})) or "nothing"


def _astray(queries: Mapping[str, Sequence[str]], all_: Sequence[Referred]) -> Iterator[str]:
    """What the workstation found that it may not, or did not find that it may."""
    own = sorted(each.study_instance_uid for each in all_ if each.centre == all_[0].centre)
    wanted = {"own": [all_[0].study_instance_uid], "other": [], "all": own}
    for query, uids in wanted.items():
        if queries[query] != uids:
            yield f"the workstation found {len(queries[query])} studies instead of {len(uids)} (query: {query})"


def _misreported(report: Mapping[str, Any]) -> Iterator[str]:
    wanted = {"referred": scene.REFERRALS, "electronic": scene.REFERRALS - scene.STOPPED}
    for key, number in wanted.items():
        if abs(report["total"][key] - number) >= FEWEST:  # it is rounded, so that nobody is told by what is stopped
            yield f"the report says {key}: {report['total'][key]}, and not {number}"


def _figures(report: Mapping[str, Any]) -> str:
    total = report["total"]
    told = f"   {total['referred']} referred, {total['electronic']} sent, {total['confirmed']:.1%} of them confirmed"
    return "\n".join([told, *(f"   {studies} not there: {why}" for why, studies in report["failures"].items()), ""])
