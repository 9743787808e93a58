"""What ``jaxroute fit`` says: of the log before it fits a router, and of the router."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxroute.cli import judged, progress, reading
from jaxroute.cli.output import Result
from jaxroute.cli.sheets import Sheet

if TYPE_CHECKING:
    from jaxroute.api.steps import Checked
    from jaxroute.serving.router import Router

LOST = 0.02
"""Utility, in quality units, that a distilled network may lose without a warning."""
LEAVES = 0.5
"""Below this weight of its prior, a model is said to contradict it."""


def note(checked: Checked) -> None:
    """Note which models are never chosen, which ones a prior and the log do not share, and how the rows count."""
    known = checked.known
    if checked.slow:
        progress.note(
            f"note: never chosen, as their p95 of latency is above {checked.max_latency:g} s or unknown: "
            f"{', '.join(checked.slow)}"
        )
    if known.missing:
        progress.note(f"note: --prior does not name {', '.join(known.missing)}; of these the others' mean is expected")
    if known.unused:
        progress.note(f"note: --prior names models that the log does not have: {', '.join(known.unused)}")
    if known.new:
        progress.note(
            f"note: the log never shows {', '.join(one.model for one in known.new)}; the router may choose them by the "
            "prior alone, and no value of that can be estimated from this log"
        )
    reading.note_rows(checked.rows)


def note_recency(half_life: float | None) -> None:
    """Note the half-life of the weights, in days; None: nobody asked for one."""
    if half_life is None:
        return
    halve = f"weights halve in {half_life:.3g} days"
    progress.note(
        f"note: recency of the log: {'no half-life predicts its later rows better' if math.isinf(half_life) else halve}"
    )


def result(router: Router, out: Path, page: Path | None = None) -> Result:
    """The conclusion, its reasons, how the router was made, and what the log or the table says of it, as tables.

    Args:
        router: fitted. out: its folder. page: its report; None: there is none.
    """
    summary: dict[str, Any] = router.summary
    rows = [{**row, "best_single": router.models[row["best_single"]]} for row in summary["by_cost_weight"]]
    held = summary.get("held_out")
    weight = "--normalised-cost-weight 0.5" if router.costs_known else "--cost-weight 0"
    said = [*summary.get("conclusion", ()), *judged.reasons(rows)]
    if held:
        said = [*_held_out(held), *(["On the others, out of fold:", *said] if said else [])]
    said += [*_learned_from(summary), *made(summary), *_unlike(summary)]
    said += [f"saved: {out}", *([f"report: {page}"] if page else [])]
    said.append(f"next: jaxroute route {out} {weight} --input PROMPTS.jsonl")
    on = "the log" if summary.get("table_prompts") is None else "the table"
    on = "the log and its shadow sample" if summary.get("shadow_prompts") else on
    currency = summary.get("currency", "")
    sheets = judged.sheets(held["by_cost_weight"], f"the {_what(held)} that were held out", currency) if held else []
    sheets += [*judged.money(rows, on, currency), _values(rows, on, bool(summary.get("shadow_prompts")))]
    record = {
        "router": str(out),
        "report": None if page is None else str(page),
        "models": list(router.models),
        "encoder": router.encoder,
        "cost_scale": router.cost_scale,
        **summary,
        "by_cost_weight": rows,
    }
    supported = any(row["verdict"] != "refuse" for row in rows)
    return Result(record, said, sheets, rows, supported)


def _held_out(held: dict[str, Any]) -> list[str]:
    """What the rows or the prompts say that were held out; prompts of a table have every model's answers.

    Example:
        >>> row = {"normalised_cost_weight": 0.0, "value": 0.7, "regret": 0.1, "best_single": "b",
        ...        "best_single_value": 0.65}
        >>> print(*_held_out({"rows": 40, "conclusion": [], "by_cost_weight": [row]}))
        On 40 prompts that were held out: at a normalised cost weight of 0 the value is 0.700, and that of b alone 0.650
    """
    rows = held["by_cost_weight"]
    if _what(held) == "prompts":
        return [
            f"On {held['rows']:,} prompts that were held out: at a normalised cost weight of "
            f"{rows[0]['normalised_cost_weight']:g} the value is {rows[0]['value']:.3f}, and that of "
            f"{rows[0]['best_single']} alone {rows[0]['best_single_value']:.3f}"
        ]
    first, *more = held["conclusion"]
    return [f"On {held['rows']:,} rows that were held out: {first}", *more, *judged.reasons(rows)]


def _what(held: dict[str, Any]) -> str:
    """What was held out: prompts of a table, whose regret is known, or rows of a log."""
    return "prompts" if "regret" in held["by_cost_weight"][0] else "rows"


def _values(rows: list[dict[str, Any]], on: str, shadow: bool) -> Sheet:
    lines = []
    for row in rows:
        interval = "none" if row["interval"] is None else "[{:.3f}, {:.3f}]".format(*row["interval"])
        ends = row["gain_interval"]
        gain = "unknown" if row["gain"] is None else f"{row['gain']:+.3f}"
        gain += "" if row["gain"] is None else " (guess)" if ends is None else " [{:+.3f}, {:+.3f}]".format(*ends)
        shown = [row["normalised_cost_weight"], row["cost_weight"], row["value"], interval, gain, row["best_single"]]
        lines.append([*shown, row["verdict"], *([f"{row['shadow_share']:.0%}"] if shadow else [])])
    header = ["normalised", "cost weight", "value", "95% interval", "gain over best single", "best single", "verdict"]
    header += ["shadow's share"] if shadow else []
    return Sheet(f"value on {on}, out of fold (quality units)", header, lines)


def _learned_from(summary: dict[str, Any]) -> list[str]:
    if (prompts := summary.get("table_prompts")) is not None:
        answers = ", ".join(f"{name} {count}" for name, count in summary["answers_by_model"].items())
        lines = [f"{prompts} prompts; answers: {answers}"]
        if unknown := summary["costs_unknown"]:
            lines.append(f"{unknown} of these have no cost, so the router takes cost weight 0 alone")
        return lines
    shadow = summary.get("shadow_prompts", 0)
    lines = [
        f"{summary['rows']} rows, {summary['rows_with_feedback']} with feedback, "
        f"{summary['rows_with_known_propensity']} with a known propensity; {shadow} shadow prompts"
    ]
    if shadow:
        lines.append("shadow's share: of the value, by effective rows; 100% where the log supports too little")
    return lines


def made(summary: dict[str, Any]) -> list[str]:
    """How the router was made, in sentences, from what its artefact keeps."""
    lines = [f"method: {summary['method']}" + (f", {n} members averaged" if (n := summary["members"]) > 1 else "")]
    if (share := summary.get("share_of_contrasts")) is not None:
        lines[0] += f"; {100 * share:.0f}% of the predicted contrasts kept"
    if prior := summary.get("prior"):
        left = [one["model"] for one in prior["by_model"] if one["followed"] < LEAVES]
        lines.append(
            f"prior: with a probability of {prior['informed']:.0%} it tells the models apart; "
            f"their levels differ by {prior['slope']:.2f} of what it says"
            + (f"; the rows of {', '.join(left)} contradict it" if left else "")
        )
    for new in summary.get("new_models", ()):
        lines.append(
            f"{new['model']}: never in the log; by the prior ({new['expected']:g}) its mean quality here is "
            f"{new['level']:.3f}, and 1,000 requests cost {1000 * new['cost']:.4g}; its contrasts are unknown"
        )
    if training := summary.get("training"):
        lines.append(
            f"{training['networks']} networks trained on the loss {training['loss']}, over {training['folds']} folds; "
            "each row of the log is decided by those that never saw it, a new prompt by all together"
        )
        if (gained := training.get("members_that_gained_on_their_start")) is not None:
            lines.append(
                f"{gained} of {training['members']} members gained a standard error on what they started from, on "
                "their validation rows; the others stay what they started from"
            )
    if loss := summary.get("distilling"):
        otherwise, lost = 100 * loss["decides_otherwise"], 100 * loss["predicted_utility_lost"]
        lines.append(
            f"{_DISTILLED[summary['kind']].format(otherwise)}, a loss of {lost:.2f} points by its own estimate"
        )
    return lines


def _unlike(summary: dict[str, Any]) -> list[str]:
    """A warning where the saved network is not what the values are of.

    Example:
        >>> _unlike({"distilling": {"decides_otherwise": 0.03, "predicted_utility_lost": 0.001}})
        []
        >>> print(*_unlike({"distilling": {"decides_otherwise": 0.5, "predicted_utility_lost": 0.15}}))
        warning: the values above are those of the teacher, and the network that is saved is expected to lose 15.0
        points of them: give more rows, or another --method
    """
    lost = summary.get("distilling", {}).get("predicted_utility_lost", 0.0)
    if not lost > LOST:
        return []
    return [
        "warning: the values above are those of the teacher, and the network that is saved is expected to lose "
        f"{100 * lost:.1f} points of them: give more rows, or another --method"
    ]


_DISTILLED = {
    "plug_in": "distilled into one network: {:.1f}% of held-out prompts are decided otherwise than by its teacher",
    "affine": "its plug-in is distilled into one network, which decides {:.1f}% of held-out prompts otherwise",
    "per_weight": "the networks stand in for the neighbours: they decide {:.1f}% of held-out prompts otherwise",
}
