"""Counts for Prometheus, in the registry that LiteLLM's /metrics shows; nothing where its client is not installed.

    jaxroute_decisions_total{model, by}     decisions, by model and by who made them
    jaxroute_decision_seconds               time to encode and decide
    jaxroute_rows_total{outcome}            rows of the log: written, lost, left out (of a share)
    jaxroute_rollout_share                  of the requests that a new router decides: 0 without one, or if it was sent
                                            back, 1 if it was promoted

With several workers Prometheus' client needs PROMETHEUS_MULTIPROC_DIR, as for LiteLLM's own metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@cache
def _metrics() -> tuple[Any, Any, Any, Any] | None:
    try:
        from prometheus_client import Counter, Gauge, Histogram
    except ModuleNotFoundError:
        return None
    return (
        Counter("jaxroute_decisions", "Decisions by model and by who made them", ["model", "by"]),
        Histogram("jaxroute_decision_seconds", "Seconds to encode a prompt and decide", buckets=BUCKETS),
        Counter("jaxroute_rows", "Rows of the log by outcome", ["outcome"]),
        Gauge("jaxroute_rollout_share", "Share of the requests that a new router decides", multiprocess_mode="livemin"),
    )


def load() -> None:
    """Import Prometheus' client now, and not with the first request."""
    _metrics()


@cache
def _counted(place: int, *labels: str) -> Any:
    """A counter's child, which the client takes longer to find than to count."""
    found = _metrics()
    return None if found is None else found[place].labels(*labels)


def decided(model: str, by: str, seconds: float) -> None:
    """Count a decision."""
    if (found := _metrics()) is not None:
        _counted(0, model, by).inc()
        found[1].observe(seconds)


def trying(rollout: Mapping[str, Any] | None) -> None:
    """Show the share of a roll-out (`rollout.state`)."""
    if (found := _metrics()) is not None:
        found[3].set(0.0 if rollout is None else rollout["share"])


def row(outcome: str) -> None:
    """Count a row of the log."""
    if (counter := _counted(2, outcome)) is not None:
        counter.inc()
