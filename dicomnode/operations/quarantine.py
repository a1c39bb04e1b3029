"""The story of a doubt that a person ends: which version is right, or that a study may go on as it is.

`release` makes one version of an instance the current one, or lets a study go that is in doubt for another reason;
`reject` leaves what was current, and keeps a study here that is stopped for another reason: it never lets anything go.
What a person keeps stays until a person releases the study; a word on a version does not end that. Either is one
commit: versions, index, transfers, gates and the audit trail change together, or nothing does. No version is ever
removed: what was rejected can be chosen later. What lets a study go on, as many persons have to say as the
configuration wants. It is vetted again then: one doubt is not ended with another.

What may fail: UsageError for what there is not; CannotDecide for what cannot be done as things are. Files are read
before the commit, and in it what was decided on is compared with what there is: nobody decides on what he has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import CannotDecide, InstanceError, UsageError
from dicomnode.operations import agreement, receive, refer, vet
from dicomnode.operations.ports import Node
from dicomnode.store import attributes, audit, doubts, index, referrals, releases
from dicomnode.store.archive import Stored
from dicomnode.store.doubts import Version
from dicomnode.store.index import Kind, Study
from dicomnode.store.releases import Word


@dataclass(frozen=True, slots=True)
class Subject:
    """What a person names: a study, or one instance of it, with the versions among which there is a choice."""

    study: Study
    versions: tuple[Version, ...]
    """In the order of arrival; of a study, those of each instance that has several, or one that is undecided."""
    sop_instance_uid: str = ""

    @property
    def undecided(self) -> list[Version]:
        """Those that wait for a person's word."""
        return [each for each in self.versions if each.undecided]

    @property
    def disputed(self) -> set[str]:
        """The instances that have such a version."""
        return {each.sop_instance_uid for each in self.undecided}

    @property
    def choices(self) -> list[Version]:
        """Those that a version's number may mean.

        Of a whole study, those of the disputed instances, if there are any; and no variant, because the same number is
        another instance's correction.
        """
        if self.sop_instance_uid:
            return list(self.versions)
        uids = self.disputed or {each.sop_instance_uid for each in self.versions}
        return [each for each in self.versions if each.sop_instance_uid in uids and each.kind != Kind.VARIANT]

    def __str__(self) -> str:
        return f"instance {self.sop_instance_uid}" if self.sop_instance_uid else f"study {self.study.id}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision did: of how many instances a version was chosen or rejected, and what that leaves."""

    subject: str
    chosen: int
    rejected: int
    others: int
    """Further instances of the study, which stay as they are."""
    undecided: int
    """Instances of the study that a person has to decide on still."""
    waits: str = ""
    """Why the study does not go on for all that; '' where it does."""


def subject(name: str, node: Node) -> Subject:
    """What is meant by a study's number or UID, or by a SOP Instance UID. UsageError: nothing is."""
    with node.database.read():
        if study := index.study(name):
            return Subject(study, _versions(study, ""))
        versions = doubts.of_instance(name)
        if not versions:
            raise UsageError(f"there is no study or instance {name}: `dicomnode quarantine list` shows those in doubt")
        meant = [each for each in versions if each.undecided] or versions
        if len({each.origin.site for each in meant}) > 1:
            raise UsageError(f"more than one site has sent instance {name}: name the study that you mean")
        study = index.study(str(meant[0].study))
        assert study, "an instance is of a study that there is"
        return Subject(study, _versions(study, name), name)


def _versions(study: Study, sop_instance_uid: str) -> tuple[Version, ...]:
    if sop_instance_uid:
        return tuple(each for each in doubts.of_instance(sop_instance_uid) if each.origin.site == study.site)
    return tuple(doubts.of_study(study.id, study.site))


# -- what a person says ----------------------------------------------------------------------------------------


def release(name: str, version: int | None, reason: str, who: str, node: Node) -> Outcome:
    """Make a version the current one of its instance; of a study, of each instance that has it.

    Without a version: let a study go that nothing is undecided of.
    """
    refer.check_reason(reason)
    it = subject(name, node)
    chosen = _chosen(it, version, node)
    studies, series = ({getattr(v, of): v for v in reversed(chosen)} for of in ("study", "series"))
    seen = {each: _read(each, node) for each in {*studies.values(), *series.values()}}

    def released() -> Outcome:
        _check(it)
        what = f"release {it}" if version is None else f"release version {version} of {it}"
        word = Word(what, _digest(it, chosen, node), who, reason, node.clock())
        by = agreement.reached(it.study.id, word, node)
        if not by:
            return _outcome(it, 0, 0)
        if not chosen:
            vet.allow(it.study.id, word, node)
            releases.let_go(it.study.id)
        for each in chosen:
            doubts.choose(each)
        for number, first in studies.items():
            attributes.describe_study(number, seen[first], node.config.sites[first.origin.site].patient_id_issuer)
        for number, first in series.items():
            attributes.describe_series(number, seen[first])
        kept = {each.id: each.values for study in studies for each in index.of_study(study)}
        for each in chosen:
            refer.replace(each, kept[each.id], f"version {version} was made current by {who}", node)
        _end(it, "quarantine released", f"released by {by} ({_count(chosen, version)})", who, node)
        return _outcome(it, len(chosen), 0)

    return node.database.write(released)


def _digest(it: Subject, chosen: Sequence[Version], node: Node) -> str:
    """Of what a person decides on: two persons decide on the same."""
    verdict = vet.judge(it.study.id, node)
    seen = [each.id for each in it.versions], [each.id for each in chosen], verdict.digest if verdict else ""
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _count(chosen: Sequence[Version], version: int | None) -> str:
    if not chosen:
        return "nothing was undecided"
    return f"version {version} is the current one of {len(chosen)} of its instances"


def reject(name: str, reason: str, who: str, node: Node) -> Outcome:
    """Leave what was current; the versions in doubt are kept, and never sent.

    Where nothing is undecided and the study is stopped, it is kept here, and nothing of it leaves: even where what
    stopped it is put right by now.
    """
    refer.check_reason(reason)
    it = subject(name, node)
    if not it.undecided:
        _check_doubt(it, "reject", node)

    def rejected() -> Outcome:
        _check(it)
        word = Word(f"reject {it}", _digest(it, [], node), who, reason, node.clock())
        if not it.undecided and _is_stopped(it.study.id, node):
            return _keep(it, word, node)
        by = agreement.reached(it.study.id, word, node)
        if not by:
            return _outcome(it, 0, 0)
        for each in it.undecided:
            doubts.reject(each)
        text = f"rejected by {by} (kept and not sent: {len(it.undecided)} of its versions)"
        _end(it, "quarantine rejected", text, who, node)
        return _outcome(it, 0, len(it.disputed))

    return node.database.write(rejected)


def _chosen(it: Subject, version: int | None, node: Node) -> list[Version]:
    """The versions that a decision makes current. Raises where that cannot be."""
    if version is None:
        if it.undecided:
            raise UsageError(f"say with --version which version of {it} is right, or reject it: {_numbers(it)}")
        _check_doubt(it, "release", node)
        return []
    meant = [each for each in it.choices if each.version == version]
    if not meant:
        raise UsageError(f"there is no version {version} to choose of {it}: {_numbers(it)}")
    chosen = [each for each in meant if it.undecided or not each.current]
    if not chosen:
        raise CannotDecide(f"version {version} of {it} is current already")
    for each in chosen:
        if not each.is_sound or not node.archive.holds(each.file, Stored(each.file, each.sha256, each.size)):
            raise CannotDecide(_unsound(each, "its file is damaged or gone"))
    return chosen


def _numbers(it: Subject) -> str:
    numbers = sorted({each.version for each in it.choices})
    if not numbers:
        return "no instance of it has more than one version"
    return f"there are {', '.join(map(str, numbers))}, and `dicomnode quarantine show` compares them"


def _unsound(version: Version, why: str) -> str:
    what = f"version {version.version} of instance {version.sop_instance_uid}"
    return f"{what} cannot be made current, because {why}; have it sent again"


def _read(version: Version, node: Node) -> SopInstance:
    try:
        return receive.as_received(node.archive.path(version.file), node)
    except (OSError, InstanceError) as error:
        raise CannotDecide(_unsound(version, f"its file cannot be read ({error})")) from error


def _check_doubt(it: Subject, word: str, node: Node) -> None:
    """Raise CannotDecide where there is nothing to decide."""
    with node.database.read():
        if it.sop_instance_uid or not doubts.of(it.study.id):
            raise CannotDecide(f"{it} is not in doubt: there is nothing to {word}")


# -- inside the commit -----------------------------------------------------------------------------------------


def _check(it: Subject) -> None:
    if _versions(it.study, it.sop_instance_uid) != it.versions:
        raise CannotDecide(f"something of {it} has arrived meanwhile: look at it again before you decide")


def _is_stopped(study: int, node: Node) -> bool:
    """Whether a study is stopped, or would be if it were looked at now; a mere flag stops nothing."""
    doubt = doubts.of(study)
    return (doubt is not None and doubt.state != "flagged") or vet.judge(study, node) is not None


def _keep(it: Subject, word: Word, node: Node) -> Outcome:
    """Nothing of a study leaves, and a person has said so."""
    text = f"rejected by {word.who}: {word.reason}"
    releases.keep(it.study.id, replace(word, reason=text))
    doubts.keep(it.study.id, text)
    releases.settle(it.study.id)
    refer.weigh(it.study.id, text, word.at, node)
    _record(it, "quarantine rejected", text, word.who, node)
    return _outcome(it, 0, 0)


def _record(it: Subject, kind: str, text: str, who: str, node: Node) -> None:
    uid, instance = it.study.study_instance_uid, it.sop_instance_uid
    audit.record(audit.Event(node.clock(), kind, text, "", uid, instance, generation=node.generation, who=who))


def _end(it: Subject, kind: str, text: str, who: str, node: Node) -> None:
    """End the doubt about every study that was decided on, as far as nothing else of it is undecided or wrong."""
    at = node.clock()
    studies = {each.study for each in it.versions if each.sop_instance_uid in it.disputed}
    if not it.sop_instance_uid:
        studies.add(it.study.id)
        doubts.remark(it.study.id, "")
    for study in studies:
        refer.end_doubt(study, text, at, node)
    for study in studies | {each.study for each in it.versions}:
        vet.vet(study, at, node)
        for referral, *_ in referrals.of_study(study):
            refer.settle(referral, at, node)
    _record(it, kind, text, who, node)


def _outcome(it: Subject, chosen: int, rejected: int) -> Outcome:
    study, doubt = index.study(str(it.study.id)), doubts.of(it.study.id)
    others = study.instances - chosen if study and chosen and not it.sop_instance_uid else 0
    proposed = agreement.still_wanted(it.study.id)
    waits = f"{proposed}; another person has to say the same (node.operators)" if proposed else ""
    stopped = doubt.reason if doubt and doubt.state != "flagged" else ""
    return Outcome(str(it), chosen, rejected, others, doubt.undecided if doubt else 0, waits or stopped)
