"""In clear or over TLS: the same tests, the same tools.

Over TLS the node has its second socket, and calls every partner by TLS alone; those partners call it so, too.
Modalities may call either way, so that what a test only prepares is sent in clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import dcmtk
from tests.certificates import Identity
from tests.node import LOCAL, Node, changed, free_port
from tests.tunnel import Tunnel


@dataclass(frozen=True)
class Tools:
    """DCMTK's tools for one node: `port` for those that speak as it does, `tunnel` for those that only speak clear."""

    port: int
    tunnel: int
    options: tuple[object, ...]

    def echoscu(self, **options: Any) -> dcmtk.Done:
        return dcmtk.echoscu(self.port, options=self.options, **options)

    def storescu(self, paths: Sequence[Path], **options: Any) -> dcmtk.Done:
        return dcmtk.storescu(self.port, paths, options=self.options, **options)

    def find(self, level: str, keys: Mapping[str, str], **options: Any) -> dcmtk.Found:
        return dcmtk.find(self.port, level, keys, options=self.options, **options)

    def movescu(self, destination: str, level: str, keys: Mapping[str, str], **options: Any) -> dcmtk.Done:
        return dcmtk.movescu(self.tunnel, destination, level, keys, **options)

    def dcmsend(self, paths: Sequence[Path], **options: Any) -> tuple[dcmtk.Done, str]:
        return dcmtk.dcmsend(self.tunnel, paths, **options)


@dataclass(frozen=True)
class Transport:
    """Both sides' papers over TLS; none of either in clear."""

    node: Identity | None = None
    peer: Identity | None = None

    def configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A node's configuration, changed so that this is how it speaks."""
        if self.node is None:
            return dict(config)
        called = {name: {"tls": True} for name, partner in config["partners"].items() if "host" in partner}
        papers = self.node.node(f"{LOCAL}:{free_port()}")
        return changed(config, {"node": {"tls": papers}, "partners": called})

    def port(self, node: Node) -> int:
        """Where the node listens for this."""
        bind = node.config["node"]["tls"]["bind"] if self.node else node.config["node"]["bind"]
        return int(bind.rpartition(":")[2])

    @property
    def wrap(self) -> Callable[..., Any] | None:
        """For tests.wire, whose associations are clear otherwise."""
        return self.peer.context().wrap_socket if self.peer else None

    @property
    def orthanc(self) -> dict[str, Any]:
        """For Orthanc's configuration, which knows one or the other."""
        if self.peer is None:
            return {}
        return {
            "DicomTlsEnabled": True,
            "DicomTlsPrivateKey": str(self.peer.key),
            "DicomTlsCertificate": str(self.peer.certificate),
            "DicomTlsTrustedCertificates": str(self.peer.ca),
            "DicomTlsRemoteCertificateRequired": True,
        }

    @contextmanager
    def tools(self, node: Node) -> Iterator[Tools]:
        """DCMTK's tools, to talk to the node."""
        if self.peer is None:
            yield Tools(node.port, node.port, ())
            return
        with Tunnel(LOCAL, self.port(node), self.peer.context()) as tunnel:
            yield Tools(self.port(node), tunnel.port, self.peer.dcmtk)
