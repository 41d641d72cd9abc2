"""A potential that is softer than the models teaches them, and the next round says so."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.errors import InputError
from matlode.jobs import rounds as module
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.rounds import resume_rounds, search_in_rounds
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceTable
from tests.conftest import SMALL_SEARCH
from tests.run_rows import evidence_row


def _softer(folder, n, examination, progress, *, skip, engine):
    """In place of a potential: the moduli that the models promise, halved."""
    found = [
        row
        for row in RunFolder(folder).read_candidates()
        if canonicalise_formula(row.formula) not in skip
    ][:n]
    plain = Models()
    structures = [
        evidence_row(
            formula=row.formula,
            source_file=Path(row.structure_file).name,
            relaxed_file=row.structure_file,
            **_half(_predicted(plain, folder / row.structure_file)),
        )
        for row in found
    ]
    RunFolder(folder).write_evidence(
        EvidenceTable(
            primary_potential="a", second_potential="b", hull="c", structures=tuple(structures)
        )
    )
    return structures


def _half(predicted):
    return {f"{name}_gpa": 0.5 * of.value for name, of in predicted.items()}


def _predicted(models, file):
    from matlode.data.crystals import Crystals
    from matlode.data.structures import read_structure
    from matlode.representation.composition import composition_vectors
    from matlode.representation.diffraction import simulate_patterns
    from matlode.representation.environments import describe_crystals

    structure = [read_structure(file)]
    estimates = models.properties.predict(
        composition_vectors(structure),
        simulate_patterns(structure),
        case="simulated",
        names=("bulk_modulus", "shear_modulus"),
        crystals=describe_crystals(Crystals.from_structures(structure))[0].descriptors[None],
    )
    return {name: models.list_predictions(estimates)[0][name] for name in estimates}


def test_what_is_no_folder_of_rounds_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="no folder of rounds"):
        resume_rounds(tmp_path)


@pytest.mark.slow
def test_the_second_round_has_learned_from_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "relax_run", _softer)
    out = tmp_path / "rounds"
    run = search_in_rounds(
        2, 8, out=out, models=Models(), known=Known(), screens={}, examination=None,
        maximize=["bulk_modulus"],
        settings=SMALL_SEARCH,
    )  # fmt: skip
    assert run.folder == out / "round-2"
    learning = pd.read_csv(out / "learning.csv")
    assert learning["round"].tolist() == [1, 2]
    first, second = learning.iloc[0], learning.iloc[1]
    assert first["bulk_modulus_uncorrected"] == first["bulk_modulus_corrected"]
    # ln 2 too high without, nearly right with what was learned
    assert second["bulk_modulus_uncorrected"] == pytest.approx(0.693, abs=0.02)
    assert second["bulk_modulus_corrected"] < 0.3
    assert (out / "learning.png").exists()
    assert (out / "models-3" / "correction" / "model.json").exists()
    # what an interruption had left is made again, the same to the last digit
    before = (out / "learning.csv").read_bytes(), (out / "round-2/candidates.csv").read_bytes()
    shutil.rmtree(out / "round-2")
    (out / "learning.csv").unlink()
    assert resume_rounds(out).folder == out / "round-2"
    assert before == (
        (out / "learning.csv").read_bytes(),
        (out / "round-2/candidates.csv").read_bytes(),
    )
    with pytest.raises(InputError, match="`matlode resume` continues it"):
        search_in_rounds(
            1, 1, out=out, models=Models(), known=Known(), screens={}, examination=None
        )
