"""What each part of the recommended recipe contributes: the same fits with one part removed or replaced.

    make ablation DATA=<folder of tables>        SMOKE=1 for seconds

The setting is the study's centre: the log of a weak router, 2,000 rows, the study's ten seeds. The nuisances of a log
are fitted once and every line decides from them, so differences are due to that part alone. Each line is the regret to
the realised oracle in points, averaged over the cost weights, less that of the recipe: above 0 the part is worth
having. Larger stacks of outcome models are lines, too. A log that was measured is not measured again. Writes
results/ablation/ablation.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from experiments.problem import fits
from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import counterfactual, estimators, metrics, nuisance, policies, recipe
from jaxroute.nuisance import combine, crossfit
from jaxroute.nuisance.learners import candidate_names
from jaxroute.recipe import attributes, caution, contrasts, levels, means
from jaxroute.report.summary import student_interval
from jaxroute.serving import distil
from jaxroute.system import stopping
from jaxroute.types import Logs, Nuisances, NuisanceSpec, Outcomes, Table

AS_IS = "the recipe"
HIDDEN = (256, 128)  # of `distil.fit`
NETS = 20
MORE = ("ridge", "hierarchical", "knn", "mlp", "trees")  # learners that the stack might have besides
EVEN = 0.2
ESTIMATED: dict[str, Any] = {"outcome_models": ("mean",), "propensity": "estimated"}


def variants(
    logs: Logs, nuisances: Nuisances, model: nuisance.NuisanceModel, features: Array, spec: NuisanceSpec
) -> Iterator[tuple[str, Outcomes]]:
    """(what is changed, predictions [M, K] to decide on) for every variant.

    Args:
        logs: N rows. nuisances, model: fitted on them with ``spec``, learners of MORE beside it where they are to be
            compared. features: of M prompts.
    """
    names = candidate_names(model.outcomes.spec)
    own = jnp.asarray(np.isin(names, spec.outcome_models))
    cells, seen = nuisance.as_cells(logs)
    candidates = nuisance.predict_candidates(model.outcomes, features)

    def recipe_on(outcomes: nuisance.OutcomeModel, candidates: Outcomes = candidates) -> Outcomes:
        fitted = nuisances._replace(outcomes=nuisance.out_of_fold(outcomes))
        whole = model._replace(outcomes=outcomes)
        return recipe.apply(recipe.recommend(logs, fitted, whole), nuisance.mix(outcomes.weights, candidates))

    yield AS_IS, recipe_on(model.outcomes)
    stack = nuisance.mix(model.outcomes.weights, candidates)
    yield "neither levels nor share: the stacked plug-in", stack

    _, level, centre, share, _ = recipe.recommend(logs, nuisances, model)
    for errors in (0, 1, 2):
        kept = share if beats_best_single(logs, nuisances, level, centre, share, errors) else 0.0
        yield (
            f"guard: best single unless {errors} standard errors better",
            recipe.shrink_contrasts(stack, level, centre, share=kept),
        )
    for name, kept in (("none: best single by levels", 0.0), ("a half", contrasts.SHARE), ("all", 1.0)):
        yield f"share of contrasts: {name}", recipe.shrink_contrasts(stack, level, centre, share=kept)
    for name, other in _levels(logs, nuisances, centre, spec):
        yield f"levels: {name}", recipe.shrink_contrasts(stack, other, centre, share=share)

    reweigh = partial(nuisance.reweigh, model.outcomes, cells, seen)
    for left_out in spec.outcome_models:
        fewer = tuple(m for m in spec.outcome_models if m != left_out)
        if fewer:
            yield f"stack without {left_out}", recipe_on(reweigh(dataclasses.replace(spec, outcome_models=fewer)))
    for added in (m for m in MORE if m in names and m not in spec.outcome_models):
        wider = dataclasses.replace(spec, outcome_models=(*spec.outcome_models, added))
        yield f"stack with {added}", recipe_on(reweigh(wider))
    if "mlp" in spec.outcome_models:
        averaged, of_new = with_nets(logs, model.outcomes, candidates, features, NETS)
        yield f"stack with {NETS} nets, not one", recipe_on(nuisance.reweigh(averaged, cells, seen, spec), of_new)
    yield "the best candidate, no stack", recipe_on(reweigh(dataclasses.replace(spec, combine="select")))
    for name, even in (("equal stack weights", 1.0), (f"stack weights {EVEN:.0%} equal", EVEN)):
        weights = jax.tree.map(lambda w: (1 - even) * w + even * own / jnp.sum(own), model.outcomes.weights)  # noqa: B023
        yield name, recipe_on(model.outcomes._replace(weights=weights))
    of_contrasts = model.outcomes.weights._replace(quality=weights_of_contrasts(logs, model.outcomes, own))
    yield "stack weighed by errors of contrasts", recipe_on(model.outcomes._replace(weights=of_contrasts))

    teacher = nuisance.predict_outcomes(model.outcomes, logs.features)
    student = distil.fit(
        jax.random.key(0), logs.features, recipe.shrink_contrasts(teacher, level, centre, share=share), cost_scale=1.0
    )
    yield "distilled into one network, as `fit` ships it", distil.predict(student, features, HIDDEN)


def with_nets(
    logs: Logs, model: nuisance.OutcomeModel, candidates: Outcomes, features: Array, count: int
) -> tuple[nuisance.OutcomeModel, Outcomes]:
    """The model and its ``candidates`` [C, M, K] with those of nets averaged over ``count`` nets, its own the first.

    The others are fitted on the same folds, from other initialisations and orders of rows.
    """
    spec = dataclasses.replace(model.spec, outcome_models=("mlp",))
    nets = jnp.asarray(np.flatnonzero([name == "mlp" for name in candidate_names(model.spec)]))
    cells, seen = nuisance.as_cells(logs)
    own = jax.tree.map(lambda y: y[nets], (model.out_of_fold, candidates))
    total = own
    for number in range(1, count):
        folds, of_log = crossfit.fit_outcomes(
            jax.random.key(number), logs.features, cells, seen, np.asarray(model.fold), spec
        )
        of_new = nuisance.predict_candidates(model._replace(folds=folds, host={}, spec=spec), features)
        total = jax.tree.map(jnp.add, total, (of_log, of_new))
    placed = jax.tree.map(lambda y, t: y.at[nets].set(t / count), (model.out_of_fold, candidates), total)
    return model._replace(out_of_fold=placed[0]), placed[1]


def weights_of_contrasts(logs: Logs, model: nuisance.OutcomeModel, own: Bool[Array, " C"]) -> Float[Array, " C"]:
    """Stack weights for quality that see contrasts alone, as the share of `contrasts.of_log` does; 0 but for ``own``.

        min_w  sum_i (q_i - sum_c w_c z_ic)^2,   w on the simplex

    z_ic is candidate c's prediction for the model that answered, less its mean over models; from q and z the models'
    means and the stack's difficulty are regressed out.
    """
    rows = jnp.arange(len(logs.action))

    def of_candidate(one: Array) -> Float[Array, "N K"]:
        return contrasts.centred(model._replace(weights=Outcomes(one, one)))[: len(rows)]

    each = jnp.stack([of_candidate(one) for one in jnp.eye(len(own))[own]])
    difficulty = jnp.mean(contrasts.centred(model)[: len(rows)], 1)
    known = jnp.column_stack([jax.nn.one_hot(logs.action, each.shape[2]), difficulty])

    def left(y: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
        return y - known @ jnp.linalg.lstsq(known, y)[0]

    z = left((each[:, rows, logs.action] - jnp.mean(each, 2)).T).T
    q = left(logs.quality)
    return jnp.zeros(len(own)).at[own].set(combine.stack(z[..., None], q[:, None], jnp.ones((len(rows), 1))))


def beats_best_single(
    logs: Logs, nuisances: Nuisances, level: Array, centre: Array, share: Array, errors: float
) -> bool:
    """Whether the log says so: doubly robust gain of the recipe's out-of-fold choices over those with no contrasts,
    pooled over the cost weights, above ``errors`` of its standard errors."""
    outcomes = counterfactual.doubly_robust(logs, nuisances, clip=estimators.evaluation_clip(len(level)))

    def value(share: Array | float, weight: Array) -> Float[Array, " N"]:
        predicted = recipe.shrink_contrasts(nuisances.outcomes, level, centre, share=share)
        policy = policies.greedy(counterfactual.utility(predicted, weight), available=logs.available)
        return metrics.value(policy, outcomes, weight)

    gain = jnp.mean(jnp.stack([value(share, w) - value(0.0, w) for w in jnp.asarray(recipe.GRID)]), 0)
    return bool(jnp.mean(gain) > errors * jnp.std(gain, ddof=1) / jnp.sqrt(len(gain)))


def _levels(
    logs: Logs, nuisances: Nuisances, centre: Array, spec: NuisanceSpec
) -> Iterator[tuple[str, Float[Array, " K"]]]:
    """Other ways to say how good each model is on average."""
    rows = attributes.requests(logs)

    def settled(nuisances: Nuisances, clip: float = means.CLIP) -> Float[Array, " K"]:
        return caution.settled(levels.fit(logs, nuisances, clip=clip), centre, rows)

    samples, about, _ = levels.samples_of(logs, nuisances)

    yield "the outcome model's means", centre
    yield "doubly robust means", means.of_log(logs, nuisances).mean
    nothing = nuisances._replace(outcomes=jax.tree.map(jnp.zeros_like, nuisances.outcomes))
    yield "inverse-propensity means", means.of_log(logs, nothing).mean
    shrunk = levels.fit(logs, nuisances)
    yield "doubly robust, shrunk (neither the outcome model's nor caution)", shrunk.mean
    yield "without caution", caution.settled(shrunk, centre, rows, caution=0.0)
    yield "nothing expected of prices", caution.settled(levels.posterior(samples, about), centre, rows)
    for name, power in (("weights are square roots of inverse propensities", 0.5), ("all rows weigh the same", 0.0)):
        yield name, settled(nuisances._replace(propensity=nuisances.propensity**power))
    for clip in (0.02, 0.3):
        yield f"propensities clipped at {clip:g}", settled(nuisances, clip)
    fitted, _ = nuisance.fit(jax.random.key(0), logs, dataclasses.replace(spec, **ESTIMATED))
    yield "propensities estimated, not known", settled(nuisances._replace(propensity=fitted.propensity))


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """A row per variant for one seed's log; regret in points."""
    test, spec = table.rows(rows.test), config.nuisance
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    fitted = nuisance.fit(key, logs, fits.with_rivals(spec, MORE))
    fitted = fits.without_rivals(spec, *fitted, *nuisance.as_cells(logs))
    found = variants(logs, *fitted, jnp.asarray(test.features), spec)
    lost = ((variant, common.regret(predicted, test, config.cost_weights)) for variant, predicted in found)
    return pd.DataFrame(lost, columns=["variant", "regret"]).assign(seed=seed)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    for table, centre in design.centres(options.data, smoke=options.smoke):
        config = dataclasses.replace(centre, name=centre.name.replace("study", "ablation"))
        found = common.each_log(config, prepare(config), options.out, measure)
        yield found.assign(dataset=table.name)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Variants against tables: regret less the recipe's, mean and half a 95% Student-t interval over seeds.

    "real tables": the mean over those that are not the synthetic problem, seed by seed.
    """
    wide = found.pivot(index=["dataset", "seed"], columns="variant", values="regret")
    real = wide.drop(index=design.SYNTHETIC, level="dataset", errors="ignore").groupby("seed").mean()
    parts = {dataset: wide.loc[dataset] for dataset in found["dataset"].unique()}
    if len(parts) > 1:
        parts["real tables"] = real
    lines = []
    for variant in found["variant"].unique():
        line: dict[str, object] = {"variant": variant}
        for name, part in parts.items():
            mean, low, _ = student_interval((part[variant] - part[AS_IS]).to_numpy())
            line[name] = f"{part[AS_IS].mean():.2f}" if variant == AS_IS else f"{mean:+.2f} ± {mean - low:.2f}"
        lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    return common.command("ablation", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
