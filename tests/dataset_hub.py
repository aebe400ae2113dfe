"""A dataset hub on loopback: the few answers that `datasets` and `huggingface_hub` ask for, from a folder of files."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def dataset_hub(root: Path) -> Iterator[str]:
    """Serve the datasets in `root`/owner/name at one commit; gives the endpoint."""

    class Handler(_Handler):
        datasets = root

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    datasets: Path

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        asked = unquote(urlparse(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if matched := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", asked):
            self._send_info(matched[1], matched[2])
        elif matched := re.fullmatch(rf"/api/datasets/([^/]+/[^/]+)/tree/{COMMIT}/?(.*)", asked):
            self._send_tree(matched[1], matched[2])
        elif matched := re.fullmatch(rf"/api/datasets/([^/]+/[^/]+)/paths-info/{COMMIT}", asked):
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            root = self.datasets / matched[1]
            self._send_json([_entry(root / path, root) for path in paths if (root / path).exists()])
        elif matched := re.fullmatch(rf"/datasets/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", asked):
            self._send_file(self.datasets / matched[1] / matched[2])
        else:
            self._refuse("RepoNotFound")

    def _send_info(self, name: str, revision: str | None) -> None:
        if not (self.datasets / name).is_dir():
            self._refuse("RepoNotFound")
        elif revision not in (None, "main", COMMIT):
            self._refuse("RevisionNotFound")
        else:
            self._send_json({"id": name, "sha": COMMIT, "siblings": [], "private": False, "gated": False, "tags": []})

    def _send_tree(self, name: str, inside: str) -> None:
        root = self.datasets / name
        if not (root / inside).is_dir():
            self._refuse("EntryNotFound")
            return
        recursive = parse_qs(urlparse(self.path).query).get("recursive", [""])[0].lower() in ("true", "1")
        found = (root / inside).rglob("*") if recursive else (root / inside).iterdir()
        self._send_json([_entry(path, root) for path in sorted(found)])

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            self._refuse("EntryNotFound")
            return
        content = file.read_bytes()
        headers = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if matched := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(matched[1]), min(int(matched[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(206, content[first : last + 1], headers)
        else:
            self._send(200, content, headers)

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: Path, root: Path) -> dict[str, Any]:
    inside = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": inside, "size": 0, "oid": hashlib.sha1(inside.encode()).hexdigest()}
    return {"type": "file", "path": inside, "size": path.stat().st_size, "oid": _oid(path)}


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
