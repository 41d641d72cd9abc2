"""matlode finds functional crystals outside the known databases.

>>> from matlode import LatentSpace, predict, search, simulate_patterns

Names are loaded when they are used, so that importing matlode costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matlode.kernel_cache import choose_kernel_cache
from matlode.version import __version__ as __version__

if TYPE_CHECKING:
    from matlode.cluster import Cluster
    from matlode.data.tables import load_starter, read_table
    from matlode.engine import Processes
    from matlode.evaluation.properties import measure_scores, stored_scores
    from matlode.exchange.formats import export
    from matlode.jobs.deprecated import Identifier, Toolbox
    from matlode.jobs.identify import identify
    from matlode.jobs.import_data import import_data
    from matlode.jobs.known import Known
    from matlode.jobs.models import Models
    from matlode.jobs.predict import predict, stream_predictions
    from matlode.jobs.relax import relax, relax_run
    from matlode.jobs.runs import Run, explain
    from matlode.jobs.search import resume, search
    from matlode.jobs.solve import solve
    from matlode.jobs.starts import SearchSettings
    from matlode.jobs.xrd import xrd
    from matlode.latent.space import LatentSpace
    from matlode.paper.reproduce import reproduce
    from matlode.paper.tune import tune
    from matlode.representation.composition import composition_vectors
    from matlode.representation.diffraction import simulate_patterns, simulate_peaks
    from matlode.representation.patterns import read_pattern
    from matlode.representation.streaming import stream_table
    from matlode.run_folder import RunFolder
    from matlode.training.check_data import check_data
    from matlode.training.train import train_models

choose_kernel_cache(Path(__file__).parent)

_HOMES = {
    "Cluster": "cluster",
    "Identifier": "jobs.deprecated",
    "Known": "jobs.known",
    "LatentSpace": "latent.space",
    "Models": "jobs.models",
    "Processes": "engine",
    "Run": "jobs.runs",
    "RunFolder": "run_folder",
    "SearchSettings": "jobs.starts",
    "Toolbox": "jobs.deprecated",
    "check_data": "training.check_data",
    "composition_vectors": "representation.composition",
    "explain": "jobs.runs",
    "export": "exchange.formats",
    "identify": "jobs.identify",
    "import_data": "jobs.import_data",
    "load_starter": "data.tables",
    "measure_scores": "evaluation.properties",
    "predict": "jobs.predict",
    "read_pattern": "representation.patterns",
    "read_table": "data.tables",
    "relax": "jobs.relax",
    "relax_run": "jobs.relax",
    "reproduce": "paper.reproduce",
    "resume": "jobs.search",
    "search": "jobs.search",
    "simulate_patterns": "representation.diffraction",
    "simulate_peaks": "representation.diffraction",
    "solve": "jobs.solve",
    "stored_scores": "evaluation.properties",
    "stream_predictions": "jobs.predict",
    "stream_table": "representation.streaming",
    "train_models": "training.train",
    "tune": "paper.tune",
    "xrd": "jobs.xrd",
}

__all__ = [
    "Cluster",
    "Identifier",
    "Known",
    "LatentSpace",
    "Models",
    "Processes",
    "Run",
    "RunFolder",
    "SearchSettings",
    "Toolbox",
    "check_data",
    "composition_vectors",
    "explain",
    "export",
    "identify",
    "import_data",
    "load_starter",
    "measure_scores",
    "predict",
    "read_pattern",
    "read_table",
    "relax",
    "relax_run",
    "reproduce",
    "resume",
    "search",
    "simulate_patterns",
    "simulate_peaks",
    "solve",
    "stored_scores",
    "stream_predictions",
    "stream_table",
    "train_models",
    "tune",
    "xrd",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'matlode' has no attribute '{name}'")
    return getattr(import_module(f"matlode.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
