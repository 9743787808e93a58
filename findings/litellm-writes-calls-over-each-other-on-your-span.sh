#!/usr/bin/env bash
# litellm==1.110.2 with its OpenTelemetry callback (opentelemetry-sdk==1.45.2): a call made inside a span of the program
# gets no span of its own. The callback writes the call's model, messages, usage and cost onto the program's span, so
# that of several calls inside one span the last remains, and only if the span is still open when the callback's thread
# comes round: where the span ends with the call, as that of a request's handler does, nothing is left but a warning,
# "Setting attribute on ended span". Sums of tokens and costs over spans are then too small, and nothing in the spans
# says so. Below, 4 calls of 30 tokens outside any span, then 4 inside one span, and 4 in a span each: 4 calls with 120
# tokens are seen, then 1 with 30, then at most 1. With USE_OTEL_LITELLM_REQUEST_SPAN=true it is 4 each time. Exits with
# 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check litellm==1.110.2 opentelemetry-sdk==1.45.2 \
  opentelemetry-exporter-otlp-proto-http==1.45.2
cat >"$folder/calls.py" <<'PY'
import logging
import os
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
logging.disable(logging.WARNING)

import litellm
from litellm.integrations.opentelemetry import OpenTelemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
litellm.callbacks = [OpenTelemetry(tracer_provider=provider)]
tracer = trace.get_tracer("program")


def ask(number):
    said = [{"role": "user", "content": f"Question {number}?"}]
    litellm.completion(model="gpt-4o-mini", messages=said, mock_response="An answer.")


def seen():
    """How many spans say the usage of a call, and their tokens: the callback writes from a thread of its own."""
    time.sleep(3)
    name = "gen_ai.usage.total_tokens"
    tokens = [span.attributes[name] for span in kept.get_finished_spans() if name in span.attributes]
    kept.clear()
    return len(tokens), sum(tokens)


for number in range(4):
    ask(number)
alone = seen()
with tracer.start_as_current_span("a request of a user"):
    for number in range(4):
        ask(number)
        time.sleep(1)
together = seen()
for number in range(4):
    with tracer.start_as_current_span("a request of a user"):
        ask(number)
apart = seen()
print(f"{sys.argv[1]}: outside any span {alone}, inside one {together}, in a span each {apart}")
assert alone == (4, 120)
if sys.argv[1] == "as it is":
    assert together == (1, 30) and apart[0] <= 1
else:
    assert together == apart == (4, 120)
os._exit(0)
PY
"$folder/bin/python" "$folder/calls.py" "as it is"
USE_OTEL_LITELLM_REQUEST_SPAN=true "$folder/bin/python" "$folder/calls.py" "with its setting"
