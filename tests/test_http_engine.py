"""The HTTP engine: nothing that a server does loses a thought; and a real `vllm serve`, killed in the middle."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_server import Answer, scripted_server
from processes import free_port, group, start_rcpt, wait_until
from synthesis_runs import assert_each_row_once, receipts, synthesis_of, write_corpus
from thoughts_fixtures import document, generate, outcomes

from rcpt_ray.models import resolve_model
from rcpt_ray.thoughts.engine import Completion, EngineCannotStart, EngineDied, Request, RowRefused
from rcpt_ray.thoughts.http_engine import HttpEngine
from rcpt_ray.thoughts.spec import ThoughtsSpec


def _engine(model_folder: Path, url: str, **changed: Any) -> HttpEngine:
    http = {"url": url, "model": "a-model", "patience_s": 3.0} | changed
    spec = ThoughtsSpec.model_validate(
        {"engine": "http", "teacher": {"reference": "a-model"}, "max_model_tokens": 2048, "http": http}
    )
    return HttpEngine(str(model_folder), "a-model", spec)


def _complete(engine: HttpEngine, text: str = "A text.") -> Completion:
    async def run() -> Completion:
        await engine.start()
        return await engine.complete(Request("a/1", 0, text, seed=5))

    return asyncio.run(run())


def test_thought_its_tokens_and_its_logprob_are_taken_from_the_answer(tiny_model_folder: Path) -> None:
    with scripted_server() as server:
        completion = _complete(_engine(tiny_model_folder, server.url))
    assert (completion.thought, completion.finish_reason) == ("well then", "stop")
    assert (completion.num_thought_tokens, completion.thought_logprob) == (2, -0.75)
    assert all(isinstance(token, int) for token in server.asked[0]["prompt"])
    assert server.asked[0]["seed"] == 5


def _at_once(status: int) -> Answer:
    """Asks to come back without a wait."""
    return Answer(status, {"Retry-After": "0"})


@pytest.mark.parametrize(
    "script",
    [["drop"], [503], [429], [_at_once(408), _at_once(409), _at_once(425)]],
    ids=["lost", "broken", "busy", "busy in other words"],
)
def test_lost_broken_and_busy_answers_are_asked_for_again(tiny_model_folder: Path, script: list[Any]) -> None:
    with scripted_server(*script) as server:
        completion = _complete(_engine(tiny_model_folder, server.url, patience_s=30.0))
    assert completion.thought == "well then"
    assert len(server.asked) == len(script) + 1


def test_busy_server_that_asks_for_no_wait_is_asked_at_once(tiny_model_folder: Path) -> None:
    """Half a second of our own before each of so many would be more than the patience."""
    with scripted_server(*[_at_once(429)] * 20) as server:
        assert _complete(_engine(tiny_model_folder, server.url, patience_s=8.0)).thought == "well then"
    assert len(server.asked) == 21


def test_busy_server_is_given_the_time_that_it_asks_for(tiny_model_folder: Path) -> None:
    """It is asked again only after the patience is over, and is still busy: that is the server's owner's matter."""
    with (
        scripted_server(*[Answer(429, {"Retry-After": "2"})] * 3) as server,
        pytest.raises(EngineCannotStart, match="is too busy: .*429"),
    ):
        _complete(_engine(tiny_model_folder, server.url, patience_s=1.6))
    assert len(server.asked) == 2


def test_request_that_loses_the_server_three_times_counts_as_its_death(tiny_model_folder: Path) -> None:
    with scripted_server("drop", "drop", "drop") as server, pytest.raises(EngineDied):
        _complete(_engine(tiny_model_folder, server.url))


def test_request_at_which_the_server_fails_three_times_is_alone_rejected(tiny_model_folder: Path) -> None:
    """The server answers, so it lives; the next request is as welcome as before."""
    with scripted_server(500, 500, 500) as server:
        rows = generate([document(1), document(2)], _engine(tiny_model_folder, server.url, requests_in_flight=1))
    assert outcomes(rows) == [("rejected", "server_error"), ("ok", "")]
    assert len(server.asked) == 4


def test_request_that_the_server_refuses_is_a_rejected_row(tiny_model_folder: Path) -> None:
    with scripted_server(422) as server, pytest.raises(RowRefused, match="^engine_refused$"):
        _complete(_engine(tiny_model_folder, server.url))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"refuses the key in \$OPENAI_API_KEY; set it$"),
        (404, r"answers 404: .*scripted 404.*; see to the url, model and account$"),
    ],
)
def test_key_or_model_that_is_gone_in_the_middle_ends_the_job(tiny_model_folder: Path, status: int, words: str) -> None:
    """Not one rejected row after the other: the owner of the server can mend it, the rows cannot."""
    with scripted_server(200, status) as server, pytest.raises(EngineCannotStart, match=words):
        generate([document(n) for n in range(4)], _engine(tiny_model_folder, server.url, requests_in_flight=1))
    assert 2 <= len(server.asked) < 4


NO_TEXT = '{"choices": [{"index": 0, "text": null, "finish_reason": "stop"}]}'


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body='{"choices": []}'),
        Answer(body='{"choices": null}'),
        Answer(body='{"error": {"message": "a gateway that answers 200"}}'),
        Answer(body=NO_TEXT),
        Answer(body='{"choi'),
        Answer(body="null"),
        Answer(body="<html>Back soon</html>", kind="text/html"),
    ],
    ids=["no choices", "null choices", "error", "null text", "cut off", "null", "a page"],
)
def test_answer_that_says_nothing_is_a_rejected_row(tiny_model_folder: Path, answer: Answer) -> None:
    with scripted_server(answer) as server:
        rows = generate([document(1), document(2)], _engine(tiny_model_folder, server.url, requests_in_flight=1))
    assert outcomes(rows) == [("rejected", "answer_not_understood"), ("ok", "")]


def test_server_that_takes_no_seeds_gets_none_and_rows_say_so(tiny_model_folder: Path) -> None:
    """Nobody could repeat the draw, so no row claims a seed."""
    with scripted_server(200, 422) as server:
        engine = _engine(tiny_model_folder, server.url, seeds_requests=False, requests_in_flight=1)
        rows = generate([document(1), document(2)], engine)
    assert [asked.get("seed") for asked in server.asked] == [None, None]
    assert [(row["status"], row["seed"]) for row in rows] == [("ok", None), ("rejected", None)]


def test_document_longer_than_the_context_is_not_sent(tiny_model_folder: Path) -> None:
    with scripted_server() as server:
        with pytest.raises(RowRefused, match="^too_long_for_model$"):
            _complete(_engine(tiny_model_folder, server.url), "word " * 20_000)
        assert server.asked == []


def test_server_with_another_model_is_named(tiny_model_folder: Path) -> None:
    with (
        scripted_server(model="other") as server,
        pytest.raises(EngineCannotStart, match=r"serves other, not a-model; set thoughts\.http\.model"),
    ):
        _complete(_engine(tiny_model_folder, server.url))


def test_server_that_never_answers_is_waited_for_and_named(tiny_model_folder: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(EngineCannotStart, match=r"did not answer within patience_s=1 .*start it$"):
            _complete(_engine(tiny_model_folder, url, patience_s=1.0))


@pytest.mark.slow
def test_vllm_server_killed_and_restarted_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    num_documents, shard_documents = 96, 8
    write_corpus(tmp_path / "corpus.jsonl", num_documents)
    port, run = free_port(), tmp_path / "run"
    arguments = synthesis_of(
        run,
        tmp_path / "corpus.jsonl",
        f"corpus.shard_documents={shard_documents}",
        "thoughts.engine=http",
        f"thoughts.http={{url: http://127.0.0.1:{port}/v1, model: tiny, seeds_requests: false}}",
        "thoughts.sampling.max_thought_tokens=200",
        "thoughts.pool={cpus_per_engine: 0.5, shards_in_flight: 2}",
        "thoughts.select.min_thought_tokens=0",
    )
    process = start_rcpt("synthesize", *arguments)
    try:
        with _vllm_server(port, tmp_path / "first.log") as server:
            wait_until(lambda: len(receipts(run)) >= 2 or {process.poll(), server.poll()} != {None}, 300)
            assert process.poll() is None, "the command ended before the server could be killed"
            assert server.poll() is None, (tmp_path / "first.log").read_text()[-3000:]
            os.killpg(server.pid, signal.SIGKILL)
            assert len(receipts(run)) < num_documents // shard_documents
        assert len(receipts(run)) < num_documents // shard_documents
        with _vllm_server(port, tmp_path / "second.log"):
            output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    finally:
        process.kill()
    assert_each_row_once(run, num_documents, num_again_at_most=0)


def _vllm_server(port: int, log: Path) -> Any:
    """A real server of the tiny model, killed at the end of the block; needs no time to end."""
    model = resolve_model("tiny-random-llama").path
    server = [sys.executable, str(Path(__file__).with_name("vllm_serve.py")), "serve", model]
    options = ["--host=127.0.0.1", f"--port={port}", "--served-model-name=tiny", "--max-model-len=2048"]
    options += ["--enforce-eager", "--dtype=float32", "--kv-cache-memory-bytes=200000000"]
    environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    return group([*server, *options], environment, log)
