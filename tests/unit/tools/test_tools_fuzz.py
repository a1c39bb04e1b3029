"""The fuzzer: tapes decide, the model knows what was sent whole, and a round is the same every time."""

from __future__ import annotations

import pytest

from tests.fuzz import assembly, mutations, rounds
from tests.fuzz.conversations import CONTEXTS, Pdu, Value, captured, datasets_in, encode, parse, small
from tests.fuzz.mutations import Tape
from tests.upper_layer import ASSOCIATE_RQ, P_DATA, RELEASE_RQ, Associate

ZEROS = bytes(160)


def test_captures_are_whole_associations_that_can_be_written_down_again() -> None:
    for conversation in captured():
        kinds = [pdu.kind for pdu in conversation]
        assert (kinds[0], kinds[-1], set(kinds[1:-1])) == (ASSOCIATE_RQ, RELEASE_RQ, {P_DATA})
        assert parse(encode(conversation)) == conversation
    asked = Associate.decode(captured()[0][0].body)
    assert [abstract for abstract, _ in asked.contexts.values()] == [abstract for abstract, _ in CONTEXTS]


def test_a_spent_tape_changes_nothing() -> None:
    assert mutations.said(ZEROS) == mutations.Said((encode(captured()[0]),), "close")
    assert mutations.request(ZEROS) == captured()[0][0].encode()
    tape = Tape(b"\1\2")
    assert [tape.below(1000), tape.below(1000), tape.among("ab"), tape.raw()] == [258, 0, "a", b""]


def test_segments_are_the_whole() -> None:
    seen = {len(mutations.said(bytes([0, 0, 0, 0, 0, 0, 0, count, *range(40)])).segments) for count in range(6)}
    assert max(seen) > 3
    for count in range(6):
        said = mutations.said(bytes([0, 0, 0, 0, 0, 0, 0, count, *range(40)]))
        assert said.raw == encode(captured()[0])


def test_the_model_finds_what_was_sent_whole_and_nothing_else() -> None:
    sample = small(0)
    assert datasets_in(encode(captured()[1])) == [sample.dataset]
    command, first, last = Value(3, 3, b"x"), Value(3, 0, b"ab"), Value(3, 2, b"cd")

    def found(*values: Value) -> list[bytes]:
        return datasets_in(encode(tuple(Pdu(P_DATA, values=(value,)) for value in values)))

    assert found(command, first, last) == [b"abcd"]
    assert found(command, first) == []
    assert found(command, first, command, last) == [b"cd"]
    assert found(command, first, last, first, last) == [b"abcd", b"abcd"]
    assert datasets_in(encode((Pdu(P_DATA, values=(command, first, last)),))[:-1]) == []


def test_the_assembly_hears_a_conversation_as_it_was_captured() -> None:
    heard = assembly.hear([encode(captured()[1][1:])])
    assert [(context, dataset) for context, _, dataset in heard.messages] == [(3, small(0).dataset)]
    assert heard.end == "released"


def test_a_failure_names_the_seed_that_leads_to_it() -> None:
    def fails(tape: bytes) -> None:
        assert tape[0] < 128, "too high"

    with pytest.raises(AssertionError, match="too high") as caught:
        rounds.for_seconds(60, 7, fails)
    (note,) = [note for note in caught.value.__notes__ if rounds.VARIABLE in note]
    number = int(note.partition("=")[2].split()[0])
    with pytest.raises(AssertionError, match="too high"):
        rounds.for_seconds(0, number, fails)


def test_a_round_is_the_same_every_time() -> None:
    first: list[bytes] = []
    again: list[bytes] = []
    rounds.for_seconds(0, 11, first.append, examples=20)
    rounds.for_seconds(0, 11, again.append, examples=20)
    assert first == again
    assert len(set(first)) > 5


def test_the_environment_chooses_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rounds.VARIABLE, "42")
    assert rounds.first_seed() == 42
