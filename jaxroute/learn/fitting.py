"""From a log to a router to keep: any method, judged on the log.

Everything that is said about the router comes from the log, valued doubly robustly, and from a shadow sample where
there is one: every row of either is decided by fits that never saw it. That leaves no bias to speak of, but what
the router learnt from the same rows is in no interval: in 240 synthetic logs of 600 rows beside 150 prompts, 93% of
the value's intervals and 89% of the gain's held the truth of the router at hand (the recommended recipe's; biases 0.001
and -0.004; on the log alone 92% and 95%), against 95% on the shadow for a router that was fitted elsewhere
(`python -m experiments.checks.shadow_evidence`). A later log is the better judge (`jaxroute evaluate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxroute import counterfactual, estimators, nuisance, recipe
from jaxroute.data import shadow as shadows
from jaxroute.data.units import cost_scale as break_even
from jaxroute.estimators import conclusion, evidence
from jaxroute.learn import checks, estimates, judging, keywords, methods, objectives
from jaxroute.learn.inputs import MethodInput, mean, shared
from jaxroute.learn.members import HYPERPARAMS
from jaxroute.learn.methods import Method
from jaxroute.learn.per_weight import ascending
from jaxroute.numerics import as_arrays
from jaxroute.policies import budgets
from jaxroute.recipe import means
from jaxroute.serving import kinds
from jaxroute.serving.router import Router
from jaxroute.system import maps
from jaxroute.system.threads import cores, one_blas_thread
from jaxroute.types import (
    Examples,
    Hyperparams,
    InputError,
    Key,
    Logs,
    Loss,
    Nuisances,
    NuisanceSpec,
    Spec,
)

PIECES = 256


@one_blas_thread()
def fit(
    key: Key,
    logs: Logs,
    models: Sequence[str],
    *,
    method: str | Loss | Method = "recommended",
    shadow: Examples | None = None,
    prior: recipe.Prior | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    spec: NuisanceSpec = NuisanceSpec(),
    members: int = 1,
    cost_weights: Sequence[float] | None = None,
    normalised_cost_weights: Sequence[float] | None = None,
    cost_scale: float | None = None,
    estimator: str | estimates.Estimator | None = None,
    training: Spec | None = None,
    hyperparams: Hyperparams | None = None,
    hidden: tuple[int, ...] = (256, 128),
    steps: int = 500,
    clip: float | None = None,
    mesh: Mesh | None = None,
    candidates: Sequence[str] | None = None,
    currency: str = "",
    on_stage: Callable[[str], None] = lambda _: None,
    on_evidence: Callable[[evidence.Evidence], None] = lambda _: None,
) -> Router:
    """A router of a log, by any method.

    Args:
        key: of everything random.
        logs: N rows, costs in the data's own unit.
        models: K names, in the order of ``logs.available``.
        method: a name in `methods.METHODS`, a loss of the protocol of `types.Loss`, or a record like those there.
        shadow: prompts that every available model answered, beside the log; outcomes in the log's units, a cost that
            is not known is NaN (`data.shadow.priced` says what is learnt then).
        prior: of the models' mean quality, in their order (`data.priors` reads one), for a method that takes one; what
            is said of the router never uses it.
        encoder, revision: what made the features, for texts at serving time; None: features are given.
        spec: of the nuisances.
        members: nuisances and routers with folds and seeds of their own, averaged.
        cost_weights: ascending, quality per unit of cost, that routers are trained at and judged at; None: the
            normalised grid. normalised_cost_weights: the same per ``cost_scale``. At most one of the two.
        cost_scale: cost units per normalised unit; None: from the log's doubly robust means.
        estimator: of the outcomes that a trained method learns from, see `estimates`; None: the method's own.
        training, hyperparams: of networks that learn the decision; None: those of the study.
        hidden, steps: of a distilled network.
        clip: smaller propensities are raised to it in what is said about the router; None:
            ``estimators.trusted_clip``.
        mesh: see ``sweep.mesh``; None: all devices.
        candidates: the models that may be chosen, as where others take too long; the router learns from all of them,
            and never chooses another. For methods that predict; None: all.
        currency: "USD" where the log's costs are known to be in US dollars; "" where their unit is not known.
        on_stage: called with what is about to be done, for progress.
        on_evidence: called once with all that the log says of the router; ``summary`` keeps the essence.

    Returns:
        Router; ``summary`` says what the log holds, how the router was made, what it is worth on the log and how much
        of that rests on the shadow (``shadow_share``, 0 to 1).

    Raises:
        InputError: an unknown method, a wrong loss, settings that mean nothing for the method, names that do not
            match the log, or too few rows; all of it before anything is fitted.

    Example:
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> small = dict(spec=NuisanceSpec(("mean",), folds=3), training=Spec((8,), steps=20, chunk=10))
        >>> router = fit(jax.random.key(2), logs, table.models, method="rm_softmax", **small)
        >>> router
        Router(per_weight, 4 models, 32 features, cost_scale=...)
        >>> router.route(table.features, normalised_cost_weight=0.5).index.shape
        (300,)
    """
    asked: dict[str, Any] = {
        "spec": spec, "training": training, "hyperparams": hyperparams, "hidden": hidden, "steps": steps, "mesh": mesh,
        "on_stage": on_stage,
    }  # fmt: skip
    more = {"estimator": estimator, "clip": clip, "candidates": candidates, "currency": currency}
    keywords.check({**asked, **more, "members": members, "cost_scale": cost_scale, "on_evidence": on_evidence})
    chosen = methods.named(method)
    rows, num_models = logs.available.shape
    checks.check(chosen, (rows, num_models), models, spec, (estimator, training, hyperparams))
    checks.check_rows(chosen, logs, shadow, spec)
    checks.check_prior(chosen, prior, num_models)
    checks.check_known(candidates, models)
    allowed = None if candidates is None else np.isin(models, candidates)
    checks.check_candidates(chosen, allowed)
    checks.check_shadow(logs, shadow)
    if chosen.loss is not None:
        objectives.check(chosen.loss, num_models, HYPERPARAMS if hyperparams is None else hyperparams)
    weights = weights_of(cost_weights, normalised_cost_weights)
    maps.make_room()
    logs, shadow = as_arrays((logs, shadow))
    taught = None if shadow is None else as_arrays(shadows.priced(shadow, logs, models))
    learnt_with = estimators.evaluation_clip(num_models) if clip is None else clip

    on_stage("nuisances, cross-fitted")
    fits = _nuisances(jax.random.split(key, 3)[0], logs, taught, spec, chosen.learner, members)
    nuisances = mean([of_member for of_member, _ in fits])
    robust = counterfactual.doubly_robust(logs, nuisances, clip=learnt_with)
    scale, reason = break_even(robust, np.asarray(logs.available), logs.weight)
    if cost_scale is not None:
        scale, reason = cost_scale, "given"
    given = MethodInput(
        **shared(key, scale, weights(scale), members, **asked),
        logs=logs,
        shadow=taught,
        nuisances=nuisances,
        fits=fits,
        robust=robust,
        estimator=estimator,
        prior=None if prior is None else as_arrays(prior),
        candidates=None if allowed is None else jnp.asarray(allowed),
    )
    result = chosen.make(given)

    on_stage("evidence from the log")
    learn = counterfactual.examples(logs, nuisances, taught, clip=means.CLIP)
    found = judging.gather(jax.random.fold_in(key, 3), chosen.name, models, given, result, clip, learn, shadow)
    found = found._replace(currency=currency)
    on_evidence(found)
    summary: dict[str, Any] = {
        "method": chosen.name,
        "kind": kinds.name_of(result.kind),
        **_counts(logs, shadow, models),
        "cost_scale_from": reason,
        "members": members,
        "cores": cores(),
        **result.summary,
        **({} if prior is None else {"prior": judging.of_prior(result.summary["prior"], prior, models)}),
        "currency": currency,
        "conclusion": conclusion.of_evidence(found, scale),
        "by_cost_weight": judging.by_cost_weight(found, learn, scale, given.times, allowed),
    }
    curve, everyone = budgets.thinned(result.curve, PIECES), np.ones(num_models, bool)
    if allowed is not None:
        everyone, summary["measured_without"] = allowed, [m for m, may in zip(models, allowed, strict=True) if not may]
    kind = kinds.in_32_bits(result.kind)
    last_layer = judging.uncertain(kind, given.cells)
    return Router(tuple(models), kind, float(scale), curve, everyone, encoder, revision, summary, last_layer=last_layer)


def weights_of(
    cost_weights: Sequence[float] | None, normalised: Sequence[float] | None
) -> Callable[[float], np.ndarray]:
    """The cost weights, once the unit of cost is known."""
    if cost_weights is not None and normalised is not None:
        raise InputError("give cost_weights or normalised_cost_weights, not both")
    if cost_weights is not None:
        fixed = ascending(cost_weights)
        return lambda scale: fixed
    grid = ascending(recipe.GRID if normalised is None else normalised, "normalised_cost_weights")
    return lambda scale: grid / scale


def _counts(logs: Logs, shadow: Examples | None, models: Sequence[str]) -> dict[str, Any]:
    """What the log and its shadow sample hold."""
    rows = np.bincount(logs.action, minlength=len(models))
    return {
        "rows": len(logs.action),
        **({} if logs.weight is None else {"requests": float(jnp.sum(logs.weight))}),
        "rows_with_feedback": int(np.isfinite(np.asarray(logs.quality)).sum()),
        "rows_with_known_propensity": int(np.isfinite(np.asarray(logs.propensity)).sum()),
        "shadow_prompts": 0 if shadow is None else len(shadow.features),
        "shadow_costs_unknown": 0 if shadow is None else int(shadows.unpriced(shadow.outcomes, shadow.available).sum()),  # type: ignore[arg-type]
        "rows_by_model": dict(zip(models, rows.tolist(), strict=True)),
        "rows_available_by_model": dict(zip(models, np.asarray(logs.available).sum(0).tolist(), strict=True)),
    }


def _nuisances(
    key: Key, logs: Logs, shadow: Examples | None, spec: NuisanceSpec, learner: str | None, members: int
) -> tuple[tuple[Nuisances, nuisance.NuisanceModel], ...]:
    """One fit a member. A method's own learner is fitted beside the nuisances', which stay as they are without it.

    Reference: several sample splits, section 3.4 of Double/debiased machine learning for treatment and structural
    parameters, by Chernozhukov et al., https://arxiv.org/abs/1608.00060 (2018).
    """
    own = () if learner is None or learner in spec.outcome_models else (learner,)
    every = dataclasses.replace(spec, outcome_models=(*spec.outcome_models, *own))
    cells, rows = nuisance.cells(logs, shadow), len(logs.action)
    fits = []
    for k in (key, *(jax.random.fold_in(key, member) for member in range(1, members))):
        nuisances, model = nuisance.fit(k, logs, every, shadow=shadow)
        checks.check_nuisances(np.asarray(nuisances.outcomes.quality), np.asarray(logs.features), every)
        if own:
            part = nuisance.reweigh(model.outcomes, cells.outcomes, cells.available, spec)
            model = model._replace(outcomes=part)
            nuisances = nuisances._replace(outcomes=jax.tree.map(lambda y: y[:rows], nuisance.out_of_fold(part)))
        fits.append((nuisances, model))
    return tuple(fits)
