"""The methods that are compared: one list, a line each, all on the same splits, logs and nuisances.

What a method is (how reports group it, whether it trains a network, which outcome model it reads, ...) stands in its
`Method` record; nothing is read from its name. ``ceiling=True`` adds a method whose name ends in ``_full``: the same
learner shown every model's outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from experiments.methods import conditional, literature, low_rank, trained, untrained
from experiments.methods.arena import Asked, Method
from experiments.settings import Config
from jaxroute import losses
from jaxroute.learn.objectives import OBJECTIVES, bind
from jaxroute.report import KINDS
from jaxroute.types import InputError, Objective

LEARNED, PLUG_IN, NO_ROUTING, CEILING = KINDS
OUTCOME_MODELS = ("ridge", "hierarchical", "knn", "gp", "mlp", "trees", "stack")
ESTIMATORS = ("dm", "ipw", "switch", "dros", "pessimistic")
SURROGATES = ("rm_classification", "rm_softmax", "rm_softmax_entropic")
"""The losses of `make experiment`, and those whose routers also start as the stacked plug-in."""


EVERY_WEIGHT = "rm_softmax_entropic"
"""The loss of routers of every cost weight: its entropy gives the end routers' scores a common scale."""
SQUARED_ERROR = bind(losses.squared_utility_error)


def _methods() -> Iterator[Method]:
    """Every method but the single models, in the order in which they run."""
    yield Method("random", untrained.uniform, NO_ROUTING, asked="main")
    yield Method("cheapest", partial(untrained.by_cost, sign=-1.0), NO_ROUTING, asked="main")
    yield Method("dearest", partial(untrained.by_cost, sign=1.0), NO_ROUTING)
    yield from _with_ceiling(Method("best_single", untrained.best_single, NO_ROUTING, asked="main"))
    yield Method("oracle", untrained.oracle, CEILING, asked="main")
    yield Method("conditional_oracle", untrained.conditional_oracle, CEILING, asked="main", expected=True)
    for model in OUTCOME_MODELS:
        yield from _plug_in(f"plug_in_{model}", model)
    yield from _plug_in("recommended", "recommended")
    for name, loss in OBJECTIVES.items():
        yield from _with_ceiling(_learned(name, loss, asked="main" if name in SURROGATES else "all"))
        yield _learned(f"{name}_ensemble", loss, members=trained.MEMBERS)
    for estimator in ESTIMATORS:
        yield _learned(f"rm_softmax_{estimator}", OBJECTIVES["rm_softmax"], estimator)
    for name in ("rm_softmax_entropic", "rm_classification"):
        yield _learned(f"{name}_dm", OBJECTIVES[name], "dm")
    for name in SURROGATES:
        run = partial(conditional.affine, name=f"{name}_started", objective=OBJECTIVES[name], gated=False)
        yield Method(f"{name}_started", run, LEARNED, trained=True, estimator="dr")
    yield _learned("plug_in_student", SQUARED_ERROR, "dm")._replace(kind=PLUG_IN)
    yield _learned("plug_in_student_dr", SQUARED_ERROR)._replace(kind=PLUG_IN)
    yield from _with_ceiling(Method("knn_guarded", literature.guarded_neighbours, PLUG_IN))
    for name, model in (("knn", "knn"), ("linear", "ridge")):
        run = partial(literature.carrot, outcome_model=model)
        yield Method(f"carrot_{name}", run, PLUG_IN, outcome_model=model)
    yield from _with_ceiling(Method("low_rank", low_rank.low_rank, PLUG_IN))
    for name, learner in conditional.LEARNERS.items():
        run = partial(learner, name=name, objective=OBJECTIVES[EVERY_WEIGHT])
        yield from _with_ceiling(Method(name, run, LEARNED, True, "dr", "stack", asked="main"))
    for ablation in conditional.ABLATIONS:
        run = partial(conditional.interpolated, kind=ablation, objective=OBJECTIVES[EVERY_WEIGHT])
        yield Method(f"rm_interval_{ablation}", run, LEARNED, True, "dr", "stack", asked="main")
    yield Method("published_stand_in", literature.published_stand_in, LEARNED, trained=True, full=True, asked="name")


def _plug_in(name: str, model: str) -> Iterator[Method]:
    run = partial(untrained.plug_in, outcome_model=model)
    yield from _with_ceiling(Method(name, run, PLUG_IN, outcome_model=model, asked="main"))


def _learned(name: str, objective: Objective, estimator: str = "dr", *, asked: Asked = "all", **more: Any) -> Method:
    run = partial(trained.learned, name=name, objective=objective, estimator=estimator, **more)
    return Method(name, run, LEARNED, trained=True, estimator=estimator, asked=asked)


def _with_ceiling(method: Method) -> Iterator[Method]:
    name = f"{method.name}_full"
    run = partial(method.run, full=True, **({"name": name} if method.trained else {}))
    yield method
    yield method._replace(name=name, run=run, kind=CEILING, estimator="", full=True)


METHODS = {method.name: method for method in _methods()}


def get(name: str) -> Method:
    """The method called ``name``; ``single:<model>`` is any one model.

    Raises:
        InputError: there is none.
    """
    if name.startswith("single:"):
        return Method(name, partial(untrained.single, model=name.removeprefix("single:")), NO_ROUTING)
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; there are: {', '.join(METHODS)}")
    return METHODS[name]


def chosen(config: Config) -> list[Method]:
    """The config's methods; none named: those of the main job, "*": every one that need not be named."""
    if config.methods and "*" not in config.methods:
        return [get(name) for name in config.methods]
    asked = ("main", "all") if config.methods else ("main",)
    fitted = {"", "stack", "recommended", *config.nuisance.outcome_models, *config.rivals}
    return [m for m in METHODS.values() if m.asked in asked and m.outcome_model in fitted]


def for_table(config: Config, models: tuple[str, ...], *, expected: bool) -> list[Method]:
    """`chosen`, with every single model first where none are named, less what needs known means (``expected``)."""
    methods = chosen(config)
    if config.methods and "*" not in config.methods:
        return methods
    return [get(f"single:{model}") for model in models] + [m for m in methods if expected or not m.expected]


def full_learners(config: Config) -> tuple[str, ...]:
    """The outcome models that are fitted on full feedback: none where no chosen ceiling reads one, else the nuisances'
    own, and the rivals that a ceiling reads."""
    read = {m.outcome_model for m in chosen(config) if m.full} - {""}
    own = config.nuisance.outcome_models
    return (*own, *(m for m in config.rivals if m in read and m not in own)) if read else ()


def with_kinds(results: pd.DataFrame) -> pd.DataFrame:
    """Results with the column ``kind`` that reports group by."""
    return results.assign(kind=results["method"].map(lambda name: get(name).kind))
