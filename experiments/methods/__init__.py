"""The methods that are compared: one list, a line each, all on the same splits, logs and nuisances.

What a method is (how reports group it, whether it trains a network, which outcome model it reads, ...) stands in its
`Method` record; nothing is read from its name. ``ceiling=True`` adds a method whose name ends in ``_full``: the same
learner shown every model's outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
from jaxtyping import Array

from experiments.methods import bandits, conditional, literature, low_rank, policy_forest, trained, untrained
from experiments.methods.experiment import Asked, Method
from experiments.settings import Config
from jaxroute import losses
from jaxroute.learn.objectives import OBJECTIVES, bind
from jaxroute.report import KINDS
from jaxroute.types import InputError, Objective

LEARNED, PLUG_IN, NO_ROUTING, CEILING = KINDS
OUTCOME_MODELS = ("ridge", "hierarchical", "knn", "gp", "mlp", "trees", "stack", "recommended")
ESTIMATORS = {"dm": "dm", "ipw": "ipw", "switch": "switch", "dros": "shrinkage", "pessimistic": "pessimistic"}
"""Those of RM-Softmax beside the doubly robust one: the end of a method's name, and the name in `learn.ESTIMATORS`."""
SURROGATES = ("rm_classification", "rm_softmax", "rm_softmax_entropic")
"""The losses of `make experiment`, and those whose routers also start as the stacked plug-in."""
EVERY_WEIGHT = OBJECTIVES["rm_softmax_entropic"]
"""The loss of routers of every cost weight: its entropy gives the end routers' scores a common scale."""
EVERY_SINGLE = "single:*"
"""Among a config's methods: each model of the table by itself."""
ALONE = ("", "stack", "recommended")
"""Outcome models that need no learner of their name."""


def _methods() -> Iterator[Method]:
    """Every method but the single models, in the order in which they run."""
    yield Method("random", untrained.uniform, NO_ROUTING, asked="main")
    yield Method("cheapest", partial(untrained.by_cost, sign=-1.0), NO_ROUTING, asked="main")
    yield Method("dearest", partial(untrained.by_cost, sign=1.0), NO_ROUTING)
    yield from _with_ceiling(Method("best_single", untrained.best_single, NO_ROUTING, asked="main"))
    yield Method("oracle", untrained.oracle, CEILING, asked="main")
    yield Method("conditional_oracle", untrained.conditional_oracle, CEILING, asked="main", expected=True)
    for model in OUTCOME_MODELS:
        name = model if model == "recommended" else f"plug_in_{model}"
        run = partial(untrained.plug_in, outcome_model=model)
        yield from _with_ceiling(Method(name, run, PLUG_IN, outcome_model=model, asked="main"))
    for name, loss in OBJECTIVES.items():
        asked: Asked = "main" if name in SURROGATES else "all"
        yield from _with_ceiling(_learned(name, loss)._replace(loss=name, asked=asked))
        yield _learned(f"{name}_ensemble", loss, members=trained.MEMBERS)
    for end, estimator in ESTIMATORS.items():
        yield _learned(f"rm_softmax_{end}", OBJECTIVES["rm_softmax"], estimator)
    for name in ("rm_softmax_entropic", "rm_classification"):
        yield _learned(f"{name}_dm", OBJECTIVES[name], "dm")
    for name in SURROGATES:
        yield _learned(f"{name}_calibrated", OBJECTIVES[name], "calibrated")
    for name in SURROGATES:
        yield _every_weight(f"{name}_started", conditional.affine, objective=OBJECTIVES[name], gated=False)
    for name, estimator in (("plug_in_student", "dm"), ("plug_in_student_dr", "dr")):
        yield _learned(name, bind(losses.squared_utility_error), estimator)._replace(kind=PLUG_IN)
    yield from _with_ceiling(Method("knn_guarded", literature.guarded_neighbours, PLUG_IN))
    for name, model in (("carrot_knn", "knn"), ("carrot_linear", "ridge")):
        yield Method(name, partial(literature.carrot, outcome_model=model), PLUG_IN, outcome_model=model)
    yield from _with_ceiling(Method("low_rank", low_rank.low_rank, PLUG_IN))
    yield Method("linucb", partial(bandits.upper_bounds, prior=False), PLUG_IN)
    yield Method("pilot", partial(bandits.upper_bounds, prior=True), PLUG_IN)
    for name, of_log in (
        ("barp", bandits.barp),
        ("poem", bandits.poem),
        ("nn_policy_learner", bandits.nn_policy_learner),
    ):
        yield Method(name, of_log, LEARNED)
    yield Method("policy_forest", policy_forest.policy_forest, LEARNED, estimator="dr")
    yield from _with_ceiling(_every_weight("rm_interval", conditional.interval, asked="main"))
    yield from _with_ceiling(_every_weight("rm_affine", conditional.affine, asked="main"))
    yield from _with_ceiling(_every_weight("rm_conditional", conditional.plain, asked="main"))
    for kind in ("no_residual", "probabilities", "nearest"):
        yield _every_weight(f"rm_interval_{kind}", conditional.interpolated, kind=kind, asked="main")
    stand_in = partial(literature.published_stand_in, objective=OBJECTIVES["rm_softmax"])
    yield Method("published_stand_in", stand_in, LEARNED, trained=True, full=True, asked="name")


def _learned(name: str, objective: Objective, estimator: str = "dr", **more: Any) -> Method:
    run = partial(trained.learned, objective=objective, estimator=estimator, **more)
    return Method(name, run, LEARNED, trained=True, estimator=estimator)


def _every_weight(name: str, learn: Callable[..., Array], *, asked: Asked = "all", **more: Any) -> Method:
    run = partial(learn, **{"objective": EVERY_WEIGHT, **more})
    return Method(name, run, LEARNED, trained=True, estimator="dr", outcome_model="stack", asked=asked)


def _with_ceiling(method: Method) -> Iterator[Method]:
    """The method and the one whose name ends in ``_full``: the same learner shown every model's answer."""
    yield method
    run = partial(method.run, full=True)
    yield method._replace(name=f"{method.name}_full", run=run, kind=CEILING, estimator="", full=True)


METHODS = {method.name: method for method in _methods()}


def get(name: str) -> Method:
    """The method called ``name``; ``single:<model>`` is any one model.

    Raises:
        InputError: there is none.
    """
    if name.startswith("single:"):
        return Method(name, partial(untrained.single, model=name.removeprefix("single:")), NO_ROUTING)
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; the methods are: {', '.join(METHODS)}")
    return METHODS[name]


def chosen(config: Config) -> list[Method]:
    """The config's methods; none named: those of the main job, "*": every one that need not be named."""
    if config.methods and "*" not in config.methods:
        return [get(name) for name in config.methods if name != EVERY_SINGLE]
    asked = ("main", "all") if config.methods else ("main",)
    fitted = {*ALONE, *config.nuisance.outcome_models, *config.rivals}
    return [m for m in METHODS.values() if m.asked in asked and m.outcome_model in fitted]


def for_table(config: Config, models: tuple[str, ...], *, expected: bool) -> list[Method]:
    """`chosen`, less what needs known means where there are none (``expected``); every single model comes first, unless
    methods are named and EVERY_SINGLE is not."""
    singles = [get(f"single:{model}") for model in models]
    wanted = not config.methods or {"*", EVERY_SINGLE} & {*config.methods}
    return singles * bool(wanted) + [m for m in chosen(config) if expected or not m.expected]


def full_learners(config: Config) -> tuple[str, ...]:
    """The outcome models that are fitted on full feedback: none where no chosen ceiling reads one, else the nuisances'
    own, and the rivals that a ceiling reads."""
    read = {m.outcome_model for m in chosen(config) if m.full} - {""}
    own = config.nuisance.outcome_models
    return (*own, *(m for m in config.rivals if m in read and m not in own)) if read else ()


def with_kinds(results: pd.DataFrame) -> pd.DataFrame:
    """Results with the column ``kind`` that reports group by."""
    return results.assign(kind=results["method"].map(lambda name: get(name).kind))
