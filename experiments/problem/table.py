"""The full-feedback table of a config, with normalised costs, and its split into parts, seed by seed."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from experiments.settings import Config
from jaxroute.data import encoders, splits, synthetic, tables, units
from jaxroute.types import InputError, Outcomes, Table


class Rows(NamedTuple):
    """Row numbers of one seed; ``earlier`` are the prompts that the weak router was fitted on."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    earlier: np.ndarray


class Data(NamedTuple):
    """A table with costs in units of ``scale``, why that scale, and the rows of every seed."""

    table: Table
    rows: list[Rows]
    scale: float
    reason: str


def prepare(config: Config) -> Data:
    """Read, scale and split the config's table.

    Raises:
        InputError: a bad table, or one too small for the nuisances' folds.
    """
    table = load(config)
    scale, reason = units.cost_scale(table)
    if config.cost_scale is not None:
        scale, reason = config.cost_scale, "fixed in the config"
    table = normalise(table, scale)
    return Data(table, split(config, table), scale, reason)


def load(config: Config) -> Table:
    """The full-feedback table, or the part of it that the config names."""
    if config.data == "synthetic":
        return altered(config, synthetic.make(jax.random.key(0), num_prompts=config.num_prompts))
    table = tables.load(config.data, at_most=None if config.tasks else config.at_most)
    if config.tasks:
        table = tables.with_task(table, config.tasks)
        table = table if config.at_most is None else tables.some(table, config.at_most)
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


def split(config: Config, table: Table) -> list[Rows]:
    """The rows of every seed, cut to common sizes so that seeds stack.

    Whole groups stay on one side, so sizes differ by a few rows between seeds; the surplus is left out.
    """
    earlier = int(config.logger_fraction * len(table))
    per_seed = []
    for seed in config.draws:
        cut = splits.split if config.split == "random" else splits.split_tasks
        train, validation, test = cut(seed, table, config.fractions)
        # The weak router's own training rows are set aside: their outcomes would shape their propensities.
        per_seed.append(Rows(train[earlier:], validation, test, train[:earlier]))
    sizes = [min(len(rows[part]) for rows in per_seed) for part in range(4)]
    if config.log_size is not None:
        sizes[0] = min(sizes[0], config.log_size + config.shadow)
    if min(sizes[:3]) < 2 * config.nuisance.folds:
        raise InputError(
            f"{config.data}: {len(table)} prompts give splits of {sizes[:3]} rows, too few for "
            f"{config.nuisance.folds} folds; use a larger table or fewer folds"
        )
    return [Rows(*(part[:size] for part, size in zip(rows, sizes, strict=True))) for rows in per_seed]
