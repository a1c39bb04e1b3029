"""The tests' own wire tools against each other: what one side says, the other side must have heard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples, upper_layer, wire

CT = [(samples.CT_IMAGE, [wire.EXPLICIT_LE])]


@pytest.fixture
def receiver() -> Iterator[wire.Receiver]:
    with wire.Receiver() as it:
        yield it


def associate(port: int, contexts: wire.Contexts = CT, **options: object) -> wire.Association:
    return wire.Association("127.0.0.1", port, "PARTNER", "TESTER", contexts, timeout=5, **options)


def test_store_arrives_byte_for_byte(receiver: wire.Receiver) -> None:
    made = samples.make_instances(3, size="large")
    with associate(receiver.port) as association:
        assert [association.store(x.dataset, x.sop_class, x.sop_instance) for x in made] == [0, 0, 0]
    received = receiver.wait_for(3)
    assert [r.dataset for r in received] == [x.dataset for x in made]
    assert [r.sha256 for r in received] == [x.sha256 for x in made]
    first = received[0]
    assert (first.sop_instance, first.transfer_syntax) == (made[0].sop_instance, wire.EXPLICIT_LE)
    assert (first.calling, first.called, first.association, first.status) == ("TESTER", "PARTNER", 1, 0)
    assert receiver.faults == []


def test_fragments_fit_the_peer_and_join_again() -> None:
    made = samples.make_instances(1)[0]
    with wire.Receiver(max_pdu=4096) as receiver, associate(receiver.port, max_pdu=4096) as association:
        assert association.max_pdu == 4096
        sizes = {len(part) for part in association.channel.fragments(1, made.dataset, command=False)}
        assert max(sizes) == 4096 + 6  # the PDU's own header is not counted (PS3.8 D.1)
        assert association.store(made.dataset, made.sop_class, made.sop_instance) == 0
        assert receiver.wait_for(1)[0].dataset == made.dataset


def test_command_sets_survive_the_way_there_and_back() -> None:
    command = {"CommandField": 1, "AffectedSOPClassUID": "1.2.3", "MoveDestination": "ODD", "Status": 0xA700}
    assert upper_layer.decode_command(upper_layer.encode_command(command)) == command | {"CommandGroupLength": 46}


def test_answers_reach_the_sender(receiver: wire.Receiver) -> None:
    receiver.answer = lambda uid: 0xA700 if uid.endswith("7") else 0xB000
    with associate(receiver.port) as association:
        dataset = samples.make_instance()
        assert association.store(dataset, samples.CT_IMAGE, "1.7") == 0xA700
        assert association.store(dataset, samples.CT_IMAGE, "1.8") == 0xB000
    assert [r.status for r in receiver.received] == [0xA700, 0xB000]


def test_command_and_context_can_be_wrong_on_purpose(receiver: wire.Receiver) -> None:
    with associate(receiver.port, [*CT, ("1.2.840.10008.5.1.4.1.1.4", [wire.IMPLICIT_LE])]) as association:
        lies = {"command_uid": "1.2", "command_class": "1.3", "move_originator": ("AE", 9)}
        association.store(b"x", samples.CT_IMAGE, "1.1", 3, **lies)
    received = receiver.wait_for(1)[0]
    assert (received.sop_instance, received.sop_class, received.transfer_syntax) == ("1.2", "1.3", wire.IMPLICIT_LE)
    assert (received.move_originator, received.move_message_id) == ("AE", 9)


def test_rejection_tells_result_source_and_reason(receiver: wire.Receiver) -> None:
    receiver.reject = (1, 1, 3)
    with pytest.raises(wire.Rejected) as caught:
        associate(receiver.port)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)
    assert receiver.requests[0].calling == "TESTER"


def test_contexts_are_refused_one_by_one(receiver: wire.Receiver) -> None:
    receiver.accept = lambda abstract, syntaxes: wire.IMPLICIT_LE if wire.IMPLICIT_LE in syntaxes else None
    proposal = [*CT, (samples.CT_IMAGE, [wire.EXPLICIT_LE, wire.IMPLICIT_LE]), (wire.STUDY_ROOT_FIND, ["1.2"])]
    with associate(receiver.port, proposal) as association:
        assert association.results == {1: 4, 3: 0, 5: 3}
        assert association.accepted == {3: wire.IMPLICIT_LE}
        assert association.context_of(samples.CT_IMAGE) == 3
        with pytest.raises(wire.NotAccepted):
            association.context_of(wire.STUDY_ROOT_FIND)


def test_abort_in_place_of_an_answer(receiver: wire.Receiver, tmp_path: Path) -> None:
    receiver.abort_after = 1
    journal = wire.Journal(tmp_path / "journal")
    association = associate(receiver.port, journal=journal)
    association.store(b"one", samples.CT_IMAGE, "1.1")
    with pytest.raises(wire.Aborted):
        association.store(b"two", samples.CT_IMAGE, "1.2")
    assert [entry.uid for entry in journal.acknowledged()] == ["1.1"]
    assert [entry.uid for entry in journal.unanswered()] == ["1.2"]
    assert [r.sop_instance for r in receiver.aborted] == ["1.2"]


def test_several_in_flight_and_a_delay(receiver: wire.Receiver) -> None:
    receiver.delay = threading.Event()
    with associate(receiver.port) as association:
        ids = [association.send_store(b"dataset", samples.CT_IMAGE, f"1.{n}") for n in range(3)]
        assert receiver.received == []
        receiver.delay.set()
        assert [association.read_response().message_id for _ in ids] == ids


def test_abort_and_reset_end_the_association_at_the_receiver(receiver: wire.Receiver) -> None:
    for number, reset in enumerate((False, True), 1):
        associate(receiver.port).abort(reset=reset)
        receiver.wait_until(lambda number=number: len(receiver.faults) == number)
    assert [type(fault) for fault in receiver.faults] == [wire.Aborted, wire.Closed]


def test_receiver_comes_back_on_its_port(receiver: wire.Receiver) -> None:
    association = associate(receiver.port)
    receiver.stop()
    with pytest.raises(wire.Closed):
        association.recv_pdu()
    with pytest.raises(ConnectionRefusedError):
        associate(receiver.port)
    receiver.start()
    assert wire.echo("127.0.0.1", receiver.port, "PARTNER") == 0


def test_journal_is_read_back_by_another_and_survives_a_torn_line(tmp_path: Path) -> None:
    journal = wire.Journal(tmp_path / "journal")
    for number, status in enumerate((0, 0xB007, 0xC000)):
        journal.answered(journal.sent(f"1.{number}", b"x"), status)
    with journal.path.open("ab") as file:
        file.write(b'{"sent": 3, "ui')
    again = wire.Journal(journal.path)
    assert [entry.uid for entry in again.acknowledged()] == ["1.0", "1.1"]
    assert [entry.uid for entry in again.refused()] == ["1.2"]
    assert again.unanswered() == []


def test_files_are_sent_in_their_own_class_and_syntax(receiver: wire.Receiver) -> None:
    files = samples.charset_files()[:3] + samples.real_files()[-3:]
    assert set(wire.send_files("127.0.0.1", receiver.port, "PARTNER", "TESTER", files).values()) == {0}
    sent = [samples.read_sample(path) for path in files]
    assert [(r.dataset, r.transfer_syntax) for r in receiver.received] == [(s.dataset, s.transfer_syntax) for s in sent]
    assert len(receiver.requests) == 1


def test_datasets_can_be_kept_on_disk(tmp_path: Path) -> None:
    with wire.Receiver(folder=tmp_path) as receiver, associate(receiver.port) as association:
        association.store(b"dataset", samples.CT_IMAGE, "1.1")
        assert receiver.received[0].dataset == b"dataset"
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"dataset"]


def test_waiting_in_vain_says_what_arrived(receiver: wire.Receiver) -> None:
    with pytest.raises(AssertionError, match="2 instances: 0 received"):
        receiver.wait_for(2, timeout=0.05)


# -- the proxy -------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(receiver: wire.Receiver) -> Iterator[wire.ChaosProxy]:
    with wire.ChaosProxy("127.0.0.1", receiver.port) as it:
        yield it


def test_proxy_passes_everything(receiver: wire.Receiver, proxy: wire.ChaosProxy) -> None:
    made = samples.make_instances(2, size="large")
    with associate(proxy.port) as association:
        assert [association.send_sample(x) for x in made] == [0, 0]
    assert [r.dataset for r in receiver.wait_for(2)] == [x.dataset for x in made]


def test_proxy_refuses_and_resumes(proxy: wire.ChaosProxy) -> None:
    with associate(proxy.port) as association:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            associate(proxy.port)
        assert association.store(b"x", samples.CT_IMAGE, "1.1") == 0
    proxy.resume()
    associate(proxy.port).release()


def test_proxy_swallows_and_delivers_late(receiver: wire.Receiver, proxy: wire.ChaosProxy) -> None:
    association = associate(proxy.port)
    association.channel.socket.settimeout(0.3)
    proxy.blackhole()
    association.send_store(b"dataset", samples.CT_IMAGE, "1.1")
    with pytest.raises(TimeoutError):
        association.read_response()
    assert receiver.received == []
    proxy.resume()
    assert association.read_response().status == 0


def test_proxy_lets_a_connection_die_untold(receiver: wire.Receiver, proxy: wire.ChaosProxy) -> None:
    association = associate(proxy.port)
    assert association.store(b"dataset", samples.CT_IMAGE, "1.1") == 0
    association.channel.socket.settimeout(0.3)
    proxy.vanish()
    association.send_store(b"dataset", samples.CT_IMAGE, "1.2")
    with pytest.raises(TimeoutError):
        association.read_response()
    proxy.resume()
    with pytest.raises(TimeoutError):
        association.read_response()
    association.channel.close()
    assert receiver.open_associations == 1
    assert associate(proxy.port).store(b"dataset", samples.CT_IMAGE, "1.3") == 0
    assert [each.sop_instance for each in receiver.received] == ["1.1", "1.3"]


def test_proxy_resets(receiver: wire.Receiver, proxy: wire.ChaosProxy) -> None:
    association = associate(proxy.port)
    proxy.reset()
    with pytest.raises(wire.Closed, match="reset"):
        association.recv_pdu()
    receiver.wait_until(lambda: len(receiver.faults) == 1)


def test_proxy_resets_in_the_middle_of_a_dataset(receiver: wire.Receiver, proxy: wire.ChaosProxy) -> None:
    made = samples.make_instances(1, size="large")[0]
    association = associate(proxy.port)
    proxy.reset_after(100_000)
    with pytest.raises(wire.Closed):
        association.send_sample(made)
    receiver.wait_until(lambda: len(receiver.faults) == 1)
    assert receiver.received == []
    assert associate(proxy.port).send_sample(made) == 0


def test_slow_proxy_delays(receiver: wire.Receiver) -> None:
    with wire.DelayProxy("127.0.0.1", receiver.port, 0.2) as proxy:
        association = associate(proxy.port)
        association.channel.socket.settimeout(0.1)
        association.send_store(b"x", samples.CT_IMAGE, "1.1")
        with pytest.raises(TimeoutError):
            association.read_response()
        association.channel.socket.settimeout(5)
        assert association.read_response().status == 0
