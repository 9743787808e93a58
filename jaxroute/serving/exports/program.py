"""The scores of every kind of router at one cost weight, as matrices of two axes and few operations.

The formulas are those of docs/artefact.md. ``xp`` is ``jax.numpy`` or a graph of ONNX nodes with the same names
(`onnx.Graph`). Heads are split where the arrays are read, members are added one by one, and what depends on the cost
weight alone is looked up with ``take``; no row has a number of its own that is
spread over its columns. So compilers take the program that know no gather, reshape or broadcast of unknown sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxroute.serving.asking import Asked
from jaxroute.serving.portable import FLOOR
from jaxroute.serving.terms import LARGEST
from jaxroute.types import InputError

Tree = Mapping[str, Any]
F = np.float32


def outputs(xp: Any, router: Asked, kind: str, arrays: Tree, settings: Tree, x: Any, weight: Any) -> dict[str, Any]:
    """The outputs by name: scores [N, K], and quality and cost [N, K] where the kind predicts them.

    A program raises nothing: at a cost weight that ``route`` refuses the scores are NaN.

    Args:
        xp: the operations. router: whose removed models get -inf. kind, arrays, settings: as of ``portable.score``.
        x: features [N, D]. weight: one cost weight, a scalar.

    Raises:
        InputError: a kind that has no program.
    """
    if kind not in PROGRAMS:
        raise InputError(f"the kind {kind!r} cannot be exported; the kinds are: {', '.join(PROGRAMS)}")
    scores, predicted = PROGRAMS[kind](xp, arrays, settings, x, weight)
    most = LARGEST if router.costs_known else 0.0
    for fine in (weight >= F(0), weight * F(-1) >= F(-most)):
        scores = scores + xp.where(fine, F(0), F(np.nan))
    if not router.available.all():
        scores = scores + np.where(router.available, 0, -np.inf).astype(F)[None]
    named = {"scores": scores}
    if predicted is not None:
        quality, cost = predicted
        named |= {"quality": quality, "cost": cost} if router.costs_known else {"quality": quality}
    return named


def plug_in(xp: Any, arrays: Tree, settings: Tree, x: Any, weight: Any) -> Any:
    quality, cost = _student(xp, arrays["student"], x)
    return quality - cost * weight, (quality, cost)


def per_weight(xp: Any, arrays: Tree, settings: Tree, x: Any, weight: Any) -> Any:
    nearest = xp.argmin(xp.abs(weight - arrays["cost_weights"]), 0)
    x, shares = _projected(arrays["axes"], x), []
    temperature = xp.take(arrays["temperature"], nearest, 0)
    _, members, count = arrays["params"]["params"]["scores"]["bias"].shape
    masks = [_mask(arrays["width"], layer["bias"].shape[-1]) for layer in _trunk(arrays["params"])]
    masks = [xp.take(mask, nearest, 0) for mask in masks]
    for member in range(members):
        own = _map(arrays["params"], lambda p, m=member: xp.take(p[:, m], nearest, 0))
        z = _network(xp, own, x, masks) / temperature
        z = z - _row_max(xp, z, count)
        shares.append(z - xp.log(xp.exp(z) @ np.ones((count, count), F)))
    top = shares[0]
    for share in shares[1:]:
        top = xp.maximum(top, share)
    return xp.log(sum(xp.exp(share - top) for share in shares) * F(1 / len(shares))) + top, None


def interval(xp: Any, arrays: Tree, settings: Tree, x: Any, weight: Any) -> Any:
    scale = F(settings["cost_scale"])
    ends, weight = arrays["ends"] * scale, weight * scale
    x = _projected(arrays["axes"], x)
    low = xp.sum(xp.where(weight >= ends[1:-1], F(1), F(0)), 0).astype(np.int32)  # in 0..J-2
    before, after = xp.take(ends[:-1], low, 0), xp.take(ends[1:], low, 0)
    alpha = xp.minimum(xp.maximum((weight - before) / (after - before), F(0)), F(1))

    def mean(params: Tree, x: Any, lead: str | None = None) -> Any:
        members = params["params"]["scores"]["bias"].shape[0 if lead is None else 1]
        cut = {None: lambda p, m: p[m], "low": lambda p, m: xp.take(p[:-1, m], low, 0)}
        cut["high"] = lambda p, m: xp.take(p[1:, m], low, 0)
        nets = [_map(params, lambda p, m=m: cut[lead](p, m)) for m in range(members)]
        return sum(_network(xp, net, x) for net in nets) * F(1 / members)

    z_low, z_high = (mean(arrays["end_params"], x, side) for side in ("low", "high"))
    ends = np.log1p(ends)
    beside = (alpha, xp.take(ends[:-1], low, 0), xp.take(ends[1:], low, 0))
    h = mean(_shifted(xp, arrays["residual"], beside), x)
    return z_low * (F(1) - alpha) + z_high * alpha + h * (alpha * (F(1) - alpha)), None


def affine(xp: Any, arrays: Tree, settings: Tree, x: Any, weight: Any) -> Any:
    quality, cost = _student(xp, arrays["start"], x)
    x, found = _projected(arrays["axes"], x), []
    members = arrays["params"]["params"]["scores"]["bias"].shape[0]
    for member in range(members):
        params = _map(arrays["params"], lambda p, m=member: p[m])
        residual, log_factor = _heads(xp, _repeated(params, len(arrays["start"]["level"])), x)
        found.append(quality + residual - cost * xp.exp(log_factor) * weight)
    return sum(found) * F(1 / members) * F(1 / settings["eta"]), (quality, cost)


PROGRAMS = {"plug_in": plug_in, "per_weight": per_weight, "interval": interval, "affine": affine}


def _projected(axes: Tree, x: Any) -> Any:
    return (x - axes["mean"][None]) @ axes["basis"]


def _student(xp: Any, student: Tree, x: Any) -> tuple[Any, Any]:
    level = student["level"]
    count, x = len(level), _projected(student["axes"], x)
    quality, relative = _heads(xp, student["mlp"], x)
    linear, bias = student["linear"], student["bias"]
    quality = quality + x @ linear[:, :count] + bias[None, :count]
    relative = relative + x @ linear[:, count:] + bias[None, count:]
    return quality, xp.maximum(relative, F(FLOOR)) * level[None]


def _heads(xp: Any, params: Tree, x: Any) -> tuple[Any, Any]:
    """The first and the second half of a network's outputs, with a read-out each."""
    scores = params["params"]["scores"]
    x, half = _hidden(xp, params, x), scores["bias"].shape[-1] // 2
    kernel, bias = scores["kernel"], scores["bias"][None]
    return x @ kernel[:, :half] + bias[:, :half], x @ kernel[:, half:] + bias[:, half:]


def _repeated(params: Tree, count: int) -> Tree:
    """A network of count + 1 outputs as one of 2 count: the last output once for every model, as one number a row."""
    scores = params["params"]["scores"]
    wide = {name: np.repeat(part, [1] * count + [count], -1) for name, part in scores.items()}
    return {"params": {**params["params"], "scores": wide}}


def _row_max(xp: Any, z: Any, count: int) -> Any:
    """The greatest of every row in all its columns, [N, K]: of the row and its rotations by 1, 2, 4, ... columns."""
    step = 1
    while step < count:
        z = xp.maximum(z, z @ np.roll(np.eye(count, dtype=F), step, 1))
        step *= 2
    return z


def _network(xp: Any, params: Tree, x: Any, masks: list[Any] | None = None) -> Any:
    scores = params["params"]["scores"]
    return _hidden(xp, params, x, masks) @ scores["kernel"] + scores["bias"]


def _hidden(xp: Any, params: Tree, x: Any, masks: list[Any] | None = None) -> Any:
    for number, layer in enumerate(_trunk(params)):
        x = x @ layer["kernel"] + layer["bias"]
        x = x * (xp.tanh((x + x * x * x * F(0.044715)) * F(np.sqrt(2 / np.pi))) + F(1)) * F(0.5)
        if masks is not None:
            x = x * masks[number]
    return x


def _trunk(params: Tree) -> list[Tree]:
    trunk = params["params"].get("trunk", {})
    return [trunk[f"hidden_{number}"] for number in range(len(trunk))]


def _mask(width: np.ndarray, units: int) -> np.ndarray:
    """[L, H]: what every unit is multiplied by at every cost weight."""
    used = np.minimum(width, units)[:, None]
    return np.where(np.arange(units)[None] < used, np.sqrt(units / used), 0).astype(F)


def _shifted(xp: Any, params: Tree, numbers: tuple[Any, ...]) -> Tree:
    """A network of d + 3 inputs as one of d: what the last three add, the same for every row, is in the first bias."""
    tree = params["params"]
    first = "scores" if "trunk" not in tree else "hidden_0"
    layer = tree["scores"] if first == "scores" else tree["trunk"][first]
    kernel, bias = layer["kernel"], layer["bias"]
    d = kernel.shape[1] - len(numbers)
    moved = {"kernel": kernel[:, :d], "bias": _Members(bias, [kernel[:, d + i] for i in range(len(numbers))], numbers)}
    if first == "scores":
        return {"params": {**tree, "scores": moved}}
    return {"params": {**tree, "trunk": {**tree["trunk"], first: moved}}}


class _Members:
    """Biases [M, H] plus numbers times rows [M, H]; item m is the sum for member m."""

    def __init__(self, bias: np.ndarray, rows: list[np.ndarray], numbers: tuple[Any, ...]) -> None:
        self.bias, self.rows, self.numbers, self.shape = bias, rows, numbers, bias.shape

    def __getitem__(self, member: int) -> Any:
        found = self.bias[member]
        for row, number in zip(self.rows, self.numbers, strict=True):
            found = number * row[member] + found
        return found


def _map(tree: Any, cut: Any) -> Any:
    return {name: _map(part, cut) for name, part in tree.items()} if isinstance(tree, Mapping) else cut(tree)
