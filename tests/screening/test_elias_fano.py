import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from matlode.screening.elias_fano import decode_sorted, encode_sorted


@given(st.integers(1, 63), st.data())
def test_decoding_returns_what_was_encoded(n_bits, data):
    members = data.draw(st.sets(st.integers(0, 2**n_bits - 1), max_size=40))
    values = np.array(sorted(members), dtype=np.uint64)
    codes = encode_sorted(values, n_bits)
    assert_array_equal(decode_sorted(codes, len(values), n_bits), values)


def test_an_integer_takes_two_bits_more_than_the_logarithm_of_the_gap():
    rng = np.random.default_rng(0)
    values = np.unique(rng.integers(0, 2**33, 20_000, dtype=np.uint64))
    n_bytes = sum(part.nbytes for part in encode_sorted(values, 33))
    assert 8 * n_bytes / len(values) < np.log2(2**33 / len(values)) + 2.1


@pytest.mark.parametrize("values", [[2, 1], [3, 3], [1, 256]])
def test_integers_that_are_not_ascending_or_too_large_are_refused(values):
    with pytest.raises(ValueError, match=r"not ascending numbers below 2\*\*8"):
        encode_sorted(np.array(values, dtype=np.uint64), 8)


def test_arrays_of_another_number_of_integers_are_refused():
    low, high = encode_sorted(np.arange(0, 250, 10, dtype=np.uint64), 8)
    with pytest.raises(ValueError, match=r"bitmap uint8\[\d+\]; 25 integers need uint8"):
        decode_sorted((low, high[:-1]), 25, 8)
    with pytest.raises(ValueError, match="integers need uint8"):
        decode_sorted((low, high), 10**30, 8)
    with pytest.raises(ValueError, match="0 bits of the bitmap are set, expected 25"):
        decode_sorted((low, np.zeros_like(high)), 25, 8)


def test_low_bits_out_of_order_are_refused():
    # 0 and 1 have equal high bits, so that their order is in the low ones
    low, high = encode_sorted(np.array([0, 1], dtype=np.uint64), 8)
    with pytest.raises(ValueError, match="not ascending"):
        decode_sorted((np.zeros_like(low), high), 2, 8)
