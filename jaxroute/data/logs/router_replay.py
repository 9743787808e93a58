"""Router Replay records of the vLLM Semantic Router: the selected model, its usage and cost, outcomes, diagnostics.

Written from the project's source (commit 3d48f8c, August 2026), as the service could not be installed here.

The router's online learning may draw each candidate's quality from a Beta posterior and take the best score. A record
then has every candidate's posterior mean m and the value p that was drawn, but not the posterior's concentration
n = alpha + beta, without which there is no probability. It is estimated from the log, per candidate, by

    n + 1 = (sum of m (1 - m)) / (sum of (p - m)^2),

with one row's weight on the value that an unjudged candidate has, n = 4; then the choice is drawn 2,000 times and the
share of draws that choose the selected model is its propensity. Such propensities are counted as simulated. Where no
sampling was used, the choice was a cold start's, or protection changed it, the propensity is unknown.

Reference:
    vllm-project/semantic-router, routerreplay/store/store.go, learning_diagnostics.go, router_learning_adaptation.go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from jaxroute.data.logs.entries import CACHED, CUT, FAILED, OTHER, Asked, Entry, Format, Row, first, own, read_prompt
from jaxroute.data.logs.spans import listed
from jaxroute.data.records import at, parsed

DRAWS = 2000
LEAST = 0.02
"""Below it, a simulated propensity may be off by half of itself and more, as its error is 0.01."""
START = 4.0
MARGIN = {"tier": 0.03, "global": 0.08}
VERDICTS = {"good_fit": 1.0, "overprovisioned": 1.0, "underpowered": 0.0, "failed": 0.0}
NAMES = {
    "model": ("selected_model",),
    "cost": ("actual_cost",),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "total_tokens": ("total_tokens",),
    "cached_tokens": ("cached_prompt_tokens",),
    "cache_write_tokens": ("cache_write_tokens",),
    "timestamp": ("timestamp",),
    "group": ("conversation_id", "session_id"),
    "request_id": ("request_id", "id"),
    "spare_id": ("id",),
    "endpoint": ("decision",),
}
HELD = ("lifecycle_state", "response_status", "from_cache", "learning", "outcomes", "prompt", "prompt_truncated",
        "request_body", "request_body_truncated")  # fmt: skip


def detect(names: Collection[str]) -> bool:
    return "selected_model" in names and ("lifecycle_state" in names or "decision" in names or "signals" in names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """A routing record.

    Example:
        >>> record = {"id": "r1", "selected_model": "small", "prompt": "hi", "lifecycle_state": "completed",
        ...     "outcomes": [{"target": "model", "verdict": "good_fit", "source": "user"}]}
        >>> [entry] = entries(record, Asked({}))
        >>> entry.fields["model"], entry.fields["scores"]
        ('small', [('user', 1.0)])
    """
    fields = {field: first(record, names) for field, names in NAMES.items()}
    if not fields["model"]:
        yield Entry({}, OTHER)
        return
    if record.get("from_cache") in (True, "true", "True"):
        yield Entry({"model": fields["model"], "endpoint": fields["endpoint"]}, CACHED)
        return
    status = record.get("response_status")
    state = record.get("lifecycle_state")
    fields["failed"] = state in ("failed", "aborted") or (isinstance(status, int | float) and status >= 400)
    fields |= own({k: v for k, v in record.items() if k != "prompt"}, asked)
    read_prompt(fields, [record.get("prompt"), record.get("request_body")], asked)
    cut = "prompt_truncated" if record.get("prompt") else "request_body_truncated"
    if record.get(cut) in (True, "true", "True"):
        fields["lost"] = CUT
    scores = [(str(one.get("source") or ""), value) for one in _models(record.get("outcomes"), fields["model"])
              if (value := _score(one)) is not None]  # fmt: skip
    if scores:
        fields["scores"] = scores
    if (found := sampled(record)) is not None:
        fields["sampled"] = found
    yield Entry(fields, FAILED if fields["failed"] else "")


def _models(outcomes: Any, model: str) -> Iterator[Row]:
    """Outcomes that judge the model, not the route, the policy or the provider."""
    for one in listed(outcomes):
        if isinstance(one, dict) and one.get("target") == "model" and one.get("target_ref") in (None, "", model):
            yield one


def _score(outcome: Row) -> float | None:
    score = outcome.get("score")
    return float(score) if isinstance(score, int | float) and score else VERDICTS.get(str(outcome.get("verdict")))


def sampled(record: Row) -> dict[str, Any] | None:
    """What a record says of a choice by posterior sampling; None where it was not one, or something changed it."""
    adaptation = at(record, "learning.adaptation")
    if not isinstance(adaptation, dict) or adaptation.get("reason") == "cold_start":
        return None
    scores = parsed(adaptation.get("scores"))
    if at(adaptation, "sampling.used") is not True or not isinstance(scores, dict) or len(scores) < 2:
        return None
    names = list(scores)
    keys = ("posterior_mean", "predicted_quality", "score", "cost_penalty")
    try:
        table = np.array([[scores[name].get(key, 0.0) for key in keys] for name in names], float)
    except (AttributeError, TypeError, ValueError):  # no scores as they are documented
        return None
    chosen = record.get("selected_model")
    proposed = adaptation.get("proposal_model") or chosen
    if not np.isfinite(table).all() or chosen not in names or proposed != chosen:
        return None
    base = adaptation.get("base_model")
    return {
        "models": names,
        "mean": table[:, 0],
        "drawn": table[:, 1],
        "offset": table[:, 2] - table[:, 1],
        "penalty": table[:, 3],
        "base": names.index(base) if base in names else -1,
        "margin": MARGIN.get(str(adaptation.get("candidate_set")), 0.0),
        "chosen": names.index(chosen),
    }


def propensities(choices: Sequence[dict[str, Any]], seed: int = 0) -> np.ndarray:
    """Share of simulated choices that fall on the model that was chosen.

    Args:
        choices: N of ``sampled``.
        seed: of the draws.

    Returns:
        float64 [N], within about 0.01 of the share of endless draws at the concentrations that were estimated.

    Example:
        >>> one = {"models": ["a", "b"], "mean": np.array([0.5, 0.5]), "drawn": np.array([0.7, 0.3]),
        ...     "offset": np.zeros(2), "penalty": np.zeros(2), "base": -1, "margin": 0.0, "chosen": 0}
        >>> bool(abs(propensities([one])[0] - 0.5) < 0.05)
        True
    """
    spread: dict[str, list[float]] = defaultdict(lambda: [0.25, 0.25 / (START + 1)])
    for one in choices:
        for name, mean, drawn in zip(one["models"], one["mean"], one["drawn"], strict=True):
            spread[name][0] += mean * (1 - mean)
            spread[name][1] += (drawn - mean) ** 2
    random = np.random.default_rng(seed)
    found = np.empty(len(choices))
    for i, one in enumerate(choices):
        n = np.array([max(spread[name][0] / spread[name][1] - 1, 2.0) for name in one["models"]])
        mean = np.clip(one["mean"], 1e-4, 1 - 1e-4)
        scores = random.beta(mean * n, (1 - mean) * n, (DRAWS, len(n))) + one["offset"]
        winner = np.argmax(scores, 1)
        if (base := one["base"]) >= 0:  # the base model keeps its place unless it is beaten by a margin
            extra = np.maximum(one["penalty"][winner] - one["penalty"][base], 0) * (winner != base)
            beaten = scores.max(1) >= scores[:, base] + one["margin"] + extra
            winner = np.where(beaten, winner, base)
        found[i] = (np.sum(winner == one["chosen"]) + 0.5) / (DRAWS + 0.5 * len(n))
    return found


FORMAT = Format(
    "router-replay",
    "the vLLM Semantic Router's replay records",
    detect,
    lambda name: name in HELD or any(name in several for several in NAMES.values()),
    entries,
    hint="have Router Replay capture request bodies (capture_request_body)",
)
