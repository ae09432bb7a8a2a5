"""A real server of this machine that speaks OpenAI's chat protocol, and does to its callers what a test says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

MODEL = "a-model"


@dataclass(frozen=True)
class Answer:
    """cut: of the body, how many bytes are sent of those that were announced. a_byte_s: seconds between two bytes.
    endless: the body comes in chunks, again and again."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None
    a_byte_s: float = 0.0
    after_s: float = 0.0
    endless: bool = False


def said(text: Any, **more: Any) -> Answer:
    """As a server says what its model has written."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return Answer(json.dumps({"object": "chat.completion", "choices": [choice], **more}).encode())


def refused(status: int, message: str = "no", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(body, status, {"Content-Type": "application/json", **named})


@dataclass
class ChatServer:
    """asked: bodies of the questions, in order; keys: what was sent as Authorization with each; at_once: the most
    questions that were open at a time. list: what it says of its models, if not `models`."""

    url: str
    answer: Callable[[dict[str, Any]], Answer]
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    models: tuple[str, ...] | None = (MODEL,)
    list: Callable[[], Answer] | None = None
    at_once: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def words_asked(self) -> list[str]:
        """What each question was about, without its pictures."""
        contents = [body["messages"][-1]["content"] for body in self.asked]
        return [one if isinstance(one, str) else one[0]["text"] for one in contents]


def refines(body: dict[str, Any]) -> Answer:
    """The usual: the words as they came, with more of them; the directives of a fake clip stay in force."""
    content = body["messages"][-1]["content"]
    return said(f"{content if isinstance(content, str) else content[0]['text']} Seen in fine detail.")


@contextlib.contextmanager
def chat_server(answer: Callable[[dict[str, Any]], Answer] = refines) -> Iterator[ChatServer]:
    server = _Server(("127.0.0.1", 0), _Handler)
    found = ChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1", answer)
    server.chat = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A caller that was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        chat: ChatServer = self.server.chat  # type: ignore[attr-defined]
        if chat.list is not None:
            return self._send(chat.list())
        if self.path != "/v1/models" or chat.models is None:
            return self._send(refused(404))
        return self._send(Answer(json.dumps({"data": [{"id": name} for name in chat.models]}).encode()))

    def do_POST(self) -> None:
        chat: ChatServer = self.server.chat  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with chat._lock:
            chat.asked.append(body)
            chat.keys.append(self.headers.get("Authorization"))
            chat._open += 1
            chat.at_once = max(chat.at_once, chat._open)
        try:
            found = chat.answer(body) if self.path == "/v1/chat/completions" else refused(404)
            time.sleep(found.after_s)
        finally:
            with chat._lock:
                chat._open -= 1
        self._send(found)

    def _send(self, answer: Answer) -> None:
        with contextlib.suppress(OSError):  # a caller that has gone
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.endless:
                self._go_on(answer)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            body = answer.body[: answer.cut]
            for at in range(0, len(body), 1 if answer.a_byte_s else max(1, len(body))):
                self.wfile.write(body[at : at + (1 if answer.a_byte_s else len(body))])
                time.sleep(answer.a_byte_s)
            if answer.cut is not None:
                self.close_connection = True

    def _go_on(self, answer: Answer) -> NoReturn:
        """Until the caller has gone."""
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(answer.body), answer.body))
            time.sleep(answer.a_byte_s)

    def log_message(self, *_: Any) -> None:
        pass
