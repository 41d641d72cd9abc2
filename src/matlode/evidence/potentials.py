"""Machine-learned potentials whose weights come with their packages, so that they work offline."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from matlode.errors import GoalError, InputError, suggest

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


@dataclass(frozen=True)
class PotentialInfo:
    """What is known of a potential without loading it."""

    name: str
    package: str
    weights: str
    source: str
    """Paper."""
    corrected: bool
    """Whether its energies hold the Materials Project's corrections of 2020 already, as the
    energies do that it learned from; otherwise they are raw ones of VASP."""
    load: Callable[[str, str], Any]
    """Device, weights → ASE calculator."""

    @property
    def key(self) -> str:
        """Name, package version and weights: what results depend on."""
        return f"{self.name}:{self.package}-{_version(self.package)}:{self.weights}"


def _sevennet(device: str, weights: str) -> Any:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(weights, device=device)


def _chgnet(device: str, weights: str) -> Any:
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    model = CHGNet.load(model_name=weights, use_device=device, verbose=False)
    return CHGNetCalculator(model, use_device=device, on_isolated_atoms="ignore")


_PARK = "Park et al., J. Chem. Theory Comput. 20, 4857, 2024"
_DENG = "Deng et al., Nat. Mach. Intell. 5, 1031, 2023"

NEVER_SEEN = frozenset({84, 85, 86, 87, 88, *range(95, 119)})
"""Elements that are not in the calculations which all of the potentials learned from."""

POTENTIALS: Mapping[str, PotentialInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            PotentialInfo("sevennet-l3i5", "sevenn", "7net-l3i5", _PARK, False, _sevennet),
            PotentialInfo("sevennet-0", "sevenn", "7net-0", _PARK, False, _sevennet),
            PotentialInfo("chgnet", "chgnet", "0.3.0", _DENG, True, _chgnet),
        )
    }
)
"""name → potential. The first is the most accurate, the second three times quicker; the third
learned from the same calculations, but is built otherwise."""

JUDGE, WITNESS = "sevennet-l3i5", "chgnet"
"""The potential that everything is computed with, and the one asked whether it agrees."""


def potential_info(name: str) -> PotentialInfo:
    """Of POTENTIALS; raises GoalError for an unknown name, InputError if its package is missing."""
    if name not in POTENTIALS:
        raise GoalError(f'"{name}" is no potential. {suggest(name, POTENTIALS)}')
    info = POTENTIALS[name]
    try:
        _version(info.package)
    except PackageNotFoundError as error:
        raise InputError(
            f'the potential "{name}" needs the package {info.package}: '
            'pip install "matlode[relax]".'
        ) from error
    return info


@cache
def load_calculator(name: str) -> Calculator:
    """The ASE calculator of a potential, loaded once per process; on a GPU where there is one."""
    import torch

    info = potential_info(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # packages greet, and warn of accelerators that are not there
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        calculator: Calculator = info.load(device, info.weights)
    return calculator


@cache
def _version(package: str) -> str:
    return version(package)
