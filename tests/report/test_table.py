import pytest

from matlode.report.table import choose_columns, make_rows
from tests.report.test_maps import provenance
from tests.run_rows import candidate_row, evidence_row


def shown(columns):
    return [column.name for column in columns if column.shown]


def test_eight_columns_are_shown_at_first():
    columns = choose_columns(provenance("bulk_modulus", "shear_modulus"), [candidate_row()], ())
    assert shown(columns) == [
        "rank", "formula", "bulk_modulus", "shear_modulus", "hull_probability_50_mev",
        "space_group", "novelty", "merit",
    ]  # fmt: skip
    assert all(column.help for column in columns)


def test_what_potentials_computed_is_shown_where_it_is():
    row, evidence = candidate_row(structure_file="structures/001-TaB2.cif"), evidence_row()
    columns = choose_columns(provenance("bulk_modulus"), [row], [evidence])
    at = shown(columns).index("energy_above_hull_ev")
    examined, other = make_rows(
        [row, candidate_row()], [c for c in columns if c.shown], {evidence.source_file: evidence}
    )
    assert examined.cells[at].value == pytest.approx(0.02)
    assert other.cells[at].value is None


def test_properties_that_the_table_lacks_have_no_column():
    columns = choose_columns(provenance("density"), [candidate_row()], ())
    assert "density" not in [column.name for column in columns]
