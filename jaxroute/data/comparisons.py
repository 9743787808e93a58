"""Verdicts between two models' answers as the quality of each: how often it wins against the models of the log.

    q_k(x) = sum_c r_c P(k wins against c | x),   P(k wins against k) = 1/2

r_c is the share of model c among the answers that are kept, so that every model is held against the same opponents; a
tie is half a win. A verdict is one observation of both models, whose opponents were often not drawn by r: strong models
are set against strong ones, new models more often than others, some pairs never. A row of model k against c, with win
y, has

    quality  b_k + s_k y        weight  n_k s_kc / (s_k n_kc)
    s_kc = min(r_c, LARGEST n_kc / n_k),   s_k = sum_c s_kc,   b_k = r_k / 2 + sum_c (r_c - s_kc) B(k, c)

with n_kc rows of k against c, and n_k of k; a row counts as often as it stands for a request. The weights make
opponents count by r. Where no weight of ordinary size makes up for rows that are missing, the rest of r_c is taken from
B, a Bradley-Terry model of all verdicts. The mean quality of k's rows is then q_k, if the opponent was drawn without a
look at the prompt.

Reference:
    Borda scores of dueling bandits: Preference-based Online Learning with Dueling Bandits, by Bengs et al. (2021);
    Rank Analysis of Incomplete Block Designs, by Bradley and Terry (1952).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LARGEST = 2.0
"""Most that a row may count for its opponent's sake, about: what it cannot make up for is taken from the model B."""
PRIOR_DEVIATION = 4.0
"""Standard deviation of the log odds of a model in B, before any verdict: what keeps an unbeaten model finite."""


class Held(NamedTuple):
    """What makes verdicts qualities.

    weight: [N, 2] of the rows of each verdict's two models, a mean of 1 for every model. least, scale: [K] b and s.
    modelled: [K] share of r without the model itself that B fills in. filled: pairs of models of which it is some.
    """

    weight: Float[np.ndarray, "N 2"]
    least: Float[np.ndarray, " K"]
    scale: Float[np.ndarray, " K"]
    modelled: Float[np.ndarray, " K"]
    filled: int


def linked(pair: Int[np.ndarray, "N 2"], models: int) -> Int[np.ndarray, " K"]:
    """The set that each model belongs to: models that met, and those that are linked through others.

    No verdict tells how models of two sets compare.

    Args:
        pair, models: see ``hold``.

    Example:
        >>> print(linked(np.array([[0, 1], [4, 3], [1, 2]]), 5))
        [0 0 0 1 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    met = coo_array((np.ones(len(pair)), tuple(pair.T)), (models, models))
    return connected_components(met, directed=False)[1]


def hold(
    pair: Int[np.ndarray, "N 2"],
    won: Float[np.ndarray, " N"],
    models: int,
    times: Float[np.ndarray, "N 2"] | None = None,
) -> Held:
    """Hold every model against the same opponents.

    Args:
        pair: the two models of N verdicts, below ``models``, not the same one; all models are ``linked``. won: 1 where
            the first one won, 0 where the second did, 0.5 for a tie. times: how many requests the row of each of the
            two stands for, 0 where it is left out; None: 1.

    Returns:
        Held, whose weights are to be multiplied by ``times``; NaN for rows that are left out, and for models without
        any other.

    Example:
        Models 0 and 1 met the weak model 2 nine times as often as each other, so their own meetings count more:

        >>> pair = np.array([[0, 2]] * 90 + [[1, 2]] * 90 + [[0, 1]] * 10 + [[1, 0]] * 10)
        >>> won = np.array(([1.0] * 8 + [0.0]) * 20 + [1.0, 0.0] * 10)
        >>> held = hold(pair, won, 3)
        >>> print(np.round(held.weight[[0, -1]], 2))
        [[0.76 1.  ]
         [2.09 2.09]]
        >>> print(np.round(held.scale, 2), np.round(held.modelled, 2))
        [0.73 0.73 0.55] [0. 0. 0.]
    """
    times = np.ones(pair.shape) if times is None else times
    met = np.zeros((models, models))
    for side in (0, 1):
        np.add.at(met, (pair[:, side], pair[:, 1 - side]), times[:, side])
    rows = met.sum(1)
    share = rows / rows.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        covered = np.where(np.eye(models) > 0, 0.0, np.minimum(share, LARGEST * met / rows[:, None]))
        scale = covered.sum(1)
        ratio = rows[:, None] * covered / (scale[:, None] * met)
        missing = np.where(np.eye(models) > 0, 0.0, share - covered)
        modelled = missing.sum(1) / (1 - share)
    least = share / 2 + (missing * odds(pair, won, models, times.max(1))).sum(1)
    first, second = pair.T
    filled = int(np.triu((missing > 0) | (missing.T > 0)).sum())
    weight = np.stack([ratio[first, second], ratio[second, first]], 1)
    return Held(np.where(times > 0, weight, np.nan), least, scale, modelled, filled)


def odds(
    pair: Int[np.ndarray, "N 2"],
    won: Float[np.ndarray, " N"],
    models: int,
    times: Float[np.ndarray, " N"] | None = None,
) -> Float[np.ndarray, "K K"]:
    """Bradley-Terry model: the probability that the first model wins against the second, over all prompts.

    Args:
        pair, won, models: see ``hold``. times: how many requests each verdict stands for; None: 1.

    Example:
        >>> print(np.round(odds(np.array([[0, 1], [1, 2]] * 500), np.array([0.9, 0.8] * 500), 3), 2))
        [[0.5  0.9  0.97]
         [0.1  0.5  0.8 ]
         [0.03 0.2  0.5 ]]
    """
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    times = np.ones(len(pair)) if times is None else times / times.mean()  # the prior counts as one verdict does
    met, wins = np.zeros((models, models)), np.zeros((models, models))
    np.add.at(met, (pair[:, 0], pair[:, 1]), times)
    np.add.at(wins, (pair[:, 0], pair[:, 1]), times * won)
    first, second = np.nonzero(met)
    design = np.eye(models)[first] - np.eye(models)[second]
    gained, lost = wins[first, second], (met - wins)[first, second].clip(0)
    # Wins of the second are wins of the first with the signs turned, so that both outcomes are there.
    x, count = np.concatenate([design, -design]), np.concatenate([gained, lost])
    x, y = np.concatenate([x, -x]), np.repeat([1, 0], len(x))
    fitted = LogisticRegression(C=PRIOR_DEVIATION**2, fit_intercept=False, tol=1e-8, max_iter=1000)
    strength = fitted.fit(x, y, sample_weight=np.tile(count, 2) / 2).coef_[0]
    return expit(strength[:, None] - strength)
