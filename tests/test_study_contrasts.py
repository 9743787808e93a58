"""The study's planned contrasts: paired seed by seed, across cells, between cost weights and of the best of a kind."""

from pathlib import Path

import numpy as np
import pandas as pd
from study_rows import SEEDS, cell, interval

from experiments import methods
from experiments.study import cells as study_cells
from experiments.study import contrasts as study_contrasts
from experiments.study import report as study_report


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
