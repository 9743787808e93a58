"""How a router is asked: the four ways to say what cost matters, texts or features, and the decision.

Needs neither JAX nor SciPy: a process that only decides imports this and `portable`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

    from jaxroute.policies.budgets import Curve
    from jaxroute.serving.posterior import Posterior

ENDPOINT = "endpoint:"  # encoders that send the texts to a server
CHOSEN = {"score": "scores", "predicted_quality": "quality", "predicted_cost": "cost"}
BLOCK = 16384  # prompts that are decided at a time
WAYS = ("cost_weight", "normalised_cost_weight", "budget", "quality_target")


Predicted = tuple[np.ndarray, np.ndarray] | None
"""Quality and cost, [N, K] each; None where a kind of router predicts neither."""
Self = TypeVar("Self", bound="Asked")


@dataclass(frozen=True, repr=False, eq=False)
class Decision:
    """What a router says about N prompts.

    models: names [N]. index: [N]. scores: [N, K] of the router's kind (a plug-in's are predicted utilities), -inf for
    removed models. quality, cost: [N, K] as predicted, NaN where the kind predicts none. cost_weight: [N] the one each
    prompt was decided at. rows: the index of the data frame that the prompts came in; None: they came otherwise.
    """

    models: list[str]
    index: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    cost_weight: np.ndarray
    rows: Any = None

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        counts = sorted(Counter(self.models).items(), key=lambda one: -one[1])
        return f"Decision({len(self)} prompts: {', '.join(f'{name} {count}' for name, count in counts)})"

    def to_frame(self) -> pd.DataFrame:
        """A row per prompt, in order: model, its score, predicted quality and cost, and cost_weight.

        The index is that of the data frame that the prompts came in.
        """
        import pandas as pd

        chosen = np.arange(len(self)), self.index
        columns = {name: getattr(self, of)[chosen] for name, of in CHOSEN.items()}
        return pd.DataFrame({"model": self.models, **columns, "cost_weight": self.cost_weight}, index=self.rows)


def best(intercept: np.ndarray, slope: np.ndarray, weight: float) -> np.ndarray:
    """argmax_k (intercept - weight * slope), uint8 or wider [N], of arrays [K, N] that hold a model's prompts together.

    Model by model, each pass over contiguous numbers, which takes a fraction of an argmax over the last axis.
    """
    minus = np.float32(-weight)
    top = intercept[0] + minus * slope[0]
    choice = np.zeros(len(top), np.min_scalar_type(len(intercept)))
    score, better = np.empty_like(top), np.empty(len(top), bool)
    for k in range(1, len(intercept)):
        np.multiply(slope[k], minus, out=score)
        score += intercept[k]
        np.greater(score, top, out=better)
        np.maximum(score, top, out=top)
        np.putmask(choice, better, k)
    return choice


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
    if not 0 < max_latency < np.inf:
        raise InputError(f"max_latency is {max_latency}; give seconds above 0")
    if not latency:
        raise InputError(
            "max_latency: the log has no latencies; fit to one with a column latency (seconds), or map it: "
            "--column latency=NAME"
        )
    p95 = {name: one["p95"] for name, one in latency.items() if one["p95"] is not None}
    slow = [name for name in models if not p95.get(name, np.inf) <= max_latency]
    if len(slow) == len(models):
        known = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in p95.items() if seconds == seconds)
        raise InputError(f"max_latency is {max_latency:g}: no model is known to be within it ({known or 'none known'})")
    return slow


class Asked(ABC):
    """What is common to a router and its portable form; see `serving.router.Router` for the fields."""

    models: tuple[str, ...]
    cost_scale: float
    curve: Curve | None
    available: np.ndarray
    encoder: str | None
    revision: str | None
    may_send: bool
    summary: dict[str, Any]
    last_layer: Posterior | None

    @property
    @abstractmethod
    def num_features(self) -> int:
        """D of the features that the router takes."""

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
        """The model of every prompt, at exactly one of four ways to say what cost matters.

        Args:
            prompts: N texts, or features [N, D], or a data frame with a column ``prompt`` (``features``, if the
                router takes those); ``Decision.to_frame`` keeps its index.
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
        ways = self.weights(
            cost_weight=cost_weight,
            normalised_cost_weight=normalised_cost_weight,
            budget=budget,
            quality_target=quality_target,
        )
        rows = None
        if not isinstance(prompts, Sequence | np.ndarray):
            rows = prompts.index
            context = prompts if self.context and context is None else context
            prompts = self._read(prompts)
        features = self.features(prompts, context)
        weight = np.full(len(features), ways[-1][0])
        if len(ways) > 1:
            (cheap, share), (dear, _) = ways
            weight = np.where(np.random.default_rng(seed).random(len(features)) < share, cheap, dear)
        scores, quality, cost = self._answers(features, weight)
        index = scores.argmax(1)
        return Decision([self.models[k] for k in index.tolist()], index, scores, quality, cost, weight, rows)

    def predict(self, prompts: Sequence[str] | np.ndarray, context: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Predicted quality and cost, [N, K] each; NaN where the kind predicts none.

        Raises:
            InputError: texts without an encoder, features of another width, a value that is not finite.
        """
        features = self.features(prompts, context)
        _, quality, cost = self._answers(features, np.zeros(len(features)))
        return quality, cost

    def scores(
        self, prompts: Sequence[str] | np.ndarray, cost_weight: float | np.ndarray, context: Any = None
    ) -> np.ndarray:
        """Scores [N, K], -inf for removed models, at one cost weight or at one for each prompt [N].

        Raises:
            InputError: as for ``predict``; a cost weight that is negative, not finite or too large.
        """
        features = self.features(prompts, context)
        return self._answers(features, np.broadcast_to(self._weight(cost_weight), len(features)))[0]

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
        features, weights = self.features(prompts, context), self._weight(np.asarray(cost_weights, float))
        found = np.empty((len(weights), len(features)), np.int32)
        left = np.flatnonzero(self.available)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
                lines = self.lines(features[rows])
            if lines is None:
                for own, weight in zip(found, weights, strict=True):
                    own[rows] = self._answers(features[rows], np.full(len(features[rows]), weight))[0].argmax(1)
                continue
            intercept, slope = (np.ascontiguousarray(part[:, left].T) for part in lines)
            with np.errstate(over="ignore", invalid="ignore"):
                if len(weights) and not np.isfinite(intercept - np.float32(weights.max()) * slope).all():
                    raise InputError(
                        f"the scores overflow at cost weight {weights.max():g}; give a smaller cost weight"
                    )
            for own, weight in zip(found, weights, strict=True):
                own[rows] = left[best(intercept, slope, weight)]
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
        weight = np.broadcast_to(self._weight(cost_weight), len(features)).astype(np.float32)
        mean, deviation = posterior.predict(self.last_layer, self.components(features), weight)
        if self.per_utility is not None:
            mean = self._answers(features, weight)[0] / np.float32(self.per_utility)
        return np.where(self.available, mean, -np.inf), deviation

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

    def _answers(self, features: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(scores, quality, cost), [N, K] each."""
        whole = self.available.all()
        with np.errstate(over="ignore", invalid="ignore"):
            scores, predicted = self.score(features, weight.astype(np.float32))
            kept = scores if whole else scores[:, self.available]
            suspect = not np.isfinite(kept.sum())
        if suspect and not (finite := np.isfinite(kept).all(1)).all():
            row = int(np.argmin(finite))
            raise InputError(
                f"row {row}: the scores overflow at cost weight {weight[row]:g}; give a smaller cost weight"
            )
        quality, cost = predicted or (np.full_like(scores, np.nan) for _ in range(2))
        if not self.costs_known:
            cost = np.full_like(scores, np.nan)
        if not whole:
            scores[:, ~self.available] = -np.inf
        return scores, quality, cost

    def weights(self, **asked: float | None) -> list[tuple[float, float]]:
        """Cost weights and their shares of the prompts: one, or the two of a budget's mixture, the cheaper one first.

        Args:
            asked: exactly one of ``route``'s four ways; the others None or left out.

        Raises:
            InputError: as for ``route``.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        if len(given) != 1 or given.keys() - set(WAYS):
            raise InputError(f"give exactly one of {', '.join(WAYS)}; got {' and '.join(given) or 'none'}")
        ((way, value),) = given.items()
        if way in ("cost_weight", "normalised_cost_weight"):
            return [(float(self._weight(value / (self.cost_scale if way != "cost_weight" else 1.0))), 1.0)]
        if self.curve is None:
            raise InputError(
                "this router has no curve of cost and quality; give a cost weight, or fit the router again"
            )
        if (self.available == np.isin(self.models, self.summary.get("measured_without") or ())).any():
            raise InputError(
                "models were removed, and budgets and quality targets were measured with all of them; fit the router "
                "again"
            )
        from jaxroute.policies import budgets

        if way == "quality_target":
            return [(budgets.for_quality(self.curve, value).cost_weight, 1.0)]
        mixed = budgets.mixture(self.curve, value)
        return [(mixed.cheap.cost_weight, mixed.share), (mixed.dear.cost_weight, 1 - mixed.share)]

    @property
    def costs_known(self) -> bool:
        """Whether any cost weight can be asked for; False if it was fitted to answers whose costs are unknown."""
        return not self.summary.get("costs_unknown", 0)

    def text_encoder(self) -> str:
        """The encoder of texts.

        Raises:
            InputError: it takes features only, or would send texts to an endpoint that the user has not named.
        """
        if self.encoder is None:
            raise InputError("this router was fitted on features, not texts; give it features [N, D]")
        if self.encoder.startswith(ENDPOINT) and not self.may_send:
            from jaxroute.data.encoders import endpoint

            raise InputError(
                f"this router would send every text to {endpoint.base_url()}, model "
                f"{self.encoder.removeprefix(ENDPOINT)}; to allow this, name its encoder: --encoder {self.encoder}, "
                "or encoder= in Python and in models.yaml"
            )
        return self.encoder

    @property
    def context(self) -> list[dict[str, Any]]:
        """The columns beside the text that the router was fitted with; see ``data.context``."""
        return list(self.summary.get("context") or ())

    @property
    def text_features(self) -> int:
        """How many of the D features are the text's: the others are of the context columns."""
        if not self.context:
            return self.num_features
        from jaxroute.data import context as contexts

        return self.num_features - contexts.width(self.context)

    def features(self, prompts: Sequence[str] | np.ndarray, context: Any = None) -> np.ndarray:
        """Features [N, D] of texts, or features themselves once they are checked.

        Args:
            prompts: N texts, or their features; of a router with context columns also features of the whole width D,
                which include those of the context.
            context: see ``route``.

        Raises:
            InputError: as for ``text_encoder``; features of another width, or not finite; a context column is missing.
        """
        if not isinstance(prompts, np.ndarray) or prompts.dtype.kind in "OUT":
            prompts = self.encoded(prompts)
        width = self.num_features
        if self.context and prompts.ndim == 2 and (context is not None or prompts.shape[1] != width):
            from jaxroute.data import context as contexts

            beside = contexts.encode(self.context, context, len(prompts))
            prompts = np.concatenate([prompts, beside], 1)
        if prompts.ndim != 2 or prompts.shape[1] != width:
            raise InputError(f"features have shape {prompts.shape}; this router takes [N, {width}]")
        features = np.asarray(prompts, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = not np.isfinite(features.sum())  # one pass; finite numbers may overflow in it, and are then seen
        if suspect and not (finite := np.isfinite(features).all(1)).all():
            raise InputError(f"features, row {int(np.argmin(finite))}: not finite; correct or drop the row")
        return features

    def encoded(self, texts: Sequence[str] | np.ndarray) -> np.ndarray:
        """The encoder's features of N texts, [N, text_features].

        Raises:
            InputError: as for ``text_encoder``.
        """
        from jaxroute.data import encoders

        return encoders.encode(texts, self.text_encoder(), revision=self.revision)

    def _read(self, frame: pd.DataFrame) -> list[str] | np.ndarray:
        """The prompts of a data frame, read as ``jaxroute route`` reads a file; features, if the router takes those."""
        from jaxroute.data import messages, prompts

        chat, width = self.summary.get("chat", messages.CHAT), self.text_features if self.encoder is None else None
        blocks = list(prompts.read(frame, chat=chat, width=width))
        if width is not None:
            return np.concatenate([np.empty((0, width), np.float32), *blocks])
        return [text for block in blocks for text in block]

    def _weight(self, cost_weight: float | np.ndarray) -> np.ndarray:
        weight = np.asarray(cost_weight, float)
        if not ((weight >= 0) & (weight <= np.finfo(np.float32).max)).all():
            raise InputError(f"cost weight {cost_weight}: it must be a finite number of at least 0 (and at most 3e38)")
        if not self.costs_known and (weight > 0).any():
            raise InputError(
                f"cost weight {cost_weight}: this router was fitted to answers whose costs are unknown, so it takes "
                "cost weight 0 alone; fit again with costs"
            )
        return weight
