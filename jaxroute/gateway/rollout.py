"""A new router for a share of the traffic: compared with the old one at every look, and sent back if it is worse.

    python -m jaxroute.gateway.rollout models.yaml              # one look, as from cron
    python -m jaxroute.gateway.rollout models.yaml --every 300

Every row of a roll-out has the contrast c = (p_new - p_old) / p of its model, and p is the propensity that was drawn
from. With u the utility of the answer and b the mean utility of the rows before it,

    d = c (u - b),    E[d] = value of the new router - value of the old one, both with their exploration

so the mean of d is unbiased whatever the models are like, at every share, and a confidence sequence of it
(`estimators.sequential`) holds at every look at once. If the whole of it is below -margin the new router is sent back;
if it is above 0 the new one is better, which is said, and it is promoted where the settings say ``promote: true``. What
was decided stands in one file, which every worker of the gateway watches. Only this command writes it.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxroute.gateway.writing import LOG
from jaxroute.system import parsing, stopping
from jaxroute.system.wording import as_options, here
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.gateway.settings import Rollout, Settings

STATUS = ("running", "better", "returned", "promoted")
OVER = ("returned", "promoted")


class Compared(NamedTuple):
    """New minus old, per request: mean of so many rows, and the ends of the confidence sequence now (None: too few
    rows). left_out: rows of the roll-out that say nothing of it, by reason."""

    rows: int
    difference: float | None
    lower: float | None
    upper: float | None
    left_out: dict[str, int]


SHOWN = ("rows", "difference", "lower", "upper", "at")


def state(plan: Rollout, version: str) -> dict[str, Any]:
    """What a gateway does now, by the file of the roll-out's state: router (version of the new one), status, share of
    the requests that it decides, and what the last look found (`Compared`, at).

    status is "unreadable", and the share 0, where the file is damaged.
    """
    try:
        said = read(Path(plan.state))
    except InputError as error:
        LOG.error("%s; the old router decides meanwhile", error)
        return {"router": version, "status": "unreadable", "share": 0.0}
    if said is None or said["router"] != version:
        return {"router": version, "status": "running", "share": plan.share}
    share = {"returned": 0.0, "promoted": 1.0}.get(said["status"], plan.share)
    found = {name: said.get(name) for name in SHOWN}
    return {"router": version, "status": said["status"], "share": share, **found}


def read(state: Path) -> dict[str, Any] | None:
    """What was decided last; None where nothing was.

    Raises:
        InputError: the file is damaged.
    """
    try:
        said = json.loads(state.read_text("utf-8"))
        if said["status"] not in STATUS or not isinstance(said["router"], str):
            raise ValueError("status")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError(f"{state}: is no state of a roll-out; remove it, and the roll-out begins anew") from None
    return dict(said)


def compare(
    rows: Sequence[Mapping[str, Any]], ratings: Mapping[str, float], version: str, *, alpha: float = 0.05
) -> Compared:
    """New router minus old one, from the rows of a gateway's log.

    Args:
        rows: of the log. ratings: quality in [0, 1] by request_id or response_id. version: of the new router.
        alpha: with which probability the sequence ever leaves the truth out.
    """
    from jaxroute.estimators.sequential import confidence_sequence

    used, left_out = [], Counter[str]()
    for row in rows:
        if row.get("candidate") != version:
            continue
        rated = ratings.get(row["request_id"], ratings.get(str(row.get("response_id"))))
        quality, weight = row.get("quality") if rated is None else rated, row.get("cost_weight") or 0.0
        if row.get("by") in ("sticky", "fallback"):
            left_out[row["by"]] += 1
        elif row.get("status") != "answered" or row.get("cache_hit"):
            left_out["not answered by a model"] += 1
        elif quality is None:
            left_out["not rated"] += 1
        elif weight > 0 and row.get("cost") is None:
            left_out["cost unknown"] += 1
        else:
            utility = quality - weight * (row.get("cost") or 0.0)
            used.append((row["timestamp"], row["rollout_contrast"], utility, row.get("weight", 1.0)))
    if not used:
        return Compared(0, None, None, None, dict(left_out))
    _, contrast, utility, times = np.array(sorted(used), float).T
    before = np.concatenate([[0.0], np.cumsum(times * utility)[:-1] / np.cumsum(times)[:-1]])
    values = contrast * (utility - before)
    found = confidence_sequence(values, weight=times, alpha=alpha)
    ends = [float(end[-1]) if np.isfinite(end[-1]) else None for end in found]
    return Compared(len(values), float(np.average(values, weights=times)), ends[0], ends[1], dict(left_out))


def decided(found: Compared, plan: Rollout) -> str:
    """running, better, returned or promoted."""
    if found.upper is not None and found.upper < -plan.margin:
        return "returned"
    if found.lower is not None and found.lower > 0:
        return "promoted" if plan.promote else "better"
    return "running"


def look(
    settings: Settings, *, quality_range: tuple[float, float] = (0.0, 1.0), score: str | None = None
) -> dict[str, Any]:
    """Compare once, and write what follows; a roll-out that is over stays so, and is not compared again.

    Args:
        settings: of the gateway. quality_range: (worst, best) of the ratings. score: the name of those that count.

    Returns:
        What the file says: router (version of the new one), status, rows, difference, lower, upper, left_out, at.

    Raises:
        InputError: settings without a roll-out or a log, or files that cannot be read.
    """
    from jaxroute.data import saving
    from jaxroute.serving import portable

    plan = settings.rollout
    if plan is None or settings.log is None:
        raise InputError("models.yaml names no rollout, or no log from which it could be judged")
    version, state = portable.load(plan.router, settings.encoder).version, Path(plan.state)
    before = read(state)
    if before is not None and before["router"] == version and before["status"] in OVER:
        return before
    ratings = {
        str(row["request_id"]): (float(row["quality"]) - quality_range[0]) / (quality_range[1] - quality_range[0])
        for row in _chosen(list(_rows(settings.feedback_file)), score)
    }
    if odd := [name for name, quality in ratings.items() if not 0 <= quality <= 1]:
        raise InputError(f"rating of {odd[0]}: is outside the scale; name it with --quality-range, as in 1,5")
    found = compare(list(_rows(Path(settings.log))), ratings, version)
    said = {"router": version, "status": decided(found, plan), **found._asdict(), "at": round(time.time(), 3)}
    with saving.text(state) as file:
        file.write(json.dumps(said) + "\n")
    return said


def _chosen(rows: Sequence[dict[str, Any]], score: str | None) -> list[dict[str, Any]]:
    """The ratings of one name, the latest of a request last."""
    rated = [row for row in rows if isinstance(row.get("quality"), int | float)]
    names = sorted({str(row.get("name") or "") for row in rated})
    if names and (score not in names if score is not None else len(names) > 1):
        how = here("score=NAME", "--score NAME")
        raise InputError(f"the ratings are called {', '.join(map(repr, names))}; name those that count: {how}")
    kept = [row for row in rated if score in (None, row.get("name") or "")]
    return sorted(kept, key=lambda row: row["timestamp"] if isinstance(row.get("timestamp"), int | float) else 0.0)


def sentence(said: Mapping[str, Any]) -> str:
    """A state in a line.

    Example:
        >>> sentence({"router": "ab12", "status": "returned", "rows": 400, "difference": -0.1, "lower": -0.2,
        ...           "upper": -0.02, "left_out": {}})
        'ab12 is worse and was sent back: new minus old is -0.1 (-0.2 to -0.02) after 400 rated rows.'
    """
    words = {
        "running": "is being tried",
        "better": "is better; promote it: name it as router, and take rollout out of models.yaml",
        "returned": "is worse and was sent back",
        "promoted": "is better and decides all requests; name it as router, and take rollout out of models.yaml",
    }
    ends = "too few to say" if said["lower"] is None else f"{said['lower']:.3g} to {said['upper']:.3g}"
    value = "unknown" if said["difference"] is None else f"{said['difference']:.3g}"
    left = "".join(f"; {count} left out ({why})" for why, count in sorted(said["left_out"].items()))
    what = words[said["status"]]
    return f"{said['router']} {what}: new minus old is {value} ({ends}) after {said['rows']} rated rows{left}."


def _rows(path: Path | None) -> Iterator[dict[str, Any]]:
    """The rows of a log of the gateway, and of the rotated files beside it; none where there is no file yet."""
    from jaxroute.data import records

    if path is None or not path.exists():
        return
    turned = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}*"))
    for source in (*turned, path):
        for file in records.sources(source):
            for chunk in records.read(file):
                yield from chunk.data if isinstance(chunk.data, list) else ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    from jaxroute.gateway.settings import load_settings

    parser = parsing.Parser(
        prog="python -m jaxroute.gateway.rollout", description="Judge the roll-out of a new router, and act on it."
    )
    parser.add_argument("settings", help="models.yaml")
    parser.add_argument("--every", type=float, help="look again after so many seconds, until the roll-out is over")
    parser.add_argument("--score", help="the name of the ratings that count, where there are several")
    parser.add_argument("--quality-range", default="0,1", help="WORST,BEST of the ratings, as in 1,5")
    asked = parser.parse_args(arguments)
    try:
        worst, best = (float(part) for part in asked.quality_range.split(","))
    except ValueError:
        raise SystemExit("error: --quality-range: write WORST,BEST, as in 1,5") from None
    while True:
        try:
            with as_options():
                said = look(load_settings(os.fspath(asked.settings)), quality_range=(worst, best), score=asked.score)
        except InputError as error:
            raise SystemExit(f"error: {error}") from None
        print(sentence(said), flush=True)
        if not asked.every or said["status"] in OVER:
            return
        time.sleep(asked.every)


if __name__ == "__main__":
    with stopping.piped():
        main()
    stopping.leave(0)
