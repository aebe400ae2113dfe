"""Checkpoints are evaluated beside the training: each once, none lost, and nothing of it is felt by the training."""

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixture_fixtures import quiet_bar
from watched_training import HELDOUT_TEXTS, be_one_rank, make_heldout, make_job, make_mixture

from rcpt_ray.evaluation.beside import Beside, Point, beside_spec, evaluate_point, summarize
from rcpt_ray.evaluation.beside_record import BesideRecord, finish_record
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.room import Resources, has_room
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.records import EVALUATED, SCORE
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.saved import CHECKPOINTS, whole_checkpoints

QUIZ = {"path": "samples://quiz/test.jsonl", "max_questions": 12}


def scores_of(*items: tuple[str, str, float, float], metric: str = "acc") -> pa.Table:
    """Rows of records.SCORE from task, domain, value and weight."""
    empty = dict.fromkeys(("category", "subject", "difficulty"), "")
    rows = [
        {**empty, "task": task, "item_id": f"i{number}", "domain": domain, "metric": metric, "value": v, "weight": w}
        for number, (task, domain, v, w) in enumerate(items)
    ]
    return pa.Table.from_pylist(rows, schema=SCORE)


def test_scores_become_means_of_all_and_of_each_domain() -> None:
    scores = scores_of(("quiz", "law", 1, 1), ("quiz", "law", 0, 1), ("quiz", "stem", 1, 1), ("other", "", 1, 1))
    rows = summarize(scores, step=8, seconds=2.5)
    found = {(row["task"], row["group"]): (row["value"], row["num_items"]) for row in rows}
    assert found == {
        ("quiz", "all"): (pytest.approx(2 / 3), 3),
        ("quiz", "law"): (0.5, 2),
        ("quiz", "stem"): (1.0, 1),
        ("other", "all"): (1.0, 1),
    }
    errors = {(row["task"], row["group"]): row["standard_error"] for row in rows}
    assert errors["quiz", "all"] == pytest.approx(1 / 3)  # sqrt(p (1 - p) / (N - 1))
    assert errors["quiz", "stem"] is None and errors["other", "all"] is None
    assert {(row["step"], row["seconds"]) for row in rows} == {(8, 2.5)}
    pa.Table.from_pylist(rows, schema=EVALUATED)


def test_bits_weigh_by_their_bytes() -> None:
    rows = summarize(scores_of(("heldout", "law", 1.0, 300.0), ("heldout", "law", 2.0, 100.0)), 0, 1.0)
    assert rows[0]["value"] == 1.25
    assert rows[0]["standard_error"] == pytest.approx(math.sqrt(2 * ((300 * 0.25) ** 2 + (100 * 0.75) ** 2)) / 400)


def test_a_score_that_is_no_number_is_no_row() -> None:
    with pytest.raises(ValueError, match="the acc of quiz is nan"):
        summarize(scores_of(("quiz", "law", math.nan, 1)), 0, 1.0)


@given(
    total=st.integers(0, 8),
    taken=st.integers(0, 8),
    reserved=st.integers(0, 8),
    need=st.integers(1, 4),
    n=st.integers(0, 3),
)
def test_an_evaluation_leaves_the_training_what_it_needs(
    total: int, taken: int, reserved: int, need: int, n: int
) -> None:
    available = Resources(max(0, total - taken), 0)
    if has_room(Resources(need, 0), n, Resources(total, 0), available, Resources(reserved, 0)):
        assert available.cpus >= need
        assert total - need * (n + 1) >= reserved


def test_gpus_that_are_all_taken_leave_no_room_for_an_evaluation_on_one() -> None:
    total, free = Resources(64, 8), Resources(60, 1)
    assert has_room(Resources(4, 1), 0, total, free, reserved=Resources(8, 7))
    assert not has_room(Resources(4, 1), 0, total, free, reserved=Resources(8, 8))
    assert has_room(Resources(4, 0), 0, total, Resources(60, 0), reserved=Resources(8, 8))


def test_checkpoints_are_measured_by_what_costs_little() -> None:
    tasks = {"quiz": QUIZ, "think": {"kind": "generated", **QUIZ}, "stock": {"kind": "stock", "name": "mmlu_pro"}}
    spec = EvaluationSpec(tasks=tasks, likelihood_engine="vllm", beside_training=True)
    assert list(beside_spec(spec).tasks) == ["quiz"]
    assert beside_spec(spec).likelihood_engine == "transformers"
    with pytest.raises(ValueError, match="beside_training=true has nothing to measure"):
        EvaluationSpec(tasks={"think": tasks["think"]}, heldout_bits_per_byte=False, beside_training=True)


def beside(folder: Path, **settings: Any) -> Beside:
    """An evaluation of the quiz and of held-out texts."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = EvaluationSpec(**({"tasks": {"quiz": QUIZ}, "precision": "fp32", "batch_size": 4} | settings))
    job = EvaluationJob(spec=spec, model_path="", heldout_parts=make_heldout(folder), folder=folder, seed=17)
    return Beside(job, {"quiz/path": "0a1b"})


@pytest.fixture(scope="module")
def job(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Trained here, with a checkpoint every other step and no evaluation yet."""
    from rcpt_ray.training.loop import train

    folder = tmp_path_factory.mktemp("beside")
    settings = {"checkpoint_every_steps": 2, "num_epochs": 2, "learning_rate": 1e-2, "precision": "bf16"}
    made = make_job(folder / "job", tiny_model_folder, make_mixture(folder), **settings)
    made = replace(made, beside=beside(folder / "heldout"))
    be_one_rank()
    train(made, 0)
    return made


def waiting_steps(record: BesideRecord) -> list[int]:
    return [point.step for point in record.waiting()]


def row_of(step: int) -> dict[str, Any]:
    return dict.fromkeys(EVALUATED.names, None) | {"step": step, "task": "quiz", "value": 0.5, "seconds": 1.0}


def test_the_training_keeps_what_waits_and_each_is_evaluated_once(job: TrainingJob) -> None:
    """Nobody evaluated anything while it went on, so all but the last and two more had to make room."""
    saved = whole_checkpoints(job.folder / CHECKPOINTS)
    end = job.plan.num_steps
    assert len(saved) == 3 and all(one.is_waiting for one in saved)
    record = BesideRecord(job)
    assert waiting_steps(record) == [0, *(one.steps_done for one in saved), end]
    first = record.waiting()[1]
    assert record.take(first)
    again = BesideRecord(job)
    assert waiting_steps(again) == waiting_steps(record), "taken by a command that was killed"
    again.end(first, [row_of(first.step)], "")
    again.end(Point(end), [], "ValueError: no such questions")
    assert waiting_steps(again) == [0, *(one.steps_done for one in saved[1:])]
    assert waiting_steps(BesideRecord(job)) == [*waiting_steps(again), end], "what failed is tried by the next command"
    other = replace(job.beside, digests={"quiz/path": "2c3d"})
    assert first.step in waiting_steps(BesideRecord(replace(job, beside=other))), "of other questions nothing is known"


def test_what_became_of_each_checkpoint_is_told(job: TrainingJob) -> None:
    record = BesideRecord(job)
    *points, last = record.waiting()
    for point in points:
        record.end(point, [row_of(point.step)], "")
    record.end(last, [], "ValueError: no such questions")
    record.close()
    told = finish_record(job)["beside"]
    assert told == finish_record(job)["beside"], "a command that was killed at its end is ended by the next one"
    assert told["steps"] == [point.step for point in points]
    assert told["failures"] == {str(last.step): "ValueError: no such questions"}
    every_other = set(range(2, job.plan.num_steps, 2))
    assert {*told["steps"], *told["skipped"]} == {0, *every_other} and len(told["skipped"]) == len(every_other) - 3
    rows = pq.read_table(job.folder / "evaluated.parquet")
    assert rows.schema.equals(EVALUATED) and rows["step"].to_pylist() == told["steps"]


def test_no_file_is_made_where_nothing_is_evaluated(job: TrainingJob, tmp_path: Path) -> None:
    assert finish_record(replace(job, beside=None, folder=tmp_path)) == {}
    assert not list(tmp_path.iterdir())


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place for temporary files of this test alone."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_checkpoint_scores_what_its_model_scores_and_leaves_nothing_behind(
    job: TrainingJob, tmp_path: Path, scratch: Path
) -> None:
    """By lm-eval; the student as it came and the end are no checkpoints, and are measured too."""
    from rcpt_ray.evaluation.run import evaluate
    from rcpt_ray.training.model_out import save_checkpoint_model

    saved = whole_checkpoints(job.folder / CHECKPOINTS)[-1]
    points = [Point(0), Point(saved.steps_done, saved), Point(job.plan.num_steps)]
    rows = [{(row["metric"], row["group"]): row for row in evaluate_point(job, point)} for point in points]
    assert not list(scratch.glob("rcpt-*"))
    assert set(rows[0]) == {("acc", "all"), ("acc", "stem")} | {
        ("bits_per_byte", group) for group in ("all", *HELDOUT_TEXTS)
    }
    bits = [own["bits_per_byte", "all"]["value"] for own in rows]
    assert len(set(bits)) == 3
    assert job.beside is not None
    save_checkpoint_model(job, saved, tmp_path / "model")
    evaluate(replace(job.beside.job, model_path=str(tmp_path / "model"), folder=tmp_path))
    scores = pq.read_table(tmp_path / "scores.parquet")
    expected = {(row["metric"], row["group"]): row["value"] for row in summarize(scores, 0, 0.0)}
    assert {key: row["value"] for key, row in rows[1].items()} == expected


def test_an_evaluation_that_fails_is_a_sentence(job: TrainingJob, tmp_path: Path, scratch: Path) -> None:
    from rcpt_ray.evaluation.beside_on_ray import _evaluate

    missing = {"quiz": {"path": str(tmp_path / "nowhere.jsonl")}}
    rows, failure = _evaluate(replace(job, beside=beside(tmp_path / "heldout", tasks=missing)), Point(0))
    assert not rows
    assert failure.startswith("UserError: evaluation.tasks.quiz") and "nowhere.jsonl" in failure
    assert not list(scratch.glob("rcpt-*"))


@pytest.fixture
def no_rank_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started hear nothing of the rank that this one was."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "DS_ACCELERATOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ray_of_three_cpus(no_rank_is_told: None) -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=3, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_under_ray_checkpoints_are_evaluated_while_the_training_goes_on(
    tiny_model_folder: Path, tmp_path: Path, ray_of_three_cpus: None
) -> None:
    """Two trainings in one start of the workers, of the second the questions are missing; weights are as without."""
    from rcpt_ray.training.outcome import make_trainings

    parts = make_mixture(tmp_path)
    settings = {"checkpoint_every_steps": 60, "num_epochs": 40, "precision": "bf16", "num_workers": 1}

    def job_in(name: str, wanted: Beside | None) -> TrainingJob:
        return replace(make_job(tmp_path / name, tiny_model_folder, parts, **settings), beside=wanted)

    missing = {"quiz": {"path": str(tmp_path / "nowhere.jsonl")}}
    jobs = [
        job_in("evaluated", beside(tmp_path / "heldout")),
        job_in("failing", beside(tmp_path / "heldout", tasks=missing)),
        job_in("plain", None),
    ]
    outcomes = make_trainings(jobs, quiet_bar())
    end = jobs[0].plan.num_steps
    told = outcomes[0].details["beside"]
    assert told["failures"] == {} and told["steps"][0] == 0 and told["steps"][-1] == end
    assert {*told["steps"], *told["skipped"]} == {0, *range(60, end, 60), end}
    rows = pq.read_table(jobs[0].folder / "evaluated.parquet").to_pylist()
    bits = {row["step"]: row["value"] for row in rows if (row["metric"], row["group"]) == ("bits_per_byte", "all")}
    assert list(bits) == told["steps"] and bits[end] != bits[0]
    failed = outcomes[1].details["beside"]
    assert failed["steps"] == [] and {"0", str(end)} <= set(failed["failures"])
    assert "nowhere.jsonl" in failed["failures"]["0"]
    assert "beside" not in outcomes[2].details
    weights = {(job.folder / "model" / "model.safetensors").read_bytes() for job in jobs}
    assert len(weights) == 1, "evaluations change nothing"


@pytest.mark.slow
@pytest.mark.usefixtures("no_rank_is_told")
def test_a_killed_command_evaluates_what_is_left_and_nothing_twice(tmp_path: Path) -> None:
    from processes import rcpt, run_until_killed
    from run_folder import manifests, only_folder

    run = tmp_path / "run"
    command = [
        "train",
        "jobs/recipes/tiny.yaml",
        f"run={run}",
        "thoughts.engine=fake",
        "evaluation.beside_training=true",
        "evaluation.tasks.quiz.max_questions=8",
        "training.num_workers=1",
        "training.num_epochs=150",
        "training.checkpoint_every_steps=50",
        "cluster.num_cpus=3",
        "report.baseline=reasoning",
        "arms={reasoning: {}}",
    ]

    def lines() -> list[dict[str, Any]]:
        files = list(run.glob("training/*/evaluated.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    run_until_killed(command, lambda: len(lines()) >= 1)
    before = lines()
    ended = rcpt(*command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = lines()
    assert after[: len(before)] == before
    steps = [line["step"] for line in after]
    assert len(steps) == len(set(steps))
    (manifest,) = manifests(run, "training")
    told, end = manifest.details["beside"], manifest.details["num_steps"]
    assert {*told["steps"], *told["skipped"]} == {0, *range(50, end, 50), end} and told["failures"] == {}
    table = pq.read_table(only_folder(run, "training") / "evaluated.parquet")
    assert sorted(set(table["step"].to_pylist())) == told["steps"]
    planned = rcpt("plan", *command[1:3], *command[3:], "evaluation.tasks.quiz.max_questions=9")
    assert [line for line in planned.stdout.splitlines() if "training of" in line and "finished" in line]
