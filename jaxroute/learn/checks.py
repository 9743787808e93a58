"""What a router can be fitted to, and by which method: asked before anything is fitted, and by the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jaxroute.arguments import checked
from jaxroute.data import scale
from jaxroute.estimators.prediction_powered import check_scale
from jaxroute.numerics import relative
from jaxroute.serving.terms import misnamed
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Table, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute import recipe
    from jaxroute.data.logs import LogTable
    from jaxroute.learn.methods import Method
    from jaxroute.types import Array

ROWS_A_MODEL = 100
"""Answers with feedback from which a model's level is worth routing on."""
FEWEST_ANSWERS = 10
"""Answers with feedback that at least one model must have before anything is fitted."""
_ROUNDING = 1e-3


def check(
    method: Method,
    shape: tuple[int, int],
    models: Sequence[str],
    spec: NuisanceSpec,
    of_training: tuple[Any, ...],
) -> None:
    """Refuse what cannot be fitted to rows of a shape [N, K], before anything is.

    Raises:
        InputError: see ``fit``.
    """
    rows, num_models = shape
    if len(models) != num_models or len(set(models)) != num_models:
        raise InputError(f"{len(models)} model names ({', '.join(models)}) for {num_models} models: one each")
    check_names(models)
    if why := _few("rows", rows, spec):
        raise UnsupportedLogError(why)
    if not method.decides:
        for name, value in zip(("estimator", "training", "hyperparams"), of_training, strict=True):
            if value is not None:
                raise InputError(f"{name}= means nothing to {method.name}, which trains no network to decide: leave it")


def check_names(models: Sequence[str]) -> None:
    """Refuse names of models that no router can have.

    Raises:
        InputError: an empty or repeated name, or one with a control character.
    """
    if why := misnamed(models):
        raise InputError(why)


def check_rows(
    method: Method, rows: Logs | LogTable, shadow: Examples | Table | None = None, spec: NuisanceSpec = NuisanceSpec()
) -> None:
    """Refuse rows that a method cannot be fitted to; also before they are encoded.

    Raises:
        UnsupportedLogError: too few rows or ratings.
        InputError: weights that the method does not know; or arrays that are no log, see ``check_arrays``.
    """
    if isinstance(rows, Logs):
        check_arrays(rows)
    if why := refusal(rows, shadow, spec):
        raise UnsupportedLogError(why)
    if relative(None if rows.weight is None else jnp.asarray(rows.weight)) is not None and not method.weighs:
        raise InputError(
            f"{method.name} counts every row once, and the rows of this log stand for several requests each (weight): "
            "choose another method"
        )


@checked
def check_arrays(logs: Logs) -> None:
    """Refuse arrays that are no log, as the reader refuses a file.

    Raises:
        InputError: a shape, a model's index, a propensity or a weight that cannot be; a quality outside [0, 1]; or a
            cost that is no finite number of at least 0.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> check_arrays(example()[0]._replace(quality=np.array([0, 1, 2, 1])))
        Traceback (most recent call last):
        jaxroute.types.InputError: logs.quality, row 2: 2; it must be in [0, 1], or NaN where nobody rated the answer
    """
    quality, cost, propensity = (np.asarray(part) for part in (logs.quality, logs.cost, logs.propensity))
    within = ~((quality < -_ROUNDING) | (quality > 1 + _ROUNDING))
    for name, fine, value, rule in (
        ("quality", within, quality, "in [0, 1], or NaN where nobody rated the answer"),
        ("cost", np.isfinite(cost) & (cost >= 0), cost, "a finite number of at least 0"),
        ("propensity", ~(propensity > 1 + _ROUNDING), propensity, "at most 1, or NaN where it is unknown"),
    ):
        if not fine.all():
            row = int(np.argmin(fine))
            raise InputError(f"logs.{name}, row {row}: {value[row]:.3g}; it must be {rule}")


def refusal(rows: Logs | LogTable, shadow: Examples | Table | None = None, spec: NuisanceSpec = NuisanceSpec()) -> str:
    """Why no router can be fitted to a log, whatever the method; "" if one can. The doctor asks the same.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> refusal(example()[0])
        '4 rows are too few to fit and judge a router with 5 folds: give more'
    """
    if not isinstance(rows, Logs) and (why := misnamed(rows.models)):
        return why
    rated = np.isfinite(np.asarray(rows.quality))
    answered = int(rated.sum()) + (0 if shadow is None else int(answers(shadow).sum()))
    few = _few("rows", len(rows.action), spec) or _few("answers with a quality", answered, spec)
    few = few or scattered(rows, shadow) or _uneven(rows.weight, rated, spec)
    if not few and rows.features is not None:
        few = scale.unfit(np.asarray(rows.features))
    if few or shadow is not None or getattr(rows, "context", None) or same(rows) < 1:
        return few
    return "every row has the same prompt or features, so a router has nothing to choose by: take one model for all"


def scattered(rows: Logs | LogTable, shadow: Examples | Table | None = None) -> str:
    """Why nothing can be learnt of any model, because each has a few answers alone; "" if something can.

    Cheap, and asked first: with hundreds of models everything else takes minutes.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> scattered(example()[0])
        'no model has 10 answers with a quality (the most are 2), and a router needs some hundred of two
         models: log more requests of fewer models'
    """
    count = np.bincount(np.asarray(rows.action)[np.isfinite(np.asarray(rows.quality))], minlength=1)
    most = int(count.max()) if shadow is None else int(max(count.max(), answers(shadow).max()))
    if most >= FEWEST_ANSWERS:
        return ""
    return (
        f"no model has {FEWEST_ANSWERS} answers with a quality (the most are {most}), and a router needs some hundred "
        "of two models: log more requests of fewer models"
    )


def _uneven(weight: np.ndarray | Array | None, rated: np.ndarray, spec: NuisanceSpec) -> str:
    """Why rows of such weights [N] are too few, though they are many; "" if they are enough."""
    if weight is None:
        return ""
    times, least = np.asarray(weight, float), 10 * spec.folds
    why = scale.uneven(times, least) or scale.uneven(np.where(rated, times, 0), least, "answers with a quality")
    return why and (
        f"{why}; that is too few to fit and judge a router with {spec.folds} folds: correct the weights, or give more "
        "rows or a longer half-life"
    )


def same(rows: Logs | LogTable) -> float:
    """Share of the rows that have the first row's features, or its prompt where a log has no features.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> same(example()[0]._replace(features=np.array([[1.0], [1.0], [2.0], [1.0]])))
        0.75
    """
    if rows.features is not None:
        features = np.asarray(rows.features)
        return float((features == features[:1]).all(1).mean())
    texts = getattr(rows, "prompt", None)
    return 0.0 if texts is None else float(np.mean([text == texts[0] for text in texts]))


def check_nuisances(predicted: np.ndarray, features: np.ndarray, spec: NuisanceSpec) -> None:
    """Refuse to go on from outcome models that predict numbers that are not finite.

    Args:
        predicted: [N, K]. features: [N, D], of the same rows.

    Raises:
        UnsupportedLogError: says what of the features may be the reason.
    """
    finite = np.isfinite(predicted).all(1)
    if finite.all():
        return
    why = (
        scale.unfit(features)
        or "nothing about the features was found that explains it: report this log, or choose other outcome models"
    )
    models = ", ".join(name if isinstance(name, str) else type(name).__name__ for name in spec.outcome_models)
    raise UnsupportedLogError(f"the outcome models ({models}) predict no finite number, row {np.argmin(finite)}: {why}")


def _few(what: str, count: int, spec: NuisanceSpec) -> str:
    if count >= 10 * spec.folds:
        return ""
    return f"{count} {what} are too few to fit and judge a router with {spec.folds} folds: give more"


def rows_needed(logs: Logs, shadow: Examples | None = None, *, per_model: int = ROWS_A_MODEL) -> np.ndarray:
    """Answers with feedback that each model still needs before its level is worth routing on, [K].

        max(0, per_model - independent answers of model k - its answers in the shadow), see ``independent``

    A hundred answers put the standard error of a model's mean quality at 0.05 or below (it is at most
    0.5 / sqrt(n)), the size of a difference between neighbouring models; a new model starts with all of them.
    """
    answered_by_all = 0 if shadow is None else answers(shadow)
    return np.ceil(np.maximum(per_model - independent(logs) - answered_by_all - 1e-6, 0)).astype(int)


def independent(logs: Logs) -> np.ndarray:
    """So many independent answers with feedback say as much of each model's mean as those of the log, [K].

        n_k = (sum_i s_i)^2 / ((1 - c) sum_i s_i^2 + c sum_g (sum_{i in g} s_i)^2)

    over the rows i that model k answered; s is how often a row counts, g a group (a conversation, a user), and c the
    correlation of qualities within a group, about the means of the models. It is the number of rows where all count
    alike and a group's rows are no more alike than others.

    Example:
        Four answers of two conversations, each of which was good or bad as a whole:

        >>> from jaxroute.estimators.influence import example
        >>> logs = example()[0]._replace(action=np.zeros(4, int), quality=np.array([1.0, 1.0, 0.0, 0.0]))
        >>> print(independent(logs), independent(logs._replace(group=np.array([0, 0, 1, 1]))))
        [4. 0.] [2. 0.]

    Reference: Survey Sampling, by Kish (1965), sections 5.4 and 11.7 (design effects of clusters and of weights).
    """
    models, seen = logs.available.shape[1], np.isfinite(np.asarray(logs.quality))
    action, quality = np.asarray(logs.action)[seen], np.asarray(logs.quality, float)[seen]
    times = np.ones(len(action)) if logs.weight is None else np.asarray(logs.weight, float)[seen]
    total, squares = (np.bincount(action, w, models) for w in (times, times**2))
    alike, by_group = 0.0, squares
    if logs.group is not None:
        group = np.unique(np.asarray(logs.group)[seen], return_inverse=True)[1]
        error = quality - (np.bincount(action, times * quality, models) / np.maximum(total, 1e-30))[action]
        count, sums = np.bincount(group), np.bincount(group, error)
        pairs, own = (count**2 - count).sum(), (error**2).sum()
        if pairs and own:
            alike = float(np.clip(((sums**2).sum() - own) / pairs / (own / len(error)), 0, 1))
        cell, of = np.unique(group * models + action, return_inverse=True)
        by_group = np.bincount(cell % models, np.bincount(of, times) ** 2, models)
    spread = (1 - alike) * squares + alike * by_group
    return np.divide(total**2, spread, out=np.zeros(models), where=spread > 0)


def answers(shadow: Examples | Table) -> np.ndarray:
    """Answers with a quality that a shadow sample holds of every model, [K]."""
    return (np.asarray(shadow.available) & np.isfinite(np.asarray(shadow.outcomes.quality))).sum(0)


def check_prior(method: Method, prior: recipe.Prior | None, num_models: int) -> None:
    """Refuse a prior that a method does not take, or that is not one of these models.

    Raises:
        InputError: says which of the two, or which field is wrong.
    """
    if prior is None:
        return
    if not method.informed:
        from jaxroute.learn import methods

        able = ", ".join(name for name, m in methods.METHODS.items() if m.informed)
        raise InputError(f"{method.name} takes no prior; the methods that do: {able}")
    for name, values, least in zip(prior._fields, map(np.asarray, prior), (-np.inf, 0.0), strict=True):
        if values.shape != (num_models,) or not np.isfinite(values).all() or values.min() <= least:
            raise InputError(f"prior.{name}: needs a finite number for each of {num_models} models, deviations above 0")


def check_shadow(logs: Logs, shadow: Examples | None) -> None:
    """Refuse a shadow sample that does not go with a log.

    Raises:
        InputError: see ``prediction_powered.check_scale``, or features of another width.
    """
    check_scale(logs.human_quality is not None, shadow)
    if shadow is not None and shadow.features.shape[1] != logs.features.shape[1]:
        raise InputError(
            f"the shadow's prompts have {shadow.features.shape[1]} features, the log's {logs.features.shape[1]}: "
            "encode both alike"
        )


def check_known(candidates: Sequence[str] | None, models: Sequence[str]) -> None:
    """Refuse candidates that are no models of the log.

    Raises:
        InputError: names the first.
    """
    if unknown := [name for name in candidates or () if name not in models]:
        raise InputError(f"candidates names {unknown[0]!r}, and the models are {', '.join(models)}")


def check_candidates(method: Method, allowed: np.ndarray | None) -> None:
    """Refuse a choice of models by which a method cannot be fitted.

    Raises:
        InputError: a method whose networks learn the decision among all models, or fewer than two candidates.
    """
    if allowed is None:
        return
    if method.decides:
        raise InputError(
            f"{method.name} learns the decision among all models: fit a method that predicts (recommended), or give "
            "the limit to jaxroute route"
        )
    if allowed.sum() < 2:
        raise InputError(f"{int(allowed.sum())} model(s) may be chosen: a router needs two; raise the limit")
