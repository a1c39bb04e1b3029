"""An archive that has been at it for a month: so many instances in the index and on disk before a node is started."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.config import load
from dicomnode.dicom import part10, walk
from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.operations.ports import Node, now
from dicomnode.run import workers
from dicomnode.store import index
from dicomnode.store.archive import Stored, ulid
from tests.samples import make_instances, uid

_MONTH = 30 * 86_400_000_000
_HOUR = 3_600_000_000
_STUDY = 250
_BATCH = 5000


def hoard(configuration: Path, count: int) -> None:
    """Fill the data folder of a node that does not run. The files are links to a few, each as its row says."""
    node = workers.build(load.load(configuration), 0, ulid())
    node.database.migrate()
    for first in range(0, count, _BATCH):
        model, instance = _model(node, first)
        moments = [now() - _MONTH + _MONTH * number // (count + 1) for number in range(first, first + _BATCH)]
        made = range(first, min(first + _BATCH, count))
        kept = [_keep(node, model, instance, number, at) for number, at in zip(made, moments, strict=False)]
        node.database.write(lambda kept=kept: [index.record(*each, "HARBOUR") for each in kept] and None)
    node.database.checkpoint()
    node.database.close()
    node.archive.clear_incoming(node.worker)


def _model(node: Node, number: int) -> tuple[Stored, SopInstance]:
    """A file that others are links to."""
    (sample,) = make_instances(1, seed=("hoard", number))
    origin = Origin("CT1", "harbour", now(), "CT1", "REFERNODE")
    header = part10.encode(sample.sop_class, sample.sop_instance, sample.transfer_syntax, origin)
    part = node.archive.part(header, 1 << 20)
    part.write(sample.dataset)
    part.finish()
    instance = walk.header(part)
    return node.archive.keep(part, now() - _MONTH - _HOUR), instance


def _keep(node: Node, model: Stored, of: SopInstance, number: int, at: int) -> tuple[Stored, SopInstance, Origin]:
    """One instance that came then."""
    study, origin = number // _STUDY, Origin("CT1", "harbour", at, "CT1", "REFERNODE")
    file = f"instances/{datetime.fromtimestamp(at / 1e6, UTC):%Y%m%d/%H}/{ulid()}.dcm"
    (node.archive.root / file).parent.mkdir(parents=True, exist_ok=True)
    os.link(node.archive.path(model.file), node.archive.root / file)
    uids = {"study_instance_uid": uid("hoard", study), "series_instance_uid": uid("hoard", study, 1)}
    instance = of._replace(sop_instance_uid=uid("hoard", number, "instance"), **uids)
    return replace(model, file=file), instance, origin
