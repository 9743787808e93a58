"""The checked log of the good rows, with what was counted on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxroute.data import records
from jaxroute.data.logs import convert, costs, problems
from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.entries import LOST
from jaxroute.data.logs.table import LogTable
from jaxroute.types import InputError

REQUESTS = "requests, for which these rows stand"
HUMAN = "rows with a human rating beside the judge's"


def assemble(
    log: Columns,
    found: Mapping[tuple[str, str], np.ndarray],
    lines: tuple[str, ...],
    good: np.ndarray,
    tables: Sequence[records.Source],
    quality_range: tuple[float, float],
    chat: str,
) -> LogTable:
    """The rows that are good, their qualities on [0, 1] and their models sorted by name.

    Args:
        log: all rows. found: the bad ones by what is wrong with them, which ``lines`` say; good: bool [N], the others.
        tables: where the rows are. quality_range, chat: see ``loading.load``.

    Raises:
        InputError: fewer than two models are left.
    """
    names, sets = log.codes["model"], log.codes["available"]
    model, available = log.code("model")[good], log.column.get("available", np.zeros(len(log), np.int64))[good]
    left = problems.left_out(log, found)
    used = {names[m] for m in set(model.tolist())}.union(*(sets[s] for s in set(available.tolist())))
    models = tuple(sorted(used))
    if len(models) < 2:
        apart = [f"  {why}: {sum(by.values())} ({problems.shown(by)})" for why, by in left.items()]
        hints = list(dict.fromkeys(form.hint for form in log.forms if form.hint and LOST in left))
        all_of = f"all good rows are of the model {models[0]}" if models else "no row is good"
        first = f"{tables[0]}: {all_of}; a log needs rows of two models or more"
        raise InputError("\n".join([first, *apart, *hints, *lines]))
    worst, best = quality_range
    quality = (log.number("quality")[good] - worst) / (best - worst)
    counts = {kind: int(rows.sum()) for (kind, _), rows in found.items() if rows.any()}
    for (why, _, _), count in log.left.items():
        counts[why] = counts.get(why, 0) + count
    counts |= log.counts
    dropped = int(np.any([rows & ~log.gone for rows in found.values()], axis=0).sum())
    counts |= {"rows": int(good.sum()), "dropped": dropped, "missing quality": int(np.isnan(quality).sum())}
    cost, odd = costs.outliers(log.number("cost")[good], model)
    beyond = [
        f"cost is beyond all measure, lowered to {cost[j]:.3g}: {tables[log.source[i]]}, row {log.row[i]}, "
        f"model {names[model[j]]}: {log.number('cost')[i]:.3g}"
        for i, j in zip(np.flatnonzero(good)[odd].tolist(), np.flatnonzero(odd).tolist(), strict=True)
    ]
    if beyond:
        counts[costs.LOWERED] = len(beyond)
    place = {name: k for k, name in enumerate(models)}
    mask = np.array([[not some or name in some for name in models] for some in map(set, sets)], bool)

    def kept(name: str) -> np.ndarray | None:
        return log.column[name][good] if name in log.column else None

    human = kept("human_quality")
    if human is not None:
        human = (human - worst) / (best - worst)
        rated = int(np.isfinite(human).sum())
        counts |= {HUMAN: rated, "rows without a human rating": len(human) - rated}
    prompt, group, weight = kept("prompt"), kept("group"), kept("weight")
    if weight is not None:
        weight = np.where(np.isnan(weight), 1.0, weight)
        weight = None if (weight == 1).all() else weight
    if weight is not None:
        counts[REQUESTS] = round(float(weight.sum()))
    if prompt is not None:
        prompt[prompt == None] = ""  # noqa: E711  (elementwise; only beside features)
        prompt = None if "features" in log.column and not any(prompt) else prompt
    if prompt is not None:
        counts["repeated prompts"] = len(prompt) - len(set(prompt.tolist()))
    action = np.array([place.get(name, -1) for name in names], np.int32)[model]
    return LogTable(
        prompt=prompt,
        models=models,
        action=action,
        quality=quality,
        cost=cost,
        propensity=log.number("propensity")[good],
        available=mask[available],
        timestamp=kept("timestamp"),
        group=None if group is None else np.unique(group, return_inverse=True)[1],
        counts=counts,
        weight=weight,
        human_quality=human,
        human_rate=kept("human_rate"),
        latency=kept("latency"),
        features=kept("features"),
        request_id=kept("request_id"),
        problems=lines,
        outliers=(*beyond[: problems.EXAMPLES], *problems.out_of_scale(log, good, weight, tables)),
        left_out=left,
        endpoints=problems.endpoints(log, good),
        chat=chat,
        chats=log.chats,
        usage=costs.usage(log, good, models, action, cost, weight),
        currency=costs.currency(log, good),
        context={
            name.removeprefix(convert.CONTEXT): log.column[name][good]
            for name in log.column
            if name.startswith(convert.CONTEXT)
        },
    )
