"""The node's own requestor over TLS, against a receiver that speaks it: who it talks to, and what it says otherwise."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.errors import Unreachable
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Outgoing
from tests import fakes, wire
from tests.certificates import Authority, Identity
from tests.node import LOCAL
from tests.patience import patient
from tests.samples import Sample, make_study, read_sample
from tests.wire import Receiver

TEXT = """
node: {{ae_title: REFERNODE, tls: {tls}, limits: {{connect: 1s, response: 5s}}}}
sites: {{general: {{sector: public}}}}
partners: {{PUBPACS: {{site: general, host: "{host}", port: {port}, tls: {own}}}}}
"""


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Identity:
    return authority.issue("ours")


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Identity:
    return authority.issue("pacs", hosts=["IP:127.0.0.1"])


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere").issue("stranger")


def called(
    identity: Identity, port: int, host: str = LOCAL, own: object = "true", crl: Path | None = None
) -> tuple[Requestor, Partner]:
    """Our requestor with these papers, and the partner that listens there, which has to show its own."""
    text = TEXT.format(tls=identity.node("127.0.0.1:2762", crl), host=host, port=port, own=own)
    config: NodeConfig = fakes.configuration(text, Path("/nowhere"))
    return Requestor(config), config.partners["PUBPACS"]


def test_an_echo_and_a_study_go_over_tls(ours: Identity, pacs: Identity, tmp_path: Path) -> None:
    """Small images, and one that is longer than any buffer on its way."""
    paths = [*make_study(tmp_path, slices=2), *make_study(tmp_path / "large", slices=1, size="large")]
    samples = [read_sample(path) for path in paths]
    outgoing = [_outgoing(path, sample) for path, sample in zip(paths, samples, strict=True)]
    with Receiver(over=pacs.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        requestor, partner = called(ours, receiver.port)
        requestor.echo(partner)
        assert receiver.faults == []
        assert [(request.calling, request.called) for request in receiver.requests] == [("REFERNODE", "PUBPACS")]
        with requestor.associate(partner, list({each.context for each in outgoing})) as association:
            assert [association.send(each) for each in outgoing] == [0, 0, 0]
        assert {r.sop_instance: r.dataset for r in receiver.received} == {s.sop_instance: s.dataset for s in samples}
        with pytest.raises((wire.WireError, OSError)):
            wire.echo(LOCAL, receiver.port, "PUBPACS", timeout=1)  # and in clear there is nothing to be had


def _outgoing(path: Path, sample: Sample) -> Outgoing:
    return Outgoing(
        sample.sop_class,
        sample.sop_instance,
        sample.transfer_syntax,
        path,
        len(sample.dataset),
        hashlib.sha256(sample.dataset).hexdigest(),
    )


def failure(requestor: Requestor, partner: Partner) -> str:
    with pytest.raises(Unreachable) as caught:
        requestor.echo(partner)
    return str(caught.value)


def test_a_partner_that_nobody_vouches_for_is_told_nothing(ours: Identity, stranger: Identity) -> None:
    context = stranger.context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_NONE
    with Receiver(over=context) as receiver:
        text = failure(*called(ours, receiver.port))
        assert text.startswith("no connection over TLS: ")
        assert "node.tls.ca does not have the certificate of its issuer" in text
        receiver.wait_until(lambda: bool(receiver.faults))
        assert receiver.requests == []


def test_a_partner_that_is_another_host_is_told_nothing(ours: Identity, pacs: Identity) -> None:
    with Receiver(over=pacs.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        assert "not valid for 'localhost'" in failure(*called(ours, receiver.port, "localhost"))
        assert receiver.requests == []


def test_a_partner_that_shows_another_certificate_of_our_authority_is_told_nothing(
    ours: Identity, pacs: Identity, authority: Authority
) -> None:
    """Its host name would do, and its certificate is good: it is another's all the same."""
    other = authority.issue("other-pacs")
    with Receiver(over=other.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        for own in ({"spki": pacs.spki}, {"names": ["pacs.example"]}, {"spki": other.spki, "names": ["pacs.example"]}):
            text = failure(*called(ours, receiver.port, own=own))
            assert f"the certificate is not this partner's (its spki is {other.spki})" in text
        assert receiver.requests == []
        for own in ({"spki": [pacs.spki, other.spki]}, {"names": ["localhost"]}):
            requestor, partner = called(ours, receiver.port, own=own)
            requestor.echo(partner)
        assert len(receiver.requests) == 2


def test_a_partner_whose_certificate_is_revoked_is_told_nothing(
    ours: Identity, pacs: Identity, authority: Authority
) -> None:
    gone = authority.issue("gone-pacs")
    crl = authority.revoked(gone, name="requestor")
    with Receiver(over=gone.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        assert "it has been revoked" in failure(*called(ours, receiver.port, crl=crl))
        assert receiver.requests == []
    with Receiver(over=pacs.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        requestor, partner = called(ours, receiver.port, crl=crl)
        requestor.echo(partner)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_partner_that_does_not_take_our_certificate(
    stranger: Identity, pacs: Identity, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = pacs.context(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    odd = Identity(stranger.certificate, stranger.key, authority.certificate)
    with Receiver(over=context) as receiver:
        text = failure(*called(odd, receiver.port))
        assert "who issued our certificate" in text or "may not accept our certificate" in text
        receiver.wait_until(lambda: bool(receiver.faults))
        assert receiver.requests == []


def test_a_partner_that_speaks_clear_dicom(ours: Identity) -> None:
    with Receiver() as receiver:
        assert failure(*called(ours, receiver.port)).startswith("no connection over TLS: ")
        assert receiver.requests == []


@contextmanager
def silent() -> Iterator[int]:
    """A port where every connection is taken, and nothing said."""
    with socket.create_server((LOCAL, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_partner_that_is_silent_has_the_connect_deadline(ours: Identity) -> None:
    with silent() as port:
        begun = time.monotonic()
        assert "timed out" in failure(*called(ours, port))
        assert time.monotonic() - begun < patient(3)


def test_files_that_are_gone_are_named(ours: Identity, tmp_path: Path) -> None:
    gone = Identity(ours.certificate, ours.key, tmp_path / "none.pem")
    assert f"node.tls.ca: there is no file {tmp_path / 'none.pem'}" in failure(*called(gone, 1))


def test_files_that_are_gone_afterwards_change_nothing(pacs: Identity, authority: Authority) -> None:
    """What is in use stays, however often a partner is called."""
    brief = authority.issue("brief")
    with Receiver(over=pacs.context(ssl.PROTOCOL_TLS_SERVER)) as receiver:
        requestor, partner = called(brief, receiver.port)
        requestor.echo(partner)
        brief.key.unlink()
        threads = [threading.Thread(target=requestor.echo, args=(partner,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        receiver.wait_until(lambda: len(receiver.requests) == 5)
