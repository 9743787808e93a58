"""The off-policy study on a small population: its numbers are those that theory promises, or takes away."""

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.ope import __main__ as ope_study
from experiments.ope import report as ope_report
from experiments.ope.__main__ import Design
from experiments.problem.table import normalise
from jaxroute import estimators
from jaxroute.data import synthetic, units
from jaxroute.types import NuisanceSpec

DESIGNS = (
    Design("uniform", 800, outcomes="wrong"),
    Design("uniform", 800, outcomes="right", propensities="wrong"),
    Design("weak router", 800, outcomes="wrong", propensities="wrong"),
    Design("uniform", 800, confounded=True),
)
DRAWS = 200

pytestmark = pytest.mark.study  # simulations: seconds each


@pytest.fixture(scope="module")
def cells():
    table = synthetic.make(jax.random.key(3), num_prompts=1000, num_models=4)
    table = normalise(table, units.cost_scale(table)[0])
    return ope_study.study(table, DESIGNS, NuisanceSpec(("mean",), folds=2, penalties=(100.0,)), DRAWS, judged=2)


@pytest.fixture(scope="module")
def frame(cells):
    return ope_report.tidy("tiny", cells, tuple(estimators.ESTIMATORS), ope_study.POLICIES, ope_study.COST_WEIGHT)


def of(cells, design, estimator):
    cell = cells[DESIGNS.index(design)]
    e = list(estimators.ESTIMATORS).index(estimator)
    return cell.got.value[:, e], cell.got.standard_error[:, e], cell.truth


@pytest.mark.parametrize("design", DESIGNS[:2])
def test_one_right_nuisance_is_enough(cells, design):
    for estimator in ("dr", "sndr"):
        value, error, truth = of(cells, design, estimator)
        monte_carlo = value.std(0, ddof=1) / np.sqrt(DRAWS)
        assert (np.abs(value.mean(0) - truth) < 4 * monte_carlo + 1e-3).all()  # sndr: a bias of order 1/n
        covered = (np.abs(value - truth) <= 1.96 * error).mean(0)
        assert (covered > 0.95 - 4 * np.sqrt(0.05 * 0.95 / DRAWS)).all()


def test_two_wrong_nuisances_show_and_so_does_a_confounder(cells):
    for design in DESIGNS[2:]:
        value, error, truth = of(cells, design, "sndr")
        covered = (np.abs(value - truth) <= 1.96 * error).mean(0)
        assert np.abs(value.mean(0) - truth).max() > 0.02
        assert covered.min() < 0.5


def test_rows_are_tidy_and_agree_with_the_draws(cells, frame):
    assert set(frame["metric"]) >= {"bias", "rmse", "coverage", "width", "rank_correlation", "selection_regret"}
    keys = ["logger", "log_size", "hyperparameters", "method", "estimator", "metric"]
    assert not frame.duplicated(keys).any()
    row = frame[(frame["estimator"] == "ipw") & (frame["method"] == "uniform") & (frame["metric"] == "rmse")].iloc[0]
    value, _, truth = of(cells, DESIGNS[0], "ipw")
    np.testing.assert_allclose(row["value"], np.sqrt(((value[:, -1] - truth[-1]) ** 2).mean()), rtol=1e-5)


def test_the_best_of_eight_policies_is_found_more_often_than_by_chance(frame):
    part = frame[(frame["metric"] == "rank_correlation") & (frame["estimator"] == "sndr")]
    assert part["value"].iloc[0] > 0.8


def test_tables_figures_and_files(cells, tmp_path, capsys):
    names = tuple(estimators.ESTIMATORS)
    written = ope_report.write(tmp_path, "tiny", cells, names, ope_study.POLICIES, ope_study.COST_WEIGHT)
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == len(written)
    assert {p.name for p in tmp_path.iterdir()} >= {"coverage.png", "coverage.svg", "rmse.png", "rmse.svg"}
    promised = ope_report.promise(written)
    assert len(promised) == 4  # two designs, two estimators
    said = capsys.readouterr().out
    assert "coverage where it is promised" in said
    assert all(f"{name} (carries the model's" in said for name in ("direct", "switch", "shrinkage"))
