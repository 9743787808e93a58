"""A coregionalised Gaussian process over prompts and models: a shared smooth effect, and one per model.

Every observed cell (prompt n, model k) is one observation, so any pattern of them is possible: one model per row, or
all of them. The system is solved by conjugate gradients, which need only products with the prior covariance; that is
the same for all folds, so that one product serves the folds, quality and cost. With more than ROWS rows the kernel is
approximated through CENTRES of them (subset of regressors), so that time and memory grow linearly; with more than MOST
rows, a random part of them is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.numerics import of_one_type, safe_divide
from jaxroute.types import Outcomes

ROWS, MOST = 6000, 50_000
CENTRES = 512
JITTER = 1e-3
TOLERANCE, ITERATIONS = 3e-3, 200
HUBER_ITERATIONS = 2
SAMPLE = 512  # rows whose distances set the length scale
CHUNK = 128  # cells of one model that are multiplied at a time, with centres

Product = Callable[[Float[Array, "R M"]], Array]
"""Of R vectors over the cells: their product with the prior covariance [R, M], or the centres' weights [R, m, K]."""


class Plan(NamedTuple):
    """Which cells are fitted; made outside the compiled program, because it decides the program's shapes.

    cells: [M] cells n K + k, filled up with N K; with centres, every CHUNK of them is of one model. centres: [m] rows;
    none if all rows are. sample: [s] rows whose distances set the length scale.
    """

    cells: Int[np.ndarray, " M"]
    centres: Int[np.ndarray, " m"]
    sample: Int[np.ndarray, " s"]


class Process(NamedTuple):
    """Posterior means as sums over kernel functions at ``centres``: f_k(x) = sum_m kernel(x, z_m) weights_mk."""

    centres: Float[Array, "m d"]
    length: Float[Array, " C"]
    weights: Outcomes  # [F, C, m, K]


def plan(observed: np.ndarray, seed: int = 0, *, features: Float[Array, "N d"] | None = None) -> Plan:
    """What ``fit`` is fitted to.

    Args:
        observed: [N, K] bool. features: [N, d]; None: those of different rows are different.
        seed: draws the sample and the centres, and the rows if there are more than MOST; those with most answers, a
            shadow sample's, come first.

    Example:
        >>> plan(np.array([[True, False], [False, False], [False, True]])).cells
        array([0, 5], dtype=int32)
    """
    rows, models = observed.shape
    order = np.random.default_rng(seed).permutation(np.flatnonzero(observed.any(1)))
    sample, centres = _sample(order, features), order[:CENTRES]
    most_answers = order[np.argsort(-observed[order].sum(1), kind="stable")[:MOST]]
    row, model = np.nonzero(observed & np.isin(np.arange(rows), most_answers)[:, None])
    if rows <= ROWS:
        return Plan((row * models + model).astype(np.int32), centres[:0], sample)
    chunks = []
    for k in range(models):
        cells = row[model == k] * models + k
        chunks.append(np.pad(cells, (0, -len(cells) % CHUNK), constant_values=rows * models))
    cells = np.concatenate(chunks)
    spare = (-(-len(row) // CHUNK) + models) * CHUNK - len(cells)  # so many whatever the pattern: it compiles once
    return Plan(np.pad(cells, (0, spare), constant_values=rows * models).astype(np.int32), centres, sample)


def fit(
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "F N K"],
    level: Levels,
    processes: tuple[tuple[float, float, float], ...],
    plan: Plan,
) -> Process:
    """Posterior means of quality and relative cost of every fold, one candidate a (length, shared, specific).

        y_nk = m_k + f(x_n) + f_k(x_n) + noise of variance 1 / weight_nk
        f ~ GP(0, shared kernel),   f_k ~ GP(0, specific kernel),   kernel(x, z) = exp(-|x - z|^2 / 2 h^2)

    around the models' levels m_k, which are also predicted far from all rows; h is ``length`` times the median
    distance between rows. Cost is fitted with a Huber loss by winsorised residuals, as in `ridge`.

    Args:
        features: [N, d] not whitened, because noise directions would then determine the distances.
        targets: [F, N, K] quality and relative cost. weight: [F, N, K], 0 where not observed or not of the training
            rows.
        level: [F, K] the models' levels.
        processes: C settings; variances are in units of the noise's.
        plan: of the same cells.

    Returns:
        Process of F folds and C candidates.

    Example:
        >>> x = jnp.array([[0.0], [1.0]])
        >>> y = Outcomes(jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.ones((1, 2, 2)))
        >>> level = Levels(jnp.array([[0.5, 0.5]]), jnp.ones((1, 2)))
        >>> model = fit(x, y, jnp.ones((1, 2, 2)), level, ((1.0, 1.0, 1.0),), plan(np.ones((2, 2), bool)))
        >>> only, weights = jax.tree.map(lambda y: y[0], (level, model.weights))  # of the one fold
        >>> first, second = predict(model._replace(weights=weights), jnp.array([0.0]), only).quality[0]
        >>> print(f"{first:.3f} {second:.3f}")  # with e = exp(-1/2): 0.5 +- 0.5 (1 - e) / (2 - e)
        0.641 0.359

    Reference: Alvarez, Rosasco and Lawrence, "Kernels for vector-valued functions: a review",
    https://arxiv.org/abs/1106.6251 (2012); Quinonero-Candela and Rasmussen, "A unifying view of sparse approximate
    Gaussian process regression" (2005).
    """
    features, targets, weight, level = of_one_type((features, targets, weight, level))
    rows, models, cells = *weight.shape[1:], jnp.asarray(plan.cells)
    row, model = jnp.minimum(cells // models, rows - 1), cells % models
    root = jnp.sqrt(jnp.where(cells < rows * models, weight[:, row, model], 0.0))
    root = jnp.concatenate([root, root])  # quality of all folds, then cost
    residual = targets.quality - level.quality[:, None], targets.cost - 1.0
    aim = jnp.concatenate([y[:, row, model] for y in residual])
    cost = jnp.arange(len(root))[:, None] >= len(weight)
    settings = jnp.asarray(processes, features.dtype) * jnp.array([[_median_distance(features[plan.sample]), 1.0, 1.0]])
    single = len(plan.cells) <= rows
    products = _through_centres if plan.centres.size else _by_cell if single else _by_row

    def one(setting: Array) -> Outcomes:
        covariance, weights = products(features, row, model, models, setting, plan)

        def step(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            """Solves for the winsorised target, and winsorises the cost around the solution."""
            y, dual = carry
            dual = _solve(lambda v: root * covariance(root * v) + v, root * y, dual)
            fitted = covariance(root * dual)
            return jnp.where(cost, fitted + jnp.clip(aim - fitted, -HUBER_DELTA, HUBER_DELTA), aim), dual

        _, dual = jax.lax.fori_loop(0, 1 + HUBER_ITERATIONS, step, (aim, jnp.zeros_like(aim)))
        return Outcomes(*jnp.split(weights(root * dual), 2))

    found = jax.tree.map(lambda w: jnp.moveaxis(w, 0, 1), jax.lax.map(one, settings))
    return Process(features[plan.centres] if plan.centres.size else features, settings[:, 0], found)


def predict(model: Process, features: Float[Array, " d"], level: Levels) -> Outcomes:
    """Quality and relative cost [C, K] for one prompt, ``weights`` [C, m, K] of one fold."""
    distance = _squared_distance(features[None], model.centres)[0]
    near = jnp.exp(-distance[None] / (2.0 * model.length[:, None] ** 2))
    quality, cost = (jnp.einsum("cm,cmk->ck", near, w) for w in model.weights)
    return Outcomes(quality + jnp.broadcast_to(level.quality, quality.shape), 1.0 + cost)


def _by_cell(
    features: Array, row: Array, model: Array, models: int, setting: Array, plan: Plan
) -> tuple[Product, Product]:
    """Products with the covariance of the cells: the smallest matrix where every row has one cell."""
    length, shared, specific = setting
    near = kernel(features[row], features[row], length)
    prior = near * (shared + specific * (model[:, None] == model[None]))

    def weights(v: Array) -> Array:
        of_model = jnp.zeros((len(v), len(features), models), v.dtype).at[:, row, model].add(v)
        return shared * jnp.sum(of_model, -1, keepdims=True) + specific * of_model

    return lambda v: (prior @ v.T).T, weights  # several times faster than v @ prior


def _by_row(
    features: Array, row: Array, model: Array, models: int, setting: Array, plan: Plan
) -> tuple[Product, Product]:
    """Products with the kernel of the rows, for every model: the smallest matrix where rows have several cells."""
    length, shared, specific = setting
    near = kernel(features, features, length)

    def weights(v: Array) -> Array:
        of_model = jnp.zeros((len(v), len(features), models), v.dtype).at[:, row, model].add(v)
        return shared * jnp.sum(of_model, -1, keepdims=True) + specific * of_model

    return lambda v: jnp.einsum("nm,rmk->rnk", near, weights(v))[:, row, model], weights


def _through_centres(
    features: Array, row: Array, model: Array, models: int, setting: Array, plan: Plan
) -> tuple[Product, Product]:
    """Products with x x', x = kernel(rows, centres) L^-T and L L' the centres' own kernel; a chunk is of one model."""
    (length, shared, specific), centres = setting, features[plan.centres]
    jitter = JITTER * jnp.eye(len(centres), dtype=features.dtype)
    factor = jnp.linalg.cholesky(kernel(centres, centres, length) + jitter)
    x = solve_triangular(factor, kernel(centres, features[row], length), lower=True).T
    x, of_chunk = x.reshape(-1, CHUNK, len(centres)), model[::CHUNK]

    def mixed(v: Array) -> Array:
        each = jnp.einsum("rsb,sbm->srm", v.reshape(len(v), -1, CHUNK), x)
        total = jax.ops.segment_sum(each, of_chunk, models)
        return shared * jnp.sum(total, 0, keepdims=True) + specific * total  # [K, R, m]

    def weights(v: Array) -> Array:
        flat = jnp.moveaxis(mixed(v), -1, 0).reshape(len(centres), -1)
        back = solve_triangular(factor.T, flat, lower=False).reshape(len(centres), models, -1)
        return jnp.moveaxis(back, -1, 0)

    return lambda v: jnp.einsum("sbm,srm->rsb", x, mixed(v)[of_chunk]).reshape(len(v), -1), weights


def _solve(product: Product, right: Float[Array, "R M"], start: Float[Array, "R M"]) -> Float[Array, "R M"]:
    """Conjugate gradients for R systems at once, until every residual is below TOLERANCE of its right-hand side.

    Reference: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems" (1952).
    """

    def squared(v: Array) -> Array:
        return jnp.sum(v**2, -1, keepdims=True)

    def unfinished(carry: Any) -> Array:
        return (carry[0] < ITERATIONS) & jnp.any(squared(carry[2]) > TOLERANCE**2 * squared(right))

    def step(carry: Any) -> Any:
        i, x, residual, direction = carry
        ahead = product(direction)
        rate = safe_divide(squared(residual), jnp.sum(direction * ahead, -1, keepdims=True), 0.0)
        left = residual - rate * ahead
        turned = safe_divide(squared(left), squared(residual), 0.0) * direction
        return i + 1, x + rate * direction, left, left + turned

    residual = right - product(start)
    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), start, residual, residual))[1]


def kernel(x: Float[Array, "N d"], z: Float[Array, "M d"], length: Array | float) -> Float[Array, "N M"]:
    """exp(-|x - z|^2 / 2 length^2).

    >>> print(f"{kernel(jnp.zeros((1, 2)), jnp.array([[1.0, 1.0]]), 1.0)[0, 0]:.3f}")
    0.368
    """
    return jnp.exp(-_squared_distance(x, z) / (2.0 * length**2))


def _squared_distance(x: Array, z: Array) -> Float[Array, "N M"]:
    norms = jnp.sum(x**2, -1)[:, None] + jnp.sum(z**2, -1)[None, :]
    return jnp.maximum(norms - 2.0 * x @ z.T, 0.0)


def _sample(order: np.ndarray, features: Float[Array, "N d"] | None) -> np.ndarray:
    """The first rows; where most pairs of these have equal features (a health check, say), the first different ones."""
    sample = order[:SAMPLE]
    if features is None:
        return sample
    values = np.asarray(features)
    _, counts = np.unique(values[sample], axis=0, return_counts=True)
    if 2 * np.sum(counts * (counts - 1)) < len(sample) * (len(sample) - 1):
        return sample
    _, first = np.unique(values[order], axis=0, return_index=True)
    return order[np.sort(first)][:SAMPLE]


def _median_distance(x: Float[Array, "n d"]) -> Float[Array, ""]:
    """Median distance of different rows."""
    pairs = _squared_distance(x, x)[np.triu_indices(len(x), 1)]
    return jnp.sqrt(jnp.median(pairs)) if len(x) > 1 else jnp.ones((), x.dtype)
