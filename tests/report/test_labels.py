import pytest

from matlode.report.labels import label_novelty
from tests.run_rows import candidate_row


@pytest.mark.parametrize(
    ("novelty", "label"),
    [("in none of the lists", "in no list"), ("known structure", "known structure"), ("made",) * 2],
)
def test_labels_of_novelty_are_short(novelty, label):
    assert label_novelty(candidate_row(novelty=novelty)) == label
