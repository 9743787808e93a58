#!/usr/bin/env bash
# @arizeai/openinference-instrumentation-openai==4.2.7 and @traceloop/instrumentation-openai==0.27.0 (OpenLLMetry): a
# request of OpenAI's JavaScript client that fails, with an error of the server or without a connection, leaves no span
# at all. Their wrappers end the span where the promise is fulfilled, and nothing ends it where it is rejected; their
# packages for Python write these spans with an error. A log of such spans says that no model ever failed, and a model
# that answers half of its requests looks as reliable as one that answers all. Below, 6 requests to each of two models,
# of which one fails 3 times: OpenTelemetry's own package (0.21.0) writes 12 spans, 3 of them with an error, and these
# two write 9, none with an error. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund openai@6.49.0 @arizeai/openinference-instrumentation-openai@4.2.7 \
  @traceloop/instrumentation-openai@0.27.0 @opentelemetry/instrumentation-openai@0.21.0 \
  @opentelemetry/instrumentation@0.223.0 @opentelemetry/sdk-trace-node@2.12.1 @opentelemetry/sdk-trace-base@2.12.1 \
  @opentelemetry/api@1.9.1
cat > ask.cjs <<'JS'
const http = require("http");
const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { InMemorySpanExporter, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { registerInstrumentations } = require("@opentelemetry/instrumentation");

const kept = new InMemorySpanExporter();
const tracerProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(kept)] });
tracerProvider.register();
const { OpenAIInstrumentation } = require(process.argv[2]);
registerInstrumentations({ tracerProvider, instrumentations: [new OpenAIInstrumentation()] });
const { OpenAI } = require("openai");

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { model, messages } = JSON.parse(body);
    const fails = messages[0].content.startsWith("fail");
    if (messages[0].content === "fail: no answer") return request.socket.destroy();
    const choices = [{ index: 0, message: { role: "assistant", content: "An answer." }, finish_reason: "stop" }];
    const usage = { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 };
    const answer = { id: "chatcmpl-1", object: "chat.completion", created: 1, model, choices, usage };
    response.writeHead(fails ? (messages[0].content.includes("429") ? 429 : 500) : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(fails ? { error: { message: "no", type: "server_error" } } : answer));
  });
});
server.listen(0, "127.0.0.1", async () => {
  const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
  const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
  const asked = { steady: Array(6).fill("a question"), shaky: [...Array(3).fill("a question"), "fail: 429", "fail: 500", "fail: no answer"] };
  for (const [model, questions] of Object.entries(asked)) {
    for (const content of questions) {
      await client.chat.completions.create({ model, messages: [{ role: "user", content }] }).catch(() => null);
    }
  }
  await new Promise((done) => setTimeout(done, 500));
  await tracerProvider.forceFlush();
  const spans = kept.getFinishedSpans();
  console.log(spans.length, spans.filter((span) => span.status.code === 2).length);
  process.exit(0);
});
JS
for package in @opentelemetry/instrumentation-openai @arizeai/openinference-instrumentation-openai @traceloop/instrumentation-openai; do
  found=$(node ask.cjs "$package" 2>/dev/null)
  echo "$package: spans and failed ones of 12 requests, 3 of which failed: $found"
  case "$package" in @opentelemetry/*) expected="12 3" ;; *) expected="9 0" ;; esac
  [ "$found" = "$expected" ]
done
