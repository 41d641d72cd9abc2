from dataclasses import replace

import numpy as np
import pytest
import torch

from matlode.data.symmetry import N_SPACE_GROUPS
from matlode.errors import GoalError
from matlode.evaluation import symmetry as job
from matlode.screening.symmetry_nets import ReferenceSymmetryNet
from matlode.training.encoding import EncodedTable
from matlode.training.table import TrainingTable


def test_the_papers_network_has_its_layers():
    net = ReferenceSymmetryNet()
    convolutions = [m for m in net.convolutions if isinstance(m, torch.nn.Conv2d)]
    shapes = [(c.out_channels, c.kernel_size[1], c.stride[1]) for c in convolutions]
    assert shapes == [(104, 34, 2), (51, 37, 1), (117, 13, 2)]
    dense = [m.out_features for m in net.dense if isinstance(m, torch.nn.Linear)]
    assert dense == [2047, 943, N_SPACE_GROUPS]
    logits = net.eval()(torch.rand(3, 1601), torch.zeros(3, 100))
    assert logits.shape == (3, N_SPACE_GROUPS)
    # it does not look at the composition
    assert torch.equal(net(torch.ones(1, 1601), torch.zeros(1, 100)),
                       net(torch.ones(1, 1601), torch.ones(1, 100)))  # fmt: skip


def test_both_faces_are_scored_once_on_a_tenth(tmp_path, monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    whole = TrainingTable.load()
    few = np.sort(np.random.default_rng(0).permutation(len(whole.materials))[:300])
    small = replace(whole, materials=whole.materials.take(few))
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
    # the reference's autoencoder does not ship: it reads patterns as if decoded without error
    decoders = []

    def decode(encoding):
        decoders.append(encoding.face)
        return encoding.table.patterns.astype(np.float16)

    monkeypatch.setattr(EncodedTable, "decoded_patterns", property(decode))
    faces = ["standard", "reference"]
    rows = job.measure_symmetry(split="random", faces=faces, out=tmp_path, epochs=1)
    assert set(decoders) == {"standard", "reference"}
    assert {row.model.split(",")[0] for row in rows} == {"standard", "reference"}
    for row in rows:
        assert 10 <= row.rows <= 60
        assert 0 <= row.scores["space_group"] <= row.scores["space_group_top_5"] <= 1
    # what is there is read, not trained again
    monkeypatch.setattr(job, "fit_symmetry", None)
    assert job.measure_symmetry(split="random", faces=faces, out=tmp_path) == rows


def test_unknown_splits_are_told(tmp_path):
    with pytest.raises(GoalError, match=r'unknown split "randm"\. Did you mean "random"'):
        job.measure_symmetry(split="randm", out=tmp_path)
