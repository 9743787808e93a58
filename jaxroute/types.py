"""Axis letters, units, records and the types of the functions that are passed around.

Axes
    N prompts (rows of a log or table), K models, D features, M sweep points, L cost weights,
    S seeds, B minibatch, H hidden width, F folds, R bootstrap replicates.

Units
    Quality is in [0, 1]. Cost is in the data's own unit (US dollars per prompt unless the data say
    otherwise). Utility, value and regret are in quality units:

        utility = quality - cost_weight * cost

    so ``cost_weight`` is always "quality per unit of the cost array passed". A *normalised* cost weight
    belongs to cost / cost_scale and is always an argument by that name.

Missing is not zero: what was not observed is NaN, and a mask (``available``, ``observed``) travels
with it. Functions that take a mask never let a masked entry reach a result or a gradient.

Device-side records are NamedTuples (pytrees); host-side ones are frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Array, Bool, Float, Int
else:  # annotations only: a process that only decides, or prints help, does without them
    Array = Any

from jaxroute.system.printing import printable

Key = Array
Params = Any


class Outcomes(NamedTuple):
    """What every model would have answered. One type, three origins.

    The realised full table, the outcome model's prediction and the doubly robust pseudo-outcome are
    all ``Outcomes``; whatever consumes them does not know which, so the oracle, the plug-in and the
    doubly robust router are the same call with another argument.
    """

    quality: Float[Array, "*batch K"]
    cost: Float[Array, "*batch K"]


class Logs(NamedTuple):
    """One row per prompt, each answered by one model.

    quality NaN means that feedback is missing: the row counts for propensities, not for outcomes.
    propensity is that of the chosen model under the logging policy, NaN where unknown.
    weight: how many requests the row stands for, in a log that keeps a share of the requests (1 over the rate at which
    rows like it are kept); only its proportions count. None: every row stands for as many.
    human_quality: a person's rating of the answer, where ``quality`` is a judge's score; NaN where nobody rated it. The
    estimators correct the judge by it (`estimators.prediction_powered`). human_rate: the probability with which a
    person was asked, known or estimated; None: the share of each model's rows.
    """

    features: Float[Array, "N D"]
    action: Int[Array, " N"]
    quality: Float[Array, " N"]
    cost: Float[Array, " N"]
    propensity: Float[Array, " N"]
    available: Bool[Array, "N K"]
    group: Int[Array, " N"] | None = None
    weight: Float[Array, " N"] | None = None
    human_quality: Float[Array, " N"] | None = None
    human_rate: Float[Array, " N"] | None = None


class Nuisances(NamedTuple):
    """Estimated logging propensities and outcomes of every model on every row.

    Cross-fitted for the log's own rows, predicted for new ones. Rows of ``propensity`` need not sum to
    one: the entry of the chosen model is the log's own propensity where that is known. response: probability
    that the row's answer got feedback (``nuisance.fit_response``); None: no correction for missing feedback.
    """

    propensity: Float[Array, "N K"]
    outcomes: Outcomes
    response: Float[Array, " N"] | None = None


class Examples(NamedTuple):
    """What a router is trained or validated on: prompts and (estimated or true) outcomes of every model."""

    features: Float[Array, "N D"]
    outcomes: Outcomes
    available: Bool[Array, "N K"]


class ConditionalExamples(NamedTuple):
    """Examples for a router of every cost weight (`learn.conditional`).

    ``initial`` is what the scores start from, leaves [N, ...]: predicted Outcomes (affine), scores at the ends
    [N, J, K] (interval) or () (plain). ``ends`` ascend and cut the range of cost weights into intervals.
    """

    features: Float[Array, "N D"]
    outcomes: Outcomes
    available: Bool[Array, "N K"]
    initial: Any
    ends: Float[Array, " J"]


class Hyperparams(NamedTuple):
    """The numbers of one sweep point. Every field is traced: a scalar for a point, [M] for a sweep.

    A new value never compiles anew. ``cost_weight`` is per unit of the cost array trained on (normalised
    cost in the experiments). ``width`` counts the hidden units in use; units beyond it are masked.
    """

    cost_weight: Float[Array, ""] | float = 0.0
    seed: Int[Array, ""] | int = 0
    learning_rate: Float[Array, ""] | float = 1e-3
    weight_decay: Float[Array, ""] | float = 1e-2
    temperature: Float[Array, ""] | float = 1.0
    entropy: Float[Array, ""] | float = 0.0
    clip: Float[Array, ""] | float = 0.1
    label_temperature: Float[Array, ""] | float = 0.1
    width: Int[Array, ""] | int = 2**30


class TrainState(NamedTuple):
    """What the next training step needs, and all that a checkpoint holds."""

    params: Params
    opt_state: Any
    step: Int[Array, ""]
    best_params: Params
    best_value: Float[Array, ""]


class Estimate(NamedTuple):
    """Off-policy estimate of a policy's value, in quality units. NaN where a part is undefined."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    effective_sample_size: Float[Array, ""]


class Network(NamedTuple):
    """A pair of pure functions. ``apply(params, features [..., D], ...) -> [..., K]``."""

    init: Callable[..., Params]
    apply: Callable[..., Any]


class Loss(Protocol):
    """Every loss: unreduced, model axis last, masked models never get mass nor gradient.

    Further keywords that are named like fields of `Hyperparams` are traced scalars (`learn.objectives.bind`).
    """

    def __hash__(self) -> int: ...

    def __call__(
        self,
        scores: Float[Array, "*batch K"],
        utility: Float[Array, "*batch K"],
        *,
        where: Bool[Array, "*batch K"] | None = None,
    ) -> Float[Array, "*batch"]: ...


class Regressor(Protocol):
    """An outcome learner of one's own: any object with these two methods, a scikit-learn regressor say."""

    def fit(self, features: Any, y: Any) -> Any: ...

    def predict(self, features: Any) -> Any: ...


Objective = Callable[[Array, Array, Array, Hyperparams], Array]
"""A loss with its knobs bound to sweep-point fields: (scores, utility, where, hyperparams) -> per row."""


@dataclass(frozen=True)
class Spec:
    """The static side of training one router: a change means a new compile.

    hidden: widths of the hidden layers; () is a linear router. steps: optimiser steps in all.
    chunk: steps per compiled call, which is also the checkpoint and validation interval.
    matmul_precision: of the training products, JAX's name: "float32", or "tensorfloat32" or "bfloat16", which an
        accelerator computes faster (a CPU does not). Validation and decisions are always at full precision.
    """

    hidden: tuple[int, ...] = (128, 128)
    batch_size: int = 256
    steps: int = 300
    chunk: int = 50
    dropout: float = 0.2
    matmul_precision: str = "float32"


@dataclass(frozen=True)
class NuisanceSpec:
    """The static side of fitting nuisances: learners, folds and settings. A change means a new compile.

    outcome_models: any of "mean", "ridge", "hierarchical", "knn", "gp" (a Gaussian process over prompts and models),
    "mlp", and on the host "trees" (scikit-learn), "xgboost" (if installed) or any object with fit and predict
    (`nuisance.own`). propensity_models: any of "logistic", "mlp", "trees", "xgboost". Every learner offers candidates
    (penalties, numbers of neighbours, length scales, training lengths); out-of-fold loss picks one (combine="select")
    or weights them on the simplex (combine="stack"). Propensities are picked by out-of-fold log loss and calibrated
    ("temperature", "isotonic" or "none"); propensity="estimated" ignores the log's own.
    """

    outcome_models: tuple[Any, ...] = ("mean", "gp")
    propensity_models: tuple[str, ...] = ("logistic",)
    combine: str = "stack"
    calibration: str = "temperature"
    propensity: str = "known"
    folds: int = 5
    dimensions: int = 128
    penalties: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
    # (shared, deviation) pairs of the hierarchical ridge
    pooled_penalties: tuple[tuple[float, float], ...] = (
        (30.0, 300.0),
        (100.0, 1000.0),
        (300.0, 300.0),
        (300.0, 3000.0),
        (1000.0, 10000.0),
    )
    neighbours: tuple[int, ...] = (20, 50, 100, 200, 400)
    # (length in median distances, shared variance, a model's own) of the Gaussian process, variances in noise's
    processes: tuple[tuple[float, float, float], ...] = ((0.35, 1.0, 0.3), (1.5, 1.0, 1.0))
    hidden: tuple[int, ...] = (128, 128)
    epochs: int = 16
    snapshots: int = 4
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1


@dataclass(frozen=True, repr=False)
class Table:
    """Full feedback: N prompts, each answered by K models. Host side, NumPy.

    outcomes is NaN and available False where a model's answer is missing. ``expected`` holds the
    conditional means where they are known (synthetic data only): the conditional oracle's table. context: further
    columns [N] of the prompts, of objects, by name; None where a value is unknown.
    """

    query_id: np.ndarray
    prompt: np.ndarray
    task: np.ndarray
    group: np.ndarray
    features: np.ndarray
    models: tuple[str, ...]
    outcomes: Outcomes
    available: np.ndarray
    expected: Outcomes | None = None
    context: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query_id)

    def __repr__(self) -> str:
        return f"Table({len(self)} prompts, {int(self.available.sum())} answers of {', '.join(self.models)})"

    def rows(self, index: np.ndarray) -> Table:
        """The same table, restricted to (or reordered by) the rows in ``index``."""

        def pick(outcomes: Outcomes) -> Outcomes:
            return Outcomes(outcomes.quality[index], outcomes.cost[index])

        return Table(
            self.query_id[index],
            self.prompt[index],
            self.task[index],
            self.group[index],
            self.features[index],
            self.models,
            pick(self.outcomes),
            self.available[index],
            None if self.expected is None else pick(self.expected),
            {name: column[index] for name, column in self.context.items()},
        )


Policy = Callable[[Table], "np.ndarray"]
"""A (logging) policy: a table's N prompts -> action probabilities [N, K], 0 where unavailable."""


class InputError(ValueError):
    """Bad input from a person: one clear line that says what is wrong, where, and what to do.

    Entry points (experiments, command line) print the line and exit with status 2. Names and paths in it come from
    files, so whatever a terminal would act on is escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, keep="\n"))


class UnsupportedLogError(InputError):
    """A log that is read well, but cannot support what was asked of it; the command line exits with status 3."""
