import pytest

from matlode.report.links import link_formula, link_id


def test_formulas_are_written_as_each_database_does():
    mp, optimade, cod = (link.address for link in link_formula("CaCO3"))
    assert mp.endswith("formula=CaCO3")
    assert optimade.endswith("chemical_formula_reduced%3D%22CCaO3%22")  # by letter
    assert cod.endswith("formula=C%20Ca%20O3")  # Hill: carbon first
    assert link_formula("BC")[2].address.endswith("formula=C%20B")


@pytest.mark.parametrize("text", ["", "not a formula", "<script>", "A" * 1000])
def test_what_is_no_formula_has_no_links(text):
    assert link_formula(text) == ()


@pytest.mark.parametrize("identifier", ["mp-", "agm-1", "mp-1/../x", "mp-<b>", "", "mp-²"])
def test_other_ids_have_no_link(identifier):
    assert link_id(identifier) == ""
