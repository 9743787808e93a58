"""An upstream with OpenAI's endpoints for text, on the local machine; its models fail, stall and cut their streams."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-a-secret-that-must-not-be-logged"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
OTHER = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
         "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip


class Upstream(BaseHTTPRequestHandler):
    """Answers with the model's name; ``server.failing``, ``stalling`` and ``cutting`` are sets of models."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, server = said["model"], self.server
        if model in server.failing:
            time.sleep(server.refusing)
            self.refuse(500, "out of order")
            return
        if model in server.stalling:
            time.sleep(server.stall)
        server.asked.append((model, self.headers["Authorization"], self.path, said))
        metadata = said.get("metadata")
        if isinstance(metadata, dict) and any(not isinstance(value, str) for value in metadata.values()):
            self.refuse(400, "metadata: expected strings")
            return
        identity = "the-same" if server.repeating else f"answer-{len(server.asked)}"
        kind = self.path.rpartition("/")[2]
        if said.get("stream"):
            self.stream(kind, identity, model)
        else:
            self.whole({"responses": response, "completions": text, "embeddings": embedding}, kind, identity, model)

    def refuse(self, status, message):
        self.answer(status, {"error": {"message": message, "type": "server_error"}})

    def whole(self, kinds, kind, identity, model):
        make = chat if self.path.endswith("chat/completions") else kinds[kind]
        self.answer(200, make(identity, model))

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, kind, identity, model):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = events(kind if not self.path.endswith("chat/completions") else "chat", identity, model)
        try:
            for place, piece in enumerate(pieces):
                if model in self.server.cutting and place == 2:
                    self.close_connection = True
                    return
                self.chunk(b"data: " + json.dumps(piece).encode() + b"\n\n")
                time.sleep(self.server.gap)
            if kind != "responses":
                self.chunk(b"data: [DONE]\n\n")
            self.chunk(b"")
        except OSError:
            self.close_connection = True

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_):
        pass


def chat(identity, model):
    message = {"role": "assistant", "content": model}
    return {"id": identity, "object": "chat.completion", "created": 0, "model": model, "usage": USAGE,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip


def text(identity, model):
    choice = {"index": 0, "text": model, "finish_reason": "stop", "logprobs": None}
    return {"id": identity, "object": "text_completion", "created": 0, "model": model, "usage": USAGE,
            "choices": [choice]}  # fmt: skip


def embedding(identity, model):
    data = [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def response(identity, model, status="completed"):
    part = {"type": "output_text", "text": model, "annotations": []}
    message = {"type": "message", "id": "m1", "status": "completed", "role": "assistant", "content": [part]}
    return {"id": identity, "object": "response", "created_at": 0, "status": status, "model": model,
            "output": [message] if status == "completed" else [], "usage": OTHER if status == "completed" else None,
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "instructions": None,
            "incomplete_details": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0}  # fmt: skip


def events(kind, identity, model):
    """The events of a stream of three parts."""
    if kind == "responses":
        yield {"type": "response.created", "response": response(identity, model, "in_progress"), "sequence_number": 0}
        part = {"item_id": "m1", "output_index": 0, "content_index": 0}
        for number in range(1, 4):
            yield {"type": "response.output_text.delta", "delta": model, "sequence_number": number, **part}
        yield {"type": "response.completed", "response": response(identity, model), "sequence_number": 4}
        return
    base = {"id": identity, "created": 0, "model": model}
    for _ in range(3):
        if kind == "chat":
            delta = {"role": "assistant", "content": model}
            yield {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
        else:
            yield {**base, "object": "text_completion", "choices": [{"index": 0, "text": model}]}
    end = {"index": 0, "finish_reason": "stop", **({"delta": {}} if kind == "chat" else {"text": ""})}
    name = "chat.completion.chunk" if kind == "chat" else "text_completion"
    yield {**base, "object": name, "choices": [end]}
    yield {**base, "object": name, "choices": [], "usage": USAGE}


@contextlib.contextmanager
def running():
    """An upstream at a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    calm(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def calm(server):
    """Forget all troubles and all that was asked."""
    server.failing, server.stalling, server.cutting, server.asked = set(), set(), set(), []
    server.stall, server.gap, server.refusing, server.repeating = 8.0, 0.0, 0.0, False


def deployment(server, name, timeout=6.0):
    """A line of LiteLLM's model_list."""
    small = name != "large"
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"openai/{'small' if name == 'auto' else name}",
            "api_base": f"http://127.0.0.1:{server.server_port}/v1",
            "api_key": KEY,
            "timeout": timeout,
            "input_cost_per_token": 1e-6 if small else 1e-5,
            "output_cost_per_token": 2e-6 if small else 2e-5,
        },
    }
