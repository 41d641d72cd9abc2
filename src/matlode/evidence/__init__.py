"""Verification of crystal structures with machine-learning potentials: relaxation, energy above
the hull, elastic constants and phonons at Γ."""
