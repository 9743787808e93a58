"""Probabilities on test prompts -> tidy rows (jaxroute's result schema)."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from experiments.methods.experiment import Experiment
from experiments.problem import build
from experiments.settings import dataset_name
from jaxroute import metrics
from jaxroute.types import Examples, Outcomes

BETWEEN = {"regret", "conditional_regret"}
"""Measured between the grid's cost weights too, as <metric>_between; figures show them, tables do not."""


def _mean(rows: Array) -> tuple[Array, Array]:
    """Mean and its standard error over the last axis."""
    return jnp.mean(rows, -1), jnp.std(rows, -1, ddof=1) / jnp.sqrt(rows.shape[-1])


@jax.jit
def _measure(
    probabilities: Array, test: Examples, expected: Outcomes | None, weights: Array
) -> dict[str, tuple[Array, Array]]:
    """One seed: [L, N, K] -> every per-weight metric as (value [L], standard error [L])."""

    def at(policy: Array, weight: Array) -> dict[str, tuple[Array, Array]]:
        none = jnp.zeros(())
        measured = {
            "utility": _mean(metrics.value(policy, test.outcomes, weight)),
            "regret": _mean(metrics.regret(policy, test.outcomes, weight, available=test.available)),
            "quality": _mean(metrics.value(policy, test.outcomes, none)),
            "cost": _mean(metrics.value(policy, Outcomes(test.outcomes.cost, test.outcomes.cost), none)),
        }
        if expected is not None:
            rows = metrics.regret(policy, expected, weight, available=test.available)
            measured["conditional_regret"] = _mean(rows)
        measured["rci"] = (metrics.routing_collapse(policy, test.outcomes, available=test.available), none * jnp.nan)
        measured["share"] = (jnp.mean(policy, 0), jnp.full(policy.shape[-1], jnp.nan))
        return measured

    return jax.vmap(at)(probabilities, weights)


def results(experiment: Experiment, name: str, probabilities: Array) -> pd.DataFrame:
    """All rows of one method, ``probabilities`` [S, L, N, K]; costs back in the data's own unit."""
    config, problems, scale = experiment.config, experiment.problems, experiment.cost_scale
    weights = jnp.asarray(config.weights, jnp.float32)
    grid = np.flatnonzero(np.isin(config.weights, config.cost_weights))
    rows: list[dict[str, object]] = []

    def add(seed: int, weight: float, metric: str, value: float, error: float = float("nan")) -> None:
        rows.append(
            {
                "seed": config.draws[seed],
                "cost_weight": weight,
                "metric": metric,
                "value": value,
                "standard_error": error,
            }
        )

    for seed in range(config.seeds):
        test, expected = build.part((problems.test, problems.expected), seed)
        measured = jax.tree.map(np.asarray, _measure(probabilities[seed], test, expected, weights))
        for level, weight in enumerate(config.weights):
            if level not in grid:  # tables and whole-curve numbers stay on the grid
                for metric in sorted(BETWEEN & measured.keys()):
                    add(seed, weight, f"{metric}_between", *(float(part[level]) for part in measured[metric]))
                continue
            for metric, (value, error) in measured.items():
                if metric == "share":
                    for model, share in zip(experiment.models, value[level], strict=True):
                        add(seed, weight, f"share:{model}", float(share))
                else:
                    unit = scale if metric == "cost" else 1.0
                    add(seed, weight, metric, unit * float(value[level]), unit * float(error[level]))
        for metric, value in _curve(experiment, seed, probabilities[seed][grid], test).items():
            add(seed, float("nan"), metric, value)
        add(seed, float("nan"), "effective_sample_size", float(problems.effective_sample_size[seed]))
        add(seed, float("nan"), "mean_utility", float(measured["utility"][0][grid].mean()))
        add(seed, float("nan"), "mean_regret", float(measured["regret"][0][grid].mean()))
        if "conditional_regret" in measured:
            add(seed, float("nan"), "mean_conditional_regret", float(measured["conditional_regret"][0][grid].mean()))

    hyperparameters = json.dumps({"hidden": config.training.hidden, "steps": config.training.steps})
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", dataset_name(config.data, config.tasks))
    frame.insert(1, "logger", config.logger)
    frame.insert(2, "log_size", problems.train_log.action.shape[1])
    frame.insert(3, "method", name)
    frame.insert(4, "estimator", "full_table")
    frame["hyperparameters"] = hyperparameters
    frame["split"] = "test"
    order = ["dataset", "logger", "log_size", "method", "estimator", "cost_weight", "seed", "hyperparameters"]
    return frame[[*order, "split", "metric", "value", "standard_error"]]


def _curve(experiment: Experiment, seed: int, probabilities: Array, test: Examples) -> dict[str, float]:
    """Metrics of the whole quality-cost curve, bounds shared by all methods."""
    points = metrics.quality_cost_points(probabilities, test.outcomes)
    cost = test.outcomes.cost
    low = float(jnp.mean(jnp.min(jnp.where(test.available, cost, jnp.inf), -1)))
    high = float(jnp.mean(jnp.max(jnp.where(test.available, cost, -jnp.inf), -1)))
    full = build.part(experiment.problems.learn_full, seed)
    quality = jnp.nanmean(jnp.where(full.available, full.outcomes.quality, jnp.nan), 0)
    reference = int(jnp.argmax(quality))  # best single on TRAINING data, measured on test
    held = test.available[:, reference]
    neutral = metrics.quality_neutral_cost(
        points,
        float(jnp.mean(test.outcomes.quality[held, reference])),
        float(jnp.mean(cost[held, reference])),
    )
    return {
        "aiq": float(metrics.aiq(points, max_cost=high)),
        "aiq_range": float(metrics.aiq_range(points, min_cost=low, max_cost=high)),
        "nauc": float(metrics.nauc(points, test.outcomes, available=test.available)),
        "qnc": float("nan") if neutral is None else float(neutral),
        "peak": float(metrics.peak_quality(points)),
    }
