"""The study's statistics against SciPy and plain NumPy: differences, corrections, and the gap to full feedback."""

import json

import numpy as np
import pandas as pd
from scipy import stats
from study_rows import SEEDS, cell, interval, made_up

from experiments.study import cells as study_cells
from experiments.study import gap as study_gap
from experiments.study import report as study_report
from experiments.study import significance as study_tests


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
    assert study_gap.share_closed(study_gap.ends(rows), "centre", "").tables == 2
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
    found = study_gap.share_closed(study_gap.ends(rows), "centre", "")
    np.testing.assert_allclose(found.share, closed.sum() / gap.sum())
    assert found.tables == 2
    seeds = np.random.default_rng(0).integers(10, size=(study_gap.DRAWS, 10))
    shares = [closed[:, s].sum() / gap[:, s].sum() for s in seeds]
    np.testing.assert_allclose([found.low, found.high], np.quantile(shares, [0.025, 0.975]))
    assert found.low < found.share < found.high
    same = cell("bbh", "centre", "", {"plug_in_stack": 30, "recommended": 28, "plug_in_stack_full": 26})
    alike = study_gap.share_closed(study_gap.ends(same), "centre", "")
    assert alike == (0.5, 0.5, 0.5, 1)  # nothing to resample
    assert study_gap.share_closed(study_gap.ends(rows), "shadow", "250").tables == 0
    assert study_gap.share_closed(study_gap.ends(rows[rows["method"] == "recommended"]), "centre", "").tables == 0


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
    assert study_gap.share_closed(study_gap.ends(rows), "centre", "").share == 0.5  # (30 - 25) / (30 - 20)
    assert study_gap.share_closed(study_gap.ends(rows), "centre", "", end="stack").share == 0.2
    assert study_gap.share_closed(study_gap.ends(rows), "centre", "", start="stack").share == 3 / 8
    text = "\n".join(study_report.gap_closed(rows))
    assert "the recipe closes 50% (50% to 50%) of the gap" in text
    assert "today's stacked plug-in alone closes 20%" in text
