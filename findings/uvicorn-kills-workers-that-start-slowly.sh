#!/usr/bin/env bash
# uvicorn==0.54.0: with several workers, a script that takes long before it calls uvicorn.run never serves. Every worker
# imports the script anew before it can answer the supervisor's health check (timeout_worker_healthcheck, 5 s by
# default), so the supervisor takes a worker that is still starting for one that hangs, kills it, and starts another,
# without end. With one worker, or a longer timeout, the same script serves. Below it takes 15 s: in a minute no request
# is answered and 8 workers die. LiteLLM's proxy is such a script on a busy machine. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check uvicorn==0.54.0
cd "$folder"
cat > app.py <<'PY'
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})
PY
cat > serve.py <<'PY'
import sys
import time

import uvicorn

time.sleep(15)  # a large library's import, litellm's on a busy machine say

if __name__ == "__main__":
    uvicorn.run("app:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), timeout_worker_healthcheck=int(sys.argv[3]))
PY
"$folder/env/bin/python" - <<'PY'
import os, signal, socket, subprocess, sys, time, urllib.request


def serves(workers, timeout, seconds=60):
    """(whether a request was answered within so many seconds, how many workers died meanwhile)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "serve.py", str(port), str(workers), str(timeout)]
    with open("said", "w+") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        answered, begun = False, time.time()
        while time.time() < begun + seconds and not answered:
            try:
                answered = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2).read() == b"served"
            except OSError:
                time.sleep(0.2)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        said.seek(0)
        return answered, said.read().count("died")


found = {"2 workers": serves(2, 5), "2 workers, timeout 60": serves(2, 60), "1 worker": serves(1, 5)}
for case, (answered, died) in found.items():
    print(f"{case}: {'served' if answered else 'never served'}, {died} workers died")
assert [answered for answered, _ in found.values()] == [False, True, True]
assert found["2 workers"][1] >= 2 and found["2 workers, timeout 60"][1] == 0
PY
