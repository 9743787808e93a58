"""On which terms a router is asked: the four ways to say how much cost matters, and the models that may answer."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jaxroute import settings
from jaxroute.system.wording import here, mapped, named
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.policies.curves import Curve

WAYS = ("cost_weight", "normalised_cost_weight", "budget", "quality_target")
LARGEST = float(np.finfo(np.float32).max)
_WAYS = frozenset(WAYS)
Self = TypeVar("Self", bound="Terms")


class Terms:
    """What a router knows of costs and of its models; see `serving.router.Router` for the fields."""

    models: tuple[str, ...]
    cost_scale: float
    curve: Curve | None
    available: np.ndarray
    summary: dict[str, Any]

    def weights(self, **asked: float | None) -> list[tuple[float, float]]:
        """Cost weights and their shares of the prompts: one, or the two of a budget's mixture, the cheaper one first.

        Args:
            asked: exactly one of ``route``'s four ways; the others None or left out.

        Raises:
            InputError: as for ``route``.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        if len(given) != 1 or not given.keys() <= _WAYS:
            got = " and ".join(map(named, given)) or "none"
            raise InputError(f"give exactly one of {', '.join(map(named, WAYS))}; got {got}")
        ((way, value),) = given.items()
        try:
            value = float(np.asarray(value).item())
        except (TypeError, ValueError):
            raise InputError(f"{way} is {reprlib.repr(value)}; give one number") from None
        if way in ("cost_weight", "normalised_cost_weight"):
            weight = value / self.cost_scale if way != "cost_weight" else value
            if not (0 <= weight <= LARGEST and self.costs_known):
                self._weight(weight)  # says why, unless it is 0
            return [(weight, 1.0)]
        if self.curve is None:
            raise InputError(
                "this router has no curve of cost and quality; give a cost weight, or fit the router again"
            )
        self._check_measured()
        from jaxroute.policies import budgets

        if way == "quality_target":
            return [(budgets.for_quality(self.curve, value).cost_weight, 1.0)]
        mixed = budgets.mixture(self.curve, value)
        return [(mixed.cheap.cost_weight, mixed.share), (mixed.dear.cost_weight, 1 - mixed.share)]

    @property
    def never_logged(self) -> tuple[str, ...]:
        """The models that have no row in the log that it was fitted to: new ones of a prior, and ones never chosen."""
        rows = self.summary.get("rows_by_model") or {}
        new = (one["model"] for one in self.summary.get("new_models") or ())
        return (*(name for name, count in rows.items() if count == 0), *new)

    @property
    def costs_known(self) -> bool:
        """Whether any cost weight can be asked for; False if it was fitted to answers whose costs are unknown."""
        return not self.summary.get("costs_unknown", 0)

    def without(self: Self, *names: str) -> Self:
        """The same router, never choosing the named models.

        Raises:
            InputError: an unknown name, or no model left.
        """
        unknown = [name for name in names if name not in self.models]
        if unknown:
            raise InputError(f"unknown model {unknown[0]!r}; the router knows: {', '.join(self.models)}")
        left = self.available & ~np.isin(self.models, names)
        if not left.any():
            raise InputError("no model would be left; remove fewer models")
        return dataclasses.replace(self, available=left)  # type: ignore[type-var]

    def within(self: Self, max_latency: float) -> Self:
        """The same router, never choosing a model whose 95th percentile of latency, as logged, is above a limit.

        A model whose latencies in the log were too few to know its percentile is no candidate either.

        Args:
            max_latency: seconds.

        Raises:
            InputError: a limit that is not above 0, a router that knows no latencies, or no model left.
        """
        return self.without(*too_slow(self.summary.get("latency"), self.models, max_latency))

    def check_known(self, models: Sequence[str]) -> None:
        """Refuse data that no model of the router answered.

        Raises:
            InputError: names both sides' models.
        """
        if not set(models) & set(self.models):
            raise InputError(
                f"the data hold {', '.join(models)}; the router knows only {', '.join(self.models)}: give data of its "
                "models, or another router"
            )

    def _check_measured(self) -> None:
        """Refuse a budget or a quality target where the curve was measured among other models than can be chosen."""
        unmeasured = np.isin(self.models, self.summary.get("measured_without") or ())
        new = [name for name, odd in zip(self.models, unmeasured & self.available, strict=True) if odd]
        gone = [name for name, odd in zip(self.models, ~unmeasured & ~self.available, strict=True) if odd]
        if not new and not gone:
            return
        reasons = [f"without {', '.join(new)}"] * bool(new) + [f"with {', '.join(gone)}, removed since"] * bool(gone)
        how = here(f"without({', '.join(map(repr, new))})", " ".join(f"--without {m}" for m in new))
        ways = [f"leave {'it' if len(new) == 1 else 'them'} out ({how})"]
        raise InputError(
            f"budgets and quality targets were measured {' and '.join(reasons)}; "
            f"{', '.join([*(ways if new and not gone else ()), 'give a cost weight', 'or fit the router again'])}"
        )

    def _each(self, cost_weight: float | np.ndarray, count: int) -> np.ndarray:
        """The cost weight of each of N prompts."""
        weight = self._weight(cost_weight)
        if weight.shape not in ((), (count,)):
            raise InputError(f"cost weights have shape {weight.shape}; give one, or one for each of {count} prompts")
        return np.broadcast_to(weight, count)

    def _weight(self, cost_weight: float | Sequence[float] | np.ndarray) -> np.ndarray:
        try:
            weight = np.asarray(cost_weight, float)
        except (TypeError, ValueError):
            raise InputError(f"cost weight {reprlib.repr(cost_weight)}; give a number") from None
        if not ((weight >= 0) & (weight <= LARGEST)).all():
            raise InputError(f"cost weight {cost_weight}: it must be a finite number of at least 0 (and at most 3e38)")
        if not self.costs_known and (weight > 0).any():
            raise InputError(
                f"cost weight {cost_weight}: this router was fitted to answers whose costs are unknown, so it takes "
                "cost weight 0 alone; fit again with costs"
            )
        return weight


def check_weights(normalised_cost_weights: Any) -> None:
    """Refuse what is not one cost weight or more.

    Raises:
        InputError: names the argument.
    """
    settings.numbers("normalised_cost_weights", normalised_cost_weights, "at least 0 and finite", _weighs)


def _weighs(weight: float) -> bool:
    return 0 <= weight < np.inf


def too_slow(latency: Mapping[str, Any] | None, models: Sequence[str], max_latency: float) -> list[str]:
    """The models whose 95th percentile of latency is above a limit in seconds, or unknown.

    Args:
        latency: of ``data.logs.latency.by_model``, or a router's ``summary["latency"]``. models: K names.

    Raises:
        InputError: a limit that is not above 0, no latencies, or none of the models known to be within the limit.

    Example:
        >>> too_slow({"a": {"rows": 90, "p95": 1.5}, "b": {"rows": 90, "p95": 4.0}}, ["a", "b", "c"], 2)
        ['b', 'c']
    """
    settings.number("max_latency", max_latency, "seconds above 0", lambda seconds: 0 < seconds < np.inf)
    if not latency:
        raise InputError(
            f"{named('max_latency')}: the log has no latencies; fit to one with a column latency (seconds), or map it: "
            f"{mapped({'latency': 'NAME'})}"
        )
    p95 = {name: one["p95"] for name, one in latency.items() if one["p95"] is not None}
    slow = [name for name in models if not p95.get(name, np.inf) <= max_latency]
    if len(slow) == len(models):
        known = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in p95.items() if seconds == seconds)
        limit = f"{named('max_latency')} is {max_latency:g}"
        raise InputError(f"{limit}: no model is known to be within it ({known or 'none known'})")
    return slow


def misnamed(models: Sequence[str]) -> str:
    """What is wrong with the names of models; "" if nothing is.

    Example:
        >>> misnamed(["small", "large"])
        ''
        >>> misnamed(["small", "small"])
        "model names ['small', 'small']: give each name once, without control characters"
    """
    if not models or not all(isinstance(name, str) and name.strip() for name in models):
        return f"model names {list(models)}: give at least one, none of them empty"
    if len(set(models)) != len(models) or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in "".join(models)):
        return f"model names {list(models)}: give each name once, without control characters"
    return ""
