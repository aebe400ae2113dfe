"""A run over a corpus that means harm, with canaries around it: nothing leaks, nobody gets in."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import PROJECT, group, wait_until
from run_folder import manifests, only_folder, rows

SECRETS = {
    "HF_TOKEN": "hf_canaryCANARYcanary0123",
    "AWS_SECRET_ACCESS_KEY": "canary/aws+secret=0123456789",
    "WANDB_API_KEY": "canarywandb0123456789abcdef",
    "OPENAI_API_KEY": "sk-canary-openai-0123456789",
    "STORE_PASSWORD": "canary password 0123",
}
IDS = (
    "../../../outside/canary",
    "/etc/passwd",
    "..\\..\\outside\\canary",
    "two\nlines\r\n{}",
    "!!python/object/apply:os.system ['touch canary']",
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "| cell | `code` | $(touch canary)",
    "nul\x00byte",
    "long" * 2000,
    "\u202egnorw",
    10**30,
    -1e308,
    ["a", {"b": "../c"}],
)
FILES = ("--help.txt", "two\nlines.txt", "$(touch canary).txt", "<img src=x onerror=alert(1)>.txt", "\x1b[31mred.txt")
HELD = "HOLDTHISONE"
RECIPE = """
name: hostile
run: {run}
student: {{reference: tiny-random-llama}}
corpus:
  bad_rows: reject
  heldout_share: 0.2
  shard_documents: 8
  sources:
    lines: {{path: {corpus}/lines.jsonl, domain: stem}}
    table: {{path: {corpus}/table.parquet, domain: law}}
    files: {{path: {corpus}/files, domain: stem}}
thoughts:
  engine: fake
  teacher: {{reference: tiny-random-llama}}
  fake: {{hold_on: {held}, hold_until: {go}}}
mixture: {{row_tokens: 256}}
cluster: {{num_cpus: 2}}
arms:
  base: {{train: false}}
  reasoning: {{}}
"""


@dataclass(frozen=True)
class Watched:
    """What was seen while the command ran, and what it left."""

    run: Path
    output: str
    listening: list[str]
    without_token: grpc.StatusCode
    with_wrong_token: grpc.StatusCode
    answer_with_token: bytes
    from_elsewhere: int | None
    own_folder_mode: int
    is_own_folder_gone: bool
    changed_outside: set[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("hostile")
    corpus, run, go, at = folder / "corpus", folder / "run", folder / "go", folder / "at"
    num_rows = _write_corpus(corpus)
    assert num_rows == 2 * len(IDS) + 4 + len(FILES)
    (folder / "outside").mkdir()
    (folder / "outside" / "canary").write_text("untouched")
    at.mkdir()
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(run=run, corpus=corpus, held=HELD, go=go))
    before = _state(folder, run)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= SECRETS | {"PYTHONPATH": str(PROJECT)}
    log = folder.with_name("output.txt")
    # From a folder of its own: what is written by a relative name would lie there.
    command = ["env", f"--chdir={at}", sys.executable, "-m", "rcpt_ray", "mix", str(recipe)]
    with group(command, environment, log) as process:
        wait_until(lambda: process.poll() is not None or _is_held(run), timeout_s=300)
        assert process.poll() is None, log.read_text()
        below = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        gcs = next(one for one in below if one.name() == "gcs_server")
        port = next(one.laddr.port for one in gcs.net_connections(kind="tcp") if one.status == "LISTEN")
        token = gcs.environ()["RAY_AUTH_TOKEN"]
        own_folder = next(
            Path(*Path(word).parts[:3]) for word in " ".join(gcs.cmdline()).split("=") if "/rcpt-" in word
        )
        seen = {
            "listening": [one.laddr.ip for each in below for one in _connections(each) if one.status == "LISTEN"],
            "without_token": _asked(port, ())[0],
            "with_wrong_token": _asked(port, (("authorization", f"Bearer {'0' * 64}"),))[0],
            "answer_with_token": _asked(port, (("authorization", f"Bearer {token}"),))[1],
            "from_elsewhere": _from_elsewhere(port),
            "own_folder_mode": own_folder.stat().st_mode & 0o777,
        }
        go.touch()
        process.wait(timeout=300)
        output = log.read_text()
        assert process.returncode == 0, output
    go.unlink()
    yield Watched(
        run=run,
        output=output,
        is_own_folder_gone=not own_folder.exists(),
        changed_outside={name for name, _ in before ^ _state(folder, run)},
        **seen,  # type: ignore[arg-type]
    )


def test_ray_of_a_command_listens_on_loopback_alone(watched: Watched) -> None:
    assert len(watched.listening) > 5
    assert {address.removeprefix("::ffff:") for address in watched.listening} == {"127.0.0.1"}
    assert watched.from_elsewhere != 0


def test_who_has_no_token_is_refused_while_a_command_runs(watched: Watched) -> None:
    assert watched.without_token == watched.with_wrong_token == grpc.StatusCode.UNAUTHENTICATED
    assert watched.answer_with_token


def test_sockets_and_logs_of_ray_are_of_this_user_and_go_with_the_command(watched: Watched) -> None:
    assert watched.own_folder_mode == 0o700
    assert watched.is_own_folder_gone


def test_nothing_is_written_outside_of_the_run_folder(watched: Watched) -> None:
    assert watched.changed_outside == set()


def test_no_secret_is_in_the_output_or_in_any_file_of_the_run(watched: Watched) -> None:
    told = [watched.output.encode(), *(_content(file) for file in watched.run.rglob("*") if file.is_file())]
    assert len(told) > 10
    assert not [secret for secret in SECRETS.values() for content in told if secret.encode() in content]


def test_hostile_ids_are_data_or_are_rejected_with_a_reason(watched: Watched) -> None:
    corpus = only_folder(watched.run, "corpus")
    (manifest,) = manifests(watched.run, "corpus")
    kept = [row for split in ("train", "heldout") for row in rows(corpus, f"part-{split}-*")]
    rejected = rows(corpus, "part-rejected-*")
    assert manifest.counts.num_in == 2 * len(IDS) + 4 + len(FILES) == len(kept) + len(rejected)
    assert manifest.counts.num_ok == len(kept) == len({row["doc_id"] for row in kept})
    assert all(row["reason"] for row in rejected)
    ids = {row["doc_id"] for row in kept}
    assert {f"lines/{one}" for one in IDS if isinstance(one, str)} <= ids
    assert {f"files/{name}" for name in FILES} <= ids


def test_each_document_has_its_thought_and_its_place_in_the_mixture(watched: Watched) -> None:
    corpus, thoughts = only_folder(watched.run, "corpus"), only_folder(watched.run, "thoughts")
    (mixture,) = manifests(watched.run, "mixture")
    train = {row["doc_id"] for row in rows(corpus, "part-train-*")}
    assert {row["doc_id"] for row in rows(thoughts)} == train
    packed = [row["doc_ids"] for row in rows(only_folder(watched.run, "mixture"))]
    assert {one for ids in packed for one in ids} == train  # type: ignore[attr-defined]
    assert mixture.counts.num_in == mixture.counts.num_ok + sum(mixture.counts.rejected.values())


def _write_corpus(folder: Path) -> int:
    draw = random.Random(5)
    words = [f"w{number}" for number in range(3000)]

    def text() -> str:
        return " ".join(draw.choices(words, k=40))

    (folder / "files").mkdir(parents=True)
    lines = [{"id": one, "text": text()} for one in IDS]
    lines += [{"id": "held", "text": f"{HELD} {text()}"}, {"id": "no text"}]
    broken = ['{"id": "broken", "text": ', '{"id": 1, "text": ' + "[" * 900 + "]" * 900 + ', "x": "\\u0041"}']
    (folder / "lines.jsonl").write_text("\n".join([*map(json.dumps, lines), *broken]), encoding="utf-8")
    table = {"id": list(map(str, IDS)), "text": [text() for _ in IDS], "number": [float("nan")] * len(IDS)}
    pq.write_table(pa.table(table), folder / "table.parquet")
    for name in FILES:
        (folder / "files" / name).write_text(text())
    return len(lines) + len(broken) + len(IDS) + len(FILES)


def _is_held(run: Path) -> bool:
    """Whether all thoughts but the held document's shard are written."""
    return any(run.glob("thoughts/*/part-*.json"))


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections(kind="inet"))
    except psutil.NoSuchProcess:
        return []


def _asked(port: int, metadata: tuple[tuple[str, str], ...]) -> tuple[grpc.StatusCode, bytes]:
    """What Ray's control service says to a program that is not part of the command."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        try:
            return grpc.StatusCode.OK, call(b"", timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            return error.code(), b""


def _from_elsewhere(port: int) -> int | None:
    """The error of a connection by the machine's other address; None where it has none."""
    others = [
        one.address
        for own in psutil.net_if_addrs().values()
        for one in own
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    if not others:
        return None
    with socket.socket() as client:
        client.settimeout(10)
        return client.connect_ex((others[0], port))


def _state(folder: Path, run: Path) -> set[tuple[str, bytes]]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_relative_to(run))
    return {(str(file), file.read_bytes()) for file in files}


def _content(file: Path) -> bytes:
    if file.suffix == ".parquet":
        return str(pq.read_table(file).to_pylist()).encode("utf-8", "backslashreplace")
    return file.read_bytes()


@pytest.mark.slow
def test_user_who_turns_tokens_off_is_told_so(tmp_path: Path) -> None:
    _write_corpus(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(run=tmp_path / "run", corpus=tmp_path / "corpus", held=HELD, go=recipe))
    command = [sys.executable, "-m", "rcpt_ray", "synthesize", str(recipe)]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    ran = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True, timeout=400)
    (warning,) = [line for line in ran.stdout.splitlines() if line.startswith("warning")]
    assert "asks nobody for a token" in warning and "docs/security.md" in warning
