"""Which model a row is of: the one that answered, by one name.

dates       gpt-4o-2024-08-06 is gpt-4o, unless dates are kept: a request for the undated name gets a dated answer
spans       the response's model counts. Where it is not the one that was asked for, that was an alias; or a model
            of its own, which fell back to another: then nothing is known of the probability of the answer's model
deployments groups that share a deployment are one model (an alias of a group); a group whose deployments are those
            of several other groups is a router's alias, and the row is of the deployment's own group
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from jaxroute.data.logs.columns import Columns
from jaxroute.data.prices import DATE

FALLBACKS = "answers after a fallback, propensity unknown"
DATED = "rows whose model's name lost its date"


def undated(name: str) -> str:
    """A model's name without its date.

    Example:
        >>> undated("gpt-4o-2024-08-06"), undated("claude-3-5-sonnet@20240620"), undated("gpt-4-0613")
        ('gpt-4o', 'claude-3-5-sonnet', 'gpt-4-0613')
    """
    return DATE.sub("", name) or name


def bare(name: str) -> str:
    """A model's name without provider and date.

    Example:
        >>> bare("azure/eu/gpt-4o-2024-08-06")
        'gpt-4o'
    """
    return undated(name).rpartition("/")[2]


def resolve(log: Columns, keep_dates: bool) -> None:
    """Fill in the model of every row, and forget the propensity of answers after a fallback; in place."""
    names = log.codes["model"]
    model, asked, answered = (log.code(name) for name in ("model", "asked", "answered"))
    fallback = log.flag("fallback") | _after_failure(log)
    same = np.array([bare(name) for name in names], object)
    both = (model < 0) & (asked >= 0) & (answered >= 0)
    differs = np.zeros(len(log), bool)
    differs[both] = same[asked[both]] != same[answered[both]]
    models = set(same[answered[both & ~log.gone]].tolist())
    known = np.array([name in models for name in same], bool)
    fallback[both] |= differs[both] & known[asked[both]]
    found = np.where(model >= 0, model, np.where(answered >= 0, answered, asked))
    found = _groups(log, found)
    log.column["model"] = _without_dates(log, found, keep_dates)
    fallback &= ~log.flag("failed") & ~log.gone
    if fallback.any():
        log.counts[FALLBACKS] += int(fallback.sum())
        if "propensity" in log.column:
            log.column["propensity"][fallback] = np.nan


def _after_failure(log: Columns) -> np.ndarray:
    """Answers [N] to a request that another model had failed before: of one chain, or asked the same by one span."""
    failed, model = log.flag("failed"), np.where(log.code("model") >= 0, log.code("model"), log.code("asked"))
    if not failed.any():
        return np.zeros(len(log), bool)
    chain = log.column.get("chain", np.zeros(len(log), np.int64)).copy()
    if "parent" in log.column and "prompt" in log.column:
        for i in np.flatnonzero((chain == 0) & (log.column["parent"] != 0) & ~log.gone).tolist():
            if (text := log.column["prompt"][i]) is not None:
                chain[i] = hash((int(log.column["parent"][i]), text))
    by: dict[int, set[int]] = defaultdict(set)
    for i in np.flatnonzero(failed & (chain != 0)).tolist():
        by[int(chain[i])].add(int(model[i]))
    found = np.zeros(len(log), bool)
    for i in np.flatnonzero(~failed & np.isin(chain, np.fromiter(by, np.int64, len(by)))).tolist():
        found[i] = bool(by[int(chain[i])] - {int(model[i])})
    return found


def _groups(log: Columns, model: np.ndarray) -> np.ndarray:
    """One name for groups that share deployments."""
    deployment = log.code("deployment")
    rows = np.flatnonzero((deployment >= 0) & (model >= 0))
    uses = Counter(zip(model[rows].tolist(), deployment[rows].tolist(), strict=True))
    held: dict[int, set[int]] = defaultdict(set)
    for group, place in uses:
        held[group].add(place)
    inside = {group: [o for o in held if o != group and held[o] <= held[group]] for group in held}
    routers = {g for g, parts in inside.items() if len(parts) > 1 and _disjoint([held[o] for o in parts])}
    home = {(g, place): o for g in routers for o in inside[g] for place in held[o]}
    count = Counter(model[rows].tolist())
    for group in held.keys() - routers:
        around = [o for o in held.keys() - routers if held[group] <= held[o]]
        first = max(around, key=lambda o: (len(held[o]), count[o], log.codes["model"][o]))
        home |= {(group, place): first for place in held[group] if first != group}
    renamed = model.copy()
    for i in rows.tolist() if home else []:
        renamed[i] = home.get((int(model[i]), int(deployment[i])), model[i])
    return renamed


def _disjoint(sets: list[set[int]]) -> bool:
    return len(set().union(*sets)) == sum(map(len, sets))


def _without_dates(log: Columns, model: np.ndarray, keep_dates: bool) -> np.ndarray:
    """Codes of undated names; in tables of our own columns only where the undated name is there as well."""
    names = log.codes["model"]
    if keep_dates or not any(DATE.search(name) for name in names):
        return model
    plain = np.array([form.entries is None for form in log.forms], bool)[log.source]
    apart = np.array([form.versions for form in log.forms], bool)[log.source]
    there = set(names)
    new = {name: undated(name) for name in names}
    code = {name: k for k, name in enumerate(names)}
    for name in new.values():
        if name not in code:
            code[name] = len(names)
            names.append(name)
    always = np.array([code[new.get(name, name)] for name in names], np.int64)
    where_known = np.array([code[u] if (u := new.get(n, n)) in there else code[n] for n in names], np.int64)
    found = np.where((model < 0) | apart, model, np.where(plain, where_known[model], always[model]))
    if lost := int(((found != model) & ~log.gone).sum()):
        log.counts[DATED] += lost
    for (why, name, endpoint), count in list(log.left.items()):
        if undated(name) != name and not apart.all():
            del log.left[why, name, endpoint]
            log.left[why, undated(name), endpoint] += count
    return found
