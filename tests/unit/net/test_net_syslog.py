"""net/syslog.py: RFC 5424 over RFC 5425, to a receiver that reads it, and to those that do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.errors import AssociationLost, ConfigurationError, PartnerError, Unreachable
from dicomnode.net import syslog
from dicomnode.operations.ports import AuditMessage
from tests import collector, fakes
from tests.certificates import Authority, Identity

AT = "2026-03-01T10:00:00.000000Z"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Identity:
    return authority.issue("node")


@pytest.fixture
def receiver(authority: Authority) -> Iterator[collector.Collector]:
    made = collector.Collector(authority.issue("collector"))
    yield made
    made.close()


def client(ours: Identity, port: int, folder: Path, host: str = "127.0.0.1") -> syslog.Collector:
    tls = ", ".join(f"{key}: {value}" for key, value in ours.node("127.0.0.1:2762").items())
    more = f"tls: {{{tls}}}, audit: {{collector: '{host}:{port}'}}, limits: {{connect: 2s, response: 1s, "
    return syslog.Collector(fakes.configuration(fakes.CONFIG.replace("limits: {", more, 1), folder))


def message(number: int = 1, severity: int = 5, size: int = 0) -> AuditMessage:
    return AuditMessage(AT, severity, f"<AuditMessage n='{number}'>{'x' * size}</AuditMessage>".encode())


def test_messages_come_in_order_each_with_its_header(
    receiver: collector.Collector, ours: Identity, tmp_path: Path
) -> None:
    client(ours, receiver.port, tmp_path).deliver([message(1), message(2, severity=4)])
    first, second = receiver.messages
    header = rb"<85>1 2026-03-01T10:00:00\.000000Z \S+ REFERNODE \d+ DICOM\+RFC3881 - \xef\xbb\xbf<AuditMessage n='1'>"
    assert re.match(header, first)
    assert second.startswith(b"<84>1 ")
    assert second.endswith(b"<AuditMessage n='2'></AuditMessage>")


def test_a_message_may_be_long(receiver: collector.Collector, ours: Identity, tmp_path: Path) -> None:
    client(ours, receiver.port, tmp_path).deliver([message(1, size=100_000), message(2)])
    assert [len(each) > 100_000 for each in receiver.messages] == [True, False]


@pytest.mark.parametrize("fails", ["deaf", "reset", "silent"])
def test_what_may_not_have_been_read_is_an_error(
    receiver: collector.Collector, ours: Identity, tmp_path: Path, fails: str
) -> None:
    receiver.fails = fails
    with pytest.raises(AssociationLost):
        client(ours, receiver.port, tmp_path).deliver([message(n, size=50_000) for n in range(40)])


def test_an_end_without_a_farewell_is_one(receiver: collector.Collector, ours: Identity, tmp_path: Path) -> None:
    receiver.fails = "rude"
    client(ours, receiver.port, tmp_path).deliver([message()])
    assert len(receiver.messages) == 1


def test_nobody_there_is_unreachable(receiver: collector.Collector, ours: Identity, tmp_path: Path) -> None:
    receiver.close()
    with pytest.raises(Unreachable):
        client(ours, receiver.port, tmp_path).deliver([message()])


def test_who_is_not_whom_the_configuration_names_is_told_nothing(
    authority: Authority, ours: Identity, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other", "other").issue("collector")
    elsewhere = authority.issue("elsewhere", hosts=("DNS:elsewhere.example",))
    for identity in (stranger, elsewhere):
        other = collector.Collector(identity)
        with pytest.raises(PartnerError):
            client(ours, other.port, tmp_path).deliver([message()])
        assert other.messages == []
        other.close()


def test_a_name_that_no_resolver_can_be_asked_for_is_unreachable(ours: Identity, tmp_path: Path) -> None:
    made = client(ours, 6514, tmp_path)
    made._place = ("audit..hospital", 6514)  # as a configuration has it that was loaded by an older version
    with pytest.raises(Unreachable):
        made.deliver([message()])


def test_files_that_are_missing_keep_nobody_from_what_else_there_is(
    receiver: collector.Collector, authority: Authority, tmp_path: Path
) -> None:
    mine = authority.issue("missing")
    key = mine.key.read_bytes()
    mine.key.unlink()
    made = client(mine, receiver.port, tmp_path)
    with pytest.raises(ConfigurationError):
        made.deliver([message()])
    mine.key.write_bytes(key)
    mine.key.chmod(0o600)
    made.deliver([message()])
    assert len(receiver.messages) == 1
