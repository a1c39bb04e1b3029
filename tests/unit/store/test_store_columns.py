"""store/columns.py: what is summed up of a site's own studies is what anybody counts who sees all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicomnode.dicom.instance import ATTRIBUTES
from dicomnode.operations.ports import Node
from dicomnode.rules.keys import Computed
from dicomnode.store.columns import column
from dicomnode.store.database import rows
from dicomnode.store.search import Scope
from dicomnode.store.terms import TABLE
from tests import fakes
from tests.samples import make_instances

OWN, OTHERS = Scope(site="harbour"), Scope(partners=("PUBPACS",), givers=("harbour",))
TOLD = {
    Computed.MODALITIES_IN_STUDY: "CT\\OT",
    Computed.PATIENT_STUDIES: "2",
    Computed.PATIENT_SERIES: "3",
    Computed.PATIENT_INSTANCES: "5",
    Computed.STUDY_SERIES: "2",
    Computed.STUDY_INSTANCES: "4",
    Computed.SERIES_INSTANCES: "3",
    Computed.INSTANCE_AVAILABILITY: "ONLINE",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Two studies of one patient, referred to PUBPACS: of CT three times and OT, and of CT once."""
    node = fakes.make_node(tmp_path_factory.mktemp("columns"))
    of_patient = {"PatientID": "P", "IssuerOfPatientID": "HARBOUR"}
    made = make_instances(3, seed="one", modality="CT", **of_patient)
    made += make_instances(1, seed="one", modality="OT", study_uid=made[0].study, series=2, **of_patient)
    fakes.receive_all(node, [*made, *make_instances(1, seed="two", modality="CT", **of_patient)], called="TO_GENERAL")
    fakes.complete(node)
    yield node
    node.database.close()


@pytest.mark.parametrize("name", Computed)
def test_who_sees_everything_is_told_the_same(node: Node, name: Computed) -> None:
    source = "FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study"
    with node.database.read():
        own, others = (
            rows(scope.spell(f"SELECT {column(name, own=bool(scope.site))} {source} ORDER BY i.id"), scope.who)[0][0]
            for scope in (OWN, OTHERS)
        )
    assert own == others != ""
    assert own == TOLD.get(name, own)


def test_an_attribute_is_a_column_of_its_level() -> None:
    for attribute in ATTRIBUTES:
        assert column(attribute.column, own=True) == f"{TABLE[attribute.level]}.{attribute.column}"
