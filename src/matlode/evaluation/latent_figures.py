"""The paper's figures S2 to S5 from held-out materials, both faces side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import format_formula
from matlode.data.splits import TEST
from matlode.data.symmetry import crystal_system
from matlode.errors import InputError
from matlode.evaluation.latent_plots import (
    draw_compositions,
    draw_elements,
    draw_patterns,
    draw_samples,
    draw_systems,
)
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace, list_trained_faces
from matlode.progress import Progress, silent
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.training.table import TrainingTable

N_SHOWN = 8
N_MAPPED = 5000
N_SAMPLES = 50


def draw_latent_figures(
    out: Path,
    *,
    data: Path | None = None,
    models: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Path]:
    """Write S2 (patterns; and N_SAMPLES real ones beside as many of the prior), S3
    (compositions), S4 (composition map, element by element) and S5 (pattern map by crystal
    system) as PNG, SVG and HTML; returns the files.

    ``N_SHOWN`` and ``N_MAPPED`` test materials are chosen at random from ``seed``, which the
    file names say. Raises InputError without openTSNE (extra "figures").
    """
    table = TrainingTable.load(data)
    rng = np.random.default_rng(seed)
    test = rng.permutation(np.flatnonzero(table.roles == TEST))
    shown, mapped = test[:N_SHOWN], test[:N_MAPPED]
    spaces = {
        face: LatentSpace.load(models, face=face) for face in reversed(list_trained_faces(models))
    }
    frame = table.materials.frame
    titles = [format_formula(f) for f in frame["formula"].iloc[shown]]
    truth = table.compositions[shown], table.patterns[shown]
    images = {face: space.decode(space.encode(*truth)) for face, space in spaces.items()}
    files = draw_patterns(
        out / f"s2-patterns-seed{seed}", STANDARD_SETTINGS.two_theta_deg, truth[1],
        {face: pattern for face, (_, pattern) in images.items()}, titles,
    )  # fmt: skip
    files += draw_compositions(
        out / f"s3-compositions-seed{seed}", truth[0],
        {face: composition for face, (composition, _) in images.items()}, titles,
    )  # fmt: skip
    progress("figures", 2, 4)
    space = spaces["standard"]
    _, drawn = space.decode(space.sample_prior(N_SAMPLES, np.random.default_rng(seed)))
    files += draw_samples(
        out / f"s2-samples-seed{seed}", STANDARD_SETTINGS.two_theta_deg,
        {"real": table.patterns[mapped[:N_SAMPLES]], "drawn from the prior": drawn},
    )  # fmt: skip
    points = space.encode(table.compositions[mapped], table.patterns[mapped])
    names = [format_formula(f) for f in frame["formula"].iloc[mapped]]
    files += draw_elements(
        out / f"s4-composition-map-seed{seed}", embed_tsne(points[:, :COMPOSITION_LATENT], seed),
        table.compositions[mapped] > 0, names,
    )  # fmt: skip
    progress("figures", 3, 4)
    systems = np.array([crystal_system(int(g)) for g in frame["space_group"].iloc[mapped]])
    files += draw_systems(
        out / f"s5-pattern-map-seed{seed}", embed_tsne(points[:, COMPOSITION_LATENT:], seed),
        systems, names,
    )  # fmt: skip
    progress("figures", 4, 4)
    return files


def embed_tsne(points: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """A map (n, 2) of points (n, d) that keeps neighbours (van der Maaten and Hinton 2008)."""
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise InputError('maps need openTSNE: pip install "matlode[figures]".') from error
    perplexity = min(30, max(len(points) // 4, 2))
    return np.asarray(TSNE(perplexity=perplexity, random_state=seed, n_jobs=-1).fit(points), float)
