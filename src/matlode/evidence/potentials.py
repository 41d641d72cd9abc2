"""Machine-learning potentials whose packages include the weights, so that they work offline."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from matlode.errors import GoalError, InputError, suggest

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


@dataclass(frozen=True)
class PotentialInfo:
    """Description of a potential, available without loading it."""

    name: str
    package: str
    weights: str
    source: str
    """Reference of the publication."""
    corrected: bool
    """Whether its energies include the Materials Project's corrections of 2020, because its
    training energies do. Otherwise they are uncorrected VASP energies."""
    load: Callable[[str, str], Calculator]
    """Device, weights → ASE calculator."""
    sha256: str = ""
    """Checksum of the module of a calculator of one's own."""

    @property
    def key(self) -> str:
        """Name, package version and weights, which identify a result; name and checksum for a
        calculator of one's own."""
        if self.sha256:
            return f"{self.name}:{self.sha256}"
        return f"{self.name}:{self.package}-{_version(self.package)}:{self.weights}"


def _load_sevennet(device: str, weights: str) -> Calculator:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(weights, device=device)


def _load_chgnet(device: str, weights: str) -> Calculator:
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    model = CHGNet.load(model_name=weights, use_device=device, verbose=False)
    return CHGNetCalculator(model, use_device=device, on_isolated_atoms="ignore")


_PARK = "Park et al., J. Chem. Theory Comput. 20, 4857, 2024"
_DENG = "Deng et al., Nat. Mach. Intell. 5, 1031, 2023"

NEVER_SEEN = frozenset({84, 85, 86, 87, 88, *range(95, 119)})
"""Atomic numbers of elements that are absent from the training data of all potentials."""

POTENTIALS: Mapping[str, PotentialInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            PotentialInfo("sevennet-l3i5", "sevenn", "7net-l3i5", _PARK, False, _load_sevennet),
            PotentialInfo("sevennet-0", "sevenn", "7net-0", _PARK, False, _load_sevennet),
            PotentialInfo("chgnet", "chgnet", "0.3.0", _DENG, True, _load_chgnet),
        )
    }
)
"""Name → potential. The first is the most accurate, the second is three times faster. The third has
a different architecture, trained on the same calculations."""

PRIMARY_POTENTIAL = "sevennet-l3i5"
"""The potential that computes every quantity."""
SECOND_POTENTIAL = "chgnet"
"""The potential that checks the energies of the primary one."""


def find_potential(name: str) -> PotentialInfo:
    """The entry ``name`` of POTENTIALS, or the ASE calculator that ``MODULE:FACTORY`` returns.

    The factory is a function without arguments in an importable module. Energies are those of
    uncorrected calculations, unless it has an attribute ``corrected`` that is true. Raises
    GoalError for an unknown name, InputError if the package is not installed.
    """
    if ":" in name:
        return _find_factory(name)
    if name not in POTENTIALS:
        raise GoalError(f'unknown potential "{name}". {suggest(name, POTENTIALS)}')
    info = POTENTIALS[name]
    try:
        _version(info.package)
    except PackageNotFoundError as error:
        raise InputError(
            f'the potential "{name}" needs the package {info.package}, which is not installed: '
            'run pip install "matlode[relax]".'
        ) from error
    return info


@cache
def _find_factory(name: str) -> PotentialInfo:
    module_name, _, factory_name = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = import_module(module_name)
        factory = getattr(module, factory_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise GoalError(
            f'no calculator "{name}" ({error}); expected MODULE:FACTORY, a function of an '
            "importable module that returns an ASE calculator."
        ) from error
    file = getattr(module, "__file__", None)
    content = Path(file).read_bytes() if file else name.encode()
    return PotentialInfo(
        name=name,
        package="",
        weights=name,
        source="",
        corrected=bool(getattr(factory, "corrected", False)),
        load=lambda device, weights: factory(),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@cache
def load_calculator(name: str) -> Calculator:
    """Load the ASE calculator of a potential once per process, on the GPU if one is available."""
    import torch

    info = find_potential(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # the packages print banners and warn about missing accelerators
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        calculator: Calculator = info.load(device, info.weights)
    return calculator


@cache
def _version(package: str) -> str:
    return version(package)
