"""A scripted OpenAI-compatible server on loopback, for what a real one does only now and then."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer of the script."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """JSON, or what stands in its place; None answers well, or says the status."""
    kind: str = "application/json"


class ScriptedServer:
    """Answers /v1/models, and each request for a completion with the next of its script, then well for ever.

    A step of the script is an answer, an HTTP status to answer with, or `drop` to close the connection without an
    answer.
    """

    def __init__(self, script: list[Answer | int | str], model: str = "a-model") -> None:
        self.script, self.model, self.asked = list(script), model, list[dict[str, Any]]()
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                models = {"object": "list", "data": [{"id": server.model, "object": "model"}]}
                self._answer(Answer(), models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.asked.append(body)
                    step = server.script.pop(0) if server.script else 200
                if step == "drop":
                    self.close_connection = True
                    return
                answer = step if isinstance(step, Answer) else Answer(int(step))
                if answer.status != 200:
                    self._answer(answer, {"error": {"message": f"scripted {answer.status}"}})
                    return
                logprobs = {"token_logprobs": [-0.5, -0.25], "tokens": ["a", "b"], "text_offset": [0, 1]}
                choice = {"index": 0, "text": " well then ", "finish_reason": "stop", "logprobs": logprobs}
                usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 2, "total_tokens": 9}
                well = {"id": "1", "object": "text_completion", "choices": [choice], "usage": usage}
                self._answer(answer, well)

            def _answer(self, answer: Answer, content: dict[str, Any]) -> None:
                usual = json.dumps({"created": 0, "model": server.model} | content)
                body = (usual if answer.body is None else answer.body).encode()
                self.send_response(answer.status)
                headers = {"Content-Type": answer.kind, "Content-Length": str(len(body))}
                for name, value in (headers | dict(answer.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@contextlib.contextmanager
def scripted_server(*script: Answer | int | str, model: str = "a-model") -> Iterator[ScriptedServer]:
    """A server for the length of the block."""
    server = ScriptedServer(list(script), model)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
