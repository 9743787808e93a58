"""`policies.exploration` in NumPy, for a process that decides one request at a time: which other model to try.

    found = Explorer("thompson", floor=0.02).probabilities(request, draws)

The formulas are those of `policies.exploration` and of ``policies.softmax``, which tests hold these against. The
probabilities are computed once and the model is drawn from them, so the propensity that is logged is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

POLICIES = ("uniform", "softmax", "thompson", "contenders", "evaluation")
UNCERTAIN = ("thompson", "contenders", "evaluation")
"""Policies that read a router's posterior; a limit on the expected loss reads its mean."""
SIMULATIONS, LEVEL, TEMPERATURE, FLOOR = 256, 0.1, 0.05, 0.01
FADE, FADE_ROWS = 0.7, 300.0
"""Of thompson: the numbers of "fading" in `make loop`, whose rounds are 300 requests and begin after 500 rows."""
_ERF = np.vectorize(math.erf, otypes=[float])


@dataclass(frozen=True)
class Scene:
    """One request before K available models.

    greedy: [K] policy of the router. mean, sd: [K] of the posterior of utility. error: [K] root mean squared error of
    an answer's utility, its noise included. cost: [K] as predicted. None where the router knows none. target: [K]
    policy of the router that is to be valued, for "evaluation". age: [K] rows of the router's log in which each model
    could answer, see ``ages``.
    """

    greedy: Float[np.ndarray, " K"]
    mean: Float[np.ndarray, " K"] | None = None
    sd: Float[np.ndarray, " K"] | None = None
    error: Float[np.ndarray, " K"] | None = None
    cost: Float[np.ndarray, " K"] | None = None
    target: Float[np.ndarray, " K"] | None = None
    age: Float[np.ndarray, " K"] | None = None


@dataclass(frozen=True)
class Explorer:
    """A policy and its limits; ``models.yaml`` names its fields.

    policy: one of ``POLICIES``. epsilon: share of the requests that uniform and contenders explore. floor: share
    that is spread evenly over all models, whatever the policy says. temperature: of softmax, in units of utility.
    simulations: of thompson. width: what thompson multiplies the posterior's deviations by; below 1 it explores less,
    and rather what is nearly as good. fade: what a model's width is multiplied by with every ``fade_rows`` rows of the
    router's log in which it could answer, so that a new model is explored first, and less with every new router; 1
    keeps the width. level: least posterior probability of beating the choice that makes a contender.
    spend: most that exploration may add to a request's expected cost; loss: most that it may take of its expected
    utility. router: folder of the router that evaluation is to value.

    Example:
        >>> request = Scene(np.array([1.0, 0.0]), np.array([0.5, 0.45]), np.array([0.1, 0.1]))
        >>> Explorer("contenders", epsilon=0.5, floor=0.0).probabilities(request)
        array([0.75, 0.25])
    """

    policy: str
    epsilon: float = 0.05
    floor: float = FLOOR
    temperature: float = TEMPERATURE
    simulations: int = SIMULATIONS
    width: float = 1.0
    fade: float = FADE
    fade_rows: float = FADE_ROWS
    level: float = LEVEL
    spend: float = math.inf
    loss: float = math.inf
    router: str | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"explore: policy is {self.policy!r}; it must be one of {', '.join(POLICIES)}")
        shares, amounts = ("epsilon", "floor", "level", "fade"), ("spend", "loss", "temperature", "width", "fade_rows")
        for name, high in [(share, 1) for share in shares] + [(amount, math.inf) for amount in amounts]:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
                raise InputError(f"explore: {name} is {value!r}; it must be a number from 0 to {high}")
        if self.temperature == 0 or not 0 < self.level < 1:
            raise InputError("explore: temperature must be above 0, and level between 0 and 1")
        if not 0 < self.fade_rows < math.inf:
            raise InputError(f"explore: fade_rows is {self.fade_rows!r}; it must be a number of rows above 0")
        if isinstance(self.simulations, bool) or not isinstance(self.simulations, int) or self.simulations < 1:
            raise InputError(f"explore: simulations is {self.simulations!r}; it must be a whole number of at least 1")
        if (self.policy == "evaluation") != (self.router is not None):
            raise InputError("explore: router names the router that evaluation is to value, and belongs to it alone")
        if self.policy == "evaluation" and self.floor == 0:
            raise InputError(
                "explore: evaluation with floor 0 leaves models without support where the two routers do not differ; "
                f"give a floor, such as {FLOOR}"
            )

    @property
    def uncertain(self) -> bool:
        """Whether it needs a router with a posterior."""
        return self.policy in UNCERTAIN or self.policy == "softmax" or math.isfinite(self.loss)

    def widths(self, scene: Scene) -> Float[np.ndarray, " K"]:
        """What thompson multiplies each model's deviation by, [K]: width fade^(age / fade_rows).

        Example:
            >>> request = Scene(np.array([1.0, 0.0]), age=np.array([600.0, 0.0]))
            >>> Explorer("thompson").widths(request)
            array([0.49, 1.  ])
        """
        age = np.zeros(len(scene.greedy)) if scene.age is None else scene.age
        return self.width * self.fade ** (age / self.fade_rows)

    def probabilities(self, scene: Scene, rng: np.random.Generator | None = None) -> Float[np.ndarray, " K"]:
        """With which probability each model is to be drawn, [K].

        Args:
            scene: the request. rng: of thompson's simulation alone.
        """
        greedy, count = np.asarray(scene.greedy, float), len(scene.greedy)
        if self.policy == "uniform":
            found = floored((1 - self.epsilon) * greedy + self.epsilon / count, self.floor)
        elif self.policy == "softmax":
            assert scene.mean is not None
            found = floored(softmax(scene.mean, self.temperature), self.floor)
        else:
            assert scene.mean is not None
            assert scene.sd is not None
            if self.policy == "thompson":
                assert rng is not None
                sd = self.widths(scene) * scene.sd
                found = thompson(rng, scene.mean, sd, simulations=self.simulations, floor=self.floor)
            elif self.policy == "contenders":
                found = contenders(scene.mean, scene.sd, epsilon=self.epsilon, floor=self.floor, level=self.level)
            else:
                assert scene.target is not None
                assert scene.error is not None
                found = for_evaluation(scene.target, scene.error, floor=self.floor, baseline=greedy)
        if math.isfinite(self.spend) or math.isfinite(self.loss):
            nothing = np.zeros(count)
            found = limited(
                found,
                greedy,
                cost=nothing if scene.cost is None else scene.cost,
                utility=nothing if scene.mean is None else scene.mean,
                spend=self.spend,
                loss=self.loss,
            )
        return found / found.sum()


def ages(models: Sequence[str], summary: Mapping[str, Any]) -> Float[np.ndarray, " K"] | None:
    """Rows of the log that a router was fitted to in which each model could answer, [K]; None: it does not say.

    A router of a table says how many prompts each model answered. A model that the log never shows has 0.

    Args:
        models: K of them. summary: the router's.

    Example:
        >>> ages(["old", "new"], {"rows_available_by_model": {"old": 5000}})
        array([5000.,    0.])
    """
    rows = summary.get("rows_available_by_model", summary.get("answers_by_model"))
    return None if rows is None else np.array([rows.get(model, 0) for model in models], float)


def softmax(utility: Float[np.ndarray, " K"], temperature: float) -> Float[np.ndarray, " K"]:
    """Probabilities proportional to exp(utility / temperature)."""
    weight = np.exp((utility - np.max(utility)) / temperature)
    return weight / weight.sum()


def thompson(
    rng: np.random.Generator,
    mean: Float[np.ndarray, " K"],
    sd: Float[np.ndarray, " K"],
    *,
    simulations: int = SIMULATIONS,
    floor: float = 0.0,
) -> Float[np.ndarray, " K"]:
    """See ``policies.exploration.thompson``."""
    drawn = mean + sd * rng.standard_normal((simulations, len(mean)))
    return floored(np.bincount(drawn.argmax(1), minlength=len(mean)) / simulations, floor)


def contenders(
    mean: Float[np.ndarray, " K"],
    sd: Float[np.ndarray, " K"],
    *,
    epsilon: float,
    floor: float = 0.0,
    level: float = LEVEL,
) -> Float[np.ndarray, " K"]:
    """See ``policies.exploration.contenders``."""
    best = int(np.argmax(mean))
    spread = np.hypot(sd, sd[best])
    z = (mean - mean[best]) / np.where(spread > 0, spread, 1.0)
    beats = np.where(spread > 0, (1 + _ERF(z / math.sqrt(2))) / 2, 0.0)
    choice = np.arange(len(mean)) == best
    among = (beats >= level) | choice
    return floored((1 - epsilon) * choice + epsilon * among / among.sum(), floor)


def for_evaluation(
    target: Float[np.ndarray, " K"],
    deviation: Float[np.ndarray, " K"],
    *,
    floor: float,
    baseline: Float[np.ndarray, " K"] | None = None,
) -> Float[np.ndarray, " K"]:
    """See ``policies.exploration.for_evaluation``."""
    count = len(target)
    wanted = np.abs(target - (0.0 if baseline is None else baseline)) * deviation
    least = floor / count
    descending = np.sort(wanted)[::-1]
    total = np.cumsum(descending)
    scale = np.divide(1 - least * (count - np.arange(1, count + 1)), total, out=np.zeros(count), where=total > 0)
    holds = (descending > 0) & (scale * descending >= least)
    if not holds.any():
        return floored(np.asarray(target, float), floor)
    return np.maximum(least, scale[max(holds.sum() - 1, 0)] * wanted)


def limited(
    probabilities: Float[np.ndarray, " K"],
    greedy: Float[np.ndarray, " K"],
    *,
    cost: Float[np.ndarray, " K"],
    utility: Float[np.ndarray, " K"],
    spend: float = math.inf,
    loss: float = math.inf,
) -> Float[np.ndarray, " K"]:
    """See ``policies.exploration.limited``."""
    moved = probabilities - greedy
    step = 1.0
    for limit, whole in ((spend, float(moved @ cost)), (loss, -float(moved @ utility))):
        step = min(step, limit / whole) if whole > limit else step
        if math.isnan(whole) and limit < math.inf:  # of what is not known no limit can be kept to
            step = 0.0
    return greedy + step * moved


def floored(probabilities: Float[np.ndarray, " K"], floor: float) -> Float[np.ndarray, " K"]:
    """A share ``floor`` of the mass spread evenly."""
    return (1 - floor) * probabilities + floor / len(probabilities)
