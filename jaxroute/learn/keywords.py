"""What the keywords of a fit may hold, each asked by its name before any work.

``jr.fit`` asks all that it is given, before a log is read; ``learn.fitting.fit``, ``learn.full_feedback.fit`` and
``learn.fit`` ask their own, for those who call them with arrays.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxroute import settings
from jaxroute.arguments import within
from jaxroute.learn import estimates
from jaxroute.learn.members import scalars
from jaxroute.nuisance.fitting import PROPENSITY_LEARNERS
from jaxroute.nuisance.learners import candidate_names
from jaxroute.settings import refused
from jaxroute.system.wording import named
from jaxroute.types import Hyperparams, InputError, NuisanceSpec, Spec


def check(given: Mapping[str, Any]) -> None:
    """Refuse values that a keyword cannot have.

    Args:
        given: values by keyword; names that no fit has are left to others.

    Raises:
        InputError: names the keyword, its value and what it must be.

    Example:
        >>> check({"members": 3, "hidden": (64,)})
        >>> check({"steps": 0})
        Traceback (most recent call last):
        jaxroute.types.InputError: steps is 0; it must be a whole number of at least 1
    """
    for name, value in given.items():
        if name in _RULES and not (value is None and name in _OPTIONAL):
            _RULES[name](name, value)


def check_names(function: Callable[..., Any], others: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse keywords that a fit does not take.

    Args:
        function: the fit. others: the fit of other data. given: further keywords.

    Raises:
        InputError: one that only the fit of other data takes.
        TypeError: one that neither takes.
    """
    able, elsewhere = (tuple(inspect.signature(one).parameters)[3:] for one in (function, others))
    for name in given:
        if name not in able and name in elsewhere:
            raise InputError(f"{name}= means nothing for such data: leave it")
        if name not in able:
            close = difflib.get_close_matches(name, able, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"fit() got an unexpected keyword argument {name!r}{hint}")


def check_spec(name: str, spec: Any) -> None:
    """Refuse settings of nuisances that no fit can use; see ``types.NuisanceSpec``."""
    if not isinstance(spec, NuisanceSpec):
        raise refused(name, spec, "a NuisanceSpec (jaxroute.types)")
    for part in ("propensity_models", "penalties", "pooled_penalties", "neighbours", "processes"):
        if not isinstance(value := getattr(spec, part), tuple) or not value:
            raise refused(f"{name}.{part}", value, "a tuple of one or more")
    _outcome_models(f"{name}.outcome_models", spec.outcome_models)
    for learner in spec.propensity_models:
        settings.one_of(f"{name}.propensity_models", learner, PROPENSITY_LEARNERS)
    settings.one_of(f"{name}.combine", spec.combine, ("select", "stack"))
    settings.one_of(f"{name}.calibration", spec.calibration, ("temperature", "isotonic", "none"))
    settings.one_of(f"{name}.propensity", spec.propensity, ("known", "estimated"))
    settings.whole(f"{name}.folds", spec.folds, 2)
    for part in ("dimensions", "epochs", "snapshots", "batch_size"):
        settings.whole(f"{name}.{part}", getattr(spec, part), 1)
    settings.numbers(f"{name}.penalties", spec.penalties, *_ABOVE_0)
    for part in ("pooled_penalties", "processes"):
        for one in getattr(spec, part):
            settings.numbers(f"{name}.{part}", one, *_AT_LEAST_0)
    _widths(f"{name}.neighbours", spec.neighbours)
    _widths(f"{name}.hidden", spec.hidden)
    for part in ("learning_rate", "weight_decay"):
        settings.number(f"{name}.{part}", getattr(spec, part), *_AT_LEAST_0)
    settings.number(f"{name}.dropout", spec.dropout, *_BELOW_1)


def _training(name: str, spec: Any) -> None:
    if not isinstance(spec, Spec):
        raise refused(name, spec, "a Spec (jaxroute.types)")
    _widths(f"{name}.hidden", spec.hidden)
    for part, least in (("batch_size", 1), ("steps", 0), ("chunk", 1)):
        settings.whole(f"{name}.{part}", getattr(spec, part), least)
    settings.number(f"{name}.dropout", spec.dropout, *_BELOW_1)
    try:
        with jax.default_matmul_precision(spec.matmul_precision):
            pass
    except ValueError:
        rule = "a name that JAX has, as float32, tensorfloat32 or bfloat16"
        raise refused(f"{name}.matmul_precision", spec.matmul_precision, rule) from None


def _hyperparams(name: str, value: Any) -> None:
    if not isinstance(value, Hyperparams):
        raise refused(name, value, "Hyperparams (jaxroute.types)")
    scalars(value)
    settings.number(f"{name}.width", value.width, "at least 1", lambda width: width >= 1)


def _widths(name: str, value: Any) -> None:
    """A tuple, because compiled programs are told apart by it."""
    rule = "a tuple of whole numbers of at least 1"
    if not isinstance(value, tuple):
        raise refused(name, value, rule)
    try:
        for one in value:
            settings.whole(name, one, 1)
    except InputError:
        raise refused(name, value, rule) from None


def _estimator(name: str, value: Any) -> None:
    if not callable(value) and not (isinstance(value, str) and value in estimates.ESTIMATORS):
        raise refused(name, value, f"one of {', '.join(estimates.ESTIMATORS)}, or a function")


def _outcome_models(name: str, value: Any) -> None:
    found = settings.several(name, value, "names of outcome models, or objects with fit and predict")
    if not found:
        raise refused(name, value, "a list of one or more")
    candidate_names(dataclasses.replace(NuisanceSpec(), outcome_models=tuple(found)))


def _recency(name: str, value: Any) -> None:
    try:
        days = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        days = np.nan
    if not (days > 0 or (isinstance(value, str) and value == "auto")):
        raise InputError(f"{named(name)} is {value!r}; give days above 0, or auto")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise refused(name, value, "a text")


def _function(name: str, value: Any) -> None:
    if not callable(value):
        raise refused(name, value, "a function")


def _of_type(kind: type, rule: str) -> Callable[[str, Any], None]:
    def asked(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise refused(name, value, rule)

    return asked


_AT_LEAST_0 = ("at least 0 and finite", lambda x: 0 <= x < np.inf)
_ABOVE_0 = ("above 0 and finite", lambda x: 0 < x < np.inf)
_BELOW_1 = ("at least 0 and below 1", lambda x: 0 <= x < 1)
_OPTIONAL = (
    *("clip", "cost_scale", "estimator", "training", "hyperparams", "mesh", "candidates", "revision", "encoder"),
    *("holdout", "max_latency", "recency", "outcome_models"),
)
_RULES: dict[str, Callable[[str, Any], None]] = {
    "candidates": lambda name, value: settings.texts(name, value, "names of models"),
    "clip": within,
    "cost_scale": lambda name, value: settings.number(name, value, *_ABOVE_0),
    "currency": _text,
    "encoder": _text,
    "estimator": _estimator,
    "fingerprint": _of_type(bool, "True or False"),
    "hidden": _widths,
    "holdout": settings.share,
    "hyperparams": _hyperparams,
    "max_latency": lambda name, value: settings.number(name, value, "seconds above 0", lambda x: 0 < x < np.inf),
    "members": lambda name, value: settings.whole(name, value, 1),
    "mesh": _of_type(Mesh, "a Mesh, see sweep.mesh"),
    "on_evidence": _function,
    "on_stage": _function,
    "outcome_models": _outcome_models,
    "recency": _recency,
    "revision": _text,
    "seed": lambda _, value: settings.seed(value),
    "spec": check_spec,
    "steps": lambda name, value: settings.whole(name, value, 1),
    "training": _training,
}
