"""How fast studies are found: C-FIND at STUDY level among 10,000 studies, and in the full run among 1,000,000 too.

What is asked is made of what there is (hoard.py), so that every question has as many answers as its case says; which
studies they are is looked at once, and their number each time. Asked for are the keys that a workstation's list shows.
The same studies are in Orthanc, sent to it with one small image of each modality: it has
a twentieth of the images to count.
"""

from __future__ import annotations

import calendar
import contextlib
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice

from tests import samples, wire
from tests.bench import cpu, hoard, peers, processes
from tests.bench.asking import Archive, Workstation
from tests.bench.hoard import Study
from tests.bench.load import LoadFailed
from tests.bench.plain import images
from tests.bench.scenario import NODE, Bench, Column, Outcome, Row, Run, in_turns, row
from tests.node import LOCAL, wait_until
from tests.upper_layer import EXPLICIT_LE, STUDY_ROOT_FIND

SMALL, LARGE = 10_000, 1_000_000
MILLION = f"{NODE}, 1,000,000 studies"
COLUMNS = (
    Column("p50", "p50 ms", 2, compared=True),
    Column("p99", "p99 ms", 2),
    Column("answers", "answers/s", compared=True),
    Column("cpu", "CPU ms/C-FIND", 2),
    Column("growth", "grown by MB", 1),
)
_ASKED = (
    *("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber"),
    "StudyDescription",
)
_COUNTS = ("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
_REST = 0.1
"""Seconds in which a server may still do what it owes to the last answer."""
_MOST = 25
"""Different questions of a case."""
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns, each of {times} questions on one association; everything
is asked for 3 times. Grown: how far the worst process that answers was, at its peak, above what it held before."""


@dataclass(frozen=True)
class Question:
    """An Identifier, and the Study Instance UIDs of what it has to find."""

    identifier: bytes
    finds: frozenset[str]


Keys = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """A kind of question: the keys by which a study would be found, and how many studies are to share them."""

    name: str
    matches: int
    keys: Callable[[Study], Iterable[Keys]]
    counts: bool = False
    """Whether what is counted is asked for."""


def by_patient(study: Study) -> Iterable[Keys]:
    return [(("PatientID", study.patient.patient_id),)]


def by_infix(study: Study) -> Iterable[Keys]:
    """*MAN* is in some of each hundred names, which are too many of a million: there, two characters more are asked."""
    name = _latin(study)
    places = [at for at in range(len(name)) if name.startswith("MAN", at)]
    infixes = {name[at : at + length].strip() for at in places for length in (3, 5)}
    return [(("PatientName", f"*{infix}*"), _month(study)) for infix in infixes]


def by_modality(study: Study) -> Iterable[Keys]:
    return [(("ModalitiesInStudy", modality), _month(study)) for modality in set(study.modalities)]


def by_prefix(study: Study) -> Iterable[Keys]:
    name = _latin(study)
    return [(("PatientName", f"{name[:length]}*"),) for length in range(3, len(name) + 1)]


def _latin(study: Study) -> str:
    return study.patient.name.partition("=")[0]


def _month(study: Study) -> tuple[str, str]:
    return "StudyDate", month(study.date[:6])


@cache
def month(yyyymm: str) -> str:
    """A month as a range of dates."""
    _, last = calendar.monthrange(int(yyyymm[:4]), int(yyyymm[4:]))
    return f"{yyyymm}01-{yyyymm}{last}"


CASES = (
    Case("by Patient ID, 3 matches", 3, by_patient),
    Case("*MAN* and one month, 6 matches", 6, by_infix),
    Case("one month of a modality, 20 matches", 20, by_modality, counts=True),
    Case("by name prefix, 117 matches", 117, by_prefix),
)
EVERYTHING = "everything"


class Find:
    """Latency by question, and answers a second where everything is asked for."""

    name = "find"

    def run(self, bench: Bench) -> Outcome:
        rounds, times = (7, 100) if bench.full else (3, 50)
        rows: list[Row] = []
        with _archives(bench) as archives:
            asked = {archive: _questions(archive.studies) for archive in archives}
            for name in (*(case.name for case in CASES), EVERYTHING):
                bench.say(f"find: {name}")
                rows += _rows(name, asked, *((3, 1) if name == EVERYTHING else (rounds, times)))
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds, times=times))


def _rows(name: str, asked: Mapping[Archive, Questions], rounds: int, times: int) -> Iterator[Row]:
    for archive, questions in asked.items():
        check(archive, questions[name])
    runs = in_turns(list(asked), rounds, lambda archive, number: measure(archive, asked[archive][name], number, times))
    for archive, its in zip(asked, runs, strict=True):
        yield row(name, archive.name, its)


@contextlib.contextmanager
def _archives(bench: Bench) -> Iterator[list[Archive]]:
    """This node and Orthanc with the same studies; and this node with a million."""
    with contextlib.ExitStack() as stack:
        orthanc = stack.enter_context(peers.Orthanc(bench.folder / "orthanc", options={"SyncStorageArea": False}))
        bench.say(f"find: {SMALL:,} studies are sent to Orthanc")
        send(orthanc, SMALL)
        sizes = {NODE: SMALL, MILLION: LARGE} if bench.full else {NODE: SMALL}
        archives = []
        for name, count in sizes.items():
            node = stack.enter_context(hoarding(bench, count))
            archives.append(Archive(name, node, "RAD_WS", count))
        archives.insert(1, Archive(orthanc.name, orthanc, orthanc.calling, SMALL))
        yield archives


@contextlib.contextmanager
def hoarding(bench: Bench, count: int) -> Iterator[peers.ThisNode]:
    """A node that has so many studies, once it has checked its index. It is made once in a run."""
    data = bench.lasting / f"hoard{count}"
    if not data.exists():
        bench.say(f"find: an index of {count:,} studies is made")
        hoard.make(data, count)
    node = peers.ThisNode(bench.folder / f"node{count}", {"node": {"data": str(data)}})
    with node:
        wait_until(lambda: "index checked" in node.node.log.read_text(), 1800, "the index to be checked", node.node.log)
        yield node


def send(server: peers.Server, count: int) -> None:
    """Store the studies in a server, with one small image of each modality."""
    made = list(hoard.studies(count))
    with ThreadPoolExecutor() as pool:
        for part in [pool.submit(_store, server, made[first::4]) for first in range(4)]:
            part.result()


def _store(server: peers.Server, made: Sequence[Study]) -> None:
    contexts = [(samples.CT_IMAGE, [EXPLICIT_LE])]
    with wire.Association(LOCAL, server.port, server.called, server.calling, contexts, timeout=60) as association:
        for uid, image in (each for study in made for each in images(study)):
            if association.store(image, samples.CT_IMAGE, uid):
                raise LoadFailed(f"{server.name} did not take an instance: {association.last_error_comment}")


# -- what is asked -------------------------------------------------------------------------------------------------

Questions = Mapping[str, Sequence[Question]]


@cache
def _questions(count: int) -> Questions:
    """By case; each has as many answers as it says. The studies are made twice: a million would not fit into memory."""
    asked = shared(CASES, count)
    finds: dict[Keys, set[str]] = defaultdict(set)
    everything = []
    for study in hoard.studies(count):
        everything.append(study.uid)
        for case in CASES:
            for keys in asked[case.name] & set(case.keys(study)):
                finds[keys].add(study.uid)
    found = {
        case.name: [_question(keys, finds[keys], case.counts) for keys in sorted(asked[case.name])] for case in CASES
    }
    return found | {EVERYTHING: [_question((), everything, counts=False)]}


def shared(cases: Sequence[Case], count: int) -> dict[str, set[Keys]]:
    """For each case, some of the keys that find just so many studies."""
    times: dict[str, Counter[Keys]] = {case.name: Counter() for case in cases}
    for study in hoard.studies(count):
        for case in cases:
            times[case.name].update(case.keys(study))
    found = {case.name: _exact(times[case.name], case.matches) for case in cases}
    if missing := [name for name, keys in found.items() if not keys]:
        raise LoadFailed(f"among {count:,} studies there is no question {', '.join(missing)}")
    return found


def _exact(times: Counter[Keys], matches: int) -> set[Keys]:
    return set(islice((keys for keys, found in times.items() if found == matches), _MOST))


def _question(keys: Keys, finds: Iterable[str], counts: bool) -> Question:
    return Question(listing(counts=counts, **dict(keys)), frozenset(finds))


def listing(*, counts: bool = True, **keys: str) -> bytes:
    """An Identifier as a workstation's list asks it."""
    asked = dict.fromkeys((*_ASKED, *(_COUNTS if counts else ())), "")
    return samples.identifier(QueryRetrieveLevel="STUDY", **asked | keys)


def check(archive: Archive, questions: Sequence[Question]) -> None:
    """Ask each once, and see that just these studies are found. LoadFailed."""
    for question in questions:
        with Workstation(archive) as workstation:
            *answers, (status, _) = workstation.association.find(STUDY_ROOT_FIND, question.identifier)
        found = Counter(uid.decode() for _, answer in answers for uid in set(hoard.UID.findall(answer)))
        if status or found != Counter(question.finds):
            raise LoadFailed(
                f"{archive.name}, {question.identifier!r}: {len(found)} studies, {status:04X}H; some wrong"
            )


def measure(archive: Archive, questions: Sequence[Question], number: int, times: int) -> Run:
    """Ask so many on one association, one after the other. LoadFailed: one had another number of answers."""
    pids = archive.answering
    with Workstation(archive) as workstation:
        for pid in pids:
            processes.forget_peak(pid)
        held, before = {pid: processes.rss(pid) for pid in pids}, cpu.spent(archive.server.pid)
        asked = [questions[each % len(questions)] for each in range(number * times, (number + 1) * times)]
        took = sorted(_seconds(workstation, question) for question in asked)
        time.sleep(_REST)
        spent = cpu.spent(archive.server.pid) - before
    return {
        "p50": statistics.median(took) * 1000,
        "p99": took[len(took) * 99 // 100] * 1000,
        "answers": sum(len(question.finds) for question in asked) / sum(took),
        "cpu": spent * 1000 / times,
        "growth": max(processes.peak(pid) - held[pid] for pid in pids),
    }


def _seconds(workstation: Workstation, question: Question) -> float:
    answers, seconds = workstation.ask(question.identifier)
    if answers != len(question.finds):
        raise LoadFailed(f"{question.identifier!r} found {answers} studies, and there are {len(question.finds)}")
    return seconds
