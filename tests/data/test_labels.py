from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from matlode.data.labels import MISSING_TEXTS, Column, Kind, RawLabels, find_common_kind
from matlode.data.spool import SpooledTables
from matlode.errors import InputError


def clean(*frames: pd.DataFrame, kinds=None, **options) -> tuple[pd.DataFrame, dict[str, int]]:
    """The clean labels of a source that gives these frames, and what became empty."""
    with SpooledTables() as spool:
        raw = RawLabels(spool)
        for frame in frames:
            raw.add(frame.assign(formula="ClNa"), np.full(len(frame), 2))
        parts = list(raw.cleaned(**options).parts(kinds))
    lost: dict[str, int] = {}
    for part in parts:
        for name, count in part.unreadable.items():
            lost[name] = lost.get(name, 0) + count
    table = pa.concat_tables([part.table for part in parts])
    return table.to_pandas(integer_object_nulls=True), lost


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.floats(),
    st.sampled_from(["true", "False", "1.5", "1e3", "-", "NaN", "inf", "a", "7 ", "007"]),
    st.lists(st.integers(0, 3), max_size=2),
)
TYPED = st.one_of(
    st.lists(st.booleans()), st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.floats())
)


@given(
    st.lists(ANYTHING, max_size=12) | TYPED,
    st.lists(st.integers(0, 12), max_size=3),
    st.sampled_from(["band_gap", "x", "id"]),
)
def test_where_a_source_cuts_its_rows_changes_nothing(values, cuts, name):
    """As objects, and where these are alike as what their type is."""
    together = pd.DataFrame({name: pd.Series(values, dtype=object)})
    whole, lost = clean(together)
    bounds = [0, *sorted(cuts), len(values)]
    parts = [together.iloc[a:b] for a, b in pairwise(bounds)]
    typed = [part.infer_objects() if len({*map(type, part[name])}) == 1 else part for part in parts]
    for others in (parts, typed):
        in_parts, lost_in_parts = clean(*others)
        pd.testing.assert_frame_equal(in_parts, whole)
        assert lost_in_parts == lost


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_text_and_numbers_mean_the_same(values):
    numbers = pd.DataFrame({"band_gap": pd.Series(values, dtype=float)})
    text = pd.DataFrame({"band_gap": ["-" if v is None else repr(v) for v in values]})
    (from_numbers, _), (from_text, lost) = clean(numbers), clean(text)
    assert_array_equal(from_numbers["band_gap"], from_text["band_gap"])
    assert lost == {}


KINDS = st.lists(st.sampled_from(Kind), max_size=5)


@given(KINDS, KINDS)
def test_kinds_are_joined_in_any_order_and_grouping(some, others):
    assert find_common_kind([*some, *others]) == find_common_kind([*others, *some])
    assert find_common_kind([find_common_kind(some), find_common_kind(others)]) == find_common_kind(
        [*some, *others]
    )


@pytest.mark.parametrize("text", [*sorted(MISSING_TEXTS), "None", "NaN", "N/A", " - "])
def test_texts_for_nothing_are_missing_values(text):
    cleaned, lost = clean(pd.DataFrame({"band_gap": ["1.5", text], "other": ["7", text]}))
    assert_array_equal(cleaned["band_gap"], [1.5, np.nan])
    assert_array_equal(cleaned["other"].astype(float), [7, np.nan])
    assert lost == {}


def test_names_are_no_numbers_and_no_missing_values():
    frame = pd.DataFrame({"id": ["007", "NA"], "source_id": ["08", 9], "licence": ["1", "-"]})
    cleaned, _ = clean(frame)
    assert cleaned["id"].tolist() == ["007", "NA"]
    assert cleaned["source_id"].tolist() == ["08", "9"]
    assert cleaned["licence"].iloc[0] == "1"
    assert pd.isna(cleaned["licence"].iloc[1])


def test_integers_keep_their_digits():
    large = 9_007_199_254_740_993  # 2**53 + 1, which no double holds
    frame = pd.DataFrame(
        {
            "json": pd.Series([large, None, -2], dtype=object),
            "csv": [str(large), "", "-2"],
            "words": [str(large), "2.0", "b"],
            "unsigned": np.array([large, 0, 255], dtype=np.uint64),
            "enormous": pd.Series([2**64, None, 1], dtype=object),
            "band_gap": pd.Series([large, 2.5, None], dtype=object),
            "bulk_modulus_vrh": np.array([large, 2, 3]),
        }
    )
    cleaned, lost = clean(frame)
    assert cleaned["json"].dropna().tolist() == [large, -2]
    assert cleaned["csv"].dropna().tolist() == [large, -2]
    assert cleaned["words"].tolist() == [str(large), "2.0", "b"]
    assert cleaned["unsigned"].tolist() == [large, 0, 255]
    assert cleaned["enormous"].dropna().tolist() == [float(2**64), 1.0]
    assert cleaned["band_gap"].dropna().tolist() == [float(large), 2.5]
    assert cleaned["bulk_modulus_vrh"].tolist() == [float(large), 2.0, 3.0]
    assert lost == {}


def test_rows_without_a_formula_column_of_texts_can_be_converted():
    """As a part has none of which no row could be used."""
    asked = [Column.parse("band_gap=a:meV")]
    nothing = pd.DataFrame({"a": [], "id": [], "formula": []})
    cleaned, _ = clean(nothing, pd.DataFrame({"a": [1500.0], "id": ["x"]}), asked=asked)
    assert cleaned["band_gap"].tolist() == [1.5]


def test_what_is_no_finite_number_is_left_empty_and_counted():
    frame = pd.DataFrame(
        {
            "band_gap": ["1", "about 2", "inf"],
            "bulk_modulus_vrh": [1.0, np.inf, np.nan],
            "energy_above_hull": [True, False, True],
        }
    )
    cleaned, lost = clean(frame)
    assert_array_equal(cleaned["band_gap"], [1, np.nan, np.nan])
    assert_array_equal(cleaned["bulk_modulus_vrh"], [1, np.nan, np.nan])
    assert cleaned["energy_above_hull"].isna().all()
    assert lost == {"band_gap": 2, "bulk_modulus_vrh": 1, "energy_above_hull": 3}


def test_what_no_number_can_hold_after_conversion_is_counted_too():
    asked = [Column.parse("bulk_modulus_vrh=k:log10(GPa)")]
    cleaned, lost = clean(pd.DataFrame({"k": [2.0, 400.0, None]}), asked=asked)
    assert_array_equal(cleaned["bulk_modulus_vrh"], [100, np.nan, np.nan])
    assert lost == {"bulk_modulus_vrh": 1}


def test_unknown_columns_pass_through():
    frame = pd.DataFrame(
        {
            "note": ["a", None],
            "count": [1, 2],
            "flag": ["True", "false"],
            "answer": [True, False],
            "tensor": [[[1, 2]], np.array([np.array([1.5]), np.array([2.0])], dtype=object)],
            "mixed": [1, "a"],
        }
    )
    cleaned, _ = clean(frame)
    assert cleaned["note"].iloc[0] == "a"
    assert cleaned["note"].isna().tolist() == [False, True]
    assert cleaned["count"].tolist() == [1, 2]
    assert cleaned["flag"].tolist() == cleaned["answer"].tolist() == [True, False]
    assert cleaned["tensor"].tolist() == ["[[1, 2]]", "[[1.5], [2.0]]"]
    assert cleaned["mixed"].tolist() == ["1", "a"]


def test_a_column_that_only_later_rows_have_is_empty_before():
    cleaned, _ = clean(pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"m": ["a"], "n": [3.5]}))
    assert cleaned["n"].tolist() == [1, 2, 3.5]
    assert cleaned["m"].isna().tolist() == [True, True, False]


def test_columns_are_as_wide_as_they_are_asked_for():
    """As another source may want them."""
    frame = pd.DataFrame({"n": [1, 2], "b": [True, False]})
    kinds = {"absent": Kind.FLAGS, "n": Kind.NUMBERS, "b": Kind.TEXTS}
    cleaned, _ = clean(frame, kinds=kinds)
    assert list(cleaned) == list(kinds)
    assert cleaned["absent"].isna().all()
    assert cleaned["n"].dtype == float
    assert cleaned["b"].tolist() == ["True", "False"]


def test_columns_are_renamed_and_converted():
    frame = pd.DataFrame({"k": ["1.5", "na"], "e": [-4.0, 2.0], "id": ["a", "b"]})
    asked = [Column.parse("bulk_modulus_vrh=k:Mbar")]
    known = [Column("formation_energy_per_atom", "e", "eV/cell"), Column("band_gap", "absent")]
    cleaned, _ = clean(frame, asked=asked, known=known)
    assert set(cleaned) == {"bulk_modulus_vrh", "formation_energy_per_atom", "id", "formula"}
    assert_array_equal(cleaned["bulk_modulus_vrh"], [150, np.nan])
    assert_array_equal(cleaned["formation_energy_per_atom"], [-2, 1])


def test_one_column_may_become_two():
    asked = [Column.parse("bulk_modulus_vrh=k:Mbar"), Column.parse("mine=k")]
    cleaned, _ = clean(pd.DataFrame({"k": [1.5]}), asked=asked)
    assert cleaned["bulk_modulus_vrh"].tolist() == [150]
    assert cleaned["mine"].tolist() == [1.5]
    assert "k" not in cleaned


def test_names_are_copied_rather_than_moved():
    cleaned, _ = clean(pd.DataFrame({"id": ["a"]}), asked=[Column.parse("mine=id")])
    assert cleaned["id"].tolist() == cleaned["mine"].tolist() == ["a"]


def test_what_is_made_from_the_crystals_is_no_label():
    for name in ("formula", "space_group", "lattice", "occupancies", "is_file"):
        with pytest.raises(InputError, match=f'"{name}" in .* is a reserved name'):
            Column.parse(f"{name}=theirs")


def test_what_is_asked_wins_over_what_is_known_and_what_is_there():
    frame = pd.DataFrame({"band_gap": [1.0], "gw": [2.0], "dft": [3.0]})
    asked, known = [Column("band_gap", "gw")], [Column("band_gap", "dft")]
    cleaned, _ = clean(frame, asked=asked, known=known)
    assert cleaned["band_gap"].tolist() == [2.0]
    assert cleaned["dft"].tolist() == [3.0]


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "a=b:", "a=:eV"])
def test_a_column_is_written_in_one_way(text):
    with pytest.raises(InputError, match=f'invalid column "{text}"; expected NAME=THEIRS'):
        Column.parse(text)


def test_a_wrong_unit_is_told_before_anything_is_read():
    with pytest.raises(InputError, match=r'column "band_gap": cannot convert "GPa" to eV'):
        Column.parse("band_gap=gap:GPa")
