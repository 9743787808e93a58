"""From a full table to what methods see: simulated logs, their nuisances, outcomes to learn from. No routers yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.problem import Parts, Problem, fits
from experiments.problem.table import Data
from experiments.settings import Config
from jaxroute import counterfactual, projection
from jaxroute.data import simulate
from jaxroute.estimators import evaluation_clip
from jaxroute.types import Examples, Key, Logs, Nuisances, Outcomes, Policy, Table

SPLIT, LOGGER, TRAIN_LOG, VALIDATION_LOG, NUISANCE, FULL = range(6)
ONE_SYSTEM = frozenset({"mean", "gp"})
"""Outcome models whose programs solve one system at a time. Two programs that solve batches of systems at the same time
may wait for each other for ever: jaxlib 0.10.2 shares out a batch on the thread pool of all programs."""
Keep = Callable[[str, int, Callable[[], fits.Fitted], fits.Fitted], fits.Fitted]
"""``keep(what, place of the seed, make, like)``: the fits that ``make`` makes, or that an earlier run has kept."""
Together = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""What each piece of work returns, in their order."""


def keys_of(seed: int) -> list[Key]:
    """The seed's keys, by purpose."""
    return [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(6)]


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


def anew(_: str, __: int, make: Callable[[], fits.Fitted], ___: fits.Fitted) -> fits.Fitted:
    """Keeps nothing."""
    return make()


def in_turn(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """One piece after another."""
    return [piece() for piece in work]


def build(
    config: Config,
    data: Data,
    *,
    full: Sequence[str] = (),
    keep: Keep = anew,
    built: Callable[[], Any] = lambda: None,
    together: Together = in_turn,
) -> Problem:
    """The problems of all seeds, leaves [S, ...].

    Args:
        full: outcome models to fit on full feedback, too, for the ceilings that read them.
        keep: where fits are kept. built: called after each fit. together: runs those on logs beside those on the table.
    """

    def fitted(what: str) -> list[fits.Fitted]:
        found = []
        for place in range(config.seeds):
            found.append(jax.block_until_ready(keep(what, place, *_fit_of(config, data, place, what, full))))
            built()
        return found

    asked = ["table", "log"] if full else ["log"]
    run = together if ONE_SYSTEM.issuperset(full) else in_turn
    done = dict(zip(asked, run([partial(fitted, what) for what in asked]), strict=True))
    problems = [
        one(config, data, place, full=full, keep=lambda what, place, *_: done[what][place])
        for place in range(config.seeds)
    ]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.asarray(x) for x in leaves])), *problems)


def part(problems: Any, seeds: Any) -> Any:
    """Those of some seeds, cut on the host: on the device each shape of an array would take a program of its own."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[seeds]), problems)


def logs_of(config: Config, data: Data, place: int) -> tuple[Logs, Logs]:
    """The simulated training log and validation log of one seed; the training rows of a shadow are not logged."""
    table, rows, keys = data.table, data.rows[place], keys_of(config.draws[place])
    policy = logging_policy(config, keys[LOGGER], table.rows(rows.earlier))
    logged = table.rows(rows.train[: len(rows.train) - config.shadow])
    validation = simulate.simulate(keys[VALIDATION_LOG], table.rows(rows.validation), policy)
    return simulate.simulate(keys[TRAIN_LOG], logged, policy), validation


def on_log(config: Config, data: Data, place: int) -> fits.Fitted:
    """The fits on one seed's training log, and on the shadow beside it."""
    logs, validation = logs_of(config, data, place)
    features = jnp.asarray(data.table.features[data.rows[place].test])
    key = keys_of(config.draws[place])[NUISANCE]
    return fits.on_log(key, logs, shadow_of(config, data, place), validation, features, config.nuisance, config.rivals)


def on_table(config: Config, data: Data, place: int, learners: Sequence[str]) -> fits.Fitted:
    """The fits on every answer of one seed's training prompts."""
    table, rows, key = data.table, data.rows[place], keys_of(config.draws[place])[FULL]
    validation, test = (jnp.asarray(table.features[part]) for part in (rows.validation, rows.test))
    return fits.on_table(key, table.rows(rows.train), validation, test, config.nuisance, learners)


def _fit_of(
    config: Config, data: Data, place: int, what: str, full: Sequence[str]
) -> tuple[Callable[[], fits.Fitted], fits.Fitted]:
    """What makes one seed's fits on the log, or ("table") on full feedback, and their structure."""
    if what == "table":
        return partial(on_table, config, data, place, full), fits.like(full, full=True)
    learners = fits.with_rivals(config.nuisance, config.rivals).outcome_models
    return partial(on_log, config, data, place), fits.like(learners, full=False)


def shadow_of(config: Config, data: Data, place: int) -> Examples | None:
    """The last training prompts, answered by every model: as many as the config asks for."""
    if not config.shadow:
        return None
    part = data.table.rows(data.rows[place].train[-config.shadow :])
    outcomes = jax.tree.map(jnp.asarray, part.outcomes)
    return Examples(jnp.asarray(part.features), outcomes, jnp.asarray(part.available))


def one(config: Config, data: Data, place: int, *, full: Sequence[str] = (), keep: Keep = anew) -> Problem:
    """The problem of the seed ``config.draws[place]``."""
    train, validation, test, _ = (data.table.rows(part) for part in data.rows[place])
    train_log, validation_log = logs_of(config, data, place)
    of_log = keep("log", place, *_fit_of(config, data, place, "log", full))
    assert of_log.propensity is not None
    assert of_log.validate_propensity is not None
    log_rows, shadow = len(train_log.action), shadow_of(config, data, place)
    nuisances = Nuisances(of_log.propensity, jax.tree.map(lambda y: y[:log_rows], of_log.learn))
    held_out = Nuisances(of_log.validate_propensity, of_log.validate)
    learn = counterfactual.examples(train_log, nuisances, shadow, clip=config.learning_clip).outcomes
    validate = counterfactual.doubly_robust(validation_log, held_out, clip=evaluation_clip(len(data.table.models)))
    predicted, stack_full = dict(of_log.test), None
    if full:
        of_table = keep("table", place, *_fit_of(config, data, place, "table", full))
        predicted |= {f"{name}_full": outcomes for name, outcomes in of_table.test.items()}
        stack_full = Parts(of_table.learn, of_table.validate, of_table.test["stack"])
    axes = projection.fit(jnp.asarray(train.features), jnp.ones(len(train)), config.dimensions)

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
        Parts(of_log.learn, of_log.validate, of_log.test["stack"]),
        stack_full,
        nuisances,
        axes,
    )
