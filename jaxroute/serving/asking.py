"""How a router is asked: for decisions, scores and predictions, and how uncertain it is of them.

Needs neither JAX nor SciPy: a process that only decides imports this and `portable`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute import settings
from jaxroute.serving import blocks
from jaxroute.serving.decisions import Decision, Predicted, best
from jaxroute.serving.inputs import Inputs
from jaxroute.serving.terms import Terms
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

    from jaxroute.serving.posterior import Posterior

WEIGHTS = 64  # cost weights that are decided at a time


def as_fitted(*routers: Asked) -> dict[str, Any]:
    """How a log is read for routers: chats by the rule of the first, with the context columns of all.

    Returns:
        chat and context, as ``data.logs.load`` takes them.
    """
    from jaxroute.data import context as contexts
    from jaxroute.data import messages

    columns = dict.fromkeys(name for router in routers for name in contexts.names(router.context))
    chat = routers[0].summary.get("chat", messages.CHAT) if routers else messages.CHAT
    return {"chat": chat, "context": list(columns)}


class Asked(Terms, Inputs):
    """What is common to a router and its portable form; see `serving.router.Router` for the fields."""

    last_layer: Posterior | None

    @abstractmethod
    def score(self, features: np.ndarray, cost_weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
        """(scores [N, K], predicted quality and cost) of checked features and cost weights, float32, on the host."""

    @abstractmethod
    def lines(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """(intercept, slope) [N, K] of scores = intercept - cost_weight * slope; None of kinds with other scores."""

    @abstractmethod
    def components(self, features: np.ndarray) -> np.ndarray:
        """Features in the router's projection, [N, d]."""

    @property
    @abstractmethod
    def per_utility(self) -> float | None:
        """Units of score in a unit of utility; None of kinds whose scores are no utilities."""

    def route(
        self,
        prompts: Sequence[str] | np.ndarray | pd.DataFrame,
        *,
        cost_weight: float | None = None,
        normalised_cost_weight: float | None = None,
        budget: float | None = None,
        quality_target: float | None = None,
        seed: int = 0,
        context: Any = None,
    ) -> Decision:
        """The model of every prompt, at exactly one of four ways to say how much cost matters.

        Args:
            prompts: N texts, or features [N, D] in NumPy or JAX, or a data frame with a column ``prompt``
                (``features``, if the router takes those); ``Decision.to_frame`` keeps its index.
            cost_weight: quality per unit of cost.
            normalised_cost_weight: cost_weight times cost_scale; at 1 the model of best quality and the
                cheapest one break even on average.
            budget: cost units a prompt on average; met in expectation by a mixture of two cost weights.
            quality_target: mean quality in [0, 1], reached as cheaply as can be.
            seed: of the mixture.
            context: for a router that was fitted with context columns: {name: N values, or one for all}, a table or N
                dictionaries; None where a value is unknown. See ``data.context``.

        Returns:
            Decision.

        Raises:
            InputError: none or several of the four; a budget or target out of reach, with models removed, or of a
                router without a curve; a cost weight so large that scores overflow.
        """
        settings.whole("seed", seed)
        ways = self.weights(
            cost_weight=cost_weight,
            normalised_cost_weight=normalised_cost_weight,
            budget=budget,
            quality_target=quality_target,
        )
        rows = None
        if not isinstance(prompts, np.ndarray | Sequence) and hasattr(prompts, "columns"):
            rows = prompts.index
            context = prompts if self.context and context is None else context
            prompts = self._read(prompts)
        features = self.features(prompts, context)
        weight = np.full(len(features), ways[-1][0])
        if len(ways) > 1:
            (cheap, share), (dear, _) = ways
            weight = np.where(np.random.default_rng(seed).random(len(features)) < share, cheap, dear)
        scores, quality, cost = self.answers(features, weight)
        index = scores.argmax(1)
        return Decision([self.models[k] for k in index.tolist()], index, scores, quality, cost, weight, rows)

    def predict(self, prompts: Sequence[str] | np.ndarray, context: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Predicted quality and cost, [N, K] each; NaN where the kind predicts none.

        Raises:
            InputError: texts without an encoder, features of another width, a value that is not finite.
        """
        features = self.features(prompts, context)
        _, quality, cost = self.answers(features, np.zeros(len(features)))
        return quality, cost

    def scores(
        self, prompts: Sequence[str] | np.ndarray, cost_weight: float | np.ndarray, context: Any = None
    ) -> np.ndarray:
        """Scores [N, K], -inf for removed models, at one cost weight or at one for each prompt [N].

        Raises:
            InputError: as for ``predict``; cost weights that are negative, not finite or too large, or not one or N.
        """
        features = self.features(prompts, context)
        return self.answers(features, self._each(cost_weight, len(features)))[0]

    def choices(
        self, prompts: Sequence[str] | np.ndarray, cost_weights: Sequence[float] | np.ndarray, context: Any = None
    ) -> np.ndarray:
        """The decision of every prompt at every cost weight: places in ``models``, int32 [W, N].

        Kinds whose scores are utilities (``plug_in`` and ``affine``) are asked once for all cost weights.

        Args:
            prompts, context: as for ``route``. cost_weights: W of them.

        Raises:
            InputError: as for ``scores``.
        """
        features, weights = self.features(prompts, context), self._weight(cost_weights)
        if weights.ndim != 1:
            raise InputError(f"cost_weights have shape {weights.shape}; give a list of them, [W]")
        found, left = np.empty((len(weights), len(features)), np.int32), np.flatnonzero(self.available)

        def decide(rows: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
                lines = self.lines(features[rows])
            if lines is None:
                for own, weight in zip(found, weights, strict=True):
                    own[rows] = self.answers(features[rows], np.full(rows.stop - rows.start, weight))[0].argmax(1)
                return
            intercept, slope = (np.ascontiguousarray(part.T)[left] for part in lines)
            with np.errstate(over="ignore", invalid="ignore"):
                if len(weights) and not blocks.all_finite(intercept - np.float32(weights.max()) * slope):
                    raise InputError(_overflow(weights.max()))
            for start in range(0, len(weights), WEIGHTS):
                found[start : start + WEIGHTS, rows] = best(intercept, slope, weights[start : start + WEIGHTS], left)

        blocks.each(decide, len(features))
        return found

    def posterior(
        self, prompts: Sequence[str] | np.ndarray, cost_weight: float | np.ndarray, context: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every model's utility, [N, K] each, as far as the router knows them.

        The mean is what the router predicts, so the largest is its choice; of a kind that predicts none (``per_weight``
        and ``interval``) it is that of the last layer, whose largest may be another. The deviation is that of
        `posterior`. Models that were removed have mean -inf.

        Args:
            prompts, cost_weight, context: as for ``scores``.

        Raises:
            InputError: as for ``scores``; a router without a posterior.
        """
        from jaxroute.serving import posterior

        if self.last_layer is None:
            raise InputError(
                "this router has no posterior, so it does not know how uncertain it is; fit it again with this release"
            )
        features = self.features(prompts, context)
        weight = self._each(cost_weight, len(features)).astype(np.float32)
        mean, deviation = posterior.predict(self.last_layer, self.components(features), weight)
        if self.per_utility is not None:
            mean = self.answers(features, weight)[0] / np.float32(self.per_utility)
        return np.where(self.available, mean, -np.inf), deviation

    def answers(self, features: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(scores, quality, cost), [N, K] each, of checked features and a cost weight for each row.

        Raises:
            InputError: the scores overflow at a cost weight.
        """
        whole = all(self.available.tolist())
        with np.errstate(over="ignore", invalid="ignore"):
            scores, predicted = self.score(features, weight.astype(np.float32))
        kept = scores if whole else scores[:, self.available]
        if not blocks.all_finite(kept):
            row = int(np.argmin(np.isfinite(kept).all(1)))
            raise InputError(f"row {row}: {_overflow(weight[row])}")
        quality, cost = predicted or (np.full_like(scores, np.nan) for _ in range(2))
        if not self.costs_known:
            cost = np.full_like(scores, np.nan)
        if not whole:
            scores[:, ~self.available] = -np.inf
        return scores, quality, cost


def _overflow(weight: float) -> str:
    """What overflows, and what to do: at cost weight 0 it is the features alone."""
    todo = "give a smaller cost weight" if weight > 0 else "its features are too large: correct or drop the row"
    return f"the scores overflow at cost weight {weight:g}; {todo}"
