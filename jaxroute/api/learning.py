"""A router of a log or of a table, by any method, with what the rows that were held out say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxroute.api.judging import judged
from jaxroute.api.reading import LogTable, read_log, shadow_table
from jaxroute.data import context as contexts
from jaxroute.data import encoders, fingerprints, priors, splits
from jaxroute.data import logs as people
from jaxroute.data import shadow as shadows
from jaxroute.data.logs import latency
from jaxroute.estimators import recency as ages
from jaxroute.estimators.evidence import Evidence
from jaxroute.learn import checks, fitting, full_feedback, methods
from jaxroute.learn.methods import Method
from jaxroute.serving import new_models
from jaxroute.serving.router import Router
from jaxroute.serving.terms import too_slow
from jaxroute.types import Examples, InputError, Logs, Loss, NuisanceSpec, Regressor, Table


def fit(
    log: Any,
    method: str | Loss | Method = "recommended",
    *,
    models: Sequence[str] | None = None,
    cost_weights: Sequence[float] | None = None,
    normalised_cost_weights: Sequence[float] | None = None,
    shadow: Any = None,
    prior: Any = None,
    encoder: str | None = "hashed",
    outcome_models: Sequence[str | Regressor] | None = None,
    members: int = 1,
    seed: int = 0,
    holdout: float | None = None,
    split_time: Any = None,
    max_latency: float | None = None,
    recency: str | float | None = None,
    fingerprint: bool = True,
    **options: Any,
) -> Router:
    """A router of a log, by any method, with what the log says of it in ``summary``.

    Args:
        log: see ``read_log``; or arrays (``types.Logs``), together with ``models``; or a ``Table`` of ``read_table``,
            from which the router learns every model's answers.
        method: a name in ``learn.METHODS`` (``jaxroute methods`` lists them), or a loss of your own: any function
            ``loss(scores [..., K], utility [..., K], *, where=None) -> [...]``. Keywords named like the fields of
            ``types.Hyperparams`` (temperature, entropy and others) receive their values.
        models: K names, only if the log is arrays.
        cost_weights: ascending, quality per unit of cost, at which the router is trained and judged; or
            normalised_cost_weights, where 1 is the break-even between the best and the cheapest model; None for both:
            ``recipe.GRID``, normalised.
        shadow: prompts like the log's that several models answered, see ``read_table``; or ``types.Examples``.
        prior: quality that is expected of the models from what is known beside the log; see ``data.priors.load``. A
            model that it names with its cost and the log never shows becomes a candidate of the router.
        encoder: of the prompts, if the log has no features; of a table's prompts (None: its own features are used).
        outcome_models: names of outcome models (see ``types.NuisanceSpec``) and objects with ``fit(features, y)`` and
            ``predict(features)``, such as scikit-learn's regressors; None: those of ``NuisanceSpec``.
        members: number of routers with different seeds that are averaged.
        seed: of everything random.
        holdout: share of the rows (or of a table's prompts) that the router does not learn from and is judged on,
            whole groups; ``summary["held_out"]`` says what they say of it.
        split_time: the same with all rows from a time on, such as "2026-11-01".
        max_latency: seconds; models whose 95th percentile of latency in the log is above, or unknown, are never chosen.
        recency: days in which the weight of a row halves, or "auto"; see ``estimators.recency``.
        fingerprint: whether the router keeps marks of what it learned from, by which ``evaluate`` leaves it out; see
            ``data.fingerprints``.
        options: further ones of ``learn.fitting.fit``: spec, hyperparams, estimator, training and others.

    Returns:
        Router.

    Raises:
        InputError: an unknown method, a wrong loss or outcome model, or a log that is bad or too small.

    Example:
        From a log to a saved router, with a loss of one's own:

        >>> import tempfile
        >>> import jaxroute as jr
        >>> log = [{"prompt": f"{i % 7}", "model": "ab"[i % 2], "quality": i % 3 / 2, "cost": i % 2} for i in range(90)]
        >>> def value_lost(scores, utility, *, where=None, temperature=1.0):
        ...     policy = jr.policies.softmax(scores, temperature=temperature, available=where)
        ...     return -(policy * utility).sum(-1)
        >>> small = {"outcome_models": ["mean"], "training": jr.types.Spec((8,), steps=20, chunk=10)}
        >>> router = jr.fit(log, value_lost, cost_weights=[0.0, 0.5], **small)
        >>> router.save(tempfile.mkdtemp())
        >>> router.route(["3"], cost_weight=0.5).models[0] in "ab"
        True
    """
    if outcome_models is not None:
        spec = options.get("spec", NuisanceSpec())
        options["spec"] = dataclasses.replace(spec, outcome_models=tuple(outcome_models))
    options |= {"cost_weights": cost_weights, "normalised_cost_weights": normalised_cost_weights, "members": members}
    key: Any = jax.random.key(seed)
    if recency is not None and isinstance(log, Table | Logs):
        raise InputError("recency= needs a log of rows with times (see read_log)")
    if max_latency is not None and isinstance(log, Table | Logs):
        raise InputError("max_latency= needs a log of rows with latencies (see read_log)")
    held: LogTable | Table | None = None
    if isinstance(log, Table):
        if any(given is not None for given in (shadow, prior, models)):
            raise InputError("shadow=, prior= and models= belong to a log; a table has every model's answers and name")
        if split_time is not None:
            raise InputError("split_time= belongs to a log: a table has no timestamps; use holdout=")
        if encoder is not None:
            log = dataclasses.replace(log, features=encoders.encode(log.prompt, encoder))
        if holdout is not None:
            log, held = held_out_prompts(seed, log, holdout)
        router = full_feedback.of_table(key, log, encoder=encoder, method=method, **options)
        router.summary["seed"] = seed
        marks = fingerprints.of_table(log, texts=encoder is not None) if fingerprint else None
        return judged(dataclasses.replace(router, fingerprint=marks), held)
    if encoder is None:
        raise InputError("encoder=None is for a table whose features are to be used as they are; name an encoder")
    answered: Any = shadow
    if isinstance(log, Logs):
        if models is None:
            raise InputError("a log of arrays has no names of its models; give models=[...], in the order of available")
        if holdout is not None or split_time is not None:
            raise InputError("holdout= and split_time= need a log of rows (see read_log); split arrays yourself")
        if shadow is not None and not isinstance(shadow, Examples):
            answered = shadows.examples(shadow_table(shadow), models)
        known = priors.load(prior, models)
        gathered = _gathering(options)
        router = fitting.fit(key, log, tuple(models), method=method, shadow=answered, prior=known.prior, **options)
        known.keep(router.summary)
        router = new_models.add(router, known.new, log.features, gathered[0])
        router.summary["seed"] = seed
        marks = fingerprints.of_arrays(log, models, answered) if fingerprint else None
        return dataclasses.replace(router, fingerprint=marks)
    if models is not None:
        raise InputError("models= belongs to a log of arrays; this log names its models itself")
    encoders.check(encoder)
    table = read_log(log)
    if holdout is not None or split_time is not None:
        table, held = people.hold_out(seed, table, share=holdout, moment=split_time)
    names, used = table.models, None if table.features is not None else encoder
    beside = None if shadow is None or isinstance(shadow, Examples) else shadows.matched(shadow_table(shadow), names)
    columns, options["currency"] = contexts.fit(table.context), table.currency
    spec = options.get("spec", NuisanceSpec())
    checks.check_rows(methods.named(method), table, answered if beside is None else beside, spec)
    if beside is not None:
        answered = shadows.examples(beside, names, encoder=used, columns=columns)
    taken = latency.by_model(table)
    if max_latency is not None:
        slow = too_slow(taken, names, max_latency)
        options["candidates"] = [name for name in names if name not in slow]
    known = priors.load(prior, names)
    new_models.check_limits(known.new, max_latency)
    checks.check_prior(methods.named(method), known.prior, len(names))
    logs, half_life = people.as_logs(table, encoder), None
    if recency is not None:
        logs, half_life = ages.apply(logs, table.timestamp, recency)
    gathered = _gathering(options)
    router = fitting.fit(key, logs, names, method=method, shadow=answered, prior=known.prior, encoder=used, **options)
    known.keep(router.summary)
    router = new_models.add(router, known.new, logs.features, gathered[0])
    router.summary.update({"chat": table.chat, "seed": seed, "usage": table.usage, "context": columns})
    if half_life is not None:
        router.summary["half_life_days"] = None if np.isinf(half_life) else half_life
    if taken:
        router.summary.update({"latency": taken, "max_latency": max_latency})
    taught = answered if beside is None else beside
    marks = fingerprints.of_log(table, taught, texts=used is not None) if fingerprint else None
    return judged(dataclasses.replace(router, fingerprint=marks), held)


def _gathering(options: dict[str, Any]) -> list[Evidence]:
    """A list that a fit with these options puts its evidence in; a listener that they had hears it too."""
    gathered: list[Evidence] = []
    other = options.get("on_evidence", lambda _: None)

    def heard(found: Evidence) -> None:
        gathered.append(found)
        other(found)

    options["on_evidence"] = heard
    return gathered


def held_out_prompts(seed: int, table: Table, share: float) -> tuple[Table, Table]:
    """The prompts of a table to fit a router to, and a share of them to judge it on; whole groups."""
    if not 0 < share < 1:
        raise InputError(f"holdout is {share:g}; give a share of the prompts above 0 and below 1, such as 0.2")
    fitted, _, held = splits.split(seed, table, (1 - share, 0.0, share))
    return table.rows(np.sort(fitted)), table.rows(np.sort(held))
