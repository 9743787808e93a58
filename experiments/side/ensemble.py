"""Can a log weigh an ensemble of policies? Votes of the recipe and end-to-end routers, and picks by the log's evidence.

    make ensemble DATA=<folder of tables>        SMOKE=1 for seconds

Members of one log: the recipe, its levels alone (best single model), the stacked plug-in, entropic RM-Softmax and
RM-Classification, both on calibrated predictions (a network for each cost weight and fold, averaged). A member m gains
g_m on the recipe, in cross-fitted doubly robust value on the log, with standard error e_m. A vote is

    choose argmax_k sum_m a_m pi_m(k | x),   a_m in proportion to b_m exp(h_m / t),   h_m = t^2 g_m / (t^2 + e_m^2)

pi of a plug-in is the softmax of its utilities at temperature 0.05, and b is PRIOR, to which an uncertain log leaves
the weights; t is SPREAD. "picked" is the member of the largest gain, "guarded" that of the largest lower bound (1.64
errors), or the recipe. SPREAD was chosen on eight logs of seed 200, among some thirty variants, with other losses as
members (pessimistic RM-Softmax, soft RM-Classification); PRIOR was set before any result with these. Regret in points
on test prompts. Writes results/ensemble/ensemble.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import caution, common
from experiments.study import design
from jaxroute import counterfactual, estimators, metrics, nuisance, policies, recipe
from jaxroute.learn import members, per_weight
from jaxroute.report.summary import student_interval
from jaxroute.serving.kinds import PerWeight
from jaxroute.system import stopping
from jaxroute.types import Key, Logs, Nuisances, Outcomes, Table

TEMPERATURE = 0.05
TRAINED = {
    "rm_softmax_entropic_calibrated": "rm_softmax_entropic",
    "rm_classification_calibrated": "rm_classification",
}
PRIOR = {"recipe": 0.5, "best single": 0.05, "stack": 0.05, **dict.fromkeys(TRAINED, 0.2)}
SPREAD, ERRORS = 0.01, 1.64
LOGGERS = ("weak router 6", "cost-biased 2")
FIRST_SEED, SEEDS = 300, 3


class Votes(NamedTuple):
    """A member's policy at every cost weight: of the log's rows, by fits that never saw them, and of test prompts."""

    log: Float[Array, "L N K"]
    test: Float[Array, "L M K"]


def weights(gain: Float[np.ndarray, " m"], error: Float[np.ndarray, " m"], prior: np.ndarray) -> np.ndarray:
    """a of the module's docstring.

    >>> weights(np.array([0.0, 0.02]), np.array([0.0, 0.001]), np.array([0.5, 0.5])).round(2)
    array([0.12, 0.88])
    >>> weights(np.array([0.0, 0.02]), np.array([0.0, 1.0]), np.array([0.5, 0.5])).round(2)
    array([0.5, 0.5])
    """
    shrunk = SPREAD**2 * gain / (SPREAD**2 + error**2)
    share = prior * np.exp((shrunk - shrunk.max()) / SPREAD)
    return share / share.sum()


def trained(key: Key, logs: Logs, nuisances: Nuisances, features: Array, config: Config, loss: str) -> Votes:
    """Networks of one loss on calibrated predictions, for every cost weight and fold."""
    fitted = per_weight.fit(
        key,
        logs,
        loss=loss,
        estimator="calibrated",
        cost_weights=config.cost_weights,
        nuisances=nuisances,
        spec=config.nuisance,
        training=config.training,
        cost_scale=1.0,
    )
    count = len(fitted.cost_weights)
    kind = PerWeight(
        fitted.axes,
        jnp.asarray(fitted.cost_weights, jnp.float32),
        jax.tree.map(jnp.asarray, fitted.params),
        fitted.hidden,
        jnp.full(count, fitted.temperature, jnp.float32),
        jnp.full(count, members.HYPERPARAMS.width, jnp.int32),
    )
    scores = jax.jit(lambda weight: kind.scores(features, jnp.full(len(features), weight)))
    test = jnp.stack([scores(jnp.float32(w)) for w in config.cost_weights])
    return Votes(jnp.exp(fitted.log_probabilities), jnp.exp(test))


def plug_in(of_log: Outcomes, of_test: Outcomes, at: Float[Array, " L"]) -> Votes:
    utilities = (jax.vmap(counterfactual.utility, (None, 0))(y, at) for y in (of_log, of_test))
    return Votes(*(jax.nn.softmax(u / TEMPERATURE, -1) for u in utilities))


def gains(logs: Logs, nuisances: Nuisances, votes: dict[str, Votes], at: Float[Array, " L"]) -> np.ndarray:
    """Value of every member's choices less the recipe's, and its standard error, over the cost weights: [2, m]."""
    clip = estimators.evaluation_clip(logs.available.shape[1])
    available = logs.available

    def rows(policy: Float[Array, "L N K"]) -> estimators.Rows:
        chosen = policies.greedy(policy, available=jnp.broadcast_to(available, policy.shape))
        each = [
            estimators.rows(logs, p, w, nuisances, clip=clip, self_normalised=True)
            for p, w in zip(chosen, at, strict=True)
        ]
        return each[0]._replace(influence=jnp.mean(jnp.stack([e.influence for e in each]), 0))

    found = {name: rows(v.log) for name, v in votes.items()}
    differences = [estimators.difference(found[name], found["recipe"]) for name in votes]
    return np.array([[float(d.value) for d in differences], [float(d.standard_error) for d in differences]])


def regret(policy: Float[Array, "L M K"], test: Table, at: Float[Array, " L"]) -> float:
    """In points, of the choices that the policy finds likeliest."""
    truth, available = jax.tree.map(jnp.asarray, (test.outcomes, test.available))
    chosen = policies.greedy(policy, available=jnp.broadcast_to(available, policy.shape))
    lost = [jnp.mean(metrics.regret(p, truth, w, available=available)) for p, w in zip(chosen, at, strict=True)]
    return 100 * float(jnp.mean(jnp.stack(lost)))


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """A row per member and vote of one seed's log: regret, and gain and error on the log of members."""
    test, at = table.rows(rows.test), jnp.asarray(config.cost_weights, jnp.float32)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    nuisances, model = nuisance.fit(key, logs, config.nuisance)
    features = jnp.asarray(test.features)
    of_log, of_test = nuisance.out_of_fold(model.outcomes), nuisance.predict_outcomes(model.outcomes, features)
    fitted = recipe.recommend(logs, nuisances, model)
    single = fitted._replace(share=jnp.zeros(()))
    votes = {
        "recipe": plug_in(recipe.apply(fitted, of_log), recipe.apply(fitted, of_test), at),
        "best single": plug_in(recipe.apply(single, of_log), recipe.apply(single, of_test), at),
        "stack": plug_in(of_log, of_test, at),
    }
    for number, (name, loss) in enumerate(TRAINED.items()):
        votes[name] = trained(jax.random.fold_in(key, number), logs, nuisances, features, config, loss)
    gain, error = gains(logs, nuisances, votes, at)
    prior = np.array([PRIOR[name] for name in votes])
    every = jnp.stack([v.test for v in votes.values()])
    ways: dict[str, Any] = {
        "vote by the prior": prior,
        "vote weighed by the log": weights(gain, error, prior),
        "picked": np.eye(len(votes))[gain.argmax()],
        "guarded": np.eye(len(votes))[(gain - ERRORS * error).argmax()],
    }
    found = [
        (name, regret(v.test, test, at), *said)
        for (name, v), said in zip(votes.items(), zip(gain, error, strict=True), strict=True)
    ]
    for name, share in ways.items():
        together = jnp.tensordot(jnp.asarray(share, jnp.float32), every, 1)
        found.append((name, regret(together, test, at), np.nan, np.nan))
    return pd.DataFrame(found, columns=["way", "regret", "gain", "error"]).assign(seed=seed)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    seeds: dict[str, Any] = {} if options.smoke else {"first_seed": FIRST_SEED, "seeds": SEEDS}
    for logger in LOGGERS[: 1 if options.smoke else None]:
        for table, centre in design.centres(options.data, smoke=options.smoke):
            renamed = centre.name.replace("study", "ensemble")
            config = dataclasses.replace(centre, name=renamed, **seeds, **caution.LOGGERS[logger])
            found = common.each_log(config, prepare(config), options.out, measure)
            yield found.assign(dataset=table.name, logger=logger)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per way, and logger and dataset: the recipe's mean regret in points, and what the others add to it; over the real
    tables and both loggers with the 95% interval over seeds.

    The last columns are of members: their mean standard error on the log in points, and how often the sign of the gain
    there is that of the gain in truth.
    """
    cells = ["logger", "dataset", "seed"]
    wide = found.pivot(index=cells, columns="way", values="regret")[list(found["way"].unique())]
    added = wide.sub(wide["recipe"], axis=0).assign(recipe=wide["recipe"])
    added = added.reset_index().melt(id_vars=cells, var_name="way", value_name="added")
    added = added.assign(cell=added["logger"] + ", " + added["dataset"])
    table = added.pivot_table(index="way", columns="cell", values="added", sort=False)
    shown = table.apply(lambda column: [f"{v:{'' if way == 'recipe' else '+'}.2f}" for way, v in column.items()])
    shown["real tables"] = [_over_real(added[added["way"] == way]) for way in table.index]
    both = found.merge(added, on=[*cells, "way"])
    both = both[(both["way"] != "recipe") & both["gain"].notna()]
    both = both.assign(right=np.sign(both["gain"]) == -np.sign(both["added"]))
    of_members = both.groupby("way")[["error", "right"]].mean()
    shown["error on the log"] = [f"{100 * value:.2f}" for value in of_members["error"].reindex(shown.index)]
    shown["sign is right"] = [f"{value:.0%}" for value in of_members["right"].astype(float).reindex(shown.index)]
    return shown.replace({"nan": "", "nan%": ""}).reset_index()


def _over_real(added: pd.DataFrame) -> str:
    """Mean over the real tables and the loggers, with its 95% Student-t interval over seeds."""
    real = added[added["dataset"] != design.SYNTHETIC].groupby("seed")["added"].mean().to_numpy()
    if len(real) < 2 or not real.any():
        return ""
    mean, low, high = student_interval(real)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def main(arguments: list[str] | None = None) -> int:
    return common.command("ensemble", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
