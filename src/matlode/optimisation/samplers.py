"""Registry of the samplers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from matlode.optimisation.evolution import CMASampler, EliteSampler
from matlode.optimisation.gaussian_process import GPSampler
from matlode.optimisation.gradient import GradientSampler
from matlode.optimisation.sampler import RandomSampler, Sampler
from matlode.optimisation.tpe import TPESampler

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "tpe": TPESampler(),
        "tpe-independent": TPESampler(multivariate=False),
        "gp": GPSampler(),
        "cma-es": CMASampler(),
        "gradient": GradientSampler(),
        "map-elites": EliteSampler(),
        "random": RandomSampler(),
    }
)
"""Name → sampler; ``tpe-independent`` is the sampler of Korolev et al. 2020."""
