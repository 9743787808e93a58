"""Evidence from logs alone, beside the truth: log -> router -> its value from a held-out log -> the full table.

    make worked-example DATA=<folder>            (SMOKE=1 for seconds; without DATA the synthetic problem)

A team has two logs of the same biased logging policy. From the first a router is learned; from the second its
value is estimated, with the nuisances cross-fitted on that second log alone; "hidden": its bounds if a hidden
confounder moved the odds of any choice by that factor; "flips at": the factor at which "better (or worse) than the
logging policy" no longer follows, sampling noise left out. Here the logs were simulated from a
full table, so that the truth stands beside the estimate: the same router on the same prompts, every answer known.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array
from rich.console import Console
from rich.table import Table as Grid

from experiments import baselines, problem, settings
from jaxroute import estimators, metrics, nuisance, sweep
from jaxroute.data import logging, units
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

HELD_OUT_LOG, NUISANCE, BAND = range(100, 103)
STRENGTH = 1.5  # of the hidden confounder that the bounds allow for: a factor on the odds of being chosen


def evaluate(
    key: Array, logs: Logs, nuisances: Nuisances, router: Array, reference: Array, truth: Outcomes, weights: Array
) -> pd.DataFrame:
    """One row per cost weight: estimates from the log for router and difference, truth from the table.

    Args:
        logs, nuisances: the held-out log of N rows.
        router, reference: [L, N, K] policies on its prompts.
        truth: [N, K] the full table. weights: [L].
    """
    clip = min(0.05, 0.5 / logs.available.shape[1])

    @jax.jit
    def rows(target: Array) -> estimators.Rows:
        def at(policy: Array, weight: Array) -> estimators.Rows:
            return estimators.rows(logs, policy, weight, nuisances, clip=clip, self_normalised=True)

        return jax.vmap(at)(target, weights)

    of, other = rows(router), rows(reference)
    band = estimators.simultaneous(key, of)
    estimate = jax.vmap(estimators.estimate)(of)
    difference = jax.vmap(estimators.difference)(of, other)
    true = jnp.stack([metrics.value(p, truth, w).mean() for p, w in zip(router, weights, strict=True)])
    single = jnp.stack([metrics.value(p, truth, w).mean() for p, w in zip(reference, weights, strict=True)])
    evaluations = estimators.evaluate(logs, router, weights, nuisances, clip=clip)
    bounds = [
        estimators.bounds(logs, p, w, nuisances, strength=STRENGTH, clip=clip, outcome_model=True)
        for p, w in zip(router, weights, strict=True)
    ]
    tips = [
        estimators.tipping_point(logs, p, w, nuisances, clip=clip, outcome_model=True)
        for p, w in zip(router, weights, strict=True)
    ]
    small = estimators.half_width(estimate.effective_sample_size) / estimators.half_width(np.nan)
    band_half = small * np.asarray(band.high - band.low) / 2  # the band's multiple is a normal's, too
    half, gain_half = (
        estimators.half_width(x.effective_sample_size) * np.asarray(x.standard_error) for x in (estimate, difference)
    )
    columns = {
        "cost_weight": weights,
        "value": estimate.value,
        "low": estimate.value - half,
        "high": estimate.value + half,
        "band_low": estimate.value - band_half,
        "band_high": estimate.value + band_half,
        "truth": true,
        "gain": difference.value,
        "gain_low": difference.value - gain_half,
        "gain_high": difference.value + gain_half,
        "gain_truth": true - single,
        "effective_sample_size": estimate.effective_sample_size,
        "hidden_low": [b.lower for b in bounds],
        "hidden_high": [b.upper for b in bounds],
        "advantage": [tip.advantage for tip in tips],
        "flips_at": [tip.strength for tip in tips],
        "verdict": [e.verdict for e in evaluations],
    }
    return pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})


def run(config: settings.Config, method: str) -> tuple[pd.DataFrame, int]:
    """The table of one router, and the rows of the held-out log."""
    config = dataclasses.replace(config, seeds=1, methods=(method, "best_single"), between=())
    table = problem.load_table(config)
    scale = config.cost_scale or units.cost_scale(table)[0]
    table = problem.normalise(table, scale)
    [rows] = problem.split_rows(config, table)
    one = problem.build(config, table, rows, seed=0)
    arena = baselines.Arena(config, problem.stack([one]), table.models, sweep.mesh(), None, lambda _: None)
    router, reference = (baselines.method(name)(arena)[0] for name in (method, "best_single"))

    root = jax.random.key(0)
    test, earlier = table.rows(rows[2]), table.rows(rows[3])
    policy = problem.logging_policy(config, jax.random.fold_in(root, problem.LOGGER), earlier)
    logs = jax.tree.map(jnp.asarray, logging.simulate(jax.random.fold_in(root, HELD_OUT_LOG), test, policy))
    nuisances, _ = nuisance.fit(jax.random.fold_in(root, NUISANCE), logs, config.nuisance)
    weights = jnp.asarray(config.cost_weights, jnp.float32)
    truth = Outcomes(*(jnp.asarray(y) for y in test.outcomes))
    frame = evaluate(jax.random.fold_in(root, BAND), logs, nuisances, router, reference, truth, weights)
    return frame, len(test)


def show(frame: pd.DataFrame, title: str) -> None:
    """Values in points, estimates beside the truth."""
    grid = Grid(title=title)
    heads = ("cost weight", "value [95%]", "all weights at once", "truth", "gain on best single [95%]", "truth")
    for name in (*heads, f"hidden x{STRENGTH:g}", "on the logger", "flips at", "effective rows", "verdict"):
        grid.add_column(name, justify="right")
    for number, verdict in zip(frame.drop(columns="verdict").to_dict("records"), frame["verdict"], strict=True):
        row = {str(name): float(value) for name, value in number.items()}
        grid.add_row(
            f"{row['cost_weight']:g}",
            f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]",
            f"[{100 * row['band_low']:.1f}, {100 * row['band_high']:.1f}]",
            f"{100 * row['truth']:.1f}",
            f"{100 * row['gain']:+.1f} [{100 * row['gain_low']:+.1f}, {100 * row['gain_high']:+.1f}]",
            f"{100 * row['gain_truth']:+.1f}",
            f"[{100 * row['hidden_low']:.1f}, {100 * row['hidden_high']:.1f}]",
            f"{100 * row['advantage']:+.1f}",
            f"{row['flips_at']:.2f}",
            f"{row['effective_sample_size']:.0f}",
            str(verdict),
        )
    Console(width=190).print(grid)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.worked_example", description=__doc__)
    parser.add_argument("--config", default="default", help="name in experiments/configs, or a path to a .py")
    parser.add_argument("--data", help="folder (or wide file) of a full-feedback table")
    parser.add_argument("--method", default="plug_in_stack", help="router of experiments/baselines.py")
    parser.add_argument("--out", type=Path, default=Path("results"), help="where the table goes")
    parser.add_argument("--smoke", action="store_true", help="shrink everything to seconds")
    options = parser.parse_args(arguments)
    try:
        config = settings.load(options.config, smoke=options.smoke, data=options.data)
        settings.check(dataclasses.replace(config, methods=(options.method,)), "--method")
        frame, rows = run(config, options.method)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(frame, f"{options.method} valued from a held-out log of {rows} rows, in points")
    folder = options.out / "worked_example"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "values.parquet", index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
