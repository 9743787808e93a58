"""Headless Chromium by its own protocol over a pipe: a page at a width, keys that are really pressed, pictures."""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile

FOUND = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
KEYS = {
    "Tab": 9, "Enter": 13, " ": 32, "Home": 36, "End": 35, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
    "ArrowDown": 40,
}  # fmt: skip


class Page:
    """What the functions below ask of the browser."""

    def __init__(self, pipes):
        self.to, self.back = pipes
        self.number, self.session, self.events, self.rest = 0, None, [], b""

    def ask(self, method, **params):
        self.number += 1
        words = {"id": self.number, "method": method, "params": params}
        if self.session:
            words["sessionId"] = self.session
        os.write(self.to, json.dumps(words).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def _read(self):
        while b"\0" not in self.rest:
            got = os.read(self.back, 1 << 16)
            assert got, "the browser is gone"
            self.rest += got
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def open(self, file, width, *, dark=False, height=1200):
        """Open a file at a width of so many pixels, which may be as narrow as a phone's."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=f"file://{file}")
        wait = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        self.run(f"{wait}.then(() => new Promise(requestAnimationFrame)).then(() => 0)")

    def close(self):
        target = self.ask("Target.getTargetInfo")["targetInfo"]["targetId"]
        self.session = None
        self.ask("Target.closeTarget", targetId=target)

    def run(self, code):
        """The value of an expression of JavaScript."""
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key, times=1):
        for _ in range(times):
            named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": " "} if key == " " else {}))
            self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def picture(self, file):
        shown = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(shown))

    def complaints(self):
        """Errors of scripts, of the policy and of the network, and every request but for the file itself."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent" and not params["request"]["url"].startswith("file://"):
                found.append(params["request"]["url"])
        return found


@contextlib.contextmanager
def browser():
    """A browser of our own, which ends with the block."""
    (theirs, to), (back, said) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [FOUND, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={profile}", "--no-first-run", "--hide-scrollbars"]
        placed = f'exec "$@" 3<&{theirs} 4>&{said}'
        done = subprocess.Popen(
            ["bash", "-c", placed, "bash", *command], pass_fds=(theirs, said), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(said)
        try:
            yield Page((to, back))
        finally:
            os.close(to)
            os.close(back)
            try:
                done.wait(10)
            except subprocess.TimeoutExpired:
                done.kill()
                done.wait()


def brightness(colour):
    """Of a colour as the browser says it: the sum of red, green and blue."""
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
