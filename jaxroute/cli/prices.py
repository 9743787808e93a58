"""``jaxroute prices`` and ``jaxroute reprice``: what is known of prices, and new prices for a fitted router."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxroute.cli import options, output
from jaxroute.cli.sheets import Sheet
from jaxroute.data import prices as price_table
from jaxroute.data import saving
from jaxroute.serving import folder
from jaxroute.types import InputError

Table = Annotated[
    str,
    typer.Option("--prices", help="A CSV, LiteLLM's price map as JSON, or 'default' for the table in this package."),
]


def prices(
    names: Annotated[list[str] | None, typer.Argument(help="Models to look up, by any name that people use.")] = None,
    table: Table = "default",
) -> output.Result:
    """Show the prices that are known, in dollars per million tokens, or look up the price of models by name.

    A name is found without its provider, date or region, in any case, and with dots for hyphens: the price of
    anthropic/claude-sonnet-4.5 is that of claude-sonnet-4-5. The exit code is 2 if a model has no price.

    Examples:

      jaxroute prices

      jaxroute prices openai/gpt-4o-2024-08-06 Claude-Sonnet-4.5

      jaxroute prices --prices my_prices.csv small-model
    """
    known = price_table.load(None if table == "default" else table)
    asked = {name: price_table.named(known, name) for name in names} if names else {name: name for name in known}
    if lost := [name for name, found in asked.items() if found is None]:
        close = {name: price_table.close(known, name) for name in lost}
        hints = [f"{name} (close: {', '.join(near)})" if near else name for name, near in close.items()]
        raise InputError(
            f"no price for {', '.join(hints)}; add a row to a CSV with model, input, output: --prices FILE"
        )
    records = [{"model": name, "priced_as": str(found), **known[str(found)]._asdict()} for name, found in asked.items()]
    header = ["model", "priced as", "input", "output", "cached input", "cache write", "reasoning", "source", "date"]
    keys = ["model", "priced_as", "input", "output", *price_table.OPTIONAL, "source", "date"]
    lines = [["-" if _unknown(one[key]) else one[key] for key in keys] for one in records]
    lines = [[*line[:2], *(cell if isinstance(cell, str) else f"{cell:g}" for cell in line[2:])] for line in lines]
    shown = [j for j in range(len(keys)) if j != 1 or names]
    lines = [[line[j] for j in shown] for line in lines]
    where = "the table of this package" if table == "default" else table
    said = f"{len(records)} model{' has' if len(records) == 1 else 's have'} a price in {where}."
    sheet = Sheet("US dollars per million tokens", [header[j] for j in shown], lines)
    return output.Result({"prices": records}, [said], [sheet], records)


def reprice(
    router: options.RouterPath,
    out: Annotated[Path, typer.Option(help="Folder to write the router with the new prices to.")],
    table: Table = "default",
) -> output.Result:
    """Give a fitted router new prices, without a new fit.

    The log must have had token counts: the router keeps their means, and its costs are tokens times price. This is
    exact if the prices of input and output change alike, and exact on average otherwise. Models that the price table
    does not have keep their costs. Budgets stay if all costs change alike.

    Example:

      jaxroute reprice router --prices new_prices.csv --out router_at_new_prices
    """
    from jaxroute.serving import repricing
    from jaxroute.serving.router import Router

    saving.check_folder(out, folder.OWNED)
    loaded = Router.load(router)
    found = repricing.repriced(loaded, price_table.load(None if table == "default" else table))
    found.save(out)
    usage: dict[str, Any] = found.summary["usage"]
    changed = found.summary["repriced"]
    lines = [
        [name, 1000 * loaded.summary["usage"][name]["cost"], 1000 * usage[name]["cost"], changed.get(name, 1.0)]
        for name in found.models
        if name in usage
    ]
    sheet = Sheet("mean cost of 1,000 requests like the log's", ["model", "before", "now", "ratio"], lines)
    said = [f"saved: {out}"]
    if not loaded.summary.get("currency"):
        said.append(
            "prices are in US dollars, and the log did not say in which unit its costs were: if in another, fit again"
        )
    if kept := [name for name in found.models if name not in changed]:
        said.append(f"no new price, so their costs stay: {', '.join(kept)}")
    if found.curve is None and loaded.curve is not None:
        said.append("costs do not change alike, so budgets and quality targets need a new fit; cost weights do not")
    record = {"router": str(out), "ratio": changed, "budgets": found.curve is not None}
    return output.Result(
        record, said, [sheet], [dict(zip(("model", "before", "now", "ratio"), one, strict=True)) for one in lines]
    )


def _unknown(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))
