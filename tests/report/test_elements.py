from matlode.report.elements import arrange_elements


def test_places_are_those_of_the_periodic_table():
    places = {cell.symbol: (cell.row, cell.column) for cell in arrange_elements()}
    assert len(set(places.values())) == len(places) == 100
    assert places["H"] == (1, 1)
    assert places["He"] == (1, 18)
    assert places["Fe"] == (4, 8)
    assert places["Hf"] == (6, 4)
    assert (places["La"], places["Lu"], places["U"]) == ((8, 3), (8, 17), (9, 6))


def test_formulas_are_counted_once_and_shares_are_of_the_most_frequent():
    cells = {cell.symbol: cell for cell in arrange_elements(["B4C", "TaB2", "no formula"])}
    assert (cells["B"].formulas, cells["B"].share) == (2, 1.0)
    assert (cells["C"].formulas, cells["C"].share) == (1, 0.5)
    assert cells["O"].share == 0
