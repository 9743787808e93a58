"""The surrogates that routers are trained on: (scores, utility, where, hyperparameters) -> loss per row."""

from __future__ import annotations

from jaxtyping import Array

from jaxroute import losses
from jaxroute.types import Hyperparams, Objective


def classification(scores: Array, utility: Array, where: Array, _: Hyperparams) -> Array:
    """RM-Classification: cross entropy with the (noisy) best model as the label."""
    return losses.regret_cross_entropy(scores, utility, where=where)


def softmax_regret(scores: Array, utility: Array, where: Array, h: Hyperparams) -> Array:
    """RM-Softmax: regret of the softmax policy."""
    return losses.softmax_regret(scores, utility, temperature=h.temperature, where=where)


def entropic_regret(scores: Array, utility: Array, where: Array, h: Hyperparams) -> Array:
    """RM-Softmax with an entropy bonus, which removes the plateaus."""
    return losses.softmax_regret(scores, utility, temperature=h.temperature, entropy=h.entropy, where=where)


def gap_weighted(scores: Array, utility: Array, where: Array, _: Hyperparams) -> Array:
    """RM-Classification with every row weighted by what is at stake in it: best minus worst utility."""
    return losses.regret_cross_entropy(scores, utility, weighting="gap", where=where)


def soft_labels(scores: Array, utility: Array, where: Array, h: Hyperparams) -> Array:
    """RM-Classification with the softmax of utilities as the label: ties share it."""
    return losses.regret_cross_entropy(scores, utility, label_temperature=h.label_temperature, where=where)


def cost_sensitive(scores: Array, utility: Array, where: Array, _: Hyperparams) -> Array:
    """Policy learning by weighted classification: the cost-sensitive hinge on doubly robust utilities.

    Reference: Policy Learning with Observational Data, by Athey and Wager, https://arxiv.org/abs/1702.02896 (2021).
    """
    return losses.cost_sensitive_hinge(scores, utility, where=where)


def squared_error(scores: Array, utility: Array, where: Array, _: Hyperparams) -> Array:
    """Predict, then select: squared error of the scores as predictions of the utilities."""
    return losses.squared_utility_error(scores, utility, where=where)


OBJECTIVES: dict[str, Objective] = {
    "rm_classification": classification,
    "rm_classification_gap": gap_weighted,
    "rm_classification_soft": soft_labels,
    "dr_weighted_classification": cost_sensitive,
    "rm_softmax": softmax_regret,
    "rm_softmax_entropic": entropic_regret,
}
