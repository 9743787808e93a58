"""What exploration costs and proves on the prompts of a log: the numbers of ``jaxroute explore``. Host side, NumPy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.serving.exploring import Explorer
    from jaxroute.serving.portable import Portable

PROMPTS = 1000
"""Of the log, drawn at random: a mean share errs by at most 0.016."""
FLOORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MONTH = 30.0
TINY = 1e-9
"""Rounding of probabilities, utilities and relative costs."""


class Requests(NamedTuple):
    """What a router says of prompts: all [N, K]; target: the router that is to be proven better. age: of `Scene`.

    available: [N, K] models that could answer; the others are never chosen, and never tried.
    """

    greedy: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    cost: np.ndarray
    beats: np.ndarray
    target: np.ndarray
    age: np.ndarray
    available: np.ndarray


class Proof(NamedTuple):
    """gain: to prove, in quality units. answers: rated requests a day."""

    gain: float
    answers: float

    def of(self, found: Requests, probabilities: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """Rated rows, and days, after which a gain of ``target`` over the router is proven; inf: never.

        At least as many rows as let `jaxroute evaluate` and ``compare`` judge the target, see ``rows_that_count``, and
        never where the two part on too few prompts for a gain of this size, as qualities are in [0, 1].
        """
        from jaxroute.estimators import planning

        if self.gain > parting(target, found.greedy) + TINY:
            return {"rows": float("inf"), "days": float("inf")}
        utility = np.where(np.isfinite(found.mean), found.mean, 0.0)
        deviation = planning.row_deviation(target, found.greedy, probabilities, found.error, utility)
        rows = float("inf") if deviation == 0 else planning.rows_needed(self.gain, deviation)
        rows = max(rows, *(rows_that_count(one, probabilities) for one in (target, found.greedy)))
        return {"rows": rows, "days": rows / self.answers}


def parting(target: np.ndarray, greedy: np.ndarray) -> float:
    """Share of the prompts on which two policies [N, K] choose differently: the most that one can gain on the other.

    >>> parting(np.eye(2), np.eye(2)[[0, 0]])
    0.5
    """
    return float(np.abs(target - greedy).sum(1).mean() / 2)


def evidence_from(probability: float, count: int) -> float:
    """Rated rows from which a choice is evidence that is made with this logged probability, one of so many models.

    From twice ``estimators.evaluation_clip`` it always is; below, the log has to be long enough
    (``estimators.trusted_clip``). A log says the probability of what was chosen, and that of the other models is
    fitted, so that half of it may be taken for it.

    >>> evidence_from(0.1, 2), evidence_from(0.02, 2), evidence_from(0.0, 2)
    (0.0, 10000.0, inf)
    """
    from jaxroute.estimators import evaluation_clip
    from jaxroute.estimators.trusted import TRUSTED_ROWS

    if probability >= 2 * evaluation_clip(count) * (1 - 1e-6):
        return 0.0
    return 2 * TRUSTED_ROWS / probability if probability > 0 else float("inf")


def rows_that_count(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Rated rows from which a target's choices [N, K] are evidence, but for so many as are let pass.

    >>> rows_that_count(np.eye(2), np.array([[0.9, 0.1], [0.98, 0.02]]))
    10000.0
    """
    from jaxroute.estimators import verdict

    mass, tried = target.ravel() / target.sum(), probabilities.ravel()
    order = np.argsort(tried)
    below = np.cumsum(mass[order])
    least = tried[order][np.searchsorted(below, verdict.LARGEST_UNSUPPORTED_MASS + 1e-9)]
    return evidence_from(float(least), target.shape[1])


def requests(router: Portable, other: Portable | None, table: Any, weight: float) -> Requests:
    """What the router, and the candidate, say of the log's prompts at a cost weight.

    Raises:
        InputError: the candidate knows other models.
    """
    from scipy.special import ndtr

    from jaxroute.serving.exploring import LEVEL, ages

    if other is not None and other.models != router.models:
        raise InputError(
            f"--candidate: knows {', '.join(other.models)}, the router {', '.join(router.models)}; they differ"
        )
    raw = table.features if table.features is not None else table.prompt
    rows = _drawn(len(raw), table.weight)
    beside = {name: np.asarray(column)[rows] for name, column in table.context.items()}
    available = _available(router, table)[rows]
    raw = np.asarray(raw)[rows]
    raw = raw if table.features is not None else list(raw)
    x, count = router.features(raw, beside if router.context else None), len(router.models)
    mean, sd = router.posterior(x, weight)
    assert router.last_layer is not None
    noise = router.last_layer.noise
    error = np.sqrt(sd**2 + noise[0] ** 2 + (weight * noise[1]) ** 2)
    cost = router.predict(x)[1]

    def best(scores: np.ndarray) -> np.ndarray:
        return np.eye(count)[np.where(available, scores, -np.inf).argmax(1)]

    greedy = best(router.scores(x, weight))
    chosen = greedy.argmax(1)[:, None]
    behind = mean - np.take_along_axis(mean, chosen, 1)
    beats = ndtr(behind / np.maximum(np.hypot(sd, np.take_along_axis(sd, chosen, 1)), 1e-12))
    beats = np.where((greedy > 0) | ~available, 0.0, beats)
    if other is None:
        target = np.where(beats.max(1, keepdims=True) >= LEVEL, np.eye(count)[beats.argmax(1)], greedy)
    else:
        target = best(other.scores(raw, weight, beside if other.context else None))
    age = ages(router.models, router.summary)
    age = np.broadcast_to(0.0 if age is None else age, mean.shape)
    return Requests(greedy, mean, sd, error, cost, beats, target, age, available)


def _drawn(count: int, weight: np.ndarray | None) -> np.ndarray:
    """Rows of the log, at random: where rows stand for several requests, each as often as these would be drawn."""
    rng = np.random.default_rng(0)
    if weight is None:
        return np.sort(rng.permutation(count)[:PROMPTS])
    return np.sort(rng.choice(count, PROMPTS, p=np.asarray(weight, float) / np.sum(weight)))


def _available(router: Portable, table: Any) -> np.ndarray:
    """[N, K] models that could answer: those of the row's own list, and of the router's without removed ones.

    Raises:
        InputError: the router knows none of the log's models, or may choose none of those that could answer a row.
    """
    router.check_known(table.models)
    found = np.broadcast_to(router.available, (len(table.available), len(router.models))).copy()
    for k, model in enumerate(router.models):
        if model in table.models:
            found[:, k] &= table.available[:, table.models.index(model)]
        else:  # where all of the log's models could answer, so could this one
            found[:, k] &= table.available.all(1)
    if not (able := found.any(1)).all():
        raise InputError(
            f"row {int(np.argmin(able))}: all models that could answer are removed from the router, or unknown to it; "
            "drop the row"
        )
    return found


def settings(policy: str | None, epsilon: float, floor: float, candidate: Path | None) -> list[Explorer]:
    """The explorations that are asked about."""
    from jaxroute.serving.exploring import POLICIES, Explorer

    names = [policy] if policy is not None else [name for name in POLICIES if name != "softmax"]
    if policy == "evaluation" and candidate is None:
        raise InputError("--policy evaluation: name the router that is to be valued with --candidate")
    aims = {name: str(candidate) if name == "evaluation" else None for name in names}
    return [
        Explorer(name, epsilon=epsilon, floor=floor, router=aims[name])
        for name in names
        if name != "evaluation" or candidate is not None
    ]


def probabilities(explorer: Explorer, found: Requests) -> np.ndarray:
    """[N, K] with which each model is tried."""
    from jaxroute.serving.exploring import Scene

    rng = np.random.default_rng(0)
    tried = np.zeros_like(found.greedy)
    for i, could in enumerate(found.available):
        greedy, mean, sd, error, cost, _, target, age = (part[i, could] for part in found[:-1])
        tried[i, could] = explorer.probabilities(Scene(greedy, mean, sd, error, cost, target, age), rng)
    return tried


def check_supported(
    explorer: Explorer, found: Requests, tried: np.ndarray, proof: Proof, models: tuple[str, ...]
) -> None:
    """Refuse an exploration that never tries what the candidate would choose.

    Raises:
        InputError: names the model, and the least floor with which the gain is proven within a month.
    """
    lacking = (found.target != found.greedy) & (tried <= 0)
    if not lacking.any():
        return
    model = models[int(lacking.sum(0).argmax())]
    for floor in FLOORS:
        shares = probabilities(dataclasses.replace(explorer, floor=floor), found)
        days = proof.of(found, shares, found.target)["days"]
        if days <= MONTH:
            break
    raise InputError(
        f"{explorer.policy} with floor {explorer.floor:g} never tries what the candidate chooses on "
        f"{lacking.any(1).mean():.0%} of the prompts (most often {model}), so the candidate cannot be valued; "
        f"--floor {floor:g} would do: it proves a gain of {100 * proof.gain:g} points in {days:,.1f} days"
    )


def record(explorer: Explorer, found: Requests, tried: np.ndarray, proof: Proof) -> dict[str, Any]:
    """What a setting costs and proves; the cost is NaN of a router that predicts none."""
    moved = np.where(np.abs(tried - found.greedy) < TINY, 0.0, tried - found.greedy)
    utility = np.where(np.isfinite(found.mean), found.mean, 0.0)
    extra, loss = (moved * found.cost).sum(1), -(moved * utility).sum(1)
    fields = {"policy": explorer.policy, "floor": explorer.floor}
    if explorer.policy in ("uniform", "contenders"):
        fields["epsilon"] = explorer.epsilon
    if explorer.router is not None:
        fields["router"] = explorer.router
    return {
        "setting": "explore: {" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}",
        "extra_cost_per_1000": 1000 * float(np.where(np.abs(extra) <= TINY * found.cost.max(1), 0.0, extra).mean()),
        "loss": float(np.where(np.abs(loss) <= TINY, 0.0, loss).mean()),
        "least_share": float(tried.mean(0).min()),
        "least_probability": float(tried[found.available].min()),
        **proof.of(found, tried, found.target),
    }


def rates(explorers: list[Explorer], found: Requests, proof: Proof) -> list[dict[str, Any]]:
    """The same by floor, for each policy."""
    kept = ("extra_cost_per_1000", "loss", "rows", "days")
    records = []
    for one in explorers:
        for floor in sorted({*FLOORS[:-1], one.floor}):
            setting = dataclasses.replace(one, floor=floor)
            numbers = record(setting, found, probabilities(setting, found), proof)
            records.append({"policy": one.policy, "floor": floor} | {name: numbers[name] for name in kept})
    return records


def of_models(models: tuple[str, ...], found: Requests, tried: np.ndarray, proof: Proof) -> list[dict[str, Any]]:
    """How often each model is tried, where it may be better, and when the gain is proven of these prompts.

    Of these alone, which may be few: of all prompts it would be out of reach where few of them can bring it.
    """
    from jaxroute.serving.exploring import LEVEL

    records = []
    for k, name in enumerate(models):
        there = found.beats[:, k] >= LEVEL
        target = np.where(there[:, None], np.eye(len(models))[k], found.greedy)
        share, part = float(tried[:, k].mean()), float(there.mean())
        records.append(
            {
                "model": name,
                "share_of_router": float(found.greedy[:, k].mean()),
                "share": share,
                "rated_a_day": share * proof.answers,
                "may_be_better": part,
                **proof._replace(gain=part * proof.gain).of(found, tried, target),
            }
        )
    return records
