import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from matlode.errors import ArtefactError
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.forward import (
    MAX_ELEMENTS,
    ROWS_AT_ONCE,
    apply_residual_net,
    check_weights,
    composition_shapes,
    encode_compositions,
    map_blocks,
    n_encoded,
    residual_shapes,
)
from matlode.latent.networks import ResidualNet
from matlode.latent.weights import extract_weights
from matlode.testing import SINGLE_PRECISION

CLOSE = 50 * SINGLE_PRECISION


def stirred(network):
    """The network with weights that all count: fresh norms and biases would do nothing."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def close(answer, of_torch):
    expected = of_torch.numpy()
    np.testing.assert_allclose(answer, expected, atol=CLOSE * abs(expected).max(initial=1))


@pytest.mark.parametrize("blocks", [0, 1, 3])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_residual_nets_answer_as_in_torch(blocks, rows):
    network = stirred(ResidualNet(5, 3, width=8, blocks=blocks))
    x = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    with torch.inference_mode():
        close(apply_residual_net(extract_weights(network), x), network(torch.from_numpy(x)))


def test_a_gate_far_below_zero_is_shut_without_a_warning():
    network = stirred(ResidualNet(5, 3, width=8, blocks=1))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    with torch.inference_mode():
        network.norms[0].weight.fill_(1e4)
        close(apply_residual_net(extract_weights(network), x), network(torch.from_numpy(x)))


@pytest.fixture(scope="module")
def encoder():
    return stirred(CompositionEncoder(width=16, blocks=2))


def test_traces_count_no_less_than_they_do_in_torch(encoder):
    x = np.zeros((3, 100), np.float32)
    x[:, [3, 7]] = [[1 - 1e-6, 1e-6], [0.999, 0.001], [1 - 1e-4, 1e-4]]
    with torch.inference_mode():
        close(encode_compositions(extract_weights(encoder), x), encoder(torch.from_numpy(x)))


def test_of_equal_amounts_the_first_elements_count(encoder):
    x = np.full((1, 100), 0.01, np.float32)
    first = np.where(np.arange(100) < MAX_ELEMENTS, x, 0)
    weights = extract_weights(encoder)
    np.testing.assert_allclose(
        encode_compositions(weights, x), encode_compositions(weights, first), atol=CLOSE
    )
    with torch.inference_mode():
        close(encode_compositions(weights, x), encoder(torch.from_numpy(x)))


@given(
    st.lists(
        st.dictionaries(st.integers(0, 99), st.integers(1, 40), max_size=MAX_ELEMENTS + 3),
        max_size=6,
    )
)
def test_compositions_are_read_as_in_torch(encoder, rows):
    x = np.zeros((len(rows), 100), np.float32)
    for row, atoms in enumerate(rows):
        x[row, list(atoms)] = list(atoms.values())
    x /= np.maximum(x.sum(axis=1, keepdims=True), 1)
    with torch.inference_mode():
        close(encode_compositions(extract_weights(encoder), x), encoder(torch.from_numpy(x)))


def test_a_formula_is_read_the_same_in_any_company(encoder):
    weights = extract_weights(encoder)
    rng = np.random.default_rng(0)
    x = rng.random((30, 100), np.float32) * (rng.random((30, 100)) < 0.04)
    together = encode_compositions(weights, x)
    assert together.shape == (30, n_encoded(weights))
    for row in range(30):
        np.testing.assert_allclose(
            encode_compositions(weights, x[[row]])[0], together[row], atol=CLOSE
        )


@pytest.mark.parametrize(
    ("network", "shapes"),
    [
        (ResidualNet(5, 3, width=8, blocks=2), lambda w: residual_shapes(w, 5, 3)),
        (CompositionEncoder(width=8, blocks=1), composition_shapes),
    ],
    ids=["residual", "composition"],
)
def test_weights_fit_themselves_and_nothing_else(network, shapes):
    arrays = extract_weights(network)
    fitted = check_weights(arrays, shapes(arrays), Path("model"))
    for name, array in fitted.items():
        np.testing.assert_array_equal(array, arrays[name])
    for name, array in arrays.items():
        huge = np.full(array.shape, 1e300)
        for changed in (array[..., :-1], array[None], np.full_like(array, np.nan), huge,
                        array.astype(int), array.astype("M8[s]")):  # fmt: skip
            other = {**arrays, name: changed}
            with pytest.raises(ArtefactError, match=r"^model: .* `matlode train models model`"):
                check_weights(other, shapes(other), Path("model"))
        less = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(ArtefactError, match="another architecture"):
            check_weights(less, shapes(less), Path("model"))


def test_networks_of_no_width_are_refused():
    arrays = {name: a[..., :0] for name, a in extract_weights(ResidualNet(5, 3, 8, 1)).items()}
    with pytest.raises(ArtefactError, match="another architecture"):
        check_weights(arrays, residual_shapes(arrays, 0, 0), Path("model"))


def test_blocks_are_answered_in_their_order_whatever_their_number():
    x = np.arange(3 * ROWS_AT_ONCE + 5)
    for n in (0, 1, ROWS_AT_ONCE, len(x)):
        blocks = map_blocks(lambda a, b: a + b, x[:n], x[:n])
        assert all(len(block) <= ROWS_AT_ONCE for block in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), 2 * x[:n])


ON_THREADS = """
import hashlib, numpy as np
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.representation.diffraction import simulate_patterns
models, known, rows = Models(), Known(), np.arange(0, 5785, 40)
crystals, compositions = known.materials.crystals.take(rows), known.catalogue.compositions[rows]
patterns = simulate_patterns(crystals)
groups = models.symmetry.predict(patterns, compositions)
answers = *models.properties.network.raw(compositions, patterns), groups
print(hashlib.sha256(b"".join(a.tobytes() for a in answers)).hexdigest())
"""


@pytest.mark.slow
def test_answers_are_the_same_bits_on_any_number_of_threads():
    found = [
        subprocess.run(
            [sys.executable, "-c", ON_THREADS], capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(n), "NUMBA_NUM_THREADS": str(n)},
        ).stdout
        for n in (1, 2)
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) == 65


def test_heads_that_the_width_cannot_be_shared_among_are_refused():
    arrays = {name: a[..., :6] for name, a in extract_weights(CompositionEncoder(width=8)).items()}
    with pytest.raises(ArtefactError, match="another architecture"):
        check_weights(arrays, composition_shapes(arrays), Path("model"))
