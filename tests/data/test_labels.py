from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from matlode.data.labels import MISSING_TEXTS, Column, clean_labels
from matlode.errors import InputError


def clean(frame: pd.DataFrame, **options):
    counts = np.full(len(frame), 2)
    return clean_labels(frame, atoms_per_cell=counts, atoms_per_formula=counts, **options)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_text_and_numbers_mean_the_same(values):
    numbers = pd.DataFrame({"band_gap": pd.Series(values, dtype=float)})
    text = pd.DataFrame({"band_gap": ["-" if v is None else repr(v) for v in values]})
    assert_array_equal(clean(numbers).frame["band_gap"], clean(text).frame["band_gap"])
    assert clean(text).unreadable == {}


@pytest.mark.parametrize("text", [*sorted(MISSING_TEXTS), "None", "NaN", "N/A", " - "])
def test_texts_for_nothing_are_missing_values(text):
    cleaned = clean(pd.DataFrame({"band_gap": ["1.5", text], "other": ["7", text]})).frame
    assert_array_equal(cleaned["band_gap"], [1.5, np.nan])
    assert_array_equal(cleaned["other"], [7, np.nan])


def test_names_are_no_numbers_and_no_missing_values():
    frame = pd.DataFrame({"id": ["007", "NA"], "formula": ["NNa", "NaN"]})
    pd.testing.assert_frame_equal(clean(frame).frame, frame)


def test_what_is_no_finite_number_is_left_empty_and_counted():
    frame = pd.DataFrame(
        {"band_gap": ["1", "about 2", "inf"], "bulk_modulus_vrh": [1.0, np.inf, np.nan]}
    )
    cleaned = clean(frame)
    assert_array_equal(cleaned.frame["band_gap"], [1, np.nan, np.nan])
    assert_array_equal(cleaned.frame["bulk_modulus_vrh"], [1, np.nan, np.nan])
    assert cleaned.unreadable == {"band_gap": 2, "bulk_modulus_vrh": 1}


def test_unknown_columns_pass_through():
    frame = pd.DataFrame(
        {
            "note": ["a", None],
            "count": [1, 2],
            "flag": ["True", "false"],
            "tensor": [[[1, 2]], np.array([3])],
            "mixed": [1, "a"],
        }
    )
    cleaned = clean(frame).frame
    assert cleaned["note"].iloc[0] == "a"
    assert cleaned["note"].isna().tolist() == [False, True]
    assert cleaned["count"].tolist() == [1, 2]
    assert cleaned["flag"].tolist() == [True, False]
    assert cleaned["tensor"].tolist() == ["[[1, 2]]", "[3]"]
    assert cleaned["mixed"].tolist() == ["1", "a"]


def test_columns_are_renamed_and_converted():
    frame = pd.DataFrame({"k": ["1.5", "na"], "e": [-4.0, 2.0], "id": ["a", "b"]})
    asked = [Column.parse("bulk_modulus_vrh=k:Mbar")]
    known = [Column("formation_energy_per_atom", "e", "eV/cell"), Column("band_gap", "absent")]
    cleaned = clean(frame, asked=asked, known=known).frame
    assert set(cleaned) == {"bulk_modulus_vrh", "formation_energy_per_atom", "id"}
    assert_array_equal(cleaned["bulk_modulus_vrh"], [150, np.nan])
    assert_array_equal(cleaned["formation_energy_per_atom"], [-2, 1])


def test_what_is_asked_wins_over_what_is_known_and_what_is_there():
    frame = pd.DataFrame({"band_gap": [1.0], "gw": [2.0], "dft": [3.0]})
    asked, known = [Column("band_gap", "gw")], [Column("band_gap", "dft")]
    cleaned = clean(frame, asked=asked, known=known).frame
    assert cleaned["band_gap"].tolist() == [2.0]
    assert cleaned["dft"].tolist() == [3.0]


def test_an_absent_column_is_told_with_the_nearest():
    with pytest.raises(InputError, match=r'no column "k_vhr"\. Did you mean "k_vrh"\?'):
        clean(pd.DataFrame({"k_vrh": [1.0]}), asked=[Column("bulk_modulus_vrh", "k_vhr")])


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "a=b:", "a=:eV"])
def test_a_column_is_written_in_one_way(text):
    with pytest.raises(InputError, match=f'"{text}" tells of no column; write NAME=THEIRS'):
        Column.parse(text)


def test_a_wrong_unit_is_told_before_anything_is_read():
    with pytest.raises(InputError, match=r'column "band_gap": cannot convert "GPa" to eV'):
        Column.parse("band_gap=gap:GPa")
