"""The same objects in dcmqrscp, in Orthanc and in this node, and the same questions to all three.

A question is an Identifier that hypothesis makes of what is stored: values as they are, in another case, with wild
cards, as ranges and as lists, at every level. Where a peer's answer differs from the node's, each entity that one has
found and the other has not must be explained by a rule (explained.py); what no rule explains is somebody's fault.

`python -m tests.interop.differential --examples 5000 --seed 7` asks more than the tests do.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from tests import dcmtk, wire
from tests.interop.explained import RULES, Question, explanation
from tests.interop.objects import ENTITIES, KEYS, LEVELS, SAMPLES, UNIQUE, Entity
from tests.node import LOCAL, Node
from tests.orthanc import Orthanc
from tests.upper_layer import EXPLICIT_LE, STUDY_ROOT_FIND

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
NODE = "node"
_MODELS = [(PATIENT_ROOT_FIND, [EXPLICIT_LE]), (STUDY_ROOT_FIND, [EXPLICIT_LE])]
_BY_UNIQUE = {(entity.level, entity.unique): entity for entity in ENTITIES}
_TEXT = {"PN", "LO", "SH", "CS"}
_KINDS = {"StudyDate": "DA", "PatientBirthDate": "DA", "StudyTime": "TM", "SeriesNumber": "IS", "InstanceNumber": "IS"}


# -- what is asked -------------------------------------------------------------------------------------------------


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A level, one of its entities, and some of its values, which need not find it any more."""
    level = draw(st.sampled_from(LEVELS))
    entity = draw(st.sampled_from([each for each in ENTITIES if each.level == level]))
    keywords = draw(st.lists(st.sampled_from(_asked(level)), min_size=1, max_size=2, unique=True))
    keys = {keyword: draw(_value(keyword, entity.values[keyword])) for keyword in keywords}
    return Question(level, tuple((_above(entity) | keys).items()))


def _asked(level: str) -> tuple[str, ...]:
    """At STUDY level the keys of the patient are asked too: that is how the study root has them."""
    return KEYS["PATIENT"] + KEYS["STUDY"] if level == "STUDY" else KEYS[level]


def _above(entity: Entity) -> dict[str, str]:
    """The unique keys of the levels above, which a hierarchical query has to have; in the study root."""
    above = LEVELS[1 : LEVELS.index(entity.level)]
    return {UNIQUE[level]: entity.values[UNIQUE[level]] for level in above}


def _value(keyword: str, value: str) -> st.SearchStrategy[str]:
    kind = _KINDS.get(keyword, "UI" if keyword.endswith("UID") else "text")
    if kind == "UI":
        others = sorted({entity.values[keyword] for entity in ENTITIES if keyword in entity.values})
        return st.one_of(st.just(value), st.sampled_from(others).map(lambda other: f"{value}\\{other}"))
    if kind in ("DA", "TM"):
        return st.one_of(st.just(value), _range(keyword, value))
    return st.just(value) if kind == "IS" else _pattern(keyword, value)


def _range(keyword: str, value: str) -> st.SearchStrategy[str]:
    others = sorted({entity.values[keyword] for entity in ENTITIES if entity.values.get(keyword)})
    return st.tuples(st.sampled_from(others), st.sampled_from(["{}-", "-{}", "{}-{}"]), st.sampled_from(others)).map(
        lambda drawn: drawn[1].format(*sorted((drawn[0], drawn[2])))
    )


def _pattern(keyword: str, value: str) -> st.SearchStrategy[str]:
    """A value as it is, in another case, with something left open; or one of its studies' modalities."""
    value = value.partition("\\")[0]
    at = st.integers(0, max(0, len(value) - 1))
    return st.one_of(
        st.sampled_from([value, value.lower(), value.upper(), f"{value} ", f"{value}^", "*", "?*"]),
        at.map(lambda end: f"{value[:end]}*"),
        at.map(lambda start: f"*{value[start:]}"),
        st.tuples(at, at).map(lambda ends: f"*{value[min(ends) : max(ends)]}*"),
        at.map(lambda place: f"{value[:place]}?{value[place + 1 :]}"),
    )


# -- whom ----------------------------------------------------------------------------------------------------------


@dataclass
class Trial:
    """The three, each on an association; and which rules have explained something."""

    associations: dict[str, wire.Association]
    used: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def ask(self, question: Question) -> list[str]:
        """Ask all three; what no rule explains, in words."""
        self.asked += 1
        found = {name: _answers(association, question) for name, association in self.associations.items()}
        return [
            f"{question} {finder} alone has found {entity.values}, and not {other}"
            for peer in self.associations
            if peer != NODE
            for finder, other in ((NODE, peer), (peer, NODE))
            for entity in (_BY_UNIQUE[question.level, unique] for unique in sorted(found[finder] - found[other]))
            if not self._explained(question, entity, peer, finder == NODE)
        ]

    def _explained(self, question: Question, entity: Entity, peer: str, ours: bool) -> bool:
        rule = explanation(question, entity, peer, ours)
        self.used[str(rule)] += 1
        return rule is not None


def _answers(association: wire.Association, question: Question) -> set[str]:
    """The unique keys of what was found; a question that is refused has found nothing."""
    unique = UNIQUE[question.level]
    keys = {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": question.level, unique: ""}
    model = PATIENT_ROOT_FIND if question.level == "PATIENT" else STUDY_ROOT_FIND
    *answers, _ = association.find(model, _encoded(keys | dict(question.keys)))
    return {_text(answer, unique) for _, answer in answers}


def _encoded(keys: Mapping[str, str]) -> bytes:
    """Explicit VR Little Endian. By hand: pydicom minds values that are meant to be wrong, and takes its time."""
    elements = []
    for tag, value in sorted((tag_for_keyword(keyword) or 0, value.encode()) for keyword, value in keys.items()):
        vr = dictionary_VR(tag).encode()
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        elements.append(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value)
    return b"".join(elements)


def _text(answer: bytes, keyword: str) -> str:
    """One value of an answer."""
    tag = tag_for_keyword(keyword) or 0
    at = answer.index(struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, dictionary_VR(tag).encode()))
    (length,) = struct.unpack_from("<H", answer, at + 6)
    return answer[at + 8 : at + 8 + length].decode().strip("\0 ")


@contextmanager
def trial(folder: Path, node: Node) -> Iterator[Trial]:
    """All of the objects in all of the three. The node lets CT1 store, and RAD_WS ask."""
    with ExitStack() as stack:
        orthanc = stack.enter_context(Orthanc(folder / "orthanc", options={"DefaultEncoding": "Utf8"}))
        ports = {
            NODE: (node.port, node.ae_title, "CT1"),
            "dcmqrscp": (stack.enter_context(dcmtk.qrscp(folder / "qrscp")), "QRSCP", "CT1"),
            "Orthanc": (orthanc.port, "ORTHANC", "CT1"),
        }
        for port, called, calling in ports.values():
            with wire.Association(LOCAL, port, called, calling, wire.contexts_for(SAMPLES)) as association:
                assert {association.send_sample(sample) for sample in SAMPLES} == {0}
        yield Trial(
            {
                name: stack.enter_context(wire.Association(LOCAL, port, called, "RAD_WS", _MODELS))
                for name, (port, called, _) in ports.items()
            }
        )


def run(it: Trial, examples: int, number: int | None = None) -> list[str]:
    """Ask each rule's own question, and so many more, always the same for a number (or None); what is unexplained."""
    found = [difference for rule in RULES for difference in it.ask(rule.question)]

    @settings(
        max_examples=examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(questions())
    def ask(question: Question) -> None:
        found.extend(it.ask(question))

    (ask if number is None else seed(number)(ask))()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.differential", description="Ask all three.")
    parser.add_argument("--examples", type=int, default=2000, help="how many questions")
    parser.add_argument("--seed", type=int, default=0, help="another one asks others")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        it = stack.enter_context(trial(folder, stack.enter_context(Node(folder / "node"))))
        unexplained = run(it, chosen.examples, chosen.seed)
    print(*dict.fromkeys(unexplained), sep="\n")
    for rule in RULES:
        print(f"{it.used[str(rule)]:6} {rule}; {rule.says}")
    print(f"{it.asked} questions, {len(unexplained)} differences that no rule explains")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
