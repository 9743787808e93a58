"""The best routers of a sweep: one file of arrays per method and depth, no pickle.

kept = best_routers.load(folder / "routers" / "rm_softmax_entropic-64x64.safetensors")
index = best_routers.choose(kept, table.features, table.available)      # [S, L, N] into kept.models
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from experiments import storage
from jaxroute import projection
from jaxroute.engine import halving, networks, training
from jaxroute.projection import Projection
from jaxroute.types import Hyperparams, Params


class Kept(NamedTuple):
    """The best setting's routers at S seeds and L cost weights, ascending.

    models: K names. hidden: widths allocated. axes: what makes a seed's features, leaves [S, ...]. points: leaves
    [S, L], costs in the sweep's units. params: leaves [S, L, ...].
    """

    models: tuple[str, ...]
    hidden: tuple[int, ...]
    axes: Projection
    points: Hyperparams
    params: Params


def best(found: halving.Found, models: tuple[str, ...], hidden: tuple[int, ...], axes: Projection) -> Kept:
    """Of each cost weight's survivors, the setting of the best validation value, mean over seeds; ties: the first."""
    mean, weights = found.value[:, found.alive].mean(0, dtype=float), np.asarray(found.points.cost_weight)[0]
    columns = [np.flatnonzero(weights == w)[np.argmax(mean[weights == w])] for w in np.unique(weights)]
    points, params = jax.tree.map(lambda x: np.asarray(x)[:, columns], (found.points, found.state.best_params))
    return Kept(models, hidden, axes, points, params)


def save(path: Path, kept: Kept) -> None:
    """Write ``kept``, whole or not at all."""
    from safetensors.numpy import save

    leaves = jax.tree_util.tree_leaves_with_path((kept.axes, kept.points, kept.params))
    arrays = {_name(where): np.ascontiguousarray(leaf) for where, leaf in leaves}
    path.parent.mkdir(exist_ok=True)
    about = json.dumps({"models": kept.models, "hidden": kept.hidden})
    storage.write_bytes(path, save(arrays, {"about": about}))


def load(path: Path) -> Kept:
    """What `save` wrote."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["about"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    models, hidden = tuple(about["models"]), tuple(about["hidden"])
    params = jax.eval_shape(lambda key: networks.router(len(models), hidden).init(key, 1), jax.random.key(0))
    like = (Projection(*Projection._fields), Hyperparams(*Hyperparams._fields), params)  # type: ignore[arg-type]
    return Kept(models, hidden, *jax.tree_util.tree_map_with_path(lambda where, _: arrays[_name(where)], like))


def choose(kept: Kept, features: Float[np.ndarray, "N D"], available: Bool[np.ndarray, "N K"]) -> Int[Array, "S L N"]:
    """The model that every router chooses for each prompt, from the table's own features."""
    network = networks.router(len(kept.models), kept.hidden)
    given, answered = jnp.asarray(features), jnp.asarray(available)

    def one(axes: Projection, params: Params, width: Array) -> Array:
        return training.choose(network, params, projection.project(axes, given), answered, width)

    return jax.vmap(jax.vmap(one, (None, 0, 0)))(
        *jax.tree.map(jnp.asarray, (kept.axes, kept.params, kept.points.width))
    )


def _name(where: tuple) -> str:
    return jax.tree_util.keystr(where, simple=True, separator="/")
