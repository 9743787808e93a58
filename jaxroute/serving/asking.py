"""How a router is asked, whatever computes its scores: the four ways to say what cost matters, and texts or features.

Needs neither JAX nor SciPy: a process that only decides imports this and `portable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.policies.budgets import Curve

ENDPOINT = "endpoint:"  # encoders that send the texts to a server
WAYS = ("cost_weight", "normalised_cost_weight", "budget", "quality_target")


class Asked:
    """What is common to a router and its portable form; see `serving.router.Router` for the fields."""

    models: tuple[str, ...]
    cost_scale: float
    curve: Curve | None
    available: np.ndarray
    encoder: str | None
    revision: str | None
    may_send: bool
    summary: dict[str, Any]

    @property
    def num_features(self) -> int:
        """D of the features that the router takes."""
        raise NotImplementedError

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
        if not self.available.all():
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

    def features(self, prompts: Sequence[str] | np.ndarray) -> np.ndarray:
        """Features [N, D] of texts, or features themselves once they are checked.

        Raises:
            InputError: as for ``text_encoder``; features of another width, or not finite.
        """
        if not isinstance(prompts, np.ndarray) or prompts.dtype.kind in "OUT":
            encoder = self.text_encoder()
            from jaxroute.data import encoders

            prompts = encoders.encode(prompts, encoder, revision=self.revision)
        width = self.num_features
        if prompts.ndim != 2 or prompts.shape[1] != width:
            raise InputError(f"features have shape {prompts.shape}; this router takes [N, {width}]")
        features = np.asarray(prompts, np.float32)
        if not (finite := np.isfinite(features).all(1)).all():
            raise InputError(f"features, row {int(np.argmin(finite))}: not finite; correct or drop the row")
        return features

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
