"""The methods that are compared: one list, one line each, all on the same splits, logs and nuisances.

A name that ends in ``_full`` is the full-feedback ceiling: the same learner shown every model's outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.methods import conditional as conditional_methods
from experiments.methods import literature as rivals
from experiments.methods import low_rank
from experiments.methods.arena import Arena
from experiments.methods.trained import ensemble, learned, other_utilities
from experiments.methods.untrained import best_single, by_cost, conditional_oracle, oracle, plug_in, single, uniform
from jaxroute import losses
from jaxroute.learn.objectives import OBJECTIVES, bind

Method = Callable[[Arena], Array]
OUTCOME_MODELS = ("ridge", "hierarchical", "knn", "gp", "mlp", "trees", "stack")
ESTIMATORS = ("dm", "ipw", "switch", "dros", "pessimistic")
STARTED = ("rm_classification", "rm_softmax", "rm_softmax_entropic")
CARROT = {"knn": "knn", "linear": "ridge"}

METHODS: dict[str, Method] = {
    "random": uniform,
    "cheapest": partial(by_cost, sign=-1.0),
    "dearest": partial(by_cost, sign=1.0),
    "best_single": partial(best_single, examples="learn"),
    "best_single_full": partial(best_single, examples="learn_full"),
    "oracle": oracle,
    "conditional_oracle": conditional_oracle,
    **{f"plug_in_{m}": partial(plug_in, outcome_model=m) for m in OUTCOME_MODELS},
    **{f"plug_in_{m}_full": partial(plug_in, outcome_model=f"{m}_full") for m in OUTCOME_MODELS},
    "recommended": partial(plug_in, outcome_model="recommended"),
    "recommended_full": partial(plug_in, outcome_model="recommended_full"),
    **{n: partial(learned, name=n, objective=o) for n, o in OBJECTIVES.items()},
    **{f"{n}_full": partial(learned, name=f"{n}_full", objective=o, full=True) for n, o in OBJECTIVES.items()},
    **{f"{n}_ensemble": partial(ensemble, name=f"{n}_ensemble", objective=o) for n, o in OBJECTIVES.items()},
    **{f"rm_softmax_{e}": partial(other_utilities, name=f"rm_softmax_{e}", estimator=e) for e in ESTIMATORS},
    "rm_softmax_entropic_dm": partial(
        learned, name="rm_softmax_entropic_dm", objective=OBJECTIVES["rm_softmax_entropic"], estimator="dm"
    ),
    "rm_classification_dm": partial(
        learned, name="rm_classification_dm", objective=OBJECTIVES["rm_classification"], estimator="dm"
    ),
    **{f"{n}_started": conditional_methods.started(f"{n}_started", OBJECTIVES[n]) for n in STARTED},
    "plug_in_student": partial(
        learned, name="plug_in_student", objective=bind(losses.squared_utility_error), estimator="dm"
    ),
    "plug_in_student_dr": partial(learned, name="plug_in_student_dr", objective=bind(losses.squared_utility_error)),
    "knn_guarded": rivals.guarded_neighbours,
    "knn_guarded_full": partial(rivals.guarded_neighbours, full=True),
    **{f"carrot_{name}": partial(rivals.carrot, outcome_model=model) for name, model in CARROT.items()},
    "low_rank": low_rank.low_rank,
    "low_rank_full": partial(low_rank.low_rank, full=True),
    **conditional_methods.methods(OBJECTIVES["rm_softmax_entropic"]),
    "published_stand_in": rivals.published_stand_in,
}


MAIN = (
    *("random", "cheapest", "best_single", "best_single_full", "oracle", "conditional_oracle"),
    *(f"plug_in_{m}{end}" for end in ("", "_full") for m in OUTCOME_MODELS),
    *("recommended", "recommended_full"),
    *(f"rm_{name}{end}" for end in ("", "_full") for name in ("classification", "softmax", "softmax_entropic")),
    *conditional_methods.methods(OBJECTIVES["rm_softmax_entropic"]),
)
"""What `make experiment` compares; `make baselines` compares all."""


def method(name: str) -> Method:
    """The method called ``name``; ``single:<model>`` is any one model."""
    if name.startswith("single:"):
        return partial(single, model=name.removeprefix("single:"))
    return METHODS[name]


def names_for(arena: Arena) -> list[str]:
    """The config's methods; none named: those of the main job, "*": every one; of both, what applies to this table."""
    named = arena.config.methods
    if named and "*" not in named:
        return list(named)
    singles = [f"single:{model}" for model in arena.models]
    models = [m for m in OUTCOME_MODELS if m not in arena.problems.predicted]
    absent = {f"plug_in_{m}{end}" for m in models for end in ("", "_full")}
    absent.add("published_stand_in")  # by name alone: it trains on every prompt thirty times
    absent |= {f"carrot_{name}" for name, model in CARROT.items() if model in models}
    if arena.problems.expected is None:
        absent.add("conditional_oracle")
    return singles + [name for name in (METHODS if named else MAIN) if name not in absent]


def is_trained(name: str) -> bool:
    return name.startswith(("rm_", "dr_", "plug_in_student", "published"))


def choices(probabilities: Array) -> np.ndarray:
    return np.asarray(jnp.argmax(probabilities, -1))
