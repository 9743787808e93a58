"""Answers of several runs as one full-feedback table: joined by prompt, and what is left out counted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxroute import settings
from jaxroute.data import prices as price_table
from jaxroute.data import shapes, ties
from jaxroute.data.harness import counting, scores
from jaxroute.data.harness.answers import Answer, Run, Tokens
from jaxroute.data.logs.costs import DOLLARS, SIGNS
from jaxroute.system.wording import here
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd


NUMBERS = ["quality", "cost", "input_tokens", "output_tokens"]


class Joined(NamedTuple):
    """The two frames of the folder format (see ``tables``), and what was counted on the way, by name."""

    queries: pd.DataFrame
    outcomes: pd.DataFrame
    counts: dict[str, Any]


def join(
    runs: Sequence[Run],
    *,
    wanted: Sequence[str] = (),
    labels: Mapping[str, float] | None = None,
    quality_range: tuple[float, float] | None = None,
    prices: Mapping[str, price_table.Price] | None = None,
    reprice: bool = False,
    failures: str = "drop",
    alone: bool = False,
) -> Joined:
    """One table of all runs.

        quality = mean over a prompt's repeats of (score - worst) / (best - worst)
        cost    = mean of the repeats' known costs: as the tool wrote it, else from tokens where there are prices

    Args:
        runs: see ``harness.read``.
        wanted: names of the scores to use; see ``scores.chosen``.
        labels: what labels count; see ``scores.quality``.
        quality_range: (worst, best) of scores that are numbers; worst above best where less is better. Default: 0, 1.
        prices: see ``prices.load``.
        reprice: compute every cost from prices and tokens where there are both, not only the unknown ones.
        failures: "drop": a failed answer is missing; "zero": it has quality 0.
        alone: accept answers of one model, as a shadow sample may hold.

    Returns:
        Joined. An answer without a score is missing; a cost that is not known is NaN.

    Raises:
        InputError: no or several scores, a label or number that is no quality, a model's runs of different prompts,
            costs in several currencies, or less than two models; one line that names file, task or model.
    """
    answers = [answer for run in runs for answer in run.answers]
    if not answers:
        what = ", ".join(counting.left_out(runs)) or "the runs hold no answers"
        raise InputError(f"{', '.join(run.source for run in runs)}: {what}; check the files")
    _same_prompts(runs)
    names = scores.chosen(answers, wanted)
    missed = {"drop": math.nan, "zero": 0.0}.get(failures)
    if missed is None:
        raise InputError(f"failures is {failures!r}; use drop or zero")
    quality = _qualities(answers, names, labels or {}, quality_range)
    asked = _frame(answers, missed, quality, _costs(answers, prices, reprice))
    scored = asked.dropna(subset="quality")
    queries = scored.drop_duplicates(["task", "key"])[["task", "key", "id", "prompt"]]
    queries = queries.assign(query_id=_query_ids(queries["task"].tolist(), queries["id"].tolist()))
    outcomes = scored.merge(queries[["task", "key", "query_id"]], on=["task", "key"])
    outcomes = outcomes.groupby(["model", "query_id"], sort=False)[NUMBERS].mean().reset_index()
    by_model = [counting.of_model(asked, outcomes, model, len(queries), names) for model in asked["model"].unique()]
    same = asked.groupby(["task", "key"])
    queries = queries[["query_id", "prompt", "task"]].reset_index(drop=True)
    if len(by_model) == 1 and not alone:
        raise InputError(
            f"{', '.join(run.source for run in runs)}: all answers are of one model ({by_model[0]['model']!r}); give "
            "runs of two models or more"
        )
    if len(outcomes) == len(queries) and not alone:
        raise InputError(
            f"{', '.join(run.source for run in runs)}: no prompt was answered by two models, so there is no table; "
            "if this is a log of requests, use jaxroute fit LOG"
        )
    shapes.from_long(queries, outcomes, queries="the table", outcomes="the table", unknown_costs=True, alone=alone)
    counts = {
        "models": [found["model"] for found in by_model],
        "prompts": len(queries),
        "answers": len(outcomes),
        **{name: sum(found[name] for found in by_model) for name in ("missing", "cost_unknown", "unscored")},
        "failed": sum(sum(found["failed"].values()) for found in by_model),
        "repeats_averaged": len(scored) - len(outcomes),
        "prompts_without_a_score": same.ngroups - len(queries),
        "prompts_worded_differently": int((same["prompt"].nunique() > 1).sum()),
        "near_duplicate_prompts": ties.near_duplicates(queries["prompt"].tolist()),
        "named_alike": counting.alike([found["model"] for found in by_model]),
        "scores": names,
        "runs": {run.source: run.tool for run in runs},
        "left_out": counting.left_out(runs),
        "files_left_out": {name: why for run in runs for name, why in run.beside.items()},
        "by_model": by_model,
    }
    return Joined(queries, outcomes, counts)


def _frame(answers: Sequence[Answer], missed: float, quality: Sequence[float], cost: np.ndarray) -> pd.DataFrame:
    """A row an answer; quality is ``missed`` where it failed."""
    import pandas as pd

    for answer in answers:
        if answer.prompt is None or not answer.prompt.strip():
            raise InputError(f"{answer.at}: the prompt is empty; correct it or leave the row out")
    texts = ("task", "id", "prompt", "model", "failed")
    return pd.DataFrame(
        {
            **{name: [getattr(answer, name) for answer in answers] for name in texts},
            "key": [answer.key or answer.prompt for answer in answers],
            "quality": [missed if answer.failed else y for answer, y in zip(answers, quality, strict=True)],
            "cost": cost,
            "input_tokens": [answer.tokens.input_tokens for answer in answers],
            "output_tokens": [answer.tokens.output_tokens for answer in answers],
        }
    )


def _same_prompts(runs: Sequence[Run]) -> None:
    """Refuse runs of one model and task that asked different prompts: which of them is meant cannot be told."""
    asked: dict[tuple[str | None, str], dict[str, set[str]]] = defaultdict(dict)
    for run in runs:
        for answer in run.answers:
            if answer.model is None:
                beside = ", or add a column model" if run.tool == "columns" else ""
                raise InputError(f"{run.source}: names no model; name it as NAME={run.source}{beside}")
            keys = asked[answer.model, answer.task].setdefault(run.source, set())
            keys.add(answer.key or answer.prompt or "")
    for (model, task), by_run in asked.items():
        (first, keys), *others = by_run.items()
        for source, found in others:
            if found != keys:
                about = "" if task == "all" else f", task {task!r}"
                raise InputError(
                    f"model {model!r}{about}: two runs of different prompts, {first} ({len(keys)}) and {source} "
                    f"({len(found)}), {len(keys & found)} in common; leave one out, or name one: OTHER={source}"
                )


def _qualities(
    answers: Sequence[Answer],
    names: Mapping[str, str],
    labels: Mapping[str, float],
    quality_range: tuple[float, float] | None,
) -> list[float]:
    if quality_range is not None:
        settings.quality_range(quality_range)
    worst, best = quality_range or (0.0, 1.0)
    scale = here("quality_range=(WORST, BEST)", "--quality-range WORST,BEST")
    found = []
    for answer in answers:
        name = names[answer.task]
        value = answer.scores.get(name)
        if name in answer.lower and quality_range is None:
            raise InputError(
                f"{answer.at}: for score {name!r} lower is better; give its scale as {scale}, as in "
                f"{here('(5, 1)', '5,1')}"
            )
        try:
            number = scores.quality(value, labels)
        except (ValueError, TypeError, OverflowError):
            if isinstance(value, Mapping | list):
                raise InputError(f"{answer.at}: score {name!r} is {value!r:.60}, expected one number or word") from None
            raise InputError(
                f"{answer.at}: score {name!r} is {value!r:.60}; say what it is worth with "
                f"{here(f'labels={{{value!r}: 1, ...}}', f'--quality {value}=1,...')}"
            ) from None
        share = number if scores.labelled(value, labels) else (number - worst) / (best - worst)
        if not (math.isnan(share) or 0 <= share <= 1):
            low, high = sorted((worst, best))
            raise InputError(
                f"{answer.at}: score {name!r} is {number:g}, outside [{low:g}, {high:g}]; give its scale as {scale}"
            )
        found.append(share)
    return found


def _costs(answers: Sequence[Answer], prices: Mapping[str, price_table.Price] | None, reprice: bool) -> np.ndarray:
    """Cost of each answer [N], NaN where unknown. Nothing spent is no price beside tokens that were used, or that were
    counted as none: tools write it of models they have no price for and of usage they did not see."""
    tokens = Tokens(*np.array([answer.tokens for answer in answers], float).T)
    cost = np.array([answer.cost for answer in answers], float)
    cost[(cost == 0) & np.isfinite([tokens.input_tokens, tokens.output_tokens, tokens.total]).any(0)] = math.nan
    model, priced = np.array([answer.model for answer in answers], object), np.zeros(len(cost), bool)
    for name in dict.fromkeys(model.tolist()):
        price = None if prices is None else price_table.find(prices, name)
        if price is not None:
            billed = price_table.bill(price, **tokens._asdict())
            wanted = (model == name) & ~np.isnan(billed) & (reprice | np.isnan(cost))
            cost, priced = np.where(wanted, billed, cost), priced | wanted
    as_written = ~priced & ~np.isnan(cost)
    _one_currency([answer.currency for answer, own in zip(answers, as_written, strict=True) if own], bool(priced.any()))
    return cost


def _one_currency(written: Sequence[str], priced: bool) -> None:
    """Refuse costs in several currencies: they are averaged and compared as they are.

    Args:
        written: what the tool's own costs are in, where it says so. priced: whether others are from prices.
    """
    words = {word.strip().casefold() for word in written}
    names = {name for word in words if (name := SIGNS.get(word, word)).isalpha()}  # a number names no currency
    if priced and names:
        names.add(DOLLARS.casefold())
    if len(names) > 1:
        also = "; prices are in US dollars" if priced else ""
        raise InputError(f"costs are in several currencies ({', '.join(sorted(names))}{also}): convert them to one")


def _query_ids(tasks: Sequence[str], ids: Sequence[str]) -> list[str]:
    """A name of its own for every prompt: its task and what the tool calls it, or its number."""
    found: dict[str, None] = {}
    for number, (task, name) in enumerate(zip(tasks, ids, strict=True)):
        name = name or str(number)
        name = name if task == "all" else f"{task}/{name}"
        while name in found:
            name = f"{name} ({number})"
        found[name] = None
    return list(found)
