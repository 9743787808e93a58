"""From a full table to what one seed's methods see: split, logs, nuisances, outcomes. No routers yet."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.methods import outcome_models
from experiments.settings import Config
from jaxroute import counterfactual, estimators, nuisance, projection, recipe
from jaxroute.data import encoders, simulate, splits, synthetic, tables
from jaxroute.recipe import levels
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, Outcomes, Policy, Table

SPLIT, LOGGER, TRAIN_LOG, VALIDATION_LOG, NUISANCE, FULL = range(6)


class Starts(NamedTuple):
    """What routers start from, prompt by prompt: the outcome model's predictions, or scores of other routers.

    Leaves [N, ...]. Predictions are cross-fitted on ``learn``.
    """

    learn: Any
    validate: Any
    test: Any


class Problem(NamedTuple):
    """One seed. Costs are normalised; ``predicted`` holds test-set outcomes of each outcome model.

    train_log, validation_log: what a team has. learn, validate: features and doubly robust outcomes from those
    logs; after the log's rows of ``learn``, the shadow's with what every model answered. learn_full,
    validate_full: the same rows with the full table's outcomes, for the ceilings only. test: full table, for
    measuring only. stack: what routers that start from the outcome model start from; stack_full: the same from
    the full table, where a method is named that needs it. nuisances: of the training log's own rows.
    axes: what makes the routers' features of the table's.
    """

    train_log: Logs
    validation_log: Logs
    learn: Examples
    validate: Examples
    learn_full: Examples
    validate_full: Examples
    test: Examples
    expected: Outcomes | None
    predicted: dict[str, Outcomes]
    effective_sample_size: jax.Array
    stack: Starts
    stack_full: Starts | None
    nuisances: Nuisances
    axes: projection.Projection


def load_table(config: Config) -> Table:
    """The full-feedback table, or the part of it that the config names."""
    if config.data == "synthetic":
        return altered(config, synthetic.make(jax.random.key(0), num_prompts=config.num_prompts))
    table = tables.load(config.data)
    if config.tasks:
        table = tables.with_task(table, config.tasks)
    if config.encoder:
        table = dataclasses.replace(table, features=encoders.encode(table.prompt.tolist(), config.encoder))
    return altered(config, table)


def altered(config: Config, table: Table) -> Table:
    """The table as the config wants it beyond its rows: fewer models, or answers that belong to other prompts."""
    if config.num_models is not None and config.num_models < len(table.models):
        order = np.argsort(np.nanmean(np.where(table.available, table.outcomes.cost, np.nan), 0))
        kept = np.sort(order[np.linspace(0, len(order) - 1, config.num_models).round().astype(int)])
        outcomes, expected = (
            None if y is None else Outcomes(y.quality[:, kept], y.cost[:, kept])
            for y in (table.outcomes, table.expected)
        )
        names = tuple(table.models[k] for k in kept)
        assert outcomes is not None
        table = dataclasses.replace(
            table, models=names, outcomes=outcomes, available=table.available[:, kept], expected=expected
        )
    if config.shuffled:
        answers = table.rows(np.random.default_rng(0).permutation(len(table)))
        table = dataclasses.replace(
            table, outcomes=answers.outcomes, available=answers.available, expected=answers.expected
        )
    return table


def normalise(table: Table, scale: float) -> Table:
    """The same table with cost in units of ``scale``."""

    def divide(outcomes: Outcomes) -> Outcomes:
        return Outcomes(outcomes.quality, outcomes.cost / scale)

    expected = None if table.expected is None else divide(table.expected)
    return dataclasses.replace(table, outcomes=divide(table.outcomes), expected=expected)


def logging_policy(config: Config, key: Key, earlier: Table) -> Policy:
    """The biased policy that wrote the log; a weak router was fitted on ``earlier`` prompts."""
    if config.logger == "uniform":
        return simulate.uniform()
    if config.logger == "cost_biased":
        return simulate.cost_biased(config.logger_strength, config.logger_floor)
    if config.logger == "task_dependent":
        return simulate.task_dependent(key, config.logger_strength, config.logger_floor)
    weak = simulate.weak_router(key, earlier, fraction=1.0, beta=config.logger_strength, floor=config.logger_floor)
    return simulate.deterministic(weak) if config.logger == "deterministic" else weak


def split_rows(config: Config, table: Table) -> list[list[np.ndarray]]:
    """Row indices (train, validation, test, earlier) of every seed, cut to common sizes so that seeds stack.

    Whole groups stay on one side, so sizes differ by a few rows between seeds; the surplus is left out.
    """
    earlier = int(config.logger_fraction * len(table))
    per_seed = []
    for seed in config.draws:
        cut = splits.split if config.split == "random" else splits.split_tasks
        train, validation, test = cut(seed, table, config.fractions)
        # The weak router's own training rows are set aside: their outcomes would shape their propensities.
        per_seed.append((train[earlier:], validation, test, train[:earlier]))
    sizes = [min(len(parts[i]) for parts in per_seed) for i in range(4)]
    if config.log_size is not None:
        sizes[0] = min(sizes[0], config.log_size + config.shadow)
    if min(sizes[:3]) < 2 * config.nuisance.folds:
        raise InputError(
            f"{config.data}: {len(table)} prompts give splits of {sizes[:3]} rows; too few for "
            f"{config.nuisance.folds} folds: use a larger table or fewer folds"
        )
    return [[part[:size] for part, size in zip(parts, sizes, strict=True)] for parts in per_seed]


def build(config: Config, table: Table, rows: list[np.ndarray], seed: int) -> Problem:
    """One seed's problem from a table with normalised costs."""
    root = jax.random.key(seed)
    keys = [jax.random.fold_in(root, purpose) for purpose in range(6)]
    train, validation, test, earlier = (table.rows(part) for part in rows)
    policy = logging_policy(config, keys[LOGGER], earlier)
    log_rows = len(train) - config.shadow
    train_log = simulate.simulate(keys[TRAIN_LOG], train.rows(np.arange(log_rows)), policy)
    validation_log = simulate.simulate(keys[VALIDATION_LOG], validation, policy)

    # Nuisances from the training log alone; the validation log is new to them.
    features, available, group = (jnp.asarray(x) for x in (train.features, train.available, train.group))
    outcomes, seen = nuisance.as_cells(train_log)
    shadow = None
    if config.shadow:
        answered = jax.tree.map(lambda y: jnp.asarray(y[log_rows:]), train.outcomes)
        shadow = Examples(features[log_rows:], answered, available[log_rows:])
        outcomes = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outcomes, shadow.outcomes)
        seen = jnp.concatenate([seen, shadow.available])
    nuisances, model = nuisance.fit(keys[NUISANCE], train_log, outcome_models.fitted_learners(config), shadow=shadow)
    every = model.outcomes
    nuisances, model = outcome_models.without_rivals(config, nuisances, model, outcomes, seen)
    held_out = nuisance.predict_logs(model, validation_log)
    learn = counterfactual.examples(train_log, nuisances, shadow, clip=config.learning_clip).outcomes
    clip = estimators.evaluation_clip(len(table.models))
    validate = counterfactual.doubly_robust(validation_log, held_out, clip=clip)

    test_features = jnp.asarray(test.features)
    predicted = outcome_models.predictions(config, every, outcomes, seen, test_features)
    recommended = recipe.recommend(train_log, nuisances, model, shadow)
    predicted["recommended"] = recipe.apply(recommended, predicted["stack"])
    stack_full = None
    if outcome_models.needs_full(config):
        spec = outcome_models.fitted_learners(config, "_full")
        _, every = nuisance.fit_outcomes(keys[FULL], features, train.outcomes, available, spec, group=group)
        full = nuisance.reweigh(every, train.outcomes, available, config.nuisance)
        cross_fitted = nuisance.out_of_fold(full)
        of_full = outcome_models.predictions(config, every, train.outcomes, available, test_features)
        quality = jnp.asarray(train.outcomes.quality, jnp.float32)
        level = levels.means(quality, available, jnp.ones(available.shape), cross_fitted.quality)
        centre = jnp.mean(cross_fitted.quality, 0)
        of_full["recommended"] = recipe.shrink_contrasts(of_full["stack"], level, centre, share=1.0)
        predicted |= {f"{name}_full": outcomes for name, outcomes in of_full.items()}
        stack_full = Starts(
            cross_fitted,
            nuisance.predict_outcomes(full, jnp.asarray(validation.features)),
            of_full["stack"],
        )

    axes = projection.fit(features, jnp.ones(len(train)), config.dimensions)

    def examples(part: Table, outcomes: Outcomes) -> Examples:
        return Examples(projection.project(axes, jnp.asarray(part.features)), outcomes, jnp.asarray(part.available))

    weight = 1.0 / train_log.propensity
    return Problem(
        train_log,
        validation_log,
        examples(train, learn),
        examples(validation, validate),
        examples(train, train.outcomes),
        examples(validation, validation.outcomes),
        examples(test, test.outcomes),
        test.expected,
        predicted,
        jnp.sum(weight) ** 2 / jnp.sum(weight**2),
        Starts(nuisance.out_of_fold(model.outcomes), held_out.outcomes, predicted["stack"]),
        stack_full,
        nuisances,
        axes,
    )


def stack(problems: list[Problem]) -> Problem:
    """Every leaf gets a leading seed axis [S]."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *problems)
