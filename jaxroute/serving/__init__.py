"""Routers to keep: what decides, its folder, and what a log says of it.

    router = serving.load("router")                                  # NumPy alone: JAX is not imported
    router.route(["What is 2 + 2?"], budget=0.002).models

portable    the scores of every kind in NumPy, of `dense` networks and in `blocks`; ``load`` reads a folder
batches     the models of a batch, for ray.data and datasets
router      a router that was fitted; `kinds` what it decides with, in JAX
asking      how it is asked: on what `terms`, with what `inputs`, for which `decisions`
folder      its files; `layout` their arrays, `schema` their JSON, `vectors` what they decide on ten prompts
evaluation  what a later log, or a table, says of a router; `comparison` of two, `ranking` of several
views       a log as a router sees it
posterior   how uncertain a router is of every model, and `exploring`: which other model to try
distil      one network in the place of a recipe
export      StableHLO; `exports` folders for other runtimes
"""

from typing import TYPE_CHECKING

from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute.serving.decisions import Decision as Decision
    from jaxroute.serving.portable import load as load
    from jaxroute.serving.router import Router as Router
else:
    __getattr__, __dir__ = lazy(
        __name__,
        (
            "asking",
            "batches",
            "blocks",
            "comparison",
            "decisions",
            "dense",
            "distil",
            "evaluation",
            "export",
            "exports",
            "folder",
            "inputs",
            "kinds",
            "layout",
            "portable",
            "posterior",
            "ranking",
            "router",
            "schema",
            "terms",
            "vectors",
            "views",
        ),
        {"Decision": f"{__name__}.decisions", "Router": f"{__name__}.router", "load": f"{__name__}.portable"},
    )
