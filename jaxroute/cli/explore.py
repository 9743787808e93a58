"""``jaxroute explore LOG ROUTER``: what to set in the gateway, what that costs, and when it proves the next gain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from jaxroute.cli import output, reading
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
    """What a router says of prompts: all [N, K]; target: the router that is to be proven better."""

    greedy: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    cost: np.ndarray
    beats: np.ndarray
    target: np.ndarray


def explore(
    log: reading.LogPath,
    router: reading.RouterPath,
    normalised_cost_weight: Annotated[float, typer.Option(help="Normalised cost weight of the gateway.", min=0)] = 0.5,
    candidate: Annotated[
        Path | None, typer.Option(help="A router that is to be proven better; adds the policy evaluation.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="One policy instead of all: uniform, softmax, thompson, contenders, evaluation.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Share that uniform and contenders explore.")] = 0.1,
    floor: Annotated[float, typer.Option(help="Share that is spread evenly whatever the policy says.")] = 0.02,
    gain: Annotated[float, typer.Option(help="Gain to prove, in quality units; 0.01 is a point.")] = 0.02,
    loss: Annotated[float, typer.Option(help="Most that exploration may lose of a request's expected utility.")] = 0.01,
    per_day: Annotated[float, typer.Option(help="Requests a day.")] = 1000.0,
    rated: Annotated[
        float | None, typer.Option(help="Share of the requests that get a rating.  [default: that of the log]")
    ] = None,
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.RouterEncoder = None,
) -> output.Result:
    """Plan exploration: what each policy costs on the log's prompts, and after how many days it proves a gain.

    The router that is to be proven better is that of --candidate. Without one it is whatever would choose, on the
    prompts where another model may be better than the router's choice, the likeliest such model. Expected costs and
    losses are those of the router's own posterior, and so are the errors of the answers.

    Examples:

      jaxroute explore requests.parquet router --gain 0.02 --per-day 1000 --rated 0.1

      jaxroute explore requests.parquet router --candidate next --policy contenders --floor 0.05
    """
    from jaxroute.serving import portable

    for option, value in (
        ("--gain", gain),
        ("--per-day", per_day),
        ("--rated", 1.0 if rated is None else rated),
    ):
        if not value > 0 or (option == "--rated" and value > 1):
            raise InputError(f"{option} is {value:g}; it must be above 0" + (" and at most 1" * (option == "--rated")))
    loaded, other = (None if one is None else portable.load(one, encoder) for one in (router, candidate))
    assert loaded is not None
    weight = normalised_cost_weight / loaded.cost_scale
    table = reading.read(log, how, loaded)
    rated = float(np.isfinite(np.asarray(table.quality)).mean()) if rated is None else rated
    if not rated > 0:
        raise InputError(f"{log}: no row has a rating; say with --rated which share of the requests will get one")
    found = _requests(loaded, other, table, weight)
    answers = per_day * rated
    settings = _settings(policy, epsilon, floor, candidate)
    shares = {one: _probabilities(one, found) for one in settings}
    if other is not None:
        for one in settings:
            _supported(one, found, shares[one], gain, answers, loaded.models)
    records = [_record(one, found, shares[one], gain, answers) for one in settings]
    best = min(range(len(records)), key=lambda i: (records[i]["loss"] > loss, _days(records[i]), records[i]["loss"]))
    models = _models(loaded, found, shares[settings[best]], gain, answers)
    said = _said(records[best], gain, loss, str(candidate) if candidate else None)
    header = ["setting", "extra cost per 1,000", "loss", "least share", "least probability", "rated rows", "days"]
    keys = ["setting", "extra_cost_per_1000", "loss", "least_share", "least_probability", "rows", "days"]
    sheet = output.Sheet("settings of models.yaml", header, [[one[key] for key in keys] for one in records])
    header = ["model", "router's share", "share", "rated a day", "may be better", "rated rows", "days"]
    keys = ["model", "share_of_router", "share", "rated_a_day", "may_be_better", "rows", "days"]
    of_models = output.Sheet(
        "models, with the first setting named above", header, [[m[k] for k in keys] for m in models]
    )
    return output.Result(
        {"log": str(log), "router": str(router), "cost_weight": weight, "gain": gain, "per_day": per_day,
         "feedback": rated, "conclusion": said, "settings": records, "models": models},
        said,
        [sheet, of_models],
        records,
    )  # fmt: skip


def _requests(router: Portable, other: Portable | None, table: Any, weight: float) -> Requests:
    """What the router, and the candidate, say of the log's prompts at a cost weight."""
    from scipy.special import ndtr

    from jaxroute.serving.exploring import LEVEL

    if other is not None and other.models != router.models:
        raise InputError(
            f"--candidate: knows {', '.join(other.models)}, the router {', '.join(router.models)}; they differ"
        )
    raw = table.features if table.features is not None else table.prompt
    rows = np.sort(np.random.default_rng(0).permutation(len(raw))[:PROMPTS])
    beside = {name: np.asarray(column)[rows] for name, column in table.context.items()} if router.context else None
    raw = np.asarray(raw)[rows]
    raw = raw if table.features is not None else list(raw)
    x, count = router.features(raw, beside), len(router.models)
    mean, sd = router.posterior(x, weight)
    assert router.last_layer is not None
    noise = router.last_layer.noise
    error = np.sqrt(sd**2 + noise[0] ** 2 + (weight * noise[1]) ** 2)
    cost = router.predict(x)[1]
    greedy = np.eye(count)[router.scores(x, weight).argmax(1)]
    chosen = greedy.argmax(1)[:, None]
    behind = mean - np.take_along_axis(mean, chosen, 1)
    beats = ndtr(behind / np.maximum(np.hypot(sd, np.take_along_axis(sd, chosen, 1)), 1e-12))
    beats = np.where(greedy > 0, 0.0, beats)
    if other is None:
        target = np.where(beats.max(1, keepdims=True) >= LEVEL, np.eye(count)[beats.argmax(1)], greedy)
    else:
        target = np.eye(count)[other.scores(raw, weight, beside).argmax(1)]
    return Requests(greedy, mean, sd, error, cost, beats, target)


def _settings(policy: str | None, epsilon: float, floor: float, candidate: Path | None) -> list[Explorer]:
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


def _probabilities(explorer: Explorer, found: Requests) -> np.ndarray:
    from jaxroute.serving.exploring import Scene

    rng = np.random.default_rng(0)
    return np.stack(
        [
            explorer.probabilities(Scene(greedy, mean, sd, error, cost, target), rng)
            for greedy, mean, sd, error, cost, _, target in zip(*found, strict=True)
        ]
    )


def _rows(found: Requests, probabilities: np.ndarray, target: np.ndarray, gain: float) -> float:
    """Rated rows that prove a gain of ``target`` over the router."""
    from jaxroute.estimators import planning

    utility = np.where(np.isfinite(found.mean), found.mean, 0.0)
    deviation = planning.row_deviation(target, found.greedy, probabilities, found.error, utility)
    return float("inf") if deviation == 0 else planning.rows_needed(gain, deviation)


def _supported(
    explorer: Explorer, found: Requests, probabilities: np.ndarray, gain: float, answers: float, models: tuple[str, ...]
) -> None:
    """Refuse an exploration that never tries what the candidate would choose.

    Raises:
        InputError: names the model, and the least floor with which the gain is proven within a month.
    """
    import dataclasses

    lacking = (found.target != found.greedy) & (probabilities <= 0)
    if not lacking.any():
        return
    model = models[int(lacking.sum(0).argmax())]
    for floor in FLOORS:
        shares = _probabilities(dataclasses.replace(explorer, floor=floor), found)
        days = _rows(found, shares, found.target, gain) / answers
        if days <= MONTH:
            break
    raise InputError(
        f"{explorer.policy} with floor {explorer.floor:g} never tries what the candidate chooses on "
        f"{lacking.any(1).mean():.0%} of the prompts (most often {model}), so the candidate cannot be valued; "
        f"--floor {floor:g} would do: it proves a gain of {100 * gain:g} points in {days:,.1f} days"
    )


def _record(
    explorer: Explorer, found: Requests, probabilities: np.ndarray, gain: float, answers: float
) -> dict[str, Any]:
    moved = np.where(np.abs(probabilities - found.greedy) < TINY, 0.0, probabilities - found.greedy)
    utility = np.where(np.isfinite(found.mean), found.mean, 0.0)
    extra, loss = (moved * found.cost).sum(1), -(moved * utility).sum(1)
    rows = _rows(found, probabilities, found.target, gain)
    fields = {"policy": explorer.policy, "floor": explorer.floor}
    if explorer.policy in ("uniform", "contenders"):
        fields["epsilon"] = explorer.epsilon
    if explorer.router is not None:
        fields["router"] = explorer.router
    return {
        "setting": "explore: {" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}",
        "extra_cost_per_1000": 1000 * float(np.where(np.abs(extra) > TINY * found.cost.max(1), extra, 0.0).mean()),
        "loss": float(np.where(np.abs(loss) > TINY, loss, 0.0).mean()),
        "least_share": float(probabilities.mean(0).min()),
        "least_probability": float(probabilities.min()),
        "rows": rows,
        "days": rows / answers,
    }


def _models(
    router: Portable, found: Requests, probabilities: np.ndarray, gain: float, answers: float
) -> list[dict[str, Any]]:
    from jaxroute.serving.exploring import LEVEL

    records = []
    for k, name in enumerate(router.models):
        there = found.beats[:, k] >= LEVEL
        target = np.where(there[:, None], np.eye(len(router.models))[k], found.greedy)
        rows = _rows(found, probabilities, target, gain)
        share = float(probabilities[:, k].mean())
        records.append(
            {
                "model": name,
                "share_of_router": float(found.greedy[:, k].mean()),
                "share": share,
                "rated_a_day": share * answers,
                "may_be_better": float(there.mean()),
                "rows": rows,
                "days": rows / answers,
            }
        )
    return records


def _days(record: dict[str, Any]) -> float:
    return float(record["days"])


def _said(record: dict[str, Any], gain: float, loss: float, candidate: str | None) -> list[str]:
    cost = record["extra_cost_per_1000"]
    if not np.isfinite(cost) or cost == 0:
        money = "the same" if cost == 0 else "an unknown amount"
    else:
        money = f"{abs(cost):.3g} {'more' if cost > 0 else 'less'}"
    proof = (
        "no gain can be proven"
        if not np.isfinite(record["rows"])
        else (
            f"a gain of {100 * gain:g} points{f' of {candidate}' if candidate else ''} is proven at 95% after "
            f"{record['rows']:,.0f} rated requests, {record['days']:,.1f} days"
        )
    )
    said = [
        f"1,000 requests cost {money} with {record['setting']}, and lose {100 * record['loss']:.2g} points of expected "
        f"utility; {proof}."
    ]
    if record["loss"] > loss:
        said.append(f"No policy keeps the loss below {100 * loss:g} points; add loss: {loss:g} to limit each request.")
    said.append("Costs are in the log's unit. Expectations are the router's own.")
    return said
