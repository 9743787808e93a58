"""A router of a log or of a table, by any method, with what the rows that were held out say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxroute.api import steps
from jaxroute.api.judging import judged
from jaxroute.api.reading import LogTable, as_asked, read_table, shadow_table
from jaxroute.data import encoders, priors
from jaxroute.data import logs as people
from jaxroute.data import shadow as shadows
from jaxroute.data.prices import listed
from jaxroute.learn import fitting, full_feedback, keywords, methods
from jaxroute.learn.methods import Method
from jaxroute.serving.router import Router
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
    prices: Any = None,
    encoder: str | None = "hashed",
    features_by: str | None = None,
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
        prices: for rows whose cost is unknown, for such results of an evaluation tool as the shadow sample, and for a
            model of the prior without a cost: a file, "default" or {model: (input, output)}, see ``data.logs.load``.
        encoder: of the prompts, if the log has no features; of a table's prompts (None: its own features are used).
        features_by: the encoder that made the features of the log, or of the table; the router then takes texts.
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
        InputError: an unknown method, a wrong loss or outcome model, a keyword with a value that it cannot have, or a
            log that is bad or too small.
        TypeError: a keyword that is none.

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
    _check_arguments(
        log, models, shadow, prior, prices, encoder, features_by, holdout, split_time, max_latency, recency
    )
    own, other = (full_feedback.fit, fitting.fit) if isinstance(log, Table) else (fitting.fit, full_feedback.fit)
    keywords.check_names(own, other, options)
    given: dict[str, Any] = {"encoder": encoder, "outcome_models": outcome_models, "members": members, "seed": seed}
    given |= {"holdout": holdout, "max_latency": max_latency, "recency": recency, "fingerprint": fingerprint}
    keywords.check({**given, **options})
    chosen = methods.named(method)
    fitting.weights_of(cost_weights, normalised_cost_weights)
    if outcome_models is not None:
        spec = options.get("spec", NuisanceSpec())
        options["spec"] = dataclasses.replace(spec, outcome_models=tuple(outcome_models))
    options |= {"cost_weights": cost_weights, "normalised_cost_weights": normalised_cost_weights, "members": members}
    options |= {"seed": seed, "fingerprint": fingerprint}
    priced_by = listed(prices)
    if isinstance(log, Table):
        log = read_table(log)
        if features_by is not None:
            steps.check_made_by(features_by, log.features, "the table")
            encoder = features_by
        elif encoder is not None:
            log = dataclasses.replace(log, features=encoders.encode(log.prompt, encoder))
        prompts, held_prompts = steps.hold_out_prompts(seed, log, holdout)
        return judged(steps.of_table(prompts, encoder=encoder, method=chosen, **options), held_prompts)
    if isinstance(log, Logs):
        assert models is not None
        if shadow is not None and not isinstance(shadow, Examples):
            shadow = shadows.examples(shadow_table(shadow), models)
        return steps.of_arrays(log, models, shadow=shadow, prior=prior, method=chosen, **options)
    assert encoder is not None
    encoders.check(encoder)
    read = _read(log, prices, other_use=shadow is not None or prior is not None)
    if features_by is not None:
        steps.check_made_by(features_by, read.features, "the log")
    rows, held = steps.hold_out(seed, read, holdout, split_time)
    checked = steps.check(
        rows,
        chosen,
        spec=options.pop("spec", NuisanceSpec()),
        shadow=shadow if shadow is None or isinstance(shadow, Examples) else shadow_table(shadow, prices),
        prior=prior,
        cost_of=priors.by_tokens(priced_by, rows.usage),
        max_latency=max_latency,
        candidates=options.pop("candidates", None),
    )
    data = steps.encode(checked, encoder, features_by=features_by, recency=recency)
    return judged(steps.learn(data, **options), held)


def _read(log: Any, prices: Any, *, other_use: bool) -> LogTable:
    rows = as_asked(log, prices, other_use=other_use)
    if people.is_table(rows):
        raise InputError(
            f"the same prompts were answered by {len(rows.models)} models, so this is a table of evaluation results, "
            "not a log: read it with read_table"
        )
    return rows


def _check_arguments(
    log: Any,
    models: Sequence[str] | None,
    shadow: Any,
    prior: Any,
    prices: Any,
    encoder: str | None,
    features_by: str | None,
    holdout: float | None,
    split_time: Any,
    max_latency: float | None,
    recency: str | float | None,
) -> None:
    """Refuse what means nothing for such a log: a table shows no choices, and arrays have neither times nor names."""
    table, arrays = isinstance(log, Table), isinstance(log, Logs)
    beside = any(given is not None for given in (shadow, prior, models))
    held = holdout is not None or split_time is not None
    for wrong, message in (
        ((table or arrays) and recency is not None, "recency= needs a log of rows with times (see read_log)"),
        ((table or arrays) and max_latency is not None,
         "max_latency= needs a log of rows with latencies (see read_log)"),
        (table and beside,
         "shadow=, prior= and models= belong to a log; a table has every model's answers and name"),
        (table and prices is not None,
         "prices= belong to a log; give those of a table to read_table"),
        (arrays and (prices is not None or features_by is not None),
         "prices= and features_by= need a log of rows (see read_log); arrays have their costs, and take features"),
        (table and split_time is not None,
         "split_time= belongs to a log: a table has no timestamps; use holdout="),
        (not table and encoder is None,
         "encoder=None is for a table whose features are to be used as they are; name an encoder"),
        (arrays and models is None,
         "a log of arrays has no names of its models; give models=[...], in the order of available"),
        (arrays and held,
         "holdout= and split_time= need a log of rows (see read_log); split arrays yourself"),
        (not table and not arrays and models is not None,
         "models= belongs to a log of arrays; this log names its models itself"),
    ):  # fmt: skip
        if wrong:
            raise InputError(message)
