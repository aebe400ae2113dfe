"""What is checked, packed and told of a job on this machine, before a cluster hears of it and after it was lost."""

import asyncio
import io
import json
import os
import re
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from processes import PROJECT, wait_until
from rich.console import Console
from thoughts_fixtures import generation_of

from rcpt_ray.cli import main
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.beside import Point
from rcpt_ray.recipe import load_recipe
from rcpt_ray.submission.follow import GivenUp, LostConnection, follow
from rcpt_ray.submission.names import Job, code_of, end_in_words, new_name, the_only
from rcpt_ray.submission.pack import pack, refuse_unfit
from rcpt_ray.submission.secrets import FOLDER, NAMES, checked_names, load_in_worker, load_secrets
from rcpt_ray.terminal import Terminal

SECRET = "RCPTTEST_SECRET"
VALUE = "a value that nobody may see"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a recipe that names a corpus and questions by relative paths, and is in it."""
    samples = PROJECT / "rcpt_ray" / "samples"
    (tmp_path / "data").mkdir()
    shutil.copy(samples / "corpus" / "law.jsonl", tmp_path / "data" / "law.jsonl")
    shutil.copy(samples / "quiz" / "test.jsonl", tmp_path / "quiz.jsonl")
    (tmp_path / "notes.jsonl").write_text("not named by the recipe")
    values = yaml.safe_load((PROJECT / "jobs" / "recipes" / "tiny.yaml").read_text())
    values["run"] = "/shared/run"
    values["corpus"]["sources"]["law"]["path"] = "data/*.jsonl"
    values["evaluation"]["tasks"]["quiz"]["path"] = "quiz.jsonl"
    (tmp_path / "my recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _packed(user: Path, *overrides: str, **limits: int) -> list[str]:
    """The paths of what a job would take along."""
    folder, file = user / "packed", user / "my recipe.yaml"
    recipe = load_recipe(file, overrides)
    refuse_unfit(recipe)
    packed = pack(file, recipe, folder, **limits)
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert packed.num_files == len(files)
    return files


def test_job_takes_recipe_package_samples_and_the_files_that_the_recipe_names(user: Path) -> None:
    files = _packed(user, "corpus.max_words=500")
    assert {"recipe.yaml", "data/law.jsonl", "quiz.jsonl"} <= set(files)
    assert {"rcpt_ray/cli.py", "rcpt_ray/samples/corpus/stem.jsonl", "rcpt_ray/report/page.html.jinja"} <= set(files)
    assert "notes.jsonl" not in files
    assert not [name for name in files if "__pycache__" in name]
    assert (user / "packed" / "recipe.yaml").read_bytes() == (user / "my recipe.yaml").read_bytes()


def test_what_was_packed_runs_by_itself(user: Path) -> None:
    """With the packed folder alone the same recipe loads, and its relative paths name the same files."""
    _packed(user)
    recipe = load_recipe(user / "packed" / "recipe.yaml")
    assert recipe == load_recipe(user / "my recipe.yaml")
    assert (user / "packed" / recipe.evaluation.tasks["quiz"].path).is_file()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run=runs/here", r"run=runs/here is relative.* give an absolute path"),
        ("run=~/runs", r"run=~/runs is relative.* give an absolute path"),
        ("run=s3://bucket/run", r"run=s3://bucket/run is on an object store.* give an absolute path"),
        ("corpus.sources.stem.path=../other/x.jsonl", r"corpus.sources.stem.path=../other/x.jsonl lies outside"),
        ("corpus.sources.stem.path=~/x.jsonl", r"corpus.sources.stem.path=~/x.jsonl lies outside"),
        ("evaluation.tasks.quiz.path=none.jsonl", r"evaluation.tasks.quiz.path=none.jsonl names no file"),
        ("student.reference=./model", r"student.reference=./model is a folder of this machine"),
        ("thoughts.teacher.reference=~/model", r"thoughts.teacher.reference=~/model is a folder of this machine"),
    ],
)
def test_what_the_cluster_cannot_have_is_refused_in_a_sentence(user: Path, override: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        _packed(user, override)


def test_a_model_of_an_arm_that_lies_here_is_refused(user: Path) -> None:
    (user / "model").mkdir()
    (user / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"arms.reasoning.overrides.thoughts.teacher.reference=model is a folder of"):
        _packed(user, 'arms.reasoning.overrides={"thoughts.teacher.reference": "model"}')


def test_much_data_is_refused_with_the_largest_files(user: Path) -> None:
    with pytest.raises(
        UserError, match=r"have 0\.\d\d MiB, more than the 0.0156.*largest are data/law.jsonl \(0\.\d\d MiB\)"
    ):
        _packed(user, most_data_bytes=2**14)


def test_mistakes_end_with_two_before_anybody_is_asked(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The address is nobody's, so an answer that speaks of the recipe came first."""
    submit = ["submit", "my recipe.yaml", "--address", "http://127.0.0.1:9"]
    for more in (["training.no_such=1"], ["run=here"], ["--secret", "two words"]):
        assert main([*submit, *more]) == 2
        assert "127.0.0.1" not in capsys.readouterr().err


def test_value_given_as_a_secret_is_refused_and_not_repeated(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "my recipe.yaml", "--secret", f"{SECRET}={VALUE}"]) == 2
    told = capsys.readouterr().err
    assert f"--secret {SECRET}=... holds a value; give the name alone" in told
    assert VALUE not in told


def test_address_that_is_none_is_refused(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--address", "ray://head:10001"]) == 2
    assert "--address ray://head:10001 must be the URL of the cluster's dashboard" in capsys.readouterr().err


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of secrets, with one that is named."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(NAMES, SECRET)
    file = tmp_path / SECRET
    file.write_text(VALUE + "\n")
    file.chmod(0o600)
    yield file
    os.environ.pop(SECRET, None)


def test_secret_comes_from_the_environment_first(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "from the environment")
    load_secrets()
    assert os.environ[SECRET] == "from the environment"


def test_secret_comes_from_its_file_without_the_end_of_its_line(secrets: Path) -> None:
    load_secrets()
    assert os.environ[SECRET] == VALUE


@pytest.mark.parametrize(
    ("mode", "content", "sentence"),
    [
        (0o644, VALUE, "others may read or write .*; run chmod 600"),
        (0o602, VALUE, "others may read or write .*; run chmod 600"),
        (0o600, "\n", "is empty or no value"),
        (0o600, "a\0b", "is empty or no value"),
        (0o600, "x" * 70000, "is empty or no value"),
    ],
)
def test_file_of_a_secret_that_cannot_be_trusted_is_refused(
    secrets: Path, mode: int, content: str, sentence: str
) -> None:
    secrets.write_text(content)
    secrets.chmod(mode)
    with pytest.raises(UserError, match=sentence) as refused:
        load_secrets()
    assert VALUE not in str(refused.value)
    assert SECRET not in os.environ


def test_secret_that_is_nowhere_is_told_and_a_worker_starts_all_the_same(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.unlink()
    with pytest.raises(UserError, match=f"secret {SECRET} is nowhere on the machine"):
        load_secrets()
    load_in_worker()
    assert f"secret {SECRET} is nowhere" in capsys.readouterr().err


def test_engine_on_a_machine_without_the_secret_says_so(secrets: Path, tmp_path: Path) -> None:
    """Machines that come later may lack what the head has; the sentence comes back instead of a thought."""
    from rcpt_ray.thoughts.on_ray import EngineActor

    secrets.unlink()
    shard = {"shard": [json.dumps({"digest": "d", "path": str(tmp_path / "none.parquet")})]}

    async def answers() -> list[dict[str, list[str]]]:
        actor = EngineActor(str(tmp_path), generation_of(), "session")
        return [row async for row in actor(shard)]

    (row,) = asyncio.run(answers())
    assert f"secret {SECRET} is nowhere on the machine" in row["failure"][0]


def test_evaluations_and_trials_on_a_machine_without_the_secret_say_so(secrets: Path, tmp_path: Path) -> None:
    """Before they do or load anything; the model is none."""
    from rcpt_ray.evaluation import beside_on_ray, engines_on_ray
    from rcpt_ray.sweep import on_ray as sweep_on_ray

    secrets.unlink()
    nowhere = f"secret {SECRET} is nowhere on the machine"
    actor = engines_on_ray.EngineActor(str(tmp_path / "none"), generation_of().spec, 0)
    assert nowhere in asyncio.run(actor.start())
    training: Any = SimpleNamespace(beside=SimpleNamespace(job=SimpleNamespace(spec=SimpleNamespace(gpus=1))))
    rows, failure = beside_on_ray._evaluate(training, Point(0))
    assert not rows and nowhere in failure
    nothing: Any = None
    with pytest.raises(UserError, match=nowhere):
        sweep_on_ray._run(nothing, nothing, tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["", "9", "a-b", "../x", "LD_PRELOAD", "PYTHONPATH", "PATH", "RAY_AUTH_TOKEN"])
def test_names_that_are_no_secrets_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="--secret"):
        checked_names([name])


def test_name_of_a_job_can_be_read_and_is_its_own() -> None:
    names = {new_name("my.demo", 0) for _ in range(50)}
    assert len(names) > 45
    assert all(re.fullmatch(r"my-demo-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


def test_the_only_job_that_runs_is_meant_where_none_is_named() -> None:
    over, running = Job("a", "SUCCEEDED", 0), Job("b", "RUNNING")
    assert the_only([over, running], "attach") is running
    with pytest.raises(UserError, match=r"no job runs there; the newest are a \(succeeded\); name one: rcpt stop JOB"):
        the_only([over], "stop")
    with pytest.raises(UserError, match=r"2 jobs run there: b \(running\), c \(pending\); name one: rcpt attach JOB"):
        the_only([over, running, Job("c", "PENDING")], "attach")


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        (Job("a", "SUCCEEDED", 0), 0, "is done"),
        (Job("a", "FAILED", 2), 2, "failed with exit code 2"),
        (Job("a", "FAILED", 1), 1, "failed with exit code 1"),
        (Job("a", "FAILED", 137), 1, "failed with exit code 137"),
        (Job("a", "FAILED", 127), 1, "give --python"),
        (Job("a", "FAILED", None, "no room on the head"), 1, "before its command could end: no room on the head"),
        (Job("a", "STOPPED", 2), 1, "was stopped"),
    ],
)
def test_end_of_a_job_is_mirrored(job: Job, code: int, words: str) -> None:
    assert code_of(job) == code
    assert words in end_in_words(job)


class FlakyServer:
    """A job whose log is told in sessions; each but the last is cut off after some characters."""

    def __init__(self, log: str, cuts: list[int], end: Job) -> None:
        self.log_text, self.cuts, self.end = log, cuts, end

    async def job(self, name: str) -> Job:
        return self.end

    async def log(self, name: str) -> AsyncGenerator[str, None]:
        cut = self.cuts.pop(0) if self.cuts else None
        for start in range(0, len(self.log_text[:cut]), 7):
            yield self.log_text[start : min(start + 7, cut) if cut is not None else start + 7]
        if cut is not None:
            raise LostConnection("ConnectionError")


def test_log_that_is_cut_off_goes_on_without_a_letter_lost_or_twice() -> None:
    log = "".join(f"line {number}\n" for number in range(40))
    server = FlakyServer(log, [0, 25, 24, 130, 0], Job("a", "FAILED", 2))
    written, said = list[str](), list[str]()
    job = asyncio.run(follow(server, "a", written.append, said.append, pause_s=0))
    assert "".join(written) == log
    assert job.exit_code == 2
    assert said[0] == "the connection is lost (ConnectionError); trying again for 300 s"
    assert said.count("the connection is back") == 4


def test_cluster_that_stays_away_is_given_up() -> None:
    server = FlakyServer("", [0] * 1000, Job("a", "RUNNING"))
    with pytest.raises(GivenUp, match="ConnectionError"):
        asyncio.run(follow(server, "a", lambda text: None, lambda text: None, patience_s=0.05, pause_s=0.01))


class DeadTunnel:
    """A connection that takes everything and answers nothing."""

    async def job(self, name: str) -> Job:
        raise LostConnection("ReadTimeout")

    async def log(self, name: str) -> AsyncGenerator[str, None]:
        await asyncio.Event().wait()
        yield "never"


def test_silent_connection_is_doubted() -> None:
    with pytest.raises(GivenUp, match="ReadTimeout"):
        asyncio.run(
            follow(
                DeadTunnel(),
                "a",
                lambda text: None,
                lambda text: None,
                patience_s=0.05,
                silence_s=0.01,
                pause_s=0.01,
            )
        )


def test_stage_that_counts_nothing_is_not_silent_in_a_log() -> None:
    """An engine that starts, a machine that comes: lines come all the same, and plain ones."""
    log = io.StringIO()
    with Terminal(Console(file=log), silent_at_most_s=0.01).bar("thoughts [expert]") as bar:
        wait_until(lambda: log.getvalue().count("thoughts [expert] (0 s)\n") > 1, timeout_s=60)
        bar.note("2 engines start")
        wait_until(lambda: "thoughts [expert]: 2 engines start (" in log.getvalue(), timeout_s=60)
    assert "\x1b" not in log.getvalue()


def test_log_cannot_steer_the_terminal() -> None:
    written = list[str]()
    log = "a\x1b[2J\x1b]0;title\x07b\rc\tÄ\n"
    asyncio.run(follow(WholeLog(log), "a", written.append, lambda text: None, pause_s=0))
    assert written == ["a]0;titlebc\tÄ\n"]


class WholeLog:
    """A job that is over, whose log is told in one piece."""

    def __init__(self, log: str) -> None:
        self.text = log

    async def job(self, name: str) -> Job:
        return Job(name, "SUCCEEDED", 0)

    async def log(self, name: str) -> AsyncGenerator[str, None]:
        yield self.text
