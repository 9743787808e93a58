"""What tuning on logs gains: the end-to-end losses, with the setting chosen on the validation log.

    make tuned DATA=<folder of tables>        SMOKE=1 for seconds

The setting is the study's centre of every table, with its splits, logs and seeds. For each loss the config's own
setting and others drawn at random (learning rate, weight decay, temperature, entropy, propensity clip) are trained to
the end. Each seed takes the setting with the highest doubly robust value on its validation log: one for all cost
weights, by the mean over them, and one for each. Regret on test prompts in points, averaged over the cost weights. A
loss that was trained with this code is not trained again. Writes results/tuned/tuned.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import jax
import pandas as pd

from experiments import sweep
from experiments.settings import Axes, Config
from experiments.side import common
from experiments.study import design
from jaxroute.report.summary import student_interval
from jaxroute.system import stopping

LOSSES = ("rm_classification", "rm_softmax", "rm_softmax_entropic")
SETTINGS = 12
OWN, TUNED, PER_WEIGHT, HINDSIGHT = "default", "tuned", "tuned per weight", "best in hindsight"
RIVALS = ("plug_in_stack", "recommended")
STUDY = Path(__file__).parents[1] / "results" / "study.parquet"


def searched(centre: Config, settings: int) -> Config:
    """The centre with ``settings`` settings to search, its own the first; no fit that sees full feedback.

    A block as large as the settings of a cost weight leaves none half empty.
    """
    hidden = centre.training.hidden
    axes = Axes(count=settings - 1, own=True, width=(max(hidden),), methods=LOSSES, hidden=(hidden,), block=settings)
    name = centre.name.replace("study", "tuned")
    return dataclasses.replace(centre, name=name, methods=("recommended",), rivals=(), axes=axes)


def measure(config: Config, out: Path) -> pd.DataFrame:
    """The sweep's results, of an earlier run where it was finished."""
    path = sweep.folder_of(config, out) / "results.parquet"
    if not path.exists():
        sweep.run(config, out)
        jax.clear_caches()
    return pd.read_parquet(path)


def choices(results: pd.DataFrame) -> pd.DataFrame:
    """Regret in points, a row per loss and seed, a column per way to choose; and ``kept``: the default was chosen.

    Only the validation log's values choose, but for HINDSIGHT: the setting of the lowest test regret, mean over seeds.
    Ties go to the setting that comes first, and the config's own is the first.
    """
    keys, first = ["method", "seed", "cost_weight"], results["hyperparameters"].unique()
    of_log = results[(results["split"] == "validation") & (results["metric"] == "utility")]
    of_test = results[(results["split"] == "test") & (results["metric"] == "regret")]
    value, regret = (part.pivot(index=keys, columns="hyperparameters", values="value")[first]
                     for part in (of_log, of_test))  # fmt: skip
    by_seed, lost = value.groupby(["method", "seed"]).mean(), 100 * regret.groupby(["method", "seed"]).mean()
    chosen, at_weight = by_seed.idxmax(axis=1), value.idxmax(axis=1)
    best = lost.groupby("method").mean().idxmin(axis=1)
    each = pd.Series([100 * regret.loc[key, at_weight[key]] for key in regret.index], regret.index)
    return pd.DataFrame(
        {
            OWN: lost[first[0]],
            TUNED: [lost.loc[key, chosen[key]] for key in lost.index],
            PER_WEIGHT: each.groupby(["method", "seed"]).mean(),
            HINDSIGHT: [lost.loc[key, best[key[0]]] for key in lost.index],
            "kept": chosen == first[0],
        }
    )


def of_study(name: str) -> pd.DataFrame:
    """Mean regrets in points at the study's centre of a table, a row per seed, a column per rival that is there."""
    found = pd.read_parquet(STUDY)
    found = found[(found["dataset"] == name) & (found["metric"] == "mean_regret") & found["method"].isin(RIVALS)]
    centre = found["hyperparameters"].map(lambda text: json.loads(text)["factor"]) == "centre"
    return 100 * found[centre].pivot(index="seed", columns="method", values="value")


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A line per table and loss: regrets of the default and of what was tuned, and differences paired by seed.

    Mean and half a 95% Student-t interval over seeds.
    """

    def difference(values: pd.Series) -> str:
        mean, low, _ = student_interval(values.to_numpy())
        return f"{mean:+.2f} ± {mean - low:.2f}"

    lines = []
    for (dataset, loss), rows in found.groupby(["dataset", "method"], sort=False):
        line: dict[str, object] = {"table": dataset, "loss": loss}
        line |= {way: f"{rows[way].mean():.2f}" for way in (OWN, TUNED, PER_WEIGHT)}
        line[f"{HINDSIGHT} (no log can choose it)"] = f"{rows[HINDSIGHT].mean():.2f}"
        line |= {f"{way} less default": difference(rows[way] - rows[OWN]) for way in (TUNED, PER_WEIGHT, HINDSIGHT)}
        for rival in RIVALS:
            if rival in rows:
                line[f"tuned less {rival}"] = difference(rows[TUNED] - rows[rival])
        line["seeds that chose the default"] = f"{rows['kept'].sum()} of {len(rows)}"
        lines.append(line)
    return pd.DataFrame(lines)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    for table, centre in design.centres(options.data, smoke=options.smoke):
        results = measure(searched(centre, 4 if options.smoke else SETTINGS), options.out)
        regrets = choices(results).reset_index()
        if not options.smoke:  # the study's seeds are others than a smaller problem's
            regrets = regrets.join(of_study(table.name), on="seed")
        yield regrets.assign(dataset=table.name)


def main(arguments: list[str] | None = None) -> int:
    return common.command("tuned", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
