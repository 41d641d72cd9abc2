"""Known materials, as one noun that functions are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from matlode.data.formulas import element_symbols
from matlode.data.readers import joined, open_sources, read_materials
from matlode.data.symmetry import find_space_group
from matlode.data.tables import Materials, checksum, find_starter, load_starter, read_table
from matlode.errors import ArtefactError, InputError
from matlode.progress import Progress, silent
from matlode.representation.composition import composition_vectors
from matlode.screening.known_patterns import KnownPatterns
from matlode.screening.novelty import KnownMaterials

if TYPE_CHECKING:
    # building structures and identifying patterns load much that predictions do not need
    from matlode.realisation.builder import Builder
    from matlode.realisation.prototypes import PrototypeLibrary
    from matlode.screening.known_lines import KnownLines

SHARED_VARIABLE: Final = "MATLODE_SHARED_CACHE"
"""Environment variable with the folder of indices that all users of a machine share."""


@dataclass(frozen=True)
class Known:
    """A table of known materials; each view of it is made when it is first used.

    >>> known = Known()
    >>> len(known.materials), "W" in known.elements
    (5785, True)
    """

    table: Path | None = None
    """Parquet table of structures (default: the starter set)."""
    index: Path | None = None
    """Folder of the table's index for search-match (default: one in the user's cache)."""
    progress: Progress = field(default=silent, repr=False)
    """Reporter of the index being built."""
    library: tuple[Path, ...] = ()
    """Files and folders of further crystals (CIF, POSCAR), such as the user's own."""

    @cached_property
    def materials(self) -> Materials:
        """The crystals of the table and the library."""
        table = read_table(self.table) if self.table else load_starter()
        if not self.library:
            return table
        return joined([table, _find_space_groups(read_materials(self.library))])

    @cached_property
    def catalogue(self) -> KnownMaterials:
        """The materials that candidates are compared with."""
        frame = self.materials.frame
        return KnownMaterials(
            tuple(frame["formula"]),
            tuple(frame["id"].astype(str)),
            tuple(frame["space_group"].astype(int)),
            composition_vectors(self.materials.crystals),
            KnownPatterns(self.materials.crystals),
        )

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements that the materials contain."""
        present = self.catalogue.compositions.any(axis=0)
        return [element_symbols()[z] for z in np.flatnonzero(present)]

    @cached_property
    def prototypes(self) -> PrototypeLibrary:
        """The materials as templates."""
        from matlode.realisation.prototypes import PrototypeLibrary

        return PrototypeLibrary.build(self.materials)

    @cached_property
    def builder(self) -> Builder:
        """Builds structures from the templates."""
        from matlode.realisation.builder import Builder

        return Builder(self.prototypes, self.structure_types)

    @cached_property
    def structure_types(self) -> Mapping[str, str]:
        """id → structure type in words (``structure_types.read_types``)."""
        from matlode.realisation.structure_types import read_types

        return read_types(self.table)

    @cached_property
    def index_folder(self) -> Path:
        """Folder of the table's index."""
        from matlode.evidence.laboratory import get_cache_folder

        if self.index:
            return self.index
        shared = os.environ.get(SHARED_VARIABLE)
        return (Path(shared) if shared else get_cache_folder()) / "lines" / self._checksum[:16]

    @cached_property
    def _checksum(self) -> str:
        table = self.table or find_starter()
        if not table.is_file():
            raise InputError(f"no structure table at {table}; name a Parquet file.")
        if not self.library:
            return checksum(table)
        files = [file for source in open_sources(self.library) for file in source.files]
        return sha256("".join(map(checksum, [table, *files])).encode()).hexdigest()

    @cached_property
    def lines(self) -> KnownLines:
        """The index of powder lines; built and saved if there is none of this table."""
        from matlode.screening.known_lines import KnownLines

        try:
            return KnownLines.load(self.index_folder, self._checksum)
        except ArtefactError:
            lines = KnownLines.build(self.materials, self.progress)
            lines.save(self.index_folder, self._checksum)
            return lines


def _find_space_groups(materials: Materials) -> Materials:
    """Add the space groups of crystals from files."""
    groups = [find_space_group(materials.crystals, row) for row in range(len(materials))]
    return replace(materials, frame=materials.frame.assign(space_group=groups))
