"""What a router says of prompts: `Decision`, and the choice itself at many cost weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CHOSEN = {"score": "scores", "predicted_quality": "quality", "predicted_cost": "cost"}
Predicted = tuple[np.ndarray, np.ndarray] | None
"""Quality and cost, [N, K] each; None where a kind of router predicts neither."""


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


def best(intercept: np.ndarray, slope: np.ndarray, weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """places[argmax_k (intercept - weight * slope)] at every cost weight, uint8 or wider [W, N].

    Model by model, each pass over the numbers of all prompts at all cost weights: K times six passes of NumPy.

    Args:
        intercept, slope: [K, N], so that a model's prompts lie together. weights: [W]. places: [K], ascending.

    Example:
        >>> best(np.float32([[0.5], [0.9]]), np.float32([[0], [1]]), np.array([0.3, 0.5]), np.array([2, 7])).tolist()
        [[7], [2]]
    """
    minus, shape = -weights.astype(np.float32)[:, None], (len(weights), intercept.shape[1])
    places = places.astype(np.min_scalar_type(int(places[-1])))
    top = minus * slope[0]
    top += intercept[0]
    choice, place = np.full(shape, places[0]), np.empty(shape, places.dtype)
    score, better = np.empty(shape, np.float32), np.empty(shape, bool)
    for k in range(1, len(intercept)):
        np.multiply(minus, slope[k], out=score)
        score += intercept[k]
        np.greater(score, top, out=better)
        np.maximum(score, top, out=top)
        np.multiply(better.view(np.uint8), places[k], out=place)
        np.maximum(place, choice, out=choice)  # places ascend
    return choice
