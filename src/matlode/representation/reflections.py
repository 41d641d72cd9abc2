"""Compiled kernels that compute the powder peaks of crystals.

Kinematic diffraction as in De Graef and McHenry, *Structure of Materials* (2012), chapters
11 and 12, and in pymatgen's XRDCalculator: F(g) = Σ f_j occ_j exp(2πi g·r_j),
I = |F|² (1 + cos²2θ) / (sin²θ cosθ), summed over all g in the limiting sphere.

The symmetry of the crystal is used to avoid most of the work, without a space-group library:

- The operations of the crystal are found among those of its lattice (``find_lattice_operations``,
  ``_symmetrise``). The tolerances are so small that averaging over the group changes a profile
  by less than 1e-7 of its height, since the remaining error is of second order.
- One reflection per orbit of the Laue group is computed and multiplied by its multiplicity. It is
  the lexicographically largest one; the others lie beyond planes through the origin and are never
  visited (``_fundamental_planes``).
- Centring translations reduce the atoms to one per orbit; with a centre of symmetry, only cosines
  are needed.

The waves of an atom are evaluated as polynomials in vector registers, one reflection per lane.
All numba functions are in one file, since numba's cache does not detect changes in other files.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

kernel = njit(cache=True, fastmath=True)
leaf = njit(cache=True, fastmath=True, _nrt=False)
"""Kernels that create no arrays. They need no reference counts, whose atomic updates would take a
sixth of the time."""

MERGE_TOLERANCE_DEG = 1e-4
"""Neighbouring reflections closer than this are merged (pymatgen's TWO_THETA_TOL)."""
WEAK_PEAK = 1e-5
"""Peaks weaker than this fraction of the strongest are left out (pymatgen's
SCALED_INTENSITY_TOL)."""
POSITION_TOLERANCE_A = 2e-5
"""Distance in Å up to which an atom and an image coincide: (2π g δ)² is 1e-8 for Cu Kα at 90°."""
METRIC_TOLERANCE = 1.5e-6
"""Relative difference of squared lengths of equal axes, corresponding to 9e-5° in 2θ at 90°."""
NEAR_MISS = 6.0
"""If a deviation lies between a tolerance and this multiple of it, the symmetry is ambiguous.
Otherwise the operations within the tolerance form a group: the deviation of a product is at most
the sum of the deviations of its factors, and therefore also within the tolerance."""


def _fit_even_polynomial(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, ...]:
    """Return the coefficients of an interpolating polynomial in t² for |t| ≤ 1/2."""
    series = np.polynomial.Chebyshev.interpolate(
        lambda turn2: function(np.sqrt(turn2)), 7, domain=[0.0, 0.25]
    )
    return tuple(series.convert(kind=np.polynomial.Polynomial).coef.tolist())


COSINE = _fit_even_polynomial(lambda t: np.cos(2 * np.pi * t))
"""cos(2πt), to 2e-10."""
SINE_PER_TURN = _fit_even_polynomial(lambda t: 2 * np.pi * np.sinc(2 * t))
"""sin(2πt) / t, to 1e-11."""


@kernel
def _inverse(metric):
    """Return the inverse of a symmetric 3 by 3 matrix, the reciprocal metric."""
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b = (i + 1) % 3, (i + 2) % 3
            c, d = (j + 1) % 3, (j + 2) % 3
            out[i, j] = metric[a, c] * metric[b, d] - metric[a, d] * metric[b, c]
    volume2 = metric[0, 0] * out[0, 0] + metric[0, 1] * out[0, 1] + metric[0, 2] * out[0, 2]
    return out / volume2


@kernel
def find_lattice_operations(metric, tolerance, found):
    """Write the integer matrices W with W G Wᵀ = G and determinant 1 to ``found`` (24, 3, 3).

    These are the rotations of the lattice, which also has the negative of each. Row i of W is
    the image of cell vector i, a lattice vector of the same length; its indices are at most the
    product of this length and that of the reciprocal axis. Returns the number of matrices, or 0
    if there are near misses.
    """
    star = _inverse(metric)
    longest = max(metric[0, 0], metric[1, 1], metric[2, 2])
    reach = np.empty(3, np.int64)
    room = 1
    for axis in range(3):
        reach[axis] = int(math.sqrt(longest * star[axis, axis]) + 1e-6)
        room *= 2 * reach[axis] + 1
    vectors = np.empty((3, room, 3))
    counts = np.zeros(3, np.int64)
    for x in range(-reach[0], reach[0] + 1):
        for y in range(-reach[1], reach[1] + 1):
            for z in range(-reach[2], reach[2] + 1):
                length2 = (
                    x * x * metric[0, 0] + y * y * metric[1, 1] + z * z * metric[2, 2]
                    + 2 * (x * y * metric[0, 1] + x * z * metric[0, 2] + y * z * metric[1, 2])
                )  # fmt: skip
                for axis in range(3):
                    deviation = abs(length2 / metric[axis, axis] - 1.0)
                    if deviation <= tolerance:
                        vectors[axis, counts[axis], 0] = x
                        vectors[axis, counts[axis], 1] = y
                        vectors[axis, counts[axis], 2] = z
                        counts[axis] += 1
                    elif deviation <= NEAR_MISS * tolerance:
                        return 0
    n = 0
    for i in range(counts[0]):
        for j in range(counts[1]):
            first_angle = _angle_deviation(metric, vectors, i, j, 0, 1)
            if first_angle > NEAR_MISS * tolerance:
                continue
            for k in range(counts[2]):
                deviation = max(
                    first_angle,
                    _angle_deviation(metric, vectors, i, k, 0, 2),
                    _angle_deviation(metric, vectors, j, k, 1, 2),
                )
                if deviation > NEAR_MISS * tolerance:
                    continue
                if deviation > tolerance:
                    return 0
                if _determinant(vectors, i, j, k) < 0:
                    continue
                for axis in range(3):
                    found[n, 0, axis] = vectors[0, i, axis]
                    found[n, 1, axis] = vectors[1, j, axis]
                    found[n, 2, axis] = vectors[2, k, axis]
                n += 1
    return n


@leaf
def _determinant(vectors, i, j, k):
    """Return the determinant of the matrix of candidates i, j and k for the three axes."""
    total = 0.0
    for axis in range(3):
        after, before = (axis + 1) % 3, (axis + 2) % 3
        total += vectors[0, i, axis] * (
            vectors[1, j, after] * vectors[2, k, before]
            - vectors[1, j, before] * vectors[2, k, after]
        )
    return total


@leaf
def _angle_deviation(metric, vectors, i, j, first, second):
    """Return the difference of the cosines of the angle of candidates i and j, and of two axes."""
    dot = 0.0
    for a in range(3):
        for b in range(3):
            dot += vectors[first, i, a] * metric[a, b] * vectors[second, j, b]
    scale = math.sqrt(metric[first, first] * metric[second, second])
    return abs(dot - metric[first, second]) / scale


@leaf
def _rotated(frac, atom, rotation, axis):
    """Return one coordinate of an atom after a rotation about the origin."""
    return (
        frac[0, atom] * rotation[0, axis]
        + frac[1, atom] * rotation[1, axis]
        + frac[2, atom] * rotation[2, axis]
    )


@leaf
def _atom_at(frac, x, y, z, first, last, box, taken):
    """Return the index of the atom among first:last at a point, modulo the lattice; -1 if none.

    Atoms at the same place, such as those of a split site, are assigned one after the other.
    """
    hits = which = 0
    # unsigned, since the test for negative indices would prevent vectorisation of the loop
    for j in range(np.uint64(first), np.uint64(last)):
        dx, dy, dz = x - frac[0, j], y - frac[1, j], z - frac[2, j]
        inside = (
            (abs(dx - np.rint(dx)) <= box)
            & (abs(dy - np.rint(dy)) <= box)
            & (abs(dz - np.rint(dz)) <= box)
        )
        hits += 1 if inside else 0
        which += np.int64(j) if inside else 0
    if hits == 0 or (hits == 1 and taken[which]):
        return -1
    if hits == 1:
        return which
    for atom in range(first, last):
        dx, dy, dz = x - frac[0, atom], y - frac[1, atom], z - frac[2, atom]
        far = max(abs(dx - np.rint(dx)), abs(dy - np.rint(dy)), abs(dz - np.rint(dz)))
        if far <= box and not taken[atom]:
            return atom
    return -1


@leaf
def _match_atoms(
    frac, metric, first, last, rotation, shift, tolerance, box, partner, lattice_shift, taken
):
    """Return the largest squared distance (Å²) of the rotated and shifted atoms to their images.

    Writes the image of each atom i: atom partner[i] shifted by the lattice vector
    lattice_shift[:, i]. Atoms of the same kind as i are first[i]:last[i]. Returns -1 if the
    distance exceeds NEAR_MISS times the tolerance (in Å; ``box`` is this in fractional
    coordinates).
    """
    n = len(partner)
    worst = 0.0
    for i in range(n):
        taken[i] = False
    for i in range(n):
        x = _rotated(frac, i, rotation, 0) + shift[0]
        y = _rotated(frac, i, rotation, 1) + shift[1]
        z = _rotated(frac, i, rotation, 2) + shift[2]
        j = _atom_at(frac, x, y, z, first[i], last[i], box, taken)
        if j < 0:
            return -1.0
        partner[i] = j
        taken[j] = True
        dx, dy, dz = x - frac[0, j], y - frac[1, j], z - frac[2, j]
        lattice_shift[0, i] = np.rint(dx)
        lattice_shift[1, i] = np.rint(dy)
        lattice_shift[2, i] = np.rint(dz)
        dx -= lattice_shift[0, i]
        dy -= lattice_shift[1, i]
        dz -= lattice_shift[2, i]
        distance2 = (
            dx * dx * metric[0, 0] + dy * dy * metric[1, 1] + dz * dz * metric[2, 2]
            + 2 * (dx * dy * metric[0, 1] + dx * dz * metric[0, 2] + dy * dz * metric[1, 2])
        )  # fmt: skip
        worst = max(worst, distance2)
    return worst if worst <= (NEAR_MISS * tolerance) ** 2 else -1.0


@leaf
def _add_images(frac, rotation, shift, partner, lattice_shift, total):
    """Set ``shift`` to the mean over all atoms, and add the image of each atom to ``total``."""
    n = frac.shape[1]
    for axis in range(3):
        mean = 0.0
        for i in range(n):
            there = frac[axis, partner[i]] + lattice_shift[axis, i]
            mean += there - _rotated(frac, i, rotation, axis)
        shift[axis] = mean / n
        for i in range(n):
            image = _rotated(frac, i, rotation, axis) + shift[axis]
            total[axis, partner[i]] += image - lattice_shift[axis, i]


@kernel
def _find_symmetry(frac, metric, first, last, rotations, translations, orbit):
    """Find the operations of a crystal, and average its coordinates over them in place.

    Writes the ``rotations`` of the Laue group (without their negatives), the ``translations``
    that are operations by themselves (at most as many as the rarest kind has atoms), and for
    each atom the lowest index of its ``orbit`` under translations and inversion. Returns the
    numbers of rotations and translations, and whether there is a centre of symmetry, which is
    then moved to the origin.
    """
    tolerance = 1.0
    for _ in range(3):
        found = _symmetrise(frac, metric, first, last, tolerance, rotations, translations, orbit)
        if found[0] > 0:
            return found
        # a near miss, which a smaller tolerance may resolve
        tolerance /= 8
    for i in range(frac.shape[1]):
        orbit[i] = i
    for a in range(3):
        translations[0, a] = 0.0
        for b in range(3):
            rotations[0, a, b] = 1.0 if a == b else 0.0
    return 1, 1, False


@kernel
def _symmetrise(frac, metric, first, last, scale, rotations, translations, orbit):
    """Do the work of ``_find_symmetry`` with tolerances times ``scale``.

    Returns zeros if there are near misses. Translations and inversion are found first, then one
    operation for each rotation. The other operations are their products, and averaging over the
    two parts is equivalent to averaging over the group. Relative to the centroid of the atoms, an
    operation is its rotation plus lattice vectors, so the average is exactly symmetric.
    """
    n = frac.shape[1]
    n_lattice = find_lattice_operations(metric, scale * METRIC_TOLERANCE, rotations)
    if n_lattice == 0:
        return 0, 0, False
    rare = 0
    for i in range(n):
        orbit[i] = i
        if last[i] - first[i] < last[rare] - first[rare]:
            rare = i
    partner = np.empty(n, np.int64)
    taken = np.empty(n, np.bool_)
    lattice_shift = np.empty((3, n))
    total = frac.copy()
    rotation = np.zeros((3, 3))
    shift = np.empty(3)
    centre = np.zeros(3)
    tolerance = scale * POSITION_TOLERANCE_A
    star = _inverse(metric)
    box = NEAR_MISS * tolerance * math.sqrt(max(star[0, 0], star[1, 1], star[2, 2]))
    translations[0] = 0.0
    n_translations = n_operations = 1
    for sign in (1.0, -1.0):
        for axis in range(3):
            rotation[axis, axis] = sign
        for j in range(rare + (1 if sign == 1.0 else 0), last[rare]):
            for axis in range(3):
                shift[axis] = frac[axis, j] - sign * frac[axis, rare]
            distance2 = _match_atoms(
                frac, metric, first, last, rotation, shift, tolerance, box,
                partner, lattice_shift, taken,
            )  # fmt: skip
            if distance2 < 0.0:
                continue
            if distance2 > tolerance * tolerance:
                return 0, 0, False
            n_operations += 1
            _add_images(frac, rotation, shift, partner, lattice_shift, total)
            for i in range(n):
                orbit[i] = min(orbit[i], partner[i])
            if sign == 1.0:
                translations[n_translations] = shift
                n_translations += 1
            else:
                centre[:] = shift
    centred = n_operations > n_translations
    if centred and n_operations != 2 * n_translations:
        return 0, 0, False
    for axis in range(3):
        for i in range(n):
            frac[axis, i] = total[axis, i] / n_operations
            total[axis, i] = 0.0
    n_rotations = 0
    for index in range(n_lattice):
        for sign in (1.0, -1.0):
            for a in range(3):
                for b in range(3):
                    rotation[a, b] = sign * rotations[index, a, b]
            found = False
            for j in range(rare, last[rare]):
                for axis in range(3):
                    shift[axis] = frac[axis, j] - _rotated(frac, rare, rotation, axis)
                distance2 = _match_atoms(
                    frac, metric, first, last, rotation, shift, tolerance, box,
                    partner, lattice_shift, taken,
                )  # fmt: skip
                if distance2 > tolerance * tolerance:
                    return 0, 0, False
                if distance2 >= 0.0:
                    found = True
                    break
            if found:
                _add_images(frac, rotation, shift, partner, lattice_shift, total)
                for a in range(3):
                    for b in range(3):
                        rotations[n_rotations, a, b] = rotations[index, a, b]
                n_rotations += 1
            if found or centred:
                break
    for axis in range(3):
        for i in range(n):
            frac[axis, i] = total[axis, i] / n_rotations - 0.5 * centre[axis]
    return n_rotations, n_translations, centred


@kernel
def _average_metric(metric, rotations, n_rotations):
    """Return the metric averaged over the operations of the crystal."""
    mean = np.zeros((3, 3))
    for index in range(n_rotations):
        for a in range(3):
            for d in range(3):
                product = 0.0
                for c in range(3):
                    product += rotations[index, a, c] * metric[c, d]
                for b in range(a + 1):
                    mean[a, b] += product * rotations[index, b, d] / n_rotations
    for a in range(3):
        for b in range(a):
            mean[b, a] = mean[a, b]
    return mean


@kernel
def _fundamental_planes(rotations, n_rotations, limit):
    """Return planes u (3, n) with u·h ≥ 0 for the lexicographically largest h of each orbit.

    With v = (m², m, 1) and m larger than any difference of indices, v·h orders indices
    lexicographically, and h precedes its image W h if (v - Wᵀv)·h ≥ 0. There is one plane for
    each W and -W (Friedel's law), including the identity (u = 0); the number of planes that
    contain h is the number of operations that leave h invariant. The values are integers, stored
    as floats for speed.
    """
    m = 4 * max(limit[0], limit[1], limit[2]) + 3
    planes = np.empty((3, 2 * n_rotations))
    for i in range(n_rotations):
        for b in range(3):
            image = m * m * rotations[i, 0, b] + m * rotations[i, 1, b] + rotations[i, 2, b]
            own = m * m if b == 0 else (m if b == 1 else 1)
            planes[b, 2 * i] = own - image
            planes[b, 2 * i + 1] = own + image
    return planes


@leaf
def _line_in_sphere(aa, bc, cc, g2_max, l_max):
    """Return the first and last l with aa + 2 bc l + cc l² ≤ g2_max; none if first > last."""
    inside = bc * bc - cc * (aa - g2_max)
    if inside < 0:
        return 1, 0
    root = math.sqrt(inside)
    first = math.ceil((-bc - root) / cc - 1e-9)
    last = math.floor((-bc + root) / cc + 1e-9)
    return max(first, -l_max), min(last, l_max)


@leaf
def _line_in_domain(planes, inverse, h, k, first, last):
    """Return the part of first..last in which (h, k, l) is on the positive side of all planes."""
    for p in range(planes.shape[1]):
        c = planes[0, p] * h + planes[1, p] * k
        u = planes[2, p]
        if u == 0:
            if c < 0:
                return 1, 0
        elif u > 0:
            first = max(first, math.ceil(-c * inverse[p] - 1e-7))
        else:
            last = min(last, math.floor(-c * inverse[p] + 1e-7))
        if first > last:
            return 1, 0
    return first, last


@leaf
def _is_absent(translations, n_translations, h, k, ell):
    """Return whether a centring translation extinguishes a reflection."""
    for t in range(1, n_translations):
        turn = h * translations[t, 0] + k * translations[t, 1] + ell * translations[t, 2]
        if abs(turn - math.floor(turn + 0.5)) > 0.01:
            return True
    return False


@kernel
def _fundamental_reflections(
    metric, translations, n_translations, planes, limit, g_min, g_max, g2, multiplicity, hkl
):
    """Write g² (Å⁻²), multiplicity and indices (3, n) of one reflection per orbit.

    Only reflections with g_min ≤ |g| ≤ g_max are written. Returns their number.
    """
    n_planes = planes.shape[1]
    inverse = np.empty(n_planes)
    for p in range(n_planes):
        inverse[p] = 1.0 / planes[2, p] if planes[2, p] != 0 else 0.0
    star = _inverse(metric)
    cc = star[2, 2]
    g2_min = g_min * g_min
    g2_max = g_max * g_max
    n = 0
    for h in range(limit[0] + 1):
        for k in range(0 if h == 0 else -limit[1], limit[1] + 1):
            aa = h * h * star[0, 0] + k * k * star[1, 1] + 2 * h * k * star[0, 1]
            bc = h * star[0, 2] + k * star[1, 2]
            first, last = _line_in_sphere(aa, bc, cc, g2_max, limit[2])
            if first > last:
                continue
            first, last = _line_in_domain(planes, inverse, h, k, first, last)
            if h == 0 and k == 0:
                first = max(first, 1)
            for ell in range(first, last + 1):
                length2 = aa + 2.0 * bc * ell + cc * ell * ell
                if length2 > g2_max or length2 < g2_min:
                    continue
                if _is_absent(translations, n_translations, h, k, ell):
                    continue
                fixed = 0
                for p in range(n_planes):
                    above = planes[0, p] * h + planes[1, p] * k + planes[2, p] * ell
                    fixed += 1 if above == 0 else 0
                g2[n] = length2
                multiplicity[n] = n_planes // fixed
                hkl[0, n] = h
                hkl[1, n] = k
                hkl[2, n] = ell
                n += 1
    return n


@kernel
def _cosine(turn2):
    """Return cos(2πt) for t², |t| ≤ 1/2."""
    c = COSINE
    high = c[4] + turn2 * (c[5] + turn2 * (c[6] + turn2 * c[7]))
    return c[0] + turn2 * (c[1] + turn2 * (c[2] + turn2 * (c[3] + turn2 * high)))


@kernel
def _sine_per_turn(turn2):
    """Return sin(2πt) / t for t², |t| ≤ 1/2."""
    c = SINE_PER_TURN
    high = c[4] + turn2 * (c[5] + turn2 * (c[6] + turn2 * c[7]))
    return c[0] + turn2 * (c[1] + turn2 * (c[2] + turn2 * (c[3] + turn2 * high)))


@leaf
def _add_waves(h, k, ell, frac, amplitude, first, last, centred, real, imag):
    """Add amplitude · exp(2πi (hx + ky + lz)) of atoms first:last for each reflection.

    If ``centred``, an atom represents a pair related by inversion, and only the cosine is added.
    """
    for j in range(first, last):
        x, y, z, weight = frac[0, j], frac[1, j], frac[2, j], amplitude[j]
        if centred:
            for r in range(len(real)):
                turn = h[r] * x + k[r] * y + ell[r] * z
                turn -= np.rint(turn)
                real[r] += weight * _cosine(turn * turn)
        else:
            for r in range(len(real)):
                turn = h[r] * x + k[r] * y + ell[r] * z
                turn -= np.rint(turn)
                real[r] += weight * _cosine(turn * turn)
                imag[r] += weight * turn * _sine_per_turn(turn * turn)


@kernel
def _intensities(
    frac, amplitude, starts, elements, centred, hkl, g2, multiplicity, wavelength, factors, per_s,
    height,
):  # fmt: skip
    """Write the intensities of n orbits of reflections to ``height``.

    Atoms are sorted by element; those of elements[e] are starts[e]:starts[e + 1]. ``amplitude``
    is the occupancy times the number of atoms that each atom represents.
    """
    n = len(g2)
    h, k, ell = hkl[0], hkl[1], hkl[2]
    real = np.empty(n)
    imag = np.empty(n)
    f_real = np.zeros(n)
    f_imag = np.zeros(n)
    part = np.empty(n)
    interval = np.empty(n, np.int64)
    for r in range(n):
        at = 0.5 * per_s * math.sqrt(g2[r])
        interval[r] = int(at)
        part[r] = at - interval[r]
    for e in range(len(elements)):
        real[:] = 0.0
        imag[:] = 0.0
        _add_waves(h, k, ell, frac, amplitude, starts[e], starts[e + 1], centred, real, imag)
        z = elements[e]
        for r in range(n):
            i, t = interval[r], part[r]
            high = factors[z, i, 2] + t * factors[z, i, 3]
            f = factors[z, i, 0] + t * (factors[z, i, 1] + t * high)
            f_real[r] += f * real[r]
            f_imag[r] += f * imag[r]
    for r in range(n):
        sin2 = 0.25 * wavelength * wavelength * g2[r]
        cos_two_theta = 1.0 - 2.0 * sin2
        polarisation = (1.0 + cos_two_theta * cos_two_theta) / (sin2 * math.sqrt(1.0 - sin2))
        f2 = f_real[r] * f_real[r] + f_imag[r] * f_imag[r]
        height[r] = multiplicity[r] * f2 * polarisation


@kernel
def _sort_by_length(g2, n, g_max):
    """Return the indices that sort g2[:n] in ascending order.

    Reciprocal-lattice points fill space evenly, so |g|³ is nearly uniform. Bucket sort with one
    bucket per point gives a nearly sorted list, which insertion sort completes.
    """
    bucket = np.empty(n, np.int64)
    ends = np.zeros(n + 2, np.int64)
    scale = n / (g_max * g_max * g_max)
    for i in range(n):
        bucket[i] = min(int(g2[i] * math.sqrt(g2[i]) * scale), n)
        ends[bucket[i] + 1] += 1
    for b in range(n):
        ends[b + 1] += ends[b]
    order = np.empty(n, np.int64)
    for i in range(n):
        order[ends[bucket[i]]] = i
        ends[bucket[i]] += 1
    for i in range(1, n):
        moving = order[i]
        j = i
        while j > 0 and g2[order[j - 1]] > g2[moving]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = moving
    return order


@leaf
def _merge(g2, height, order, wavelength, peak_angle, peak_height, peak_of):
    """Merge each reflection with the previous one if they are close; return the number of peaks.

    The position of a peak is the mean of its reflections weighted by height, so that absent
    reflections of a supercell do not move it. Reflections are merged by their distance instead of
    rounded to bins, since equivalent reflections differ by round-off, and a bin edge between them
    would split a peak.
    """
    m = -1
    previous = -1.0
    tolerance2 = math.radians(MERGE_TOLERANCE_DEG) ** 2
    for index in order:
        sin2 = 0.25 * wavelength * wavelength * g2[index]
        gap = sin2 - previous
        # d(2θ) = d(sin²θ) / (sinθ cosθ)
        if gap * gap >= tolerance2 * sin2 * (1.0 - sin2):
            m += 1
            peak_angle[m] = sin2
            peak_height[m] = height[index]
        else:
            peak_height[m] += height[index]
            if peak_height[m] > 0.0:
                peak_angle[m] += (sin2 - peak_angle[m]) * (height[index] / peak_height[m])
        previous = sin2
        peak_of[index] = m
    for peak in range(m + 1):
        peak_angle[peak] = math.degrees(2.0 * math.asin(math.sqrt(peak_angle[peak])))
    return m + 1


@njit(cache=True)
def _sorted_atoms(numbers, occ):
    """Return the indices that sort atoms by element, then by occupancy.

    Insertion sort, since lists of atoms in files are mostly nearly sorted.
    """
    order = np.arange(len(numbers))
    for i in range(1, len(numbers)):
        j = i
        while j > 0 and (
            numbers[order[j - 1]] > numbers[i]
            or (numbers[order[j - 1]] == numbers[i] and occ[order[j - 1]] > occ[i])
        ):
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
    return order


@kernel
def compute_reflections(
    cell, strained, frac, occ, numbers, texture, g_min, g_max, wavelength, factors, per_s,
    g2, height, multiplicity, hkl,
):  # fmt: skip
    """Compute the symmetry-inequivalent reflections of one crystal; return their number.

    Writes g² (Å⁻²), intensities summed over each orbit, multiplicities and indices (3, n) in
    the axes of ``cell``, unsorted; the arrays must have at least ``bound_reflections`` elements.
    ``factors`` (element, interval, 4) are cubics in s = g/2, with ``per_s`` intervals per Å⁻¹.
    Lengths are those of the cell ``strained``, averaged over the symmetry of ``cell``, so that
    strain does not lower the symmetry. ``texture`` is h, k, l and March's r (1: no texture).
    """
    n = len(numbers)
    longest = 2
    own = _metric(cell, longest)
    for a in range(2):
        if own[a, a] > own[longest, longest]:
            longest = a
    own = _metric(cell, longest)
    own_frac = np.empty((3, n))
    first = np.empty(n, np.int64)
    last = np.empty(n, np.int64)
    atoms = _sorted_atoms(numbers, occ)
    start = 0
    for i in range(n):
        for axis in range(3):
            theirs = longest if axis == 2 else (2 if axis == longest else axis)
            own_frac[axis, i] = frac[atoms[i], theirs]
        if numbers[atoms[i]] != numbers[atoms[start]] or occ[atoms[i]] != occ[atoms[start]]:
            start = i
        first[i] = start
        for j in range(start, i + 1):
            last[j] = i + 1
    rotations = np.empty((24, 3, 3))
    translations = np.empty((n, 3))
    orbit = np.empty(n, np.int64)
    n_rotations, n_translations, centred = _find_symmetry(
        own_frac, own, first, last, rotations, translations, orbit
    )
    metric = _average_metric(_metric(strained, longest), rotations, n_rotations)
    # one atom per orbit, with the sum of their weights
    amplitude = np.zeros(n)
    for i in range(n):
        amplitude[orbit[i]] += occ[atoms[i]]
    elements = np.empty(n, np.int64)
    starts = np.empty(n + 1, np.int64)
    kept = n_elements = 0
    for i in range(n):
        if orbit[i] != i:
            continue
        z = numbers[atoms[i]]
        if n_elements == 0 or z != elements[n_elements - 1]:
            elements[n_elements] = z
            starts[n_elements] = kept
            n_elements += 1
        for axis in range(3):
            own_frac[axis, kept] = own_frac[axis, i]
        amplitude[kept] = amplitude[i]
        kept += 1
    starts[n_elements] = kept
    limit = np.empty(3, np.int64)
    for axis in range(3):
        limit[axis] = int(g_max * math.sqrt(metric[axis, axis]) + 1e-9)
    planes = _fundamental_planes(rotations, n_rotations, limit)
    count = _fundamental_reflections(
        metric, translations, n_translations, planes, limit, g_min, g_max, g2, multiplicity, hkl
    )
    _intensities(
        own_frac, amplitude, starts, elements[:n_elements], centred, hkl, g2[:count],
        multiplicity, wavelength, factors, per_s, height,
    )  # fmt: skip
    if texture[3] != 1.0:
        _apply_texture(texture, longest, rotations, n_rotations, metric, hkl, count, height)
    if longest != 2:
        for r in range(count):
            hkl[longest, r], hkl[2, r] = hkl[2, r], hkl[longest, r]
    return count


@kernel
def _metric(cell, longest):
    """Return the scalar products of the cell vectors (Å²), with the longest vector last."""
    metric = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a = 2 if i == longest else (longest if i == 2 else i)
            b = 2 if j == longest else (longest if j == 2 else j)
            metric[i, j] = (
                cell[a, 0] * cell[b, 0] + cell[a, 1] * cell[b, 1] + cell[a, 2] * cell[b, 2]
            )
    return metric


@kernel
def _apply_texture(texture, longest, rotations, n_rotations, metric, hkl, n, height):
    """Multiply intensities by March's weights, averaged over each orbit.

    The weight is (r² cos²α + sin²α / r)^(-3/2), where α is the angle between the preferred
    direction (h, k, l) and the reflection (Dollase, J. Appl. Cryst. 19, 267, 1986).
    """
    star = _inverse(metric)
    axis = np.empty(3)
    image = np.empty(3)
    for a in range(3):
        axis[a] = texture[2 if a == longest else (longest if a == 2 else a)]
    axis2 = _product(axis, axis, star)
    r = texture[3]
    for i in range(n):
        weight = 0.0
        for index in range(n_rotations):
            for a in range(3):
                image[a] = 0.0
                for b in range(3):
                    image[a] += rotations[index, a, b] * hkl[b, i]
            cos2 = _product(axis, image, star) ** 2 / (axis2 * _product(image, image, star))
            weight += (r * r * cos2 + (1.0 - cos2) / r) ** -1.5
        height[i] *= weight / n_rotations


@leaf
def _product(left, right, metric):
    total = 0.0
    for a in range(3):
        for b in range(3):
            total += left[a] * metric[a, b] * right[b]
    return total


@njit(cache=True)
def merge_reflections(g2, height, n, g_max, wavelength, angle, intensity, peak_of):
    """Merge the n reflections of one crystal to peaks; return the number of peaks.

    Writes angles (degrees 2θ, ascending), intensities, and for each reflection the index of
    its peak.
    """
    order = _sort_by_length(g2, n, g_max)
    return _merge(g2, height, order, wavelength, angle, intensity, peak_of)


@njit(cache=True, nogil=True)
def peaks(
    cells, strained, frac, occ, numbers, offsets, textures, g_min, g_max, wavelength,
    grid_min, grid_max, factors, per_s, room, angle, intensity, ends,
):  # fmt: skip
    """Compute the peaks of a batch of n crystals between g_min and g_max.

    Of each crystal, the strongest peak between grid_min and grid_max (1/d in Å⁻¹) is 1; without
    one, none is kept. Peaks weaker than WEAK_PEAK are left out. Those of crystal i are written to
    ``angle`` (degrees 2θ) and ``intensity`` at ends[i]:ends[i + 1]. room[i] is its
    ``bound_reflections``; both outputs must have at least the sum of these as length.
    """
    largest = room.max()
    g2 = np.empty(largest)
    height = np.empty(largest)
    multiplicity = np.empty(largest, np.int64)
    hkl = np.empty((3, largest))
    peak_of = np.empty(largest, np.int64)
    # a reflection at the very limit may be rounded beyond it
    lowest = math.degrees(2.0 * math.asin(0.5 * wavelength * grid_min)) - MERGE_TOLERANCE_DEG
    highest = math.degrees(2.0 * math.asin(0.5 * wavelength * grid_max)) + MERGE_TOLERANCE_DEG
    used = 0
    for i in range(len(cells)):
        at = slice(offsets[i], offsets[i + 1])
        n = compute_reflections(
            cells[i], strained[i], frac[at], occ[at], numbers[at], textures[i], g_min, g_max,
            wavelength, factors, per_s, g2, height, multiplicity, hkl,
        )  # fmt: skip
        own_angle = angle[used : used + room[i]]
        own_intensity = intensity[used : used + room[i]]
        m = merge_reflections(g2, height, n, g_max, wavelength, own_angle, own_intensity, peak_of)
        strongest = 0.0
        for p in range(m):
            if lowest <= own_angle[p] <= highest:
                strongest = max(strongest, own_intensity[p])
        for p in range(m):
            if strongest > 0.0 and own_intensity[p] > WEAK_PEAK * strongest:
                angle[used] = own_angle[p]
                intensity[used] = own_intensity[p] / strongest
                used += 1
        ends[i + 1] = used


def bound_reflections(
    cells: NDArray[np.float64], strained: NDArray[np.float64], g_max: float
) -> NDArray[np.int64]:
    """Return (n,), upper bounds of the number of reflections for cells (n, 3, 3).

    The bound is the number of lattice points in half of the box around the limiting sphere.
    """
    lengths = np.linalg.norm(cells, axis=2)
    stretch = 1.0
    if strained is not cells:
        # after averaging over the symmetry, an axis can stretch as much as any other direction
        stretch = np.linalg.norm(np.linalg.solve(cells, strained), ord=2, axis=(1, 2))[:, None]
    return (2 * np.floor(g_max * stretch * lengths + 1e-3).astype(np.int64) + 1).prod(1) // 2 + 1
