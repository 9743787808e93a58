"""How far can an estimate from logs be trusted? Bias, error, coverage and ranking of every estimator, by simulation.

    make ope-study            (138 s on 2 cores; SMOKE=1 for seconds; DATA=<folder> for a real table)

A design fixes the logging policy (how much overlap), which nuisances are right, and the number of rows. Each draw takes
prompts from a population, lets the logging policy answer them, and estimates the values of eight policies; the truth is
the value on the population. All draws of a design are one compiled program. Every interval is `estimators.interval`.
Writes tidy Parquet, tables and figures to results/ope_study/.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from rich.progress import track

from experiments import commands
from experiments.ope import report as ope_report
from experiments.problem.table import normalise
from jaxroute import counterfactual, estimators, metrics, nuisance, policies
from jaxroute.data import simulate, synthetic, tables, units
from jaxroute.system import stopping
from jaxroute.types import Estimate, Logs, Nuisances, NuisanceSpec, Outcomes, Policy, Table

COST_WEIGHT = 0.5  # normalised
CLIP = 0.05  # the default for evaluation of up to ten models
FLOOR = 0.05  # smallest propensity of every logger but the one called "little overlap", at that clip
CONFOUNDING = 1.0  # log odds by which the hidden variable tilts the choice
SHIFT = 0.15  # quality by which it moves the outcome
BATCH = 20


class World(NamedTuple):
    """A population of P prompts: conditional means, logging propensities, eight target policies [T, P, K]."""

    mean: Outcomes
    propensity: Float[Array, "P K"]
    available: Array
    targets: Float[Array, "T P K"]
    fitted: Nuisances


class Design(NamedTuple):
    """One row of the study. outcomes, propensities: "right", "wrong" or "fitted" on another log."""

    logger: str
    rows: int
    outcomes: str = "right"
    propensities: str = "right"
    confounded: bool = False

    @property
    def name(self) -> str:
        hidden = ", hidden confounder" if self.confounded else ""
        return f"{self.logger}, {self.rows} rows, outcomes {self.outcomes}, propensities {self.propensities}{hidden}"

    @property
    def promised(self) -> bool:
        """Whether doubly robust intervals are promised to cover: overlap, and one nuisance right."""
        right = "right" in (self.outcomes, self.propensities)
        return right and not self.confounded and self.logger != "little overlap"


DESIGNS = (
    Design("uniform", 500),
    Design("uniform", 2000, outcomes="wrong"),
    Design("cost-biased", 500, outcomes="wrong"),
    Design("cost-biased", 2000),
    Design("weak router", 500),
    Design("weak router", 2000),
    Design("weak router", 2000, outcomes="wrong"),
    Design("weak router", 2000, propensities="wrong"),
    Design("weak router", 2000, outcomes="wrong", propensities="wrong"),
    Design("weak router", 2000, outcomes="fitted"),
    Design("weak router", 2000, outcomes="fitted", propensities="fitted"),
    Design("task-dependent", 2000, outcomes="wrong"),
    Design("task-dependent", 2000, outcomes="fitted", propensities="fitted"),
    Design("little overlap", 2000, outcomes="fitted"),
    Design("weak router", 2000, confounded=True),
)
# On a real table nobody knows the conditional means, so no outcome model is right.
REAL_DESIGNS = tuple(d for d in DESIGNS if d.outcomes != "right" and d.propensities != "wrong")
POLICIES = ("plug-in 0", "plug-in 0.5", "plug-in 2", "best", "best single", "second single", "cheapest", "uniform")


def logging_policy(logger: str, key: Array, table: Table) -> Policy:
    """The design's logger; its smallest propensity is FLOOR whatever the number of models."""
    floor = min(1.0, FLOOR * len(table.models))
    if logger == "uniform":
        return simulate.uniform()
    if logger == "cost-biased":
        return simulate.cost_biased(1.0, floor)
    if logger == "task-dependent":
        return simulate.task_dependent(key, 1.0, floor)
    strength, floor = (6.0, floor / 20) if logger == "little overlap" else (2.0, floor)
    return simulate.weak_router(key, table, fraction=0.1, beta=strength, floor=floor)


def build(table: Table, logger: str, spec: NuisanceSpec, rows: int) -> World:
    """The population of one logger, and nuisances fitted on a log of its own of ``rows`` rows."""
    keys = jax.random.split(jax.random.key(1), 4)
    policy = logging_policy(logger, keys[0], table)
    available = jnp.asarray(table.available)
    mean = Outcomes(*(jnp.where(available, y, 0.0) for y in (table.expected or table.outcomes)))
    some = np.asarray(jax.random.permutation(keys[1], len(table)))[:rows]
    log = simulate.simulate(keys[2], table, policy, known=False, rows=some)
    _, model = nuisance.fit(keys[3], log, spec)
    fitted = nuisance.predict(model, jnp.asarray(table.features), available)
    value = jnp.mean(counterfactual.utility(mean, COST_WEIGHT), 0)
    order = jnp.argsort(-value)
    singles = (order[0], order[1], jnp.argmin(jnp.mean(mean.cost, 0)))
    scores = [counterfactual.utility(fitted.outcomes, w) for w in (0.0, 0.5, 2.0)]
    scores.append(counterfactual.utility(mean, COST_WEIGHT))
    scores += [jnp.broadcast_to(jax.nn.one_hot(k, len(value)), available.shape) for k in singles]
    greedy = [policies.greedy(s, available=available) for s in scores]
    uniform = available / jnp.sum(available, -1, keepdims=True)
    return World(mean, jnp.asarray(policy(table), jnp.float32), available, jnp.stack([*greedy, uniform]), fitted)


def beliefs(world: World, design: Design) -> Nuisances:
    """The nuisances that the design's estimators are given, for the whole population."""
    pooled = Outcomes(*(jnp.full_like(y, jnp.mean(y)) for y in world.mean))  # knows nothing of models or prompts
    outcomes = {"right": world.mean, "wrong": pooled, "fitted": world.fitted.outcomes}[design.outcomes]
    share = world.available / jnp.sum(world.available, -1, keepdims=True)
    propensity = {"right": world.propensity, "wrong": share, "fitted": world.fitted.propensity}[design.propensities]
    return Nuisances(propensity, outcomes)


def hidden(world: World, confounded: bool) -> tuple[Array, Array]:
    """Mean quality and propensity [2, P, K] at either value of a fair coin that the log does not show.

    The coin tilts the choice towards models of even index and moves their quality the same way.
    """
    sign = jnp.where(jnp.arange(world.mean.quality.shape[1]) % 2 == 0, 1.0, -1.0)[None, None, :]
    coin = jnp.array([-1.0, 1.0])[:, None, None] * float(confounded)
    tilted = world.propensity[None] * jnp.exp(CONFOUNDING * coin * sign)
    quality = jnp.clip(world.mean.quality[None] + SHIFT * coin * sign, 0.0, 1.0)
    return quality, tilted / jnp.sum(tilted, -1, keepdims=True)


def draw(
    key: Array, world: World, believed: Nuisances, quality: Array, propensity: Array, rows: int
) -> tuple[Logs, Array, Nuisances]:
    """One log of ``rows`` rows, the target policies on its prompts, and the nuisances believed there."""
    prompt_key, coin_key, action_key, quality_key = jax.random.split(key, 4)
    at = jax.random.randint(prompt_key, (rows,), 0, quality.shape[1])
    coin = jax.random.bernoulli(coin_key, shape=(rows,)).astype(jnp.int32)
    action = jax.random.categorical(action_key, jnp.log(propensity[coin, at]))
    answered = jax.random.uniform(quality_key, (rows,)) < quality[coin, at, action]
    unknown = jnp.full(rows, jnp.nan)
    log = Logs(
        jnp.zeros((rows, 0)), action, answered.astype(jnp.float32), world.mean.cost[at, action], unknown,
        world.available[at],
    )  # fmt: skip
    return log, world.targets[:, at], jax.tree.map(lambda x: x[at], believed)


@partial(jax.jit, static_argnames=("rows",))
def simulated(keys: Array, world: World, believed: Nuisances, quality: Array, propensity: Array, rows: int) -> Estimate:
    """All estimates of all draws: leaves [R, E, T]."""

    def one(key: Array) -> Estimate:
        log, targets, believed_here = draw(key, world, believed, quality, propensity, rows)

        def every(target: Array) -> Estimate:
            each = [e(log, target, COST_WEIGHT, believed_here, clip=CLIP) for e in estimators.ESTIMATORS.values()]
            return jax.tree.map(lambda *x: jnp.stack(x), *each)

        return jax.vmap(every, out_axes=1)(targets)

    return jax.lax.map(one, keys, batch_size=BATCH)


def verdicts(
    world: World, believed: Nuisances, quality: Array, propensity: Array, rows: int, keys: Array
) -> np.ndarray:
    """The support verdict of some draws, [R, T]."""
    once = jax.jit(partial(draw, rows=rows))
    found = []
    for key in keys:
        log, targets, believed_here = once(key, world, believed, quality, propensity)
        found.append([estimators.support(log, target, believed_here, clip=CLIP).verdict for target in targets])
    return np.asarray(found)


def study(
    table: Table, designs: tuple[Design, ...], spec: NuisanceSpec, draws: int, judged: int
) -> list[ope_report.Cell]:
    """Every design's estimates beside the truth."""
    worlds: dict[str, World] = {}
    cells = []
    for design in track(designs, description="designs"):
        if design.logger not in worlds:
            worlds[design.logger] = build(table, design.logger, spec, min(2000, len(table) // 2))
        world = worlds[design.logger]
        believed = beliefs(world, design)
        quality, propensity = hidden(world, design.confounded)
        truth = [
            metrics.value(t, Outcomes(jnp.mean(quality, 0), world.mean.cost), COST_WEIGHT).mean() for t in world.targets
        ]
        keys = jax.random.split(jax.random.key(2), draws)
        got = jax.tree.map(np.asarray, simulated(keys, world, believed, quality, propensity, design.rows))
        judgement = verdicts(world, believed, quality, propensity, design.rows, keys[:judged])
        smallest = float(jnp.min(jnp.where(world.available, world.propensity, 1.0)))
        cells.append(ope_report.Cell(design, np.asarray(truth), got, judgement, smallest))
    return cells


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("ope", __doc__)
    parser.add_argument(
        "--data", help="folder (or wide file) of a full-feedback table (default: the synthetic problem)"
    )
    parser.add_argument("--draws", type=int, default=2000, help="number of logs per design")
    options = parser.parse_args(arguments)

    def work() -> None:
        smoke, data = options.smoke, options.data
        made = synthetic.make(jax.random.key(0), num_prompts=2000 if smoke else 8000)
        table = made if data is None else tables.load(data)
        table = normalise(table, units.cost_scale(table)[0])
        few, many = NuisanceSpec(("mean", "ridge"), folds=3), NuisanceSpec(("ridge", "mlp"), hidden=(64, 64))
        draws, judged = (40, 4) if smoke else (options.draws, 40)
        designs = DESIGNS if data is None else REAL_DESIGNS
        cells = study(table, designs, few if smoke else many, draws, judged)
        name = "synthetic" if data is None else Path(data).name
        names = tuple(estimators.ESTIMATORS)
        ope_report.write(options.out / "ope_study" / name, name, cells, names, POLICIES, COST_WEIGHT)

    return commands.exit_code(work)


if __name__ == "__main__":
    stopping.leave(main())
