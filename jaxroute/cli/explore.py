"""``jaxroute explore LOG ROUTER``: what to set in the gateway, what that costs, and when it proves the next gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from jaxroute.cli import explored, options, output, reading
from jaxroute.cli.judged import unit_of
from jaxroute.cli.progress import doing
from jaxroute.cli.sheets import Sheet
from jaxroute.system.printing import days, money, two_figures
from jaxroute.types import InputError

NAMED = 3
"""Models that the reasons name."""


class Asked(NamedTuple):
    """What is to be proven, of which candidate, and at what loss; rated: share of the requests; currency: of costs."""

    gain: float
    loss: float
    per_day: float
    rated: float
    candidate: str | None
    currency: str


def explore(
    log: options.LogPath,
    router: options.RouterPath,
    normalised_cost_weight: Annotated[float, typer.Option(help="Normalised cost weight of the gateway.", min=0)] = 0.5,
    candidate: Annotated[
        Path | None, typer.Option(help="A router that is to be proven better; adds the policy evaluation.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="One policy: uniform, softmax, thompson, contenders, evaluation. Default: all but softmax."),
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Share that uniform and contenders explore.")] = 0.1,
    floor: Annotated[float, typer.Option(help="Share that is spread evenly whatever the policy says.")] = 0.02,
    gain: Annotated[float, typer.Option(help="Gain to prove, in quality units; 0.01 is a point.")] = 0.02,
    loss: Annotated[float, typer.Option(help="Most that exploration may lose of a request's expected utility.")] = 0.01,
    per_day: Annotated[float, typer.Option(help="Requests a day.")] = 1000.0,
    rated: Annotated[
        float | None, typer.Option(help="Share of the requests that get a rating.  [default: that of the log]")
    ] = None,
    how: options.How = options.AS_IT_IS,
    encoder: options.RouterEncoder = None,
    page: output.Page = None,
) -> output.Result:
    """Plan exploration: what each policy costs on the log's prompts, and after how many days it proves a gain.

    The router that is to be proven better is that of --candidate. Without one it is whatever would choose, on the
    prompts where another model may be better than the router's choice, the likeliest such model. Expected costs and
    losses are those of the router's own posterior, and so are the errors of the answers.

    Examples:

      jaxroute explore requests.parquet router --gain 0.02 --per-day 1000 --rated 0.1 --report page

      jaxroute explore requests.parquet router --candidate next --policy contenders --floor 0.05
    """
    from jaxroute.serving import portable

    for option, value in (
        ("--gain", gain),
        ("--per-day", per_day),
        ("--rated", 1.0 if rated is None else rated),
    ):
        if not 0 < value < np.inf or (option == "--rated" and value > 1):
            raise InputError(
                f"{option} is {value:g}; it must be above 0 and " + ("at most 1" if option == "--rated" else "finite")
            )
    if not 0 <= loss < np.inf:
        raise InputError(f"--loss is {loss:g}; it must be at least 0 and finite")
    output.check_page(page)
    loaded, other = (None if one is None else portable.load(one, encoder) for one in (router, candidate))
    assert loaded is not None
    weight = normalised_cost_weight / loaded.cost_scale
    table = reading.read(log, how, *(one for one in (loaded, other) if one is not None))
    rated = float(np.average(np.isfinite(table.quality), weights=table.weight)) if rated is None else rated
    if not rated > 0:
        raise InputError(f"{log}: no row has a rating; say with --rated which share of the requests will get one")
    with doing("what the router knows of the log's prompts"):
        found = explored.requests(loaded, other, table, weight)
    proof = explored.Proof(gain, per_day * rated)
    settings = explored.settings(policy, epsilon, floor, candidate)
    tried = {one: explored.probabilities(one, found) for one in settings}
    if other is not None:
        for one in settings:
            explored.check_supported(one, found, tried[one], proof, loaded.models)
    records = [explored.record(one, found, tried[one], proof) for one in settings]
    best = min(range(len(records)), key=lambda i: (records[i]["loss"] > loss, records[i]["days"], records[i]["loss"]))
    models = explored.of_models(loaded.models, found, tried[settings[best]], proof)
    rates = explored.rates(settings, found, proof)
    currency = loaded.summary.get("currency", "")  # costs are the router's expectations
    asked = Asked(gain, loss, per_day, rated, str(candidate) if candidate else None, currency)
    spend = 1000 * float((found.greedy * found.cost).sum(1).mean())
    differs = bool((found.target != found.greedy).any())
    said = _said(records[best], models, asked, spend, differs)
    if differs:
        part = explored.parting(found.target, found.greedy)
        said[1:1] = _out_of_reach(gain, part)
    sheets = _sheets(records, models)
    written = _page(page, f"What to explore beside {Path(router).name}", said, sheets, rates, records[best], currency)
    return output.Result(
        {"log": str(log), "router": str(router), "currency": currency, "cost_weight": weight, "gain": gain,
         "per_day": per_day, "feedback": rated, "conclusion": said, "report": written, "settings": records,
         "rates": rates, "models": models},
        said + ([f"report: {written}"] if written else []),
        sheets,
        records,
    )  # fmt: skip


def _sheets(records: Sequence[dict[str, Any]], models: Sequence[dict[str, Any]]) -> list[Sheet]:
    header = ["setting", "extra cost per 1,000", "loss", "least share", "least probability", "rated rows", "days"]
    keys = ["setting", "extra_cost_per_1000", "loss", "least_share", "least_probability", "rows", "days"]
    settings = Sheet("settings of models.yaml", header, [[one[key] for key in keys] for one in records])
    header = ["model", "router's share", "share", "rated a day", "may be better", "rated rows", "days"]
    keys = ["model", "share_of_router", "share", "rated_a_day", "may_be_better", "rows", "days"]
    return [
        settings,
        Sheet("models, with the setting named above", header, [[m[key] for key in keys] for m in models]),
    ]


def _page(
    folder: Path | None,
    title: str,
    said: Sequence[str],
    sheets: Sequence[Sheet],
    rates: Sequence[dict[str, Any]],
    best: dict[str, Any],
    currency: str,
) -> str | None:
    """report.html: the sentences, the picture of every policy by floor, and the tables with its numbers."""
    if folder is None:
        return None
    from jaxroute import report

    header = ["policy", "floor", "extra cost per 1,000", "loss", "rated rows", "days"]
    keys = ["policy", "floor", "extra_cost_per_1000", "loss", "rows", "days"]
    drawn = Sheet("policies by floor, as drawn", header, [[one[key] for key in keys] for one in rates])
    figure = report.draw_exploration(rates, best, unit_of(currency))
    return output.write_page(folder, title, said, [*sheets, drawn], [] if figure is None else [figure])


def _said(
    best: dict[str, Any], models: Sequence[dict[str, Any]], asked: Asked, spend: float, differs: bool
) -> list[str]:
    """The conclusion, its reasons, and what would change it.

    Args:
        best: the setting to take. models: with it. spend: of the router alone, per 1,000 requests.
        differs: whether any prompt has another choice to prove.
    """
    setting, points = best["setting"], f"a gain of {100 * asked.gain:g} points"
    whose = f" of {asked.candidate}" if asked.candidate else ""
    if not differs:
        said = [
            f"There is nothing to prove, so exploring buys no proof: {asked.candidate} chooses as the router does on "
            "every prompt."
            if asked.candidate
            else "There is nothing to prove, so exploring buys no proof: on none of the prompts may another model be "
            "better than the router's choice."
        ]
        return [*said, f"Exploring {_money(best, spend, asked)} with {setting}.", _note(asked.currency)]
    proven = (
        f"proves {points}{whose} at 95% after {best['rows']:,.0f} rated requests, {days(best['days'])}"
        if np.isfinite(best["rows"])
        else f"cannot prove {points}{whose}"
    )
    too_much = f"no policy here keeps that below {100 * asked.loss:g}: add loss: {asked.loss:g} to limit each request"
    limit = too_much if best["loss"] > asked.loss else f"at most {100 * asked.loss:g} was allowed"
    said = [
        f"Exploring {_money(best, spend, asked)} and {proven}: set {setting}.",
        f"It loses {two_figures(100 * best['loss'])} points of expected utility; {limit}.",
    ]
    likely = sorted((m for m in models if m["may_be_better"] > 0), key=lambda m: -m["may_be_better"])
    said += [
        f"{m['model']} may be better than the router's choice on {two_figures(100 * m['may_be_better'])}% of the "
        f"prompts; it would get {two_figures(100 * m['share'])}% of the requests instead of "
        f"{two_figures(100 * m['share_of_router'])}%, which "
        + (
            f"proves {points} there after {days(m['days'])}."
            if np.isfinite(m["days"])
            else f"never proves {points} there."
        )
        for m in likely[:NAMED]
    ]
    if asked.rated < 1 and np.isfinite(best["days"]):
        said.append(
            f"{two_figures(100 * asked.rated)}% of the requests are rated; if all were, the proof would take "
            f"{days(best['days'] * asked.rated)}."
        )
    return [*said, _note(asked.currency)]


def _out_of_reach(gain: float, part: float) -> list[str]:
    """Why a gain is more than can be proven of any policy.

    Args:
        gain: to prove. part: share of the prompts on which the choices part.
    """
    if gain <= part:
        return []
    return [
        f"The choices differ from the router's on {two_figures(100 * part)}% of the prompts, so they cannot gain more "
        f"than {two_figures(100 * part)} points over all of them: ask for a smaller --gain."
    ]


def _note(currency: str) -> str:
    unit = unit_of(currency) if currency else "the unit of the log that the router learned from"
    return f"Costs are in {unit}. Expectations are the router's own."


def _money(best: dict[str, Any], spend: float, asked: Asked) -> str:
    """What exploring costs, as the verb of a sentence: per 1,000 requests, as a share of the spend, and in a month."""
    extra = best["extra_cost_per_1000"]
    if not np.isfinite(extra):
        return "costs an unknown amount"
    if extra == 0:
        return "costs nothing more"
    share = f"{two_figures(100 * abs(extra) / spend)}% of the spend; " if spend > 0 else ""
    month = explored.MONTH * asked.per_day * abs(extra) / 1000
    per_1000, in_30_days = money(abs(extra), asked.currency), money(month, asked.currency)
    amount = f"costs {per_1000} more" if extra > 0 else f"saves {per_1000}"
    return f"{amount} per 1,000 requests ({share}{in_30_days} in 30 days)"
