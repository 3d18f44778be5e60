"""A real HTTP server on this machine that gives the answers of a script, and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One answer. ``cut``: bytes after which the connection is dropped; ``drip``: seconds between its bytes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    drip: float = 0.0


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Script = list[Reply] | Callable[[Asked], Reply]


@contextmanager
def serving(script: Script) -> Iterator[tuple[str, list[Asked]]]:
    """Address of a server, and the requests that it got; the last reply of a list is given again and again."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            one = Asked(self.path, dict(self.headers), body)
            asked.append(one)
            reply = script(one) if callable(script) else script[min(len(asked), len(script)) - 1]
            time.sleep(reply.delay)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            if reply.cut == 0:
                self.connection.close()
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for start in range(0, len(content), 1 if reply.drip else len(content)):
                    self.wfile.write(content[start : start + 1] if reply.drip else content[: reply.cut])
                    self.wfile.flush()
                    time.sleep(reply.drip)
            except OSError:  # the other side has given up
                pass

        do_GET = do_POST  # noqa: N815 (as http.server names it)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def chat_reply(*texts: str, reason: str | None = "stop", tokens: int = 7) -> dict[str, Any]:
    """What a chat API gives."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for i, text in enumerate(texts)
    ]
    return {"object": "chat.completion", "choices": choices, "usage": {"completion_tokens": tokens}}
