"""Whether a log holds enough to fit and judge a router: asked before anything is fitted, and by the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxroute.data import scale
from jaxroute.serving.terms import misnamed
from jaxroute.types import Examples, Logs, NuisanceSpec, Table

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable
    from jaxroute.types import Array

ROWS_A_MODEL = 100
"""Answers with feedback from which a model's level is worth routing on."""
FEWEST_ANSWERS = 10
"""Answers with feedback that at least one model must have before anything is fitted."""


def refusal(rows: Logs | LogTable, shadow: Examples | Table | None = None, spec: NuisanceSpec = NuisanceSpec()) -> str:
    """Why no router can be fitted to a log, whatever the method; "" if one can. The doctor asks the same.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> refusal(example()[0])
        '4 rows are too few to fit and judge a router with 5 folds: 50 or more are needed'
    """
    if not isinstance(rows, Logs) and (why := misnamed(rows.models)):
        return why
    rated = np.isfinite(np.asarray(rows.quality))
    answered = int(rated.sum()) + (0 if shadow is None else int(answers(shadow).sum()))
    few = too_few("rows", len(rows.action), spec) or too_few("answers with a quality", answered, spec)
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


def too_few(what: str, count: int, spec: NuisanceSpec) -> str:
    if count >= (least := 10 * spec.folds):
        return ""
    return f"{count} {what} are too few to fit and judge a router with {spec.folds} folds: {least} or more are needed"


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
