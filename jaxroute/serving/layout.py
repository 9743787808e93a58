"""The arrays of every kind of router: their names, shapes and types, and what their numbers must be; NumPy alone.

    D features, d components, K models, L cost weights, J ends, M members, H the units of a layer

``expected`` is the table of docs/artefact.md as code, and ``check`` holds the arrays of a folder, or of a router made
in memory, against it. Names are paths: "student/axes/mean" is mean in axes in student.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxroute.types import InputError


class Array(NamedTuple):
    """What an array must be."""

    shape: tuple[int, ...]
    dtype: str = "float32"


SETTINGS = {
    "plug_in": {"hidden"},
    "per_weight": {"hidden"},
    "interval": {"hidden", "cost_scale"},
    "affine": {"hidden", "start_hidden", "eta"},
}
"""What `router.json` says of each kind beside its arrays."""
ASCENDING = {"cost_weights": 1, "ends": 2}
"""Arrays of cost weights that ascend from 0 or more, and how many there are at least."""
POSITIVE = ("temperature", "width", "level")
CURVE = ("cost_weight", "cost", "quality", "cost_error", "quality_error", "decided_at")
"""Under "curve/", all [P] and float64 (or float32); `policies.curves.Curve` checks the numbers."""

POSTERIOR = ("weights", "factor", "misfit", "noise")
"""Under "posterior/": see `posterior.Posterior`."""


def expected(kind: str, settings: Mapping[str, Any], num_models: int, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a kind of router, without its curve.

    Args:
        kind: name. settings: of ``SETTINGS``. num_models: K. arrays: by name; D, d, L, J and M are taken from them.

    Raises:
        InputError: an array that says one of these is missing.
    """

    def size(name: str, axis: int = 0) -> int:
        if name not in arrays:
            raise InputError(f"array {name!r}: is missing")
        shape = np.shape(arrays[name])
        if axis >= len(shape):
            raise InputError(f"array {name!r}: has {len(shape)} axes, expected at least {axis + 1}")
        return int(shape[axis])

    def projection(name: str) -> tuple[int, dict[str, Array]]:
        features, kept = (size(f"{name}/basis", axis) for axis in (0, 1))
        parts = {"mean": (features,), "basis": (features, kept), "deviation": (kept,)}
        return kept, {f"{name}/{part}": Array(shape) for part, shape in parts.items()}

    def network(name: str, outputs: int, hidden: tuple[int, ...], inputs: int, *lead: int) -> dict[str, Array]:
        layers = [f"trunk/hidden_{number}" for number in range(len(hidden))] + ["scores"]
        found = {}
        for layer, units in zip(layers, (*hidden, outputs), strict=True):
            found[f"{name}/params/{layer}/kernel"] = Array((*lead, inputs, units))
            found[f"{name}/params/{layer}/bias"] = Array((*lead, units))
            inputs = units
        return found

    def student(name: str, hidden: tuple[int, ...]) -> dict[str, Array]:
        kept, axes = projection(f"{name}/axes")
        heads = 2 * num_models
        parts = {"linear": (kept, heads), "bias": (heads,), "level": (num_models,)}
        own = {f"{name}/{part}": Array(shape) for part, shape in parts.items()}
        return {**axes, **own, **network(f"{name}/mlp", heads, hidden, kept)}

    hidden = tuple(settings["hidden"])
    if kind == "plug_in":
        return student("student", hidden)
    kept, found = projection("axes")
    if kind == "per_weight":
        count, members = size("cost_weights"), size("params/params/scores/bias", 1)
        found |= {name: Array((count,)) for name in ("cost_weights", "temperature")}
        found["width"] = Array((count,), "int32")
        return found | network("params", num_models, hidden, kept, count, members)
    if kind == "interval":
        count, members = size("ends"), size("end_params/params/scores/bias", 1)
        found["ends"] = Array((count,))
        found |= network("end_params", num_models, hidden, kept, count, members)
        return found | network("residual", num_models, hidden, kept + 3, size("residual/params/scores/bias"))
    members = size("params/params/scores/bias")
    found |= student("start", tuple(settings["start_hidden"]))
    return found | network("params", num_models + 1, hidden, kept, members)


def check(kind: str, settings: Mapping[str, Any], num_models: int, arrays: Mapping[str, Any]) -> None:
    """Every array is there, finite, and of the shape and type that the others and the number of models ask for.

    Args:
        kind, settings, num_models: as for ``expected``. arrays: by name, without the curve.

    Raises:
        InputError: names the first that is not, or a setting.
    """
    _check_settings(kind, settings)
    wanted = expected(kind, settings, num_models, arrays)
    if odd := sorted(arrays.keys() ^ wanted.keys()):
        raise InputError(f"array {odd[0]!r}: {'is missing' if odd[0] in wanted else 'does not belong to this kind'}")
    for name, one in arrays.items():
        array = np.asarray(one)
        if array.shape != wanted[name].shape or str(array.dtype) != wanted[name].dtype:
            asked = f"{wanted[name].dtype}{list(wanted[name].shape)}"
            raise InputError(f"array {name!r}: is {array.dtype}{list(array.shape)}, expected {asked}")
        if not np.isfinite(array).all():
            raise InputError(f"array {name!r}: holds numbers that are not finite")
        last = name.rpartition("/")[2]
        if last in POSITIVE and not (array > 0).all():
            raise InputError(f"array {name!r}: the numbers must be positive, got {array.min():g}")
        if last in ASCENDING:
            _check_ascending(name, array, ASCENDING[last])
    if len({arrays[name].shape for name in ("axes/mean", "start/axes/mean") if name in arrays}) > 1:
        raise InputError("arrays 'axes/mean' and 'start/axes/mean': take features of different widths")


def check_curve(arrays: Mapping[str, np.ndarray]) -> None:
    """InputError unless the names and types are those of a curve, all of them or none; see ``CURVE``."""
    if odd := sorted(arrays.keys() - set(CURVE)) or (arrays and sorted(set(CURVE[:-1]) - arrays.keys())):
        raise InputError(f"array 'curve/{odd[0]}': {'does not belong there' if odd[0] in arrays else 'is missing'}")
    for name, array in arrays.items():
        if str(array.dtype) not in ("float64", "float32"):
            raise InputError(f"array 'curve/{name}': is {array.dtype}, expected float64")


def check_posterior(arrays: Mapping[str, np.ndarray]) -> None:
    """InputError unless the names are those of a posterior (`posterior.check` has the shapes), all of them or none."""
    if arrays and (odd := sorted(arrays.keys() ^ set(POSTERIOR))):
        says = "does not belong there" if odd[0] in arrays else "is missing"
        raise InputError(f"array 'posterior/{odd[0]}': {says}")


def _check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    if odd := sorted(settings.keys() ^ SETTINGS[kind]):
        says = "is missing" if odd[0] in SETTINGS[kind] else f"does not belong to the kind {kind}"
        raise InputError(f"setting {odd[0]!r}: {says}")
    for name, value in settings.items():
        if name.endswith("hidden"):
            widths = isinstance(value, list | tuple) and all(type(units) is int and units > 0 for units in value)
            if not widths:
                raise InputError(f"setting {name!r}: is {value!r}; it must be a list of positive whole numbers")
        elif not (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf):
            raise InputError(f"setting {name!r}: is {value!r}; it must be a positive, finite number")


def _check_ascending(name: str, weights: np.ndarray, least: int) -> None:
    if len(weights) < least or not weights[0] >= 0 or not (np.diff(weights) > 0).all():
        raise InputError(
            f"array {name!r}: needs at least {least} cost weights that ascend from 0 or more, got {weights.tolist()}"
        )


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nest of dicts and NamedTuples as {"a/b/c": leaf}."""
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if not isinstance(tree, dict):
        return {prefix.removesuffix("/"): tree}
    return {name: leaf for key, part in tree.items() for name, leaf in flat(part, f"{prefix}{key}/").items()}
