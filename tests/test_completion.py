"""What the shell completes is what the tables hold."""

import pytest

from matlode import completion
from matlode.data.cells import Cell
from matlode.data.splits import SPLITS
from matlode.data.symmetry import CRYSTAL_SYSTEMS
from matlode.evidence.potentials import POTENTIALS
from matlode.exchange.formats import FORMATS
from matlode.optimisation.samplers import SAMPLERS
from matlode.paper.tune import PRUNERS
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS
from matlode.realisation.structure_families import FAMILIES
from matlode.representation.radiation import find_wavelength
from matlode.representation.streaming import QUANTITIES
from matlode.training.model_table import MODELS


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (completion.PROPERTIES, [*ENDPOINTS, *DERIVATIONS]),
        (completion.PROTOTYPES, FAMILIES),
        (completion.CRYSTAL_SYSTEMS, CRYSTAL_SYSTEMS),
        (completion.SAMPLERS, SAMPLERS),
        (completion.FORMATS, FORMATS),
        (completion.POTENTIALS, POTENTIALS),
        (completion.SPLITS, SPLITS),
        (completion.PRUNERS, PRUNERS),
        (completion.ARRAYS, QUANTITIES),
        (completion.CELLS, [cell.value for cell in Cell]),
    ],
)
def test_names_are_those_of_the_tables(names, table):
    assert list(names) == list(table)


def test_every_model_offered_can_be_trained():
    assert set(completion.complete_models("")) <= set(MODELS)
    assert "standard-properties" in completion.complete_models("standard")


def test_every_radiation_offered_is_known():
    assert all(0.4 < find_wavelength(name) < 3 for name in completion.RADIATIONS)
