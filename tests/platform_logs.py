"""Of the files that platforms and clients wrote: prices, what each model's answers cost by them, and rows by prompt.

The server that answered counts 140 tokens in, 30 of them cached, and 58 out, 50 of them reasoning, and answers as
another name with a date.
"""

import pytest
from tool_logs import HERE

from jaxroute.data import prices

LISTED = {"small": prices.Price(1, 10, cached_input=0.1), "large": prices.Price(5, 50, cached_input=0.5)}
COST = {"small": (110 + 3 + 580) / 1e6, "large": 5 * (110 + 3 + 580) / 1e6}
OPIK = HERE / "opik-2.2.122"
WEAVE = HERE / "weave-0.54.0.jsonl"
LANGSMITH = HERE / "langsmith-0.15.1.jsonl"


def rows(log):
    return {p: (log.models[k], dollars) for p, k, dollars in zip(log.prompt, log.action, log.cost, strict=True)}


def expected(asked):
    return {prompt: (model, pytest.approx(COST[model])) for prompt, model in asked.items()}
