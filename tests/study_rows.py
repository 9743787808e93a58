"""Made-up results of the study: labelled rows of a cell, and the regrets of two tables."""

import json

import numpy as np
import pandas as pd
from scipy import stats

from jaxroute import report

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
