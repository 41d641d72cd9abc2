"""Which phases the model of expected volumes learns from."""

import numpy as np
import pandas as pd

from matlode.data.tables import Materials
from matlode.training.volume_recipe import find_lowest_phases


def test_only_the_lowest_phases_of_a_formula_are_learned_from(starter):
    frame = pd.DataFrame(
        {
            "formula": ["Si", "Si", "Si", "ClNa", "MgO", "MgO"],
            "energy_above_hull": [0.0, 0.02, 0.3, 0.4, np.nan, np.nan],
        }
    )
    materials = Materials(frame, starter.crystals.take(np.arange(6)))
    assert find_lowest_phases(materials).tolist() == [True, True, False, True, True, True]
    without = Materials(frame[["formula"]], materials.crystals)
    assert find_lowest_phases(without).all()
