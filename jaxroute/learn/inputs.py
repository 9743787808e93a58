"""What a method is given, of a log or of a table, and what it gives back: the records between a fit and the methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from jaxroute import nuisance, recipe, sweep
from jaxroute.learn import estimates
from jaxroute.learn.members import HYPERPARAMS
from jaxroute.policies.curves import Curve
from jaxroute.recipe import contrasts
from jaxroute.serving.kinds import Kind
from jaxroute.types import Examples, Hyperparams, Key, Logs, Nuisances, NuisanceSpec, Outcomes, Spec

Policy = Callable[[Sequence[float]], Float[Array, "L R K"]]

TRAINING = 4  # named constant folded into the key


@dataclass(frozen=True)
class MethodInput:
    """A log and what is known of it. R = N + S rows: the log's, then the shadow sample's.

    nuisances: cross-fitted for the log's rows, averaged over ``fits``. fits: those of every member.
    robust: [N, K] doubly robust outcomes at the evaluation clip. cost_weights: [L] ascending, cost_scale: units of
    cost per normalised unit. seeds: of members. estimator: of the outcomes learnt from; None: the method's own.
    training, hyperparams: of networks that learn to decide. hidden, steps: of networks that learn what others predict.
    prior: of the models' mean quality, for methods that take one. candidates: the models that may be chosen; None: all.
    """

    key: Key
    logs: Logs
    shadow: Examples | None
    nuisances: Nuisances
    fits: tuple[tuple[Nuisances, nuisance.NuisanceModel], ...]
    robust: Outcomes
    cost_scale: float
    cost_weights: tuple[float, ...]
    seeds: range
    spec: NuisanceSpec
    estimator: str | estimates.Estimator | None
    training: Spec
    hyperparams: Hyperparams
    hidden: tuple[int, ...]
    steps: int
    mesh: Mesh
    on_stage: Callable[[str], None]
    prior: recipe.Prior | None
    candidates: Bool[Array, " K"] | None = field(default=None, kw_only=True)

    @property
    def training_key(self) -> Key:
        """Of what is trained to decide; ``key`` itself is for nuisances, splits and students."""
        return jax.random.fold_in(self.key, TRAINING)

    @property
    def features(self) -> Float[Array, "R D"]:
        """Of every row."""
        parts = [self.logs.features, *([] if self.shadow is None else [self.shadow.features])]
        return jnp.concatenate([jnp.asarray(part) for part in parts])

    @property
    def available(self) -> Bool[Array, "R K"]:
        """Of every row: those that could be chosen and are candidates; all that could be, where none is one."""
        parts = [self.logs.available, *([] if self.shadow is None else [self.shadow.available])]
        return choosable(jnp.concatenate([jnp.asarray(part) for part in parts]), self.candidates)

    @property
    def times(self) -> Float[Array, " R"] | None:
        """How often every row counts in means, the log's 1 on average (``logs.weight``); None: once."""
        return nuisance.times(self.logs, len(self.available))

    @property
    def cells(self) -> Examples:
        """What outcome models are fitted to: the observed answers of every row; ``available``: observed."""
        return nuisance.cells(self.logs, self.shadow)

    @property
    def recipes(self) -> list[recipe.Recommended]:
        """The recommended recipe of every member's nuisances."""
        return [
            recipe.recommend(self.logs, nuisances, model, self.shadow, prior=self.prior)
            for nuisances, model in self.fits
        ]

    @property
    def predicted(self) -> Outcomes:
        """What the nuisances' outcome models predict for every row, out of fold, [R, K]."""
        return mean([nuisance.out_of_fold(model.outcomes) for _, model in self.fits])


@dataclass(frozen=True)
class TableInput(MethodInput):
    """A method's input where every model answered: ``cells`` are the whole table, in the log's place."""

    answers: Examples

    @property
    def cells(self) -> Examples:
        """What outcome models are fitted to."""
        return self.answers

    @property
    def recipes(self) -> list[recipe.Recommended]:
        """The recommended recipe of every member: model means of the table, contrasts as far as its answers confirm.

        m_k = mean_i r_ik + mean over k's answers of (y_ik - r_ik)
        """
        return [self._recipe(model) for _, model in self.fits]

    def _recipe(self, model: nuisance.NuisanceModel) -> recipe.Recommended:
        predicted = nuisance.out_of_fold(model.outcomes).quality
        there = self.answers.available
        error = jnp.where(there, self.answers.outcomes.quality - predicted, 0.0)
        centre = jnp.mean(predicted, 0)
        level = centre + jnp.sum(error, 0) / jnp.maximum(jnp.sum(there, 0), 1)
        return recipe.Recommended(model, level, centre, contrasts.share(contrasts.of_shadow(self.answers, model)))


def shared(
    key: Key,
    cost_scale: float,
    cost_weights: Sequence[float] | np.ndarray,
    members: int,
    *,
    spec: NuisanceSpec,
    training: Spec | None,
    hyperparams: Hyperparams | None,
    hidden: tuple[int, ...],
    steps: int,
    mesh: Mesh | None,
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """The fields of a method's input that a log and a table have alike, by name; None: the usual."""
    return {
        "key": key,
        "cost_scale": float(cost_scale),
        "cost_weights": tuple(float(w) for w in cost_weights),
        "seeds": range(members),
        "spec": spec,
        "training": Spec() if training is None else training,
        "hyperparams": HYPERPARAMS if hyperparams is None else hyperparams,
        "hidden": hidden,
        "steps": steps,
        "mesh": sweep.mesh() if mesh is None else mesh,
        "on_stage": on_stage,
    }


def choosable(available: Bool[Array, "R K"], candidates: Bool[Array, " K"] | None) -> Bool[Array, "R K"]:
    """The candidates among the models that could be chosen; all that could be, where none is one."""
    if candidates is None:
        return available
    left = available & candidates[None]
    return jnp.where(left.any(1, keepdims=True), left, available)


@dataclass(frozen=True)
class MethodResult:
    """A router, and what it decides on the rows that it was made of.

    kind: decides new prompts. policy: cost weights [L'] -> the policy [L', R, K] on every row, by fits that never saw
    it. curve: what each cost weight spends and gains on the log. summary: how it was made, for the artefact.
    """

    kind: Kind
    policy: Policy
    curve: Curve
    summary: dict[str, Any]


def mean(trees: Sequence[Any]) -> Any:
    """Leaf by leaf."""
    return jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), 0), *trees)
