"""A scripted OpenAI-compatible server on loopback, for what a real one does only now and then."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ScriptedServer:
    """Answers /v1/models, and each request for a completion with the next of its script, then well for ever.

    A step of the script is an HTTP status to answer with, or `drop` to close the connection without an answer.
    """

    def __init__(self, script: list[int | str], model: str = "a-model") -> None:
        self.script, self.model, self.asked = list(script), model, list[dict[str, Any]]()
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, {"object": "list", "data": [{"id": server.model, "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.asked.append(body)
                    step = server.script.pop(0) if server.script else 200
                if step == "drop":
                    self.close_connection = True
                    return
                if step != 200:
                    self._answer(int(step), {"error": {"message": f"scripted {step}"}})
                    return
                logprobs = {"token_logprobs": [-0.5, -0.25], "tokens": ["a", "b"], "text_offset": [0, 1]}
                choice = {"index": 0, "text": " well then ", "finish_reason": "stop", "logprobs": logprobs}
                usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 2, "total_tokens": 9}
                self._answer(200, {"id": "1", "object": "text_completion", "choices": [choice], "usage": usage})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps({"created": 0, "model": server.model} | content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@contextlib.contextmanager
def scripted_server(*script: int | str, model: str = "a-model") -> Iterator[ScriptedServer]:
    """A server for the length of the block."""
    server = ScriptedServer(list(script), model)
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
