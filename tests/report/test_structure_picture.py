import re
from xml.etree import ElementTree

import numpy as np

from matlode.report.structure_picture import SIZE, draw_structure
from matlode.testing import rock_salt


def draw(species, lattice, frac_coords):
    return draw_structure(species, np.array(lattice), np.array(frac_coords))


def test_atoms_on_the_border_are_drawn_on_both_sides():
    (corner,) = [draw(["Na"], np.eye(3) * 4, [[0, 0, 0]])]
    assert corner.count("<circle") == 8
    assert corner.count('class="cell"') == 12
    assert draw(["Na"], np.eye(3) * 4, [[0.5, 0.5, 0.5]]).count("<circle") == 1
    assert draw(["Na"], np.eye(3) * 4, [[1.0 - 1e-9, 0.5, 0.5]]).count("<circle") == 2


def test_neighbours_are_bonded_and_strangers_are_not():
    salt = rock_salt("NaCl", a_angstrom=5.64)
    names = [site.specie.symbol for site in salt]
    assert 'class="bond"' in draw(names, salt.lattice.matrix, salt.frac_coords)
    far = draw(["Na", "Cl"], np.eye(3) * 20, [[0.2, 0.5, 0.5], [0.8, 0.5, 0.5]])
    assert 'class="bond"' not in far


def test_the_picture_is_sound_and_nothing_leaves_it():
    cell = [[3, 0, 0], [1, 30, 0], [-2, 1, 4]]
    picture = draw(["Ti", "<b>"], cell, [[0, 0, 0], [0.3, 0.6, 0.9]])
    ElementTree.fromstring(picture)
    numbers = [float(n) for n in re.findall(r'(?:c|[xy])[xy12]="(-?[\d.]+)"', picture)]
    assert min(numbers) >= 0
    assert max(numbers) <= SIZE
