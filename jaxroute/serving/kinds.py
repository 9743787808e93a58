"""The kinds of router: what is kept of each, and the scores that it gives a prompt at a cost weight.

    plug_in      score_k = quality_k(x) - w cost_k(x)                              one network predicts, utility decides
    per_weight   score_k = log mean_m softmax(z_m(x) / temperature)_k              M networks for each of L cost weights
    interval     (1 - alpha) z_lo(x) + alpha z_hi(x) + alpha (1 - alpha) h(x, w)   networks at J ends, one in between
    affine       (A(x) - w B(x)) / eta                                             a plug-in and its correction

Each is a frozen record of arrays and of a few static settings, and a pytree, so that ``jit`` takes it as it is:

    kind.scores(features [N, D], cost_weight [N]) -> [N, K]     the argmax is the choice
    kind.predict(features) -> Outcomes [N, K]                   None where a kind predicts no quality and no cost

A new kind is one such record and its line in ``KINDS``, its arrays in `layout`, and the same scores in NumPy
(`portable`), with which routers decide; `router` and `folder` know no kind by name. Cost weights are per unit of the
data's cost, everywhere and never normalised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Int

from jaxroute.counterfactual import utility
from jaxroute.engine import networks
from jaxroute.projection import Projection, project
from jaxroute.serving import distil, layout
from jaxroute.serving.distil import Student
from jaxroute.types import InputError, Outcomes, Params

Features = Float[Array, "N D"]
Weights = Float[Array, " N"]
Scores = Float[Array, "N K"]


STATIC = {"static": True}  # of a field that is no array


class Kind(Protocol):
    """What `serving.router.Router` asks of a kind."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def num_features(self) -> int: ...

    def scores(self, features: Features, cost_weight: Weights) -> Scores: ...

    def predict(self, features: Features) -> Outcomes | None: ...


@register_dataclass
@dataclass(frozen=True, eq=False)
class PlugIn:
    """Quality and cost predicted by one network; the choice is the best predicted utility.

    student: of ``distil.fit``. hidden: the widths it was fitted with.

    Example:
        >>> axes = Projection(jnp.zeros(2), jnp.eye(2), jnp.ones(2))
        >>> mlp = networks.router(4, ()).init(jax.random.key(0), 2)           # starts at zero: the ridge decides
        >>> bias = jnp.array([0.5, 0.75, 1.0, 1.0])
        >>> kind = PlugIn(Student(axes, jnp.zeros((2, 4)), bias, mlp, jnp.array([1.0, 3.0])), hidden=())
        >>> print(kind.scores(jnp.zeros((2, 2)), jnp.array([0.0, 0.25])))
        [[0.5  0.75]
         [0.25 0.  ]]
    """

    student: Student
    hidden: tuple[int, ...] = field(metadata=STATIC)

    @property
    def num_features(self) -> int:
        return int(self.student.axes.mean.shape[0])

    def scores(self, features: Features, cost_weight: Weights) -> Scores:
        """[N, K] predicted utilities."""
        return utility(self.predict(features), cost_weight)

    def predict(self, features: Features) -> Outcomes:
        """Predicted quality and cost, [N, K] each."""
        return distil.predict(self.student, features, self.hidden)


@register_dataclass
@dataclass(frozen=True, eq=False)
class PerWeight:
    """Networks trained at L cost weights; a prompt asks those of the nearest one, the lower of two equally near.

    The members' policies over all models are averaged; among the models that can be chosen the likeliest is taken.

    axes: of the features. cost_weights: [L] ascending. params: leaves [L, M, ...] of ``networks.router``. hidden:
    widths allocated. temperature: [L] of the softmax, in units of the scores. width: [L] hidden units in use.

    Example:
        >>> axes = Projection(jnp.zeros(2), jnp.eye(2), jnp.ones(2))
        >>> params = networks.router(3, ()).init(jax.random.key(0), 2)
        >>> params = jax.tree.map(lambda x: jnp.zeros((2, 1, *x.shape)), params)
        >>> params["params"]["scores"]["bias"] = jnp.array([[[0.0, 1.0, 2.0]], [[2.0, 1.0, 0.0]]])
        >>> kind = PerWeight(axes, jnp.array([0.0, 5.0]), params, (), jnp.ones(2), jnp.full(2, 8))
        >>> print(kind.scores(jnp.zeros((2, 2)), jnp.array([2.0, 3.0])).argmax(1))
        [2 0]
    """

    axes: Projection
    cost_weights: Float[Array, " L"]
    params: Params
    hidden: tuple[int, ...] = field(metadata=STATIC)
    temperature: Float[Array, " L"]
    width: Int[Array, " L"]

    @property
    def num_features(self) -> int:
        return int(self.axes.mean.shape[0])

    def scores(self, features: Features, cost_weight: Weights) -> Scores:
        """[N, K] log probabilities of the members' mean policy at the nearest cost weight."""
        network = networks.router(networks.num_outputs(self.params), self.hidden)
        nearest = jnp.argmin(jnp.abs(self.cost_weights[None] - cost_weight[:, None]), 1)

        def at(point: tuple[Params, Array, Array], x: Features) -> Scores:
            params, temperature, width = point
            z = jax.vmap(network.apply, (0, None, None))(params, x, width)
            share = jax.nn.log_softmax(z / temperature, -1)
            return jax.scipy.special.logsumexp(share, 0) - jnp.log(z.shape[0])

        return _each(at, (self.params, self.temperature, self.width), nearest, project(self.axes, features))

    def predict(self, features: Features) -> None:
        """None: it decides without predicting quality and cost."""
        return None


@register_dataclass
@dataclass(frozen=True, eq=False)
class Interval:
    """RM-Interval: networks at the ends of the intervals of cost weights and one residual network in between.

        (1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h(x, alpha, lo, hi),    members' means of z and h

    A cost weight beyond the ends is decided at the nearest end.

    axes: of the features. ends: [J] ascending cost weights. end_params: leaves [J, M, ...]. residual: leaves
    [M, ...]. hidden: widths of all. cost_scale: the networks were trained on ends times cost_scale.
    """

    axes: Projection
    ends: Float[Array, " J"]
    end_params: Params
    residual: Params
    hidden: tuple[int, ...] = field(metadata=STATIC)
    cost_scale: float = field(metadata=STATIC)

    @property
    def num_features(self) -> int:
        return int(self.axes.mean.shape[0])

    def scores(self, features: Features, cost_weight: Weights) -> Scores:
        """[N, K] in the networks' own units."""
        x, num_models = project(self.axes, features), networks.num_outputs(self.residual)
        end, between = (make(num_models, self.hidden) for make in (networks.router, networks.interval))
        z = jax.vmap(jax.vmap(end.apply, (0, None)), (0, None))(self.end_params, x)  # [J, M, N, K]
        initial = jnp.moveaxis(jnp.mean(z, 1), 0, 1)

        def member(params: Params) -> Scores:
            scale = self.cost_scale
            return between.apply(params, x, initial, self.ends * scale, cost_weight * scale, networks.FULL_WIDTH)

        return jnp.mean(jax.vmap(member)(self.residual), 0)

    def predict(self, features: Features) -> None:
        """None: it decides without predicting quality and cost."""
        return None


@register_dataclass
@dataclass(frozen=True, eq=False)
class Affine:
    """Scores linear in the cost weight: a plug-in's, with a learnt correction to each side of the trade.

        (A - w B) / eta,   A = quality + residual,   B = cost exp(log_factor),    mean over M members

    start, start_hidden: the plug-in that it corrects, and its widths; what is predicted is what that one predicts.
    axes: of the features. params: leaves [M, ...]. hidden: their widths. eta: scale of the scores, quality units.
    """

    start: Student
    start_hidden: tuple[int, ...] = field(metadata=STATIC)
    axes: Projection
    params: Params
    hidden: tuple[int, ...] = field(metadata=STATIC)
    eta: float = field(metadata=STATIC)

    @property
    def num_features(self) -> int:
        return int(self.axes.mean.shape[0])

    def scores(self, features: Features, cost_weight: Weights) -> Scores:
        """[N, K] corrected utilities over eta."""
        network = networks.affine(self.start.level.shape[0], self.hidden, self.eta)
        x, initial = project(self.axes, features), self.predict(features)

        def member(params: Params) -> Scores:
            return network.apply(params, x, initial, (), cost_weight, networks.FULL_WIDTH)

        return jnp.mean(jax.vmap(member)(self.params), 0)

    def predict(self, features: Features) -> Outcomes:
        """Quality and cost as the plug-in predicts them, uncorrected, [N, K] each."""
        return distil.predict(self.start, features, self.start_hidden)


KINDS: dict[str, type[Any]] = {"plug_in": PlugIn, "per_weight": PerWeight, "interval": Interval, "affine": Affine}
"""By the name that a saved router has for it."""


def name_of(kind: Kind) -> str:
    """The name that a saved router has for a kind.

    Raises:
        InputError: a record that is none of ``KINDS``.
    """
    for name, record in KINDS.items():
        if type(kind) is record:
            return name
    raise InputError(f"{type(kind).__name__} is not a kind of router; the kinds are: {', '.join(KINDS)}")


def settings(kind: Kind) -> dict[str, Any]:
    """The static fields, for JSON."""
    return {f.name: getattr(kind, f.name) for f in dataclasses.fields(kind) if f.metadata.get("static")}


def arrays(kind: Kind) -> dict[str, Any]:
    """The other fields: arrays, and nests of dicts and records of them."""
    return {f.name: getattr(kind, f.name) for f in dataclasses.fields(kind) if not f.metadata.get("static")}


def of_arrays(name: str, tree: dict[str, Any], settings: dict[str, Any]) -> Any:
    """The kind of this name in ``KINDS`` from its ``arrays``, as nested dicts, and its ``settings``.

    Raises:
        TypeError: a field is missing or unknown.
    """
    static = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return KINDS[name](**{key: _records(key, part) for key, part in tree.items()}, **static)


def check(kind: Kind, num_models: int) -> None:
    """See ``layout.check``.

    Raises:
        InputError: names the first array or setting that does not fit.
    """
    layout.check(name_of(kind), settings(kind), num_models, layout.flat(arrays(kind)))


def in_32_bits(kind: Any) -> Any:
    """The same with arrays as an artefact holds them, also where JAX computed in 64 bits."""
    return jax.tree.map(lambda x: x.astype(jnp.float32 if jnp.issubdtype(x.dtype, jnp.floating) else jnp.int32), kind)


def on_host(tree: Any) -> Any:
    """The same nest as dicts of NumPy arrays, as `portable` takes it."""
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    return {name: on_host(part) for name, part in tree.items()} if isinstance(tree, dict) else np.asarray(tree)


_RECORDS: dict[str, Callable[..., Any]] = {"axes": Projection, "student": Student, "start": Student}


def _records(name: str, tree: Any) -> Any:
    if not isinstance(tree, dict):
        return jnp.asarray(tree)
    parts = {key: _records(key, part) for key, part in tree.items()}
    return _RECORDS[name](**parts) if name in _RECORDS else parts


def _each(apply: Callable[[Any, Array], Scores], params: Any, index: Int[Array, " N"], x: Array) -> Scores:
    """Row i is ``apply(params[index_i], x)_i``; what no row asks for is not computed."""

    def first(params: Any) -> Scores:
        return apply(jax.tree.map(lambda p: p[0], params), x)

    def add(number: Array, found: Scores) -> Scores:
        mine = index == number
        chosen = jax.tree.map(lambda p: p[number], params)
        return jax.lax.cond(mine.any(), lambda: jnp.where(mine[:, None], apply(chosen, x), found), lambda: found)

    like = jax.eval_shape(first, params)
    return jax.lax.fori_loop(0, len(jax.tree.leaves(params)[0]), add, jnp.zeros(like.shape, like.dtype))
