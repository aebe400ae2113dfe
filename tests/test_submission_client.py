"""What becomes of a job whose head, connection or token fails while it is sent or followed; the head is a fake."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray

from rcpt_ray.errors import UserError
from rcpt_ray.local_on_ray import read_environment
from rcpt_ray.submission import on_ray

Answer = tuple[int, str] | None
"""Status and text; None closes the connection without a word."""
TAKEN = (200, '{"job_id": "one", "submission_id": "one"}')
EXISTS = (500, "Traceback ...\nValueError: Job with submission_id one already exists. Please use another")
NOT_UP = (500, "Traceback ...\nException: Failed to get head node agent within 10 seconds.")
MISTAKE = (500, "Traceback ...\n  File job_agent.py\nValueError: no such setting")


class Fake:
    """A dashboard that gives these answers to jobs that are sent, one after another, and counts them."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.num_sent = list(answers), 0
        self.status = 200
        """Of everything else, and of what is sent when it is no 200."""

    def answer(self, method: str) -> Answer:
        """What the next request gets."""
        if self.status != 200:
            return self.status, "no"
        if method == "POST":
            self.num_sent += 1
            return self.answers.pop(0)
        return 200, f'{{"ray_version": "{ray.__version__}"}}'


@contextlib.contextmanager
def head(fake: Fake) -> Iterator[str]:
    """Its address while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = fake.answer(self.command)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode())

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *words: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pauses of no length, and what `open_jobs` sets is taken back."""
    monkeypatch.setattr(on_ray, "PAUSE_S", 0.0)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    read_environment()  # what Ray has read for tests before these


def send(address: str, folder: Path) -> None:
    on_ray.open_jobs(address).submit("one", "true", folder, {}, "rcpt_ray.submission.secrets.load_in_worker", {})


@pytest.mark.parametrize("answers", [[None, EXISTS], [None, TAKEN], [NOT_UP, None, TAKEN]])
def test_job_whose_answer_is_lost_is_sent_again_under_its_name(answers: list[Answer], tmp_path: Path) -> None:
    fake = Fake(*answers)
    with head(fake) as address:
        send(address, tmp_path)
    assert fake.num_sent == len(answers)


def test_head_that_stays_away_leaves_open_whether_it_has_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "_BEGIN_S", -1.0)
    with head(Fake(None)) as address, pytest.raises(UserError, match="which it may have taken; see `rcpt jobs`"):
        send(address, tmp_path)


def test_mistake_is_told_at_once_though_its_traceback_names_an_agent(tmp_path: Path) -> None:
    fake = Fake(MISTAKE, TAKEN)
    with head(fake) as address, pytest.raises(UserError, match=r"does not take the job: ValueError: no such setting"):
        send(address, tmp_path)
    assert fake.num_sent == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda jobs, folder: jobs.jobs(),
        lambda jobs, folder: jobs.stop("one"),
        lambda jobs, folder: jobs.submit("one", "true", folder, {}, "a.b", {}),
        lambda jobs, folder: asyncio.run(jobs.job("one")),
        lambda jobs, folder: asyncio.run(anext(jobs.log("one"))),
    ],
    ids=["jobs", "stop", "submit", "job", "log"],
)
@pytest.mark.parametrize(
    ("status", "said"), [(401, "asks for a token and there is none in"), (403, "refuses the token")]
)
def test_token_that_changes_meanwhile_is_told_in_a_sentence(
    ask: Callable[[on_ray.RayJobs, Path], object], status: int, said: str, tmp_path: Path
) -> None:
    fake = Fake()
    with head(fake) as address:
        jobs = on_ray.open_jobs(address)
        fake.status = status
        with pytest.raises(UserError, match=f"{address} {said} .*auth_token; set RAY_AUTH_TOKEN_PATH"):
            ask(jobs, tmp_path)
