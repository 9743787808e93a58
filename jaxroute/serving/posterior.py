"""How uncertain a router is of every model: a Bayesian last layer on its features, which exploration reads.

    phi(x) = (1, first components of the router's projection)
    y_k    = phi(x) . b_k + noise of variance s_k^2,      b_k ~ N(t_c e_0, diag(t_0^2, t_1^2, ..., t_1^2))

for quality, and for cost over the model's mean cost. t_c, t_0, t_1 and s_k have the largest marginal likelihood of all
models together (expectation maximisation), so a model with few answers is known as well as the others suggest. What no
linear layer sees is found by neighbours: half the mean squared difference of two neighbours' residuals is the noise
(Rice), and what the residuals vary beyond that is the misfit m. With S_k = L_k L_k^T the covariance of b_k,

    sd_k(x, w)^2 = |L_q,k^T phi|^2 + m_q,k^2 + w^2 (|L_c,k^T phi|^2 + m_c,k^2)

which takes the errors of quality and cost as independent. Each answer counts once, whatever its ``weight``: it is one
observation of its model. NumPy alone.

References: Bayesian interpolation, by MacKay, https://doi.org/10.1162/neco.1992.4.3.415 (1992); Bandwidth choice for
nonparametric regression, by Rice, https://doi.org/10.1214/aos/1176346788 (1984); Deep Bayesian bandits showdown, by
Riquelme, Tucker and Snoek, https://arxiv.org/abs/1802.09127 (2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:  # it takes a tenth of a second, and nothing that only decides needs it
    from jaxtyping import Bool, Float

COMPONENTS = 32
"""Of the projection, the leading ones: 9 kB a model."""
ROUNDS = 60
FEW = 4.0
"""Answers that the pooled noise counts for beside a model's own."""
PAIRED = 2000
"""Answers of a model among which neighbours are looked for."""
TINY = 1e-9


class Posterior(NamedTuple):
    """Of quality (first) and cost, in their units: means of b, L, misfit, deviation of an answer's noise."""

    weights: Float[np.ndarray, "2 K P"]
    factor: Float[np.ndarray, "2 K P P"]
    misfit: Float[np.ndarray, "2 K"]
    noise: Float[np.ndarray, "2 K"]


def fit(
    components: Float[np.ndarray, "R d"],
    deviation: Float[np.ndarray, " d"],
    quality: Float[np.ndarray, "R K"],
    cost: Float[np.ndarray, "R K"],
    observed: Bool[np.ndarray, "R K"],
) -> Posterior:
    """The posterior of a log's answers.

    Args:
        components: [R, d] rows in the router's projection, each of unit variance. deviation: [d] that they had in the
            features: neighbours are those of the features.
        quality, cost: [R, K]; what is not finite counts as not observed.
        observed: [R, K], True where the model answered.

    Returns:
        Posterior, float32.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((400, 1))
        >>> quality = np.stack([0.5 + 0.1 * x[:, 0], 0.7 - 0.1 * x[:, 0]], 1) + 0.1 * rng.standard_normal((400, 2))
        >>> found = fit(x, np.ones(1), quality, np.ones((400, 2)), np.ones((400, 2), bool))
        >>> found.weights[0].round(1), bool((found.misfit < 0.03).all())
        (array([[ 0.5,  0.1],
               [ 0.7, -0.1]], dtype=float32), True)
    """
    phi = basis(np.asarray(components, float), min(components.shape[1], COMPONENTS) + 1)
    places = np.asarray(components, np.float32) * np.asarray(deviation, np.float32)
    parts = []
    for relative, outcome in enumerate((quality, cost)):
        y = np.asarray(outcome, float)
        seen = np.asarray(observed) & np.isfinite(y)
        level = _levels(y, seen) if relative else np.ones(y.shape[1])
        y = np.where(seen, y, 0.0) / level
        mean, covariance, noise = _layer(phi, y, seen)
        missed = _missed(phi, places, y, seen, mean, noise)
        factor = np.linalg.cholesky(covariance)
        parts.append(
            (
                level[:, None] * mean,
                level[:, None, None] * factor,
                level * np.sqrt(missed),
                level * np.sqrt(noise - missed),
            )
        )
    return Posterior(*[np.stack(part).astype(np.float32) for part in zip(*parts, strict=True)])


def predict(
    posterior: Posterior, components: Float[np.ndarray, "N d"], cost_weight: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "N K"]]:
    """Mean and standard deviation of utility, of the last layer alone; formula at the top.

    Args:
        posterior: of ``fit``. components: [N, d] in the router's projection. cost_weight: [N].
    """
    phi = basis(components, posterior.weights.shape[2])
    quality, cost = np.einsum("np,ykp->ynk", phi, posterior.weights)
    spread = np.square(np.einsum("np,ykpq->ynkq", phi, posterior.factor)).sum(3) + posterior.misfit[:, None] ** 2
    weight = cost_weight[:, None]
    return quality - weight * cost, np.sqrt(spread[0] + weight**2 * spread[1])


def basis(components: Float[np.ndarray, "N d"], size: int) -> Float[np.ndarray, "N P"]:
    """phi: 1 and the first size - 1 components."""
    return np.concatenate([np.ones_like(components[:, :1]), components[:, : size - 1]], 1)


def check(posterior: Posterior, num_models: int, components: int) -> None:
    """Refuse arrays that are no posterior of so many models on so many components.

    Raises:
        InputError: names the first array of another shape or type, not finite, or a negative misfit.
    """
    size = np.shape(posterior.weights)[-1] if np.ndim(posterior.weights) == 3 else 1
    size = min(max(size, 1), components + 1)
    shapes = ((2, num_models, size), (2, num_models, size, size), (2, num_models), (2, num_models))
    for name, array, shape in zip(posterior._fields, posterior, shapes, strict=True):
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(
                f"array 'posterior/{name}': is {array.dtype}{list(array.shape)}, expected float32{list(shape)}"
            )
        if not np.isfinite(array).all() or (name in ("misfit", "noise") and (array < 0).any()):
            raise InputError(f"array 'posterior/{name}': holds numbers that are not finite, or a negative deviation")


def _levels(y: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean cost of every model [K]; that of all answers where a model has none or cost nothing."""
    whole = float(y[seen].mean()) if seen.any() else 1.0
    means = np.where(seen, y, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.where(means > 0, means, whole if whole > 0 else 1.0)


def _layer(phi: np.ndarray, y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [K, P], covariances [K, P, P] and noise variances [K] at the largest marginal likelihood."""
    count, (size, models) = seen.sum(0), (phi.shape[1], seen.shape[1])
    each = [(phi[rows], y[rows, k]) for k, rows in enumerate(seen.T)]
    gram, cross = np.stack([x.T @ x for x, _ in each]), np.stack([x.T @ z for x, z in each])
    square = np.square(y).sum(0)
    spread = max(float(y[seen].var()) if seen.any() else 1.0, TINY)
    centre, prior, noise = np.zeros(size), np.full(size, spread / size), np.full(models, spread)
    centre[0] = y[seen].mean() if seen.any() else 0.0
    for _ in range(ROUNDS):
        covariance = np.linalg.inv(gram / noise[:, None, None] + np.diag(1 / prior))
        mean = np.einsum("kpq,kq->kp", covariance, cross / noise[:, None] + centre / prior)
        left = square - 2 * np.sum(mean * cross, 1) + np.einsum("kp,kpq,kq->k", mean, gram, mean)
        left += np.einsum("kpq,kqp->k", gram, covariance)
        noise = np.maximum((left + FEW * left.sum() / max(count.sum(), 1)) / (count + FEW), TINY * spread)
        centre[0] = mean[:, 0].mean()
        second = np.square(mean - centre).sum(0) / models + np.diagonal(covariance, 0, 1, 2).mean(0)
        prior = np.maximum(np.r_[second[0], np.full(size - 1, second[1:].mean() if size > 1 else 0.0)], TINY * spread)
    return mean, (covariance + covariance.transpose(0, 2, 1)) / 2, noise


def _missed(
    phi: np.ndarray, places: np.ndarray, y: np.ndarray, seen: np.ndarray, mean: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Variance [K] of the true means around the layer: one share of the noise for all models, which few pairs tell."""
    rng, shares = np.random.default_rng(0), []
    for k, rows in enumerate(seen.T):
        own = np.flatnonzero(rows)
        own = own if len(own) <= PAIRED else np.sort(rng.choice(own, PAIRED, replace=False))
        if len(own) < 2:
            continue
        residual, place = y[own, k] - phi[own] @ mean[k], places[own]
        length = np.square(place).sum(1)
        apart = length[:, None] + length[None] - 2 * place @ place.T
        np.fill_diagonal(apart, np.inf)
        local = 0.5 * np.square(residual - residual[apart.argmin(1)]).mean()
        shares.append((len(own), 1 - local / noise[k]))
    if not shares:
        return np.zeros(len(noise))
    counts, parts = np.array(shares).T
    return noise * np.clip(counts @ parts / counts.sum(), 0.0, 1.0)
