"""The whole pipeline as a job on a Ray cluster with token authentication: real vLLM, DeepSpeed, lm-eval."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import open_page
from processes import PROJECT, wait_until
from ray_cluster import RAY, Head
from run_folder import assert_adds_up, manifests, only_folder, rows
from submission_cluster import Client, Cloud, client_of, cloud, token_of

ARMS = ("base", "standard", "standard_tokens", "reasoning")
SECRET = "RCPTTEST_SECRET"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cluster and its user keep."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "secrets").mkdir()
    (folder / "secrets" / SECRET).write_text(os.urandom(16).hex() + "\n")
    (folder / "secrets" / SECRET).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cloud]:
    """A head without CPUs; a machine beside it does the work."""
    with cloud(folder, folder / "secrets") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def head(cluster: Cloud) -> Head:
    """Its head."""
    return cluster.head


@pytest.fixture(scope="module")
def user(head: Head, folder: Path) -> Client:
    """Somebody with the token."""
    return client_of(head, folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token_of(head))


@pytest.fixture(scope="module")
def finished_run(head: Head, folder: Path) -> Path:
    """The run folder that `ray job submit ... jobs/pipeline.py tiny.yaml` left."""
    run = folder / "run"
    job = _submitted(head, "jobs/pipeline.py", "jobs/recipes/tiny.yaml", f"run={run}")
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert "report.html" in job.stdout
    told = job.stdout.partition("Running entrypoint")[2].partition("report.html")[0]  # Ray's command has its colours
    assert "\x1b" not in told
    return run


def test_every_stage_is_finished_and_adds_up(finished_run: Path) -> None:
    assert_adds_up(finished_run)
    assert [len(manifests(finished_run, stage)) for stage in ("thoughts", "select", "mixture")] == [1, 1, 3]
    assert [len(manifests(finished_run, stage)) for stage in ("training", "evaluation", "report")] == [3, 4, 1]


def test_thoughts_come_from_vllm_with_their_provenance(finished_run: Path) -> None:
    thoughts = rows(only_folder(finished_run, "thoughts"))
    assert {row["model"] for row in thoughts} == {"tiny-random-llama"}
    assert {row["finish_reason"] for row in thoughts} <= {"stop", "length"}
    assert all(0 < row["num_thought_tokens"] <= 32 for row in thoughts if row["status"] == "ok")
    assert all(row["num_prompt_tokens"] > row["num_text_tokens"] > 0 for row in thoughts)


def test_token_matched_control_has_the_tokens_of_reasoning(finished_run: Path) -> None:
    tokens = sorted(manifest.tokens["all"] for manifest in manifests(finished_run, "mixture"))
    longest_document = 1000
    assert tokens[2] - tokens[1] < longest_document
    assert tokens[0] < tokens[1]


def test_trained_models_differ_and_load(finished_run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models = [folder / "model" for folder in sorted((finished_run / "training").iterdir())]
    digests = {manifest.output_digest for manifest in manifests(finished_run, "training")}
    assert len(models) == len(digests) == 3
    for model in models:
        tokenizer = AutoTokenizer.from_pretrained(model)
        ids = tokenizer("A right is not a remedy.", return_tensors="pt").input_ids
        assert AutoModelForCausalLM.from_pretrained(model)(ids).logits.isfinite().all()


def test_scores_are_those_of_every_question_and_heldout_document(finished_run: Path) -> None:
    summary = json.loads((only_folder(finished_run, "report") / "summary.json").read_text())
    assert set(ARMS) <= set(summary.get("arms", summary))
    num_heldout = manifests(finished_run, "corpus")[0].details["num_heldout"]
    for manifest in manifests(finished_run, "evaluation"):
        quiz = manifest.details["tasks"]["quiz"]
        assert manifest.details["heldout"]["heldout"]["num_items"] == num_heldout
        assert manifest.counts.num_in == manifest.counts.num_ok == num_heldout + 60
        assert (quiz["num_items"], quiz["num_fewshot"], quiz["chance"], quiz["num_truncated"]) == (60, 1, 0.25, 0)


def test_report_page_of_the_run_opens_in_a_browser(finished_run: Path, tmp_path: Path) -> None:
    page = open_page(only_folder(finished_run, "report") / "report.html", tmp_path)
    assert all(arm in page.dom for arm in ARMS)
    assert page.dom.count("<svg") >= 4
    assert page.console == []


def test_nobody_gets_in_without_the_token(head: Head, folder: Path) -> None:
    """Neither by Ray's command nor by ours, neither without a token nor with another one; nothing is run."""
    stranger = client_of(head, folder)
    liar = client_of(head, folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    run = folder / "of-a-stranger"
    ours = [sys.executable, "-m", "rcpt_ray", "submit", "jobs/recipes/tiny.yaml", f"run={run}"]
    rays = [RAY, "job", "submit", "--", sys.executable, "jobs/pipeline.py", "jobs/recipes/tiny.yaml", f"run={run}"]
    told = {name: folder / f"{name}.txt" for name in ("stranger", "liar", "stranger-ray", "liar-ray")}
    started = [
        stranger.start(ours, told["stranger"]),
        liar.start(ours, told["liar"]),
        stranger.start(rays, told["stranger-ray"]),
        liar.start(rays, told["liar-ray"]),
    ]
    assert [process.wait(timeout=200) for process in started] == [2, 2, 1, 1]
    words = {name: file.read_text() for name, file in told.items()}
    assert f"rcpt: {head.dashboard_url} asks for a token and there is none in" in words["stranger"]
    assert f"rcpt: {head.dashboard_url} refuses the token of RAY_AUTH_TOKEN" in words["liar"]
    assert all(len(words[name].splitlines()) == 1 for name in ("stranger", "liar"))
    assert "AuthenticationError" in words["stranger-ray"]
    assert "AuthenticationError" in words["liar-ray"]
    assert not run.exists()


def test_job_goes_on_when_its_client_is_killed_and_ends_for_who_attaches(user: Client, folder: Path) -> None:
    """Thoughts wait for a file; meanwhile the client that submitted them is killed, and another one follows."""
    run, gate = folder / "followed", folder / "gate"
    command = [sys.executable, "-m", "rcpt_ray", "submit", "jobs/recipes/tiny.yaml", f"run={run}"]
    command += ["--verb", "synthesize", "--secret", SECRET, "--python", sys.executable, "thoughts.engine=fake"]
    command += ["thoughts.fake.hold_on=the", f"thoughts.fake.hold_until={gate}"]
    first = user.start(command, folder / "first.txt")
    try:
        wait_until(lambda: first.poll() is not None or "made     corpus" in _text(folder / "first.txt"), 200)
        assert first.poll() is None, _text(folder / "first.txt")
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    name = _text(folder / "first.txt").split()[1].rstrip(":")
    attach = user.start([sys.executable, "-m", "rcpt_ray", "attach"], folder / "second.txt")
    wait_until(lambda: attach.poll() is not None or "made     corpus" in _text(folder / "second.txt"), 200)
    assert attach.poll() is None, _text(folder / "second.txt")
    gate.touch()
    assert attach.wait(timeout=200) == 0, _text(folder / "second.txt")
    told = _text(folder / "second.txt")
    assert f"rcpt: job {name} is done" in told
    assert told.count("made     corpus") == 1
    assert told.index("made     corpus") < told.index("made     thoughts")
    assert_adds_up(run)
    assert _without_secret(folder, run)


def test_job_without_its_secret_ends_with_two_for_who_submits(user: Client, folder: Path) -> None:
    job = user.rcpt(
        "submit",
        "jobs/recipes/tiny.yaml",
        f"run={folder / 'no-secret'}",
        "--secret",
        "RCPTTEST_NOWHERE",
        "--python",
        sys.executable,
    )
    assert job.returncode == 2, job.stdout + job.stderr
    assert "rcpt: secret RCPTTEST_NOWHERE is nowhere on the machine" in job.stdout
    assert "Traceback" not in job.stdout + job.stderr
    assert not (folder / "no-secret").exists()


@pytest.mark.slow
def test_secret_reaches_driver_tasks_and_actors_and_stands_nowhere(user: Client, cluster: Cloud, folder: Path) -> None:
    """A job that tells of the secret's digest alone, then waits until it is stopped."""
    from rcpt_ray.submission.secrets import HOOK, NAMES

    value = _secret(folder)
    environment = {"working_dir": str(PROJECT / "tests" / "secret_job"), "py_modules": [str(PROJECT / "rcpt_ray")]}
    hooked = {"env_vars": {NAMES: SECRET}, "worker_process_setup_hook": HOOK}
    command = [RAY, "job", "submit", "--no-wait", "--submission-id", "digests", "--runtime-env-json"]
    command += [json.dumps(environment | hooked), "--", sys.executable, "digests.py"]
    submitted = user.start(command, folder / "submitted.txt")
    assert submitted.wait(timeout=200) == 0, _text(folder / "submitted.txt")
    log = folder / "digests.txt"
    following = user.start([sys.executable, "-m", "rcpt_ray", "attach"], log)
    try:
        wait_until(lambda: following.poll() is not None or "waiting" in _text(log), 200)
        digest = hashlib.sha256(value.encode()).hexdigest()
        for place in ("driver", "task", "actor"):
            assert f"{place} {digest}" in _text(log)
        answer = _asked(cluster.head, "/api/jobs/digests")
        assert SECRET in answer
        assert value not in answer + _asked(cluster.head, "/api/jobs/")
        written = _without_secret(folder, cluster.kept)
        assert {"job-driver-digests.log", "digests.py"} <= {file.name for file in written}
        assert value not in _text(log)
        os.kill(following.pid, signal.SIGINT)
        assert following.wait(timeout=200) == 130
        assert "rcpt: job digests goes on; rcpt attach digests follows it again" in _text(log)
    finally:
        following.kill()
        following.wait()
    stopped = user.rcpt("stop")
    assert (stopped.returncode, stopped.stdout.split(";")[0]) == (0, "job digests was stopped")
    attached = user.rcpt("attach", "digests")
    assert attached.returncode == 1
    assert "rcpt: job digests was stopped" in attached.stderr
    assert "digests  stopped" in user.rcpt("jobs").stdout


def _secret(folder: Path) -> str:
    return (folder / "secrets" / SECRET).read_text().strip()


def _without_secret(folder: Path, place: Path) -> list[Path]:
    """The files of a place, in none of which the secret stands."""
    files = [file for file in place.rglob("*") if file.is_file()]
    assert not [file for file in files if _secret(folder).encode() in file.read_bytes()]
    return files


def _asked(head: Head, path: str) -> str:
    """What the dashboard answers to somebody with the token."""
    request = urllib.request.Request(head.dashboard_url + path, headers={"Authorization": f"Bearer {token_of(head)}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _submitted(head: Head, *words: str) -> subprocess.CompletedProcess[str]:
    """The finished job; a cluster whose agent is not up yet refuses it, and is asked again."""
    command = [RAY, "job", "submit", "--address", head.dashboard_url, "--working-dir", ".", "--", sys.executable]
    answers: list[subprocess.CompletedProcess[str]] = []

    def was_taken() -> bool:
        answers.append(
            subprocess.run(
                [*command, *words],
                cwd=PROJECT,
                env=head.environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        )
        return "No available agent" not in answers[-1].stderr + answers[-1].stdout

    wait_until(was_taken, timeout_s=120)
    return answers[-1]
