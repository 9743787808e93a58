"""A sweep in shards: parts of it that run anywhere, in any order, and one table of them all.

    python -m experiments.sweep --shard 1/4      # to 4/4, each on a machine or a GPU of its own
    python -m experiments.sweep merge            # the table of the undivided sweep, to the bit

A part is one method and depth at one cost weight, with all its settings and seeds, because these compete. Shard i of n
takes every n-th part from the i-th on. The shards share ``--out``, where finished parts are kept as cells, and nothing
else. The bits are those of the undivided sweep on machines of one kind.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import storage
from experiments.methods.experiment import Method
from experiments.settings import Config
from jaxroute.serving.kinds import PerWeight
from jaxroute.serving.router import Router
from jaxroute.types import Hyperparams, InputError


class Part(NamedTuple):
    """One method and depth, at one cost weight or (None) at all of them."""

    method: Method
    hidden: tuple[int, ...]
    cost_weight: float | None = None

    @property
    def name(self) -> str:
        depth = "x".join(map(str, self.hidden)) or "linear"
        at = "" if self.cost_weight is None else f"-at-{self.cost_weight:g}"
        return f"{self.method.name}-{depth}{at}"

    def points(self, points: Hyperparams) -> Hyperparams:
        """The part's own of all points, leaves [S, P]."""
        if self.cost_weight is None:
            return points
        columns = np.asarray(points.cost_weight)[0] == np.float32(self.cost_weight)
        return jax.tree.map(lambda x: x[:, columns], points)


def whole(config: Config, methods: Sequence[Method]) -> list[Part]:
    """Every method and depth."""
    return [Part(*part) for part in itertools.product(methods, config.axes.hidden)]


def parts_of(config: Config, methods: Sequence[Method]) -> list[Part]:
    """Every method and depth at every cost weight.

    Raises:
        InputError: a sweep whose bits depend on the number of points.
    """
    if config.axes.block is None:
        raise InputError("axes: block=None: only with a fixed block do shards equal the undivided sweep; give a number")
    weights = dict.fromkeys(config.cost_weights)
    return [part._replace(cost_weight=weight) for part in whole(config, methods) for weight in weights]


def shard_of(parts: Sequence[Part], shard: str) -> list[Part]:
    """The parts of a shard, written I/N with I from 1 to N.

    Raises:
        InputError: not such a shard, or more shards than parts.

    Example:
        >>> shard_of(["a", "b", "c"], "1/2"), shard_of(["a", "b", "c"], "2/2")
        (['a', 'c'], ['b'])
    """
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    place, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= place <= count:
        raise InputError(f"--shard {shard}: give it as I/N with I from 1 to N, as in 1/4")
    if count > len(parts):
        raise InputError(
            f"--shard {shard}: the sweep has {len(parts)} parts (methods x depths x cost weights); give at most as "
            "many shards"
        )
    return list(parts[place - 1 :: count])


def all_there(paths: Mapping[Part, Path]) -> None:
    """Refuse a merge of a sweep that is not finished.

    Raises:
        InputError: a part is missing; names the parts.
    """
    missing = [part.name for part, path in paths.items() if not path.exists()]
    if missing:
        raise InputError(
            f"{len(missing)} of the sweep's {len(paths)} parts are not there: {', '.join(missing)}; run their shards "
            "with this config and --out"
        )


def table(paths: Sequence[Path]) -> pd.DataFrame:
    """The table of a method and depth from those of its parts, rows as in the undivided sweep: by seed first."""
    rows = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    return rows.sort_values("seed", kind="stable", ignore_index=True)


def write(parts: Mapping[Part, Path], path: Path, frame: pd.DataFrame) -> None:
    """The table, and beside it one router for each seed, with the networks of every part's router."""
    ascending = sorted(parts, key=lambda part: part.cost_weight or 0.0)
    for seed in range(frame["seed"].nunique()):
        routers = [Router.load(parts[part].with_suffix("") / f"seed-{seed}") for part in ascending]
        kinds = [router.kind for router in routers if isinstance(router.kind, PerWeight)]
        each = [(kind.cost_weights, kind.params, kind.temperature, kind.width) for kind in kinds]
        weights, params, temperature, width = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each)
        kind = PerWeight(kinds[0].axes, weights, params, kinds[0].hidden, temperature, width)
        dataclasses.replace(routers[0], kind=kind).save(path.with_suffix("") / f"seed-{seed}")
    storage.write_frame(path, frame)
