"""A headless Chromium, driven over its own protocol through two pipes: no driver, no port, no package.

Debian has it as `chromium`. Pages are opened from the disk, as a person would: without leave to read other files; or
from a server of this machine.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-pings", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)


def installed() -> str | None:
    """Path of the browser, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One open page. errors: what it said on its console, or what was refused to it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._do(f"{domain}.enable")

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.do(method, self._session, self._heard, **parameters)

    def _heard(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        if event["method"] == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}".strip())
        if event["method"] == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])

    def size(self, width: int, height: int, dark: bool = False) -> None:
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._do("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """And wait until it is loaded."""
        self._do("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """Its value, as JSON has it; a promise is waited for."""
        answer = self._do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """The condition's first true value."""
        from support.waiting import wait_for

        return wait_for(lambda: self.ask(condition), lambda: f"{condition}; the page said {self.errors}")

    def key(self, name: str) -> None:
        code = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, " ": 32}.get(name, ord(name[0]))
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            about = {"type": kind, "key": name, "windowsVirtualKeyCode": code}
            self._do("Input.dispatchKeyEvent", **about, **({"text": text} if text and kind == "keyDown" else {}))

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self._do("Input.insertText", text=text)

    def close(self) -> None:
        self._do("Page.close")

    def hover(self, selector: str) -> None:
        """The mouse over the middle of the first such element, which is scrolled to."""
        self.ask(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        middle = "(box => [box.x + box.width / 2, box.y + box.height / 2])"
        box = self.ask(f"{middle}(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
        self._do("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def names(self) -> list[tuple[str, str]]:
        """(role, name) of everything that a screen reader is told of."""
        nodes = self._do("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._do("Page.captureScreenshot", format="png")["data"]))


class Browser:
    """The process. To be made by `browser`."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, os.fdopen(answers, "rb")
        self._asked, self._unread = 0, b""

    def do(self, method: str, session: str | None = None, heard: Any = None, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(asked | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._asked:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            if heard and answer.get("sessionId") == session and "method" in answer:
                heard(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._answers.fileno(), 1 << 20)
            if not more:
                raise AssertionError("the browser is gone")
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def page(self) -> Page:
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        return Page(self, self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Raises FileNotFoundError where there is none."""
    program = installed()
    if program is None:
        raise FileNotFoundError(f"no browser: expected one of {', '.join(NAMES)} (`apt-get install chromium`)")
    to_read, to_write = os.pipe(), os.pipe()  # its end of each is the first of one, the second of the other
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-browser-", ignore_cleanup_errors=True) as folder:
        shell = f'exec "$0" "$@" 3<&{to_read[0]} 4>&{to_write[1]}'
        command = ["bash", "-c", shell, program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(
            command, pass_fds=(to_read[0], to_write[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read[0])
        os.close(to_write[1])
        try:
            yield Browser(to_read[1], to_write[0])
        finally:
            process.kill()
            process.wait()
            os.close(to_read[1])
