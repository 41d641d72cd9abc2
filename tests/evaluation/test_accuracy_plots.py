import numpy as np
import pytest

from matlode.evaluation import accuracy_plots as figures

rng = np.random.default_rng(0)


def parity(name: str, *, logarithmic: bool = False) -> figures.Parity:
    truth = rng.lognormal(size=300)
    return figures.Parity(
        name=name, unit="GPa", model="standard", truth=truth, predicted=truth * 1.1,
        inside=rng.random(300) < 0.9, logarithmic=logarithmic,
        scores={"mae": 1.5, "r2": 0.9, "mae_ln": 0.1, "r2_ln": 0.8, "coverage": 0.9},
    )  # fmt: skip


def classifier(title: str) -> figures.Classifier:
    scores = {"auc": 0.9, "accuracy": 0.8, "f1": 0.7}
    curve = np.array([[0, 0.2, 1], [0, 0.8, 1]])
    confusion = np.array([[80, 20], [0, 0]])
    return figures.Classifier(title, ("no", "yes"), {"ours": curve}, {"ours": scores}, confusion)


def draw(stem, what):
    unit = np.linspace(0, 1, 10)
    match what:
        case "parity":
            return figures.draw_parity(stem, [parity("K"), parity("κ", logarithmic=True)])
        case "classifiers":
            return figures.draw_classifiers(stem, [classifier("metal"), classifier("magnetic")])
        case "space groups":
            return figures.draw_confusions(stem, {"alone": rng.poisson(0.1, (230, 230))})
        case "crystal systems":
            # a class without rows has no shares
            counts = rng.poisson(5, (3, 3)) * [[1], [1], [0]]
            return figures.draw_confusions(stem, {"a": counts, "b": counts}, ("x", "y", "z"))
        case "characteristics":
            kinds = {kind: rng.normal(size=(200, 3)) for kind in ("real", "decoded")}
            # the last never varies
            kinds = {kind: values * [1, 1, 0] for kind, values in kinds.items()}
            return figures.draw_characteristics(stem, ("mean", "skewness", "c3"), kinds)
        case "reliability":
            curve = figures.Reliability(unit, unit**2, unit / 20, 0.1)
            return figures.draw_reliability(stem, {"metal": {"simulated": curve}})
        case "coverage":
            curves = {"simulated": unit**0.9, "decoded": unit}
            return figures.draw_coverage(stem, unit, dict.fromkeys("abcde", curves))
        case "abstention":
            return figures.draw_abstention(stem, {"alone": np.linspace(1, 0.5, 500)})


@pytest.mark.parametrize(
    "what",
    [
        "parity", "classifiers", "space groups", "crystal systems", "characteristics",
        "reliability", "coverage", "abstention",
    ],
)  # fmt: skip
def test_every_figure_is_a_small_picture_and_a_page_that_opens_offline(tmp_path, what):
    files = draw(tmp_path / "below" / what, what)
    assert [file.suffix for file in files] == [".png", ".svg", ".html"]
    assert 3_000 < files[0].stat().st_size < 200_000
    assert "<svg" in files[1].read_text()
    assert "Plotly.newPlot" in files[2].read_text()
