"""The steps from the rows of a log to a router, which ``jr.fit`` and the command ``jaxroute fit`` take alike.

    hold_out    rows that the router does not learn from are put aside      -> rows, held
    check       what cannot be fitted is refused before any work            -> Checked
    encode      prompts become features, older rows count less              -> Encoded
    learn       the router, with what it keeps of the log                   -> Router

``judging.judged`` then adds what the held-out rows say of it. From a table it is ``hold_out_prompts`` and ``of_table``,
from a log of arrays ``of_arrays``. What is refused here is said in words that suit a keyword and an option alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxroute import settings
from jaxroute.data import context as contexts
from jaxroute.data import encoders, fingerprints, priors, splits, tables
from jaxroute.data import logs as people
from jaxroute.data import shadow as shadows
from jaxroute.data.logs import LogTable, latency, oddities
from jaxroute.estimators import recency as ages
from jaxroute.estimators.evidence import Evidence
from jaxroute.learn import checks, fitting, full_feedback, sufficiency
from jaxroute.learn.methods import Method
from jaxroute.serving import new_models
from jaxroute.serving.router import Router
from jaxroute.serving.terms import too_slow
from jaxroute.system.wording import here, named
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Table


class Checked(NamedTuple):
    """The rows of a log that a router can be fitted to, and what stands beside them; nothing of it is encoded.

    shadow: a table has the log's models, in its order. columns: how the log's context is encoded. latency: by model
    (``data.logs.latency``). slow: the models above max_latency, in seconds. candidates: the models that may be chosen;
    None: all. known: the prior, and the names that did not meet.
    """

    rows: LogTable
    method: Method
    spec: NuisanceSpec
    shadow: Table | Examples | None
    columns: list[dict[str, Any]]
    latency: dict[str, dict[str, Any]]
    max_latency: float | None
    slow: list[str]
    candidates: list[str] | None
    known: priors.Known


class Encoded(NamedTuple):
    """A checked log as arrays. encoder: of its texts, None: it has features. half_life: of the weights, in days."""

    of: Checked
    logs: Logs
    shadow: Examples | None
    encoder: str | None
    half_life: float | None


def hold_out(seed: int, rows: LogTable, share: float | None, moment: Any) -> tuple[LogTable, LogTable | None]:
    """The rows to fit a router to, and those to judge it on: a share, or all from a moment on; neither: none.

    Raises:
        InputError: see ``data.logs.hold_out``.
    """
    if share is None and moment is None:
        return rows, None
    return people.hold_out(seed, rows, share=share, moment=moment)


def hold_out_prompts(seed: int, table: Table, share: float | None) -> tuple[Table, Table | None]:
    """The prompts of a table to fit a router to, and a share of them to judge it on; whole groups; None: none.

    Raises:
        InputError: a share that is none, or a seed below 0.
    """
    if share is None:
        return table, None
    settings.share("holdout", share)
    settings.whole("seed", seed)
    fitted, _, held = splits.split(seed, table, (1 - share, 0.0, share))
    return table.rows(np.sort(fitted)), table.rows(np.sort(held))


def check(
    rows: LogTable,
    method: Method,
    *,
    spec: NuisanceSpec = NuisanceSpec(),
    shadow: Table | Examples | None = None,
    prior: Any = None,
    cost_of: priors.PricedBy | None = None,
    max_latency: float | None = None,
    candidates: Sequence[str] | None = None,
) -> Checked:
    """Refuse what cannot be fitted, before anything is encoded.

    Args:
        rows: N rows, without those that are held out.
        method, spec: what is fitted.
        shadow: a sample beside the log; a table may have other models too.
        prior, cost_of: see ``data.priors.load``.
        max_latency: seconds; a model that is slower, or of unknown latency, is no candidate.
        candidates: the models that may be chosen; None: all.

    Raises:
        UnsupportedLogError: too few rows or ratings.
        InputError: a shadow sample, a prior or a limit that does not go with the log or the method.
    """
    checks.check_names(rows.models)
    beside = shadows.matched(shadow, rows.models) if isinstance(shadow, Table) else shadow
    people.check_shadow(rows, beside)
    columns = contexts.fit(rows.context)
    checks.check_rows(method, rows, beside, spec)
    taken = latency.by_model(rows)
    slow = [] if max_latency is None else too_slow(taken, rows.models, max_latency)
    left = None
    if max_latency is not None or candidates is not None:
        checks.check_known(candidates, rows.models)
        left = [m for m in rows.models if m not in slow and (candidates is None or m in candidates)]
    checks.check_candidates(method, None if left is None else np.isin(rows.models, left))
    known = priors.load(prior, rows.models, cost_of)
    new_models.check_limits(known.new, max_latency)
    checks.check_prior(method, known.prior, len(rows.models))
    return Checked(rows, method, spec, beside, columns, taken, max_latency, slow, left, known)


def check_made_by(encoder: str, features: np.ndarray | None, what: str) -> None:
    """Refuse an encoder that cannot have made the features of a log or a table.

    Args:
        encoder: that is said to have made them. features: [N, D]; None: there are none. what: "the log", for the error.

    Raises:
        InputError: no features, another width, or no encoder.

    Example:
        >>> check_made_by("hashed", np.zeros((3, 10)), "the log")
        Traceback (most recent call last):
        jaxroute.types.InputError: features_by hashed: this encoder makes 256 features per prompt and the log has ...
    """
    encoders.check(encoder)
    if features is None:
        asked = here("encoder=", "--encoder")
        raise InputError(
            f"{named('features_by')}: {what} has no features; use {asked}, which makes them from the prompts"
        )
    width = encoders.encode(["a text"], encoder).shape[1]
    if width != features.shape[1]:
        raise InputError(
            f"{named('features_by')} {encoder}: this encoder makes {width} features per prompt and {what} has "
            f"{features.shape[1]}; name the encoder that made them"
        )


def encode(of: Checked, encoder: str, *, features_by: str | None = None, recency: str | float | None = None) -> Encoded:
    """The log and its shadow sample as arrays.

    Args:
        of: from ``check``.
        encoder: of the prompts, if the log has no features.
        features_by: the encoder that made the log's features.
        recency: days in which the weight of a row halves, or "auto"; see ``estimators.recency``.

    Raises:
        InputError: no times for recency, a method that knows no weights, or a shadow sample without a context column.
        UnsupportedLogError: rows that are too few by their weights.
    """
    rows, half_life = of.rows, None
    used = features_by or (None if rows.features is not None else encoder)
    logs = people.as_logs(rows, encoder)
    if recency is not None:
        logs, half_life = ages.apply(logs, rows.timestamp, recency)
        checks.check_rows(of.method, logs, of.shadow, of.spec)
    shadow = of.shadow
    if isinstance(shadow, Table):
        shadow = shadows.examples(shadow, rows.models, encoder=used, columns=of.columns)
    return Encoded(of, logs, shadow, used, half_life)


def learn(data: Encoded, *, seed: int = 0, fingerprint: bool = True, **options: Any) -> Router:
    """The router of an encoded log.

    Args:
        data: from ``encode``.
        seed: of everything random.
        fingerprint: whether the router keeps marks of its rows; see ``data.fingerprints``.
        options: further ones of ``learn.fitting.fit``.
    """
    of, rows = data.of, data.of.rows
    given = {"method": of.method, "spec": of.spec, "shadow": data.shadow, "encoder": data.encoder}
    limits = {"candidates": of.candidates, "currency": rows.currency}
    router = _with_new_models(seed, data.logs, rows.models, of.known, {**options, **given, **limits})
    if data.half_life is not None:
        router.summary["half_life_days"] = None if np.isinf(data.half_life) else data.half_life
    router.summary.update({"chat": rows.chat, "seed": seed, "usage": rows.usage, "context": of.columns})
    router.summary["read_as"] = dict(rows.read_as)
    beside = None if data.shadow is None else sufficiency.answers(data.shadow)
    router.summary["conclusion"] = [*router.summary["conclusion"], *oddities.unrated(rows, beside, of.candidates)]
    if of.latency:
        router.summary.update({"latency": of.latency, "max_latency": of.max_latency})
    marks = fingerprints.of_log(rows, of.shadow, texts=data.encoder is not None) if fingerprint else None
    return dataclasses.replace(router, fingerprint=marks)


def of_arrays(
    logs: Logs,
    models: Sequence[str],
    *,
    shadow: Examples | None = None,
    prior: Any = None,
    seed: int = 0,
    fingerprint: bool = True,
    **options: Any,
) -> Router:
    """The router of a log of arrays; see ``learn``.

    Args:
        logs: N rows. models: K names.
        shadow: prompts beside the log. prior: see ``data.priors.load``.
        seed, fingerprint, options: as for ``learn``.
    """
    known = priors.load(prior, models)
    router = _with_new_models(seed, logs, tuple(models), known, {**options, "shadow": shadow})
    router.summary["seed"] = seed
    marks = fingerprints.of_arrays(logs, models, shadow) if fingerprint else None
    return dataclasses.replace(router, fingerprint=marks)


def of_table(table: Table, *, encoder: str | None, seed: int = 0, fingerprint: bool = True, **options: Any) -> Router:
    """The router of a table; see ``learn``.

    Args:
        table: with the features that ``encoder`` made of its prompts; None: the router takes features, not texts.
        seed, fingerprint: as for ``learn``.
        options: further ones of ``learn.full_feedback.fit``.
    """
    router = full_feedback.of_table(jax.random.key(seed), table, encoder=encoder, **options)
    router.summary.update({"seed": seed, "conclusion": tables.like_a_log(table)})
    marks = fingerprints.of_table(table, texts=encoder is not None) if fingerprint else None
    return dataclasses.replace(router, fingerprint=marks)


def _with_new_models(
    seed: int, logs: Logs, models: Sequence[str], known: priors.Known, options: Mapping[str, Any]
) -> Router:
    """A fit with a prior, and the models that the prior alone names; a listener to the evidence still hears it."""
    gathered: list[Evidence] = []
    other = options.get("on_evidence", lambda _: None)

    def heard(found: Evidence) -> None:
        gathered.append(found)
        other(found)

    router = fitting.fit(jax.random.key(seed), logs, models, prior=known.prior, **{**options, "on_evidence": heard})
    known.keep(router.summary)
    return new_models.add(router, known.new, logs.features, gathered[0])
