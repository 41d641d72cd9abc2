"""Powder patterns of crystals, from pymatgen structures or a table, in one call."""

from matlode import load_starter, simulate_patterns
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.testing import rock_salt

(salt,) = simulate_patterns([rock_salt("NaCl", a_angstrom=5.64)])
strongest = STANDARD_SETTINGS.two_theta_deg[salt.argmax()]
print(f"NaCl: strongest at {strongest:.2f} degrees (200)")

starter = load_starter()
patterns = simulate_patterns(starter.crystals.take(range(500)))
print(f"{len(patterns)} patterns of {patterns.shape[1]} points")
