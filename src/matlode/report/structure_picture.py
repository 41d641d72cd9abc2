"""A crystal as a still picture (SVG), for where a viewer would be too much."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

SIZE = 200
"""Width and height, in the picture's units."""
VIEW_DEG = (-72.0, 0.0, -18.0)
"""Turns around x, y and z: the third axis points up, the first to the right."""
LONGEST_BOND = 1.15
"""In sums of covalent radii."""
AT_BORDER = 1e-3
"""Fractional coordinates that count as on the border of the cell."""


def draw_structure(
    species: Sequence[str], lattice: NDArray[np.floating], frac_coords: NDArray[np.floating]
) -> Markup:
    """Draw one cell with its atoms, those on its border repeated, and bonds.

    ``lattice`` is (3, 3) in Å, one vector a row; ``frac_coords`` is (n_atoms, 3).
    """
    from ase.data import atomic_numbers, covalent_radii
    from ase.data.colors import jmol_colors

    names, frac = _repeat_border(species, frac_coords)
    z = np.array([atomic_numbers.get(name, 0) for name in names])
    colours = [_to_hex(jmol_colors[number]) for number in z]
    corners = np.array(list(product((0, 1), repeat=3)))
    turn = _rotate(VIEW_DEG)
    places, corner_places = frac @ lattice @ turn, corners @ lattice @ turn
    radii = 0.38 * covalent_radii[z]
    scale, middle = _fit(np.vstack([places, corner_places]), radii.max())

    def at(point: NDArray[np.floating]) -> tuple[float, float]:
        x, y = (point[:2] - middle) * scale
        return round(SIZE / 2 + float(x), 1), round(SIZE / 2 - float(y), 1)

    parts: list[tuple[float, str]] = []
    for first, second in product(range(8), repeat=2):
        if first < second and np.abs(corners[first] - corners[second]).sum() == 1:
            ends = corner_places[[first, second]]
            parts.append((float(ends[:, 2].mean()), _line(at(ends[0]), at(ends[1]), "cell")))
    for first, second in _find_bonds(places, covalent_radii[z]):
        middle_place = places[[first, second]].mean(axis=0)
        for end in (first, second):
            depth = float(places[end, 2] + middle_place[2]) / 2
            line = _line(at(places[end]), at(middle_place), "bond", colours[end])
            parts.append((depth, line))
    for place, name, colour, radius in zip(places, names, colours, radii, strict=True):
        x, y = at(place)
        circle = (
            f'<circle cx="{x}" cy="{y}" r="{radius * scale:.1f}" fill="{colour}">'
            f"<title>{escape(name)}</title></circle>"
        )
        parts.append((float(place[2]), circle))
    drawn = "".join(text for _, text in sorted(parts, key=lambda part: part[0]))
    return Markup(
        f'<svg class="crystal" viewBox="0 0 {SIZE} {SIZE}" aria-hidden="true">{drawn}</svg>'
    )


def _repeat_border(
    species: Sequence[str], frac_coords: NDArray[np.floating]
) -> tuple[list[str], NDArray[np.float64]]:
    """Atoms of the cell; those at a border are also at the opposite one."""
    names, found = [], []
    for name, place in zip(species, np.mod(frac_coords + AT_BORDER, 1) - AT_BORDER, strict=True):
        shifts = [(0, 1) if abs(x) <= AT_BORDER else (0,) for x in place]
        for shift in product(*shifts):
            names.append(name)
            found.append(place + shift)
    return names, np.array(found)


def _find_bonds(places: NDArray[np.floating], radii: NDArray[np.floating]) -> list[tuple[int, int]]:
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    near = distances <= LONGEST_BOND * (radii[:, None] + radii[None])
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1))]


def _rotate(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Matrix that turns row vectors around z, then y, then x."""
    from scipy.spatial.transform import Rotation

    x, y, z = angles_deg
    return np.asarray(Rotation.from_euler("zyx", [z, y, x], degrees=True).as_matrix().T)


def _fit(places: NDArray[np.floating], largest_radius: float) -> tuple[float, NDArray[np.floating]]:
    """Scale and middle that let the picture hold all places."""
    low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
    return float(SIZE / ((high - low).max() + 2 * largest_radius)), (low + high) / 2


def _line(start: tuple[float, float], end: tuple[float, float], kind: str, colour: str = "") -> str:
    stroke = f' stroke="{colour}"' if colour else ""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"{stroke}/>'


def _to_hex(colour: NDArray[np.floating]) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)
