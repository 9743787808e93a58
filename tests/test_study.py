"""The study: its cells, its statistics against SciPy and plain NumPy, its report; two small cells from end to end."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import configs, methods, storage
from experiments.study import __main__ as study
from experiments.study import cells as study_cells
from experiments.study import contrasts as study_contrasts
from experiments.study import design as study_design
from experiments.study import figures as study_figures
from experiments.study import gap as study_gap
from experiments.study import report as study_report
from experiments.study import significance as study_tests
from experiments.study import summary as study_summary
from experiments.study import tables as study_tables
from jaxroute import report
from jaxroute.types import InputError

SEEDS = 6


def made_up(seed=0):
    """Two tables, three cells; the recipe is better by one point on the first table, worse by one on the second."""
    rng = np.random.default_rng(seed)
    rows = []
    for table, lead in (("bbh", -1.0), ("routellm", 1.0)):
        for factor, level in (("centre", ""), ("log size", "500"), ("control", "shuffled answers")):
            about = json.dumps({"factor": factor, "level": level})
            base = 30 + rng.standard_normal(SEEDS)
            moved = {"recommended": lead, "plug_in_stack": 0.0, "best_single": 2.0, "plug_in_stack_full": -4.0}
            moved |= {"best_single_full": 1.0}
            for method, shift in moved.items():
                for s in range(SEEDS):
                    value = (base[s] + shift + 0.3 * rng.standard_normal()) / 100
                    common = (table, "weak_router", 2000, method, "full_table")
                    end = (s, about, "test")
                    rows.append((*common, np.nan, *end, "mean_regret", value, 0.0))
                    rows += [(*common, w, *end, "regret", value, 0.0) for w in (0.0, 1.0)]
                    rows.append((*common, 0.5, *end, "regret_between", value, 0.0))
    return pd.DataFrame(rows, columns=list(report.COLUMNS))


def test_every_cell_is_a_config_that_can_be_run():
    for full in (False, True):
        cells = study_cells.cells(Path("data"), full=full)
        for cell in cells:
            configs.check(cell.config, cell.factor)
            assert "recommended" in cell.config.methods
            assert json.loads(study_cells.describe(cell))["level"] == cell.level
        names = [(c.table, c.factor, c.level) for c in cells]
        assert len(set(names)) == len(names)
        assert len({repr(c.config) for c in cells}) == len(cells)  # no cell is another one by a second name
        assert {c.table for c in cells if c.factor == "centre"} == {t.name for t in study_design.TABLES}
        assert all(c.config.seeds == 10 for c in cells)


def test_equal_spend_pairs_the_shadow_with_as_many_log_rows():
    rows = study_report.labelled(made_up())
    centre, moved = (rows[rows["factor"] == factor] for factor in ("centre", "log size"))
    shadow = moved.assign(factor="shadow", level="100", value=moved["value"] - 2.0)
    more = moved.assign(factor="equal spend", level="shadow 100 as log rows", value=moved["value"] - 0.5)
    found = study_tests.equal_spend(pd.concat([centre, shadow, more])).set_index("dataset")
    assert list(found.index) == ["bbh", "routellm"]
    np.testing.assert_allclose(found["gain"], 1.5)
    np.testing.assert_allclose(found[["low", "high"]], 1.5)
    assert (found["shadow"] == "100").all()
    assert study_tests.equal_spend(rows).empty


def test_cells_of_other_loggers_borrow_the_centres_ceilings_and_nothing_else():
    results = made_up()
    alone = results[results["hyperparameters"].str.contains("log size") & ~results["method"].str.endswith("_full")]
    about = json.dumps({"factor": "logger", "level": "uniform"})
    worth = results[results["metric"] == "mean_regret"].assign(metric="effective_sample_size", value=300.0)
    results = pd.concat([results, worth])
    alone = alone.assign(hyperparameters=about, logger="uniform", log_size=1999)
    found = study_cells.with_ceilings(pd.concat([results, alone]))
    got = found[(found["hyperparameters"] == about) & found["method"].str.endswith("_full")]
    centre = results[results["hyperparameters"].str.contains("centre") & results["method"].str.endswith("_full")]
    centre = centre[centre["metric"] != "effective_sample_size"]  # that is of the log, not of the ceilings
    assert set(got["logger"]) == {"uniform"}
    assert set(got["log_size"]) == {1999}
    changed = ["hyperparameters", "logger", "log_size"]
    pd.testing.assert_frame_equal(
        got.drop(columns=changed).reset_index(drop=True), centre.drop(columns=changed).reset_index(drop=True)
    )
    assert len(found) == len(results) + len(alone) + len(centre)
    again = study_cells.with_ceilings(found)
    assert len(again) == len(found)  # what a cell has of its own stays


def test_differences_match_scipy():
    rows = study_report.labelled(made_up())
    found = study_tests.differences(rows).set_index(["dataset", "factor", "level", "method"])
    assert set(found.index.get_level_values("method")) == {"plug_in_stack", "best_single"}
    assert set(found.index.get_level_values("factor")) == {"centre", "log size"}
    mean = rows[rows["metric"] == "mean_regret"]
    for (table, factor, level, method), line in found.iterrows():
        cell = mean[(mean["dataset"] == table) & (mean["factor"] == factor) & (mean["level"] == level)]
        ours, theirs = (cell[cell["method"] == m]["value"].to_numpy() for m in ("recommended", method))
        test = stats.ttest_rel(ours, theirs)
        interval = test.confidence_interval()
        np.testing.assert_allclose(line["p"], test.pvalue, rtol=1e-6)
        np.testing.assert_allclose([line["low"], line["high"]], [interval.low, interval.high], rtol=1e-6)
    p = found["p"].to_numpy()
    order = np.argsort(p)
    expected, running = np.empty(len(p)), 0.0
    for i, place in enumerate(order):
        running = max(running, (len(p) - i) * p[place])
        expected[place] = min(running, 1)
    np.testing.assert_allclose(found["holm"], expected)
    assert (found.loc[("routellm", "centre", "", "plug_in_stack")][["difference", "low"]] > 0).all()


def test_p_of_equal_and_constant_differences():
    assert study_tests.two_sided(np.zeros(4)) == 1.0
    assert study_tests.two_sided(np.ones(4)) == 0.0
    assert np.isnan(study_tests.two_sided(np.ones(1)))


def test_pooled_gap_and_control():
    rows = study_report.labelled(made_up())
    per_table = study_tests.pooled(rows).set_index(["dataset", "method"])
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] != "control") & (rows["dataset"] == "bbh")]
    wide = mean.pivot_table(index="seed", columns="method", values="value")  # mean over the two cells
    gap = wide["recommended"] - wide["plug_in_stack"]
    line = per_table.loc[("bbh", "plug_in_stack")]
    np.testing.assert_allclose(line["difference"], gap.mean())
    np.testing.assert_allclose(line["high"], stats.t.interval(0.95, SEEDS - 1, gap.mean(), stats.sem(gap))[1])
    first = rows[rows["factor"] == "centre"].assign(factor="outcome model", level="former stack")
    pd.testing.assert_frame_equal(study_tests.pooled(pd.concat([rows, first])), study_tests.pooled(rows))
    means = first.assign(level="means only")
    every = pd.concat([rows, first, means])
    pd.testing.assert_frame_equal(study_tests.differences(every), study_tests.differences(rows))
    other = study_tests.other_models(every)
    assert set(other["level"]) == {"means only"}
    ours = study_tests.differences(rows).query("factor == 'centre'")
    np.testing.assert_allclose(other["p"], ours["p"])
    np.testing.assert_allclose(other["holm"], study_tests.holm(ours["p"].to_numpy()))
    closed = study_gap.gap_closed(rows).set_index(["dataset", "factor"])["closed"]
    np.testing.assert_allclose(closed[("bbh", "centre")], 0.25, atol=0.1)
    assert study_gap.share_closed(rows, "centre", "").tables == 2
    # The first recipe's cell moves both ends of the centre's gap: 30 points further off, ceiling as far.
    about = json.dumps({"factor": "outcome model", "level": "former stack"})
    first = made_up().query("method != 'random'")
    first = first[first["hyperparameters"].str.contains("centre")].assign(hyperparameters=about)
    first["value"] += 0.3 * (first["method"] == "plug_in_stack")
    moved = study_gap.gap_closed(study_report.labelled(pd.concat([made_up(), first])))
    line = moved.set_index(["dataset", "factor"]).loc[("bbh", "centre")]
    np.testing.assert_allclose(line["closed"], (30 + 1) / (30 + 4), atol=0.02)
    np.testing.assert_allclose(line["start"] - line["stack"], 30)
    null = study_tests.control(rows).set_index(["dataset", "method"])
    # made up: the recipe beats best_single_full by two points on the first table, is level with it on the second
    assert null.loc[("bbh", "recommended"), "high"] < -1 < null.loc[("routellm", "recommended"), "low"]


def cell(table, factor, level, methods, seeds=range(SEEDS), metric="mean_regret", weights=(np.nan,)):
    """Labelled rows of one cell; ``methods``: method -> regret in points per seed, or one for every cost weight."""
    rows = []
    for method, values in methods.items():
        for weight, at_weight in zip(weights, np.broadcast_to(values, (len(weights), len(seeds))), strict=True):
            rows += [
                (table, factor, level, metric, method, weight, s, float(v))
                for s, v in zip(seeds, at_weight, strict=True)
            ]
    columns = ["dataset", "factor", "level", "metric", "method", "cost_weight", "seed", "value"]
    return pd.DataFrame(rows, columns=columns)


def interval(gap):
    """Student's, by SciPy."""
    return stats.t.interval(0.95, len(gap) - 1, np.mean(gap), stats.sem(gap))


def test_the_first_step_of_holm_is_where_p_is_a_twentieth_of_one_in_so_many():
    for comparisons, seeds in ((1, 10), (484, 10), (90, 6)):
        t = study_tests.first_step(comparisons, seeds)
        np.testing.assert_allclose(2 * stats.t.sf(t, seeds - 1), 0.05 / comparisons)
        gap = np.array([-1.0, 1.0] * (seeds // 2))
        gap += 1.0001 * t * gap.std(ddof=1) / np.sqrt(seeds)
        p = np.array([study_tests.two_sided(gap)] + [1.0] * (comparisons - 1))
        assert study_tests.holm(p)[0] < 0.05


def test_families_are_corrected_within_their_table():
    tests = study_tests.differences(study_report.labelled(made_up()))
    found = study_tests.families(tests).set_index("dataset")
    assert found["comparisons"].to_dict() == {"bbh": 4, "routellm": 4}
    for dataset, part in tests.groupby("dataset"):
        p, sure = sorted(part["p"]), 0
        while sure < len(p) and p[sure] * (len(p) - sure) < 0.05:
            sure += 1
        assert found.loc[dataset, ["worse", "better"]].sum() == sure
    assert found.loc["bbh", "worse"] == 0 < found.loc["bbh", "better"]
    assert found.loc["routellm", "worse"] > 0
    np.testing.assert_allclose(found["smallest t"], study_tests.first_step(4, SEEDS))


def test_new_draws_are_no_part_of_the_comparisons_but_a_family_of_their_own():
    rng = np.random.default_rng(1)
    base = rng.standard_normal(10)
    centre = cell("bbh", "centre", "", {"recommended": base, "plug_in_stack": base + 1 + 0.1 * base**2}, range(10))
    ours, theirs, single = rng.standard_normal((3, 10))
    methods = {"recommended": ours, "plug_in_stack": theirs, "best_single": single + 9, "best_single_full": single}
    new = cell("bbh", "new draws", "cost-biased 2", methods, range(30, 40))
    rows = pd.concat([centre, new])
    pd.testing.assert_frame_equal(study_tests.differences(rows), study_tests.differences(centre))
    pd.testing.assert_frame_equal(study_tests.pooled(rows), study_tests.pooled(centre))
    drawn, untouched = study_tests.confirmation(rows)
    assert drawn[["level", "method"]].to_numpy().tolist() == [
        ["cost-biased 2", "best_single"],
        ["cost-biased 2", "plug_in_stack"],
    ]
    for line, other in zip(drawn.itertuples(), (single + 9, theirs), strict=True):
        np.testing.assert_allclose([line.low, line.high], interval(ours - other))
    small, large = drawn["p"].min(), drawn["p"].max()
    np.testing.assert_allclose(sorted(drawn["holm"]), [2 * small, max(2 * small, large)])  # of two, not of three
    assert untouched["seeds"].tolist() == [4]
    np.testing.assert_allclose(untouched["difference"], -np.mean(1 + 0.1 * base[6:] ** 2))
    text = "\n".join(study_report.confirmed(rows))
    assert "cost-biased 2 | best_single | " in text
    assert "]* |" in text
    assert study_report.confirmed(centre) == []
    assert study_tests.confirmation(centre)[0].empty


def test_share_closed_is_a_ratio_of_sums_with_seeds_resampled_for_all_tables_at_once():
    rng = np.random.default_rng(2)
    start, closed, gap = 30.0, rng.uniform(0, 3, (2, 10)), rng.uniform(4, 6, (2, 10))
    parts = [
        cell(
            table,
            "centre",
            "",
            {"plug_in_stack": [start] * 10, "recommended": start - closed[t], "plug_in_stack_full": start - gap[t]},
            range(10),
        )
        for t, table in enumerate(("bbh", "routellm"))
    ]
    far = {"plug_in_stack": 9, "recommended": 0, "plug_in_stack_full": 0}
    rows = pd.concat([*parts, cell("synthetic", "centre", "", far)])  # not a real table
    found = study_gap.share_closed(rows, "centre", "")
    np.testing.assert_allclose(found.share, closed.sum() / gap.sum())
    assert found.tables == 2
    seeds = np.random.default_rng(0).integers(10, size=(study_gap.DRAWS, 10))
    shares = [closed[:, s].sum() / gap[:, s].sum() for s in seeds]
    np.testing.assert_allclose([found.low, found.high], np.quantile(shares, [0.025, 0.975]))
    assert found.low < found.share < found.high
    same = cell("bbh", "centre", "", {"plug_in_stack": 30, "recommended": 28, "plug_in_stack_full": 26})
    assert study_gap.share_closed(same, "centre", "") == (0.5, 0.5, 0.5, 1)  # seeds alike: nothing to resample
    assert study_gap.share_closed(rows, "shadow", "250").tables == 0
    assert study_gap.share_closed(rows[rows["method"] == "recommended"], "centre", "").tables == 0


def test_ends_are_those_of_the_first_recipe_seed_by_seed():
    up = np.arange(SEEDS, dtype=float)
    names = ("plug_in_stack", "recommended", "plug_in_stack_full")
    places = {("centre", ""): 10, ("shadow", "250"): 20, ("log size", "500"): 30, study_cells.FIRST: 40}
    rows = pd.concat(
        [
            cell(table, *place, {m: base + 3 * i + up for i, m in enumerate(names)})
            for table in ("bbh", "mmlu-pro")
            for place, base in places.items()
            if (table, place) != ("mmlu-pro", study_cells.FIRST)
        ]
    )
    found = study_gap.ends(rows).set_index(["dataset", "factor", "seed"])[["start", "recommended", "ceiling", "stack"]]
    for s in range(SEEDS):
        assert found.loc[("bbh", "centre", s)].tolist() == [40 + s, 13 + s, 46 + s, 10 + s]
        assert found.loc[("bbh", "shadow", s)].tolist() == [40 + s, 23 + s, 46 + s, 20 + s]
        assert found.loc[("bbh", "log size", s)].tolist() == [30 + s, 33 + s, 36 + s, 30 + s]
        assert found.loc[("mmlu-pro", "shadow", s)].tolist() == [10 + s, 23 + s, 16 + s, 20 + s]


def test_control_against_the_logs_choice_leaves_out_what_does_not_route():
    rng = np.random.default_rng(3)
    base = rng.standard_normal(10)
    methods = {
        **{"best_single_full": base, "best_single": base + 2 + 0.1 * rng.standard_normal(10), "random": base + 20},
        **{"cheapest": base - 5, "recommended": base + 1 + 0.1 * rng.standard_normal(10), "plug_in_stack_full": base},
    }
    rows = cell("bbh", "control", "shuffled answers", methods, range(10))
    for against, sign in (("best_single_full", 1), ("best_single", -1)):
        (line,) = study_tests.control(rows, against).itertuples()
        gap = methods["recommended"] - methods[against]
        assert line.method == "recommended"
        np.testing.assert_allclose([line.difference, line.p], [gap.mean(), stats.ttest_1samp(gap, 0).pvalue])
        assert np.sign(line.difference) == sign
        assert line.holm == line.p
    text = "\n".join(study_report.control(rows))
    assert "| Holm 5% | 0 | 1 |" in text
    assert "0 of 1 methods beat" in text
    assert study_report.control(rows[rows["factor"] == "centre"]) == []


def test_contrasts_pair_seeds_across_cells_and_average_real_tables_seed_by_seed():
    rng = np.random.default_rng(4)
    tables = ("synthetic", "bbh", "routellm")
    left, right = rng.standard_normal((2, 3, SEEDS))
    rows = pd.concat(
        [cell(t, "centre", "", {"recommended": right[i]}) for i, t in enumerate(tables)]
        + [cell(t, "shadow", "250", {"recommended": left[i]}, range(1, SEEDS + 1)) for i, t in enumerate(tables)]
    )
    side = study_contrasts.Side
    shadow = study_contrasts.Contrast(side("recommended", "shadow", "250"), side("recommended"))
    absent = study_contrasts.within("rm_softmax", "recommended")
    found = study_contrasts.contrasts(rows, [shadow, absent]).set_index("dataset")
    assert found.index.tolist() == [*tables, "real tables"]
    assert set(found["contrast"]) == {"recommended: shadow 250 - centre"}
    gap = left[:, :-1] - right[:, 1:]  # seeds 1 to 5 are in both cells
    for i, table in enumerate(tables):
        np.testing.assert_allclose(found.loc[table, ["low", "high"]].astype(float), interval(gap[i]))
    together = found.loc["real tables"]
    np.testing.assert_allclose([together["low"], together["high"]], interval(gap[1:].mean(0)))
    assert together["tables"] == 2
    assert study_contrasts.contrasts(rows, [absent]).empty


def test_contrasts_between_cost_weights_average_the_weights_first():
    rng = np.random.default_rng(5)
    ours, theirs = rng.standard_normal((2, 3, SEEDS))
    weights = (0.05, 0.375, 1.5)
    methods = {"rm_interval": ours, "rm_softmax_entropic": theirs}
    between = pd.concat(
        [cell("bbh", "centre", "", {m: v}, metric="regret_between", weights=weights) for m, v in methods.items()]
    )
    grid = cell("bbh", "centre", "", {"rm_interval": ours[0], "rm_softmax_entropic": theirs[1]})
    rows = pd.concat([between, grid])
    contrast = study_contrasts.within("rm_interval", "rm_softmax_entropic", metric="regret_between")
    assert contrast.name == "rm_interval - rm_softmax_entropic: centre, between"
    line = study_contrasts.contrasts(rows, [contrast]).iloc[0]
    np.testing.assert_allclose([line["low"], line["high"]], interval((ours - theirs).mean(0)))
    found = study_contrasts.across_weights(rows).set_index("method")
    np.testing.assert_allclose(
        found.loc["rm_interval", ["grid", "between"]].astype(float), [ours[0].mean(), ours.mean()]
    )
    np.testing.assert_allclose(found.loc["rm_interval", "grid_less"], (ours[0] - theirs[1]).mean())
    np.testing.assert_allclose(found.loc["rm_interval", "between_high"], interval((ours - theirs).mean(0))[1])
    assert np.isnan(found.loc["rm_softmax_entropic", "grid_less"])
    assert "| bbh | rm_softmax_entropic | " in "\n".join(study_report.weights(rows))
    assert study_contrasts.across_weights(grid)["between"].isna().all()


def test_best_of_a_cell_is_learned_from_doubly_robust_utilities_and_the_recipe_is_no_plug_in():
    means = {"rm_softmax": 5, "rm_classification": 4, "rm_softmax_dm": 1, "rm_softmax_ipw": 1, "rm_softmax_full": 0}
    means |= {"plug_in_gp": 3, "knn_guarded": 2, "recommended": 1, "plug_in_stack_full": 0, "cheapest": 0}
    names = (study_contrasts.BEST_LEARNED, study_contrasts.BEST_PLUG_IN, "rm_softmax_dm", "oracle")
    wide = pd.DataFrame(means, index=range(3))
    found = [study_contrasts.picked(wide, name) for name in names]
    assert [pick and pick[0] for pick in found] == ["rm_classification", "knn_guarded", "rm_softmax_dm", None]
    assert study_contrasts.picked(wide[["recommended"]], study_contrasts.BEST_PLUG_IN) is None
    assert (
        study_contrasts.picked(wide[["rm_softmax"]].assign(rm_affine=0), study_contrasts.BEST_LEARNED)[0]
        == "rm_softmax"
    )
    rows = pd.concat(
        [
            cell("bbh", "logger", "uniform", {"rm_softmax": 1, "plug_in_gp": 2}),
            cell("bbh", "centre", "", means),
            cell("bbh", "models", "4", {"plug_in_gp": 2, "rm_softmax_dm": 1}),
        ]
    )
    listed = study_contrasts.end_to_end(rows)
    assert [c.left.cell for c in listed] == ["centre", "logger uniform"]
    found = study_contrasts.contrasts(rows, listed)
    assert found[found["dataset"] == "bbh"][["left", "right", "difference"]].to_numpy().tolist() == [
        ["rm_classification", "knn_guarded", 2.0],
        ["rm_softmax", "plug_in_gp", -1.0],
    ]


def test_the_best_of_a_kind_is_picked_on_the_other_seeds():
    rng = np.random.default_rng(3)
    wide = pd.DataFrame(rng.normal(0, 1, (9, 3)), columns=["rm_softmax", "rm_classification", "rm_interval"])
    name, values = study_contrasts.picked(wide, study_contrasts.BEST_LEARNED)
    chosen = [wide.drop(index=s).mean().idxmin() for s in wide.index]
    np.testing.assert_array_equal(values, [wide.loc[s, chosen[s]] for s in wide.index])
    assert chosen.count(name) == max(map(chosen.count, chosen))
    # Pure noise: picked by its own mean the best looks good, picked by the others' it does not.
    gaps, learned = [], [name for name in methods.METHODS if study_contrasts.robust(name)]
    for _ in range(400):
        noise = pd.DataFrame(rng.normal(0, 1, (10, 6)), columns=learned[:6])
        gaps.append([study_contrasts.picked(noise, study_contrasts.BEST_LEARNED)[1].mean(), noise.mean().min()])
    fair, flattered = np.mean(gaps, 0)
    assert flattered < -0.3
    assert abs(fair) < 0.1


def test_against_one_opponent_holm_counts_its_own_cells_and_bounds_say_what_is_ruled_out():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((3, SEEDS))
    leads = {("bbh", "centre", ""): -3.0, ("bbh", "log size", "500"): 0.05, ("routellm", "centre", ""): 4.0}
    rows, gaps = [], {}
    for (place, lead), e in zip(leads.items(), noise, strict=True):
        gaps[place] = lead + 0.1 * e
        rows.append(cell(*place, {"recommended": 20 + gaps[place], "plug_in_stack": 20, "random": 20 + 9}))
    table = study_tests.against(study_tests.differences(pd.concat(rows))).set_index("against")
    assert list(table.index) == ["plug_in_stack"]
    line = table.loc["plug_in_stack"]
    p = [stats.ttest_1samp(gap, 0).pvalue for gap in gaps.values()]
    assert line["cells"] == 3
    assert line["better"] == (p[0] < 0.05) == 1
    assert line["worse"] == (p[1] < 0.05 and gaps[list(gaps)[1]].mean() > 0) + (p[2] < 0.05)
    assert line["worse, Holm"] == 1
    bounds = [interval(gap)[1] for gap in gaps.values()]
    for margin in study_tests.MARGINS:
        assert line[f"loss above {margin:g} ruled out"] == sum(bound < margin for bound in bounds)
    assert line["largest mean loss"].endswith("(routellm, centre)")
    assert study_tests.against(study_tests.differences(rows[0].query("method != 'plug_in_stack'"))).empty


def test_shares_of_a_gap_add_up_from_the_first_recipe_over_the_stack_to_the_recipe():
    seeds = range(10)
    first = cell("bbh", *study_cells.FIRST, {"plug_in_stack": 30, "recommended": 29, "plug_in_stack_full": 20}, seeds)
    now = cell("bbh", "centre", "", {"plug_in_stack": 28, "recommended": 25, "plug_in_stack_full": 19}, seeds)
    rows = pd.concat([first, now])
    assert study_gap.share_closed(rows, "centre", "").share == 0.5  # (30 - 25) / (30 - 20)
    assert study_gap.share_closed(rows, "centre", "", end="stack").share == 0.2
    assert study_gap.share_closed(rows, "centre", "", start="stack").share == 3 / 8
    text = "\n".join(study_report.gap_closed(rows))
    assert "the recipe closes 50% (50% to 50%) of the gap" in text
    assert "today's stacked plug-in alone closes 20%" in text


def test_every_planned_contrast_names_methods_and_cells_of_the_study():
    cells = {(c.factor, c.level): set(c.config.methods) for c in study_cells.cells(Path("data"))}
    centre = cells["centre", ""]
    for contrast in study_contrasts.CONTRASTS:
        for method, factor, level in (contrast.left, contrast.right):
            known = set(cells[factor, level]) | ({"best_single_full"} if factor == "control" else set())
            if any(map(study_contrasts.robust, cells[factor, level])):
                known.add(study_contrasts.BEST_LEARNED)
            assert method in known, contrast.name
    assert len({c.name for c in study_contrasts.CONTRASTS}) == len(study_contrasts.CONTRASTS)
    assert set(study_contrasts.WEIGHTED) - {"rm_conditional"} <= centre


def test_tables_have_intervals_and_say_what_a_log_is_worth():
    rng = np.random.default_rng(6)
    ours, theirs = 20 + rng.standard_normal((2, SEEDS))
    methods = {"recommended": ours, "plug_in_stack": theirs, "best_single": 30, "plug_in_stack_full": 10}
    rows = pd.concat(
        [
            cell("bbh", "centre", "", methods),
            cell("bbh", "centre", "", {"recommended": 321.4}, metric=study_figures.OVERLAP),
            cell("bbh", "capacity", "linear", {"recommended": ours, "rm_softmax": 25}),
        ]
    )
    found = study_tables.cell_table(rows).set_index("factor")
    line, low_high = found.loc["centre"], interval(ours - theirs)
    half = interval(ours)[1] - ours.mean()
    assert line["recommended"] == f"{ours.mean():.2f} ± {half:.2f}"
    assert line["recommended - stack"] == study_tables.interval((ours - theirs).mean(), *low_high)
    assert line[["best single", "ceiling", "which is best", "effective rows"]].tolist() == [
        "30.00",
        "10.00",
        "plug_in_stack",
        "321",
    ]
    other = found.loc["capacity"]
    assert set(other[["stack", "recommended - stack", "best single", "ceiling", "effective rows"]]) == {"-"}
    frame = pd.DataFrame({"dataset": ["routellm", "bbh", "bbh"], "method": ["b", "b", "a"]})
    assert study_tables.by_table(frame, ["method"], ["1", "2", "3"]).splitlines() == [
        "| method | bbh | routellm |",
        "|---|---|---|",
        "| b | 2 | 1 |",
        "| a | 3 | - |",
    ]


def test_report_and_figures(tmp_path):
    text = study_report.write(tmp_path, made_up(), [("bbh", "logger", "uniform", "not run yet")])
    assert "bbh, logger uniform: not run yet" in text
    assert "routellm" in text
    assert (tmp_path / "report.html").read_text().count("data:image/svg+xml") == 2  # log size, cost weights
    drawn = study_figures.draw(study_report.labelled(made_up()))
    assert [d.name for d in drawn] == ["study-log-size", "study-cost-weights"]
    assert "bbh 500" in drawn[0].alt


def test_overlap_is_drawn_in_rows_of_a_uniform_log():
    results = made_up()
    logger = results[results["hyperparameters"].str.contains("centre")]
    about = json.dumps({"factor": "logger", "level": "uniform"})
    results = pd.concat([results, logger.assign(hyperparameters=about)])
    worth = results[results["metric"] == "mean_regret"].assign(metric=study_figures.OVERLAP)
    worth["value"] = np.where(worth["hyperparameters"] == about, 2000.0, 300.0)
    drawn = study_figures.draw(study_report.labelled(pd.concat([results, worth])))
    (figure,) = [d.figure for d in drawn if d.name == "study-overlap"]
    line = {line.get_label(): line for line in figure.axes[0].get_lines()}["recommended"]
    np.testing.assert_array_equal(line.get_xdata(), [300, 2000])
    assert 20 < np.mean(line.get_ydata()) < 40


def test_figures_order_log_sizes_and_take_rare_loggers_from_their_own_home():
    common = {"recommended": 20.0, "plug_in_stack": 21.0}
    rows = pd.concat(
        [
            cell("bbh", "centre", "", {**common, "rm_softmax": 30.0}),
            cell("bbh", "log size", "all", {**common, "rm_softmax": 28.0}),
            cell("bbh", "log size", "5000", common),
            cell("bbh", "log size", "500", {"recommended": 25.0, "plug_in_stack": 26.0}),
            cell("bbh", "logger, 500 rows", "uniform", common),
        ]
    )
    drawn = {d.name: d.figure.axes[0] for d in study_figures.draw(rows)}
    assert set(drawn) == {"study-log-size", "study-logger-500-rows"}
    texts = {name: [t.get_text() for t in axes.get_xticklabels()] for name, axes in drawn.items()}
    assert texts["study-log-size"] == ["500", "2000", "5000", "all"]
    assert texts["study-logger-500-rows"] == ["weak router\n2", "uniform"]
    lines = {c.get_label(): c.lines[0] for c in drawn["study-logger-500-rows"].containers}
    np.testing.assert_array_equal(lines["recommended"].get_ydata(), [25, 20])
    lines = {c.get_label(): c.lines[0] for c in drawn["study-log-size"].containers}
    np.testing.assert_array_equal(lines["rm_softmax"].get_ydata(), [30, 28])  # not run with 5000 rows, yet one line


def test_missing_tables_are_listed_and_nothing_is_run(tmp_path, capsys):
    cells = [c for c in study_cells.cells(tmp_path) if c.table == "bbh"]
    done = study.work(cells, tmp_path)
    assert done.results.empty
    assert len(done.missing) == len(cells)
    assert "open_llm_lb_v2_carrot" in done.missing[0][1]
    nothing = ["--known", str(tmp_path), "--report-only"]
    assert study.main(["--data", str(tmp_path), "--out", str(tmp_path), *nothing]) == 2
    assert "no cell is finished" in capsys.readouterr().err
    assert study.core_minutes(cells, tmp_path) == 0


def test_a_cell_that_another_process_is_at_is_left_to_it(tmp_path, monkeypatch, capsys):
    cells = study_cells.cells(tmp_path, smoke=True)
    ran = []
    monkeypatch.setattr(study.run, "run", lambda config, *_, **__: ran.append(config) or pytest.fail("ran"))
    with storage.only_run(study._claim(cells[0], tmp_path)):
        done = study.work(cells[:1], tmp_path)
    assert ran == []
    assert "at work here" in done.missing[0][1]
    assert capsys.readouterr().out == ""
    with pytest.raises(pytest.fail.Exception):
        study.work(cells[:1], tmp_path)


def test_workers_go_table_by_table_each_from_another():
    cells = study_cells.cells(Path("data"))
    first, second = (study.by_table(cells, worker, 2) for worker in range(2))
    assert sorted(map(repr, first)) == sorted(map(repr, second)) == sorted(map(repr, cells))
    assert first[0].table != second[0].table
    changes = [a.table != b.table for a, b in itertools.pairwise(first)]
    assert sum(changes) == len(study_design.TABLES) - 1
    assert [c for c in first if c.table == "bbh"] == [c for c in cells if c.table == "bbh"]


def test_the_pages_say_what_the_study_found():
    """`make study PUBLISH=1` wrote them: no number by hand, none of another run."""
    root = Path(__file__).parents[1]
    rows = study_report.labelled(pd.read_parquet(root / "experiments" / "results" / "study.parquet"))
    page, _, _ = (root / "experiments" / "results" / "study.md").read_text().partition("\n## Cells not run")
    assert study_report.text(rows)[0].rstrip() == page.rstrip()
    for page, text in (("experiments/README.md", study_summary.section), ("README.md", study_summary.headlines)):
        path = root / page
        assert study_summary.placed(path.read_text(), text(rows), path) == path.read_text()


def test_the_summary_in_numbers():
    rows = study_report.labelled(made_up())
    lead = study_contrasts.within("recommended", "best_single_full")
    wide = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "centre")]
    wide = wide.pivot_table(index=["dataset", "seed"], columns="method", values="value")
    gap = (wide["recommended"] - wide["best_single_full"]).groupby("seed").mean().to_numpy()  # bbh -2, routellm 0
    half = stats.t.ppf(0.975, SEEDS - 1) * gap.std(ddof=1) / np.sqrt(SEEDS)
    shown = study_summary.table(rows, [("ahead", lead)], "what").splitlines()[-1]
    assert shown == f"| ahead | {-gap.mean():.2f} better ({-gap.mean() - half:.2f} to {-gap.mean() + half:.2f}) | - |"
    assert study_summary.learned(rows)[1] == ""  # no router was trained end to end there
    assert "worse in 2 and better in" in study_summary.lost(rows)  # stack: and single_full, 1 - 1 = 0, is level
    assert study_summary.Found(-1.0, -2.0, 0.1).verdict == study_summary.LEVEL


def test_an_unfinished_study_changes_no_page_and_is_gone_on_from(tmp_path):
    results = tmp_path / "experiments" / "results"
    results.mkdir(parents=True)
    said = study_report.publish(tmp_path, tmp_path, made_up(), whole=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [study_report.UNFINISHED]
    assert "when every cell is finished" in said
    cells = study.known(results)
    assert set(cells) == set(made_up()["hyperparameters"])
    pd.testing.assert_frame_equal(pd.concat(cells.values()).sort_index(), made_up())


@pytest.mark.parametrize("page", ["", "{0}", "{1} {0}", "{0} {1} {0} {1}"])
def test_a_page_without_its_two_marks_is_refused(page):
    text = page.format(study_summary.BEGIN, study_summary.END)
    with pytest.raises(InputError, match=r"README\.md: there must be one"):
        study_summary.placed(text, "new", Path("README.md"))


@pytest.mark.study
def test_two_small_cells_from_end_to_end(tmp_path, capsys, monkeypatch):
    checkout = tmp_path / "checkout"
    for page in ("README.md", "experiments/README.md"):
        (checkout / page).parent.mkdir(parents=True, exist_ok=True)
        (checkout / page).write_text(f"before\n{study_summary.BEGIN}\nold\n{study_summary.END}\nafter\n")
    (checkout / "docs").mkdir()
    (checkout / "experiments" / "results").mkdir()
    assert study.main(["--smoke", "--out", str(tmp_path), "--publish", str(checkout)]) == 0
    assert "2 of 2 cells finished" in capsys.readouterr().out
    assert (checkout / "docs" / "study-logger.svg").exists()
    page = (checkout / "experiments" / "README.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith(f"{study_summary.END}\nafter\n")
    assert "old" not in page
    cells = study_cells.cells(tmp_path, smoke=True)
    assert study.core_minutes(cells, tmp_path) > 0
    results = pd.read_parquet(checkout / "experiments" / "results" / "study.parquet")
    assert list(results.columns) == list(report.COLUMNS)
    assert set(results["logger"]) == {"weak_router", "uniform"}
    assert (
        results.loc[(results["logger"] == "uniform") & (results["metric"] == study_figures.OVERLAP), "value"] == 300
    ).all()
    ceilings = results[results["method"].isin(study_design.CEILINGS) & (results["metric"] == "mean_regret")]
    assert len(ceilings) == 2 * 2 * len(study_design.CEILINGS)
    by_logger = ceilings.pivot(index=["method", "seed"], columns="logger", values="value")
    np.testing.assert_array_equal(by_logger["uniform"], by_logger["weak_router"])  # so `with_ceilings` may copy them

    def never(*_, **__):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(study.run, "run", never)
    assert study.main(["--smoke", "--out", str(tmp_path)]) == 0
    elsewhere = tmp_path / "elsewhere"
    published = checkout / "experiments" / "results"
    assert study.main(["--smoke", "--out", str(elsewhere), "--known", str(published)]) == 0
    again = pd.read_parquet(elsewhere / "study-report-smoke" / "study.parquet")
    pd.testing.assert_frame_equal(again, results)
    cells = study_cells.cells(tmp_path, smoke=True)
    other = cells[0]._replace(config=dataclasses.replace(cells[0].config, seeds=1))
    assert study.finished(cells[0], tmp_path) is not None
    assert study.finished(other, tmp_path) is None
