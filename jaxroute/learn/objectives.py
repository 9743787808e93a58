"""The surrogate losses by name, and any other loss made ready for training: its keywords bound, its protocol checked.

A loss asks for hyperparameters by the names of its keywords. ``temperature`` gets the point's temperature, and so
does every other keyword that is named like a field of `types.Hyperparams`; all are traced, so that one compiled
program serves any value. ``functools.partial`` fixes a keyword, which is then left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxroute import losses
from jaxroute.types import Hyperparams, InputError, Loss, Objective

CHECKED_ROWS = 6

LOSSES: dict[str, Loss] = {
    # The label is the (noisy) best model.
    "rm_classification": partial(losses.regret_cross_entropy, label_temperature=None),
    # Every row is weighted by what is at stake in it: best minus worst utility.
    "rm_classification_gap": partial(losses.regret_cross_entropy, weighting="gap", label_temperature=None),
    # The label is the softmax of the utilities: ties share it.
    "rm_classification_soft": losses.regret_cross_entropy,
    # Policy learning by weighted classification: Policy Learning with Observational Data, by Athey and Wager,
    # https://arxiv.org/abs/1702.02896 (2021).
    "dr_weighted_classification": losses.cost_sensitive_hinge,
    "rm_softmax": partial(losses.softmax_regret, entropy=0.0),
    "rm_softmax_entropic": losses.softmax_regret,
}
"""The losses that routers are trained on. `losses` has their formulas."""


def hyperparameters_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The fields of `Hyperparams` that a function asks for: its keywords of these names, but for those fixed already.

    Example:
        >>> hyperparameters_of(losses.softmax_regret), hyperparameters_of(LOSSES["rm_softmax"])
        (('temperature', 'entropy'), ('temperature',))
    """
    fixed = function.keywords if isinstance(function, partial) else {}
    return tuple(name for name in inspect.signature(function).parameters if name in _FIELDS and name not in fixed)


@cache  # the same loss is the same objective, so programs that take it statically compile once
def bind(loss: Loss) -> Objective:
    """A loss as training calls it, its hyperparameters taken from the point that is trained.

        objective(scores, utility, where, h) = loss(scores, utility, where=where, temperature=h.temperature, ...)

    Args:
        loss: of the protocol of `types.Loss`; the keywords named like fields of `Hyperparams` are bound.

    Returns:
        Objective, the same object for the same loss.

    Raises:
        InputError: the loss takes no ``where``, or cannot be called without a keyword that is no hyperparameter.

    Example:
        >>> objective = bind(losses.softmax_regret)
        >>> point = Hyperparams(temperature=0.5, entropy=0.0)
        >>> print(objective(jnp.zeros((1, 2)), jnp.array([[1.0, 0.5]]), jnp.ones((1, 2), bool), point))
        [0.25]
    """
    _refuse_other_arguments(loss)
    names = hyperparameters_of(loss)

    def objective(scores: Array, utility: Array, where: Array, hyperparams: Hyperparams) -> Array:
        bound = {name: getattr(hyperparams, name) for name in names}
        return loss(scores, utility, where=where, **bound)

    return objective


def check(loss: Loss, num_models: int, hyperparams: Hyperparams = Hyperparams()) -> Objective:
    """`bind` the loss after trying it on six rows, so that a wrong one is one line before anything is trained.

    Args:
        loss: any function of the protocol of `types.Loss`.
        num_models: K of the log.
        hyperparams: scalars that the loss will be called with.

    Returns:
        Objective.

    Raises:
        InputError: the loss raises an error or cannot be traced; it does not give one number a row; a value or a
            gradient is not finite, under any mask; what masked models hold changes it; or its gradient is 0
            everywhere, so that nothing would be learnt.

    Example:
        >>> _ = check(losses.softmax_regret, num_models=3)
        >>> check(lambda scores, utility, *, where=None: jnp.mean(scores * utility), num_models=3)
        Traceback (most recent call last):
        jaxroute.types.InputError: loss <lambda>: gives shape () for scores of shape (6, 3); ...
    """
    objective, name = bind(loss), name_of(loss)
    scores, utility, where, noise = _tiny_batch(num_models)

    def attempt(scores: Array, utility: Array) -> tuple[Array, Array]:
        value, back = jax.vjp(lambda z: objective(z, utility, jnp.asarray(where), hyperparams), scores)
        if value.shape != where.shape[:1] or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(
                f"loss {name}: gives shape {value.shape} for scores of shape {scores.shape}; it has to give one "
                f"number a row, shape {where.shape[:1]}: sum over the last axis only"
            )
        return value, back(jnp.ones_like(value))[0]

    try:
        value, gradient = (np.asarray(x) for x in jax.jit(attempt)(scores, utility))
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise InputError(
            f"loss {name}: fails on a batch of shape {scores.shape}: {type(error).__name__}: {reason}"
        ) from error
    for what, found in (("its value", value), ("its gradient in the scores", gradient)):
        finite = np.isfinite(found).reshape(len(found), -1).all(1)
        if not finite.all():
            raise InputError(f"loss {name}: {what} is not finite {_CASES[_case(where, int(np.argmin(finite)))]}")
    moved = [np.asarray(x) for x in jax.jit(attempt)(*(jnp.where(where, x, noise) for x in (scores, utility)))]
    same = np.allclose(moved[0], value, 1e-3, 1e-4) and np.allclose(moved[1], gradient, 1e-3, 1e-4)
    if not same or np.any(gradient[~where] != 0):
        raise InputError(
            f"loss {name}: what it says depends on models that are masked: use where= in every maximum, sum and "
            "softmax over the models"
        )
    if not gradient.any():
        raise InputError(f"loss {name}: its gradient in the scores is 0 everywhere, so nothing can be learnt from it")
    return objective


def named(loss: str | Loss) -> Loss:
    """The loss of ``LOSSES`` with this name, or the function itself.

    Raises:
        InputError: an unknown name, or something that cannot be called.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if isinstance(loss, str) or not callable(loss):
        raise InputError(f"unknown loss {loss!r}: choose from {', '.join(LOSSES)}, or pass a function")
    return loss


def name_of(function: Callable[..., Any]) -> str:
    """What to call a function in messages and artefacts."""
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))


_FIELDS = Hyperparams._fields
_CASES = {
    "all": "on finite scores and utilities",
    "some": "where some models are masked: use where= in every maximum, sum and softmax over the models",
    "none": "in a row in which no model is available, where it has to be 0 (jaxroute.numerics has masked sums, "
    "maxima and softmax that see to it)",
}


def _case(where: np.ndarray, row: int) -> str:
    return "all" if where[row].all() else "some" if where[row].any() else "none"


def _tiny_batch(num_models: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, utilities, a mask (three rows whole, two in part, one empty) and other numbers, [6, K] each."""
    rng = np.random.default_rng(0)
    shape = (CHECKED_ROWS, num_models)
    scores, utility = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    where = np.ones(shape, bool)
    where[3, 0], where[4, 1:], where[5] = False, False, False
    return scores, utility, where, 50 * rng.normal(size=shape).astype(np.float32)


def _refuse_other_arguments(loss: Loss) -> None:
    """A loss takes scores, utility and where; more only by the names of hyperparameters, or with a default."""
    parameters = inspect.signature(loss).parameters
    taken = [p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "where" not in parameters and not free:
        raise InputError(f"loss {name_of(loss)}: takes no where=, the mask of available models: add it as a keyword")
    for parameter in taken[2:]:
        known = parameter.name == "where" or parameter.name in _FIELDS
        if parameter.default is parameter.empty and not known:
            raise InputError(
                f"loss {name_of(loss)}: needs {parameter.name}=, which is no hyperparameter ({', '.join(_FIELDS)}): "
                "give it a default, or fix it with functools.partial"
            )


OBJECTIVES: dict[str, Objective] = {name: bind(loss) for name, loss in LOSSES.items()}
"""The same, bound."""
