"""The story of a study that is looked at as one before it goes: is it a referral's, of the right patient, with consent?

`vet` is asked when a study is complete, and whenever something changes by which it was judged: a referral in advance,
consent, the configuration, a version that a person chose. `why_not` is asked before anything of it leaves by a hand or
a C-MOVE, and forbids what a route would have stopped; but for consent, which operations/retrieve.py asks for itself.

Whose study it is, rules/identity.py judges, where a route that chose it checks that. One verdict stops all of it. A
person may let it go (operations/quarantine.py): then that very verdict stops it no more, and any other does. What is
quarantined stays so until then.

Nothing is claimed to be sent of a study that was last judged by the rules of another configuration than the sender's,
that is to go again, or of which something has come since that names another patient; nor of one whose instances, from
before their patients were remembered, were never compared: `check` says so in the commit of the claim, and `again`
makes up for it. The rest of those are compared bit by bit (`catch_up`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from dicomnode.errors import InstanceError
from dicomnode.operations import consent, expect, receive, refer
from dicomnode.operations.ports import Node
from dicomnode.rules import identity, routing
from dicomnode.rules.identity import Patient, Seen, Stop, Verdict
from dicomnode.store import audit, doubts, patients, referrals, releases
from dicomnode.store.releases import Word

log = logging.getLogger(__name__)

_IN_DOUBT = "whose study it is is in doubt: see `dicomnode quarantine list`"
"""As short as an Error Comment has to be (PS3.7 C.4.2)."""
_UNCOMPARED = "its patients are being compared since an upgrade: ask again"
_PAGE = 100
"""Studies, or instances of one, that are looked at again in one commit."""


class Unvetted(Exception):
    """A study was not judged by the rules in force here, or never compared; its id."""

    def __init__(self, study: int) -> None:
        super().__init__(f"study {study} is to be judged first")
        self.study = study


def vet(study: int, at: int, node: Node) -> None:
    """Stop a study that may not go, and no more what may. Inside `Database.write`."""
    expect.match(study, at, node)
    ways = [(partner, names) for _, partner, names in referrals.of_study(study)]
    _stop(study, judge(study, node) if _is_checked(study, ways, node) else None, at, node)
    consent.check(study, at, node)
    patients.judged(study, node.generation)


def check(study: int, node: Node) -> None:
    """Raise Unvetted where nothing may be sent of a study before it was vetted `again`. Inside `Database.write`."""
    if not patients.is_judged(study, node.generation):
        raise Unvetted(study)


def again(study: int, node: Node) -> None:
    """Compare the instances of a study, where that was never done, and vet it by the rules in force here."""
    _compare(study, node)
    node.database.write(lambda: vet(study, node.clock(), node))


def vet_all(node: Node, after: int = 0, seconds: float = math.inf) -> int | None:
    """Look again at all that has come whole and is not sent: the rules may be others than they were.

    The studies after that one, for so long; the last that was looked at, None: that was all.
    """
    end = time.monotonic() + seconds
    with node.database.read():
        waiting = [study for study in referrals.waiting() if study > after]
    for start in range(0, len(waiting), _PAGE):
        if time.monotonic() > end:
            return after
        page = waiting[start : start + _PAGE]
        node.database.write(partial(_vet_page, page, node))
        after = page[-1]
    return None


def _vet_page(page: Sequence[int], node: Node) -> None:
    for study in page:
        vet(study, node.clock(), node)


def catch_up(node: Node, seconds: float) -> bool:
    """Compare studies that never were, the newest first, for so long; whether there are more of them."""
    end = time.monotonic() + seconds
    while (study := _uncompared(node)) is not None:
        if time.monotonic() > end:
            return True
        _compare(study, node)
        node.database.write(partial(_vet_waiting, study, node))
    return False


def _vet_waiting(study: int, node: Node) -> None:
    if referrals.is_waiting(study):
        vet(study, node.clock(), node)


def _uncompared(node: Node) -> int | None:
    with node.database.read():
        return patients.uncompared()


def _compare(study: int, node: Node) -> None:
    """See in its files whom the instances of a study name. Files that cannot be read say nothing, and are not sent."""
    with node.database.read():
        kept = [] if patients.is_compared(study) else patients.files(study)
    for start in range(0, len(kept), _PAGE):
        told = [(instance, _told(file, site, node)) for instance, file, site in kept[start : start + _PAGE]]
        node.database.write(partial(_note, [(instance, patient) for instance, patient in told if patient]))
    node.database.write(lambda: patients.compared(study))


def _told(file: str, site: str, node: Node) -> tuple[str, ...]:
    known = node.config.sites.get(site)
    try:
        instance = receive.as_received(node.archive.path(file), node)
    except (InstanceError, OSError) as error:
        log.error("whose it is cannot be read file=%s: %s", file, error)
        return ()
    return patients.told(instance, known.patient_id_issuer if known else "")


def _note(told: Iterable[tuple[int, tuple[str, ...]]]) -> None:
    for instance, patient in told:
        patients.compare(instance, patient)


def judge(study: int, node: Node) -> Verdict | None:
    """What is wrong with whose study it is; None: nothing, or a person has let it go. Inside `read` or `write`."""
    verdict = identity.judge(seen(study, node), node.config)
    return verdict if verdict.stop and not releases.is_allowed(study, verdict.digest) else None


def allow(study: int, said: Word, node: Node) -> None:
    """A person lets a study go as it is: what is wrong with it now stops it no more. Inside `Database.write`."""
    if verdict := judge(study, node):
        releases.allow(study, replace(said, digest=verdict.digest))


def seen(study: int, node: Node) -> Seen:
    """What there is to judge by, its referral by which its copies are made too. Inside `Database.read` or `write`."""
    known = expect.of_study(study, node)
    referral = Patient(*(getattr(known, column) for column in patients.COLUMNS)) if known else None
    return Seen(doubts.site_of(study), patients.of_study(study), referral, known.number if known else "")


def _is_checked(study: int, ways: Iterable[tuple[str, Sequence[str]]], node: Node) -> bool:
    """Whether a study is checked on one of its ways, each a partner and the routes that chose it."""
    site = doubts.site_of(study)
    return any(route.checks for partner, names in ways for route in routing.ways(node.config, site, partner, names))


def _stop(study: int, verdict: Verdict | None, at: int, node: Node) -> None:
    reason = _reason(study, verdict)
    is_known = not doubts.identify(study, "" if verdict and verdict.stop is Stop.QUARANTINED else reason)
    if verdict and verdict.stop is Stop.QUARANTINED:
        is_known = not doubts.quarantine(study, reason)
    if is_known:
        return
    refer.weigh(study, reason or "whose study it is is in doubt no more", at, node)
    if verdict:
        uid = doubts.uid_of(study)
        log.warning("%s study=%s: %s", verdict.stop, uid, reason)
        kind = f"study {verdict.stop}"
        audit.record(audit.Event(at, kind, reason, study_instance_uid=uid, generation=node.generation))


def _reason(study: int, verdict: Verdict | None) -> str:
    """What is wrong, and what to do."""
    return f"{verdict.reason}: compare with `dicomnode quarantine show {study}`" if verdict else ""


# -- by a hand, or a C-MOVE ----------------------------------------------------------------------------------------


def why_not(study: int, partner: str, node: Node) -> str:
    """Why a study may not go to a partner by a hand or a C-MOVE; '' where it may. Inside `Database.read` or `write`."""
    known = referrals.find(study, partner)
    names = known[1] if known else []
    if doubts.identity(study) or _doubt(study, partner, names, node):
        return _IN_DOUBT
    if not patients.is_compared(study):
        return _UNCOMPARED
    return expect.why_not(study, partner, node, names)


def note(study: int, partner: str, at: int, node: Node) -> None:
    """A study was not let go to a partner: where it is in doubt whose it is, that stops all of it. Inside `write`."""
    known = referrals.find(study, partner)
    if verdict := _doubt(study, partner, known[1] if known else [], node):
        _stop(study, verdict, at, node)


def _doubt(study: int, partner: str, names: Sequence[str], node: Node) -> Verdict | None:
    """What is wrong, on a way that is checked, or to whom the images are sent with the patient ID of their referral; on
    any other way, images of several patients alone.
    """
    verdict, known = judge(study, node), node.config.partners.get(partner)
    is_named_anew = known is not None and known.coerce.patient_id != ""
    counts = verdict and (verdict.is_mixed or is_named_anew or _is_checked(study, [(partner, names)], node))
    return verdict if counts else None
