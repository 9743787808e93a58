"""Records of gateways and tools, some broken in a place: the others load, or our own error is raised."""

import contextlib
import json
from collections import Counter

import numpy as np
import test_router_replay
from fuzzing import HERE, attempt, fuzz, junk, replaced, sound, spots
from hypothesis import given
from hypothesis import strategies as st

from jaxroute.data import logs, prices
from jaxroute.types import InputError

RECORD = {
    "call_type": "acompletion",
    "response_cost": 1,
    "startTime": 0,
    "messages": [{"role": "user", "content": "x"}],
    "metadata": {"rating": 1},
    "cache_hit": None,
    "status": "success",
    "end_user": "u",
    "id": None,
}
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.cost": 1,
    "gen_ai.input.messages": [{"role": "user", "parts": []}],
    "gen_ai.prompt": "x",
}
SPAN = {
    "start_time": 0,
    "name": "chat",
    "context": {},
    "status": {},
    "events": [{"name": "e", "attributes": {}}],
    "attributes": ATTRIBUTES,
}


@fuzz
@given(data=st.data(), drop_bad=st.booleans())
def test_gateways_records_of_any_shape(place, tally, data, drop_bad):
    span = data.draw(st.booleans())
    base = SPAN if span else RECORD
    found = []
    for i in range(4):
        record = base | ({} if span else {"model": "ab"[i % 2]})
        if span:
            record["attributes"] = ATTRIBUTES | {"gen_ai.request.model": "ab"[i % 2]}
        for _ in range(data.draw(st.integers(0, 2)) if i > 1 else 0):
            record = replaced(record, data.draw(st.sampled_from(spots(record))), data.draw(junk))
        found.append(record)
    file = place / "log.jsonl"
    if span and data.draw(st.booleans()):
        found = [{"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}]
    file.write_text("\n".join(map(json.dumps, found)))
    log = attempt(tally, lambda: logs.load(file, drop_bad=drop_bad))
    assert log is not None or not drop_bad  # the first two records are good
    if log is not None:
        sound(log)
        assert log.prompt[:2].tolist() == ["x", "x"]


TOOLS = {
    file.name: [json.loads(line) for line in file.read_text().splitlines()]
    for file in sorted((HERE / "data" / "logs").glob("*.jsonl"))
    if "batches" not in file.name  # payloads, many a line
} | {
    "router replay": [test_router_replay.record(i, np.random.default_rng(i)) for i in range(9)],
    "opik": [json.loads(file.read_text()) for file in sorted((HERE / "data" / "logs").glob("opik-*/trace_*.json"))],
    "llm": json.loads((HERE / "data" / "logs" / "llm-0.36.json").read_text()),
}
SEVERAL = (
    "anthropic-and-traceloop.jsonl",
    "google-adk-1.18.0.jsonl",
    "logfire-5.4.0.jsonl",
    "mastra-1.71.0.jsonl",
    "traceloop-and-openinference.jsonl",
    "traceloop-and-openinference-js.jsonl",
)
"""Files with several records of one request, whose rows change where one of them is broken."""
PRICES = prices.load()


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(TOOLS)))
def test_real_records_of_every_tool(place, tally, data, name):
    """A record is broken in one or two places: the requests in the others are all read."""
    records = TOOLS[name]
    place_of = data.draw(st.integers(0, len(records) - 1))
    broken = records[place_of]
    for _ in range(data.draw(st.integers(1, 2))):
        broken = replaced(broken, data.draw(st.sampled_from(spots(broken))), data.draw(junk))
    file = place / "log.jsonl"
    file.write_text("\n".join(map(json.dumps, [*records[:place_of], broken, *records[place_of + 1 :]])))
    log = attempt(tally, lambda: logs.load(file, prices=PRICES, drop_bad=True))
    if log is not None:
        sound(log)
    if log is not None and name not in SEVERAL:
        with contextlib.suppress(InputError):  # fewer than two models without it
            others = logs.load([*records[:place_of], *records[place_of + 1 :]], prices=PRICES, drop_bad=True)
            assert not Counter(others.prompt.tolist()) - Counter(log.prompt.tolist())
