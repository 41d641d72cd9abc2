"""A known material as a point of the latent space, and what the point decodes to."""

import numpy as np

from matlode import LatentSpace, composition_vectors, simulate_patterns
from matlode.representation.composition import find_integer_formulas
from matlode.testing import fluorite, perovskite

crystals = [fluorite("CaF2", a_angstrom=5.46), perovskite("SrTiO3", a_angstrom=3.905)]
patterns = simulate_patterns(crystals)
space = LatentSpace.load()
points = space.encode(composition_vectors(crystals), patterns)
compositions, images = space.decode(points)
norms = np.linalg.norm(images, axis=1) * np.linalg.norm(patterns, axis=1)
matches = (images * patterns).sum(axis=1) / norms
for crystal, formula, match in zip(
    crystals, find_integer_formulas(compositions), matches, strict=True
):
    print(
        f"{crystal.reduced_formula} -> {points.shape[1]} numbers -> {formula}, cosine {match:.3f}"
    )
