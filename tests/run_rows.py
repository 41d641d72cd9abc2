"""Rows of run folders that tests change where they need it."""

from __future__ import annotations

from matlode.run_records import CandidateRow, EvidenceRow

CANDIDATE = {
    "rank": 1, "formula": "AB", "chemical_system": "A-B", "space_group": 191,
    "crystal_system": "hexagonal", "prototype": "A2B_hP3_191_c_b", "bulk_modulus": 1.0,
    "bulk_modulus_low": 0.5, "bulk_modulus_high": 2.0, "shear_modulus": 3.0,
    "shear_modulus_low": 2.0, "shear_modulus_high": 4.0, "formation_energy": -0.5,
    "hull_probability_50_mev": 0.75, "charge_neutral": "yes", "novelty": "in none of the lists",
    "nearest_known": "AC (x-1)", "structure_file": "structures/001-AB.cif",
    "verdict": "accepted", "reasons": "note a | b", "merit": -0.25, "in_ranges": True,
    "band_gap": 0.0, "band_gap_low": 0.0, "band_gap_high": 0.25,
}  # fmt: skip
"""As in candidates.json."""
EVIDENCE = {
    "formula": "TaB2", "source_file": "001-TaB2.cif", "relaxed_file": "relaxed/001-TaB2.cif",
    "relaxed": True, "fell_apart": "", "steps": 20, "volume_change": 0.01, "space_group": 191,
    "unchanged": True, "formation_energy_ev": -0.25, "second_potential_formation_energy_ev": -0.26,
    "disagreement_ev": 0.01, "potentials_agree": True, "energy_above_hull_ev": 0.02,
    "second_potential_energy_above_hull_ev": None, "decomposition": "1.00 TaB2",
    "competing_phases": 3, "known_phases": 4, "bulk_modulus_gpa": 290.0,
    "eos_bulk_modulus_gpa": 291.0,
    "shear_modulus_gpa": 220.0, "youngs_modulus_gpa": 520.0, "poisson_ratio": 0.2,
    "pugh_ratio": 1.3, "vickers_hardness_gpa": 28.0, "vickers_hardness_chen_gpa": 30.0,
    "born_stable": True, "lowest_gamma_thz": 8.0, "stable_at_gamma": True,
    "predicted_bulk_modulus_gpa": 300.0, "predicted_shear_modulus_gpa": 210.0,
    "primary_potential": {"steps": 20}, "second_potential": {"steps": 5},
    "hull": {"n_known": 4}, "elasticity": None,
}  # fmt: skip
"""As in evidence.json."""


def candidate_row(**columns: object) -> CandidateRow:
    """A candidate with some columns changed."""
    return CandidateRow.from_columns({**CANDIDATE, **columns})


def evidence_row(**columns: object) -> EvidenceRow:
    """A row of evidence with some columns changed."""
    return EvidenceRow.from_columns({**EVIDENCE, **columns})
