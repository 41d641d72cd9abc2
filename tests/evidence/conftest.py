"""A potential that costs nothing: ASE's effective medium theory of a few metals."""

from types import MappingProxyType

import pytest

from matlode.evidence import potentials
from matlode.evidence.potentials import PotentialInfo


def _emt(device, weights):
    from ase.calculators.emt import EMT

    return EMT()


@pytest.fixture
def emt(monkeypatch):
    """The name of the potential."""
    info = PotentialInfo("emt", "ase", "emt", "Jacobsen et al., 1996", corrected=True, load=_emt)
    known = {**potentials.POTENTIALS, "emt": info}
    monkeypatch.setattr(potentials, "POTENTIALS", MappingProxyType(known))
    potentials.load_calculator.cache_clear()
    yield "emt"
    potentials.load_calculator.cache_clear()
