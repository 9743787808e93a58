"""What a router can be fitted to, and by which method: asked before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jaxroute.arguments import checked
from jaxroute.data import scale
from jaxroute.estimators.prediction_powered import check_scale
from jaxroute.learn import sufficiency
from jaxroute.numerics import relative
from jaxroute.serving.terms import misnamed
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Table, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute import recipe
    from jaxroute.data.logs import LogTable
    from jaxroute.learn.methods import Method

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
    if why := sufficiency.too_few("rows", rows, spec):
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
    if why := sufficiency.refusal(rows, shadow, spec):
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
