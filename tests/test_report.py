"""The numbers of reports against hand computations, on results of a small simulated routing problem."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_results import WEIGHTS, simulate, tidy, tiny
from scipy import stats

from jaxroute import report
from jaxroute.report.results import COLUMNS
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def results():
    return simulate()


def test_paired_interval_by_hand():
    frame = tiny({"a": [0.10, 0.20, 0.30], "b": [0.15, 0.21, 0.36]})
    row = report.summarise(frame, "regret", against="b").set_index("method").loc["a"]
    # differences -0.05, -0.01, -0.06: mean -0.04, deviations -0.01, 0.03, -0.02, so
    # sd = sqrt((0.0001 + 0.0009 + 0.0004) / 2), and t at 97.5% with 2 degrees of freedom is 4.3026527
    half = 4.30265272991 * np.sqrt(0.0014 / 2) / np.sqrt(3)
    expected = [-0.04, -0.04 - half, -0.04 + half, 3]
    np.testing.assert_allclose(
        row[["difference", "difference_low", "difference_high", "pairs"]].astype(float), expected
    )
    # a alone: mean 0.2, sd 0.1
    half = 4.30265272991 * 0.1 / np.sqrt(3)
    np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), [0.2, 0.2 - half, 0.2 + half])


def test_intervals_agree_with_scipy_at_every_weight(results):
    summary = report.summarise(results, "regret", against="plug_in_mlp").set_index(["method", "cost_weight"])
    rows = results[results["metric"] == "regret"]
    for weight in WEIGHTS:
        wide = rows[rows["cost_weight"] == weight].pivot(index="seed", columns="method", values="value")
        test = stats.ttest_rel(wide["rm_softmax"], wide["plug_in_mlp"]).confidence_interval()
        row = summary.loc[("rm_softmax", weight)]
        np.testing.assert_allclose([row["difference_low"], row["difference_high"]], test)


def test_only_common_seeds_are_paired():
    frame = tiny({"a": [1.0, 2.0, 9.0], "b": [0.5, 1.0]})
    row = report.summarise(frame, "regret", against="b").set_index("method").loc["a"]
    assert row["seeds"] == 3
    assert row["pairs"] == 2
    np.testing.assert_allclose(row["difference"], (0.5 + 1.0) / 2)


def test_grid_mean_averages_within_a_seed_first():
    frame = pd.concat([tiny({"a": [1.0, 3.0]}, weights=(0.0,)), tiny({"a": [2.0, 8.0]}, weights=(1.0,))])
    summary = report.summarise(frame, "regret", grid=(0.0, 1.0))
    row = summary[summary["cost_weight"].isna()].iloc[0]
    # seed means 1.5 and 5.5: mean 3.5, sd 4 / sqrt(2), t at 97.5% with 1 degree of freedom 12.7062047
    half = 12.7062047362 * (4 / np.sqrt(2)) / np.sqrt(2)
    np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), [3.5, 3.5 - half, 3.5 + half])


def test_a_missing_weight_leaves_no_grid_mean():
    frame = pd.concat([tiny({"a": [1.0, 3.0], "b": [1.0, 1.0]}), tiny({"b": [5.0, 5.0]}, weights=(1.0,))])
    summary = report.summarise(frame, "regret", grid=(0.5, 1.0))
    mean = summary[summary["cost_weight"].isna()].set_index("method")["mean"]
    assert np.isnan(mean["a"])
    assert mean["b"] == 3.0


def test_float32_and_float64_cost_weights_are_one():
    frame = tiny({"a": [1.0, 2.0]}, weights=(float(np.float32(0.1)),))
    other = tiny({"b": [1.0, 3.0]}, weights=(0.1,))
    row = report.summarise(pd.concat([frame, other]), "regret", against="b").set_index("method").loc["a"]
    assert row["pairs"] == 2


def test_one_seed_has_a_mean_and_no_interval():
    row = report.summarise(tiny({"a": [0.25]}), "regret", against="a").iloc[0]
    assert row["mean"] == 0.25
    assert row[["low", "high", "difference_low", "difference_high"]].isna().all()


def test_every_interval_is_students():
    values = {"a": [0.1, 0.4, 0.2], "b": [0.3, 0.3, 0.9], "c": [np.nan, 1.0, 2.0], "d": [np.inf, 1.0, 2.0]}
    for _, row in report.summarise(tiny(values), "regret").iterrows():
        expected = report.student_interval(values[row["method"]])
        np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), expected, rtol=1e-12)


def test_undefined_in_one_seed_is_undefined():
    assert np.isnan(report.student_interval([0.5, np.nan])[0])
    assert report.student_interval([0.5, np.inf])[0] == np.inf


def test_tables_take_the_fixed_grid_and_curves_all(results):
    assert report.table_weights(results, "regret") == report.TABLE_WEIGHTS
    assert report.table_weights(tiny({"a": [1.0]}, weights=(0.3, 0.7)), "regret") == (0.3, 0.7)
    assert len(report.table_weights(tiny({"a": [1.0]}, weights=np.linspace(3, 9, 40)), "regret")) == 7
    assert len(report.summarise(results, "regret").query("method == 'oracle'")) == len(WEIGHTS)


@pytest.mark.parametrize(
    ("router", "plug_in", "phrases"),
    [
        ([0.10, 0.11, 0.12], [0.20, 0.21, 0.22], ["beats the best plug-in (plug_in_mlp) by 10.00 points"]),
        ([0.30, 0.31, 0.33], [0.20, 0.21, 0.22], ["loses to the best plug-in (plug_in_mlp) by 10.33 points"]),
        ([0.10, 0.30, 0.26], [0.20, 0.21, 0.22], ["neither beats nor loses", "1.00 points behind"]),
        ([0.10], [0.20], ["10.00 points ahead", "on one seed; without an interval this supports no claim"]),
    ],
)
def test_headline_says_wins_losses_and_doubt(router, plug_in, phrases):
    frame = tiny({"rm_softmax": router, "plug_in_mlp": plug_in, "plug_in_ridge": [0.4] * len(plug_in)})
    text = report.headline(frame)
    for phrase in phrases:
        assert phrase in text
    assert "No single model was run" in text


def test_a_headline_that_names_the_best_of_a_table_says_that_ceilings_do_not_count():
    rows = {"rm_softmax": [0.2, 0.21], "plug_in_ridge": [0.1, 0.11]}
    assert report.headline(tiny(rows)).startswith("plug_in_ridge (plug-in) has the lowest mean regret in the table: ")
    said = report.headline(tiny(rows | {"oracle": [0.0, 0.0]}))
    assert said.startswith("plug_in_ridge (plug-in) has the lowest mean regret in the table, ceilings aside: 10.50 ±")


def test_headline_intervals_point_the_right_way():
    frame = tiny({"rm_softmax": [0.30, 0.31, 0.33], "best_single": [0.20, 0.21, 0.22]})
    # loses by 0.10, 0.10, 0.11: mean 10.33 points, half width 4.3026527 * 0.57735 / sqrt(3) = 1.434
    assert "loses to the best single model by 10.33 points (95% interval 8.90 to 11.77)" in report.headline(frame)
    better = frame.assign(metric="utility")
    assert "beats the best single model by 10.33 points (95% interval 8.90 to 11.77)" in report.headline(
        better, "utility"
    )


def test_compare_lists_the_weights_of_wins_and_losses():
    wins = tiny({"rm_softmax": [0.1, 0.1], "knn": [0.2, 0.2]}, weights=(0.0,))
    loses = tiny({"rm_softmax": [0.5, 0.5], "knn": [0.2, 0.2]}, weights=(1.0, 2.0))
    row = report.compare(pd.concat([wins, loses])).iloc[0]
    assert (row["against"], row["verdict"]) == ("knn", "worse")
    assert row["better_at"] == (0.0,)
    assert row["worse_at"] == (1.0, 2.0)


def test_full_feedback_and_oracle_are_never_competitors(results):
    known = results[results["method"] == "oracle"].assign(method="conditional_oracle")
    table = report.compare(pd.concat([results, known]))
    assert "conditional_oracle" not in set(table["router"])
    assert not table["router"].str.endswith("_full").any()
    assert set(table["against"]) == {"plug_in_mlp", "best_single"}


def test_bad_frames_are_named():
    frame = tiny({"a": [1.0]})
    with pytest.raises(InputError, match="no column kind: add one"):
        report.headline(frame.drop(columns="kind"))
    with pytest.raises(InputError, match="method 'a' has kind 'router': give each method one of learned, plug-in"):
        report.headline(frame.assign(kind="router"))
    with pytest.raises(InputError, match="method 'a' has kind"):
        report.headline(pd.concat([frame, frame.assign(kind="plug-in", seed=1)]))
    with pytest.raises(InputError, match="column split is missing"):
        report.summarise(frame.drop(columns="split"), "regret")
    with pytest.raises(InputError, match=r"no rows of metric 'regrets'; the metrics present are: regret"):
        report.summarise(frame, "regrets")
    with pytest.raises(InputError, match=r"2 rows for method 'a'.*differ in log_size"):
        report.summarise(pd.concat([frame, frame.assign(log_size=200)]), "regret")
    with pytest.raises(InputError, match="no rows of method 'b'"):
        report.summarise(frame, "regret", against="b")


def test_no_jax_and_no_pyplot():
    for source in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not any(re.match(r"jax(\.|$)|flax|optax|(.*\.)?pyplot", name) for name in names), source


def test_the_recommended_recipe_is_compared_with_every_other_kind():
    rows = [
        {"method": m, "seed": s, "value": v + s / 100, "cost_weight": 0.5, "metric": "regret"}
        for m, v in {"recommended": 0.10, "plug_in_ridge": 0.20, "best_single": 0.30, "rm_softmax": 0.15}.items()
        for s in range(3)
    ]
    frame = tidy(pd.DataFrame(rows).reindex(columns=COLUMNS, fill_value=""))
    found = report.compare(frame).set_index(["router", "against"])["difference"]
    assert found["recommended", "plug_in_ridge"] == pytest.approx(-0.1)
    assert found["recommended", "best_single"] == pytest.approx(-0.2)
    assert found["rm_softmax", "plug_in_ridge"] == pytest.approx(-0.05)
    assert found["rm_softmax", "recommended"] == pytest.approx(0.05)
    assert ("recommended", "recommended") not in found.index
    assert "recommended recipe by 5.00 points" in report.headline(frame)
